//! The writer: an epoch is a changed copy of everything, put in place by its commit.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use async_trait::async_trait;
use rowtide_core::traits::{Progress, Writer};
use rowtide_core::{
    Awaits, Error, Phase, PipelineState, Result, SchemaChange, TablePlan, TableState, TableWrite,
    fault, ledger,
};

use super::{StagingTables, roll_forward, table_of, tables};
use crate::content::{Content, Step, apply};
use crate::oracle;
use crate::scenario::{Flavour, Site, Strike};
use crate::world::{Journal, State, Violation, World};

pub(super) struct ModelWriter {
    world: Arc<World>,
    run: u64,
    staging: StagingTables,
    /// What the open epoch has made of it.
    content: Content,
    /// The open epoch.
    steps: Vec<(usize, Step)>,
    /// As of the last commit.
    committed: PipelineState,
}

impl ModelWriter {
    pub(super) fn new(
        world: Arc<World>,
        run: u64,
        staging: StagingTables,
        content: Content,
    ) -> Self {
        let committed = content.state.clone();
        Self { world, run, staging, content, steps: Vec::new(), committed }
    }

    fn step(&mut self, plan: &TablePlan, step: Step) -> Result<()> {
        let table = table_of(&plan.target)?;
        apply(self.content.held(table), &step)?;
        self.steps.push((table, step));
        Ok(())
    }

    async fn arrive(&self, site: Site) -> Result<Option<Strike>> {
        self.world.arrive(self.run, site).await
    }

    /// Arrives with something for the table of `plan`, which may be refused.
    async fn arrive_for(&self, site: Site, plan: &TablePlan) -> Result<()> {
        let strike = self.arrive(site).await?;
        if *plan.target.schema == *ledger::SCHEMA {
            // What Rowtide tells of itself is refused by nobody.
            return Ok(());
        }
        let table = table_of(&plan.target)?;
        let refused = match strike {
            Some(Strike::Refuse) => Error::data(format!("t{table} is refused")),
            Some(Strike::Hold) => {
                Error::unavailable(format!("t{table} is held by somebody")).of_one_table()
            }
            _ => return Ok(()),
        };
        self.world.lock().refused.insert(table);
        Err(refused)
    }

    /// Whether a newer writer exists.
    fn is_fenced(&self, state: &State) -> bool {
        state.durable.content.state.fencing_epoch != self.content.state.fencing_epoch
    }

    fn fenced(&self) -> Error {
        self.world.lock().tally.fenced += 1;
        let run = self.run;
        self.world.tell(format_args!("run {run} is fenced off"));
        Error::fenced("a newer writer exists")
    }

    /// Waits here, if this run was chosen to be taken for dead; tells whether it was.
    async fn hang(&self) -> bool {
        let world = Arc::clone(&self.world);
        let released = world.released.notified();
        {
            let mut state = world.lock();
            if state.hang != Some(self.run) {
                return false;
            }
            state.hang = None;
            state.hung = Some((self.run, self.content.state.fencing_epoch));
        }
        world.stirred.notify_waiters();
        released.await;
        true
    }

    fn report(&self, outcome: Result<(), Violation>) {
        if let Err(violation) = outcome {
            self.world.violate(violation.class, violation.detail);
        }
    }

    /// One atomic commit of everything.
    fn commit_all(&mut self, progress: Progress<'_>) -> Result<()> {
        let mut state = self.world.lock();
        if self.is_fenced(&state) {
            if !fault::planted("zombie-commits") {
                drop(state);
                return Err(self.fenced());
            }
            let violation = Violation { class: "a fenced writer commits", detail: String::new() };
            drop(state);
            self.report(Err(violation));
            return Ok(());
        }
        note(&mut self.content.state, progress)?;
        state.durable.content = self.content.clone();
        let outcome = oracle::check(&mut state);
        drop(state);
        self.report(outcome);
        Ok(())
    }

    /// The journal first, then each table, then the watermark.
    async fn commit_tables(&mut self, progress: Progress<'_>) -> Result<()> {
        note(&mut self.content.state, progress)?;
        {
            let mut state = self.world.lock();
            if self.is_fenced(&state) {
                drop(state);
                return Err(self.fenced());
            }
            state.durable.epochs += 1;
            state.durable.journal = Some(Journal {
                number: state.durable.epochs,
                steps: self.steps.clone(),
                goal: self.content.clone(),
            });
        }
        loop {
            self.arrive(Site::TableCommit).await?;
            let mut state = self.world.lock();
            // Whoever opened since has carried the journal out.
            if self.is_fenced(&state) {
                drop(state);
                return Err(self.fenced());
            }
            if roll_forward(&mut state, 1)? {
                break;
            }
        }
        self.arrive(Site::Watermark).await?;
        let mut state = self.world.lock();
        if self.is_fenced(&state) {
            drop(state);
            return Err(self.fenced());
        }
        state.durable.journal = None;
        state.durable.content.state = self.content.state.clone();
        state.durable.content.told = self.content.told.clone();
        let outcome = oracle::check(&mut state);
        drop(state);
        self.report(outcome);
        Ok(())
    }

    /// The commit is done, and its reply does not come.
    fn reply_lost(&mut self) -> Result<()> {
        if !fault::planted("retry-without-reading") {
            // The destination reads its state, and finds the epoch there.
            return Ok(());
        }
        let mut state = self.world.lock();
        for (table, step) in &self.steps {
            apply(state.durable.content.held(*table), step)?;
        }
        let content = state.durable.content.clone();
        let outcome = oracle::check(&mut state);
        drop(state);
        self.content = content;
        self.report(outcome);
        Ok(())
    }
}

