//! Numbers and names of a server's own objects, positions of its log, and its transactions.

use super::Case;

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("oid", "oid", &["0", "4294967295", "2147483648"]),
        Case::new("xid", "xid", &["'0'", "'4294967295'"]),
        Case::new("cid", "cid", &["'0'", "'4294967295'"]),
        Case::new("xid8", "xid8", &["'0'", "'18446744073709551615'", "'9223372036854775808'"]),
        Case::new("tid", "tid", &["'(0,0)'", "'(4294967295,65535)'"]),
        Case::new("pg_lsn", "pg_lsn", &["'0/0'", "'FFFFFFFF/FFFFFFFF'", "'16/B374D848'"]),
        Case::new("pg_snapshot", "pg_snapshot", &["'10:20:10,14,15'", "'1:1:'"]),
        Case::new("txid_snapshot", "txid_snapshot", &["'10:20:10,14,15'", "'1:1:'"]),
        Case::new("int2vector", "int2vector", &["''", "'1 -2 32767'"]),
        Case::new("oidvector", "oidvector", &["''", "'1 4294967295'"]),
        Case::new("aclitem", "aclitem", &["'postgres=r*w/postgres'", "'=r/postgres'"]),
        Case::new("regproc", "regproc", &["'now'", "'-'", "'4294967295'"]),
        Case::new("regprocedure", "regprocedure", &["'abs(integer)'", "'-'"]),
        Case::new("regoper", "regoper", &["'pg_catalog.||/'", "'0'"]),
        Case::new("regoperator", "regoperator", &["'+(integer,integer)'", "'0'"]),
        Case::new(
            "regclass",
            "regclass",
            &["'pg_class'", "'public.followed'", "'-'", "'4294967295'"],
        ),
        Case::new("regtype", "regtype", &["'integer[]'", "'timestamp with time zone'", "'-'"]),
        Case::new("regrole", "regrole", &["'postgres'", "'-'"]),
        Case::new("regnamespace", "regnamespace", &["'pg_catalog'", "'-'"]),
        Case::new("regconfig", "regconfig", &["'english'", "'-'"]),
        Case::new("regdictionary", "regdictionary", &["'simple'", "'-'"]),
        Case::new("regcollation", "regcollation", &["'\"C\"'", "'-'"]),
    ]
}
