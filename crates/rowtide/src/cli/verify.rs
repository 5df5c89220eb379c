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
  rowtide verify --table public.orders --key-range 1000..=1999
  rowtide verify --since --json
  rowtide verify --repair --dry-run

A pipeline that runs on this machine does it beside its work. Otherwise it runs for the time, since
the destination must come to where the source was looked at.

Exit code 0: every table is equal, with --repair: after it. 1: rows or columns differ, or rows
kept changing too fast to be compared.")]
pub(crate) struct Verify {
    #[command(flatten)]
    pub(crate) pipeline: Pipeline,
    /// Only these tables
    #[arg(long, value_name = "PATTERN", num_args = 1.., help_heading = "Verify")]
    pub(crate) table: Vec<String>,
    /// Only rows that fulfil this condition, in SQL that both sides understand
    #[arg(long = "where", value_name = "SQL", help_heading = "Verify")]
    pub(crate) condition: Option<String>,
    /// Only the keys from FROM on and below TO (`..=TO`: with TO itself); either may be left out.
    ///
    /// The columns of a composite key are separated by commas, with or without brackets:
    /// `7,2026-01-01..8,2026-01-01`, `(7,'a')..`. A bound may name only the first of them. A value
    /// with a comma, a bracket, two dots, a quote or spaces around it stands in single quotes, and
    /// a quote within it twice: `'O''Neil, A.'..`. Text is in the order of its bytes. Dates and
    /// times are written as in ISO 8601, those with a time zone with their offset. Keys of other
    /// types have no ranges: their order is not the same everywhere.
    #[arg(long, value_name = "FROM..TO", allow_hyphen_values = true, help_heading = "Verify")]
    pub(crate) key_range: Option<String>,
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
    /// Use at most so many connections to the source at once [default: 3]
    #[arg(long, value_name = "N", help_heading = "Verify", value_parser = clap::value_parser!(u16).range(1..=64))]
    pub(crate) connections: Option<u16>,
    /// No statement that reads a table takes much longer at the source [default: 1s]
    #[arg(long, value_name = "DURATION", help_heading = "Verify")]
    pub(crate) statement: Option<String>,
    /// Pause while the destination is further behind than so much log [default: 64MiB]
    #[arg(long, value_name = "SIZE", help_heading = "Verify")]
    pub(crate) max_lag: Option<String>,
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
    /// Write the metrics of this verification to this file, for node_exporter's textfile collector
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub(crate) metrics_file: Option<PathBuf>,
}
