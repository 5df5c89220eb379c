//! Tables that come while the pipeline is there already: what cannot be followed yet keeps no other
//! table waiting, is told of, and is taken in as soon as it is put right.

use rowtide_testkit::Finished;

use crate::case::{Case, DB, LIMIT};
use crate::warehouse::{Warehouse, cli};

const SCHEMA: &str = "CREATE TABLE kept (id int PRIMARY KEY, v int);
     INSERT INTO kept SELECT i, i FROM generate_series(1, 50) i";

/// Catches up although `table` cannot be followed, which is told of here and in `status`.
fn goes_on_without(case: &Case, table: &str, why: &str) {
    case.sql("UPDATE kept SET v = v + 1");
    let run = case.run(&["--once"]).run(LIMIT).unwrap();
    assert_eq!(run.code(), 5, "{run:?}");
    assert!(run.stderr.contains(table) && run.stderr.contains(why), "{run:?}");
    case.compare(&["public.kept"]);
    let status = cli(case, &["status"]).success().unwrap();
    let line = status.stdout.lines().find(|line| line.trim_start().starts_with(table));
    assert!(line.is_some_and(|line| line.contains("stopped")), "{status:?}");
    assert!(status.stdout.contains(why), "{status:?}");
}

fn started(sql: &str) -> Option<Case> {
    let case = Case::start(&format!("{SCHEMA};\n{sql}"))?;
    case.config("");
    Some(case)
}

#[test]
fn a_new_table_without_a_key_waits_alone_until_it_has_one() {
    let Some(case) = started("") else { return };
    case.once();
    case.sql("CREATE TABLE fresh (a int, b int);\nINSERT INTO fresh VALUES (1, 1)");
    for _ in 0..2 {
        goes_on_without(&case, "public.fresh", "cannot be followed");
        // Nobody's statements fail because of the pipeline.
        case.sql("UPDATE fresh SET b = b + 1");
    }
    case.sql("ALTER TABLE fresh ADD PRIMARY KEY (a)");
    case.settle(&["public.kept", "public.fresh"]);
    case.sql("UPDATE fresh SET b = 9;\nUPDATE kept SET v = 0 WHERE id = 1");
    case.settle(&["public.kept", "public.fresh"]);
}

#[test]
fn a_running_pipeline_takes_it_in_when_asked() {
    let Some(case) = started("") else { return };
    case.once();
    case.sql("CREATE TABLE fresh (a int, b int);\nINSERT INTO fresh VALUES (1, 1)");
    let mut running = case.run(&[]).spawn().unwrap();
    case.wait_until_streaming(&mut running);
    case.sql("ALTER TABLE fresh REPLICA IDENTITY FULL;\nUPDATE kept SET v = -v");
    cli(&case, &["table", "add", "public.fresh"]).success().unwrap();
    case.wait_until_copied(&mut running, 1);
    case.sql("UPDATE fresh SET b = 3;\nINSERT INTO fresh VALUES (1, 3)");
    case.wait_until_caught_up(&mut running);
    case.stop(running);
    case.compare(&["public.kept", "public.fresh"]);
}

#[test]
fn a_new_table_that_may_not_be_read_waits_alone_until_it_may() {
    let Some(case) = started(
        "CREATE ROLE reader LOGIN REPLICATION;\nGRANT CREATE ON DATABASE postgres TO reader;\n\
         GRANT USAGE ON SCHEMA public TO reader;\nALTER TABLE kept OWNER TO reader",
    ) else {
        return;
    };
    let url = format!("postgres://reader@127.0.0.1:{}/{DB}", case.server.port());
    case.config_from(&url, "");
    case.once();
    case.sql("CREATE TABLE fresh (id int PRIMARY KEY, v text);\nINSERT INTO fresh VALUES (1, 'v')");
    goes_on_without(&case, "public.fresh", "it may not be read");
    // It may be read by now, but not be published.
    case.sql("GRANT SELECT ON fresh TO reader");
    goes_on_without(&case, "public.fresh", "only its owner");
    case.sql("ALTER TABLE fresh OWNER TO reader;\nALTER TABLE fresh ENABLE ROW LEVEL SECURITY");
    case.sql("ALTER TABLE fresh FORCE ROW LEVEL SECURITY");
    goes_on_without(&case, "public.fresh", "row level security");
    case.sql("ALTER TABLE fresh DISABLE ROW LEVEL SECURITY");
    case.settle(&["public.kept", "public.fresh"]);
    case.sql("UPDATE fresh SET v = 'w'");
    case.settle(&["public.kept", "public.fresh"]);
}

