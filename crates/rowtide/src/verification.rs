//! Verification inside the process that runs the pipeline: whoever asks, it is done here, one at a
//! time, and its verdicts are written by the pipeline itself.

pub(crate) mod marks;
mod repair;
pub(crate) mod schedule;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use rowtide_core::ledger::{self, Verified};
use rowtide_core::view::{Inspect, RangeText};
use rowtide_core::{
    Checkpoint, Destination, Error, Pattern, Phase, PipelineState, Result, Source, TableName,
    TableState,
};
use rowtide_engine::config::Configuration;
use rowtide_engine::{Monitor, Request, Settings, VerifySettings, hold};
use rowtide_verify::{Arrival, Extent, Options, Repair, Report, TableReport, Verdict, Verifier};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

/// How often the pipeline's progress is looked at.
const GLANCE: Duration = Duration::from_millis(20);
/// After so many glances the destination itself is asked.
const GLANCES: u32 = 50;
/// After so many it is asked to hurry, and after as many again.
const HURRIES: u32 = 5;
/// How long the pipeline may be held for a verdict to be written.
const WRITING: Duration = Duration::from_secs(10);
/// How long the pipeline may take to come to it.
const PATIENCE: Duration = Duration::from_secs(60);

/// What is to be compared, as it is asked for.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Asked {
    /// Patterns of tables; all without any.
    pub(crate) tables: Vec<String>,
    pub(crate) condition: Option<String>,
    pub(crate) extent: Extent,
    pub(crate) show_values: bool,
    pub(crate) listed: usize,
    /// A range of keys.
    #[serde(default)]
    pub(crate) key_range: Option<String>,
    #[serde(default)]
    pub(crate) budget: Budget,
    pub(crate) timeout: Option<Duration>,
    #[serde(default)]
    pub(crate) mending: Mending,
}

/// What of the source may be used, where that is not what the configuration says.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(crate) struct Budget {
    pub(crate) connections: Option<usize>,
    pub(crate) statement: Option<Duration>,
    pub(crate) max_lag_bytes: Option<u64>,
}

/// What is to be done about rows that differ.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Mending {
    /// They are told.
    #[default]
    None,
    /// What would make them right is told as well.
    Plan,
    /// They are made right.
    Repair,
}

/// The pipeline that runs in this process, as far as a verification needs it.
pub(crate) struct Desk {
    pipeline: Arc<str>,
    source: Arc<dyn Source>,
    destination: Arc<dyn Destination>,
    settings: VerifySettings,
    monitor: Monitor,
    requests: mpsc::Sender<Request>,
    /// Whether a verification is going on.
    busy: tokio::sync::Mutex<()>,
}

impl Desk {
    pub(crate) fn new(
        configuration: &Configuration,
        (source, destination): (&Arc<dyn Source>, &Arc<dyn Destination>),
        (monitor, requests): (&Monitor, &mpsc::Sender<Request>),
    ) -> Arc<Self> {
        let Settings { verify, .. } = &configuration.settings;
        Arc::new(Self {
            pipeline: configuration.pipeline.as_str().into(),
            source: Arc::clone(source),
            destination: Arc::clone(destination),
            settings: verify.clone(),
            monitor: monitor.clone(),
            requests: requests.clone(),
            busy: tokio::sync::Mutex::default(),
        })
    }

    /// Compares what is asked for, tells of each table as it is done, and keeps the verdicts.
    ///
    /// # Errors
    /// `Config` if nothing can be compared; `Unavailable` if a verification is going on already.
    pub(crate) async fn verify(
        &self,
        asked: &Asked,
        tell: &(dyn Fn(&TableReport) + Send + Sync),
    ) -> Result<Report> {
        let Ok(_turn) = self.busy.try_lock() else {
            let busy = Error::unavailable("a verification of this pipeline is going on already");
            return Err(
                busy.with_hint("wait until it has ended, or end the command that asked for it")
            );
        };
        let state = self.destination.peek(&self.pipeline).await?;
        let state = state.filter(|state| state.checkpoint.is_some()).ok_or_else(|| {
            Error::config(format!("pipeline {} has copied nothing yet", self.pipeline))
                .with_hint("there is something to compare once `rowtide run` has copied it")
        })?;
        let tables = chosen(&state, &asked.tables)?;
        if let Some(range) = &asked.key_range {
            let range: RangeText = range.parse()?;
            tables.iter().try_for_each(|table| range.of(&table.schema).map(drop))?;
        }
        let (source, destination) = self.ends()?;
        if let Some(condition) = &asked.condition {
            for table in tables.iter().filter(|table| table.phase == Phase::Streaming) {
                source.check_condition(&table.schema, condition).await?;
            }
        }
        let marks = match asked.extent {
            Extent::Since => marks::read(destination, &self.pipeline).await?,
            Extent::Full | Extent::Sample { .. } => marks::Marks::new(),
        };
        let verifier = Verifier {
            source,
            destination,
            arrival: self,
            pipeline: Arc::clone(&self.pipeline),
            options: self.options(asked),
            marks,
            repair: match asked.mending {
                Mending::None => None,
                Mending::Plan => Some(Repair::Plan),
                Mending::Repair => Some(Repair::Through(self)),
            },
        };
        let report = verifier.verify(&tables, tell).await;
        if let Err(error) = self.keep(&report).await {
            tracing::warn!(error = %error.chain(), "the verdicts could not be stored");
        }
        Ok(report)
    }

