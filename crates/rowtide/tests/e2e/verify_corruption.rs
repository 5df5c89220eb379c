//! Every class of damage, planted at the destination while the source is written to: all of it is
//! found and nothing else, all is repaired, each repair is told, and then both sides are equal. The
//! same once more with the statements of a plan, run by hand.
//!
//! A seed decides which rows are damaged. Another one, or many rounds of it:
//! `cargo xtask fidelity corruption --seed 17 --rounds 20`.

mod damage;
mod keys;
mod types;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rowtide_duckdb::{DuckdbDestination, DuckdbOptions};
use rowtide_testkit::Finished;
use serde_json::Value;

use self::damage::{Damage, Dialect, plant};
use crate::case::Case;
use crate::warehouse::{Warehouse, cli};

const RULES: &str = "[[table]]\nmatch = \"public.soft\"\ndelete = \"soft\"\n\n\
     [[table]]\nmatch = \"public.faint\"\ndelete = \"soft\"\n\n\
     [[table]]\nmatch = \"public.log\"\nmode = \"append\"\n\n\
     [[table]]\nmatch = \"public.events\"\nmode = \"append\"\n\n\
     [[table]]\nmatch = \"public.told\"\nmetadata = true\n";

const TABLES: usize = 12;

/// Those that stand in the destination as they do in the source.
const ALIKE: [&str; 5] =
    ["public.hard", "public.bare", "public.told", "public.word", "public.pair"];

fn schema() -> String {
    [damage::SCHEMA, types::SCHEMA, &keys::schema()].join(";\n")
}

fn later() -> String {
    [damage::LATER, keys::LATER].join(";\n")
}

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().map_or(otherwise, |text| text.parse().unwrap())
}