#[test]
fn a_new_table_that_a_given_publication_lacks_waits_alone() {
    let Some(case) = started("CREATE PUBLICATION theirs FOR TABLE kept") else { return };
    case.config("");
    let path = case.directory.path().join("rowtide.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace("[source]\n", "[source]\npublication = \"theirs\"\n"))
        .unwrap();
    case.once();
    case.sql("CREATE TABLE fresh (id int PRIMARY KEY);\nINSERT INTO fresh VALUES (1)");
    goes_on_without(&case, "public.fresh", "does not contain it");
    case.sql("ALTER PUBLICATION theirs ADD TABLE fresh;\nINSERT INTO fresh VALUES (2)");
    case.settle(&["public.kept", "public.fresh"]);
}

#[test]
fn at_the_first_start_everything_is_told_and_nothing_made() {
    let Some(case) = started(
        "CREATE TABLE keyless (a int);\nCREATE ROLE reader LOGIN REPLICATION;\n\
         GRANT CREATE ON DATABASE postgres TO reader;\nALTER TABLE kept OWNER TO reader",
    ) else {
        return;
    };
    let url = format!("postgres://reader@127.0.0.1:{}/{DB}", case.server.port());
    case.config_from(&url, "");
    let run = case.run(&["--once"]).run(LIMIT).unwrap();
    assert_eq!(run.code(), 2, "{run:?}");
    for word in ["public.keyless", "it may not be read", "cannot be followed", "only its owner"] {
        assert!(run.stderr.contains(word), "{word}: {run:?}");
    }
    assert_eq!(case.value("SELECT count(*) FROM pg_replication_slots"), "0");
    assert_eq!(case.value("SELECT count(*) FROM pg_publication"), "0");
    let check = cli(&case, &["check", "--json"]);
    let found: serde_json::Value = serde_json::from_str(&check.stdout).unwrap();
    let of_keyless = |one: &&serde_json::Value| one["table"]["name"] == "keyless";
    let findings = found["source"]["findings"].as_array().unwrap();
    let marked: Vec<_> = findings.iter().filter(of_keyless).collect();
    assert!(marked.len() >= 3 && marked.iter().all(|one| one["alone"] == true), "{findings:#?}");
}

#[test]
fn a_table_that_was_missed_is_copied_again_when_it_is_made_again() {
    let Some(case) = started(
        "CREATE TABLE t (id int PRIMARY KEY, a int);
         CREATE TABLE waits (id int PRIMARY KEY, a int);
         INSERT INTO t VALUES (1, 1);
         INSERT INTO waits VALUES (1, 1)",
    ) else {
        return;
    };
    case.config("[[table]]\nmatch = \"public.waits\"\nschema = \"pause\"\n");
    let mut running = case.run(&[]).spawn().unwrap();
    case.wait_until_copied(&mut running, 3);
    case.sql("DROP TABLE t;\nDROP TABLE waits");
    rowtide_testkit::wait_for("the dropped tables to be noticed", LIMIT, || {
        let log = running.stderr();
        let noticed = ["public.t", "public.waits"].iter().all(|name| {
            log.lines().any(|l| l.contains(name) && l.contains("no longer at the source"))
        });
        Ok(noticed.then_some(()))
    })
    .unwrap();
    case.wait_until_streaming(&mut running);
    case.sql(
        "CREATE TABLE t (id text PRIMARY KEY, b text);\nINSERT INTO t VALUES ('a', 'b');\n\
         CREATE TABLE waits (id int PRIMARY KEY);\nINSERT INTO waits VALUES (2);\n\
         UPDATE kept SET v = 7",
    );
    cli(&case, &["table", "add", "public.t"]).success().unwrap();
    case.wait_until_copied(&mut running, 4);
    case.sql("UPDATE t SET b = 'c'");
    case.wait_until_caught_up(&mut running);
    running.terminate().unwrap();
    running.wait(LIMIT).unwrap();
    case.compare(&["public.kept", "public.t"]);
    // One that is to wait for somebody does, with its reason.
    assert_eq!(case.rows("SELECT a FROM public.waits"), ["1"]);
    let run = case.run(&["--once"]).run(LIMIT).unwrap();
    assert_eq!(run.code(), 5, "{run:?}");
    let reason = case.rows("SELECT reason FROM _rowtide.tables WHERE source_table = 'waits'");
    assert!(reason[0].contains("created again"), "{reason:?}");
    case.run(&["--once", "--resync", "public.waits"])
        .run(LIMIT)
        .and_then(Finished::success)
        .unwrap();
    case.compare(&["public.kept", "public.t", "public.waits"]);
}

