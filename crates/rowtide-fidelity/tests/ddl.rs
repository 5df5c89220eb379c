//! Two hundred changes of tables at random, among changes of rows: a slice of
//! `cargo xtask fidelity ddl`.
//!
//! The seeds are fixed; `ROWTIDE_SEED` is added to them. A failure names the command that plays it
//! again.

#![allow(clippy::panic, reason = "tests")]

use std::io::Write;

use rowtide_fidelity::ddl::{Options, run};
use rowtide_fidelity::stage::End;
use rowtide_sandbox::Major;
use rowtide_sandbox::testing::in_ci;
use rowtide_testkit::binary;

/// Steps of each of the two tests.
const STEPS: usize = 100;

/// Plays one history; what is not on this machine is a visible skip, and a failure in CI.
fn history(seed: u64, major: Major, end: End) {
    let missing = match binary() {
        Err(why) => Some(why),
        Ok(_) if !Major::installed().contains(&major) => {
            Some(format!("PostgreSQL {major} is not here"))
        }
        Ok(_) => None,
    };
    if let Some(why) = missing {
        assert!(!in_ci(), "{why}");
        let _ = writeln!(std::io::stderr(), "SKIPPED: a history of schema changes: {why}");
        return;
    }
    let more = std::env::var("ROWTIDE_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(0);
    let options = Options {
        seed: seed + more,
        steps: STEPS,
        length: STEPS,
        major: Some(major),
        to: Some(end),
        minutes: None,
        only: Vec::new(),
        without: Vec::new(),
        keep_going: false,
        shrink: 0,
    };
    if let Err(failure) = run(&options) {
        panic!("{failure}");
    }
}

#[test]
fn changes_at_random_on_15_end_equal_in_duckdb() {
    history(1, Major::V15, End::Duckdb);
}

#[test]
fn changes_at_random_on_18_end_equal_in_postgresql() {
    history(2, Major::V18, End::Postgres);
}
