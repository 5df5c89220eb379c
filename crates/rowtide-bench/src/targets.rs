//! What is asked of Rowtide on two cores that it shares with the server.

use serde::Serialize;

use crate::options::To;

/// One demand. Two are the same if they have the same words.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Target {
    pub(crate) workload: &'static str,
    pub(crate) to: To,
    pub(crate) what: &'static str,
    pub(crate) bound: Bound,
}

/// Where it is met.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

impl Target {
    const fn at_least(workload: &'static str, to: To, what: &'static str, bound: f64) -> Self {
        Self { workload, to, what, bound: Bound::AtLeast(bound) }
    }

    const fn at_most(workload: &'static str, to: To, what: &'static str, bound: f64) -> Self {
        Self { workload, to, what, bound: Bound::AtMost(bound) }
    }

    /// Whether `value` meets it.
    pub(crate) fn is_met(&self, value: f64) -> bool {
        match self.bound {
            Bound::AtLeast(bound) => value >= bound,
            Bound::AtMost(bound) => value <= bound,
        }
    }
}

const CPU: &str = "times less CPU per million changes than the cheapest peer";
const WRONG: &str = "times the time of equal tables to find 3 wrong rows";
const IDLE: &str = "% of a core when idle, one pipeline";
const START: &str = "ms from a cold start to streaming";

pub(crate) const W1_LIMIT: Target =
    Target::at_least("W1", To::Duckdb, "of the limit of two shared cores", 0.85);
pub(crate) const W1_SCANNER: Target =
    Target::at_least("W1", To::Duckdb, "of DuckDB's own postgres scanner", 1.0);
pub(crate) const W1_SYNC: Target =
    Target::at_least("W1", To::Postgres, "of the native table sync", 1.5);
pub(crate) const W1_PIPE: Target =
    Target::at_least("W1", To::Postgres, "of `COPY` piped into `COPY`", 0.85);
pub(crate) const W2_READER: Target = Target::at_least("W2", To::Duckdb, "of the null reader", 0.80);
pub(crate) const W2_NATIVE: Target =
    Target::at_least("W2", To::Postgres, "of a native binary subscription", 1.0);
pub(crate) const W2_CPU_DUCKDB: Target = Target::at_least("W2", To::Duckdb, CPU, 3.0);
pub(crate) const W2_CPU_POSTGRES: Target = Target::at_least("W2", To::Postgres, CPU, 3.0);
pub(crate) const W3_DUCKDB: Target =
    Target::at_most("W3", To::Duckdb, "ms p99 at 500 transactions/s", 100.0);
pub(crate) const W3_POSTGRES: Target =
    Target::at_most("W3", To::Postgres, "ms p99 at 500 transactions/s", 30.0);
pub(crate) const W4_DUCKDB: Target =
    Target::at_most("W4", To::Duckdb, "MiB of peak memory beyond DuckDB's limit", 256.0);
pub(crate) const W4_POSTGRES: Target =
    Target::at_most("W4", To::Postgres, "MiB of peak memory", 128.0);
pub(crate) const VERIFY_DUCKDB: Target =
    Target::at_least("verify", To::Duckdb, "of `count(*), sum(hash)` by one connection", 0.5);
pub(crate) const VERIFY_WRONG_DUCKDB: Target = Target::at_most("verify", To::Duckdb, WRONG, 1.3);
pub(crate) const VERIFY_WRONG_POSTGRES: Target =
    Target::at_most("verify", To::Postgres, WRONG, 1.3);
pub(crate) const VERIFY_MEMORY_DUCKDB: Target =
    Target::at_most("verify", To::Duckdb, "MiB of peak memory beyond DuckDB's limit", 256.0);
pub(crate) const VERIFY_MEMORY_POSTGRES: Target =
    Target::at_most("verify", To::Postgres, "MiB of peak memory", 256.0);
pub(crate) const IDLE_DUCKDB: Target = Target::at_most("idle", To::Duckdb, IDLE, 0.5);
pub(crate) const IDLE_POSTGRES: Target = Target::at_most("idle", To::Postgres, IDLE, 0.5);
pub(crate) const START_DUCKDB: Target = Target::at_most("start", To::Duckdb, START, 300.0);
pub(crate) const START_POSTGRES: Target = Target::at_most("start", To::Postgres, START, 300.0);

/// All of them, in the order in which they are reported.
pub(crate) const ALL: [Target; 21] = [
    W1_LIMIT,
    W1_SCANNER,
    W1_SYNC,
    W1_PIPE,
    W2_READER,
    W2_NATIVE,
    W2_CPU_DUCKDB,
    W2_CPU_POSTGRES,
    W3_DUCKDB,
    W3_POSTGRES,
    W4_DUCKDB,
    W4_POSTGRES,
    VERIFY_DUCKDB,
    VERIFY_WRONG_DUCKDB,
    VERIFY_WRONG_POSTGRES,
    VERIFY_MEMORY_DUCKDB,
    VERIFY_MEMORY_POSTGRES,
    IDLE_DUCKDB,
    IDLE_POSTGRES,
    START_DUCKDB,
    START_POSTGRES,
];
