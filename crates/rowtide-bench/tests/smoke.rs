//! The real program with tiny sizes: copying and draining, beside every limit, into both
//! destinations. Its figures mean nothing; that it compares everything and reports it does.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use rowtide_sandbox::PostgresBinaries;
use rowtide_sandbox::testing::in_ci;
use serde_json::Value;

/// The binary to measure, `ROWTIDE_BINARY` or the one beside the program; `None` if it or a server
/// is not here (a visible skip, and a failure in CI).
fn binary() -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_BIN_EXE_rowtide-bench")).with_file_name("rowtide");
    let binary = std::env::var_os("ROWTIDE_BINARY").map_or_else(beside, PathBuf::from);
    let missing = match PostgresBinaries::locate(None) {
        Err(error) => error.to_string(),
        Ok(_) if binary.is_file() => return Some(binary),
        Ok(_) => format!("there is no {}; build it: cargo build -p rowtide", binary.display()),
    };
    if in_ci() {
        panic!("{missing}");
    }
    let _ = writeln!(std::io::stderr(), "SKIPPED: smoke: {missing}");
    None
}

/// What the program wrote into `results.json`.
fn measured(binary: &Path, only: &str, into: &Path) -> Value {
    let mut program = Command::new(env!("CARGO_BIN_EXE_rowtide-bench"));
    program.args(["--quick", "--only", only, "--binary"]).arg(binary).arg("--into").arg(into);
    let output = program.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_str(&std::fs::read_to_string(into.join("results.json")).unwrap()).unwrap()
}

/// The lines of the only measurement.
fn lines(results: &Value) -> &Vec<Value> {
    results["measurements"][0]["outcome"]["lines"].as_array().unwrap()
}

/// Checks that everything named `what` ran, and took time.
fn assert_ran(lines: &[Value], what: &str) {
    let found: Vec<&Value> =
        lines.iter().filter(|line| line["what"].as_str().unwrap().ends_with(what)).collect();
    assert!(!found.is_empty(), "{what} is missing: {lines:#?}");
    let wall = |line: &Value| line["taken"]["wall"].as_f64();
    assert!(found.iter().any(|line| wall(line) > Some(0.0)), "{what}: {found:#?}");
}

#[test]
fn copying_is_measured_beside_its_limits() {
    let Some(binary) = binary() else { return };
    let directory = tempfile::tempdir().unwrap();
    let results = measured(&binary, "w1", directory.path());
    let lines = lines(&results);
    for set in ["wide table", "pgbench tables"] {
        for what in [
            "`COPY … (FORMAT binary)` to nothing",
            "the same in 2 lanes",
            "DuckDB from Arrow, one statement",
            "DuckDB from Arrow, a statement for each 100,000 rows",
            "DuckDB from Parquet",
            "shared cores",
            "table sync of a native subscription",
            "key before",
            "key after",
            "rowtide → DuckDB",
            "rowtide → PostgreSQL",
        ] {
            let of_set = |line: &&Value| line["what"].as_str().unwrap().starts_with(set);
            let of_set: Vec<Value> = lines.iter().filter(of_set).cloned().collect();
            assert_ran(&of_set, what);
        }
    }
    let page = std::fs::read_to_string(directory.path().join("results.md")).unwrap();
    assert!(page.contains("A smoke run") && page.contains("## W1"), "{page}");
}

#[test]
fn draining_is_measured_beside_its_limits() {
    let Some(binary) = binary() else { return };
    let directory = tempfile::tempdir().unwrap();
    let results = measured(&binary, "w2", directory.path());
    let lines = lines(&results);
    for what in [
        "the null reader",
        "`pg_recvlogical` to nothing",
        "a native binary subscription",
        "rowtide → DuckDB",
        "rowtide → PostgreSQL",
    ] {
        assert_ran(lines, what);
    }
    // What the null reader counted: the inserts of the options, one of each pgbench transaction
    // into its history, and the mark.
    let load = lines[0]["note"].as_str().unwrap();
    assert!(load.contains(": 7001 inserts, "), "{load}");
    for plot in ["drain-duckdb-throughput.svg", "drain-postgresql-memory.svg"] {
        assert!(directory.path().join(plot).is_file(), "{plot}");
    }
}

