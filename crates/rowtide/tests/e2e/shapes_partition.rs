//! Partitioned and inherited tables: one table at the destination, whatever moves beneath it.

use rowtide_sandbox::Major;

use crate::case::LIMIT;
use crate::shaped::{Shaped, To, crosswise};

const PARTITIONED: &str = "
CREATE TABLE t (id int, region text, v text, PRIMARY KEY (id, region)) PARTITION BY LIST (region);
CREATE TABLE t_a PARTITION OF t FOR VALUES IN ('a');
CREATE TABLE t_b PARTITION OF t FOR VALUES IN ('b') PARTITION BY RANGE (id);
CREATE TABLE t_b_low PARTITION OF t_b FOR VALUES FROM (0) TO (100);
CREATE TABLE t_b_high PARTITION OF t_b FOR VALUES FROM (100) TO (1000);
CREATE TABLE other (id int PRIMARY KEY);
INSERT INTO t SELECT i, CASE i % 2 WHEN 0 THEN 'a' ELSE 'b' END, 'v' || i FROM generate_series(1, 200) i";

const BOTH: [&str; 2] = ["public.t", "public.other"];

#[test]
fn a_partitioned_table_is_one_table_and_rows_move_within_it() {
    crosswise(PARTITIONED, |shaped| {
        let case = &shaped.case;
        shaped.settle(&BOTH);
        let tables = shaped.rows(
            "SELECT table_name FROM information_schema.tables \
             WHERE table_schema = 'public' ORDER BY table_name",
        );
        assert_eq!(tables, ["other", "t"], "the partitions are no tables of their own");
        case.sql(
            "UPDATE t SET region = 'b' WHERE id IN (2, 4, 6);
             UPDATE t SET id = id + 500, v = 'moved' WHERE region = 'b' AND id < 20;
             DELETE FROM t WHERE id = 8;
             CREATE TABLE t_c PARTITION OF t FOR VALUES IN ('c');
             INSERT INTO t VALUES (1, 'c', 'new');
             TRUNCATE t_c, t_b_high",
        );
        // Both partitions were emptied; only one of them had rows before.
        shaped.settle(&BOTH);
        case.sql("TRUNCATE t;\nINSERT INTO t VALUES (1, 'a', 'after')");
        let run = shaped.settle(&BOTH);
        assert!(run.stderr.contains("copied again"), "a whole TRUNCATE looks like one: {run:?}");
        let run = shaped.settle(&BOTH);
        assert!(!run.stderr.contains("copied again"), "nothing happened: {run:?}");
    });
}

#[test]
fn rows_that_come_and_go_with_a_partition_while_stopped() {
    crosswise(PARTITIONED, |shaped| {
        let case = &shaped.case;
        shaped.settle(&BOTH);
        case.sql(
            "CREATE TABLE t_c (id int, region text, v text, PRIMARY KEY (id, region));
             INSERT INTO t_c SELECT i, 'c', 'came' FROM generate_series(1, 30) i;
             ALTER TABLE t ATTACH PARTITION t_c FOR VALUES IN ('c')",
        );
        let run = shaped.settle(&BOTH);
        assert!(run.stderr.contains("attached"), "{run:?}");
        case.sql("UPDATE t SET v = 'seen' WHERE region = 'c' AND id = 3");
        let run = shaped.settle(&BOTH);
        assert!(!run.stderr.contains("copied again"), "{run:?}");
        // In any schema the pipeline does not select.
        case.sql("CREATE SCHEMA attic;\nALTER TABLE t DETACH PARTITION t_c;\nALTER TABLE t_c SET SCHEMA attic");
        let run = shaped.settle(&BOTH);
        assert!(run.stderr.contains("detached"), "{run:?}");
        case.sql("DROP TABLE t_b_low");
        shaped.settle(&BOTH);
        case.sql("TRUNCATE t_a");
        shaped.settle(&BOTH);
    });
}

#[test]
fn a_partition_that_lived_only_while_stopped_leaves_nothing() {
    crosswise(PARTITIONED, |shaped| {
        shaped.settle(&BOTH);
        shaped.case.sql(
            "CREATE TABLE t_c PARTITION OF t FOR VALUES IN ('c');
             INSERT INTO t SELECT i, 'c', 'brief' FROM generate_series(1, 10) i;
             INSERT INTO other VALUES (1);
             DROP TABLE t_c;
             INSERT INTO t VALUES (201, 'a', 'later')",
        );
        let run = shaped.settle(&BOTH);
        assert!(run.stderr.contains("is none by now"), "{run:?}");
        let run = shaped.settle(&BOTH);
        assert!(!run.stderr.contains("copied again"), "{run:?}");
    });
}

