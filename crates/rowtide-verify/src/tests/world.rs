//! Two tables, writers at the source, and a pipeline between them that lags.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use arrow_array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};
use arrow_schema::{DataType, Field};
use async_trait::async_trait;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rowtide_core::canonical::{Digest, Encoder};
use rowtide_core::view::{Inspect, Moment, RowsOf, TableView, ViewRequest, ViewedRows};
use rowtide_core::{Checkpoint, Column, Identity, Offset, Result, TableName, TableSchema};

use crate::Arrival;

/// A row's values.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Cells {
    pub(super) id: i64,
    pub(super) text: Option<String>,
    pub(super) number: f64,
    pub(super) amount: String,
}

/// A row with the number of its last change.
type Stored = (Cells, u64);

/// What a transaction did to a row: the row before, and the one after.
type Change = (Option<Cells>, Option<Cells>);

#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    pub(super) keyed: bool,
    source_versions: bool,
    destination_versions: bool,
    sums_up: bool,
    /// Milliseconds.
    lag: u64,
    stalls: bool,
    /// How much longer than the log a commit may take to be seen.
    unseen: u64,
}

pub(super) struct State {
    pub(super) random: StdRng,
    pub(super) source: BTreeMap<u64, Stored>,
    pub(super) destination: Vec<Stored>,
    log: Vec<Vec<Change>>,
    /// Places in the log of what is not to be seen yet.
    unseen: BTreeSet<usize>,
    pub(super) applied: usize,
    pub(super) clock: u64,
    /// Nothing is applied meanwhile.
    pub(super) held: bool,
    /// Writers end.
    pub(super) stopped: bool,
}

#[derive(Clone)]
pub(super) struct World {
    pub(super) shape: Shape,
    state: Arc<Mutex<State>>,
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let shape = Shape {
            keyed: random.random_bool(0.7),
            source_versions: random.random_bool(0.8),
            destination_versions: random.random_bool(0.5),
            sums_up: random.random_bool(0.5),
            lag: *[1, 20, 200].get(random.random_range(0..3_usize)).unwrap(),
            stalls: random.random_bool(0.2),
            unseen: *[0, 2, 200, 6_000].get(random.random_range(0..4_usize)).unwrap(),
        };
        let state = State {
            random,
            source: BTreeMap::new(),
            destination: Vec::new(),
            log: Vec::new(),
            unseen: BTreeSet::new(),
            applied: 0,
            clock: 0,
            held: false,
            stopped: false,
        };
        Self { shape, state: Arc::new(Mutex::new(state)) }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub(super) fn schema(&self) -> TableSchema {
        let column = |(number, name, kind): (i32, &str, DataType)| Column {
            field: Arc::new(Field::new(name, kind, true)),
            native_type: String::new(),
            number,
        };
        let columns = [
            (1, "id", DataType::Int64),
            (2, "text", DataType::Utf8),
            (3, "number", DataType::Float64),
            (4, "amount", DataType::Utf8),
        ];
        let columns = columns.into_iter().map(column).collect();
        let (key, identity) = match self.shape.keyed {
            true => (vec![0], Identity::Key),
            false => (Vec::new(), Identity::FullRow),
        };
        TableSchema::new((1, TableName::new("public", "t")), 1, columns, key, identity)
    }

    /// Puts a row on both sides before anything runs.
    pub(super) fn settle_row(&self, slot: u64, cells: Cells) {
        let mut state = self.lock();
        state.clock += 1;
        let clock = state.clock;
        state.source.insert(slot, (cells.clone(), clock));
        state.destination.push((cells, clock));
    }

    /// Changes some of `slots` again and again.
    pub(super) async fn write(self, slots: std::ops::Range<u64>, pause: u64) {
        loop {
            let wait = self.lock().random.random_range(0..=pause);
            tokio::time::sleep(Duration::from_millis(wait)).await;
            let (place, changes) = self.commit(slots.clone());
            let unseen = self.lock().random.random_range(0..=self.shape.unseen);
            if unseen > 0 {
                tokio::time::sleep(Duration::from_millis(unseen)).await;
            }
            self.show(place, changes);
            if self.lock().stopped {
                return;
            }
        }
    }

