//! What rows are told apart by: each kind works, or is refused before a row is touched, and the
//! application's own statements go on.

use rowtide_sandbox::Major;

use crate::shaped::{crosswise, each};

#[test]
fn every_replica_identity_that_identifies_is_followed() {
    let tables = ["public.by_default", "public.by_index", "public.whole", "public.whole_with_key"];
    crosswise(
        "CREATE TABLE by_default (id int PRIMARY KEY, v text);
         CREATE TABLE by_index (id int PRIMARY KEY, code text NOT NULL UNIQUE, v text);
         ALTER TABLE by_index REPLICA IDENTITY USING INDEX by_index_code_key;
         CREATE TABLE whole (a int, v text);
         ALTER TABLE whole REPLICA IDENTITY FULL;
         CREATE TABLE whole_with_key (id int PRIMARY KEY, v text);
         ALTER TABLE whole_with_key REPLICA IDENTITY FULL;
         INSERT INTO by_default SELECT i, 'v' FROM generate_series(1, 20) i;
         INSERT INTO by_index SELECT i, 'c' || i, repeat('x', 3000) FROM generate_series(1, 20) i;
         INSERT INTO whole SELECT i % 4, 'v' FROM generate_series(1, 20) i;
         INSERT INTO whole_with_key SELECT i, 'v' FROM generate_series(1, 20) i",
        |shaped| {
            shaped.settle(&tables);
            shaped.case.sql(
                "UPDATE by_default SET v = 'w', id = -id WHERE id < 5;
                 UPDATE by_index SET id = -id WHERE id < 5;
                 UPDATE by_index SET code = code || 'x' WHERE id > 15;
                 DELETE FROM by_index WHERE id = 10;
                 UPDATE whole SET v = 'w' WHERE a = 1;
                 DELETE FROM whole WHERE ctid IN (SELECT ctid FROM whole WHERE a = 2 LIMIT 2);
                 UPDATE whole_with_key SET id = id + 100 WHERE id < 5;
                 DELETE FROM whole_with_key WHERE id = 9",
            );
            // Keys that pass through each other's values, in one transaction.
            shaped.case.transaction(
                "UPDATE by_default SET id = 1000 WHERE id = 10; \
                 UPDATE by_default SET id = 10, v = 'eleven' WHERE id = 11; \
                 UPDATE by_default SET id = 11, v = 'ten' WHERE id = 1000; \
                 UPDATE by_index SET code = 't' WHERE code = 'c11'; \
                 UPDATE by_index SET code = 'c11' WHERE code = 'c12'; \
                 UPDATE by_index SET code = 'c12' WHERE code = 't'",
            );
            shaped.settle(&tables);
        },
    );
}

#[test]
fn what_identifies_no_row_is_refused_and_harms_nobody() {
    crosswise(
        "CREATE TABLE nothing (id int PRIMARY KEY, v int);
         ALTER TABLE nothing REPLICA IDENTITY NOTHING;
         CREATE TABLE late (id int PRIMARY KEY DEFERRABLE INITIALLY DEFERRED, v int);
         CREATE TABLE unique_only (id int NOT NULL UNIQUE, v int);
         CREATE TABLE index_gone (id int PRIMARY KEY, code int NOT NULL UNIQUE);
         ALTER TABLE index_gone REPLICA IDENTITY USING INDEX index_gone_code_key;
         ALTER TABLE index_gone DROP CONSTRAINT index_gone_code_key;
         INSERT INTO nothing VALUES (1, 1);
         INSERT INTO late VALUES (1, 1), (2, 2);
         INSERT INTO unique_only VALUES (1, 1);
         INSERT INTO index_gone VALUES (1, 1)",
        |shaped| {
            for (table, why) in [
                ("nothing", "REPLICA IDENTITY is NOTHING"),
                ("late", "its primary key is deferrable"),
                ("unique_only", "it has no primary key"),
                ("index_gone", "the index of its REPLICA IDENTITY is gone"),
            ] {
                shaped.configure("", &format!("\"public.{table}\""), "");
                let (code, said) = shaped.check();
                assert_ne!(code, 0, "{table}: {said}");
                assert!(said.contains(why), "{table}: {said}");
                shaped.ends(2, &[&format!("public.{table}"), "REPLICA IDENTITY"]);
                let id = if table == "index_gone" { "code" } else { "v" };
                shaped.case.sql(&format!("UPDATE {table} SET {id} = {id} + 10"));
            }
            assert_eq!(shaped.case.value("SELECT count(*) FROM pg_publication"), "0");
            assert_eq!(shaped.case.value("SELECT count(*) FROM pg_replication_slots"), "0");
            // The events of a table without identity can be kept, and its writers go on.
            shaped.configure(
                "",
                "\"public.nothing\"",
                "[[table]]\nmatch = \"*.*\"\nmode = \"append\"",
            );
            shaped.case.once();
            shaped.case.sql("INSERT INTO nothing VALUES (2, 2);\nUPDATE nothing SET v = 3;\nDELETE FROM nothing WHERE id = 1");
            shaped.case.once();
            let rows =
                shaped.rows("SELECT _rowtide_op || ' ' || id FROM public.nothing ORDER BY id, 1");
            assert_eq!(rows, ["snapshot 1", "insert 2"]);
        },
    );
}

