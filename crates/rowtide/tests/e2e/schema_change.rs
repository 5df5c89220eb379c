//! Columns that come and go while the pipeline runs or is stopped.

use crate::case::Case;

#[test]
fn added_and_dropped_columns_are_followed() {
    let Some(case) = Case::start(
        "CREATE TABLE t (id int PRIMARY KEY, a text, b int);
         INSERT INTO t SELECT i, 'a' || i, i FROM generate_series(1, 20) i",
    ) else {
        return;
    };
    case.once();
    case.sql("ALTER TABLE t ADD COLUMN c numeric(8,2);\nUPDATE t SET c = id * 1.5 WHERE id < 10");
    case.settle(&["public.t"]);
    case.sql("ALTER TABLE t ADD COLUMN d text DEFAULT 'filled';\nINSERT INTO t (id) VALUES (100)");
    case.settle(&["public.t"]);
    case.sql("ALTER TABLE t DROP COLUMN a;\nUPDATE t SET b = -b WHERE id > 15");
    case.settle(&["public.t"]);
    case.transaction(
        "INSERT INTO t (id, b) VALUES (200, 1); ALTER TABLE t ADD COLUMN e int DEFAULT 5; \
         INSERT INTO t (id, e) VALUES (201, 6); ALTER TABLE t DROP COLUMN b; DELETE FROM t WHERE id = 3",
    );
    case.settle(&["public.t"]);
}

#[test]
fn a_change_that_cannot_be_followed_stops_only_its_table() {
    let Some(case) = Case::start(
        "CREATE TABLE t (id int PRIMARY KEY, a int);
         CREATE TABLE other (id int PRIMARY KEY);
         INSERT INTO t VALUES (1, 1)",
    ) else {
        return;
    };
    case.once();
    case.sql("ALTER TABLE t ALTER a TYPE text USING 'x' || a;\nINSERT INTO t VALUES (2, 'y');\nINSERT INTO other VALUES (1)");
    let run = case.run(&["--once"]).run(crate::case::LIMIT).unwrap();
    assert_eq!(run.code(), 5, "{run:?}");
    assert!(run.stderr.contains("public.t"), "{run:?}");
    case.compare(&["public.other"]);
    case.run(&["--once", "--resync", "public.t"])
        .run(crate::case::LIMIT)
        .unwrap()
        .success()
        .unwrap();
    case.compare(&["public.t", "public.other"]);
}

#[test]
fn a_column_that_the_destination_cannot_hold_stops_only_its_table() {
    let Some(case) = Case::start(
        "CREATE TABLE t (id int PRIMARY KEY, v int);
         CREATE TABLE other (id int PRIMARY KEY)",
    ) else {
        return;
    };
    case.once();
    case.sql("ALTER TABLE t ADD COLUMN \"V\" int;\nINSERT INTO t VALUES (2, 2, 2);\nINSERT INTO other VALUES (1)");
    let run = case.run(&["--once"]).run(crate::case::LIMIT).unwrap();
    assert_eq!(run.code(), 5, "{run:?}");
    assert!(run.stderr.contains("differ only in case"), "{run:?}");
    case.compare(&["public.other"]);
}