    /// Puts a transaction in the log; it is not to be seen yet.
    fn commit(&self, slots: std::ops::Range<u64>) -> (usize, Vec<(u64, Option<Cells>)>) {
        let keyed = self.shape.keyed;
        let mut state = self.lock();
        let mut changes = BTreeMap::new();
        for _ in 0..state.random.random_range(1..4) {
            let slot = state.random.random_range(slots.clone());
            let keeps = state.random.random_bool(0.6);
            let cells = keeps.then(|| hot_cells(&mut state.random, keyed, slot));
            changes.insert(slot, cells);
        }
        let before = |slot: &u64| state.source.get(slot).map(|(cells, _)| cells.clone());
        let logged = changes.iter().map(|(slot, after)| (before(slot), after.clone())).collect();
        let place = state.log.len();
        state.log.push(logged);
        state.unseen.insert(place);
        (place, changes.into_iter().collect())
    }

    fn show(&self, place: usize, changes: Vec<(u64, Option<Cells>)>) {
        let mut state = self.lock();
        state.unseen.remove(&place);
        state.clock += 1;
        let clock = state.clock;
        for (slot, cells) in changes {
            match cells {
                Some(cells) => state.source.insert(slot, (cells, clock)),
                None => state.source.remove(&slot),
            };
        }
    }

    /// Waits until everything can be seen that is in the log now.
    pub(super) async fn until_seen(&self) {
        let waited_for = self.lock().unseen.clone();
        while !self.lock().unseen.is_disjoint(&waited_for) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// The pipeline: applies what is in the log, some time later.
    pub(super) async fn follow(self) {
        loop {
            let wait = {
                let mut state = self.lock();
                match self.shape.stalls && state.random.random_bool(0.02) {
                    true => 3_000,
                    false => state.random.random_range(0..=self.shape.lag),
                }
            };
            tokio::time::sleep(Duration::from_millis(wait)).await;
            let mut state = self.lock();
            if state.held {
                continue;
            }
            let waiting = state.log.len() - state.applied;
            let many = state.random.random_range(0..=waiting);
            for _ in 0..many {
                let changes = state.log[state.applied].clone();
                state.applied += 1;
                changes.into_iter().for_each(|change| state.apply(change, self.shape.keyed));
            }
        }
    }
}

impl State {
    /// Whether everything in the log is applied.
    pub(super) fn is_caught_up(&self) -> bool {
        self.applied == self.log.len()
    }

    fn apply(&mut self, (before, after): Change, keyed: bool) {
        self.clock += 1;
        match keyed {
            true => {
                let id = before.as_ref().or(after.as_ref()).map(|cells| cells.id);
                self.destination.retain(|(cells, _)| Some(cells.id) != id);
            }
            false => {
                let at =
                    self.destination.iter().position(|(cells, _)| Some(cells) == before.as_ref());
                if let Some(at) = at {
                    self.destination.swap_remove(at);
                }
            }
        }
        self.destination.extend(after.map(|cells| (cells, self.clock)));
    }
}

/// Few different ones, so that rows come to hold again what they held before.
fn hot_cells(random: &mut StdRng, keyed: bool, slot: u64) -> Cells {
    Cells {
        id: if keyed { i64::try_from(slot).unwrap() } else { 1 },
        text: Some(format!("hot {}", random.random_range(0..3))),
        number: 1.0,
        amount: "1".into(),
    }
}

/// One end.
#[derive(Clone)]
pub(super) struct End {
    pub(super) world: World,
    pub(super) is_source: bool,
}

#[async_trait]
impl Inspect for End {
    async fn view(&self, request: ViewRequest) -> Result<Box<dyn TableView>> {
        self.world.rest().await;
        let is_source = self.is_source;
        let (rows, applied, clock) = {
            let state = self.world.lock();
            let rows = match is_source {
                true => state.source.values().cloned().collect(),
                false => state.destination.clone(),
            };
            (rows, state.applied, state.clock)
        };
        if is_source {
            // Its place is read after the snapshot was taken.
            self.world.rest().await;
        }
        let at = if is_source { self.world.lock().log.len() } else { applied };
        let moment = Moment {
            checkpoint: Checkpoint::single("p".into(), Offset(at as u64)),
            mark: is_source.then(|| clock.to_string()),
        };
        let schema = (*request.plan.source).clone();
        Ok(Box::new(View { end: self.clone(), schema, rows, moment, asked: Vec::new() }))
    }

