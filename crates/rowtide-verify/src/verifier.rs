//! All tables of a pipeline, some at a time.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::SystemTime;

use futures::StreamExt;
use futures::future::BoxFuture;
use rowtide_core::view::{Fixed, Inspect, KeyRange, RangeText, ViewRequest};
use rowtide_core::{Error, ErrorKind, Phase, Result, TableName, TablePlan, TableState};
use tokio::time::Instant;

use crate::arrival::Arrival;
use crate::budget::Purse;
use crate::check::{Check, Outcome};
use crate::drift::{self, MOST_CHANGES};
use crate::repair::{Repair, Repairer};
use crate::report::{Disagreement, Report, Side, TableReport, Trouble};
use crate::{Options, Verdict, meter};

/// Compares the tables of a pipeline.
pub struct Verifier<'a> {
    /// Where the rows come from.
    pub source: &'a dyn Inspect,
    /// Where they go.
    pub destination: &'a dyn Inspect,
    /// Tells how far the pipeline has come.
    pub arrival: &'a dyn Arrival,
    /// The pipeline.
    pub pipeline: Arc<str>,
    /// How to go about it.
    pub options: Options,
    /// By table, the mark of its last verification that found it equal.
    pub marks: HashMap<TableName, String>,
    /// What to do about rows that differ, if anything.
    pub repair: Option<Repair<'a>>,
}

/// Whom to tell of each table as it is done.
pub type Tell<'a> = &'a (dyn Fn(&TableReport) + Send + Sync);

impl Verifier<'_> {
    /// Compares `tables`, in the state that the destination remembers; tells of each as it is done.
    pub async fn verify(&self, tables: &[TableState], tell: Tell<'_>) -> Report {
        let started_at = now();
        let whole = meter::is_whole(self.options.extent, &self.options.condition)
            && self.options.range.is_none();
        let purse = &Purse::new(self.options.connections);
        let mut checks: Vec<BoxFuture<'_, (usize, TableReport)>> = Vec::new();
        for (at, state) in tables.iter().enumerate() {
            checks.push(Box::pin(async move {
                let report = self.table(state, purse).await;
                meter::record_table(&self.pipeline, (at, &report), whole);
                tell(&report);
                (at, report)
            }));
        }
        let together = self.options.connections.max(1);
        let together = futures::stream::iter(checks).buffer_unordered(together);
        let watch = purse.watch(self.arrival, self.options.lag_bytes);
        let mut done: Vec<(usize, TableReport)> = tokio::select! {
            done = together.collect() => done,
            () = watch => Vec::new(),
        };
        done.sort_unstable_by_key(|(at, _)| *at);
        let tables = done.into_iter().map(|(_, report)| report).collect();
        Report {
            pipeline: self.pipeline.to_string(),
            extent: self.options.extent,
            condition: self.options.condition.clone(),
            key_range: self.options.range.clone(),
            started_at,
            ended_at: now(),
            tables,
        }
    }

    /// One table. If its columns change meanwhile it is begun again with those that it has then.
    async fn table(&self, state: &TableState, purse: &Purse) -> TableReport {
        let started_at = now();
        let _seat = purse.seat().await;
        let mut known = state.clone();
        let mut changes = 0;
        loop {
            let mut report = TableReport::begun(&known, started_at);
            let done = self.as_known(&known, purse, &mut report).await;
            if let Err(error) = done {
                if error.kind() == ErrorKind::SchemaDrift
                    && changes < MOST_CHANGES
                    && let Some(newer) = drift::followed(self.arrival, &known).await
                {
                    tracing::debug!(table = %report.table, "its columns changed: it begins again");
                    known = newer;
                    changes += 1;
                    continue;
                }
                report.verdict = Verdict::Failed;
                report.trouble = Some(Trouble::from(&error));
            }
            report.ended_at = now();
            let verdict = report.verdict.as_str();
            tracing::debug!(table = %report.table, verdict, "verified");
            return report;
        }
    }

    /// One table that is as it is `known` to be.
    async fn as_known(
        &self,
        known: &TableState,
        purse: &Purse,
        report: &mut TableReport,
    ) -> Result<()> {
        if known.phase != Phase::Streaming {
            let reason = known.reason.as_deref().map(|why| format!(": {why}")).unwrap_or_default();
            report.note = Some(format!("it is {}{reason}", known.phase.as_str()));
            return Ok(());
        }
        let there = (self.destination, &*self.pipeline);
        report.columns = drift::gaps(there, self.arrival, known).await?;
        if !report.columns.is_empty() && self.repair.is_some() {
            report.note = Some(NO_COLUMNS.to_owned());
        }
        // What the destination lacks cannot be compared, and a part of a row proves nothing.
        if report.columns.iter().any(|gap| gap.only_at == Side::Source) {
            report.verdict = Verdict::Differs;
            return Ok(());
        }
        let plan = plan_of(known);
        let outcome = self.compare(plan.clone(), purse).await?;
        fill(report, outcome);
        self.repair((plan, purse), report).await
    }

    async fn compare(&self, plan: TablePlan, purse: &Purse) -> Result<Outcome> {
        if self.options.bucket_bits > MOST_BITS {
            return Err(Error::config(format!("at most {MOST_BITS} bits choose a bucket")));
        }
        let range =
            self.options.range.as_deref().map(|text| text.parse::<RangeText>()?.of(&plan.source));
        let range = range.transpose()?;
        let mark = self.marks.get(&plan.source.name).cloned();
        // With a condition, rows come and go that did not change.
        let mark = mark.filter(|_| self.options.condition.is_none());
        let chosen = Chosen { condition: self.options.condition.clone(), range, mark };
        self.check(plan, chosen, purse).run().await
    }

    /// Makes right what differs, and looks at it again.
    async fn repair(
        &self,
        (plan, purse): (TablePlan, &Purse),
        report: &mut TableReport,
    ) -> Result<()> {
        let Some(how) = self.repair.filter(|_| report.differing > 0) else { return Ok(()) };
        let bits = self.options.bucket_bits;
        let wanted = report.disagreement.wanted(&plan.source, bits)?;
        let check = self.check(plan, Chosen::default(), purse);
        let repaired = Repairer { check: &check, how }.run(wanted.clone()).await?;
        let planned = repaired.planned;
        report.repair = Some(repaired);
        if planned {
            return Ok(());
        }
        let after = self.check(check.request.plan, Chosen::default(), purse).again(wanted).await?;
        report.differing = after.differing;
        report.unsettled += after.unsettled;
        report.verdict = verdict(report);
        Ok(())
    }

    fn check(&self, plan: TablePlan, chosen: Chosen, purse: &Purse) -> Check<'_> {
        let Chosen { condition, range, mark } = chosen;
        let request = ViewRequest {
            pipeline: Arc::clone(&self.pipeline),
            plan,
            condition,
            range,
            share: Fixed::of(1),
            batch_bytes: self.options.batch_bytes,
            statement: self.options.statement,
        };
        let deadline = Instant::now() + self.options.timeout;
        let budget = purse.budget(self.arrival, deadline);
        let ends = (self.source, self.destination);
        Check { ends, request, options: &self.options, budget, mark }
    }
}

