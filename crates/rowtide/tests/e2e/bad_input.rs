//! Bad input gets one clear error and loses nothing.

use rowtide_sandbox::ServerOptions;
use rowtide_testkit::Finished;

use crate::case::{Case, DB, LIMIT};

const ONE_TABLE: &str = "CREATE TABLE t (id int PRIMARY KEY);\nINSERT INTO t VALUES (1)";

/// Runs with `arguments`, expecting `code` and every one of `words` on standard error.
fn refused(case: &Case, arguments: &[&str], code: i32, words: &[&str]) -> Finished {
    let run = case.command(arguments).run(LIMIT).unwrap();
    assert_eq!(run.code(), code, "{run:?}");
    for word in words {
        assert!(run.stderr.contains(word), "`{word}` is missing: {}", run.stderr);
    }
    run
}

fn url(case: &Case, user: &str) -> String {
    format!("postgres://{user}@127.0.0.1:{}/{DB}", case.server.port())
}

#[test]
fn a_wrong_password_is_an_access_error_that_hides_it() {
    let options =
        ServerOptions { auth_scram_password: Some("right".into()), ..ServerOptions::default() };
    let Some(case) = Case::start_on(&options, ONE_TABLE) else { return };
    let from = url(&case, "postgres:wr0ng-secret");
    let run = refused(
        &case,
        &["run", "--once", "--from", &from, "--to", "duckdb:w.duckdb", "--tables", "public.*"],
        3,
        &["password", "hint"],
    );
    assert!(!run.stderr.contains("wr0ng-secret") && !run.stdout.contains("wr0ng-secret"));
}

#[test]
fn a_wrong_host_is_unavailable_after_a_short_while() {
    let Some(case) = Case::start(ONE_TABLE) else { return };
    let from = "postgres://postgres@127.0.0.1:1/postgres";
    refused(
        &case,
        &["run", "--once", "--from", from, "--to", "duckdb:w.duckdb", "--tables", "public.*"],
        4,
        &["127.0.0.1", "hint"],
    );
}

#[test]
fn wal_level_must_be_logical() {
    let options = ServerOptions::default().with_setting("wal_level", "replica");
    let Some(case) = Case::start_on(&options, ONE_TABLE) else { return };
    let run = case.run(&["--once"]).run(LIMIT).unwrap();
    assert_ne!(run.code(), 0);
    assert!(run.stderr.contains("ALTER SYSTEM SET wal_level"), "{run:?}");
}

#[test]
fn a_role_without_replication_is_told_so() {
    let Some(case) = Case::start(ONE_TABLE) else { return };
    case.sql("CREATE ROLE weak LOGIN;\nGRANT SELECT ON t TO weak");
    let from = url(&case, "weak");
    let run = case
        .command(&["check", "--from", &from, "--to", "duckdb:w.duckdb", "--tables", "public.*"])
        .run(LIMIT)
        .unwrap();
    assert_ne!(run.code(), 0, "{run:?}");
    let said = format!("{}{}", run.stdout, run.stderr);
    assert!(said.contains("REPLICATION"), "{run:?}");
    assert_eq!(case.value("SELECT count(*) FROM pg_publication"), "0");
}

#[test]
fn a_table_without_identity_is_refused_before_anything_is_published() {
    let Some(case) = Case::start("CREATE TABLE nokey (a int);\nINSERT INTO nokey VALUES (1)")
    else {
        return;
    };
    let run = case.run(&["--once"]).run(LIMIT).unwrap();
    assert_ne!(run.code(), 0, "{run:?}");
    assert!(run.stderr.contains("REPLICA IDENTITY FULL"), "{run:?}");
    case.sql("UPDATE nokey SET a = 2");
    assert_eq!(case.value("SELECT count(*) FROM pg_publication"), "0");
}

#[test]
fn a_pattern_that_names_no_table_is_refused() {
    let Some(case) = Case::start(ONE_TABLE) else { return };
    let from = case.server.url(DB);
    refused(
        &case,
        &[
            "run",
            "--once",
            "--from",
            &from,
            "--to",
            "duckdb:w.duckdb",
            "--tables",
            "public.missing",
        ],
        2,
        &["public.missing"],
    );
}

#[test]
fn no_free_slot_is_said_with_the_remedy() {
    let options = ServerOptions::default().with_setting("max_replication_slots", "1");
    let Some(case) = Case::start_on(&options, ONE_TABLE) else { return };
    case.sql("SELECT pg_create_logical_replication_slot('taken', 'pgoutput')");
    let run = case.run(&["--once"]).run(LIMIT).unwrap();
    assert_ne!(run.code(), 0);
    assert!(run.stderr.contains("max_replication_slots"), "{run:?}");
}

