//! `rowtide completions`: a script for a shell.

use std::process::ExitCode;

use clap::CommandFactory;
use rowtide_core::Result;

use crate::cli::{Cli, Completions};
use crate::output;

/// Prints the script.
pub(super) fn execute(arguments: &Completions) -> Result<ExitCode> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut Cli::command(), "rowtide", &mut script);
    output::print_as_is(&String::from_utf8_lossy(&script))?;
    Ok(ExitCode::SUCCESS)
}
