//! `rowtide table`: what to do with single tables of a pipeline, running or not.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use rowtide_core::{Error, Pattern, Result, TableName};
use rowtide_engine::config::Configuration;
use rowtide_engine::{TableCommand, operate};

use crate::cli::{Table, TableVerb};
use crate::output::{self, Output};
use crate::{configuration, control, registry};

/// How long a run may take that has begun until it listens, and how soon to look again.
const PATIENCE: Duration = Duration::from_secs(5);
const GLANCE: Duration = Duration::from_millis(20);

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
        output::print_line(&ask_or_do(&configuration, table, command).await?)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Lets the running pipeline do it; without one, becomes its writer for a moment. One that has
/// begun and does not listen yet is waited for: taking over from it would end it.
async fn ask_or_do(
    configuration: &Configuration,
    table: &TableName,
    command: TableCommand,
) -> Result<String> {
    let began = Instant::now();
    loop {
        if let Some(said) = control::send(configuration, table, command).await? {
            return Ok(said);
        }
        let turn = control::turn(configuration);
        if !matches!(turn, Ok(None)) {
            if let Err(error) = &turn {
                tracing::warn!(%error, "a run that begins on this machine now may be ended");
            }
            let (_, destination) = registry::ends(configuration)?;
            return operate(destination.as_ref(), &configuration.pipeline, (table, command)).await;
        }
        if began.elapsed() > PATIENCE {
            let name = &configuration.pipeline;
            return Err(Error::unavailable(format!(
                "the pipeline {name} runs on this machine, but cannot be reached"
            ))
            .with_hint("try again; if that does not help, end the run first"));
        }
        tokio::time::sleep(GLANCE).await;
    }
}

fn name(text: &str) -> Result<TableName> {
    let pattern: Pattern = text.parse()?;
    pattern.exact().ok_or_else(|| {
        Error::config(format!("`{text}` is a pattern; `rowtide table` takes tables by name"))
    })
}
