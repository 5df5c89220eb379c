//! Tables of unusual shape, what is no table, and transactions that lie across each other.

use rowtide_sandbox::Major;

use crate::case::DB;
use crate::shaped::{crosswise, each};

#[test]
fn what_is_no_table_to_follow_is_told_apart() {
    each(
        &[Major::V14, Major::V18],
        "CREATE TABLE t (id serial PRIMARY KEY, v text);
         CREATE UNLOGGED TABLE fleeting (id int PRIMARY KEY);
         CREATE VIEW seen AS SELECT * FROM t;
         CREATE MATERIALIZED VIEW kept AS SELECT * FROM t;
         CREATE SEQUENCE counter;
         CREATE EXTENSION file_fdw;
         CREATE SERVER files FOREIGN DATA WRAPPER file_fdw;
         CREATE FOREIGN TABLE elsewhere (id int) SERVER files OPTIONS (filename '/dev/null');
         CREATE TABLE empty ();
         CREATE TABLE emptied (a int, b int);
         ALTER TABLE emptied DROP a, DROP b;
         CREATE TYPE pair AS (a int, b int);
         CREATE TABLE root (id int PRIMARY KEY) PARTITION BY RANGE (id);
         CREATE TABLE leaf PARTITION OF root FOR VALUES FROM (0) TO (10);
         INSERT INTO t (v) VALUES ('a')",
        |shaped| {
            let (code, said) = shaped.check();
            assert_eq!(code, 0, "{said}");
            for (name, why) in [
                ("public.fleeting", "is unlogged"),
                ("public.seen", "is a view"),
                ("public.kept", "is a materialized view"),
                ("public.elsewhere", "is a foreign table"),
                ("public.empty", "has no columns"),
                ("public.emptied", "has no columns"),
                ("sequences", "public.counter"),
            ] {
                let line = |line: &&str| line.contains(name) && line.contains(why);
                assert!(said.lines().find(line).is_some(), "{name}: {why}: {said}");
            }
            shaped.settle(&["public.t", "public.root"]);
            for (name, why) in [
                ("fleeting", "is unlogged"),
                ("seen", "is a view"),
                ("kept", "is a materialized view"),
                ("counter", "is a sequence"),
                ("elsewhere", "is a foreign table"),
                ("empty", "has no columns"),
                ("leaf", "is a partition"),
                ("pair", "does not exist"),
            ] {
                shaped.configure("", &format!("\"public.t\", \"public.{name}\""), "");
                shaped.ends(2, &[&format!("public.{name}"), why]);
                let (code, said) = shaped.check();
                assert_ne!(code, 0, "{name}: {said}");
                assert!(said.contains(why), "{name}: {said}");
            }
            shaped.configure("", "\"public.leaf*\"", "");
            let (_, said) = shaped.check();
            assert!(said.contains("not the table they are partitions of"), "{said}");
        },
    );
}

#[test]
fn a_table_of_1600_columns_and_dropped_ones_is_followed() {
    let columns = |range: std::ops::Range<usize>| {
        range.map(|n| format!("c{n} int2")).collect::<Vec<_>>().join(", ")
    };
    let drops = (1..100).map(|n| format!("DROP c{n}")).collect::<Vec<_>>().join(", ");
    crosswise(
        &format!(
            "CREATE TABLE wide (id int PRIMARY KEY, {});
             INSERT INTO wide SELECT i, i FROM generate_series(1, 20) i;
             ALTER TABLE wide {drops}",
            columns(1..1600)
        ),
        |shaped| {
            let few = ["id", "c100", "c101", "c1599"];
            shaped.case.once();
            shaped.compare_columns("public.wide", &few);
            shaped.case.sql(
                "UPDATE wide SET c1599 = id, c100 = -id WHERE id < 10;
                 DELETE FROM wide WHERE id = 15;
                 INSERT INTO wide (id, c101) VALUES (50, 5);
                 ALTER TABLE wide DROP c102;
                 INSERT INTO wide (id, c101) VALUES (51, 5)",
            );
            shaped.case.once();
            shaped.compare_columns("public.wide", &few);
        },
    );
}

#[test]
fn a_table_that_loses_every_column_is_reported() {
    crosswise(
        "CREATE TABLE t (id int PRIMARY KEY, v int);
         CREATE TABLE other (id int PRIMARY KEY);
         INSERT INTO t VALUES (1, 1)",
        |shaped| {
            shaped.settle(&["public.t"]);
            shaped.case.sql("ALTER TABLE t DROP v, DROP id;\nINSERT INTO t DEFAULT VALUES;\nINSERT INTO other VALUES (1)");
            let run = shaped.case.run(&["--once"]).run(crate::case::LIMIT).unwrap();
            assert!(run.stderr.contains("public.t"), "{run:?}");
            shaped.compare(&["public.other"]);
        },
    );
}

