//! A thousand tables: what a run holds does not grow with their number. How long it takes is
//! measured by `cargo xtask fidelity tables`, and asserted nowhere.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod place;

use rowtide_fidelity::stage::End;
use rowtide_fidelity::tables::{make, measure, verify};

const TABLES: usize = 1_000;
/// What Rowtide may hold itself; DuckDB's own limit comes on top.
const MEMORY: u64 = 512 << 20;
const DUCKDB_MEMORY: u64 = 1 << 30;
/// Connections, and the files of the destination and of what is kept aside.
const FILES: usize = 128;

fn holds_little(end: End, memory: u64) {
    let Some(stage) = place::stage(end) else { return };
    make(&stage, TABLES).unwrap();
    let figures = measure(&stage, TABLES).unwrap();
    verify(&stage, TABLES).unwrap();
    assert!(figures.peak_rss < memory, "{figures}");
    assert!(figures.open_files < FILES, "{figures}");
}

#[test]
fn a_thousand_tables_go_to_duckdb() {
    holds_little(End::Duckdb, MEMORY + DUCKDB_MEMORY);
}

#[test]
fn a_thousand_tables_go_to_postgres() {
    holds_little(End::Postgres, MEMORY);
}