#[test]
fn rows_that_come_and_go_with_a_partition_while_running() {
    crosswise(PARTITIONED, |shaped| {
        let case = &shaped.case;
        let mut running = shaped.following(2);
        case.sql(
            "CREATE TABLE t_c (id int, region text, v text, PRIMARY KEY (id, region));
             INSERT INTO t_c SELECT i, 'c', repeat('big', 5000) FROM generate_series(1, 30) i;
             ALTER TABLE t ATTACH PARTITION t_c FOR VALUES IN ('c');
             UPDATE t SET id = id + 100 WHERE region = 'c' AND id < 5;
             INSERT INTO other VALUES (1)",
        );
        // The log names the partition before its first row.
        shaped.wait_until_said(&mut running, "copy in place", 3);
        case.wait_until_caught_up(&mut running);
        // No message at all: the guard notices.
        case.sql("ALTER TABLE t DETACH PARTITION t_c;\nDROP TABLE t_c");
        shaped.wait_until_said(&mut running, "copy in place", 4);
        case.sql("TRUNCATE t_a;\nINSERT INTO other VALUES (2)");
        shaped.wait_until_said(&mut running, "copy in place", 5);
        // One that is made empty costs nothing.
        case.sql(
            "CREATE TABLE t_d PARTITION OF t FOR VALUES IN ('d');
             INSERT INTO t SELECT i, 'd', 'new' FROM generate_series(1, 30) i",
        );
        case.wait_until_caught_up(&mut running);
        assert_eq!(running.stderr().matches("copied again").count(), 3, "{}", running.stderr());
        // It was stored with its rows that it exists: gone while nobody looks.
        case.stop(running);
        case.sql("DROP TABLE t_d");
        shaped.settle(&BOTH);
    });
}

#[test]
fn a_table_that_becomes_a_partition_goes_on_in_its_root() {
    crosswise(PARTITIONED, |shaped| {
        let case = &shaped.case;
        case.sql(
            "CREATE TABLE t_c (id int, region text, v text, PRIMARY KEY (id, region));
             INSERT INTO t_c VALUES (1, 'c', 'own')",
        );
        let mut running = shaped.following(3);
        case.sql(
            "ALTER TABLE t ATTACH PARTITION t_c FOR VALUES IN ('c');
             UPDATE t SET v = 'root' WHERE region = 'c'",
        );
        shaped.wait_until_said(&mut running, "copy in place", 4);
        shaped.wait_until_said(&mut running, "its copy stays", 1);
        case.wait_until_caught_up(&mut running);
        case.stop(running);
        shaped.compare(&BOTH);
    });
}

#[test]
fn inherited_tables_have_each_their_own_rows() {
    crosswise(
        "CREATE TABLE parent (id int PRIMARY KEY, v text);
         CREATE TABLE child (extra int, PRIMARY KEY (id)) INHERITS (parent);
         CREATE TABLE grandchild (PRIMARY KEY (id)) INHERITS (child);
         INSERT INTO parent VALUES (1, 'p');
         INSERT INTO child VALUES (1, 'c', 7);
         INSERT INTO grandchild VALUES (1, 'g', 8)",
        |shaped| {
            let own = |shaped: &Shaped| {
                for table in ["parent", "child", "grandchild"] {
                    let sql = format!("SELECT id || ' ' || v FROM {table} ORDER BY 1");
                    let there = shaped.case.value(&sql.replace("FROM", "FROM ONLY"));
                    let here = shaped.rows(&sql.replace("FROM ", "FROM public."));
                    assert_eq!(here.join("\n"), there, "{table}");
                }
            };
            shaped.case.once();
            own(shaped);
            shaped.case.sql(
                "UPDATE parent SET v = v || '!';
                 INSERT INTO child VALUES (2, 'c2', 1);
                 DELETE FROM parent WHERE v = 'g!';
                 ALTER TABLE parent ADD COLUMN w int;
                 UPDATE parent SET w = id",
            );
            shaped.case.once();
            own(shaped);
            shaped.case.sql("TRUNCATE ONLY parent;\nINSERT INTO grandchild VALUES (5, 'g5', 1, 1)");
            shaped.case.once();
            own(shaped);
            shaped.case.sql("TRUNCATE parent;\nINSERT INTO child VALUES (9, 'c9', 1, 1)");
            shaped.case.once();
            own(shaped);
        },
    );
}

#[test]
fn partitions_whose_changes_are_not_logged_are_refused() {
    crosswise(PARTITIONED, |shaped| {
        shaped.case.sql("CREATE UNLOGGED TABLE t_u PARTITION OF t FOR VALUES IN ('u')");
        let (code, said) = shaped.check();
        assert_ne!(code, 0, "{said}");
        assert!(said.contains("its partition public.t_u is unlogged"), "{said}");
        shaped.ends(2, &["public.t", "public.t_u is unlogged"]);
        assert_eq!(shaped.case.value("SELECT count(*) FROM pg_publication"), "0");
        shaped.case.sql("DROP TABLE t_u");
        let mut running = shaped.following(2);
        shaped.case.sql("CREATE UNLOGGED TABLE t_u PARTITION OF t FOR VALUES IN ('u')");
        shaped.wait_until_said(&mut running, "table stopped", 1);
        shaped.case.sql("INSERT INTO other VALUES (1)");
        shaped.settle_stopped(running, &["public.other"]);
        shaped.ends(5, &["public.t_u is unlogged"]);
    });
}

