//! One attempt at a pipeline: open, compare states, copy, follow, until done or an error.
//!
//! An attempt owns everything it starts (writer, stream, copy tasks); when it ends, they end. It
//! keeps nothing that a later attempt needs: that is all in the destination.

mod attach;
mod hold;
mod prepare;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rowtide_core::traits::{ChangeStream, Progress, Segment, StreamItem, StreamStart, Writer};
use rowtide_core::{
    Checkpoint, Error, ErrorKind, Phase, PipelineState, Result, SourceIdentity, TableName,
    TablePlan, TableState, Watermark, fault,
};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::command::{Request, TableCommand, TableRequest, decide};
use crate::copy::{Copied, Copier, CopyContext};
use crate::meter::{EpochMeter, Meter};
use crate::pace::Pace;
use crate::plan::{Planned, plan_tables};
use crate::progress::{Activity, TableProgress};
use crate::route::{Router, Surroundings};
use crate::{Environment, Pipeline, RunMode, Settings, Summary};
pub(crate) use attach::offered;
use prepare::{largest_first, leave_misfits, left_out, remember_plans, show_tables, stop_dropped};

/// How far an attempt came, for whoever decides about the next one.
#[derive(Debug, Default)]
pub(crate) struct Reached {
    /// The destination was opened.
    pub(crate) opened: bool,
    /// Source and destination agreed.
    pub(crate) attached: bool,
    /// Something was committed after that.
    pub(crate) committed: bool,
    /// What is to be copied is remembered as such.
    pub(crate) planned: bool,
    /// Tables whose copy was put in place.
    pub(crate) promoted: Vec<TableName>,
}

pub(crate) struct Attempt<'a> {
    pipeline: &'a Pipeline,
    settings: Arc<Settings>,
    reached: &'a mut Reached,
    /// How long to go on before a table whose schema changed is copied again.
    replan_after: Duration,
}

/// How an attempt ended, without an error.
pub(crate) enum Ended {
    /// For good.
    Finished(Summary),
    /// To be followed by another at once, which copies these tables again.
    Replan(Vec<TableName>),
}

/// An attempt whose two ends agree.
struct Running<'a> {
    attempt: Attempt<'a>,
    writer: Box<dyn Writer>,
    router: Router,
    copier: Copier,
    stream: Option<Box<dyn ChangeStream>>,
    durable: watch::Sender<Checkpoint>,
    /// With `once`: where to stop.
    goal: Option<Checkpoint>,
    /// Whether the open epoch ends in the middle of a transaction.
    mid_transaction: bool,
    epoch_changes: u64,
    /// When the transactions of the open epoch committed, in microseconds since 1970 UTC.
    epoch_commits: Vec<i64>,
    meter: EpochMeter,
    /// When the next segment may be asked for.
    pace: Pace,
    /// When to end for tables that wait to be copied again.
    replan: Option<Instant>,
}

/// What woke the loop.
enum Event {
    Shutdown,
    Copied(Box<Result<(TablePlan, Result<Copied>)>>),
    Segment(Result<Segment>),
    Replan,
    Request(Request),
}

/// Why the loop ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reason {
    Done,
    Interrupted,
    Replan,
}

