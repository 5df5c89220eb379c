//! `rowtide verify` of real pipelines, running and not: equal where they are equal, and every row
//! that somebody damaged at the destination.

use rowtide_duckdb::{DuckdbDestination, DuckdbOptions};
use rowtide_testkit::Finished;

use crate::case::{Case, LIMIT};
use crate::warehouse::{Warehouse, cli};

const SCHEMA: &str = "CREATE TABLE a (id bigint PRIMARY KEY, name text, amount numeric(12,2),
         ratio float8, at timestamptz, flag bool, tags text[]);
     CREATE TABLE b (x int, y text);
     ALTER TABLE b REPLICA IDENTITY FULL;
     INSERT INTO a SELECT i, CASE i % 3 WHEN 0 THEN NULL WHEN 1 THEN '' ELSE 'n ' || i END, i / 7.0,
         CASE i % 2 WHEN 0 THEN 0.0 ELSE i / 3.0 END, '2024-01-01'::timestamptz + i * interval '1 h',
         i % 5 = 0, ARRAY['x', NULL, i::text] FROM generate_series(1, 5000) i;
     INSERT INTO b SELECT i % 50, 'y' || i % 7 FROM generate_series(1, 1000) i";

pub(crate) fn report(verified: &Finished) -> serde_json::Value {
    serde_json::from_str(&verified.stdout).unwrap_or_else(|_| panic!("{verified:?}"))
}

pub(crate) fn table<'a>(report: &'a serde_json::Value, name: &str) -> &'a serde_json::Value {
    let tables = report["tables"].as_array().unwrap();
    tables.iter().find(|table| table["table"]["name"] == name).unwrap()
}

/// Runs `sql` in the file, as its owner.
pub(crate) fn duckdb(case: &Case, sql: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let file = DuckdbDestination::new(DuckdbOptions::new(case.file())).unwrap();
    runtime.block_on(file.execute(sql)).unwrap_or_else(|error| panic!("{sql}: {}", error.chain()));
}

#[test]
fn a_pipeline_that_does_not_run_is_caught_up_and_compared() {
    let Some(case) = Case::start(SCHEMA) else { return };
    case.once();
    case.sql("UPDATE a SET name = 'later' WHERE id < 100;\nDELETE FROM a WHERE id > 4990");
    let verified = cli(&case, &["verify", "--json"]);
    assert_eq!(verified.code(), 0, "{verified:?}");
    let found = report(&verified);
    assert_eq!(table(&found, "a")["source_rows"], 4990, "{found}");
    assert_eq!(table(&found, "a")["verdict"], "equal", "{found}");
    assert_eq!(table(&found, "b")["destination_rows"], 1000, "{found}");
    let stored = case.rows(
        "SELECT source_table || ' ' || verdict || ' ' || rows_at_source FROM _rowtide.verify
         ORDER BY 1",
    );
    assert_eq!(stored, ["a equal 4990", "b equal 1000"]);
    case.sql("UPDATE a SET flag = NOT flag WHERE id = 70");
    let since = cli(&case, &["verify", "--since", "--json"]);
    assert_eq!(since.code(), 0, "{since:?}");
    let found = report(&since);
    assert_eq!(table(&found, "a")["note"], serde_json::Value::Null, "{found}");
    assert!(table(&found, "b")["note"].as_str().unwrap().contains("everything"), "{found}");
    let some = cli(&case, &["verify", "--sample", "10", "--where", "id < 2500", "--table", "a"]);
    assert_eq!(some.code(), 0, "{some:?}");
    case.compare(&["public.a", "public.b"]);
}