    async fn until_visible(&self, _: &TableSchema, patience: Duration) -> Result<bool> {
        Ok(tokio::time::timeout(patience, self.world.until_seen()).await.is_ok())
    }
}

impl World {
    pub(super) async fn rest(&self) {
        let wait = self.lock().random.random_range(0..8);
        tokio::time::sleep(Duration::from_millis(wait)).await;
    }
}

struct View {
    end: End,
    schema: TableSchema,
    rows: Vec<Stored>,
    moment: Moment,
    asked: Vec<Stored>,
}

/// How many rows the model gives at a time.
const BATCH: usize = 7;

#[async_trait]
impl TableView for View {
    fn moment(&self) -> &Moment {
        &self.moment
    }

    async fn digest(&mut self, bucket_bits: u32) -> Result<Option<Digest>> {
        if !self.end.world.shape.sums_up {
            return Ok(None);
        }
        self.end.world.rest().await;
        let mut digest = Digest::empty(bucket_bits);
        Encoder::new(&self.schema)?.sum_up(&batch(&self.schema, &self.rows), &mut digest)?;
        Ok(Some(digest))
    }

    async fn count(&mut self) -> Result<u64> {
        Ok(self.rows.len() as u64)
    }

    async fn begin(&mut self, rows: RowsOf) -> Result<()> {
        self.end.world.rest().await;
        let encoder = Encoder::new(&self.schema)?;
        let keys = encoder.hash(&batch(&self.schema, &self.rows))?.keys;
        let wanted: Vec<bool> = match rows {
            RowsOf::All => vec![true; keys.len()],
            // Others, too, where the model does not sum up.
            RowsOf::Buckets(_) if !self.end.world.shape.sums_up => vec![true; keys.len()],
            RowsOf::Buckets(buckets) => keys.iter().map(|key| buckets.contains(*key)).collect(),
            RowsOf::Keys(some) => {
                let some = encoder.keys(&some)?;
                keys.iter().map(|key| some.contains(key)).collect()
            }
            RowsOf::Since(mark) => {
                let mark: u64 = mark.parse().unwrap();
                self.rows.iter().map(|(_, version)| *version > mark).collect()
            }
        };
        let chosen = self.rows.iter().zip(wanted).filter(|(_, wanted)| *wanted);
        self.asked = chosen.map(|(row, _)| row.clone()).rev().collect();
        Ok(())
    }

    async fn next(&mut self) -> Result<Option<ViewedRows>> {
        if self.asked.is_empty() {
            return Ok(None);
        }
        self.end.world.rest().await;
        let rest = self.asked.len().saturating_sub(BATCH);
        let some = self.asked.split_off(rest);
        let shape = self.end.world.shape;
        let tells =
            if self.end.is_source { shape.source_versions } else { shape.destination_versions };
        let versions = tells.then(|| some.iter().map(|(_, version)| *version).collect());
        Ok(Some(ViewedRows { rows: batch(&self.schema, &some), versions }))
    }
}

pub(super) fn batch(schema: &TableSchema, rows: &[Stored]) -> RecordBatch {
    let cells = || rows.iter().map(|(cells, _)| cells);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(cells().map(|cells| Some(cells.id)).collect::<Int64Array>()),
        Arc::new(cells().map(|cells| cells.text.as_deref()).collect::<StringArray>()),
        Arc::new(cells().map(|cells| Some(cells.number)).collect::<Float64Array>()),
        Arc::new(cells().map(|cells| Some(cells.amount.as_str())).collect::<StringArray>()),
    ];
    RecordBatch::try_new(schema.arrow(), columns).unwrap()
}

#[async_trait]
impl Arrival for World {
    async fn until(&self, checkpoint: &Checkpoint) -> Result<()> {
        while (self.lock().applied as u64) < checkpoint.position().0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }
}
