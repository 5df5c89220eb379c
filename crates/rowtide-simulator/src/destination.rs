//! A model destination: one atomic commit, or a journal and then table after table.

mod writer;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow_array::RecordBatch;
use async_trait::async_trait;
use rowtide_core::traits::{Loader, Writer};
use rowtide_core::view::{Inspect, TableView, ViewRequest};
use rowtide_core::{
    Capabilities, Destination, Error, Finding, PipelineState, Result, TableName, TablePlan, fault,
};

use crate::content::apply;
use crate::log::index_of;
use crate::oracle;
use crate::scenario::{Site, Strike};
use crate::view::ModelView;
use crate::world::{State, World};
use writer::ModelWriter;

/// A staging table.
#[derive(Debug, Default)]
struct Staging {
    rows: Mutex<Vec<RecordBatch>>,
    lanes: usize,
    finished: AtomicUsize,
    dropped: AtomicBool,
}

type StagingTables = Arc<Mutex<BTreeMap<usize, Arc<Staging>>>>;

/// The destination as one run of the pipeline sees it. Staging tables belong to the run: those
/// of a process that is gone are never looked at again.
pub(crate) struct ModelDestination {
    world: Arc<World>,
    run: u64,
    staging: StagingTables,
}

fn tables(staging: &StagingTables) -> MutexGuard<'_, BTreeMap<usize, Arc<Staging>>> {
    staging.lock().unwrap_or_else(PoisonError::into_inner)
}

fn table_of(name: &TableName) -> Result<usize> {
    index_of(name).ok_or_else(|| Error::internal(format!("{name} is not a table of the model")))
}

impl ModelDestination {
    pub(crate) fn new(world: Arc<World>, run: u64) -> Self {
        Self { world, run, staging: StagingTables::default() }
    }
}

/// Carries out what a journal says, for each table that does not have it yet, up to `limit`
/// tables; tells whether that was all.
fn roll_forward(state: &mut State, limit: usize) -> Result<bool> {
    let durable = &mut state.durable;
    let Some(journal) = durable.journal.clone() else { return Ok(true) };
    let mut left = limit;
    let touched: std::collections::BTreeSet<usize> =
        journal.steps.iter().map(|(table, _)| *table).collect();
    for table in touched {
        let has = durable.applied.get(&table).is_some_and(|epoch| *epoch >= journal.number);
        if has && !fault::planted("retry-without-reading") {
            continue;
        }
        if left == 0 {
            return Ok(false);
        }
        left -= 1;
        for (_, step) in journal.steps.iter().filter(|(of, _)| *of == table) {
            apply(durable.content.held(table), step)?;
        }
        durable.applied.insert(table, journal.number);
    }
    Ok(true)
}

#[async_trait]
impl Destination for ModelDestination {
    fn capabilities(&self) -> Capabilities {
        Capabilities::default()
    }

    async fn preflight(&self, _: &[TablePlan]) -> Result<Vec<Finding>> {
        Ok(Vec::new())
    }

    async fn open(&self, _: &str) -> Result<Box<dyn Writer>> {
        self.world.arrive(self.run, Site::Open).await?;
        let (content, violation) = {
            let mut state = self.world.lock();
            if roll_forward(&mut state, usize::MAX)?
                && let Some(journal) = state.durable.journal.take()
            {
                let fencing_epoch = state.durable.content.state.fencing_epoch;
                state.durable.content.state = journal.goal.state;
                state.durable.content.told = journal.goal.told;
                state.durable.content.state.fencing_epoch = fencing_epoch;
            }
            state.durable.content.state.fencing_epoch += 1;
            let content = state.durable.content.clone();
            (content, oracle::check(&mut state).err())
        };
        if let Some(violation) = violation {
            self.world.violate(violation.class, violation.detail);
        }
        let (run, epoch) = (self.run, content.state.fencing_epoch);
        self.world.tell(format_args!("run {run} opens as writer {epoch}"));
        self.world.stirred.notify_waiters();
        self.world.arrive(self.run, Site::Opened).await?;
        let (world, staging) = (Arc::clone(&self.world), Arc::clone(&self.staging));
        Ok(Box::new(ModelWriter::new(world, self.run, staging, content)))
    }

    async fn load(&self, _: &str, plan: &TablePlan, lanes: usize) -> Result<Vec<Box<dyn Loader>>> {
        self.world.arrive(self.run, Site::Load).await?;
        let table = table_of(&plan.target)?;
        let staging = Arc::new(Staging { lanes, ..Staging::default() });
        if let Some(old) = tables(&self.staging).insert(table, Arc::clone(&staging)) {
            old.dropped.store(true, Ordering::Relaxed);
        }
        let loader = || ModelLoader {
            world: Arc::clone(&self.world),
            run: self.run,
            table,
            staging: Arc::clone(&staging),
        };
        Ok((0..lanes).map(|_| Box::new(loader()) as _).collect())
    }

    async fn peek(&self, _: &str) -> Result<Option<PipelineState>> {
        Ok(Some(self.world.lock().durable.content.state.clone()))
    }

    async fn teardown(&self, _: &str) -> Result<Vec<String>> {
        Ok(Vec::new())
    }

    fn inspect(&self) -> Option<&dyn Inspect> {
        Some(self)
    }
}

#[async_trait]
impl Inspect for ModelDestination {
    async fn view(&self, request: ViewRequest) -> Result<Box<dyn TableView>> {
        let table = table_of(&request.plan.target)?;
        let held = self.world.lock().durable.content.tables.get(&table).cloned();
        let held = held.unwrap_or_default();
        let keyed = held.keyed.values().filter(|stored| !stored.deleted).map(|stored| stored.row);
        let bag = held.bag.iter().flat_map(|(row, &times)| (0..times).map(|_| *row));
        Ok(Box::new(ModelView::new(request.plan.source, keyed.chain(bag).collect())))
    }
}

struct ModelLoader {
    world: Arc<World>,
    run: u64,
    table: usize,
    staging: Arc<Staging>,
}

impl ModelLoader {
    fn check(&self) -> Result<()> {
        match self.staging.dropped.load(Ordering::Relaxed) {
            true => Err(Error::unavailable("the staging table is gone")),
            false => Ok(()),
        }
    }
}

#[async_trait]
impl Loader for ModelLoader {
    async fn write(&mut self, rows: RecordBatch) -> Result<()> {
        let strike = self.world.arrive(self.run, Site::LoadRows).await?;
        self.check()?;
        if strike == Some(Strike::Refuse) {
            self.world.lock().refused.insert(self.table);
            return Err(Error::data(format!("t{} holds a value that is refused", self.table)));
        }
        // A copy of its own: whoever hands rows over need not keep them.
        let rows = crate::rows::detached(&rows)?;
        self.staging.rows.lock().unwrap_or_else(PoisonError::into_inner).push(rows);
        Ok(())
    }

    async fn finish(self: Box<Self>) -> Result<()> {
        self.world.arrive(self.run, Site::LoadEnd).await?;
        self.check()?;
        self.staging.finished.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}
