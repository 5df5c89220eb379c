//! The words of `rowtide verify`.

use std::path::PathBuf;

use clap::Args;

use super::Pipeline;

/// `rowtide verify`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  rowtide verify --config shop.toml
  rowtide verify --table public.orders --where \"placed >= '2026-01-01'\" --show-values
  rowtide verify --since --json
  rowtide verify --repair --dry-run

A pipeline that runs on this machine does it beside its work. Otherwise it runs for the time, since
the destination must come to where the source was looked at.

Exit code 0: every table is equal, with --repair: after it. 1: rows differ, or kept changing too
fast to be compared.")]
pub(crate) struct Verify {
    #[command(flatten)]
    pub(crate) pipeline: Pipeline,
    /// Only these tables
    #[arg(long, value_name = "PATTERN", num_args = 1.., help_heading = "Verify")]
    pub(crate) table: Vec<String>,
    /// Only rows that fulfil this condition, in SQL that both sides understand
    #[arg(long = "where", value_name = "SQL", help_heading = "Verify")]
    pub(crate) condition: Option<String>,
    /// Only about so many rows in a hundred
    #[arg(long, value_name = "PERCENT", help_heading = "Verify", conflicts_with = "since")]
    pub(crate) sample: Option<f64>,
    /// Which rows a sample takes [default: others each time]
    #[arg(long, value_name = "NUMBER", help_heading = "Verify", requires = "sample")]
    pub(crate) seed: Option<u64>,
    /// Only what changed since the table was last found equal
    #[arg(long, help_heading = "Verify")]
    pub(crate) since: bool,
    /// Make rows that differ right, and look at them again
    #[arg(long, help_heading = "Repair")]
    pub(crate) repair: bool,
    /// Only tell what a repair would do; with --show-values in SQL
    #[arg(long, help_heading = "Repair", requires = "repair")]
    pub(crate) dry_run: bool,
    /// How long one table may take [default: 5m]
    #[arg(long, value_name = "DURATION", help_heading = "Verify")]
    pub(crate) timeout: Option<String>,
    /// List so many differing rows per table; all are counted
    #[arg(long, value_name = "N", default_value_t = 20, help_heading = "Output")]
    pub(crate) limit: usize,
    /// Show keys and values of rows that differ, which may be confidential
    #[arg(long, help_heading = "Output")]
    pub(crate) show_values: bool,
    /// Print the report as one JSON object
    #[arg(long, help_heading = "Output")]
    pub(crate) json: bool,
    /// Write the differing rows to this file as CSV
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub(crate) csv: Option<PathBuf>,
    /// Write the report to this file as HTML
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub(crate) html: Option<PathBuf>,
}