impl<'a> Attempt<'a> {
    pub(crate) fn new(
        pipeline: &'a Pipeline,
        settings: Arc<Settings>,
        (reached, replan_after): (&'a mut Reached, Duration),
    ) -> Self {
        Self { pipeline, settings, reached, replan_after }
    }

    pub(crate) async fn run(self, shutdown: &mut watch::Receiver<bool>) -> Result<Ended> {
        self.pipeline.monitor.update(|snapshot| snapshot.activity = Activity::Starting);
        let starting = self.start();
        let mut running = tokio::select! {
            biased;
            running = starting => running?,
            _ = shutdown.wait_for(|stop| *stop) => {
                return Ok(Ended::Finished(Summary { interrupted: true, ..Summary::default() }));
            }
        };
        let reason = running.follow(shutdown).await?;
        running.finish(reason).await
    }

    /// Opens both ends and decides what to do with each table.
    async fn start(self) -> Result<Running<'a>> {
        let Pipeline { source, destination, name, environment, .. } = self.pipeline;
        let mut writer = destination.open(name).await?;
        self.reached.opened = true;
        tracing::debug!("destination opened");
        fault::point("restart.opened")?;
        let mut state = writer.state().await?;
        let left_out = left_out(&mut state);
        let discovered = source.discover(&self.settings.selection).await?;
        let mut planned = plan_tables(
            &discovered,
            &self.settings,
            (&state, destination.capabilities()),
            &self.reached.promoted,
        )?;
        leave_misfits(destination.as_ref(), &state, &mut planned).await?;
        let checkpoint = match planned.iter().any(Planned::is_followed) {
            true => Some(self.attach(writer.as_mut(), (&state, &discovered), &mut planned).await?),
            false => None,
        };
        self.reached.attached = true;
        fault::point("restart.attached")?;
        show_tables(self.pipeline, &planned, &state);
        let known = state.tables.iter().chain(&left_out);
        stop_dropped(writer.as_mut(), known, &self.settings, &discovered).await?;
        let copies = remember_plans(writer.as_mut(), &planned, &state).await?;
        let copies = largest_first(source.as_ref(), copies).await;
        self.reached.planned = true;
        fault::point("plan.stored")?;

        let goal = match (self.settings.once, &checkpoint) {
            (true, Some(_)) => Some(source.operations().head().await?),
            _ => None,
        };
        let durable = watch::Sender::new(checkpoint.clone().unwrap_or_default());
        let streaming = checkpoint.filter(|_| self.settings.mode != RunMode::FullLoad);
        let stream = match streaming {
            Some(checkpoint) => {
                let start = self.stream_start(checkpoint, &planned);
                Some(source.stream(start, durable.subscribe()).await?)
            }
            None => None,
        };
        tracing::debug!(streaming = stream.is_some(), "the log is being read");
        let router = Router::new(&planned, &state.tables, self.surroundings());
        let copier = Copier::start(&self.copy_context(), copies);
        let pace = Pace::new(environment.clone(), self.settings.buffer_bytes);
        let meter = EpochMeter::new(Meter::new(name));
        Ok(Running {
            attempt: self,
            writer,
            router,
            copier,
            stream,
            durable,
            goal,
            mid_transaction: false,
            epoch_changes: 0,
            epoch_commits: Vec::new(),
            meter,
            pace,
            replan: None,
        })
    }

    fn stream_start(&self, checkpoint: Checkpoint, planned: &[Planned]) -> StreamStart {
        let followed = || planned.iter().filter(|p| p.is_followed());
        StreamStart {
            checkpoint,
            tables: followed().map(|p| Arc::clone(&p.plan.source)).collect(),
            copying: followed().filter(|p| p.is_prepared()).map(|p| p.plan.source.id).collect(),
            fences: planned.iter().filter_map(Planned::fence).collect(),
            buffer_bytes: self.settings.buffer_bytes,
            spool_directory: self.spool_directory(),
        }
    }

    fn spool_directory(&self) -> PathBuf {
        let configured = self.settings.spool_directory.clone();
        configured.unwrap_or_else(|| self.pipeline.environment.temporary_directory())
    }

    fn surroundings(&self) -> Surroundings {
        let Pipeline { destination, monitor, environment, .. } = self.pipeline;
        Surroundings {
            pipeline: self.pipeline.name.clone(),
            settings: Arc::clone(&self.settings),
            monitor: monitor.clone(),
            environment: environment.clone(),
            spool_directory: self.spool_directory(),
            capabilities: destination.capabilities(),
        }
    }

    fn copy_context(&self) -> CopyContext {
        CopyContext {
            pipeline: self.pipeline.name.clone(),
            source: Arc::clone(&self.pipeline.source),
            destination: Arc::clone(&self.pipeline.destination),
            settings: Arc::clone(&self.settings),
            monitor: self.pipeline.monitor.clone(),
            environment: self.pipeline.environment.clone(),
            meter: Meter::new(&self.pipeline.name),
        }
    }
}