    fn ends(&self) -> Result<(&dyn Inspect, &dyn Inspect)> {
        let unable = |end: &str| {
            let message = format!("the {end}'s tables cannot be looked at by this connector");
            Error::config(message)
        };
        let source = self.source.inspect().ok_or_else(|| unable("source"))?;
        let destination = self.destination.inspect().ok_or_else(|| unable("destination"))?;
        Ok((source, destination))
    }

    fn options(&self, asked: &Asked) -> Options {
        let budget = asked.budget;
        Options {
            extent: asked.extent,
            condition: asked.condition.clone(),
            range: asked.key_range.clone(),
            connections: budget.connections.unwrap_or(self.settings.connections),
            statement: budget.statement.unwrap_or(self.settings.statement),
            lag_bytes: Some(budget.max_lag_bytes.unwrap_or(self.settings.max_lag_bytes)),
            timeout: asked.timeout.unwrap_or(self.settings.timeout),
            show_values: asked.show_values,
            listed: asked.listed,
            ..Options::default()
        }
    }

    /// Writes the verdicts to `_rowtide.verify`, by the pipeline.
    async fn keep(&self, report: &Report) -> Result<()> {
        let told = report.tables.iter().filter(|table| table.verdict != Verdict::NotCompared);
        let told: Vec<Verified> = told.map(|table| verified(table, report)).collect();
        if told.is_empty() {
            return Ok(());
        }
        let entry = ledger::verify(&self.pipeline, &told)?;
        let held = hold(&self.requests, Vec::new(), WRITING);
        let late = |_| Error::unavailable("the pipeline is busy and has not come to it");
        let held = tokio::time::timeout(PATIENCE, held).await.map_err(late)??;
        held.commit(Vec::new(), vec![entry]).await
    }
}

#[async_trait]
impl Arrival for Desk {
    async fn until(&self, checkpoint: &Checkpoint) -> Result<()> {
        loop {
            for glance in 0..GLANCES {
                if self.monitor.position() >= checkpoint.position().0 {
                    return Ok(());
                }
                if glance % HURRIES == 1 {
                    // One that has no room now has requests to come to first.
                    let _ = self.requests.try_send(Request::Hurry);
                }
                tokio::time::sleep(GLANCE).await;
            }
            let state = self.destination.peek(&self.pipeline).await?;
            if state.and_then(|state| state.checkpoint).is_some_and(|at| at.covers(checkpoint)) {
                return Ok(());
            }
        }
    }

    async fn state_of(&self, table: &TableName) -> Result<Option<TableState>> {
        let state = self.destination.peek(&self.pipeline).await?;
        Ok(state.and_then(|state| state.tables.into_iter().find(|one| one.schema.name == *table)))
    }

    fn lag_bytes(&self) -> Option<u64> {
        Some(self.monitor.lag_bytes())
    }
}

/// What the ledger tells of a table. The mark holds only what was looked at as a whole.
fn verified(table: &TableReport, report: &Report) -> Verified {
    let whole = report.condition.is_none()
        && report.key_range.is_none()
        && !matches!(report.extent, Extent::Sample { .. })
        && table.verdict == Verdict::Equal;
    Verified {
        table: table.table.clone(),
        extent: report.extent.as_str(),
        verdict: table.verdict.as_str(),
        position: table.position.as_ref().map(Checkpoint::position),
        mark: table.mark.clone().filter(|_| whole),
        rows_at_source: table.source_rows,
        rows_at_destination: table.destination_rows,
        differing: table.differing,
        unsettled: table.unsettled,
        started_at: table.started_at,
        ended_at: table.ended_at,
    }
}

/// The pipeline's tables that `patterns` name.
fn chosen(state: &PipelineState, patterns: &[String]) -> Result<Vec<TableState>> {
    let all = &state.tables;
    if patterns.is_empty() {
        return Ok(all.clone());
    }
    let mut parsed = Vec::new();
    for text in patterns.iter().flat_map(|list| Pattern::split(list)) {
        let pattern: Pattern = text.parse().map_err(|error: Error| error.context("--table"))?;
        if !all.iter().any(|table| pattern.matches(&table.schema.name)) {
            return Err(Error::config(format!("--table {pattern} is no table of this pipeline"))
                .with_hint("`rowtide status` lists its tables"));
        }
        parsed.push(pattern);
    }
    let is_meant =
        |table: &&TableState| parsed.iter().any(|pattern| pattern.matches(&table.schema.name));
    Ok(all.iter().filter(is_meant).cloned().collect())
}
