//! Copies tables into staging, several at a time, each in lanes, beside the stream.
//!
//! A table is read under its own snapshot, whose fence is handed to the router with the finished
//! staging table. A copy that fails in a way that may pass starts again with a new snapshot; the
//! stream need not, because its changes for that table are spooled all along.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use arrow_array::RecordBatch;
use rowtide_core::traits::{Loader, SnapshotPart, SnapshotRequest};
use rowtide_core::{Destination, Error, Fence, Offset, Phase, Result, Source, TablePlan, fault};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::{JoinError, JoinSet};

use crate::mend::{Mended, mend};
use crate::meter::Meter;
use crate::quarantine::LeftOut;
use crate::retry::Backoff;
use crate::{Environment, Monitor, Settings};

/// How often one table's copy is tried before the whole attempt fails.
const TRIES: u32 = 5;

/// How many finished copies may wait to be put in place: each takes memory or connections in some
/// destinations.
const AHEAD: usize = 8;

/// A staging table that is complete, or what takes its place.
#[derive(Debug)]
pub(crate) struct Copied {
    pub(crate) plan: TablePlan,
    pub(crate) fence: Fence,
    pub(crate) rows: u64,
    /// No change that the stream adds to it lies below.
    pub(crate) position: Offset,
    /// What could not be represented.
    pub(crate) left_out: LeftOut,
    /// What differs of the standing table, if that is to be put right: there is no staging table.
    pub(crate) mended: Option<Mended>,
}

/// A table whose rows are to be brought to those of a snapshot.
#[derive(Debug, Clone)]
pub(crate) struct Job {
    pub(crate) plan: TablePlan,
    /// Whether its standing rows are put right, instead of being copied.
    pub(crate) mends: bool,
}

/// What a copy needs, shared by all of them.
#[derive(Clone)]
pub(crate) struct CopyContext {
    pub(crate) pipeline: String,
    pub(crate) source: Arc<dyn Source>,
    pub(crate) destination: Arc<dyn Destination>,
    pub(crate) settings: Arc<Settings>,
    pub(crate) monitor: Monitor,
    pub(crate) environment: Environment,
    pub(crate) meter: Meter,
}

/// How the copy of a table ended, and its place among those that may wait to be put in place.
type Outcome = (TablePlan, Result<Copied>, Option<OwnedSemaphorePermit>);

/// The running copies. Dropping it ends them.
pub(crate) struct Copier {
    tasks: JoinSet<Option<Outcome>>,
}

impl Copier {
    /// Starts `jobs`, in their order, as many at a time as the settings say.
    pub(crate) fn start(context: &CopyContext, jobs: Vec<Job>) -> Self {
        let parallel = context.settings.parallel_tables.max(1);
        let permits = Arc::new(Semaphore::new(parallel));
        let places = Arc::new(Semaphore::new(parallel + AHEAD));
        let mut tasks = JoinSet::new();
        let environment = &context.environment;
        // Each task takes a job when its turn has come: which task that is, chance decides.
        let (count, jobs) = (jobs.len(), Arc::new(Mutex::new(VecDeque::from(jobs))));
        for _ in 0..count {
            let (context, jobs) = (context.clone(), Arc::clone(&jobs));
            let (permits, places) = (Arc::clone(&permits), Arc::clone(&places));
            let copying = async move {
                // Given back when somebody takes the copy to put it in place.
                let place = places.acquire_owned().await.ok();
                let permit = permits.acquire().await;
                let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).pop_front()?;
                let outcome = match permit {
                    Ok(_permit) => copy_with_retry(&context, &job).await,
                    Err(_) => Err(Error::internal("the copy permits were closed")),
                };
                Some((job.plan, outcome, place))
            };
            environment.spawn(&mut tasks, copying);
        }
        Self { tasks }
    }

    /// Whether nothing is left to copy.
    pub(crate) fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    /// The next copy to end; waits for ever if there is none. Cancel safe.
    pub(crate) async fn next(&mut self) -> Result<(TablePlan, Result<Copied>)> {
        match self.tasks.join_next().await {
            Some(joined) => {
                let ended = joined.map_err(|e| died(&e))?;
                let (plan, outcome, _place) =
                    ended.ok_or_else(|| Error::internal("a copy task found no table"))?;
                Ok((plan, outcome))
            }
            None => std::future::pending().await,
        }
    }
}

fn died(error: &JoinError) -> Error {
    Error::internal(format!("a copy task died: {error}"))
}

