//! The log as a source: snapshots with late visibility, segments cut anywhere, faults.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use arrow_array::{Int64Array, RecordBatch};
use async_trait::async_trait;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rowtide_core::traits::{
    AttachRequest, Attached, ChangeStream, ModeOf, Segment, SnapshotPart, SnapshotRequest,
    SourceOperations, SourceStatus, StreamItem, StreamStart, TableSnapshot,
};
use rowtide_core::{
    ChangeBatch, Checkpoint, Commit, CommitRun, Error, Fence, Finding, Offset, Op, Partition,
    Result, Source, SourceIdentity, TableSchema, TableSelection, Unchanged, Watermark, XidSnapshot,
};
use tokio::sync::watch;

use crate::log::{Change, Log, TABLES, Transaction, schema};

pub(crate) struct ModelSource {
    log: Log,
    seed: AtomicU64,
    faults: f64,
    healed: Arc<AtomicBool>,
    acknowledged: Arc<AtomicU64>,
}

fn partition() -> Partition {
    "model".into()
}

fn at(position: u64) -> Checkpoint {
    Checkpoint::single(partition(), Offset(position))
}

impl ModelSource {
    pub(crate) fn new(log: Log, seed: u64, faults: f64) -> Self {
        Self {
            log,
            seed: AtomicU64::new(seed.wrapping_mul(7919)),
            faults,
            healed: Arc::default(),
            acknowledged: Arc::default(),
        }
    }

    pub(crate) fn heal(&self) {
        self.healed.store(true, Ordering::Relaxed);
    }

    pub(crate) fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Relaxed)
    }

    fn dice(&self) -> Dice {
        let seed = self.seed.fetch_add(1, Ordering::Relaxed);
        Dice {
            rng: StdRng::seed_from_u64(seed),
            faults: self.faults,
            healed: Arc::clone(&self.healed),
        }
    }
}

struct Dice {
    rng: StdRng,
    faults: f64,
    healed: Arc<AtomicBool>,
}

impl Dice {
    fn fault(&mut self, what: &str) -> Result<()> {
        let unlucky = !self.healed.load(Ordering::Relaxed) && self.rng.random_bool(self.faults);
        if unlucky { Err(Error::unavailable(format!("planted: {what}"))) } else { Ok(()) }
    }

    async fn pause(&mut self) {
        tokio::time::sleep(Duration::from_micros(self.rng.random_range(0..4000))).await;
    }
}

#[async_trait]
impl Source for ModelSource {
    async fn preflight(&self, _: &TableSelection, _: ModeOf<'_>) -> Result<Vec<Finding>> {
        Ok(Vec::new())
    }

    async fn discover(&self, _: &TableSelection) -> Result<Vec<Arc<TableSchema>>> {
        self.dice().fault("discover")?;
        Ok(TABLES.iter().map(|table| schema(table)).collect())
    }

    async fn attach(&self, request: AttachRequest<'_>) -> Result<Attached> {
        self.dice().fault("attach")?;
        let known = request.known.and_then(|(_, checkpoint)| checkpoint);
        if let Some(checkpoint) = known {
            assert!(self.acknowledged() <= checkpoint.position().0, "acknowledged too much");
        }
        let checkpoint = known.cloned().unwrap_or_else(|| at(self.log.end()));
        Ok(Attached { identity: self.intent(), checkpoint, added: Vec::new() })
    }

    async fn snapshot(&self, request: SnapshotRequest) -> Result<TableSnapshot> {
        let mut dice = self.dice();
        dice.pause().await;
        let position = self.log.end();
        let barrier = self.log.next_xid();
        while request.settle && !self.log.is_settled(barrier) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        dice.fault("snapshot")?;
        let view = self.log.view(&request.table.name.name);
        let fence = Fence::Xids(XidSnapshot {
            xmin: view.invisible.iter().copied().min().unwrap_or(view.next_xid).into(),
            xmax: view.next_xid.into(),
            xip: view.invisible.iter().map(|xid| u64::from(*xid)).collect(),
            wal_end: Offset(view.wal_end),
        });
        let rows: Vec<(i64, i64)> = view.rows.into_iter().collect();
        let lanes = rows.chunks(rows.len().div_ceil(request.lanes).max(1));
        let mut parts: Vec<Box<dyn SnapshotPart>> = lanes
            .map(|rows| Box::new(Part { rows: Some(rows.to_vec()), dice: self.dice() }) as _)
            .collect();
        if parts.is_empty() {
            parts.push(Box::new(Part { rows: None, dice: self.dice() }));
        }
        Ok(TableSnapshot { fence, position, estimated_rows: None, estimated_bytes: None, parts })
    }

    async fn stream(
        &self,
        start: StreamStart,
        durable: watch::Receiver<Checkpoint>,
    ) -> Result<Box<dyn ChangeStream>> {
        Ok(Box::new(Stream {
            log: self.log.clone(),
            dice: self.dice(),
            position: start.checkpoint.position().0,
            open: None,
            durable,
            acknowledged: Arc::clone(&self.acknowledged),
        }))
    }

