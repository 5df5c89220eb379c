//! `rowtide run`: copies, then follows, until the work is done or it is asked to stop.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use rowtide_core::{
    Destination, Error, ErrorKind, Finding, Pattern, Result, Severity, Source, TableName,
};
use rowtide_engine::config::Configuration;
use rowtide_engine::{Monitor, Pipeline, Summary};

use super::check::finding_text;
use crate::cli::Run;
use crate::configuration::Unchecked;
use crate::output::{self, Output, Progress};
use crate::{registry, signals};

/// Runs the pipeline that the arguments describe.
pub(super) async fn execute(arguments: Run, output: &Output) -> Result<ExitCode> {
    let configuration = configuration_of(&arguments)?;
    let (_shutdown, asked) = signals::listen(output)?;
    let source = registry::source(&configuration.source, &configuration.pipeline)?;
    let destination = registry::destination(&configuration.destination, &configuration.pipeline)?;
    let monitor = Monitor::default();
    let began = Instant::now();
    output.note(&format!("pipeline {}", configuration.pipeline));

    let checked = preflight(&configuration, (source.as_ref(), destination.as_ref()), output);
    tokio::select! {
        checked = checked => checked?,
        () = signals::asked(&asked) => {
            output.note("stopped before anything was done");
            return Ok(ExitCode::SUCCESS);
        }
    }
    let pipeline = Pipeline {
        name: configuration.pipeline,
        source,
        destination,
        settings: configuration.settings,
        monitor: monitor.clone(),
    };
    let progress = Progress::start(output, &monitor);
    let ended = pipeline.run(asked).await;
    progress.stop().await;
    let summary = ended?;
    output::summary(output, &monitor.snapshot(), &summary, began.elapsed());
    exit_code(&summary)
}

/// Stopped tables need somebody; everything else is done.
fn exit_code(summary: &Summary) -> Result<ExitCode> {
    match summary.stopped.first() {
        None => Ok(ExitCode::SUCCESS),
        Some((table, reason)) => {
            let others = match summary.stopped.len() - 1 {
                0 => String::new(),
                n => format!(" (and {n} more)"),
            };
            Err(Error::schema_drift(format!("table {table}{others} is stopped: {reason}"))
                .with_hint(format!(
                    "when the cause is removed, copy it again: rowtide run --resync '{table}'"
                )))
        }
    }
}

fn configuration_of(arguments: &Run) -> Result<Configuration> {
    let mut unchecked = Unchecked::gather(&arguments.pipeline)?;
    if arguments.once {
        unchecked.draft.set_boolean("run.once", true, "--once");
    }
    if let Some(mode) = arguments.mode {
        unchecked.draft.set_text("run.mode", mode.as_str(), "--mode");
    }
    let mut configuration = unchecked.finish()?;
    for pattern in &arguments.resync {
        let pattern: Pattern = pattern.parse().map_err(|error: Error| error.context("--resync"))?;
        configuration.settings.resync.push(pattern);
    }
    Ok(configuration)
}

/// Refuses to start when something must be fixed first; nothing has been created then.
async fn preflight(
    configuration: &Configuration,
    (source, destination): (&dyn Source, &dyn Destination),
    output: &Output,
) -> Result<()> {
    let settings = &configuration.settings;
    let mode_of = |table: &TableName| settings.mode_of(table);
    let began = Instant::now();
    let mut wait = settings.retry_initial;
    let findings = loop {
        match source.preflight(&settings.selection, &mode_of).await {
            Ok(findings) => break findings,
            Err(error) if error.kind().is_transient() => {
                let left = settings.retry_startup.saturating_sub(began.elapsed());
                let worked_before = worked_before(destination, &configuration.pipeline).await;
                if left.is_zero() && !worked_before {
                    return Err(error);
                }
                tracing::warn!(error = %error.chain(), "the source is not available, trying again");
                tokio::time::sleep(wait).await;
                wait = (wait * 2).min(settings.retry_max);
            }
            Err(error) => return Err(error),
        }
    };
    refuse_errors(&findings, output)
}

/// A pipeline that worked before waits for its source as long as it takes.
async fn worked_before(destination: &dyn Destination, pipeline: &str) -> bool {
    let peeked = tokio::time::timeout(Duration::from_secs(5), destination.peek(pipeline)).await;
    let state = peeked.ok().and_then(Result::ok).flatten();
    state.is_some_and(|state| state.checkpoint.is_some())
}

fn refuse_errors(findings: &[Finding], output: &Output) -> Result<()> {
    for finding in findings.iter().filter(|finding| finding.severity == Severity::Warning) {
        tracing::warn!(subject = finding.subject, fix = finding.fix, "{}", finding.message);
    }
    let errors: Vec<_> =
        findings.iter().filter(|finding| finding.severity == Severity::Error).collect();
    if errors.is_empty() {
        return Ok(());
    }
    let mut message =
        format!("{} thing(s) must be fixed first; nothing was created:", errors.len());
    for finding in &errors {
        match output.is_json() {
            true => message.push_str(&format!(" {}: {};", finding.subject, finding.message)),
            false => {
                message.push('\n');
                message.push_str(finding_text(finding, output).trim_end());
            }
        }
    }
    Err(Error::new(ErrorKind::Config, message)
        .with_hint("`rowtide check` shows everything that was looked at"))
}