#[test]
fn damage_in_duckdb_is_found_row_by_row() {
    // Among few and different values: DuckDB's compression makes one of -0 and 0 elsewhere.
    let zero = "CREATE TABLE c (id int PRIMARY KEY, f float8);
         INSERT INTO c VALUES (1, '-0'), (2, 5.5), (3, 1e300)";
    let Some(case) = Case::start(&format!("{SCHEMA};\n{zero}")) else { return };
    case.once();
    for damage in [
        "DELETE FROM public.a WHERE id = 17",
        "INSERT INTO public.a SELECT * REPLACE (900001 AS id) FROM public.a WHERE id = 18",
        "UPDATE public.a SET amount = amount + 1 WHERE id = 21",
        "UPDATE public.a SET name = '' WHERE id = 33",
        // An update from -0 to 0 changes nothing in DuckDB's eyes.
        "DELETE FROM public.c WHERE id = 1",
        "INSERT INTO public.c VALUES (1, 0)",
        "UPDATE public.a SET \"at\" = \"at\" + to_microseconds(1) WHERE id = 55",
        "UPDATE public.a SET tags = ['x', 'NULL', '66'] WHERE id = 66",
    ] {
        duckdb(&case, damage);
    }
    let verified = cli(&case, &["verify", "--json", "--show-values"]);
    assert_eq!(verified.code(), 1, "{verified:?}");
    let found = report(&verified);
    assert_eq!(table(&found, "b")["verdict"], "equal", "{found}");
    let zero = &table(&found, "c")["differences"][0]["columns"][0];
    assert_eq!((&zero["column"], &zero["nature"]), (&"f".into(), &"zero_sign".into()), "{found}");
    let differences = table(&found, "a")["differences"].as_array().unwrap();
    let mut told: Vec<String> = differences
        .iter()
        .map(|one| {
            let column = &one["columns"][0];
            let columns = one["columns"].as_array().map_or(0, Vec::len);
            let key = one["key"][0]["value"].as_str().unwrap();
            format!("{key} {} {columns} {} {}", one["kind"], column["column"], column["nature"])
        })
        .collect();
    told.sort();
    let expected = [
        "17 \"missing\" 0 null null",
        "21 \"changed\" 1 \"amount\" \"value\"",
        "33 \"changed\" 1 \"name\" \"null_or_empty\"",
        "55 \"changed\" 1 \"at\" \"value\"",
        "66 \"changed\" 1 \"tags\" \"value\"",
        "900001 \"extra\" 0 null null",
    ];
    assert_eq!(told, expected, "{found}");
    // Without being asked for, no value is shown.
    let hidden = cli(&case, &["verify", "--json", "--table", "public.a"]);
    assert!(!hidden.stdout.contains("900001"), "{hidden:?}");
    assert_eq!(table(&report(&hidden), "a")["differing"], 6, "{hidden:?}");
}

#[test]
fn a_running_pipeline_compares_while_the_source_changes() {
    let Some(case) = Case::start(SCHEMA) else { return };
    let mut running = case.run(&[]).spawn().unwrap();
    case.wait_until_copied(&mut running, 2);
    let done = &std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let case = &case;
        scope.spawn(move || {
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                case.sql(
                    "UPDATE a SET amount = amount + 1 WHERE id % 500 = (random() * 499)::int;\n\
                     INSERT INTO a (id) SELECT 10000 + (random() * 1e9)::int ON CONFLICT DO NOTHING;\n\
                     DELETE FROM a WHERE id > 10000 AND random() < 0.5;\n\
                     UPDATE b SET y = 'z' WHERE x = (random() * 49)::int",
                );
            }
        });
        let verify = || cli(case, &["verify", "--timeout", "60s"]);
        let verified: Vec<Finished> = (0..3).map(|_| verify()).collect();
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        for verified in verified {
            assert_eq!(verified.code(), 0, "{verified:?}");
            assert!(verified.stdout.contains("equal as of"), "{verified:?}");
        }
    });
    case.stop(running);
    case.settle(&["public.a", "public.b"]);
}

#[test]
fn damage_in_a_running_warehouse_is_found_and_reported_in_every_form() {
    let Some(there) = Warehouse::start(SCHEMA, "") else { return };
    let case = &there.case;
    let mut running = case.run(&[]).spawn().unwrap();
    case.wait_until_copied(&mut running, 2);
    case.wait_until_caught_up(&mut running);
    there.sql(
        "UPDATE public.a SET name = '' WHERE id = 33; UPDATE public.a SET ratio = '-0' WHERE id = 44;
         DELETE FROM public.b WHERE ctid = (SELECT min(ctid) FROM public.b)",
    );
    let csv = case.directory.path().join("found.csv");
    let html = case.directory.path().join("found.html");
    let (csv_path, html_path) = (csv.display().to_string(), html.display().to_string());
    let words = ["verify", "--csv", &csv_path, "--html", &html_path];
    let verified = cli(case, &words);
    assert_eq!(verified.code(), 1, "{verified:?}");
    assert!(verified.stdout.contains("2 rows differ"), "{verified:?}");
    assert!(verified.stdout.contains("1 row differs"), "{verified:?}");
    assert!(verified.stdout.contains("-0 and 0"), "{verified:?}");
    let csv = std::fs::read_to_string(csv).unwrap();
    assert!(csv.contains("public.b,differs,") && csv.contains(",repeated,"), "{csv}");
    let html = std::fs::read_to_string(html).unwrap();
    assert!(html.starts_with("<!doctype html>") && html.contains("NULL and empty"), "{html}");
    let verdicts = there.sql("SELECT string_agg(verdict, ' ') FROM _rowtide.verify");
    assert_eq!(verdicts.trim(), "differs differs");
    // The damage undone, everything is equal, and then only what changed since is looked at.
    there.sql("UPDATE public.a SET name = NULL WHERE id = 33; UPDATE public.a SET ratio = 0 WHERE id = 44");
    let equal = cli(case, &["verify", "--table", "public.a"]);
    assert_eq!(equal.code(), 0, "{equal:?}");
    case.sql("UPDATE a SET flag = NOT flag WHERE id = 70");
    let since = cli(case, &["verify", "--table", "public.a", "--since", "--json"]);
    assert_eq!(since.code(), 0, "{since:?}");
    assert_eq!(table(&report(&since), "a")["note"], serde_json::Value::Null, "{since:?}");
    case.wait_until_caught_up(&mut running);
    case.sql("UPDATE a SET flag = NOT flag WHERE id = 71");
    case.wait_until_caught_up(&mut running);
    there.sql("UPDATE public.a SET flag = NOT flag WHERE id = 71");
    let since = cli(case, &["verify", "--table", "public.a", "--since", "--show-values"]);
    assert_eq!(since.code(), 1, "{since:?}");
    assert!(since.stdout.contains("id=71"), "{since:?}");
    case.stop(running);
}