impl Running<'_> {
    /// The loop: everything that happens, one thing after the other.
    async fn follow(&mut self, shutdown: &mut watch::Receiver<bool>) -> Result<Reason> {
        loop {
            self.show_activity();
            if self.is_done() {
                return Ok(Reason::Done);
            }
            self.note_replan();
            // Copies that run are not given up for another one.
            let replan = self.replan.filter(|_| !self.mid_transaction && self.copier.is_empty());
            let Pipeline { environment, requests, .. } = self.attempt.pipeline;
            let room = self.router.spooled_bytes() < self.attempt.settings.spool_bytes;
            let event = {
                let stream = self.stream.as_mut().filter(|_| room || self.mid_transaction);
                tokio::select! {
                    biased;
                    _ = shutdown.wait_for(|stop| *stop) => Event::Shutdown,
                    copied = self.copier.next(), if !self.mid_transaction => Event::Copied(Box::new(copied)),
                    request = requests.next(), if !self.mid_transaction => Event::Request(request),
                    () = until(replan, environment) => Event::Replan,
                    segment = next(stream, &self.pace) => Event::Segment(segment),
                }
            };
            match event {
                Event::Shutdown => return Ok(Reason::Interrupted),
                Event::Replan => return Ok(Reason::Replan),
                Event::Request(Request::Table(request)) => self.obey(request).await?,
                Event::Request(Request::Hurry) => {
                    if let Some(stream) = &self.stream {
                        stream.hurry();
                    }
                }
                Event::Request(Request::Hold(hold)) => {
                    if let Some(reason) = self.stand_still(hold).await? {
                        return Ok(reason);
                    }
                }
                Event::Copied(copied) => self.copied((*copied)?).await?,
                Event::Segment(segment) => self.segment(segment?).await?,
            }
        }
    }

    fn is_done(&self) -> bool {
        if !self.copier.is_empty() || self.mid_transaction || self.router.wants_copies() {
            return false;
        }
        match (&self.stream, &self.goal) {
            (None, _) => true,
            (Some(_), Some(goal)) => self.durable.borrow().covers(goal),
            (Some(_), None) => false,
        }
    }

    /// Does what an operator asks, or says why not; only a failing destination is an error.
    async fn obey(&mut self, request: TableRequest) -> Result<()> {
        let TableRequest { table, command, reply } = request;
        let state = self.writer.state().await?;
        let answer = match self.decide(&state, &table, command) {
            Ok((next, said)) => {
                if let Some(next) = &next {
                    self.writer.remember(next).await?;
                    self.writer.commit(Progress::default()).await?;
                }
                tracing::info!(table = %table, "{said}, as asked");
                self.router.decided(&table, next);
                Ok(said)
            }
            Err(refused) => Err(refused),
        };
        // Whoever asked may have left.
        let _ = reply.send(answer);
        Ok(())
    }

    fn decide(
        &self,
        state: &PipelineState,
        table: &TableName,
        command: TableCommand,
    ) -> Result<(Option<TableState>, String)> {
        if !self.attempt.settings.selection.contains(table) {
            return Err(Error::config(format!("{table} is not selected by this pipeline"))
                .with_hint("add it to tables.include, and start the pipeline again"));
        }
        decide(state.table(table), (table, command))
    }

    fn note_replan(&mut self) {
        if self.router.wants_copies() && self.replan.is_none() {
            let now = self.attempt.pipeline.environment.instant();
            self.replan = Some(now + self.attempt.replan_after);
        }
    }

    fn show_activity(&self) {
        let activity = if self.copier.is_empty() { Activity::Streaming } else { Activity::Copying };
        let spooled = self.router.spooled_bytes();
        let head = self.stream.as_ref().map_or(0, |stream| stream.head());
        let now = self.attempt.pipeline.environment.now_micros();
        self.attempt.pipeline.monitor.update(|snapshot| {
            snapshot.activity = activity;
            snapshot.stream.spooled_bytes = spooled;
            snapshot.stream.head = snapshot.stream.head.max(head);
            if head > 0 && snapshot.stream.lag_bytes() == 0 {
                snapshot.stream.caught_up_at = Some(now);
            }
        });
    }

    async fn segment(&mut self, mut segment: Segment) -> Result<()> {
        fault::point("segment.received")?;
        self.pace.took(&segment);
        self.meter.took(&segment, self.attempt.pipeline.environment.instant());
        if fault::planted("skip-first-after-restart") && !self.attempt.reached.committed {
            segment.items.drain(..segment.items.len().min(1));
        }
        for item in segment.items {
            if let StreamItem::Changes(batch) = &item {
                self.epoch_commits.extend(batch.commits.iter().map(|run| run.commit.committed_at));
            }
            self.epoch_changes += self.router.apply(self.writer.as_mut(), item).await?;
        }
        match segment.watermark {
            Some(watermark) => {
                self.commit(&watermark, segment.identity.as_ref()).await?;
                self.pace.applied();
                Ok(())
            }
            None if fault::planted("split-transaction") => {
                self.writer.commit(Progress::default()).await
            }
            None => {
                self.mid_transaction = true;
                fault::point("transaction.part")
            }
        }
    }

    /// Ends the epoch at a transaction's end. Only after it is durable may the source know.
    async fn commit(
        &mut self,
        watermark: &Watermark,
        identity: Option<&SourceIdentity>,
    ) -> Result<()> {
        let checkpoint = &watermark.checkpoint;
        let mut at = self.durable.borrow().clone();
        at.advance(checkpoint)?;
        if fault::planted("acknowledge-early") {
            self.durable.send_replace(at.clone());
        }
        let progress = Progress { checkpoint: Some(checkpoint), identity, ..Progress::default() };
        fault::point("epoch.sealed")?;
        let committed = self.writer.commit(progress).await;
        committed.map_err(|error| self.router.refused_at_commit(error))?;
        fault::point("epoch.committed")?;
        self.mid_transaction = false;
        self.attempt.reached.committed = true;
        self.durable.send_replace(at);
        let changes = std::mem::take(&mut self.epoch_changes);
        let Pipeline { environment, .. } = self.attempt.pipeline;
        let now = environment.now_micros();
        let oldest = self.epoch_commits.iter().min().map(|committed_at| now - committed_at);
        let counts = (changes, watermark.transaction_count);
        self.meter.committed(counts, oldest, environment.instant());
        let commits = self.epoch_commits.drain(..);
        self.attempt.pipeline.monitor.update(|snapshot| {
            let stream = &mut snapshot.stream;
            stream.position = checkpoint.position().0;
            stream.changes += changes;
            stream.transactions += watermark.transaction_count;
            stream.epochs += 1;
            commits.for_each(|committed_at| stream.latency.record(now - committed_at));
            if let Some(at) = watermark.committed_at {
                stream.committed_at = Some(at);
                stream.last_epoch_changes = changes;
            }
        });
        tracing::debug!(%checkpoint, changes, "epoch committed");
        Ok(())
    }

    /// A copy ended: put it in place with what was kept aside, or deal with its failure.
    async fn copied(&mut self, (plan, outcome): (TablePlan, Result<Copied>)) -> Result<()> {
        let name = plan.source.name.clone();
        let writer = self.writer.as_mut();
        let was_mended = outcome.as_ref().is_ok_and(|copied| copied.mended.is_some());
        let replayed = match outcome {
            Ok(copied) => Some(self.router.promote(writer, copied).await?),
            Err(error) if error.kind() == ErrorKind::SchemaDrift => {
                let reason = format!("it changed before it was copied: {}", error.chain());
                self.router.copy_again(writer, &plan, reason).await?;
                None
            }
            Err(error) if error.is_of_one_table() && !error.kind().is_transient() => {
                self.router.stop(writer, &plan, error.reason()).await?;
                // Not to be tried again by a later attempt of this run.
                self.attempt.reached.promoted.push(name.clone());
                None
            }
            Err(error) => return Err(error.context(format!("copying {name}"))),
        };
        // The checkpoint stays: what was kept aside lies at or below it.
        let committed = self.writer.commit(Progress::default()).await;
        committed.map_err(|error| self.router.refused_at_commit(error))?;
        fault::point("promote.committed")?;
        self.attempt.reached.committed = true;
        let Some(changes) = replayed else { return Ok(()) };
        self.attempt.reached.promoted.push(name.clone());
        let what = if was_mended { "repair in place" } else { "copy in place" };
        tracing::info!(table = %name, replayed = changes, "{what}");
        let now = self.attempt.pipeline.environment.instant();
        let monitor = &self.attempt.pipeline.monitor;
        monitor.table(&name, |table| {
            table.finished = Some(now);
            if table.phase == Phase::Copying {
                table.phase = Phase::Streaming;
            }
        });
        monitor.update(|snapshot| snapshot.stream.changes += changes);
        self.meter.meter.replayed(changes);
        Ok(())
    }

    async fn finish(self, reason: Reason) -> Result<Ended> {
        let monitor = &self.attempt.pipeline.monitor;
        monitor.update(|snapshot| snapshot.activity = Activity::Stopping);
        // An epoch that is still open was cut off inside a transaction: dropping undoes it.
        drop(self.copier);
        drop(self.writer);
        if let Some(stream) = self.stream
            && let Err(error) = stream.close().await
        {
            tracing::warn!(error = %error.chain(), "the source was not told the last position");
        }
        if reason == Reason::Replan {
            return Ok(Ended::Replan(self.router.recopies().to_vec()));
        }
        let stopped =
            |table: &TableProgress| table.reason.clone().map(|reason| (table.name.clone(), reason));
        let checkpoint = self.durable.borrow().clone();
        Ok(Ended::Finished(Summary {
            checkpoint: Some(checkpoint).filter(|at| *at != Checkpoint::default()),
            stopped: monitor.snapshot().tables.iter().filter_map(stopped).collect(),
            interrupted: reason == Reason::Interrupted,
        }))
    }
}

/// Waits until then; for ever without a moment.
async fn until(moment: Option<Instant>, environment: &Environment) {
    match moment {
        Some(moment) => {
            let left = moment.saturating_duration_since(environment.instant());
            environment.sleep(left).await;
        }
        None => std::future::pending().await,
    }
}

/// The stream's next segment; waits for ever without a stream.
async fn next(stream: Option<&mut Box<dyn ChangeStream>>, pace: &Pace) -> Result<Segment> {
    match stream {
        Some(stream) => {
            tokio::select! {
                () = pace.wait() => {}
                () = stream.quiet() => {}
            }
            stream.next().await
        }
        None => std::future::pending().await,
    }
}
