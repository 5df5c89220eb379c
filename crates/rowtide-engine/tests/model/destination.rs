//! A transactional destination in memory: an epoch is a copy of everything, put in place by its
//! commit. Commits fail before, or after without saying so.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use async_trait::async_trait;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rowtide_core::traits::{Loader, Progress, Writer};
use rowtide_core::{
    Capabilities, Destination, Error, Finding, Mode, PipelineState, Result, SchemaChange,
    TablePlan, TableState, TableWrite,
};

/// `(op, position, seq, k, v)` of an append table.
type Event = (String, i64, Option<i64>, Option<i64>, Option<i64>);

#[derive(Debug, Clone, Default)]
struct Content {
    state: PipelineState,
    rows: BTreeMap<String, BTreeMap<i64, i64>>,
    history: BTreeMap<String, Vec<Event>>,
}

#[derive(Debug)]
struct Shared {
    durable: Content,
    staging: BTreeMap<String, Vec<RecordBatch>>,
    rng: StdRng,
    faults: f64,
}

impl Shared {
    fn fault(&mut self, what: &str) -> Result<()> {
        let unlucky = self.rng.random_bool(self.faults);
        if unlucky { Err(Error::unavailable(format!("planted: {what}"))) } else { Ok(()) }
    }
}

pub(crate) struct ModelDestination(Arc<Mutex<Shared>>);

impl ModelDestination {
    pub(crate) fn new(seed: u64, faults: f64) -> Self {
        let rng = StdRng::seed_from_u64(seed ^ 0xD0_0D);
        let shared = Shared { durable: Content::default(), staging: BTreeMap::new(), rng, faults };
        Self(Arc::new(Mutex::new(shared)))
    }

    pub(crate) fn heal(&self) {
        self.0.lock().unwrap().faults = 0.0;
    }

    pub(crate) fn forget_open_epochs(&self) {
        self.0.lock().unwrap().staging.clear();
    }

    pub(crate) fn rows(&self, table: &str) -> BTreeMap<i64, i64> {
        self.0.lock().unwrap().durable.rows.get(table).cloned().unwrap_or_default()
    }

    pub(crate) fn position(&self) -> u64 {
        let shared = self.0.lock().unwrap();
        shared.durable.state.checkpoint.as_ref().map_or(0, |at| at.position().0)
    }

    /// The rows that an append table's events lead to; no event may be there twice.
    pub(crate) fn replayed_history(&self, table: &str) -> BTreeMap<i64, i64> {
        let shared = self.0.lock().unwrap();
        let mut events = shared.durable.history.get(table).cloned().unwrap_or_default();
        let mut seen = std::collections::BTreeSet::new();
        for (op, position, seq, ..) in events.iter().filter(|event| event.0 != "snapshot") {
            assert!(seen.insert((*position, *seq)), "{table}: {op} at {position} {seq:?} twice");
        }
        // By position alone: copied rows lie before every event outside the copy's fence.
        events.sort_by_key(|(op, position, seq, ..)| (*position, op != "snapshot", *seq));
        let mut rows = BTreeMap::new();
        for (op, _, _, k, v) in events {
            match op.as_str() {
                "truncate" => rows.clear(),
                "delete" => drop(rows.remove(&k.unwrap())),
                _ => drop(rows.insert(k.unwrap(), v.unwrap())),
            }
        }
        rows
    }
}

#[async_trait]
impl Destination for ModelDestination {
    fn capabilities(&self) -> Capabilities {
        Capabilities { ignores_case: false, native_system: None }
    }

    async fn preflight(&self, _: &[TablePlan]) -> Result<Vec<Finding>> {
        Ok(Vec::new())
    }

    async fn open(&self, _: &str) -> Result<Box<dyn Writer>> {
        let mut shared = self.0.lock().unwrap();
        shared.fault("open")?;
        shared.durable.state.fencing_epoch += 1;
        let content = shared.durable.clone();
        Ok(Box::new(ModelWriter { shared: Arc::clone(&self.0), content }))
    }

    async fn load(&self, _: &str, plan: &TablePlan, lanes: usize) -> Result<Vec<Box<dyn Loader>>> {
        let mut shared = self.0.lock().unwrap();
        shared.fault("load")?;
        let table = plan.target.name.to_string();
        shared.staging.insert(table.clone(), Vec::new());
        let loader = || ModelLoader { shared: Arc::clone(&self.0), table: table.clone() };
        Ok((0..lanes).map(|_| Box::new(loader()) as _).collect())
    }