/// Runs `round` for each round of the seed, and tells how to run it again when it fails.
#[expect(clippy::print_stderr, reason = "a test's output is where its seeds are told")]
fn rounds(what: &str, mut round: impl FnMut(&mut StdRng) -> usize) {
    let first = number("ROWTIDE_SEED", 1);
    for seed in first..first + number("ROWTIDE_ROUNDS", 2) {
        let mut random = StdRng::seed_from_u64(seed);
        let run = std::panic::AssertUnwindSafe(|| round(&mut random));
        match std::panic::catch_unwind(run) {
            Ok(rows) => eprintln!("{what}, seed {seed}: {rows} rows damaged, found and repaired"),
            // What went wrong is printed by then.
            Err(_) => panic!("again: cargo xtask fidelity corruption --seed {seed} --rounds 1"),
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
    let report = report(verified);
    let mut rows = Rows::new();
    for table in report["tables"].as_array().unwrap() {
        assert!(table["trouble"].is_null() && table["unsettled"] == 0, "{report}");
        for one in table["differences"].as_array().unwrap() {
            let name = table["table"]["name"].as_str().unwrap().to_owned();
            let key = one["key"].as_array().unwrap().iter();
            let key = key.map(|column| column["value"].as_str().unwrap_or("NULL").to_owned());
            let columns = one["columns"].as_array();
            let columns = columns.into_iter().flatten().map(|one| one["column"].clone());
            let row = row((&name, key.collect()), one["kind"].as_str().unwrap(), columns.collect());
            rows.insert((name, row));
        }
    }
    rows
}

fn report(verified: &Finished) -> Value {
    serde_json::from_str(&verified.stdout).unwrap_or_else(|_| panic!("{verified:?}"))
}

/// A row as [`Damage`] tells it.
fn row((table, mut key): (&str, Vec<String>), kind: &str, mut columns: Vec<Value>) -> String {
    if ["bare", "faint"].contains(&table) {
        key.truncate(1);
    }
    columns.sort_by_key(ToString::to_string);
    let columns = columns.iter().filter_map(|one| Some(format!(" {}", one.as_str()?)));
    format!("{} {kind}{}", key.join("|"), columns.collect::<String>())
}

/// A row of `_rowtide.repairs`, read as JSON.
fn repaired(told: &str) -> (String, String) {
    let told: Value = serde_json::from_str(told).unwrap_or_else(|_| panic!("{told}"));
    let text = |name: &str| told[name].as_str().unwrap();
    let list = |name: &str| told[name].as_str().map(|text| serde_json::from_str(text).unwrap());
    let key: serde_json::Map<String, Value> = serde_json::from_str(text("key")).unwrap();
    // Sorted by name, as the columns of the keys here are.
    let key = key.into_iter().collect::<std::collections::BTreeMap<_, _>>().into_values();
    let key = key.map(|value| value.as_str().unwrap_or("NULL").to_owned()).collect();
    let columns: Vec<Value> = list("differing").unwrap_or_default();
    let table = text("source_table").to_owned();
    let row = row((&table, key), text("kind"), columns);
    (table, row)
}

fn expected(planted: &[Damage]) -> Rows {
    let rows = planted
        .iter()
        .flat_map(|one| one.rows.iter().map(|row| (one.table.to_owned(), row.clone())));
    rows.collect()
}

/// Asks for a comparison of everything.
fn verify(case: &Case, more: &[&str]) -> Finished {
    let words = ["verify", "--json", "--show-values", "--limit", "1000", "--timeout", "60s"];
    cli(case, &[&words[..], more].concat())
}

/// Finds, repairs and finds nothing any more; `told` reads `_rowtide.repairs`.
fn round(case: &Case, planted: &[Damage], told: &dyn Fn() -> Vec<String>) {
    let expected = expected(planted);
    let before = told().len();
    let verified = verify(case, &["--repair", "--dry-run"]);
    assert_eq!(verified.code(), 1, "{verified:?}");
    same(&found(&verified), &expected, planted);
    assert_eq!(told().len(), before, "a plan changes nothing");
    let done = verify(case, &["--repair"]);
    assert_eq!(done.code(), 0, "{done:?}");
    same(&found(&done), &expected, planted);
    let again = verify(case, &["--repair"]);
    assert_eq!(again.code(), 0, "{again:?}");
    assert_eq!(found(&again), Rows::new());
    let rows: Rows = told().split_off(before).iter().map(|told| repaired(told)).collect();
    assert_eq!(rows, expected);
}

/// Does by hand what the plan of a repair says; then nothing differs any more.
fn by_hand(case: &Case, planted: &[Damage], run: &dyn Fn(&str)) {
    let verified = verify(case, &["--repair", "--dry-run"]);
    assert_eq!(verified.code(), 1, "{verified:?}");
    same(&found(&verified), &expected(planted), planted);
    let report = report(&verified);
    for table in report["tables"].as_array().unwrap() {
        let statements = table["repair"]["statements"].as_array();
        statements.into_iter().flatten().for_each(|one| run(one.as_str().unwrap()));
    }
    let again = verify(case, &[]);
    assert_eq!((again.code(), found(&again)), (0, Rows::new()), "after {report:#}");
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
    let Some(case) = Case::start(&schema()) else { return };
    case.config(RULES);
    case.once();
    case.sql(&later());
    case.once();
    let told =
        || case.rows("SELECT r::JSON::VARCHAR FROM _rowtide.repairs AS r ORDER BY repaired_at");
    let run = |sql: &str| duckdb(&case, sql);
    rounds("DuckDB", |random| {
        let damage = |random: &mut StdRng| {
            let planted = plant(random, Dialect::Duckdb);
            planted.iter().for_each(|one| run(&one.sql));
            planted
        };
        let planted = damage(random);
        writing(&case, || round(&case, &planted, &told));
        let more = damage(random);
        writing(&case, || by_hand(&case, &more, &run));
        expected(&planted).len() + expected(&more).len()
    });
    case.settle(&ALIKE);
}

#[test]
fn damage_in_a_running_warehouse_is_found_and_repaired() {
    let Some(there) = Warehouse::start(&schema(), RULES) else { return };
    let case = &there.case;
    let mut running = case.run(&[]).spawn().unwrap();
    case.wait_until_copied(&mut running, TABLES);
    case.sql(&later());
    case.wait_until_caught_up(&mut running);
    let told = || {
        let rows = there.sql("SELECT to_json(r) FROM _rowtide.repairs AS r ORDER BY repaired_at");
        rows.lines().map(str::to_owned).collect()
    };
    let run = |sql: &str| drop(there.sql(sql));
    rounds("PostgreSQL", |random| {
        let damage = |random: &mut StdRng| {
            let planted = plant(random, Dialect::Postgres);
            planted.iter().for_each(|one| run(&one.sql));
            planted
        };
        writing(case, || {
            let planted = damage(random);
            round(case, &planted, &told);
            let more = damage(random);
            by_hand(case, &more, &run);
            expected(&planted).len() + expected(&more).len()
        })
    });
    case.wait_until_caught_up(&mut running);
    case.stop(running);
    case.once();
    // Not so in DuckDB, which prints lists of bytes and of intervals otherwise.
    for table in ALIKE.into_iter().chain(["public.wide"]) {
        there.compare(table, "after all repairs");
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