#[test]
fn a_dropped_publication_stops_the_pipeline() {
    let Some(case) = Case::start(ONE_TABLE) else { return };
    case.once();
    let name = case.value("SELECT pubname FROM pg_publication WHERE pubname !~ 'inserts'");
    case.sql(&format!(
        "DROP PUBLICATION {name};\nCREATE PUBLICATION {name} FOR TABLE t;\nINSERT INTO t VALUES (2)"
    ));
    let run = case.run(&["--once"]).run(LIMIT).unwrap();
    assert_eq!(run.code(), 5, "{run:?}");
    assert!(run.stderr.contains(&name), "{run:?}");
}

#[test]
fn a_slot_that_someone_moved_stops_the_pipeline() {
    let Some(case) = Case::start(ONE_TABLE) else { return };
    case.once();
    case.sql(
        "INSERT INTO t VALUES (2);
         SELECT pg_replication_slot_advance(slot_name, pg_current_wal_lsn()) FROM pg_replication_slots",
    );
    let run = case.run(&["--once"]).run(LIMIT).unwrap();
    assert_eq!(run.code(), 5, "{run:?}");
}

#[test]
fn a_file_held_by_another_process_is_named() {
    let Some(case) = Case::start(ONE_TABLE) else { return };
    let mut holder = case.run(&[]).spawn().unwrap();
    case.wait_until_streaming(&mut holder);
    let run = case.run(&["--once"]).run(LIMIT).unwrap();
    assert_eq!(run.code(), 4, "{run:?}");
    assert!(run.stderr.contains("warehouse.duckdb"), "{run:?}");
    case.stop(holder);
    case.settle(&["public.t"]);
}

#[test]
fn a_target_that_rowtide_did_not_make_is_left_alone() {
    let Some(case) = Case::start(ONE_TABLE) else { return };
    let from = case.server.url(DB);
    case.once();
    case.sql("CREATE TABLE u (id int PRIMARY KEY)");
    let run = case
        .command(&[
            "run",
            "--once",
            "--from",
            &from,
            "--to",
            &format!("duckdb:{}", case.file().display()),
            "--tables",
            "public.t",
            "--pipeline",
            "second",
        ])
        .run(LIMIT)
        .unwrap();
    assert_eq!(run.code(), 2, "{run:?}");
    assert!(run.stderr.contains("public.t"), "{run:?}");
    case.settle(&["public.t"]);
}

#[test]
fn every_mistake_of_a_configuration_is_reported_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("bad.toml");
    std::fs::write(
        &path,
        "version = 1\ncolour = \"red\"\n[source]\nurl = \"postgres://h/db\"\n[destination]\nurl = \"duckdb:w.duckdb\"\n\
         [tables]\ninclude = [\"a.b.c\"]\n[run]\nmode = \"sometimes\"\n[stream]\nbuffer_bytes = \"lots\"\n[retry]\nmax = 5\n",
    )
    .unwrap();
    let run = rowtide_testkit::RowtideCommand::new(
        env!("CARGO_BIN_EXE_rowtide"),
        directory.path(),
        ["run", "--config", &path.display().to_string()],
    )
    .run(LIMIT)
    .unwrap();
    assert_eq!(run.code(), 2, "{run:?}");
    for part in ["colour", "a.b.c", "run.mode", "stream.buffer_bytes", "retry.max"] {
        assert!(run.stderr.contains(part), "`{part}` is missing: {}", run.stderr);
    }
}

#[test]
fn a_binary_file_is_no_configuration() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("bad.toml");
    std::fs::write(&path, [0_u8, 159, 146, 150, 255]).unwrap();
    let run = rowtide_testkit::RowtideCommand::new(
        env!("CARGO_BIN_EXE_rowtide"),
        directory.path(),
        ["run", "--config", &path.display().to_string()],
    )
    .run(LIMIT)
    .unwrap();
    assert_eq!(run.code(), 2, "{run:?}");
    assert!(run.stderr.contains("bad.toml"), "{run:?}");
}

#[test]
fn a_second_destination_does_not_take_the_slot_of_the_first() {
    let Some(case) = Case::start(ONE_TABLE) else { return };
    case.once();
    let config = case.config("").display().to_string();
    let slot = "SELECT slot_name, confirmed_flush_lsn FROM pg_replication_slots";
    let before = case.value(slot);
    refused(
        &case,
        &["run", "--once", "--config", &config, "--to", "duckdb:second.duckdb"],
        2,
        &["knows nothing of it", "--pipeline"],
    );
    assert_eq!(case.value(slot), before);
    case.settle(&["public.t"]);
}

