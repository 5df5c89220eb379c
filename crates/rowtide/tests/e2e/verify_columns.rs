//! All columns of both sides: one that only one of them has is a difference, one that is not
//! published an error, and a condition about one that nobody has is refused.

use rowtide_sandbox::Major;
use rowtide_testkit::Finished;

use crate::case::Case;
use crate::shaped::each;
use crate::verify::{duckdb, report, table};
use crate::warehouse::{Warehouse, cli};

const SCHEMA: &str = "CREATE TABLE a (id int PRIMARY KEY, v text, w int);
     INSERT INTO a SELECT i, 'v' || i, i FROM generate_series(1, 100) i;
     CREATE TABLE b (k int PRIMARY KEY);
     INSERT INTO b VALUES (1)";

const EXTRA: &str = "the destination has a column `x` that the source does not have";
const LACKING: &str = "the source has a column `w` that the destination does not have";

/// What is told in every form of a table to which somebody added a column, then of one from which
/// somebody took one. `there` runs SQL at the destination.
fn columns_are_told(case: &Case, there: &dyn Fn(&str)) {
    let equal = cli(case, &["verify", "--json"]);
    assert_eq!(equal.code(), 0, "{equal:?}");
    let as_of = table(&report(&equal), "a")["as_of"].as_str().unwrap().to_owned();
    assert!(as_of.contains('/'), "{equal:?}");
    there("ALTER TABLE public.a ADD COLUMN x int");
    there("UPDATE public.a SET x = id");
    let directory = case.directory.path();
    let (csv, html) = (directory.join("found.csv"), directory.join("found.html"));
    let (csv_path, html_path) = (csv.display().to_string(), html.display().to_string());
    let told = cli(case, &["verify", "--csv", &csv_path, "--html", &html_path]);
    assert_eq!(told.code(), 1, "{told:?}");
    assert!(told.stdout.contains(EXTRA) && told.stdout.contains("in the others as of"), "{told:?}");
    let csv = std::fs::read_to_string(csv).unwrap();
    assert!(csv.contains("public.a,differs,,,extra column,,,x,"), "{csv}");
    assert!(std::fs::read_to_string(html).unwrap().contains(EXTRA));
    // The rows are compared, and can be put right, all the same; the column cannot.
    there("UPDATE public.a SET v = 'damaged' WHERE id = 7");
    let repaired = cli(case, &["verify", "--repair", "--json"]);
    assert_eq!(repaired.code(), 1, "{repaired:?}");
    let found = report(&repaired);
    let a = table(&found, "a");
    assert_eq!(a["columns"], serde_json::json!([{ "column": "x", "only_at": "destination" }]));
    assert_eq!((&a["verdict"], &a["differing"]), (&"differs".into(), &0.into()), "{found}");
    assert_eq!(a["repair"]["changed"], 1, "{found}");
    assert!(a["note"].as_str().unwrap().contains("puts no columns right"), "{found}");
    assert_eq!(table(&found, "b")["verdict"], "equal", "{found}");
    there("ALTER TABLE public.a DROP COLUMN x");
    let equal = cli(case, &["verify"]);
    assert_eq!(equal.code(), 0, "{equal:?}");
    // One that the source drops goes from both sides.
    case.sql("ALTER TABLE a DROP COLUMN v;\nUPDATE a SET w = -w WHERE id = 3");
    let equal = cli(case, &["verify"]);
    assert_eq!(equal.code(), 0, "{equal:?}");
    there("ALTER TABLE public.a DROP COLUMN w");
    let lacking = cli(case, &["verify", "--repair"]);
    assert_eq!(lacking.code(), 1, "{lacking:?}");
    assert!(lacking.stdout.contains(LACKING), "{lacking:?}");
    assert!(lacking.stdout.contains("puts no columns right"), "{lacking:?}");
}

#[test]
fn a_column_that_only_duckdb_has_is_a_difference() {
    let Some(case) = Case::start(SCHEMA) else { return };
    case.once();
    columns_are_told(&case, &|sql| duckdb(&case, sql));
}

#[test]
fn a_column_that_only_a_running_warehouse_has_is_a_difference() {
    let Some(there) = Warehouse::start(SCHEMA, "") else { return };
    let case = &there.case;
    let mut running = case.run(&[]).spawn().unwrap();
    case.wait_until_copied(&mut running, 2);
    case.wait_until_caught_up(&mut running);
    let unknown = cli(case, &["verify", "--where", "nowhere = 1"]);
    assert_eq!(unknown.code(), 2, "{unknown:?}");
    assert_eq!(unknown.stderr.matches("--where:").count(), 1, "{unknown:?}");
    columns_are_told(case, &|sql| drop(there.sql(sql)));
    case.stop(running);
}