    async fn peek(&self, _: &str) -> Result<Option<PipelineState>> {
        Ok(Some(self.0.lock().unwrap().durable.state.clone()))
    }

    async fn teardown(&self, _: &str) -> Result<Vec<String>> {
        Ok(Vec::new())
    }
}

struct ModelLoader {
    shared: Arc<Mutex<Shared>>,
    table: String,
}

#[async_trait]
impl Loader for ModelLoader {
    async fn write(&mut self, rows: RecordBatch) -> Result<()> {
        let mut shared = self.shared.lock().unwrap();
        shared.fault("load rows")?;
        if let Some(staged) = shared.staging.get_mut(&self.table) {
            staged.push(rows);
        }
        Ok(())
    }

    async fn finish(self: Box<Self>) -> Result<()> {
        self.shared.lock().unwrap().fault("finish loading")
    }
}

struct ModelWriter {
    shared: Arc<Mutex<Shared>>,
    content: Content,
}

fn ints(batch: &RecordBatch, column: usize) -> Vec<Option<i64>> {
    batch.column(column).as_primitive::<Int64Type>().iter().collect()
}

fn pairs(batch: &RecordBatch) -> impl Iterator<Item = (i64, i64)> {
    ints(batch, 0).into_iter().zip(ints(batch, 1)).map(|(k, v)| (k.unwrap(), v.unwrap()))
}

fn events(batch: &RecordBatch) -> Vec<Event> {
    let column = |name: &str| batch.schema().index_of(name).unwrap();
    let ops = batch.column(column("_rowtide_op")).as_string::<i32>().clone();
    let (positions, seqs) =
        (ints(batch, column("_rowtide_position")), ints(batch, column("_rowtide_seq")));
    let (keys, values) = (ints(batch, 0), ints(batch, 1));
    (0..batch.num_rows())
        .map(|n| (ops.value(n).to_owned(), positions[n].unwrap(), seqs[n], keys[n], values[n]))
        .collect()
}

#[async_trait]
impl Writer for ModelWriter {
    async fn state(&mut self) -> Result<PipelineState> {
        Ok(self.content.state.clone())
    }

    async fn write(&mut self, plan: &TablePlan, write: TableWrite) -> Result<()> {
        self.shared.lock().unwrap().fault("write")?;
        let table = plan.target.name.to_string();
        let rows = self.content.rows.entry(table.clone()).or_default();
        match write {
            TableWrite::Append(batch) => {
                self.content.history.entry(table).or_default().extend(events(&batch));
            }
            TableWrite::Merge(write) => {
                assert!(write.patches.is_none(), "the model repeats every value");
                for key in write.deletes.iter().flat_map(|batch| ints(batch, 0)) {
                    rows.remove(&key.unwrap());
                }
                rows.extend(write.upserts.iter().flat_map(pairs));
            }
            TableWrite::Truncate { .. } => rows.clear(),
            TableWrite::Multiset(_) => panic!("the model's tables have keys"),
        }
        Ok(())
    }

    async fn apply_schema(&mut self, _: &TablePlan, _: &SchemaChange) -> Result<()> {
        Err(Error::internal("the model's tables do not change"))
    }

    async fn promote(&mut self, plan: &TablePlan) -> Result<()> {
        let table = plan.target.name.to_string();
        let staged = self.shared.lock().unwrap().staging.remove(&table).unwrap_or_default();
        match plan.mode {
            Mode::Append => {
                let history = self.content.history.entry(table).or_default();
                staged.iter().for_each(|batch| history.extend(events(batch)));
            }
            Mode::Merge | Mode::Replace => {
                self.content.rows.insert(table, staged.iter().flat_map(pairs).collect());
            }
        }
        Ok(())
    }

    async fn remember(&mut self, state: &TableState) -> Result<()> {
        let tables = &mut self.content.state.tables;
        tables.retain(|known| known.schema.name != state.schema.name);
        tables.push(state.clone());
        Ok(())
    }

    async fn commit(&mut self, progress: Progress<'_>) -> Result<()> {
        let mut shared = self.shared.lock().unwrap();
        shared.fault("before commit")?;
        if shared.durable.state.fencing_epoch != self.content.state.fencing_epoch {
            return Err(Error::fenced("a newer writer exists"));
        }
        let state = &mut self.content.state;
        if let Some(checkpoint) = progress.checkpoint {
            state.checkpoint.get_or_insert_default().advance(checkpoint)?;
        }
        if let Some(identity) = progress.identity {
            state.identity = Some(identity.clone());
        }
        shared.durable = self.content.clone();
        shared.fault("after commit")
    }
}