async fn copy_with_retry(context: &CopyContext, job: &Job) -> Result<Copied> {
    let mut backoff = Backoff::new(context.settings.retry_initial, context.settings.retry_max);
    loop {
        match mend_or_copy(context, job).await {
            Err(error) if error.kind().is_transient() && backoff.attempt() + 1 < TRIES => {
                let wait = backoff.next_wait(&context.environment);
                context.meter.failed(error.kind());
                context.meter.retried();
                tracing::warn!(
                    table = %job.plan.source.name, error = %error.chain(), ?wait,
                    "copy failed, starting it again"
                );
                context.environment.sleep(wait).await;
            }
            outcome => return outcome,
        }
    }
}

/// A copy is right whatever keeps the differences from being found.
async fn mend_or_copy(context: &CopyContext, job: &Job) -> Result<Copied> {
    let Job { plan, mends } = job;
    if !mends {
        return copy(context, plan).await;
    }
    let table = &plan.source.name;
    match mend(context, plan).await {
        Ok(Some(mended)) => return Ok(mended),
        Ok(None) => {
            tracing::warn!(%table, "too much differs, or cannot be compared: copying it again");
        }
        Err(error) if error.kind().is_transient() => return Err(error),
        Err(error) => {
            tracing::warn!(%table, error = %error.chain(), "comparing failed: copying it again");
        }
    }
    copy(context, plan).await
}

async fn copy(context: &CopyContext, plan: &TablePlan) -> Result<Copied> {
    let name = &plan.source.name;
    let settings = &context.settings;
    let request = SnapshotRequest {
        table: Arc::clone(&plan.source),
        lanes: settings.lanes.max(1),
        settle: true,
        batch_bytes: settings.copy_batch_bytes,
    };
    fault::point("snapshot.before")?;
    let snapshot = context.source.snapshot(request).await?;
    fault::point("snapshot.fenced")?;
    context.monitor.table(name, |table| {
        table.phase = Phase::Copying;
        table.rows = 0;
        table.bytes = 0;
        table.estimated_rows = snapshot.estimated_rows;
        table.started = Some(context.environment.instant());
    });
    tracing::info!(table = %name, lanes = snapshot.parts.len(), "copy started");
    let lanes = snapshot.parts.len();
    let loaders = context.destination.load(&context.pipeline, plan, lanes).await?;
    fault::point("staging.created")?;
    if loaders.len() != lanes {
        return Err(Error::internal("the destination opened another number of loaders"));
    }
    let mut tasks = JoinSet::new();
    let left_out = Arc::new(Mutex::new(LeftOut::default()));
    for (part, loader) in snapshot.parts.into_iter().zip(loaders) {
        let left_out = Arc::clone(&left_out);
        let position = snapshot.position;
        let lane = Lane { plan: plan.clone(), position, context: context.clone(), left_out };
        context.environment.spawn(&mut tasks, lane.run(part, loader));
    }
    let mut rows = 0;
    while let Some(joined) = tasks.join_next().await {
        rows += joined.map_err(|e| died(&e))??;
    }
    tracing::info!(table = %name, rows, "copy finished");
    let left_out = std::mem::take(&mut *left_out.lock().unwrap_or_else(PoisonError::into_inner));
    let position = Offset(snapshot.position);
    let (plan, fence) = (plan.clone(), snapshot.fence);
    Ok(Copied { plan, fence, rows, position, left_out, mended: None })
}

/// One part on its way into staging.
struct Lane {
    plan: TablePlan,
    position: u64,
    context: CopyContext,
    left_out: Arc<Mutex<LeftOut>>,
}

impl Lane {
    /// Moves the part; returns its rows.
    async fn run(
        self,
        mut part: Box<dyn SnapshotPart>,
        mut loader: Box<dyn Loader>,
    ) -> Result<u64> {
        let mut total = 0;
        loop {
            let next = part.next().await?;
            let exceptions = part.exceptions()?;
            self.left_out
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .add(&self.plan, exceptions)?;
            let Some((rows, bytes)) = next else { break };
            let count = rows.num_rows();
            if total == 0 || !fault::planted("later-chunks-dropped") {
                loader.write(self.with_metadata(&rows)?).await?;
            }
            fault::point("lane.written")?;
            total += count as u64;
            self.context.meter.copied(count as u64, bytes);
            self.context.monitor.table(&self.plan.source.name, |table| {
                table.rows += count as u64;
                table.bytes += bytes;
            });
        }
        loader.finish().await?;
        fault::point("lane.finished")?;
        Ok(total)
    }

    fn with_metadata(&self, rows: &RecordBatch) -> Result<RecordBatch> {
        let count = rows.num_rows();
        let position = i64::try_from(self.position).unwrap_or(i64::MAX);
        let now = self.context.environment.now_micros();
        let mut columns = rows.columns().to_vec();
        columns.extend(self.plan.metadata.snapshot_values(count, position, now));
        let options = arrow_array::RecordBatchOptions::new().with_row_count(Some(count));
        Ok(RecordBatch::try_new_with_options(self.plan.target_arrow(), columns, &options)?)
    }
}