#[test]
fn a_condition_that_nobody_understands_is_one_error() {
    let refused = |case: &Case, (tables, condition): (&str, &str), word: &str| {
        let refused = cli(case, &["verify", "--table", tables, "--where", condition]);
        assert_eq!(refused.code(), 2, "{condition}: {refused:?}");
        let said = &refused.stderr;
        assert_eq!(said.matches("--where:").count(), 1, "{condition}: {refused:?}");
        assert!(said.contains(word), "{condition}: {refused:?}");
        assert!(refused.stdout.is_empty(), "{condition}: {refused:?}");
    };
    let Some(case) = Case::start(SCHEMA) else { return };
    case.once();
    refused(&case, ("public.*", "nowhere = 1"), "nowhere");
    // A column that only one of the tables has.
    refused(&case, ("public.*", "id < 5"), "public.b");
    refused(&case, ("public.b", "k = = 1"), "syntax error");
    refused(&case, ("public.b", "k"), "boolean");
    refused(&case, ("public.b", "k = $1"), "parameter");
    refused(&case, ("public.b", "true); DROP TABLE b; --"), "syntax error");
    let some = cli(&case, &["verify", "--table", "public.a", "--where", "id < 5 -- few"]);
    assert_eq!(some.code(), 0, "{some:?}");
    // What only the source understands is told as what it is, too.
    let words = ["verify", "--table", "public.b", "--where", "pg_catalog.int4larger(k, 1) = 1"];
    let one = cli(&case, &words);
    assert_eq!(one.code(), 2, "{one:?}");
    assert!(one.stdout.contains("--where: DuckDB does not understand"), "{one:?}");
}

/// Neither equal nor different: refused, and why.
fn refused(found: &Finished) {
    assert!(found.code() > 1, "{found:?}");
    let said = format!("{}{}", found.stdout, found.stderr);
    assert!(said.contains("publication"), "{found:?}");
    assert!(!said.contains("equal as of"), "{found:?}");
}

#[test]
fn a_publication_that_was_narrowed_is_refused() {
    let sql = "CREATE TABLE a (id int PRIMARY KEY, v text, w int);
         INSERT INTO a SELECT i, 'v' || i, i FROM generate_series(1, 100) i;
         CREATE PUBLICATION theirs FOR TABLE a";
    each(&[Major::V15, Major::V18], sql, |shaped| {
        let case = &shaped.case;
        shaped.configure("publication = \"theirs\"", "\"public.*\"", "");
        let running = shaped.following(1);
        assert_eq!(cli(case, &["verify"]).code(), 0);
        case.sql("ALTER PUBLICATION theirs SET TABLE a (id, v)");
        let narrowed = cli(case, &["verify"]);
        assert_eq!(narrowed.code(), 2, "{narrowed:?}");
        refused(&narrowed);
        drop(running);
    });
}

#[test]
fn rows_that_a_publication_leaves_out_since_are_no_differences() {
    let sql = "CREATE TABLE a (id int PRIMARY KEY, v text);
         INSERT INTO a SELECT i, 'v' || i FROM generate_series(1, 100) i;
         CREATE PUBLICATION theirs FOR TABLE a WHERE (id > 10)";
    each(&[Major::V15, Major::V18], sql, |shaped| {
        let case = &shaped.case;
        shaped.configure("publication = \"theirs\"", "\"public.*\"", "");
        let running = shaped.following(1);
        let equal = cli(case, &["verify", "--json"]);
        assert_eq!(equal.code(), 0, "{equal:?}");
        assert_eq!(table(&report(&equal), "a")["source_rows"], 90, "{equal:?}");
        case.sql("ALTER PUBLICATION theirs SET TABLE a WHERE (id > 50)");
        // Refused, until the pipeline has noticed it too and copies the table again.
        let changed = cli(case, &["verify"]);
        assert!(!changed.stdout.contains("differ"), "{changed:?}");
        drop(running);
    });
}

#[test]
fn an_own_publication_that_was_narrowed_is_refused() {
    for narrower in ["a (id, v)", "a WHERE (id > 50)"] {
        each(&[Major::V15, Major::V18], SCHEMA, |shaped| {
            let case = &shaped.case;
            let running = shaped.following(2);
            assert_eq!(cli(case, &["verify"]).code(), 0);
            let ours = case.value("SELECT min(pubname) FROM pg_publication");
            case.sql(&format!("ALTER PUBLICATION \"{ours}\" SET TABLE {narrower}, b"));
            refused(&cli(case, &["verify", "--table", "public.a"]));
            drop(running);
        });
    }
}
