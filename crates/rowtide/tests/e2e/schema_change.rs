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

/// Rows without a key are removed by all their values, also those of a column that is gone before
/// anybody could ask what older rows held in it.
#[test]
fn a_column_that_came_and_went_does_not_hide_rows_without_a_key() {
    let Some(case) = Case::start(
        "CREATE TABLE t (a int);
         ALTER TABLE t REPLICA IDENTITY FULL;
         INSERT INTO t SELECT generate_series(1, 20)",
    ) else {
        return;
    };
    case.once();
    case.transaction(
        "ALTER TABLE t ADD COLUMN c timestamptz NOT NULL DEFAULT '2026-02-09 12:00:08'; \
         DELETE FROM t WHERE a < 5; ALTER TABLE t DROP COLUMN c",
    );
    case.settle(&["public.t"]);
}

#[test]
fn a_change_that_the_log_does_not_tell_is_copied_again() {
    let Some(case) = Case::start(
        "CREATE TABLE t (id int PRIMARY KEY, a int);
         CREATE TABLE v (id int PRIMARY KEY);
         CREATE TABLE other (id int PRIMARY KEY);
         INSERT INTO t VALUES (1, 1);
         INSERT INTO v VALUES (1), (2), (3)",
    ) else {
        return;
    };
    case.once();
    case.sql("ALTER TABLE t ALTER a TYPE text USING 'x' || a;\nINSERT INTO t VALUES (2, 'y');\nINSERT INTO other VALUES (1)");
    case.sql("ALTER TABLE v ADD COLUMN made timestamptz DEFAULT clock_timestamp();\nINSERT INTO v VALUES (4)");
    case.settle(&["public.t", "public.v", "public.other"]);
    // While it runs, another table goes on meanwhile.
    let mut running = case.run(&[]).spawn().unwrap();
    case.wait_until_streaming(&mut running);
    case.sql("ALTER TABLE t ALTER a TYPE bigint USING length(a);\nINSERT INTO t VALUES (3, 7);\nINSERT INTO other VALUES (2)");
    case.wait_until_copied(&mut running, 1);
    case.sql("UPDATE t SET a = a + 1");
    case.wait_until_caught_up(&mut running);
    case.stop(running);
    case.compare(&["public.t", "public.v", "public.other"]);
}

#[test]
fn renamed_columns_are_followed_by_their_number() {
    let Some(case) = Case::start(
        "CREATE TABLE t (id int PRIMARY KEY, a int, b text);
         INSERT INTO t VALUES (1, 1, 'one'), (2, 2, 'two')",
    ) else {
        return;
    };
    case.once();
    case.sql(
        "ALTER TABLE t RENAME COLUMN a TO \"new name\";\nINSERT INTO t VALUES (3, 3, 'three')",
    );
    case.settle(&["public.t"]);
    case.sql("ALTER TABLE t RENAME COLUMN id TO key;\nUPDATE t SET b = 'uno' WHERE key = 1;\nDELETE FROM t WHERE key = 2");
    case.settle(&["public.t"]);
    // A rename after changes of the same table in one epoch.
    case.transaction(
        "UPDATE t SET b = 'dos' WHERE key = 3; ALTER TABLE t RENAME COLUMN b TO c; \
         INSERT INTO t VALUES (4, 4, 'four')",
    );
    case.settle(&["public.t"]);
    let told = case.rows("SELECT change FROM _rowtide.schema_history ORDER BY position, version");
    assert_eq!(
        told,
        ["column a renamed to new name", "column id renamed to key", "column b renamed to c"]
    );
    // Two that swap their names cannot be told apart by the log alone.
    case.transaction(
        "ALTER TABLE t RENAME COLUMN c TO x; ALTER TABLE t RENAME COLUMN \"new name\" TO c; \
         ALTER TABLE t RENAME COLUMN x TO \"new name\"; INSERT INTO t VALUES (5, 'five', 5)"
            .replace("(5, 'five', 5)", "(5, 5, 'five')")
            .as_str(),
    );
    case.settle(&["public.t"]);
}

#[test]
fn a_table_dropped_and_made_again_is_copied_again() {
    let Some(case) = Case::start(
        "CREATE TABLE t (id int PRIMARY KEY, a int);
         CREATE TABLE other (id int PRIMARY KEY);
         INSERT INTO t VALUES (1, 1)",
    ) else {
        return;
    };
    case.once();
    case.sql("DROP TABLE t;\nCREATE TABLE t (id text PRIMARY KEY, b text);\nINSERT INTO t VALUES ('a', 'b');\nINSERT INTO other VALUES (1)");
    case.settle(&["public.t", "public.other"]);
    case.sql("UPDATE t SET b = 'c';\nINSERT INTO t VALUES ('d', 'e')");
    case.settle(&["public.t", "public.other"]);
}

