//! `rowtide verify`: whether both sides are equal, and which rows are not.

mod show;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use rowtide_core::view::RangeText;
use rowtide_core::{Error, Result};
use rowtide_engine::config::{Configuration, parse_duration, parse_size};
use rowtide_engine::{Activity, Environment, Monitor, Pipeline, Requests, RunMode};
use rowtide_verify::{Extent, Report, TableReport};

use crate::cli::Verify;
use crate::output::Output;
use crate::verification::{Asked, Budget, Desk, Mending};
use crate::{configuration, control, metrics, registry, signals};

/// How often it is looked whether the pipeline has come to follow the log.
const GLANCE: Duration = Duration::from_millis(50);

/// Asks the running pipeline, or runs it for the time.
pub(super) async fn execute(arguments: Verify, output: &Output) -> Result<ExitCode> {
    let configuration = configuration::load(&arguments.pipeline)?;
    let asked = asked(&arguments)?;
    show::prepare(&arguments)?;
    let tell = |table: &TableReport| show::progress(table, output);
    let report = match control::verify(&configuration, &asked, &tell).await? {
        Some(report) => report,
        None => run_for_the_time(configuration, &asked, (&tell, output)).await?,
    };
    if let Some(path) = &arguments.metrics_file {
        metrics::write(path, &report)?;
    }
    show::report(&report, &arguments, output)?;
    Ok(ExitCode::from(report.exit_code()))
}

fn asked(arguments: &Verify) -> Result<Asked> {
    let seed = || u64::try_from(jiff::Timestamp::now().as_microsecond()).unwrap_or_default();
    let extent = match (arguments.sample, arguments.since) {
        (Some(percent), _) if percent > 0.0 && percent <= 100.0 => {
            Extent::Sample { percent, seed: arguments.seed.unwrap_or_else(seed) }
        }
        (Some(_), _) => {
            return Err(Error::config("--sample takes a number above 0 and up to 100"));
        }
        (None, true) => Extent::Since,
        (None, false) => Extent::Full,
    };
    let duration = |option: &str, text: &Option<String>| {
        let parsed = text.as_deref().map(parse_duration).transpose();
        parsed.map_err(|expected| Error::config(format!("{option}: {expected}")))
    };
    let max_lag = arguments.max_lag.as_deref().map(parse_size).transpose();
    let budget = Budget {
        connections: arguments.connections.map(usize::from),
        statement: duration("--statement", &arguments.statement)?,
        max_lag_bytes: max_lag
            .map_err(|expected| Error::config(format!("--max-lag: {expected}")))?,
    };
    // Of each table once it is known; what is no range at all is told before anything runs.
    if let Some(range) = &arguments.key_range {
        range.parse::<RangeText>()?;
    }
    Ok(Asked {
        tables: arguments.table.clone(),
        condition: arguments.condition.clone(),
        extent,
        show_values: arguments.show_values,
        listed: arguments.limit,
        key_range: arguments.key_range.clone(),
        budget,
        timeout: duration("--timeout", &arguments.timeout)?,
        mending: match (arguments.repair, arguments.dry_run) {
            (false, _) => Mending::None,
            (true, true) => Mending::Plan,
            (true, false) => Mending::Repair,
        },
    })
}

/// Runs the pipeline until its tables are compared.
async fn run_for_the_time(
    configuration: Configuration,
    asked: &Asked,
    (tell, output): (&(dyn Fn(&TableReport) + Send + Sync), &Output),
) -> Result<Report> {
    if configuration.settings.mode == RunMode::FullLoad {
        let refused = "a pipeline in mode full-load is not followed, and cannot be compared";
        return Err(Error::config(refused).with_hint("run.mode = \"auto\" follows the log"));
    }
    let (source, destination) = registry::ends(&configuration)?;
    let known = destination.peek(&configuration.pipeline).await?;
    if known.and_then(|state| state.checkpoint).is_none() {
        let unknown = format!("the destination knows no pipeline {}", configuration.pipeline);
        return Err(Error::config(unknown)
            .with_hint("there is something to compare once `rowtide run` has copied it"));
    }
    output.note("no pipeline runs here: running it until its tables are compared");
    let (shutdown, stop) = signals::listen(output)?;
    let monitor = Monitor::default();
    let (asking, requests) = tokio::sync::mpsc::channel(1);
    let desk = Desk::new(&configuration, (&source, &destination), (&monitor, &asking));
    let mut settings = configuration.settings;
    settings.once = false;
    settings.resync.clear();
    let pipeline = Pipeline {
        name: configuration.pipeline,
        source,
        destination,
        settings,
        monitor: monitor.clone(),
        environment: Environment::real(),
        requests: Requests::from(requests),
    };
    let running = pipeline.run(stop.clone());
    tokio::pin!(running);
    let verified = async {
        while monitor.activity() != Activity::Streaming {
            tokio::time::sleep(GLANCE).await;
        }
        Arc::clone(&desk).verify(asked, tell).await
    };
    let report = tokio::select! {
        report = verified => report,
        ended = &mut running => {
            let asked_to_stop = Error::unavailable("stopped before everything was compared");
            return Err(ended.err().unwrap_or(asked_to_stop));
        }
    };
    shutdown.send_replace(true);
    if let Err(error) = running.await {
        tracing::warn!(error = %error.chain(), "the pipeline ended badly after the verification");
    }
    report
}
