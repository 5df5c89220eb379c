//! JSON, XML and what is searched in texts.

use super::Case;

pub(super) fn cases() -> Vec<Case> {
    [json(), others()].concat()
}

fn json() -> Vec<Case> {
    vec![
        Case::new(
            "json",
            "json",
            &[
                r#"'{"a": [1, 2.50, null],  "a": 1, "b":{"a":2} }'"#,
                "'null'",
                "'1e400'",
                "'-0'",
                "'1.10'",
                "'123456789012345678901234567890.10'",
                r#"'"\u0000"'"#,
                r#"'"\ud83e\udd80 \\ \" é🦀"'"#,
                "'[]'",
                "'{}'",
                "'\"\"'",
                r#"E' {\n\t"a" : true }  '"#,
                "repeat('[', 1000) || repeat(']', 1000)",
                r#"'"' || repeat('x', 1000000) || '"'"#,
            ],
        ),
        Case::new(
            "jsonb",
            "jsonb",
            &[
                r#"'{"b":1,  "a":[1, 2.50, null], "a": 3}'"#,
                "'null'",
                "'1e400'",
                "'-0'",
                "'1.10'",
                "'123456789012345678901234567890.10'",
                r#"'"\ud83e\udd80 \\ \" é🦀"'"#,
                "'[]'",
                "'{}'",
                "'\"\"'",
                "repeat('[', 1000) || repeat(']', 1000)",
                r#"'"' || repeat('x', 1000000) || '"'"#,
                "(SELECT jsonb_object_agg(md5(i::text), i) FROM generate_series(1, 2000) i)",
            ],
        ),
    ]
}

fn others() -> Vec<Case> {
    vec![
        Case::new(
            "jsonpath",
            "jsonpath",
            &["'$'", "'$.a[*] ? (@ > 1)'", r#"'strict $."é🦀 \" "'"#],
        ),
        Case::new(
            "xml",
            "xml",
            &[
                "'<a/>'",
                "''",
                "'<a b=\"1\">é🦀 &lt;&amp;</a>'",
                r"E'<!-- x -->\n<a>\n\t</a>'",
                "'just text'",
            ],
        )
        .made_by("SELECT xml '<a/>'"),
        Case::new(
            "tsvector",
            "tsvector",
            &[
                "''",
                "'a b:1'",
                "'a:1A,16383D b:2,3B ''it''''s'':4 ''x y'' ''é🦀'''",
                r"E'''back\\\\slash'''",
            ],
        ),
        Case::new(
            "tsquery",
            "tsquery",
            &["''", "'a & (b | !c) <-> d:*AB'", "'a <3> b'", "'''x y'' | ''it''''s'''"],
        ),
    ]
}
