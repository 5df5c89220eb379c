//! `cargo xtask fidelity`: every value, every name, and changes of tables at random.

#![expect(clippy::print_stdout, reason = "the report is what this program is for")]

use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use rowtide_fidelity::{ddl, names, tables, values};
use rowtide_testkit::Result;

/// Sends every type, name and change of table through the real binary, and compares.
#[derive(Debug, Parser)]
struct Options {
    /// What to try; without it everything, each with its defaults.
    #[command(subcommand)]
    part: Option<Part>,
}

#[derive(Debug, Subcommand)]
enum Part {
    /// Every type with hostile values, by every path.
    Values(values::Options),
    /// Changes of tables at random, among changes of rows.
    Ddl(ddl::Options),
    /// Hostile names of schemas, tables and columns.
    Names(names::Options),
    /// Very many small tables: what a start takes, and what a run holds.
    Tables(tables::Options),
}

/// The options of a part when nothing is said.
#[derive(Debug, Parser)]
struct Defaults<T: Args> {
    #[command(flatten)]
    options: T,
}

fn defaults<T: Args>() -> T {
    Defaults::<T>::parse_from(["rowtide-fidelity"]).options
}

fn main() -> ExitCode {
    let outcome = match Options::parse().part {
        Some(part) => run(&part),
        None => everything(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(part: &Part) -> Result<()> {
    match part {
        Part::Values(options) => values::run(options),
        Part::Ddl(options) => ddl::run(options),
        Part::Names(options) => names::run(options),
        Part::Tables(options) => tables::run(options),
    }
}

/// All parts, whatever becomes of the ones before.
fn everything() -> Result<()> {
    let parts = [
        Part::Values(defaults()),
        Part::Names(defaults()),
        Part::Ddl(defaults()),
        Part::Tables(defaults()),
    ];
    let failed: Vec<String> = parts.iter().filter_map(|part| run(part).err()).collect();
    match failed.is_empty() {
        true => Ok(()),
        false => Err(failed.join("\n")),
    }
}
