//! What `rowtide verify` takes of the source, and ranges of keys: the same rows on both sides,
//! whatever the order of the source's collation.

use std::sync::atomic::{AtomicBool, Ordering};

use rowtide_duckdb::{DuckdbDestination, DuckdbOptions};
use rowtide_testkit::Finished;

use crate::case::Case;
use crate::warehouse::{Warehouse, cli};

fn table<'a>(report: &'a serde_json::Value, name: &str) -> &'a serde_json::Value {
    let tables = report["tables"].as_array().unwrap();
    tables.iter().find(|table| table["table"]["name"] == name).unwrap()
}

fn report(verified: &Finished) -> serde_json::Value {
    serde_json::from_str(&verified.stdout).unwrap_or_else(|_| panic!("{verified:?}"))
}

#[test]
fn connections_to_the_source_are_never_more_than_allowed() {
    let large = |name: &str| {
        format!(
            "CREATE TABLE {name} (id int PRIMARY KEY, pad text);
             INSERT INTO {name} SELECT i, repeat(md5(i::text), 12) FROM generate_series(1, 60000) i"
        )
    };
    let schema: Vec<String> = ["a", "b", "c"].map(large).into();
    let Some(case) = Case::start(&schema.join(";\n")) else { return };
    case.once();
    // Statements of verification, which nothing else here sends.
    const WORKING: &str = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' \
         AND pid <> pg_backend_pid() AND query LIKE '%hashtextextended%' \
         AND query NOT LIKE '%pg_stat_activity%'";
    for connections in ["1", "2", "4"] {
        let done = &AtomicBool::new(false);
        let most = std::thread::scope(|scope| {
            let watching = scope.spawn(|| {
                let mut most = 0;
                while !done.load(Ordering::SeqCst) {
                    most = most.max(case.value(WORKING).parse::<u32>().unwrap());
                }
                most
            });
            let words = ["verify", "--json", "--connections", connections];
            let verified = cli(&case, &words);
            done.store(true, Ordering::SeqCst);
            assert_eq!(verified.code(), 0, "{verified:?}");
            let found = report(&verified);
            let names = found["tables"].as_array().unwrap().iter();
            let names: Vec<&str> =
                names.map(|one| one["table"]["name"].as_str().unwrap()).collect();
            assert_eq!(names, ["a", "b", "c"]);
            watching.join().unwrap()
        });
        assert!(most <= connections.parse().unwrap(), "{most} of {connections}");
    }
    for wrong in [["--connections", "0"], ["--statement", "soon"], ["--max-lag", "much"]] {
        let refused = cli(&case, &["verify", wrong[0], wrong[1]]);
        assert_eq!(refused.code(), 2, "{refused:?}");
    }
}

/// Text keys in a collation whose order is not that of bytes, and a key of two columns.
const SCHEMA: &str =
    "DO $$ BEGIN EXECUTE format('CREATE TABLE words (word text COLLATE %I PRIMARY KEY, n int)',
         coalesce((SELECT min(collname) FROM pg_collation WHERE collname IN
             ('en-x-icu', 'en_US.utf8', 'en_US')), 'C')); END $$;
     INSERT INTO words VALUES ('a', 1), ('B', 2), ('b', 3), ('Z', 4), ('é', 5), ('it''s, a', 6);
     CREATE TABLE pairs (a int, at timestamptz, v text, PRIMARY KEY (a, at));
     INSERT INTO pairs SELECT i % 10, '2026-01-01Z'::timestamptz + i * interval '1 h', 'v'
         FROM generate_series(0, 99) i;
     CREATE TABLE keyless (a int);
     ALTER TABLE keyless REPLICA IDENTITY FULL;
     CREATE TABLE ratios (r float8 PRIMARY KEY);
     CREATE TABLE numbers (id bigint PRIMARY KEY, v text);
     INSERT INTO numbers SELECT i, 'v' FROM generate_series(-50, 1000) i";

fn rows(case: &Case, table_name: &str, range: &str) -> (i64, i64) {
    let verified = cli(case, &["verify", "--json", "--table", table_name, "--key-range", range]);
    assert_eq!(verified.code(), 0, "{range}: {verified:?}");
    let found = report(&verified);
    assert_eq!(found["key_range"], range);
    let found = table(&found, table_name);
    (found["source_rows"].as_i64().unwrap(), found["destination_rows"].as_i64().unwrap())
}

/// By range: how many rows are in it.
const RANGES: [(&str, &str, i64); 12] = [
    ("words", "a..", 4),
    ("words", "..=B", 1),
    ("words", "B..b", 3),
    ("words", "'it''s, a'..=é", 2),
    ("words", "zz..", 1),
    ("pairs", "3..5", 20),
    ("pairs", "3,2026-01-02T00:00Z..(5,'2026-01-03 00:00:00+00')", 22),
    ("pairs", "..=ROW(0, '2026-01-01 10:00:00+10:00')", 1),
    ("numbers", "-50..=0", 51),
    ("numbers", "1000..", 1),
    ("numbers", "5..5", 0),
    ("numbers", "..-49", 1),
];

#[test]
fn a_range_of_keys_is_the_same_rows_on_both_sides() {
    let Some(case) = Case::start(SCHEMA) else { return };
    case.once();
    for (name, range, many) in RANGES {
        assert_eq!(rows(&case, name, range), (many, many), "{name} {range}");
    }
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let file = DuckdbDestination::new(DuckdbOptions::new(case.file())).unwrap();
    let damage = "UPDATE public.numbers SET v = 'w' WHERE id IN (99, 100, 199, 200)";
    runtime.block_on(file.execute(damage)).unwrap();
    drop(file);
    let words = ["verify", "--json", "--table", "numbers", "--key-range", "100..200"];
    let verified = cli(&case, &words);
    assert_eq!(verified.code(), 1, "{verified:?}");
    assert_eq!(table(&report(&verified), "numbers")["differing"], 2, "{verified:?}");
    for (words, why) in [
        (["--table", "nothing", "--key-range", "1.."], "is no table of this pipeline"),
        (["--table", "keyless", "--key-range", "1.."], "has no key"),
        (["--table", "ratios", "--key-range", "1.."], "same order everywhere"),
        (["--table", "numbers", "--key-range", "one.."], "no value of the column"),
        (["--table", "numbers", "--key-range", "1 OR 1=1.."], "no value of the column"),
        (["--table", "numbers", "--key-range", "1,2.."], "2 values for a key of 1 columns"),
        (["--table", "numbers", "--key-range", ".."], "open at both ends"),
    ] {
        let refused = cli(&case, &[&["verify"], &words[..]].concat());
        assert_eq!(refused.code(), 2, "{words:?}: {refused:?}");
        assert!(refused.stderr.contains(why), "{words:?}: {refused:?}");
    }
}

#[test]
fn a_range_of_keys_is_the_same_rows_in_another_server() {
    let Some(there) = Warehouse::start(SCHEMA, "") else { return };
    let copied = cli(&there.case, &["run", "--once"]);
    assert_eq!(copied.code(), 0, "{copied:?}");
    for (name, range, many) in RANGES {
        assert_eq!(rows(&there.case, name, range), (many, many), "{name} {range}");
    }
}