#[test]
fn what_cannot_be_compared_is_said() {
    let Some(case) = Case::start("CREATE TABLE a (id int PRIMARY KEY)") else { return };
    case.config("");
    let unknown = cli(&case, &["verify"]);
    assert_eq!(unknown.code(), 2, "{unknown:?}");
    assert!(unknown.stderr.contains("knows no pipeline"), "{unknown:?}");
    case.once();
    let unknown = cli(&case, &["verify", "--table", "public.nowhere"]);
    assert_eq!(unknown.code(), 2, "{unknown:?}");
    assert!(unknown.stderr.contains("is no table of this pipeline"), "{unknown:?}");
    let malformed = case.command(&["verify", "--sample", "0"]).run(LIMIT).unwrap();
    assert_eq!(malformed.code(), 2, "{malformed:?}");
}

#[test]
fn a_schedule_compares_by_itself_and_keeps_the_verdicts() {
    let Some(there) = Warehouse::start(SCHEMA, "[verify]\nschedule = \"every 1s\"") else { return };
    let running = there.case.run(&[]).spawn().unwrap();
    rowtide_testkit::wait_for("a verdict", LIMIT, || {
        let verdicts = "SELECT count(*) FROM _rowtide.verify WHERE verdict = 'equal'";
        let ledger = there.sql("SELECT to_regclass('_rowtide.verify') IS NOT NULL");
        Ok((ledger.trim() == "t" && there.sql(verdicts).trim() != "0").then_some(()))
    })
    .unwrap();
    there.case.stop(running);
}

#[test]
fn a_report_that_could_not_be_written_is_refused_before_the_work() {
    let Some(case) = Case::start("CREATE TABLE a (id int PRIMARY KEY)") else { return };
    case.once();
    let place = case.directory.path().join("nowhere/found.csv").display().to_string();
    let refused = cli(&case, &["verify", "--csv", &place]);
    assert_eq!(refused.code(), 4, "{refused:?}");
    assert!(refused.stderr.contains("could not write the report"), "{refused:?}");
    let verdicts = "SELECT count(*)::VARCHAR FROM _rowtide.verify";
    assert_eq!(case.rows(verdicts), ["0"], "something was compared");
}

#[test]
fn a_table_that_cannot_be_looked_at_is_told_with_its_side_and_a_code() {
    let Some(there) = Warehouse::start(SCHEMA, "") else { return };
    let case = &there.case;
    case.once();
    let verify = || cli(case, &["verify", "--table", "public.a"]);
    there.sql("ALTER TABLE public.a RENAME TO gone");
    let gone = verify();
    assert_eq!(gone.code(), 5, "{gone:?}");
    assert!(gone.stdout.contains("at the destination: the table public.a was dropped"), "{gone:?}");
    there.sql("CREATE VIEW public.a AS SELECT * FROM public.gone");
    let view = verify();
    assert_eq!(view.code(), 3, "{view:?}");
    assert!(view.stdout.contains("at the destination: public.a is a view"), "{view:?}");
    there.sql("DROP VIEW public.a; ALTER TABLE public.gone RENAME TO a");
    // A value of a row is not told, what it takes to repair it neither, unless it is asked for.
    there.sql("UPDATE public.a SET name = 'CONFIDENTIAL' WHERE id = 7");
    let words = ["verify", "--table", "public.a", "--repair", "--dry-run"];
    let plan = cli(case, &words);
    assert_eq!(plan.code(), 1, "{plan:?}");
    assert!(plan.stdout.contains("with --show-values it is told as SQL"), "{plan:?}");
    assert!(!format!("{plan:?}").contains("CONFIDENTIAL"), "{plan:?}");
    there.sql("UPDATE public.a SET name = NULL WHERE id < 40");
    let plan = cli(case, &[&words[..], &["--show-values", "--limit", "3"]].concat());
    assert!(plan.stdout.contains("INSERT INTO \"public\".\"a\""), "{plan:?}");
    assert!(plan.stdout.contains("23 more rows take: --limit lists more"), "{plan:?}");
}
