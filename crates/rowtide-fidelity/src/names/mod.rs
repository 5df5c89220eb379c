//! Hostile names, end to end: each of a corpus as a schema, a table, a key column and a column.
//!
//! Every table is made of names alone: they move on by different steps, so that each comes to stand
//! in every place. Some are merged, some appended, some have no key. What arrives is compared name
//! by name and row by row, by SQL on both sides.

mod corpus;
mod plan;
mod refused;
mod trial;

use std::path::PathBuf;

use rowtide_sandbox::Major;
use rowtide_testkit::{Result, binary};

pub use corpus::{corpus, kept};
pub use refused::refusals;
pub use trial::{Outcome, attempt};

use crate::stage::{End, Stage};

/// What can be chosen.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// The major version of the server; without it every one that is installed.
    #[arg(long)]
    major: Option<Major>,
    /// Where the tables go; without it to each kind of destination.
    #[arg(long)]
    to: Option<End>,
}

/// Sends all names through the real binary, and prints what became of them.
///
/// # Errors
/// What did not arrive as it is.
#[expect(clippy::print_stdout, reason = "the counts are what is asked for")]
pub fn run(options: &Options) -> Result<()> {
    let given = std::env::var_os("ROWTIDE_BINARY").map(PathBuf::from);
    let program = given.map_or_else(binary, Ok)?;
    let mut majors = Major::installed();
    majors.retain(|major| options.major.is_none_or(|wanted| wanted == *major));
    if majors.is_empty() {
        return Err("no such PostgreSQL server is installed: cargo xtask setup".to_owned());
    }
    for major in majors {
        for end in End::ALL.into_iter().filter(|end| options.to.is_none_or(|to| to == *end)) {
            let stage = Stage::new(major, end, &program, ("", ""))?;
            let outcome = attempt(&stage).map_err(|error| {
                format!("{error}\n  again: cargo xtask fidelity names --major {major} --to {end:?}")
            })?;
            println!("PostgreSQL {major} to {end:?}: {outcome}");
        }
    }
    Ok(())
}
