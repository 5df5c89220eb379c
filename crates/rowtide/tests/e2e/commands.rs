//! The other commands, as a user would try them.

use crate::case::{Case, LIMIT};

const ONE_TABLE: &str =
    "CREATE TABLE t (id int PRIMARY KEY, v text);\nINSERT INTO t VALUES (1, 'a')";

#[test]
fn status_tells_both_sides() {
    let Some(case) = Case::start(ONE_TABLE) else { return };
    case.once();
    let config = case.config("").display().to_string();
    let run = case
        .command(&["status", "--json", "--config", &config])
        .run(LIMIT)
        .unwrap()
        .success()
        .unwrap();
    for word in ["streaming", "public", "checkpoint", "retained_bytes"] {
        assert!(run.stdout.contains(word), "`{word}` is missing: {}", run.stdout);
    }
    case.command(&["status", "--config", &config]).run(LIMIT).unwrap().success().unwrap();
}

#[test]
fn check_finds_nothing_to_complain_about() {
    let Some(case) = Case::start(ONE_TABLE) else { return };
    let config = case.config("").display().to_string();
    case.command(&["check", "--config", &config]).run(LIMIT).unwrap().success().unwrap();
    assert_eq!(case.value("SELECT count(*) FROM pg_replication_slots"), "0");
}

#[test]
fn simulate_makes_what_it_is_told() {
    let Some(case) = Case::start(ONE_TABLE) else { return };
    case.sql("INSERT INTO t SELECT i, 'x' FROM generate_series(2, 50) i");
    case.once();
    let config = case.config("").display().to_string();
    case.command(&["simulate", "5", "2", "1", "--config", &config])
        .run(LIMIT)
        .unwrap()
        .success()
        .unwrap();
    assert_eq!(case.value("SELECT count(*) FROM t"), "54");
    case.settle(&["public.t"]);
}

#[test]
fn tap_shows_changes_without_moving_the_slot() {
    let Some(case) = Case::start(ONE_TABLE) else { return };
    case.once();
    let before = case.value("SELECT confirmed_flush_lsn FROM pg_replication_slots");
    let config = case.config("").display().to_string();
    let mut tap = case.command(&["tap", "--limit", "2", "--config", &config]).spawn().unwrap();
    case.wait_until_streaming(&mut tap);
    case.sql("INSERT INTO t VALUES (7, 'seven')");
    case.sql("DELETE FROM t WHERE id = 7");
    let run = tap.wait(LIMIT).unwrap().success().unwrap();
    let lines: Vec<&str> = run.stdout.lines().collect();
    assert_eq!(lines.len(), 2, "{run:?}");
    assert!(lines[0].contains("\"insert\"") && lines[0].contains("seven"), "{}", lines[0]);
    assert!(lines[1].contains("\"delete\""), "{}", lines[1]);
    assert_eq!(case.value("SELECT confirmed_flush_lsn FROM pg_replication_slots"), before);
}

#[test]
fn teardown_leaves_nothing_behind() {
    let Some(case) = Case::start(ONE_TABLE) else { return };
    case.once();
    let config = case.config("").display().to_string();
    case.command(&["teardown", "--yes", "--destination", "--config", &config])
        .run(LIMIT)
        .unwrap()
        .success()
        .unwrap();
    assert_eq!(case.value("SELECT count(*) FROM pg_replication_slots"), "0");
    assert_eq!(case.value("SELECT count(*) FROM pg_publication"), "0");
    let left = case.rows("SELECT count(*) FROM duckdb_tables() WHERE schema_name <> 'main'");
    assert_eq!(left, ["0"]);
    case.settle(&["public.t"]);
}

#[test]
fn init_writes_a_configuration_that_works() {
    let Some(case) = Case::start(ONE_TABLE) else { return };
    let url = case.server.url("postgres");
    let path = case.directory.path().join("made.toml").display().to_string();
    let to = format!("duckdb:{}", case.file().display());
    case.command(&["init", "--from", &url, "--to", &to, &path])
        .run(LIMIT)
        .unwrap()
        .success()
        .unwrap();
    case.command(&["run", "--once", "--config", &path]).run(LIMIT).unwrap().success().unwrap();
    case.compare(&["public.t"]);
}

#[test]
fn completions_and_schema_are_printed() {
    let directory = tempfile::tempdir().unwrap();
    for (arguments, word) in [
        (&["completions", "bash"][..], "rowtide"),
        (&["config", "schema"][..], "$schema"),
        (&["help"][..], "teardown"),
    ] {
        let run = rowtide_testkit::RowtideCommand::new(
            env!("CARGO_BIN_EXE_rowtide"),
            directory.path(),
            arguments.iter().copied(),
        )
        .run(LIMIT)
        .and_then(rowtide_testkit::Finished::success)
        .unwrap();
        assert!(run.stdout.contains(word), "{arguments:?}: {}", run.stdout);
    }
}
