//! What to measure, and how much of it.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use rowtide_sandbox::Major;
use serde::Serialize;

use crate::limits::Job;

/// Measures Rowtide and the limits of its surroundings on the same data, in one run.
#[derive(Debug, Parser)]
pub(crate) struct Program {
    #[command(flatten)]
    pub(crate) options: Options,
    #[command(subcommand)]
    pub(crate) part: Option<Part>,
}

/// What the program does when it calls itself, so that a limit has a process of its own to measure.
#[derive(Debug, Subcommand)]
pub(crate) enum Part {
    /// Does the work of one limit and prints what it took.
    #[command(hide = true, subcommand)]
    Limit(Job),
}

/// The destinations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ValueEnum)]
pub(crate) enum To {
    Duckdb,
    Postgres,
}

impl std::fmt::Display for To {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Duckdb => "DuckDB",
            Self::Postgres => "PostgreSQL",
        })
    }
}

#[derive(Debug, Clone, Args)]
pub(crate) struct Options {
    /// The binary to measure.
    #[arg(long, default_value = "target/release/rowtide")]
    pub(crate) binary: PathBuf,
    /// Which measurements, by number or name: w1 (copy), w2 (drain), w3 (latency), w4 (large),
    /// w5 (toast), w6 (skew), w7 (outage), verify, idle, start, kills; all but kills without it.
    #[arg(long, value_delimiter = ',')]
    pub(crate) only: Vec<String>,
    /// Which destinations.
    #[arg(long, value_delimiter = ',', default_value = "duckdb,postgres")]
    pub(crate) to: Vec<To>,
    /// How often short measurements are made; the median counts.
    #[arg(long, default_value_t = 5)]
    pub(crate) runs: usize,
    /// Tiny sizes and one run each, to see in a minute that everything works.
    #[arg(long)]
    pub(crate) quick: bool,
    /// Write docs/performance instead of target/bench.
    #[arg(long)]
    pub(crate) write: bool,
    /// Write there instead.
    #[arg(long, conflicts_with = "write")]
    pub(crate) into: Option<PathBuf>,
    /// The servers' major version; the system's newest without it.
    #[arg(long)]
    pub(crate) major: Option<Major>,
    /// Let the servers wait for the disk at each commit.
    #[arg(long)]
    pub(crate) fsync: bool,
    /// DuckDB's `postgres` extension, if it is not installed where DuckDB looks for it.
    #[arg(long)]
    pub(crate) scanner: Option<PathBuf>,
    /// A directory with the `libduckdb.so` that the extension was built for, if it is of another
    /// version than ours: an extension works with no other.
    #[arg(long)]
    pub(crate) scanner_library: Option<PathBuf>,
    /// Parameters of the DuckDB URL, for example `?threads=2`.
    #[arg(long, default_value = "")]
    pub(crate) parameters: String,
    /// Rows of the wide table that is copied; 4,000,000 are about 1 GB.
    #[arg(long, default_value_t = 500_000)]
    pub(crate) copy_rows: u64,
    /// Scale of the pgbench tables that are copied (100,000 rows each).
    #[arg(long, default_value_t = 10)]
    pub(crate) copy_scale: u64,
    /// Inserts of the backlog; half as many updates and a tenth as many deletes follow.
    #[arg(long, default_value_t = 100_000)]
    pub(crate) drain_inserts: u64,
    /// pgbench transactions of the backlog.
    #[arg(long, default_value_t = 20_000)]
    pub(crate) drain_pgbench: u64,
    /// Scale of the pgbench tables that are followed.
    #[arg(long, default_value_t = 2)]
    pub(crate) drain_scale: u64,
    /// Rows updated by one transaction; several numbers, one after another.
    #[arg(long, value_delimiter = ',', default_value = "2000000")]
    pub(crate) large_rows: Vec<u64>,
    /// Rows with a value of 8 kB each, all updated beside it.
    #[arg(long, default_value_t = 10_000)]
    pub(crate) toast_rows: u64,
    /// Transactions over 40 tables.
    #[arg(long, default_value_t = 5_000)]
    pub(crate) skew_transactions: u64,
    /// Seconds of the outage; 600 for ten minutes.
    #[arg(long, default_value_t = 20)]
    pub(crate) outage_seconds: u64,
    /// Transactions of pgbench per second before, during and after the outage.
    #[arg(long, default_value_t = 500)]
    pub(crate) outage_rate: u64,
    /// Rows of the wide table that is verified; several numbers, one after another.
    #[arg(long, value_delimiter = ',', default_value = "500000")]
    pub(crate) verify_rows: Vec<u64>,
    /// Seconds for which idle pipelines are looked at.
    #[arg(long, default_value_t = 15)]
    pub(crate) idle_seconds: u64,
    /// Seconds of the steady load, and of the load under kills.
    #[arg(long, default_value_t = 30)]
    pub(crate) seconds: u64,
    /// Single-row transactions per second of the steady load; those after the first number for a
    /// third of the time.
    #[arg(long, value_delimiter = ',', default_value = "500,2000")]
    pub(crate) rates: Vec<u64>,
    /// Scale of pgbench under kills.
    #[arg(long, default_value_t = 10)]
    pub(crate) scale: u64,
}

impl Options {
    /// The options, small if that was asked for.
    pub(crate) fn settled(mut self) -> Self {
        self.runs = self.runs.max(1);
        if self.quick {
            self.runs = 1;
            self.copy_rows = 20_000;
            self.copy_scale = 1;
            self.drain_inserts = 6_000;
            self.drain_pgbench = 1_000;
            self.drain_scale = 1;
            self.large_rows = vec![20_000];
            self.toast_rows = 500;
            self.skew_transactions = 200;
            self.outage_seconds = 2;
            self.verify_rows = vec![20_000];
            self.idle_seconds = 2;
            self.seconds = 2;
            self.scale = 1;
        }
        self
    }

    /// Whether pipelines into `to` are measured.
    pub(crate) fn has(&self, to: To) -> bool {
        self.to.contains(&to)
    }
}