/// Which rows of a table to look at.
#[derive(Debug, Default)]
struct Chosen {
    condition: Option<String>,
    range: Option<KeyRange>,
    mark: Option<String>,
}

/// What is said where a repair was asked for, and columns differ.
const NO_COLUMNS: &str = "a repair puts no columns right: copy the table again (resync), or change \
     the columns at the destination by hand";

/// More would take more memory than it spares.
const MOST_BITS: u32 = 20;

/// How a table is followed, as the destination remembers it.
pub(crate) fn plan_of(state: &TableState) -> TablePlan {
    TablePlan {
        source: Arc::new(state.schema.clone()),
        target: state.target.clone(),
        mode: state.mode,
        delete: state.delete,
        metadata: state.metadata.clone(),
    }
}

fn verdict(report: &TableReport) -> Verdict {
    match (report.differing, report.unsettled, report.at_least) {
        _ if !report.columns.is_empty() => Verdict::Differs,
        (0, 0, false) => Verdict::Equal,
        (0, _, _) => Verdict::Unsettled,
        _ => Verdict::Differs,
    }
}

fn fill(report: &mut TableReport, outcome: Outcome) {
    report.as_of = Some(outcome.moment.checkpoint.position().to_string());
    report.position = Some(outcome.moment.checkpoint);
    report.mark = outcome.moment.mark;
    report.source_rows = outcome.source_rows;
    report.destination_rows = outcome.destination_rows;
    report.differing = outcome.differing;
    report.at_least = outcome.more;
    report.unsettled = outcome.unsettled;
    report.rounds = outcome.rounds;
    report.differences = outcome.listed;
    report.disagreement = Disagreement { keys: outcome.keys, rows: outcome.rows };
    report.verdict = verdict(report);
    if outcome.widened && report.note.is_none() {
        let why = "everything was compared: what changed since the last time proves nothing alone";
        report.note = Some(why.to_owned());
    }
}

/// Now, in microseconds since 1970 UTC.
pub(crate) fn now() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}