/// What a commit records beside the data.
fn note(state: &mut PipelineState, progress: Progress<'_>) -> Result<()> {
    if progress.restart {
        state.checkpoint = None;
    }
    if let Some(checkpoint) = progress.checkpoint {
        state.checkpoint.get_or_insert_default().advance(checkpoint)?;
    }
    if let Some(identity) = progress.identity {
        state.identity = Some(identity.clone());
    }
    Ok(())
}

#[async_trait]
impl Writer for ModelWriter {
    async fn state(&mut self) -> Result<PipelineState> {
        Ok(self.committed.clone())
    }

    async fn write(&mut self, plan: &TablePlan, write: TableWrite) -> Result<()> {
        self.arrive_for(Site::Write, plan).await?;
        self.world.lock().tally.writes += 1;
        if *plan.target.schema == *ledger::SCHEMA {
            // What Rowtide tells of itself is no part of the copy.
            return match write {
                TableWrite::Append(rows) if *plan.target.name == *"quarantine" => {
                    self.content.tell(&rows)
                }
                _ => Ok(()),
            };
        }
        self.step(plan, Step::Write(Box::new(plan.clone()), detached(write)?))
    }

    async fn apply_schema(&mut self, plan: &TablePlan, change: &SchemaChange) -> Result<()> {
        self.arrive_for(Site::Schema, plan).await?;
        self.world.lock().tally.schema_changes += 1;
        self.step(plan, Step::Schema(Box::new(plan.clone()), change.clone()))
    }

    async fn promote(&mut self, plan: &TablePlan) -> Result<()> {
        self.arrive_for(Site::Promote, plan).await?;
        let table = table_of(&plan.target)?;
        let staged = tables(&self.staging).remove(&table);
        let mut rows = Vec::new();
        if let Some(staged) = staged {
            if staged.finished.load(Ordering::Relaxed) < staged.lanes {
                self.world.violate("half a copy", format!("t{table} is promoted half loaded"));
            }
            rows = std::mem::take(&mut *staged.rows.lock().unwrap_or_else(PoisonError::into_inner));
        }
        self.world.lock().tally.promoted += 1;
        self.step(plan, Step::Promote(Box::new(plan.clone()), rows))
    }

    async fn remember(&mut self, state: &TableState) -> Result<()> {
        self.arrive(Site::Remember).await?;
        let tables = &mut self.content.state.tables;
        let known = tables.iter().position(|known| known.schema.name == state.schema.name);
        let before = known.map(|at| tables[at].phase);
        let awaited = known.is_some_and(|at| tables[at].awaits == Some(Awaits::Repair));
        match known {
            Some(at) => tables[at] = state.clone(),
            None => tables.push(state.clone()),
        }
        if state.phase == Phase::Stopped && before != Some(Phase::Stopped) {
            self.world.lock().tally.stopped += 1;
        }
        if awaited && state.phase == Phase::Streaming {
            let (table, mended) = (table_of(&state.target)?, Step::Mend(state.schema.version));
            apply(self.content.held(table), &mended)?;
            self.steps.push((table, mended));
        }
        Ok(())
    }

    async fn commit(&mut self, progress: Progress<'_>) -> Result<()> {
        self.arrive(Site::Commit).await?;
        let hung = self.hang().await;
        {
            let mut state = self.world.lock();
            if fault::planted("checkpoint-outside-commit")
                && let Some(checkpoint) = progress.checkpoint
            {
                state.durable.content.state.checkpoint = Some(checkpoint.clone());
            }
        }
        // Who comes back gets its answer: with another failure it would only open again.
        if !hung {
            self.arrive(Site::CommitNow).await?;
        }
        // Others run between the request and what it does.
        tokio::task::yield_now().await;
        let (run, to) = (self.run, progress.checkpoint.map(|at| at.position().0));
        self.world.tell(format_args!("run {run} commits up to {to:?}"));
        match self.world.knobs.flavour {
            Flavour::Transactional => self.commit_all(progress)?,
            Flavour::PerTable => self.commit_tables(progress).await?,
        }
        self.world.lock().tally.commits += 1;
        self.world.stirred.notify_waiters();
        if self.arrive(Site::Reply).await? == Some(Strike::Lost) {
            self.reply_lost()?;
        }
        self.steps.clear();
        self.committed = self.content.state.clone();
        Ok(())
    }
}

/// The same write in memory of its own: the source's batches are watched.
fn detached(write: TableWrite) -> Result<TableWrite> {
    let copy = |rows: Option<arrow_array::RecordBatch>| {
        rows.as_ref().map(crate::rows::detached).transpose()
    };
    Ok(match write {
        TableWrite::Append(rows) => TableWrite::Append(crate::rows::detached(&rows)?),
        TableWrite::Merge(mut write) => {
            write.deletes = copy(write.deletes)?;
            write.upserts = copy(write.upserts)?;
            if let Some(patches) = &mut write.patches {
                patches.rows = crate::rows::detached(&patches.rows)?;
                patches.base = crate::rows::detached(&patches.base)?;
            }
            TableWrite::Merge(write)
        }
        TableWrite::Multiset(mut write) => {
            write.removes = copy(write.removes)?;
            write.inserts = copy(write.inserts)?;
            TableWrite::Multiset(write)
        }
        TableWrite::Once(rows) => TableWrite::Once(crate::rows::detached(&rows)?),
        TableWrite::Truncate { marker } => TableWrite::Truncate { marker },
    })
}