#[test]
fn a_table_that_is_made_again_between_two_runs_is_copied_again() {
    let Some(case) = started("CREATE TABLE t (id int PRIMARY KEY);\nINSERT INTO t VALUES (1)")
    else {
        return;
    };
    case.once();
    case.sql("DROP TABLE t");
    case.once();
    assert_eq!(case.rows("SELECT id FROM public.t"), ["1"]);
    // Without a key it waits; with one it is copied, and never shows both.
    case.sql("CREATE TABLE t (id int, v int);\nINSERT INTO t VALUES (2, 2)");
    goes_on_without(&case, "public.t", "cannot be followed");
    assert_eq!(case.rows("SELECT id FROM public.t"), ["1"]);
    case.sql("ALTER TABLE t ADD PRIMARY KEY (id)");
    case.settle(&["public.kept", "public.t"]);
    // Moved away and back, it is the same table with a gap.
    case.sql("CREATE SCHEMA away;\nALTER TABLE t SET SCHEMA away;\nUPDATE away.t SET v = 3");
    case.once();
    case.sql(
        "UPDATE away.t SET v = 4;\nALTER TABLE away.t SET SCHEMA public;\nUPDATE t SET v = v + 1",
    );
    case.settle(&["public.kept", "public.t"]);
}

/// What stopped a table says nothing of another one of its name.
#[test]
fn one_that_takes_the_name_of_a_stopped_table_is_copied() {
    let Some(there) = Warehouse::start(
        &format!(
            "{SCHEMA};\nCREATE TABLE t (id int PRIMARY KEY, v int);\nINSERT INTO t VALUES (1, 1)"
        ),
        "",
    ) else {
        return;
    };
    let case = &there.case;
    case.once();
    there.sql("ALTER TABLE t ADD CONSTRAINT small CHECK (v < 9)");
    case.sql("UPDATE t SET v = 10");
    let run = case.run(&["--once"]).run(LIMIT).unwrap();
    assert!(run.code() == 5 && run.stderr.contains("small"), "{run:?}");
    // The same table stays as it is.
    let run = case.run(&["--once"]).run(LIMIT).unwrap();
    assert!(run.code() == 5 && run.stderr.contains("small"), "{run:?}");
    case.sql("DROP TABLE t;\nCREATE TABLE t (id int PRIMARY KEY, w text);\nINSERT INTO t VALUES (2, 'w')");
    case.once();
    there.compare("public.t", "made again");
    case.sql("UPDATE t SET w = 'x';\nUPDATE kept SET v = 3");
    case.once();
    there.compare("public.t", "followed");
    there.compare("public.kept", "followed");
}

#[test]
fn nothing_is_judged_before_it_is_known_what_the_destination_remembers() {
    let Some(case) = started("") else { return };
    let mut first = case.run(&[]).spawn().unwrap();
    case.wait_until_copied(&mut first, 1);
    case.sql("CREATE TABLE fresh (a int);\nUPDATE kept SET v = 5");
    // The file is in use, and a new pipeline could not start with such a table: whether this is
    // one, nobody can tell.
    let second = case.run(&["--once", "--set", "retry.startup=1s"]).run(LIMIT).unwrap();
    assert_eq!(second.code(), 4, "{second:?}");
    assert!(second.stderr.contains("holds the file"), "{second:?}");
    assert!(!second.stderr.contains("must be fixed first"), "{second:?}");
    // It is waited for.
    let third = case.run(&["--once", "--set", "retry.startup=90s"]).spawn().unwrap();
    rowtide_testkit::wait_for("the file to be waited for", LIMIT, || {
        Ok(third.stderr().contains("the destination is not available").then_some(()))
    })
    .unwrap();
    case.stop(first);
    let third = third.wait(LIMIT).unwrap();
    assert_eq!(third.code(), 5, "{third:?}");
    case.compare(&["public.kept"]);
}

