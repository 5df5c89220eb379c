//! A slice of `cargo xtask fidelity values`: the oldest and the newest server, both destinations,
//! every type; and types and values made up from a seed.

#![allow(clippy::panic, reason = "a test fails by panicking")]

use rowtide_fidelity::stage::End;
use rowtide_fidelity::values::{Report, property, slice};
use rowtide_sandbox::testing::start_or_skip;
use rowtide_sandbox::{Major, ServerOptions};

/// Whether there is a server of `major`; says so if not, and fails in CI.
fn is_here(major: Major) -> bool {
    start_or_skip(&ServerOptions::for_major(major)).is_some()
}

fn nothing_is_silent(report: &Report, again: &str) {
    let failures = report.failures();
    assert!(failures.is_empty(), "{}\nagain: {again}", failures.join("\n"));
    assert!(report.values() > 900, "only {} values were tried", report.values());
}

fn every_type(major: Major, end: End) {
    if is_here(major) {
        let report = slice(major, end).unwrap_or_else(|error| panic!("{error}"));
        nothing_is_silent(&report, &format!("cargo xtask fidelity values --major {major}"));
    }
}

#[test]
fn every_type_of_the_oldest_server_arrives_in_duckdb() {
    every_type(Major::V14, End::Duckdb);
}

#[test]
fn every_type_of_the_oldest_server_arrives_in_postgres() {
    every_type(Major::V14, End::Postgres);
}

#[test]
fn every_type_of_the_newest_server_arrives_in_duckdb() {
    every_type(Major::V18, End::Duckdb);
}

#[test]
fn every_type_of_the_newest_server_arrives_in_postgres() {
    every_type(Major::V18, End::Postgres);
}

/// The one property of values: copy, binary log and text log bring the same, and the destination
/// gives it back.
#[test]
fn any_value_of_any_type_is_given_back() {
    let given = std::env::var("ROWTIDE_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = given.unwrap_or_else(rand::random::<u64>);
    let major = Major::V15;
    if !is_here(major) {
        return;
    }
    for end in End::ALL {
        let report = property(major, end, seed).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
        let again = format!("cargo xtask fidelity values --major {major} --seed {seed}");
        nothing_is_silent(&report, &again);
    }
}
