//! The log as it is streamed: segments cut anywhere, table layouts announced before the next row.

mod assemble;

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use arrow_array::Array;
use async_trait::async_trait;
use rowtide_core::traits::{ChangeStream, Segment, StreamItem, StreamStart};
use rowtide_core::{Checkpoint, Error, Fence, Result, Watermark, XidSnapshot, fault};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::{ModelSource, at, lost, snapshot_of};
use crate::log::{Change, Transaction, index_of};
use crate::scenario::Site;
use crate::world::World;
use assemble::Assembly;

/// How long an idle log waits before it says so.
const IDLE: Duration = Duration::from_millis(5);

/// A table that is streamed.
#[derive(Debug, Clone)]
pub(super) struct Following {
    /// The version that was announced last.
    version: u32,
    stopped: bool,
    /// Its copy begins after the stream.
    copying: bool,
    /// What its copy contains, if that is in place.
    fence: Option<Fence>,
}

/// A batch that was handed out.
struct Given {
    table: usize,
    bytes: u64,
    rows: Weak<dyn Array>,
}

pub(super) struct Stream {
    world: Arc<World>,
    run: u64,
    id: u64,
    incarnation: u64,
    position: u64,
    /// A transaction of which a first part was handed out, and how many changes that was.
    open: Option<(usize, usize)>,
    known: BTreeMap<usize, Following>,
    /// What every copy that is still to come has.
    covered: XidSnapshot,
    given: Vec<Given>,
    durable: watch::Receiver<Checkpoint>,
    feedback: JoinHandle<()>,
}

impl Stream {
    pub(super) fn open(
        source: &ModelSource,
        start: &StreamStart,
        durable: watch::Receiver<Checkpoint>,
    ) -> Self {
        let world = Arc::clone(&source.world);
        let following = |schema: &Arc<rowtide_core::TableSchema>| {
            let copying = start.copying.contains(&schema.id);
            let fence = start.fences.iter().find(|(id, _)| *id == schema.id);
            let fence = fence.map(|(_, fence)| fence.clone());
            let following = Following { version: schema.version, stopped: false, copying, fence };
            Some((index_of(&schema.name)?, following))
        };
        let known = start.tables.iter().filter_map(following).collect();
        let now = world.now();
        let (id, incarnation, covered) = {
            let mut state = world.lock();
            state.streams += 1;
            let slot = state.slot.as_ref();
            let incarnation = slot.map_or(0, |slot| slot.incarnation);
            (state.streams, incarnation, snapshot_of(&state.log, now))
        };
        let feedback = tokio::spawn(feedback(Arc::clone(&world), durable.clone()));
        let slot_start = world.lock().slot.as_ref().map_or(0, |slot| slot.start);
        // A slot that is not asked about skips what it does not have.
        let position = start.checkpoint.position().0.max(slot_start);
        Self {
            run: source.run,
            id,
            incarnation,
            position,
            open: None,
            known,
            covered,
            given: Vec::new(),
            durable,
            feedback,
            world,
        }
    }

    /// Nobody else may have taken over, and the slot must be there.
    fn check(&self) -> Result<()> {
        let state = self.world.lock();
        if state.streams != self.id {
            return Err(Error::unavailable("the session was ended: something else changed"));
        }
        match &state.slot {
            Some(slot) if slot.incarnation == self.incarnation => Ok(()),
            _ => Err(lost("the slot is gone")),
        }
    }

    /// Whoever asks for more must have let go of what came before, but for what is kept aside.
    fn check_memory(&mut self) {
        self.given.retain(|given| given.rows.strong_count() > 0);
        let copying = |table| self.known.get(table).is_some_and(|table| table.copying);
        if let Some(given) = self.given.iter().find(|given| !copying(&given.table)) {
            let detail = format!("a batch of t{} is held when more is asked for", given.table);
            self.world.violate("memory", detail);
        }
        let aside: u64 = self.given.iter().map(|given| given.bytes).sum();
        let limit = self.world.knobs.spool_bytes;
        if self.open.is_none() && aside >= limit {
            let detail = format!("{aside} bytes are kept aside, of {limit}");
            self.world.violate("memory", detail);
        }
    }

    /// Where a transaction stands in the order in which it is streamed.
    fn place(transaction: &Transaction) -> u64 {
        match fault::planted("order-by-change-position") {
            true => transaction.begin,
            false => transaction.commit,
        }
    }

