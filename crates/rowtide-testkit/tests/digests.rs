//! Digests of whole tables: equal for equal rows, different for any difference.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use rowtide_sandbox::ServerOptions;
use rowtide_sandbox::testing::start_or_skip;
use rowtide_testkit::{Copied, Digests};

const TABLE: &str = "CREATE TABLE t (id int, word text, code char(5), price numeric, at timestamptz); \
     INSERT INTO t SELECT i, 'w' || i, 'c' || i, i / 100.0, '2024-01-01Z'::timestamptz + i * interval '1 s' \
     FROM generate_series(1, 1000) i";

#[test]
fn any_difference_is_seen() {
    let Some(server) = start_or_skip(&ServerOptions::default()) else { return };
    let sql = |db: &str, sql: &str| server.psql(db, sql).unwrap();
    sql("postgres", "CREATE DATABASE source");
    sql("source", TABLE);
    sql("postgres", "CREATE DATABASE copy TEMPLATE source");
    let (source, copy) = ((&server, "source"), Copied::Postgres(&server, "copy"));
    let wanted = Digests::of_source(source, copy, "public.t").unwrap();
    let found = || Digests::of_copy(source, copy, "public.t").unwrap();
    assert_eq!((wanted.rows(), &found()), (1000, &wanted));
    for (change, back) in [
        ("UPDATE t SET word = NULL WHERE id = 7", "UPDATE t SET word = 'w7' WHERE id = 7"),
        (
            "UPDATE t SET at = at + interval '1 us' WHERE id = 8",
            "UPDATE t SET at = at - interval '1 us' WHERE id = 8",
        ),
        // One row less and another twice: as many rows as before.
        (
            "DELETE FROM t WHERE id = 9; INSERT INTO t SELECT * FROM t WHERE id = 10",
            "TRUNCATE t; INSERT INTO t SELECT i, 'w' || i, 'c' || i, i / 100.0, \
             '2024-01-01Z'::timestamptz + i * interval '1 s' FROM generate_series(1, 1000) i",
        ),
    ] {
        sql("copy", change);
        assert_ne!(found(), wanted, "{change}");
        sql("copy", back);
        assert_eq!(found(), wanted, "{back}");
    }
}
