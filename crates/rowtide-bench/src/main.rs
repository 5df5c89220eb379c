//! Measures Rowtide and the limits of its surroundings on the same data, in one run.
//!
//! Absolute times drift on shared machines; what counts is the ratio of two figures of one run.
//! Every result is compared row by row before its figure is printed.

#![expect(clippy::print_stdout, reason = "the report is what this program is for")]

mod arena;
mod copy;
mod drain;
mod kills;
mod large;
mod latency;
mod stopwatch;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use rowtide_testkit::Result;

/// What to measure, and how much of it.
#[derive(Debug, Parser)]
pub(crate) struct Options {
    /// The binary to measure.
    #[arg(long, default_value = "target/release/rowtide")]
    binary: PathBuf,
    /// Which measurements: copy, drain, latency, large, kills.
    #[arg(long, value_delimiter = ',', default_value = "copy,drain,latency,large")]
    only: Vec<String>,
    /// Parameters of the destination's URL, for example `?threads=2`.
    #[arg(long, default_value = "")]
    parameters: String,
    /// Rows of the wide table that is copied.
    #[arg(long, default_value_t = 1_000_000)]
    copy_rows: u64,
    /// Inserts of the backlog; half as many updates and a tenth as many deletes follow.
    #[arg(long, default_value_t = 300_000)]
    drain_inserts: u64,
    /// Rows updated by one transaction.
    #[arg(long, default_value_t = 2_000_000)]
    large_rows: u64,
    /// Seconds of the steady load, and of the load under kills.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Single-row transactions per second of the steady load.
    #[arg(long, default_value_t = 500)]
    rate: u64,
    /// Scale of pgbench under kills.
    #[arg(long, default_value_t = 10)]
    scale: u64,
}

fn main() -> ExitCode {
    let options = Options::parse();
    match options.only.iter().try_for_each(|name| measure(name, &options)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measure(name: &str, options: &Options) -> Result<()> {
    println!("\n## {name}\n");
    let rows = match name {
        "copy" => copy::measure(options)?,
        "drain" => drain::measure(options)?,
        "latency" => latency::measure(options)?,
        "large" => large::measure(options)?,
        "kills" => kills::measure(options)?,
        other => return Err(format!("there is no measurement called `{other}`")),
    };
    for (what, figure) in rows {
        println!("| {what} | {figure} |");
    }
    Ok(())
}

/// Lines of the report: what, and its figure.
pub(crate) type Rows = Vec<(String, String)>;
