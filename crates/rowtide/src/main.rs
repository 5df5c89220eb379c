//! The `rowtide` program: reads the command line, wires a source to a destination, and shows what
//! happens. Everything that moves data lives in the other crates.

mod cli;
mod cmd;
mod configuration;
mod control;
mod json;
mod metrics;
mod output;
mod registry;
mod signals;
mod verification;

use std::process::ExitCode;

use clap::Parser;
use rowtide_core::{Error, ErrorKind, Result};

use cli::Cli;
use output::Output;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    output::install_panic_hook();
    // An error means that a provider is installed already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    let output = Output::new(&cli.global);
    match execute(cli, &output) {
        Ok(code) => code,
        Err(error) => {
            output.error(&error);
            ExitCode::from(error.kind().exit_code())
        }
    }
}

/// Prints help and version to stdout (exit code 0), mistakes to stderr (exit code 2).
fn usage(error: &clap::Error) -> ExitCode {
    // A closed pipe is all that can go wrong, and nobody is left to tell.
    let _ = error.print();
    match error.use_stderr() {
        true => ExitCode::from(ErrorKind::Config.exit_code()),
        false => ExitCode::SUCCESS,
    }
}

fn execute(cli: Cli, output: &Output) -> Result<ExitCode> {
    rowtide_core::fault::check()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::internal("could not start the runtime").with_source(error))?;
    let result = runtime.block_on(cmd::dispatch(cli.command, output));
    // A blocking call into a library may still run; it must not keep the process alive.
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    result
}