#[test]
fn a_directory_that_does_not_exist_is_named_with_its_remedy() {
    let Some(case) = Case::start(ONE_TABLE) else { return };
    let config = case.config("").display().to_string();
    refused(
        &case,
        &["run", "--once", "--config", &config, "--to", "duckdb:nowhere/w.duckdb"],
        2,
        &["does not exist", "mkdir -p"],
    );
    assert_eq!(case.value("SELECT count(*) FROM pg_replication_slots"), "0");
}

#[test]
fn a_table_to_copy_again_must_be_one_of_the_pipeline() {
    let Some(case) = Case::start(ONE_TABLE) else { return };
    case.once();
    let config = case.config("").display().to_string();
    refused(
        &case,
        &["run", "--once", "--config", &config, "--resync", "public.typo"],
        2,
        &["public.typo", "rowtide status"],
    );
}

#[test]
fn simulate_says_what_the_database_said() {
    let Some(case) = Case::start(ONE_TABLE) else { return };
    case.sql("CREATE ROLE reader LOGIN;\nGRANT SELECT ON t TO reader");
    let from = url(&case, "reader");
    refused(&case, &["simulate", "1", "--from", &from], 3, &["permission denied", "hint"]);
}

#[test]
fn a_fresh_destination_takes_over_no_slot() {
    for mode in ["auto", "full-load"] {
        let Some(case) = Case::start(ONE_TABLE) else { return };
        case.once();
        let slot = case.value("SELECT slot_name, confirmed_flush_lsn FROM pg_replication_slots");
        let config = case.directory.path().join("rowtide.toml");
        let text = std::fs::read_to_string(&config).unwrap();
        std::fs::write(&config, text.replace("warehouse.duckdb", "fresh.duckdb")).unwrap();
        let run = case.run(&["--mode", mode, "--once"]).run(LIMIT).unwrap();
        assert_eq!(run.code(), 2, "{run:?}");
        let after = case.value("SELECT slot_name, confirmed_flush_lsn FROM pg_replication_slots");
        assert_eq!(after, slot);
    }
}

#[test]
fn a_table_of_somebody_else_in_the_file_is_left_alone() {
    let Some(case) = Case::start(ONE_TABLE) else { return };
    let options = rowtide_duckdb::DuckdbOptions::new(case.file());
    let file = rowtide_duckdb::DuckdbDestination::new(options).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime
        .block_on(file.execute("CREATE SCHEMA public; CREATE TABLE public.t AS SELECT 42 AS mine"))
        .unwrap();
    drop(runtime);
    let run = case.run(&["--once"]).run(LIMIT).unwrap();
    assert_eq!(run.code(), 2, "{run:?}");
    assert!(run.stderr.contains("public.t") && run.stderr.contains("did not make"), "{run:?}");
    assert_eq!(case.rows("SELECT mine FROM public.t"), ["42"]);
    assert_nothing_made(&case);
    // Out of the way, nothing else is.
    case.config("[[table]]\nmatch = \"public.t\"\ntarget = \"public.mine_not\"");
    case.once();
    assert_eq!(case.rows("SELECT id FROM public.mine_not"), ["1"]);
}

#[test]
fn a_table_of_somebody_else_in_the_database_is_left_alone() {
    let Some(case) = Case::start(ONE_TABLE) else { return };
    case.sql("CREATE DATABASE warehouse");
    let there = |sql: &str| case.server.psql("warehouse", sql).unwrap();
    there("CREATE TABLE t AS SELECT 42 AS mine");
    let to = case.server.url("warehouse");
    let config = case.config("").display().to_string();
    let arguments = ["run", "--once", "--config", &config, "--to", &to];
    refused(&case, &arguments, 2, &["table public.t", "did not make", "another target"]);
    assert_nothing_made(&case);
    assert_eq!(there("SELECT mine FROM t"), "42");
    assert_eq!(there("SELECT count(*) FROM pg_namespace WHERE nspname = '_rowtide'"), "0");
    // Refused as well is what has no place under its name.
    there("DROP TABLE t");
    case.sql("CREATE TABLE u (id int PRIMARY KEY)");
    there("CREATE VIEW u AS SELECT 1 AS id");
    refused(&case, &arguments, 2, &["table public.u"]);
    assert_nothing_made(&case);
    there("DROP VIEW u");
    case.command(&arguments).run(LIMIT).and_then(Finished::success).unwrap();
    assert_eq!(there("SELECT id FROM t"), "1");
}

/// Nothing that would have to be removed by hand, or keep the source's log.
fn assert_nothing_made(case: &Case) {
    for what in ["pg_replication_slots", "pg_publication"] {
        assert_eq!(case.value(&format!("SELECT count(*) FROM {what}")), "0", "{what}");
    }
}