#[test]
fn a_rewrite_with_other_values_of_the_same_type_is_copied_again() {
    crosswise(
        "CREATE TABLE t (id int PRIMARY KEY, v int);
         CREATE TABLE other (id int PRIMARY KEY);
         INSERT INTO t SELECT i, i FROM generate_series(1, 50) i",
        |shaped| {
            shaped.settle(&BOTH);
            shaped.case.sql("ALTER TABLE t ALTER v TYPE int USING v + 1");
            shaped.settle(&BOTH);
            let mut running = shaped.following(0);
            shaped.case.sql("VACUUM FULL t;\nCLUSTER t USING t_pkey;\nTRUNCATE other");
            shaped.case.sql("ALTER TABLE t ALTER v TYPE int USING v + 1");
            shaped.wait_until_said(&mut running, "copy in place", 1);
            shaped.settle_running(running, &BOTH);
            // What keeps the values costs nothing.
            shaped.case.sql("VACUUM FULL t;\nCLUSTER t USING t_pkey;\nTRUNCATE other");
            let run = shaped.settle(&BOTH);
            assert!(!run.stderr.contains("copied again"), "{run:?}");
        },
    );
}

/// Towards both destinations, from the version that takes a partition for its root's, also after it
/// was detached, for as long as a session of the log lasts.
fn from_14(test: impl Fn(&Shaped)) {
    for to in [To::Duckdb, To::Postgres] {
        if let Some(shaped) = Shaped::start(Major::V14, to, PARTITIONED) {
            shaped.settle(&BOTH);
            test(&shaped);
        }
    }
}

/// The partition leaves after one of its rows was changed; later, the columns differ.
const LEAVES: [&str; 4] = [
    "UPDATE t SET v = 'before' WHERE id = 2",
    "ALTER TABLE t DETACH PARTITION t_a",
    "ALTER TABLE t RENAME COLUMN v TO renamed",
    "UPDATE t_a SET v = 'after' WHERE id = 2",
];

#[test]
fn a_partition_that_was_detached_and_differs_does_not_end_the_run() {
    from_14(|shaped| {
        let case = &shaped.case;
        LEAVES.iter().for_each(|sql| case.sql(sql));
        case.sql("INSERT INTO other VALUES (1)");
        let run = shaped.settle(&["public.t", "public.t_a", "public.other"]);
        assert!(run.stderr.contains("could not convert row type"), "the server does: {run:?}");
        let run = shaped.settle(&["public.t", "public.t_a", "public.other"]);
        assert!(!run.stderr.contains("copied again"), "{run:?}");
    });
}

#[test]
fn the_rows_of_a_detached_partition_do_not_come_back() {
    from_14(|shaped| {
        let case = &shaped.case;
        case.sql("CREATE SCHEMA attic");
        case.sql("UPDATE t SET v = 'before' WHERE id = 2");
        case.sql("ALTER TABLE t DETACH PARTITION t_a");
        case.sql("ALTER TABLE t_a SET SCHEMA attic");
        let running = shaped.following(1);
        assert!(running.stderr().contains("detached"), "{}", running.stderr());
        case.sql("INSERT INTO attic.t_a VALUES (1001, 'a', 'not of t')");
        shaped.settle_running(running, &BOTH);
    });
}

#[test]
fn one_transaction_that_cannot_be_decoded_is_left_behind_by_the_commands_that_are_told() {
    from_14(|shaped| {
        let case = &shaped.case;
        case.sql("INSERT INTO other VALUES (1)");
        case.transaction(&LEAVES.join("; "));
        case.sql("INSERT INTO other VALUES (2)");
        let run = case.run(&["--once"]).run(LIMIT).unwrap();
        assert_eq!(run.code(), 5, "{run:?}");
        let last = run.stderr.lines().last().unwrap_or_default();
        for words in ["could not convert row type", "position_lost", "--resync '*'"] {
            assert!(last.contains(words), "`{words}` is missing: {last}");
        }
        // What came before is there.
        assert_eq!(shaped.rows("SELECT id FROM public.other"), ["1"]);
        let from = last.find("SELECT pg_drop_replication_slot(").expect("the command");
        let to = last[from..].find(';').expect("its end");
        case.sql(&last[from..from + to]);
        case.run(&["--once", "--resync", "*"]).run(LIMIT).unwrap().success().unwrap();
        shaped.compare(&["public.t", "public.t_a", "public.other"]);
        case.sql("UPDATE t SET renamed = 'later' WHERE id = 1");
        case.sql("UPDATE t_a SET v = 'later' WHERE id = 4");
        shaped.settle(&["public.t", "public.t_a", "public.other"]);
    });
}
