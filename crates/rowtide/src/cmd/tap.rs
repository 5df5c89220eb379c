//! `rowtide tap`
use crate::cli::Tap;
use crate::output::Output;
use rowtide_core::Result;
use std::process::ExitCode;
pub(super) async fn execute(_: Tap, _: &Output) -> Result<ExitCode> {
    Ok(ExitCode::SUCCESS)
}