#[test]
fn long_names_of_pipelines_stay_apart_and_what_stands_keeps_its_own() {
    let Some(case) = started("") else { return };
    let name = |end: &str| format!("{}{end}", "p".repeat(47));
    let publications =
        || case.value("SELECT string_agg(pubname, ' ' ORDER BY pubname) FROM pg_publication");
    let run = |end: &str, file: &str| {
        let file = format!("duckdb:{}", case.directory.path().join(file).display());
        let name = name(end);
        case.run(&["--once", "--pipeline", &name, "--to", &file]).run(LIMIT).unwrap()
    };
    run("1", "warehouse.duckdb").success().unwrap();
    let first = publications();
    run("2", "other.duckdb").success().unwrap();
    let both = publications();
    assert_eq!(both.split(' ').count(), 2 * first.split(' ').count(), "{both}");
    // As an older version called its own: cut off.
    let own = first.split(' ').find(|name| !name.ends_with("_inserts")).unwrap();
    let former = format!("rowtide_{}", name(""));
    let identity = case.rows("SELECT identity FROM _rowtide.pipelines").remove(0);
    let mut identity: serde_json::Value =
        serde_json::from_str(&identity.replace(own, &former)).unwrap();
    // Renaming them by hand is not what is tried here.
    identity["versions"] = serde_json::json!({});
    let options = rowtide_duckdb::DuckdbOptions::new(case.file());
    let file = rowtide_duckdb::DuckdbDestination::new(options).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let update = format!("UPDATE _rowtide.pipelines SET identity = '{identity}'");
    runtime.block_on(file.execute(&update)).unwrap();
    drop(runtime);
    for name in first.split(' ') {
        let to = name.replace(own, &former);
        case.sql(&format!("ALTER PUBLICATION \"{name}\" RENAME TO \"{to}\""));
    }
    let renamed = publications();
    case.sql("UPDATE kept SET v = 12;\nCREATE TABLE more (id int PRIMARY KEY);\nINSERT INTO more VALUES (1)");
    run("1", "warehouse.duckdb").success().unwrap();
    case.compare(&["public.kept", "public.more"]);
    assert_eq!(publications(), renamed, "nothing was made anew");
    let gone = cli(&case, &["teardown", "--yes", "--pipeline", &name("1")]).success().unwrap();
    assert!(gone.stdout.contains(&former) || gone.stderr.contains(&former), "{gone:?}");
    assert_eq!(publications().split(' ').count(), first.split(' ').count(), "{gone:?}");
}

#[test]
fn a_new_table_whose_place_is_taken_waits_alone() {
    let Some(case) = started("") else { return };
    case.once();
    let options = rowtide_duckdb::DuckdbOptions::new(case.file());
    let file = rowtide_duckdb::DuckdbDestination::new(options).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(file.execute("CREATE TABLE public.fresh AS SELECT 42 AS mine")).unwrap();
    case.sql("CREATE TABLE fresh (id int PRIMARY KEY);\nINSERT INTO fresh VALUES (1);\nUPDATE kept SET v = 3");
    let run = case.run(&["--once"]).run(LIMIT).unwrap();
    assert_eq!(run.code(), 5, "{run:?}");
    assert!(run.stderr.contains("public.fresh") && run.stderr.contains("did not make"), "{run:?}");
    case.compare(&["public.kept"]);
    assert_eq!(case.rows("SELECT mine FROM public.fresh"), ["42"]);
    runtime.block_on(file.execute("DROP TABLE public.fresh")).unwrap();
    case.settle(&["public.kept", "public.fresh"]);
}

#[test]
fn the_same_at_a_postgresql_destination() {
    let Some(there) = Warehouse::start(SCHEMA, "") else { return };
    there.case.once();
    there.sql("CREATE TABLE fresh AS SELECT 42 AS mine");
    there.case.sql("CREATE TABLE fresh (id int PRIMARY KEY);\nINSERT INTO fresh VALUES (1)");
    there.case.sql("CREATE TABLE keyless (id int);\nUPDATE kept SET v = 3");
    let run = there.case.run(&["--once"]).run(LIMIT).unwrap();
    assert_eq!(run.code(), 5, "{run:?}");
    assert!(run.stderr.contains("public.fresh") && run.stderr.contains("did not make"), "{run:?}");
    there.compare("public.kept", "the others go on");
    assert_eq!(there.sql("SELECT mine FROM fresh").trim(), "42");
    there.sql("DROP TABLE fresh");
    there
        .case
        .sql("ALTER TABLE keyless REPLICA IDENTITY FULL;\nINSERT INTO keyless VALUES (1), (1)");
    there.case.once();
    for table in ["public.kept", "public.fresh", "public.keyless"] {
        there.compare(table, "taken in");
    }
}
