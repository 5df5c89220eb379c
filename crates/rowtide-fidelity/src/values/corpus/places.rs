//! Geometry, and addresses of networks.

use super::Case;

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new(
            "point",
            "point",
            &["'(1.5,-2)'", "'(NaN,Infinity)'", "'(-0,1e308)'", "'(0.1,5e-324)'"],
        ),
        Case::new("lseg", "lseg", &["'[(0,0),(1,-1)]'", "'[(NaN,0),(-Infinity,0.1)]'"]),
        Case::new(
            "path",
            "path",
            &["'[(0,0),(1,1),(2,0)]'", "'((0,0),(1,1),(2,0))'", "'[(NaN,-0)]'"],
        ),
        Case::new("box", "box", &["'(1,1),(0,0)'", "'(Infinity,0.1),(-Infinity,-0.1)'"]),
        Case::new("polygon", "polygon", &["'((0,0),(1,1),(2,0))'", "'((NaN,0),(1,Infinity))'"]),
        Case::new("line", "line", &["'{1,-1,0}'", "'{0.1,NaN,Infinity}'"]),
        Case::new(
            "circle",
            "circle",
            &["'<(0,0),0>'", "'<(0.1,-0),1e308>'", "'<(NaN,1),Infinity>'"],
        ),
        Case::new(
            "inet",
            "inet",
            &[
                "'10.0.0.1'",
                "'10.0.0.1/8'",
                "'0.0.0.0/0'",
                "'::1'",
                "'::1/64'",
                "'2001:db8::ff00:42:8329/32'",
                "'::ffff:1.2.3.4'",
            ],
        ),
        Case::new(
            "cidr",
            "cidr",
            &["'10.0.0.0/8'", "'0.0.0.0/0'", "'192.168.1.1/32'", "'2001:db8::/32'", "'::/0'"],
        ),
        Case::new("macaddr", "macaddr", &["'08:00:2b:01:02:03'", "'ff:ff:ff:ff:ff:ff'"]),
        Case::new(
            "macaddr8",
            "macaddr8",
            &["'08:00:2b:01:02:03:04:05'", "'00:00:00:00:00:00:00:00'"],
        ),
    ]
}
