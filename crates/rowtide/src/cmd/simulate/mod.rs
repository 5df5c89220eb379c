//! `rowtide simulate`
use crate::cli::Simulate;
use crate::output::Output;
use rowtide_core::Result;
use std::process::ExitCode;
pub(super) async fn execute(_: Simulate, _: &Output) -> Result<ExitCode> {
    Ok(ExitCode::SUCCESS)
}