#[test]
fn a_table_can_keep_its_columns_or_wait() {
    let Some(case) = Case::start(
        "CREATE TABLE keeps (id int PRIMARY KEY, a int, b int);
         CREATE TABLE waits (id int PRIMARY KEY);
         INSERT INTO keeps VALUES (1, 1, 1);
         INSERT INTO waits VALUES (1)",
    ) else {
        return;
    };
    case.config(
        "[[table]]\nmatch = \"public.keeps\"\nschema = \"ignore\"\n\n\
         [[table]]\nmatch = \"public.waits\"\nschema = \"pause\"\n",
    );
    case.once();
    case.sql("ALTER TABLE keeps ADD COLUMN c int;\nINSERT INTO keeps VALUES (2, 2, 2, 2);\nALTER TABLE keeps DROP COLUMN b;\nUPDATE keeps SET a = 3 WHERE id = 1");
    case.once();
    case.sql("INSERT INTO keeps VALUES (4, 4, 4)");
    case.once();
    let rows = case.rows(
        "SELECT concat_ws('|', id, a, coalesce(b::VARCHAR, '-')) FROM public.keeps ORDER BY id",
    );
    assert_eq!(rows, ["1|3|-", "2|2|2", "4|4|-"]);
    case.sql("ALTER TABLE waits ADD COLUMN v int;\nINSERT INTO waits VALUES (2, 2)");
    let run = case.run(&["--once"]).run(crate::case::LIMIT).unwrap();
    assert_eq!(run.code(), 5, "{run:?}");
    assert!(run.stderr.contains("column v integer added"), "{run:?}");
    assert_eq!(case.rows("SELECT id::VARCHAR FROM public.waits"), ["1"]);
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

/// What the copies' columns are called.
fn columns(case: &Case, table: &str) -> Vec<String> {
    case.rows(&format!(
        "SELECT column_name FROM duckdb_columns() WHERE schema_name = 'public' \
         AND table_name = '{table}' ORDER BY column_name"
    ))
}

/// The log announces a table before its next row only.
#[test]
fn changed_columns_arrive_before_any_row_follows() {
    let Some(case) = Case::start(
        "CREATE TABLE t (id int PRIMARY KEY, a text, b int);
         CREATE TABLE empty (id int PRIMARY KEY, a int);
         CREATE TABLE parts (id int PRIMARY KEY, a int) PARTITION BY RANGE (id);
         CREATE TABLE part1 PARTITION OF parts FOR VALUES FROM (0) TO (10);
         INSERT INTO parts VALUES (1, 1);
         INSERT INTO t SELECT i, 'a' || i, i FROM generate_series(1, 20) i",
    ) else {
        return;
    };
    let all = ["public.t", "public.empty", "public.parts"];
    case.once();
    case.sql(
        "ALTER TABLE t ADD COLUMN c text DEFAULT 'filled';\nALTER TABLE t DROP COLUMN b;\n\
         ALTER TABLE t RENAME COLUMN a TO renamed;\nALTER TABLE empty RENAME COLUMN a TO b;\n\
         ALTER TABLE parts ADD COLUMN v int",
    );
    case.settle(&all);
    assert_eq!(columns(&case, "t"), ["c", "id", "renamed"]);
    assert_eq!(columns(&case, "empty"), ["b", "id"]);
    assert_eq!(columns(&case, "parts"), ["a", "id", "v"]);
    // While it runs, with rows of another layout right behind.
    let mut running = case.run(&[]).spawn().unwrap();
    case.wait_until_streaming(&mut running);
    case.sql("ALTER TABLE t DROP COLUMN c;\nALTER TABLE empty ADD COLUMN c int");
    rowtide_testkit::wait_for("the changes to be noticed", crate::case::LIMIT, || {
        let applied = running.stderr().matches("schema change applied").count();
        Ok((applied == 2).then_some(()))
    })
    .unwrap();
    case.sql("UPDATE t SET renamed = 'x' WHERE id = 1;\nINSERT INTO empty VALUES (1, 2, 3)");
    case.wait_until_caught_up(&mut running);
    case.stop(running);
    case.compare(&all);
    assert_eq!(columns(&case, "t"), ["id", "renamed"]);
    assert_eq!(columns(&case, "empty"), ["b", "c", "id"]);
    let told = case.rows("SELECT count(*) FROM _rowtide.schema_history WHERE position IS NULL");
    assert_eq!(told, ["0"]);
}

#[test]
fn a_table_without_a_key_by_the_time_of_its_new_copy_stops_alone() {
    let Some(case) = Case::start(
        "CREATE TABLE t (id int PRIMARY KEY, a int);
         CREATE TABLE other (id int PRIMARY KEY);
         INSERT INTO t VALUES (1, 1)",
    ) else {
        return;
    };
    case.once();
    case.sql("ALTER TABLE t ALTER a TYPE text USING 'x' || a;\nINSERT INTO other VALUES (1)");
    let config = case.config("").display().to_string();
    case.command(&["table", "resync", "public.t", "--config", &config])
        .run(crate::case::LIMIT)
        .and_then(rowtide_testkit::Finished::success)
        .unwrap();
    case.sql("ALTER TABLE t DROP CONSTRAINT t_pkey;\nINSERT INTO t VALUES (2, 'y')");
    let run = case.run(&["--once"]).run(crate::case::LIMIT).unwrap();
    assert_eq!(run.code(), 5, "{run:?}");
    assert!(run.stderr.contains("REPLICA IDENTITY FULL"), "{run:?}");
    case.compare(&["public.other"]);
    case.sql("ALTER TABLE t REPLICA IDENTITY FULL");
    case.run(&["--once", "--resync", "public.t"])
        .run(crate::case::LIMIT)
        .and_then(rowtide_testkit::Finished::success)
        .unwrap();
    case.compare(&["public.t", "public.other"]);
}