    fn operations(&self) -> &dyn SourceOperations {
        self
    }
}

#[async_trait]
impl SourceOperations for ModelSource {
    fn intent(&self) -> SourceIdentity {
        SourceIdentity(serde_json::json!({ "model": true }))
    }

    async fn head(&self) -> Result<Checkpoint> {
        Ok(at(self.log.end()))
    }

    async fn status(&self) -> Result<SourceStatus> {
        Ok(SourceStatus::default())
    }

    async fn release(&self) -> Result<Vec<String>> {
        Ok(Vec::new())
    }
}

struct Part {
    rows: Option<Vec<(i64, i64)>>,
    dice: Dice,
}

#[async_trait]
impl SnapshotPart for Part {
    async fn next(&mut self) -> Result<Option<(RecordBatch, u64)>> {
        self.dice.pause().await;
        self.dice.fault("copy")?;
        let batch = |rows: Vec<(i64, i64)>| columns(rows.into_iter().map(|(k, v)| (k, Some(v))));
        Ok(self.rows.take().map(|rows| (batch(rows), 1)))
    }
}

fn columns(rows: impl Iterator<Item = (i64, Option<i64>)>) -> RecordBatch {
    let (k, v): (Vec<i64>, Vec<Option<i64>>) = rows.unzip();
    let columns: Vec<arrow_array::ArrayRef> =
        vec![Arc::new(Int64Array::from(k)), Arc::new(Int64Array::from(v))];
    RecordBatch::try_new(schema(TABLES[0]).arrow(), columns).unwrap()
}

struct Stream {
    log: Log,
    dice: Dice,
    position: u64,
    /// A transaction of which a first part was handed out, and how many changes that was.
    open: Option<(Transaction, usize)>,
    durable: watch::Receiver<Checkpoint>,
    acknowledged: Arc<AtomicU64>,
}

#[async_trait]
impl ChangeStream for Stream {
    async fn next(&mut self) -> Result<Segment> {
        let durable = self.durable.borrow().position().0;
        self.acknowledged.fetch_max(durable, Ordering::Relaxed);
        self.dice.pause().await;
        self.dice.fault("stream")?;
        loop {
            let log = self.log.clone();
            let grown = log.grown.notified();
            let next = self.open.take().or_else(|| Some((self.log.after(self.position)?, 0)));
            if let Some((transaction, from)) = next {
                return Ok(self.segment(transaction, from));
            }
            let idle = tokio::time::timeout(Duration::from_millis(10), grown).await.is_err();
            if idle && self.log.after(self.position).is_none() {
                self.position = self.position.max(self.log.end());
                return Ok(Segment { items: Vec::new(), watermark: Some(self.watermark(0)) });
            }
        }
    }

    fn head(&self) -> u64 {
        self.log.end()
    }

    async fn close(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}

impl Stream {
    fn watermark(&self, transaction_count: u64) -> Watermark {
        Watermark { checkpoint: at(self.position), committed_at: None, transaction_count }
    }

    /// The changes of `transaction` from `from` on, or only some of them.
    fn segment(&mut self, transaction: Transaction, from: usize) -> Segment {
        let to = match self.dice.rng.random_bool(0.2) {
            true => self.dice.rng.random_range(from..=transaction.changes.len()),
            false => transaction.changes.len(),
        };
        let items = (from..to).map(|n| item(&transaction, n)).collect();
        if to < transaction.changes.len() {
            self.open = Some((transaction, to));
            return Segment { items, watermark: None };
        }
        self.position = transaction.end_lsn;
        Segment { items, watermark: Some(self.watermark(1)) }
    }
}

fn item(transaction: &Transaction, n: usize) -> StreamItem {
    let (table, change) = transaction.changes[n];
    let ordinal = 2 * u32::try_from(n).unwrap();
    let commit =
        Commit { position: Offset(transaction.commit_lsn), xid: transaction.xid, committed_at: 0 };
    let (ops, rows) = match change {
        Change::Put { k, v, fresh: true } => (vec![Op::Insert], vec![(k, Some(v))]),
        Change::Put { k, v, fresh: false } => (vec![Op::Update], vec![(k, Some(v))]),
        Change::Remove { k } => (vec![Op::Delete], vec![(k, None)]),
        Change::Move { from, to, v } => {
            (vec![Op::MoveOut, Op::MoveIn], vec![(from, None), (to, Some(v))])
        }
        Change::Truncate => {
            return StreamItem::Truncate { tables: vec![schema(table)], commit, ordinal };
        }
    };
    StreamItem::Changes(ChangeBatch {
        table: schema(table),
        ordinals: (ordinal..).take(ops.len()).collect(),
        commits: vec![CommitRun { commit, rows: ops.len() }],
        ops,
        rows: columns(rows.into_iter()),
        unchanged: Unchanged::default(),
    })
}
