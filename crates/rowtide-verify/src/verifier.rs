//! All tables of a pipeline, some at a time.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::SystemTime;

use futures::StreamExt;
use futures::future::BoxFuture;
use rowtide_core::view::{Inspect, ViewRequest};
use rowtide_core::{Error, Phase, Result, TableName, TablePlan, TableState};
use tokio::time::Instant;

use crate::arrival::Arrival;
use crate::budget::Budget;
use crate::check::{Check, Outcome};
use crate::repair::{Repair, Repairer};
use crate::report::{Disagreement, Report, TableReport, Trouble};
use crate::{Options, Verdict};

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
        let mut checks: Vec<BoxFuture<'_, (usize, TableReport)>> = Vec::new();
        for (at, state) in tables.iter().enumerate() {
            checks.push(Box::pin(async move {
                let report = self.table(state).await;
                tell(&report);
                (at, report)
            }));
        }
        let together = self.options.connections.max(1);
        let together = futures::stream::iter(checks).buffer_unordered(together);
        let mut done: Vec<(usize, TableReport)> = together.collect().await;
        done.sort_unstable_by_key(|(at, _)| *at);
        let tables = done.into_iter().map(|(_, report)| report).collect();
        Report {
            pipeline: self.pipeline.to_string(),
            extent: self.options.extent,
            condition: self.options.condition.clone(),
            started_at,
            ended_at: now(),
            tables,
        }
    }

    async fn table(&self, state: &TableState) -> TableReport {
        let mut report = TableReport::begun(state, now());
        if state.phase != Phase::Streaming {
            let reason = state.reason.as_deref().map(|why| format!(": {why}")).unwrap_or_default();
            report.note = Some(format!("it is {}{reason}", state.phase.as_str()));
            report.ended_at = now();
            return report;
        }
        let plan = plan_of(state);
        let done = match self.compare(plan.clone()).await {
            Ok(outcome) => {
                fill(&mut report, outcome);
                self.repair(plan, &mut report).await
            }
            Err(error) => Err(error),
        };
        if let Err(error) = done {
            report.verdict = Verdict::Failed;
            report.trouble = Some(Trouble::from(&error));
        }
        report.ended_at = now();
        tracing::debug!(table = %report.table, verdict = report.verdict.as_str(), "verified");
        report
    }

    async fn compare(&self, plan: TablePlan) -> Result<Outcome> {
        if self.options.bucket_bits > MOST_BITS {
            return Err(Error::config(format!("at most {MOST_BITS} bits choose a bucket")));
        }
        let mark = self.marks.get(&plan.source.name).cloned();
        // With a condition, rows come and go that did not change.
        let mark = mark.filter(|_| self.options.condition.is_none());
        self.check((plan, self.options.condition.clone()), mark).run().await
    }

    /// Makes right what differs, and looks at it again.
    async fn repair(&self, plan: TablePlan, report: &mut TableReport) -> Result<()> {
        let Some(how) = self.repair.filter(|_| report.differing > 0) else { return Ok(()) };
        let bits = self.options.bucket_bits;
        let wanted = report.disagreement.wanted(&plan.source, bits)?;
        let check = self.check((plan, None), None);
        let repaired = Repairer { check: &check, how }.run(wanted.clone()).await?;
        let planned = repaired.planned;
        report.repair = Some(repaired);
        if planned {
            return Ok(());
        }
        let after = self.check((check.request.plan, None), None).again(wanted).await?;
        report.differing = after.differing;
        report.unsettled += after.unsettled;
        report.verdict = verdict(report.differing, report.unsettled, report.at_least);
        Ok(())
    }

    fn check(
        &self,
        (plan, condition): (TablePlan, Option<String>),
        mark: Option<String>,
    ) -> Check<'_> {
        let request = ViewRequest {
            pipeline: Arc::clone(&self.pipeline),
            plan,
            condition,
            batch_bytes: self.options.batch_bytes,
            statement: self.options.statement,
        };
        let deadline = Instant::now() + self.options.timeout;
        let budget = Budget::new(self.arrival, self.options.lag_bytes, deadline);
        let ends = (self.source, self.destination);
        Check { ends, request, options: &self.options, budget, mark }
    }
}

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

fn verdict(differing: u64, unsettled: u64, more: bool) -> Verdict {
    match (differing, unsettled, more) {
        (0, 0, false) => Verdict::Equal,
        (0, _, _) => Verdict::Unsettled,
        _ => Verdict::Differs,
    }
}

fn fill(report: &mut TableReport, outcome: Outcome) {
    report.verdict = verdict(outcome.differing, outcome.unsettled, outcome.more);
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
    if outcome.widened {
        let why = "everything was compared: what changed since the last time proves nothing alone";
        report.note = Some(why.to_owned());
    }
}

/// Now, in microseconds since 1970 UTC.
pub(crate) fn now() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}
