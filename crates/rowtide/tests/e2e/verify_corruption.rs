//! Every class of damage, planted at the destination while the source is written to: all of it is
//! found and nothing else, all is repaired, each repair is told, and then both sides are equal.
//!
//! A seed decides which rows are damaged. Another one, or many rounds of it:
//! `cargo xtask fidelity corruption --seed 17 --rounds 20`.

mod damage;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rowtide_duckdb::{DuckdbDestination, DuckdbOptions};
use rowtide_testkit::Finished;

use self::damage::{Damage, Dialect, plant};
use crate::case::Case;
use crate::warehouse::{Warehouse, cli};

const RULES: &str = "[[table]]\nmatch = \"public.soft\"\ndelete = \"soft\"\n\n\
     [[table]]\nmatch = \"public.log\"\nmode = \"append\"\n\n\
     [[table]]\nmatch = \"public.told\"\nmetadata = true\n";

const TABLES: usize = 6;

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().map_or(otherwise, |text| text.parse().unwrap())
}

/// Runs `round` for each round of the seed, and tells how to run it again when it fails.
fn rounds(mut round: impl FnMut(&mut StdRng)) {
    let first = number("ROWTIDE_SEED", 1);
    for seed in first..first + number("ROWTIDE_ROUNDS", 2) {
        let mut random = StdRng::seed_from_u64(seed);
        let run = std::panic::AssertUnwindSafe(|| round(&mut random));
        // What went wrong is printed by then.
        if std::panic::catch_unwind(run).is_err() {
            panic!("again: cargo xtask fidelity corruption --seed {seed} --rounds 1");
        }
    }
}

/// Runs `sql` in the file, as its owner.
fn duckdb(case: &Case, sql: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let file = DuckdbDestination::new(DuckdbOptions::new(case.file())).unwrap();
    runtime.block_on(file.execute(sql)).unwrap_or_else(|error| panic!("{sql}: {}", error.chain()));
}

/// Writes rows that nobody damages, in every table, until it is dropped.
fn writing<T>(case: &Case, work: impl FnOnce() -> T) -> T {
    let done = &AtomicBool::new(false);
    struct Done<'a>(&'a AtomicBool);
    impl Drop for Done<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    std::thread::scope(|scope| {
        for writer in 0..2 {
            scope.spawn(move || {
                while !done.load(Ordering::Relaxed) {
                    case.sql(&damage::traffic(writer));
                }
            });
        }
        let _done = Done(done);
        work()
    })
}

type Rows = BTreeSet<(String, String)>;

/// The rows that were found, by table.
fn found(verified: &Finished) -> Rows {
    let report: serde_json::Value =
        serde_json::from_str(&verified.stdout).unwrap_or_else(|_| panic!("{verified:?}"));
    let mut rows = Rows::new();
    for table in report["tables"].as_array().unwrap() {
        assert!(table["trouble"].is_null() && table["unsettled"] == 0, "{report}");
        for one in table["differences"].as_array().unwrap() {
            let key = one["key"][0]["value"].as_str().unwrap().to_owned();
            let name = table["table"]["name"].as_str().unwrap().to_owned();
            rows.insert((name, format!("{key} {}", one["kind"].as_str().unwrap())));
        }
    }
    rows
}

fn expected(planted: &[Damage]) -> Rows {
    let rows = planted
        .iter()
        .flat_map(|one| one.rows.iter().map(|row| (one.table.to_owned(), row.clone())));
    rows.collect()
}

/// Finds, repairs and finds nothing any more; `told` reads `_rowtide.repairs`.
fn round(case: &Case, planted: &[Damage], told: &dyn Fn() -> Vec<String>) {
    let expected = expected(planted);
    let words = ["verify", "--json", "--show-values", "--limit", "1000", "--timeout", "60s"];
    let verify = |more: &[&str]| cli(case, &[&words[..], more].concat());
    let before = told().len();
    let verified = verify(&["--repair", "--dry-run"]);
    assert_eq!(verified.code(), 1, "{verified:?}");
    same(&found(&verified), &expected, planted);
    assert_eq!(told().len(), before, "a plan changes nothing");
    let repaired = verify(&["--repair"]);
    assert_eq!(repaired.code(), 0, "{repaired:?}");
    same(&found(&repaired), &expected, planted);
    let again = verify(&["--repair"]);
    assert_eq!(again.code(), 0, "{again:?}");
    assert_eq!(found(&again), Rows::new());
    let rows: Vec<String> = told().split_off(before);
    let rows: BTreeSet<String> = rows.into_iter().collect();
    let wanted: BTreeSet<String> =
        expected.iter().map(|(table, row)| format!("{table} {row}")).collect();
    assert_eq!(rows, wanted);
}

/// All that was planted was found, and nothing else.
fn same(found: &Rows, expected: &Rows, planted: &[Damage]) {
    let lost: Vec<_> = expected.difference(found).collect();
    let invented: Vec<_> = found.difference(expected).collect();
    let is_lost =
        |one: &&Damage| one.rows.iter().any(|row| lost.iter().any(|(_, lost)| lost == row));
    let by: Vec<&str> = planted.iter().filter(is_lost).map(|one| &*one.sql).collect();
    assert!(lost.is_empty() && invented.is_empty(), "lost: {lost:?} {by:?} invented: {invented:?}");
}

#[test]
fn damage_in_duckdb_is_found_and_repaired() {
    let Some(case) = Case::start(damage::SCHEMA) else { return };
    case.config(RULES);
    case.once();
    case.sql(damage::LATER);
    case.once();
    let told = || {
        case.rows(
            "SELECT source_table || ' ' || coalesce(key->>'$.id', key->>'$.x') || ' ' || kind
             FROM _rowtide.repairs ORDER BY repaired_at",
        )
    };
    rounds(|random| {
        let planted = plant(random, Dialect::Duckdb);
        planted.iter().for_each(|one| duckdb(&case, &one.sql));
        writing(&case, || round(&case, &planted, &told));
    });
    case.settle(&["public.hard", "public.bare", "public.told"]);
}

#[test]
fn damage_in_a_running_warehouse_is_found_and_repaired() {
    let Some(there) = Warehouse::start(damage::SCHEMA, RULES) else { return };
    let case = &there.case;
    let mut running = case.run(&[]).spawn().unwrap();
    case.wait_until_copied(&mut running, TABLES);
    case.sql(damage::LATER);
    case.wait_until_caught_up(&mut running);
    let told = || {
        let rows = there.sql(
            "SELECT source_table || ' ' || coalesce(key::json->>'id', key::json->>'x') || ' ' || kind
             FROM _rowtide.repairs ORDER BY repaired_at",
        );
        rows.lines().map(str::to_owned).collect()
    };
    rounds(|random| {
        writing(case, || {
            let planted = plant(random, Dialect::Postgres);
            planted.iter().for_each(|one| drop(there.sql(&one.sql)));
            round(case, &planted, &told);
        });
    });
    case.wait_until_caught_up(&mut running);
    case.stop(running);
    case.once();
    for table in ["hard", "bare", "told"] {
        there.compare(&format!("public.{table}"), "after all repairs");
    }
}

/// A number below `below`, as a key that nothing else in `taken` has.
fn fresh(random: &mut StdRng, taken: &mut BTreeSet<u64>, below: u64) -> u64 {
    loop {
        let key = random.random_range(1..below);
        if taken.insert(key) {
            return key;
        }
    }
}