#[test]
fn row_level_security_is_an_error_and_never_a_short_copy() {
    each(
        &[Major::V14, Major::V18],
        "CREATE TABLE t (id int PRIMARY KEY, who text);
         INSERT INTO t VALUES (1, 'limited'), (2, 'somebody else');
         CREATE ROLE limited LOGIN REPLICATION;
         GRANT SELECT ON t TO limited;
         ALTER TABLE t ENABLE ROW LEVEL SECURITY;
         CREATE POLICY own ON t USING (who = current_user);
         CREATE ROLE owner LOGIN REPLICATION;
         GRANT CREATE ON DATABASE postgres TO owner;
         GRANT CREATE ON SCHEMA public TO owner;
         CREATE TABLE forced (id int PRIMARY KEY, who text);
         ALTER TABLE forced OWNER TO owner;
         INSERT INTO forced VALUES (1, 'owner'), (2, 'somebody else');
         ALTER TABLE forced ENABLE ROW LEVEL SECURITY;
         ALTER TABLE forced FORCE ROW LEVEL SECURITY;
         CREATE POLICY own ON forced USING (who = current_user);
         CREATE PUBLICATION theirs FOR TABLE t",
        |shaped| {
            let case = &shaped.case;
            for (user, table, publication) in
                [("limited", "t", "publication = \"theirs\""), ("owner", "forced", "")]
            {
                let source = format!("user = \"{user}\"\n{publication}");
                shaped.configure(&source, &format!("\"public.{table}\""), "");
                let (code, said) = shaped.check();
                assert_ne!(code, 0, "{said}");
                assert!(said.contains("row level security hides rows"), "{said}");
                let run = case.run(&["--once"]).run(crate::case::LIMIT).unwrap();
                assert_ne!(run.code(), 0, "{run:?}");
                assert!(
                    run.stderr.contains("row-level security")
                        || run.stderr.contains("row level security"),
                    "{run:?}"
                );
                let made = case.file().exists()
                    && shaped.rows("SELECT count(*) FROM information_schema.tables WHERE table_schema = 'public'") != ["0"];
                assert!(!made, "{user}");
                case.sql(&format!("ALTER ROLE {user} BYPASSRLS"));
                case.once();
                shaped.compare(&[&format!("public.{table}")]);
                let config = case.directory.path().join("rowtide.toml").display().to_string();
                let teardown = ["teardown", "--yes", "--destination", "--config", &config];
                case.command(&teardown).run(crate::case::LIMIT).unwrap().success().unwrap();
            }
        },
    );
}

#[test]
fn truncate_of_several_tables_keeps_its_place_among_their_rows() {
    crosswise(
        "CREATE TABLE a (id int PRIMARY KEY, v text);
         CREATE TABLE b (id int PRIMARY KEY REFERENCES a, v text);
         CREATE TABLE c (id int PRIMARY KEY REFERENCES b, v text);
         CREATE TABLE bag (v text);
         ALTER TABLE bag REPLICA IDENTITY FULL;
         INSERT INTO a SELECT i, 'v' FROM generate_series(1, 50) i;
         INSERT INTO b SELECT i, 'v' FROM generate_series(1, 50) i;
         INSERT INTO c SELECT i, 'v' FROM generate_series(1, 50) i;
         INSERT INTO bag SELECT 'v' FROM generate_series(1, 50) i",
        |shaped| {
            let all = ["public.a", "public.b", "public.c", "public.bag"];
            shaped.settle(&all);
            shaped.case.transaction(
                "INSERT INTO a VALUES (100, 'gone'); INSERT INTO bag VALUES ('gone'); \
                 UPDATE c SET v = 'gone'; TRUNCATE a, bag CASCADE; INSERT INTO a VALUES (1, 'after'); \
                 INSERT INTO b VALUES (1, 'after'); INSERT INTO bag VALUES ('after'), ('after'); \
                 TRUNCATE c; INSERT INTO c VALUES (1, 'after'); UPDATE c SET v = 'last'; \
                 DELETE FROM bag WHERE ctid = (SELECT min(ctid) FROM bag)",
            );
            shaped.settle(&all);
            assert_eq!(shaped.rows("SELECT v FROM public.c"), ["last"]);
            shaped.case.transaction("TRUNCATE bag; INSERT INTO bag VALUES ('kept'); SAVEPOINT s; TRUNCATE bag; ROLLBACK TO s");
            shaped.settle(&all);
        },
    );
}

#[test]
fn long_transactions_that_lie_across_each_other_end_equal() {
    crosswise(
        "CREATE TABLE t (id int PRIMARY KEY, who text, v int);
         INSERT INTO t SELECT i, 'seed', 0 FROM generate_series(1, 100) i",
        |shaped| {
            let running = shaped.following(1);
            // The pauses only make it likely that the sessions take turns.
            let session = |n: u32| {
                let round = |round: u32| {
                    let (id, own) = (1000 + round * 10 + n, n * 15 + round % 15 + 1);
                    let end = if round.is_multiple_of(3) { "ROLLBACK TO s" } else { "RELEASE s" };
                    format!(
                        "SAVEPOINT s; INSERT INTO t VALUES ({id}, '{n}', {round}); UPDATE t SET \
                         v = v + 1, who = '{n}' WHERE id = {own}; {end}; SELECT pg_sleep(0.01);"
                    )
                };
                let rounds: String = (0..30).map(round).collect();
                let end = if n == 3 { "ROLLBACK" } else { "COMMIT" };
                shaped.case.server.psql(DB, &format!("BEGIN; {rounds} {end}")).unwrap();
            };
            std::thread::scope(|scope| {
                (0..6).for_each(|n| drop(scope.spawn(move || session(n))));
            });
            shaped.settle_running(running, &["public.t"]);
        },
    );
}
