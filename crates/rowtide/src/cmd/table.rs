//! `rowtide table`: what to do with single tables of a pipeline, running or not.

use std::process::ExitCode;

use rowtide_core::{Error, Pattern, Result, TableName};
use rowtide_engine::{TableCommand, operate};

use crate::cli::{Table, TableVerb};
use crate::output::{self, Output};
use crate::{configuration, control, registry};

/// Asks the running pipeline, or notes it for the next run.
pub(super) async fn execute(arguments: Table, _output: &Output) -> Result<ExitCode> {
    let configuration = configuration::load(&arguments.pipeline)?;
    let command = match arguments.command {
        TableVerb::Add => TableCommand::Add,
        TableVerb::Resync => TableCommand::Resync,
        TableVerb::Replay => TableCommand::Replay,
        TableVerb::Pause => TableCommand::Pause,
        TableVerb::Resume => TableCommand::Resume,
        TableVerb::Skip => TableCommand::Skip,
    };
    let tables: Vec<TableName> =
        arguments.table.iter().map(|text| name(text)).collect::<Result<_>>()?;
    for table in &tables {
        let said = match control::send(&configuration, table, command).await? {
            Some(said) => said,
            None => {
                let (_, destination) = registry::ends(&configuration)?;
                operate(destination.as_ref(), &configuration.pipeline, (table, command)).await?
            }
        };
        output::print_line(&said)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn name(text: &str) -> Result<TableName> {
    let pattern: Pattern = text.parse()?;
    pattern.exact().ok_or_else(|| {
        Error::config(format!("`{text}` is a pattern; `rowtide table` takes tables by name"))
    })
}