    /// The transaction that comes next.
    fn following(&self) -> Option<usize> {
        let state = self.world.lock();
        let all = state.log.transactions.iter().enumerate();
        let later = all.filter(|(_, transaction)| Self::place(transaction) >= self.position);
        later.min_by_key(|(_, transaction)| Self::place(transaction)).map(|(at, _)| at)
    }

    /// The next stretch of the log, which is known to have one.
    fn segment(&mut self) -> Result<Segment> {
        let knobs = &self.world.knobs;
        let mut budget = knobs.segment_changes.max(1);
        let decision = self.world.decide(1);
        if decision % 100 < knobs.cuts {
            budget = 1 + usize::try_from(decision / 100).unwrap_or(0) % budget;
        }
        let mut assembly = Assembly::new(&self.world, &self.covered);
        let mut ended = 0;
        while budget > 0 {
            let next = self.open.take().or_else(|| Some((self.following()?, 0)));
            let Some((index, from)) = next else { break };
            let Some(transaction) = self.world.lock().log.transactions.get(index).cloned() else {
                break;
            };
            let mut done = from;
            while done < transaction.changes.len() && budget > 0 {
                let width = group(&transaction.changes[done..]);
                let changes = &transaction.changes[done..done + width];
                assembly.take(&transaction, changes, &mut self.known)?;
                done += width;
                budget -= 1;
            }
            if done < transaction.changes.len() {
                self.open = Some((index, done));
                break;
            }
            self.position = match fault::planted("order-by-change-position") {
                true => transaction.begin + 1,
                false => transaction.end,
            };
            ended += 1;
        }
        let items = assembly.finish(&self.known)?;
        let watermark = self.open.is_none().then(|| self.watermark(ended));
        Ok(Segment { items, watermark, identity: None })
    }

    fn watermark(&self, transaction_count: u64) -> Watermark {
        let checkpoint = at(self.position.max(self.durable.borrow().position().0));
        Watermark { checkpoint, committed_at: None, transaction_count }
    }

    fn note(&mut self, segment: &Segment) {
        for item in &segment.items {
            if let StreamItem::Changes(batch) = item
                && let Some(table) = index_of(&batch.table.name)
                && let Some(column) = batch.rows.columns().first()
            {
                let bytes = batch.byte_size() as u64;
                self.given.push(Given { table, bytes, rows: Arc::downgrade(column) });
            }
        }
        let to = segment.watermark.as_ref().map(|watermark| watermark.checkpoint.position().0);
        let (run, items) = (self.run, segment.items.len());
        self.world.tell(format_args!("run {run} is given {items} items up to {to:?}"));
    }
}

/// How many of `changes` are one statement.
fn group(changes: &[Change]) -> usize {
    let Some(first) = changes.first() else { return 0 };
    let same = |change: &&Change| change.ordinal == first.ordinal && change.effect.is_logged();
    if first.effect.is_logged() { changes.iter().take_while(same).count() } else { 1 }
}

/// Tells the source what is durable as soon as it is known, as a session's own task does.
async fn feedback(world: Arc<World>, mut durable: watch::Receiver<Checkpoint>) {
    while durable.changed().await.is_ok() {
        let position = durable.borrow_and_update().position().0;
        world.acknowledge(position);
    }
}

#[async_trait]
impl ChangeStream for Stream {
    async fn next(&mut self) -> Result<Segment> {
        self.check_memory();
        self.world.arrive(self.run, Site::Next).await?;
        if self.open.is_some() {
            self.world.arrive(self.run, Site::MidTransaction).await?;
        }
        loop {
            let world = Arc::clone(&self.world);
            let grown = world.grown.notified();
            self.check()?;
            if fault::planted("acknowledge-keepalive") {
                let end = world.lock().log.end();
                world.acknowledge(end);
            }
            if self.open.is_some() || self.following().is_some() {
                let segment = self.segment()?;
                self.note(&segment);
                return Ok(segment);
            }
            let idle = tokio::time::timeout(IDLE, grown).await.is_err();
            let end = world.lock().log.end();
            if idle && self.following().is_none() && end > self.position {
                self.position = end;
                let segment = Segment { watermark: Some(self.watermark(0)), ..Segment::default() };
                self.note(&segment);
                return Ok(segment);
            }
        }
    }

    fn head(&self) -> u64 {
        self.world.lock().log.end()
    }

    async fn close(self: Box<Self>) -> Result<()> {
        self.world.acknowledge(self.durable.borrow().position().0);
        Ok(())
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.feedback.abort();
    }
}
