//! `rowtide run`: copies, then follows, until the work is done or it is asked to stop.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rowtide_core::{
    Destination, Error, ErrorKind, Finding, Pattern, PipelineState, Result, Severity, Source,
    TableName, TableSchema,
};
use rowtide_engine::config::Configuration;
use rowtide_engine::{Environment, Monitor, Pipeline, Requests, RunMode, Settings, Summary};

use super::check::finding_text;
use crate::cli::Run;
use crate::configuration::Unchecked;
use crate::control::Answering;
use crate::output::{self, Output, Progress};
use crate::verification::{Desk, schedule};
use crate::{control, metrics, registry, signals};

/// How long a look into the destination may take that only tells how patient to be.
const PEEK: Duration = Duration::from_secs(5);

/// How long one may take that much depends on: a file's log may have to be replayed first.
const LOOK: Duration = Duration::from_secs(600);

/// Runs the pipeline that the arguments describe.
pub(super) async fn execute(arguments: Run, output: &Output) -> Result<ExitCode> {
    let configuration = configuration_of(&arguments)?;
    let (_shutdown, asked) = signals::listen(output)?;
    let (source, destination) = registry::ends(&configuration)?;
    let monitor = Monitor::default();
    let began = Instant::now();
    output.note(&format!("pipeline {}", configuration.pipeline));
    let _serving = metrics::serve(&configuration, &monitor, output).await?;

    let checked = preflight(&configuration, (source.as_ref(), destination.as_ref()), output);
    tokio::select! {
        checked = checked => checked?,
        () = signals::asked(&asked) => {
            output.note("stopped before anything was done");
            return Ok(ExitCode::SUCCESS);
        }
    }
    let (asking, requests) = tokio::sync::mpsc::channel(1);
    let desk = Desk::new(&configuration, (&source, &destination), (&monitor, &asking));
    let schedule = configuration.settings.verify.schedule.clone();
    let _scheduled = schedule.map(|schedule| schedule::start(Arc::clone(&desk), schedule));
    let answering = Answering { requests: asking, desk };
    let _control = match control::listen(&configuration, answering).await {
        Ok(listening) => Some(listening),
        Err(error) => {
            tracing::warn!(%error, "`rowtide table` cannot reach this run: no control socket");
            None
        }
    };
    let pipeline = Pipeline {
        name: configuration.pipeline,
        source,
        destination,
        settings: configuration.settings,
        monitor: monitor.clone(),
        environment: Environment::real(),
        requests: Requests::from(requests),
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
    if let Some(address) = &arguments.metrics_listen {
        unchecked.draft.set_text("metrics.listen", address, "--metrics-listen");
    }
    if let Some(mode) = arguments.mode {
        unchecked.draft.set_text("run.mode", mode.as_str(), "--mode");
    }
    let mut configuration = unchecked.finish()?;
    for pattern in arguments.resync.iter().flat_map(|list| Pattern::split(list)) {
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
    let worked_before = async || worked_before(destination, &configuration.pipeline).await;
    let asking = (settings, &worked_before);
    let look = async || source.preflight(&settings.selection, &mode_of).await;
    let findings = answered("the source", asking, look).await?;
    let known = remembered(configuration, destination).await?;
    refuse_unknown(&settings.resync, &known)?;
    refuse_errors(&findings, (settings, &known), output)?;
    match known.identity {
        None => {
            let discover = async || source.discover(&settings.selection).await;
            let discovered = answered("the source", asking, discover).await?;
            let ends = (configuration, destination);
            let look = async || look_at_targets(ends, &discovered, &known).await;
            let found = answered("the destination", asking, look).await?;
            refuse_errors(&found, (settings, &known), output)?;
            let is_taken = async || refuse_taken(configuration, source).await;
            answered("the source", asking, is_taken).await
        }
        Some(_) => Ok(()),
    }
}

/// What `ask` brings, asked again while `whom` cannot answer: for as long as a start may take, and
/// without end if that is `endless`, or if it was the server who said that this will pass.
async fn answered<T>(
    whom: &str,
    (settings, endless): (&Settings, impl AsyncFn() -> bool),
    ask: impl AsyncFn() -> Result<T>,
) -> Result<T> {
    let began = Instant::now();
    let mut wait = settings.retry_initial;
    loop {
        let error = match ask().await {
            Err(error) if error.kind().is_transient() => error,
            answer => return answer,
        };
        let late = began.elapsed() >= settings.retry_startup;
        if late && !error.is_answered() && !endless().await {
            return Err(error);
        }
        tracing::warn!(error = %error.chain(), "retrying: {whom} is not available");
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(settings.retry_max);
    }
}

/// What the destination remembers. Without it nobody can tell a new pipeline from one that worked
/// for years, so nothing is judged before it is read.
async fn remembered(
    configuration: &Configuration,
    destination: &dyn Destination,
) -> Result<PipelineState> {
    let look = async || {
        let peeked = tokio::time::timeout(LOOK, destination.peek(&configuration.pipeline)).await;
        let late = || Error::unavailable("the destination did not tell what it remembers");
        peeked.unwrap_or_else(|_| Err(late()))
    };
    let unknown = async || false;
    let state = answered("the destination", (&configuration.settings, unknown), look).await?;
    Ok(state.unwrap_or_default())
}

/// What the destination says of tables that a new pipeline would make there. Found only after the
/// slot and the publication were made, it would leave these behind.
async fn look_at_targets(
    (configuration, destination): (&Configuration, &dyn Destination),
    discovered: &[Arc<TableSchema>],
    known: &PipelineState,
) -> Result<Vec<Finding>> {
    // What the destination cannot hold is left alone, and told of when the run begins.
    let (mut plans, _refused) =
        configuration.plans(discovered, known, destination.capabilities())?;
    // What a full load has copied, the next one replaces, whatever it looks like.
    plans.retain(|plan| known.table(&plan.source.name).is_none());
    destination.preflight(&plans).await
}

/// Refuses a name under which the source is followed already.
async fn refuse_taken(configuration: &Configuration, source: &dyn Source) -> Result<()> {
    let name = &configuration.pipeline;
    // A slot that this destination knows nothing of is how far another destination has come:
    // making it anew would cost that one its place in the log.
    let follows = configuration.settings.mode != RunMode::FullLoad;
    if follows && source.operations().status().await?.acknowledged.is_some() {
        return Err(Error::config(format!(
            "pipeline {name} exists already at the source, but this destination knows nothing of it"
        ))
        .with_hint(
            "another destination may be following under this name: give this one another name with \
             --pipeline; if none does, remove what is left: rowtide teardown",
        ));
    }
    Ok(())
}

/// A table to copy again that is none of the pipeline's is a mistake in typing.
fn refuse_unknown(resync: &[Pattern], known: &PipelineState) -> Result<()> {
    let of_a_table =
        |pattern: &&Pattern| known.tables.iter().any(|t| pattern.matches(&t.schema.name));
    match resync.iter().find(|pattern| !of_a_table(pattern)) {
        Some(pattern) if known.checkpoint.is_some() => {
            Err(Error::config(format!("--resync {pattern} is no table of this pipeline"))
                .with_hint("`rowtide status` lists its tables"))
        }
        _ => Ok(()),
    }
}

/// A pipeline that worked before waits for its source as long as it takes.
async fn worked_before(destination: &dyn Destination, pipeline: &str) -> bool {
    peek(destination, pipeline).await.is_some_and(|state| state.checkpoint.is_some())
}

async fn peek(destination: &dyn Destination, pipeline: &str) -> Option<PipelineState> {
    let peeked = tokio::time::timeout(PEEK, destination.peek(pipeline)).await;
    peeked.ok().and_then(Result::ok).flatten()
}

/// Whether a finding keeps a run from starting.
///
/// A new pipeline must be free of errors. One that has a checkpoint creates nothing but what a
/// new table needs, and goes on without a table that stops alone; what is wrong with the rest,
/// attaching finds out, and knows what it means for the data that is there.
fn is_in_the_way(finding: &Finding, (settings, known): (&Settings, &PipelineState)) -> bool {
    if finding.severity != Severity::Error || known.checkpoint.is_none() {
        return finding.severity == Severity::Error;
    }
    let is_new =
        |table: &TableName| settings.selection.contains(table) && known.table(table).is_none();
    !finding.alone && finding.table.as_ref().is_some_and(is_new)
}

fn refuse_errors(
    findings: &[Finding],
    context: (&Settings, &PipelineState),
    output: &Output,
) -> Result<()> {
    let (errors, others): (Vec<_>, Vec<_>) =
        findings.iter().partition(|finding| is_in_the_way(finding, context));
    for finding in others.iter().filter(|finding| finding.severity != Severity::Ok) {
        match output.draws_bars() {
            true => output.note(finding_text(finding, output).trim_end()),
            false => {
                tracing::warn!(subject = finding.subject, fix = finding.fix, "{}", finding.message);
            }
        }
    }
    if errors.is_empty() {
        return Ok(());
    }
    let things =
        if errors.len() == 1 { "one thing".into() } else { format!("{} things", errors.len()) };
    let mut message = format!("{things} must be fixed first; nothing was created:");
    for finding in errors {
        message.push_str(&match output.is_json() {
            true => finding_line(finding),
            false => format!("\n{}", finding_text(finding, output).trim_end()),
        });
    }
    Err(Error::new(ErrorKind::Config, message)
        .with_hint("`rowtide check` shows everything that was looked at"))
}

/// A finding for a message of one line.
fn finding_line(finding: &Finding) -> String {
    let fix = finding.fix.as_deref().map(|fix| format!(" (fix: {fix})")).unwrap_or_default();
    format!(" {}: {}{fix};", finding.subject, finding.message)
}