/// The figures of all measurements, by their lines' words.
fn figures(results: &Value) -> Vec<(String, f64)> {
    let all = results["measurements"].as_array().unwrap().iter();
    let lines = all.flat_map(|section| section["outcome"]["lines"].as_array().unwrap());
    let figure = |line: &Value| {
        let value = line["figure"]["value"].as_f64()?;
        Some((line["what"].as_str().unwrap().to_owned(), value))
    };
    lines.filter_map(figure).collect()
}

/// Measures `only`, and checks that every figure named in `what` is there once and above zero, and
/// every picture named in `pictures` shows something.
fn check_measured(only: &str, what: &[&str], pictures: &[&str]) {
    let Some(binary) = binary() else { return };
    let directory = tempfile::tempdir().unwrap();
    let figures = figures(&measured(&binary, only, directory.path()));
    for what in what {
        let found: Vec<f64> =
            figures.iter().filter(|(name, _)| name == what).map(|(_, value)| *value).collect();
        assert!(matches!(found[..], [value] if value > 0.0), "{what}: {found:?} of {figures:#?}");
    }
    for name in pictures {
        let picture = std::fs::read_to_string(directory.path().join(name)).unwrap();
        assert!(picture.contains("<polyline") || picture.contains("<rect"), "{name}: {picture}");
    }
}

#[test]
fn latency_and_large_transactions_are_measured() {
    check_measured(
        "w3,w4",
        &[
            "DuckDB at 500/s: commit → durable, p99",
            "DuckDB at 2000/s: commit → durable, max",
            "PostgreSQL at 500/s: statement → visible, p99",
            "PostgreSQL at 2000/s: statement → visible, p50",
            "PostgreSQL at 500/s: commit → durable, p99",
            "DuckDB, 20000 rows: changes/s after the commit",
            "PostgreSQL, 20000 rows: peak memory",
        ],
        &[
            "latency-duckdb-500.svg",
            "latency-postgresql-2000.svg",
            "large-memory-duckdb-20000.svg",
            "large-memory-postgresql-20000.svg",
        ],
    );
}

#[test]
fn large_values_and_many_tables_are_measured() {
    check_measured(
        "w5,w6",
        &[],
        &[
            "toast-duckdb-throughput.svg",
            "toast-postgresql-memory.svg",
            "skew-duckdb-memory.svg",
            "skew-postgresql-throughput.svg",
        ],
    );
}

#[test]
fn verifying_is_measured_beside_its_limit() {
    check_measured(
        "verify",
        &[
            "20000 rows: `count(*), sum(hash)` at the source, one connection",
            "20000 rows: the same with the server's own settings",
            "20000 rows: rowtide verify → DuckDB, equal",
            "20000 rows: the comparison alone → DuckDB, equal",
            "20000 rows: rowtide verify → DuckDB, 3 wrong rows",
            "20000 rows: rowtide verify → PostgreSQL, equal",
            "20000 rows: rowtide verify → PostgreSQL, 3 wrong rows",
            "20000 rows: rowtide verify → PostgreSQL, peak memory",
        ],
        &[],
    );
}

#[test]
fn outages_and_starts_are_measured() {
    check_measured(
        "w7,idle,start",
        &[
            "DuckDB: catching up after 2 s",
            "PostgreSQL: while catching up",
            "DuckDB: cold start to streaming, without the servers",
            "PostgreSQL: cold start to streaming, without the servers",
        ],
        &["outage-duckdb-throughput.svg", "outage-postgresql-memory.svg"],
    );
}
