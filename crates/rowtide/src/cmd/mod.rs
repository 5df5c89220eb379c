//! One file per command.

mod check;
mod completions;
mod config;
#[cfg(all(feature = "postgres", feature = "duckdb"))]
mod demo;
mod init;
mod quarantine;
mod run;
#[cfg(feature = "postgres")]
mod simulate;
mod status;
mod table;
#[cfg(feature = "postgres")]
mod tap;
mod teardown;
#[cfg(all(feature = "postgres", feature = "duckdb"))]
mod types;

mod verify;

use std::process::ExitCode;

use rowtide_core::Result;

use crate::cli::Command;
use crate::output::Output;

/// Runs a command; the exit code is for outcomes that are no errors.
pub(crate) async fn dispatch(command: Command, output: &Output) -> Result<ExitCode> {
    match command {
        Command::Run(arguments) => run::execute(arguments, output).await,
        Command::Check(arguments) => check::execute(arguments, output).await,
        Command::Status(arguments) => status::execute(arguments, output).await,
        Command::Quarantine(arguments) => quarantine::execute(arguments, output).await,
        Command::Table(arguments) => table::execute(arguments, output).await,
        Command::Verify(arguments) => verify::execute(arguments, output).await,
        Command::Teardown(arguments) => teardown::execute(arguments, output).await,
        Command::Init(arguments) => init::execute(&arguments, output),
        Command::Config(arguments) => config::execute(arguments),
        Command::Completions(arguments) => completions::execute(&arguments),
        #[cfg(all(feature = "postgres", feature = "duckdb"))]
        Command::Demo(arguments) => demo::execute(arguments, output).await,
        #[cfg(feature = "postgres")]
        Command::Simulate(arguments) => simulate::execute(arguments, output).await,
        #[cfg(feature = "postgres")]
        Command::Tap(arguments) => tap::execute(arguments, output).await,
        #[cfg(not(all(feature = "postgres", feature = "duckdb")))]
        _ => {
            Err(rowtide_core::Error::config("this program was built without the connector for it"))
        }
    }
}