#[test]
fn a_deferrable_key_is_followed_by_whole_rows() {
    crosswise(
        "CREATE TABLE t (id int PRIMARY KEY DEFERRABLE INITIALLY DEFERRED, v text);
         ALTER TABLE t REPLICA IDENTITY FULL;
         INSERT INTO t SELECT i, 'v' || i FROM generate_series(1, 20) i",
        |shaped| {
            shaped.settle(&["public.t"]);
            shaped.case.transaction(
                "UPDATE t SET id = 2 WHERE v = 'v1'; UPDATE t SET id = 1 WHERE v = 'v2'; \
                 UPDATE t SET id = id + 1 WHERE id > 10",
            );
            shaped.settle(&["public.t"]);
        },
    );
}

#[test]
fn rows_without_a_key_stay_a_multiset() {
    crosswise(
        "CREATE TABLE bag (x int, y text, z numeric);
         ALTER TABLE bag REPLICA IDENTITY FULL;
         INSERT INTO bag SELECT i % 3, NULLIF(i % 2, 0)::text, 1.50 FROM generate_series(1, 60) i",
        |shaped| {
            shaped.settle(&["public.bag"]);
            shaped.case.transaction(
                "INSERT INTO bag SELECT 1, NULL, NULL FROM generate_series(1, 5); \
                 DELETE FROM bag WHERE ctid IN (SELECT ctid FROM bag WHERE x = 1 AND z IS NULL LIMIT 2); \
                 UPDATE bag SET y = 'same' WHERE x = 2; UPDATE bag SET x = 1 WHERE x = 2; \
                 DELETE FROM bag WHERE ctid IN (SELECT ctid FROM bag WHERE x = 1 AND y = 'same' LIMIT 7)",
            );
            shaped.settle(&["public.bag"]);
        },
    );
}

#[test]
fn an_identity_lost_while_running_stops_its_table_and_lets_the_writers_go_on() {
    each(
        &[Major::V14, Major::V18],
        "CREATE TABLE t (id int PRIMARY KEY, code int NOT NULL UNIQUE, v int);
         ALTER TABLE t REPLICA IDENTITY USING INDEX t_code_key;
         CREATE TABLE other (id int PRIMARY KEY);
         INSERT INTO t VALUES (1, 1, 1)",
        |shaped| {
            let mut running = shaped.following(2);
            shaped.case.sql("ALTER TABLE t DROP CONSTRAINT t_code_key");
            shaped.wait_until_said(&mut running, "table stopped", 1);
            shaped.wait_until_said(&mut running, "source attached", 2);
            shaped.case.sql("UPDATE t SET v = 2;\nINSERT INTO other VALUES (1)");
            shaped.settle_stopped(running, &["public.other"]);
            shaped.ends(5, &["lost its key", "REPLICA IDENTITY"]);
            // Once it is identified again, a new copy puts it right.
            shaped.case.sql("ALTER TABLE t REPLICA IDENTITY DEFAULT;\nUPDATE t SET v = 3");
            let resync = shaped.case.run(&["--once", "--resync", "public.t"]);
            resync.run(crate::case::LIMIT).unwrap().success().unwrap();
            shaped.case.sql("UPDATE t SET v = 4");
            shaped.settle(&["public.t", "public.other"]);
            // While it is stopped, too.
            shaped.case.sql("ALTER TABLE t REPLICA IDENTITY NOTHING");
            shaped.ends(5, &["lost its key"]);
            shaped.case.sql("UPDATE t SET v = 5");
        },
    );
}
