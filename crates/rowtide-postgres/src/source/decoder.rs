//! From messages to segments: transactions, ordinals, tables. No I/O.
//!
//! Ordinals count messages of every published table, followed or not, and by the message alone:
//! an update takes two if its message has an old row. So a change has the same ordinal in every
//! run, whatever the pipeline follows at the time.

mod followed;

use std::sync::Arc;

use hashbrown::HashMap;
use rowtide_core::traits::{Segment, StreamItem};
use rowtide_core::{
    Checkpoint, Commit, Error, Fence, Identity, Offset, Op, Remedy, Result, SchemaChange,
    TableSchema, Watermark, XidSnapshot,
};

use followed::{CHANGED_BEFORE_COPY, Followed, Place};

use super::history::History;
use super::partition;
use super::table_buffer::{Appended, Image, TableBuffer, Tuple};
use crate::options::Unrepresentable;
use crate::protocol::Malformed;
use crate::protocol::pgoutput::{Message, Relation, TupleCells, read_tuple};

/// What the caller has to do after a message.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// Nothing.
    Continue,
    /// A transaction ended: a segment may end here.
    Committed,
    /// Look the table up in the catalog, then call [`Decoder::relation`].
    Relation(Relation),
}

/// The state of a stream.
#[derive(Debug)]
pub(super) struct Decoder {
    tables: HashMap<u32, Followed>,
    policy: Unrepresentable,
    /// What every copy that is not in place yet will have.
    copied: Option<XidSnapshot>,
    /// Transactions whose commit record starts below are durable already.
    start: u64,
    open: Option<Commit>,
    skipping: bool,
    /// The open transaction changed something that is followed.
    touched: bool,
    /// Every copy that is still to come has what the open transaction did.
    before_copies: bool,
    ordinal: u32,
    items: Vec<StreamItem>,
    bytes: usize,
    /// Up to where everything has been decoded.
    end: u64,
    /// The last watermark that was handed over.
    handed: u64,
    committed_at: Option<i64>,
    history: History,
    transactions: u64,
    new: TupleCells,
    old: TupleCells,
    /// Where a planted bug believes transactions to lie.
    misplaced: Option<u64>,
}

impl Decoder {
    pub(super) fn new(
        tables: impl IntoIterator<Item = Arc<TableSchema>>,
        start: u64,
        policy: Unrepresentable,
    ) -> Self {
        let follow = |schema: Arc<TableSchema>| {
            let id = u32::try_from(schema.id).ok()?;
            Some((id, Followed::new(schema)))
        };
        Self {
            tables: tables.into_iter().filter_map(follow).collect(),
            policy,
            copied: None,
            start,
            open: None,
            skipping: false,
            touched: false,
            before_copies: false,
            ordinal: 0,
            items: Vec::new(),
            bytes: 0,
            end: start,
            handed: start,
            committed_at: None,
            history: History::default(),
            transactions: 0,
            new: TupleCells::default(),
            old: TupleCells::default(),
            misplaced: None,
        }
    }

    /// Says that the copies of `tables` begin later than `covered` was taken: what it covers is
    /// in each of them, whatever the table was like at the time.
    pub(super) fn copying(mut self, tables: &[u64], covered: XidSnapshot) -> Self {
        for id in tables.iter().filter_map(|id| u32::try_from(*id).ok()) {
            if let Some(table) = self.tables.get_mut(&id) {
                table.copying = true;
            }
        }
        self.copied = Some(covered);
        self
    }

    /// Says what the copies that are in place contain.
    pub(super) fn in_place(mut self, fences: Vec<(u64, Fence)>) -> Self {
        for (id, fence) in fences {
            let table = u32::try_from(id).ok().and_then(|id| self.tables.get_mut(&id));
            if let Some(table) = table {
                table.fence = Some(fence);
            }
        }
        self
    }

    /// Goes on with what is known of the log.
    pub(super) fn knowing(mut self, history: History) -> Self {
        self.history = history;
        self
    }

    /// Whether the log has proved to be the one that was read before.
    #[inline]
    pub(super) fn is_proved(&self) -> bool {
        self.history.is_proved()
    }

    /// Whether what the open transaction did to a table is there already: in the destination, or
    /// in the table's copy, in place or still to come.
    pub(super) fn is_old(&self, id: u32) -> bool {
        let has = |commit| self.tables.get(&id).map(|table| table.has(commit, self.before_copies));
        self.skipping || self.open.as_ref().and_then(has).unwrap_or(false)
    }

    /// Takes note that the log's layout of a table is older than its copy: its changes are left
    /// out, as the copy has them, until it is announced again.
    pub(super) fn older(&mut self, id: u32) -> Result<()> {
        let Some(table) = self.tables.get_mut(&id) else { return Ok(()) };
        self.items.extend(table.flush()?);
        table.buffer = None;
        table.older = true;
        tracing::debug!(table = %table.schema.name, "log is older than the copy: left out");
        Ok(())
    }

    /// How much is waiting, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether transactions ended that have not been handed over.
    pub(super) fn has_transactions(&self) -> bool {
        self.transactions > 0 || !self.items.is_empty()
    }

    /// Whether the log moved on since the last watermark.
    pub(super) fn has_progress(&self) -> bool {
        self.end > self.handed
    }

    /// The server says that everything before `position` has been sent.
    pub(super) fn idle_to(&mut self, position: u64) -> Result<()> {
        if self.open.is_none() {
            self.history.reached(position)?;
            self.end = self.end.max(position);
        }
        Ok(())
    }

    /// The planted bug `order-by-change-position`: takes the place at which a transaction's first
    /// change lies for its own.
    pub(super) fn misplace(&mut self, start: u64) {
        self.misplaced = Some(start);
    }

    /// Takes one message.
    #[inline]
    pub(super) fn message(&mut self, body: &[u8]) -> Result<Event> {
        match Message::parse(body)? {
            Message::Insert { relation, tuples } => self.insert(relation, tuples)?,
            Message::Update { relation, tuples } => self.update(relation, tuples)?,
            Message::Delete { relation, tuples } => self.delete(relation, tuples)?,
            Message::Begin { commit_lsn, committed_at, xid } => {
                if self.open.is_some() {
                    return Err(Malformed("a transaction begins inside another").into());
                }
                let position = Offset(self.misplaced.unwrap_or(commit_lsn));
                let commit = Commit { position, xid, committed_at };
                self.history.begins(commit_lsn, &commit)?;
                self.open = Some(commit);
                self.before_copies =
                    self.copied.as_ref().is_some_and(|copied| copied.covers(&commit));
                self.skipping = position.0 < self.start;
                self.touched = false;
                self.ordinal = 0;
            }
            Message::Commit { commit_lsn, end_lsn, committed_at } => {
                let open = self.open.take().ok_or(Malformed("a commit without a transaction"))?;
                let fits = open.position.0 == commit_lsn || self.misplaced.is_some();
                if !fits || end_lsn <= commit_lsn {
                    return Err(Malformed("a commit that does not fit its transaction").into());
                }
                if !self.skipping {
                    self.end = self.end.max(end_lsn);
                    self.history.ended(commit_lsn, &open);
                }
                // A transaction without changes (PostgreSQL 14 sends those of unpublished tables)
                // is progress of an idle log, and not worth a commit.
                if self.touched {
                    self.transactions += 1;
                    self.committed_at = Some(committed_at);
                    return Ok(Event::Committed);
                }
            }
            Message::Relation(relation) => return self.announced(relation),
            Message::Truncate { relations } => self.truncate(&relations)?,
            Message::Other => {}
        }
        Ok(Event::Continue)
    }

    /// A layout was announced: of a table that is followed, or of one that took its name.
    fn announced(&mut self, relation: Relation) -> Result<Event> {
        if let Some(table) = self.tables.get(&relation.id) {
            return Ok(if table.stopped { Event::Continue } else { Event::Relation(relation) });
        }
        let same_name = |table: &&u32| {
            self.tables.get(*table).is_some_and(|table| {
                let name = &table.schema.name;
                !table.stopped && *name.name == *relation.name && *name.schema == *relation.schema
            })
        };
        let same_name = self.tables.keys().find(same_name).copied();
        if let Some(id) = same_name.filter(|id| !self.is_old(*id)) {
            let reason = "it was dropped and created again";
            self.stop(id, reason, Remedy::Copy)?;
        }
        Ok(Event::Continue)
    }

    /// The transaction that is half read.
    pub(super) fn open(&self) -> Option<Commit> {
        self.open
    }

    /// The version of a table that its changes have now.
    pub(super) fn schema(&self, id: u32) -> Option<&Arc<TableSchema>> {
        self.tables.get(&id).map(|table| &table.schema)
    }

    /// Where the log is read now.
    fn position(&self) -> Offset {
        self.open.map_or(Offset(self.end), |commit| commit.position)
    }

    /// Takes the layout of a followed table, with what changed since the version that is known.
    pub(super) fn relation(
        &mut self,
        relation: &Relation,
        changes: Vec<SchemaChange>,
    ) -> Result<()> {
        let position = self.position();
        let Some(table) = self.tables.get_mut(&relation.id) else { return Ok(()) };
        self.items.extend(table.flush()?);
        for change in changes {
            self.touched = true;
            match &change {
                SchemaChange::Unsupported { .. } => table.stopped = true,
                followed => table.schema = Arc::clone(followed.table()),
            }
            self.items.push(StreamItem::Schema { change, position });
        }
        table.older = false;
        table.buffer = match table.stopped {
            true => None,
            false => Some(TableBuffer::new(Arc::clone(&table.schema), relation, self.policy)?),
        };
        Ok(())
    }

    fn stop(&mut self, id: u32, reason: &str, remedy: Remedy) -> Result<()> {
        let position = self.position();
        let Some(table) = self.tables.get_mut(&id) else { return Ok(()) };
        self.items.extend(table.flush()?);
        self.touched = true;
        let change = table.stop(reason, remedy);
        self.items.push(StreamItem::Schema { change, position });
        Ok(())
    }

    /// Takes note of a row. One that cannot be taken ends its table, and nothing else.
    #[inline]
    fn count(&mut self, relation: u32, appended: Appended) -> Result<()> {
        match appended {
            Appended::Taken(bytes) => {
                self.bytes += bytes;
                Ok(())
            }
            Appended::Refused(error) => {
                let hint = error.hint().unwrap_or_default();
                let reason = format!("{} ({hint})", error.message());
                self.stop(relation, &reason, Remedy::Operator)
            }
        }
    }

    /// The open transaction and the ordinal of the change that is read now, of `width` changes.
    #[inline]
    fn change(&mut self, width: u32) -> Result<(Commit, u32)> {
        let commit = self.open.ok_or(Malformed("a change outside of a transaction"))?;
        let ordinal = self.ordinal;
        self.ordinal = ordinal.checked_add(width).ok_or_else(|| {
            Error::data(format!("the transaction at {} has too many changes", commit.position))
        })?;
        Ok((commit, ordinal))
    }

    #[inline]
    fn insert(&mut self, relation: u32, tuples: &[u8]) -> Result<()> {
        let (commit, ordinal) = self.change(1)?;
        if self.skipping {
            return Ok(());
        }
        let place = Place {
            tables: &mut self.tables,
            items: &mut self.items,
            touched: &mut self.touched,
            in_copies: self.before_copies,
            commit,
        };
        let Some(buffer) = place.buffer(relation, tuples.len())? else { return Ok(()) };
        expect(tuples, 0, b'N')?;
        read_tuple(tuples, 1, &mut self.new)?;
        let new = Tuple { bytes: tuples, cells: &self.new };
        let appended = buffer.append((Op::Insert, commit, ordinal), (new, Image::Whole), None)?;
        self.count(relation, appended)
    }

    fn update(&mut self, relation: u32, tuples: &[u8]) -> Result<()> {
        let image = old_image(tuples)?;
        let (commit, ordinal) = self.change(if image.is_some() { 2 } else { 1 })?;
        if self.skipping {
            return Ok(());
        }
        let place = Place {
            tables: &mut self.tables,
            items: &mut self.items,
            touched: &mut self.touched,
            in_copies: self.before_copies,
            commit,
        };
        let Some(buffer) = place.buffer(relation, tuples.len())? else { return Ok(()) };
        let mut at = 0;
        if image.is_some() {
            at = read_tuple(tuples, 1, &mut self.old)?;
        }
        expect(tuples, at, b'N')?;
        read_tuple(tuples, at + 1, &mut self.new)?;
        let new = Tuple { bytes: tuples, cells: &self.new };
        let old = image.map(|image| (Tuple { bytes: tuples, cells: &self.old }, image));
        let moves = match (buffer.schema.identity, old) {
            (Identity::FullRow, Some((_, Image::Whole))) => true,
            (Identity::Key, Some((old, _))) => buffer.key_differs(old, new)?,
            (Identity::Key, None) => false,
            _ => return Err(unidentified(&buffer.schema, "an update")),
        };
        match old {
            Some(old) if moves => {
                let (gone, come) =
                    ((Op::MoveOut, commit, ordinal), (Op::MoveIn, commit, ordinal + 1));
                // Under a key, the old half is the key alone, whatever the log holds.
                let image = if buffer.schema.is_keyed() { Image::Key } else { old.1 };
                let out = buffer.append(gone, (old.0, image), None)?;
                if let Appended::Taken(bytes) = out {
                    self.bytes += bytes;
                    let buffer = buffer.append(come, (new, Image::Whole), Some(old))?;
                    return self.count(relation, buffer);
                }
                self.count(relation, out)
            }
            old => {
                let change = (Op::Update, commit, ordinal);
                let appended = buffer.append(change, (new, Image::Whole), old)?;
                self.count(relation, appended)
            }
        }
    }

    fn delete(&mut self, relation: u32, tuples: &[u8]) -> Result<()> {
        let (commit, ordinal) = self.change(1)?;
        if self.skipping {
            return Ok(());
        }
        let place = Place {
            tables: &mut self.tables,
            items: &mut self.items,
            touched: &mut self.touched,
            in_copies: self.before_copies,
            commit,
        };
        let Some(buffer) = place.buffer(relation, tuples.len())? else { return Ok(()) };
        let image = old_image(tuples)?.ok_or(Malformed("a delete without a row"))?;
        match (buffer.schema.identity, image) {
            (Identity::Key, _) | (Identity::FullRow, Image::Whole) => {}
            _ => return Err(unidentified(&buffer.schema, "a delete")),
        }
        read_tuple(tuples, 1, &mut self.old)?;
        let old = Tuple { bytes: tuples, cells: &self.old };
        let appended = buffer.append((Op::Delete, commit, ordinal), (old, image), None)?;
        self.count(relation, appended)
    }

    fn truncate(&mut self, relations: &[u32]) -> Result<()> {
        let (commit, ordinal) = self.change(1)?;
        if self.skipping {
            return Ok(());
        }
        let mut tables = Vec::new();
        for id in relations {
            let Some(table) = self.tables.get_mut(id).filter(|table| !table.stopped) else {
                continue;
            };
            if table.older {
                if !table.has(&commit, self.before_copies) {
                    self.touched = true;
                    let change = table.stop(CHANGED_BEFORE_COPY, Remedy::Copy);
                    self.items.push(StreamItem::Schema { change, position: commit.position });
                }
                continue;
            }
            self.items.extend(table.flush()?);
            tables.push(Arc::clone(&table.schema));
        }
        if !tables.is_empty() {
            self.touched = true;
            self.items.push(StreamItem::Truncate { tables, commit, ordinal });
        }
        Ok(())
    }

    /// Everything since the last call, with a watermark unless a transaction is half read.
    pub(super) fn take(&mut self) -> Result<Segment> {
        let mut items = std::mem::take(&mut self.items);
        for table in self.tables.values_mut() {
            items.extend(table.flush()?);
        }
        self.bytes = 0;
        let watermark = self.open.is_none().then(|| {
            // INVARIANT: a watermark never goes back, and lies on the end of a transaction.
            self.handed = self.end;
            let end = Offset(self.end);
            let checkpoint = match self.history.mark() {
                Some(mark) => Checkpoint::marked(partition(), end, &mark),
                None => Checkpoint::single(partition(), end),
            };
            Watermark {
                checkpoint,
                committed_at: self.committed_at.take(),
                transaction_count: std::mem::take(&mut self.transactions),
            }
        });
        Ok(Segment { items, watermark })
    }
}

/// The kind of the old row that a message begins with, if it has one.
#[inline]
fn old_image(tuples: &[u8]) -> Result<Option<Image>> {
    match tuples.first() {
        Some(b'K') => Ok(Some(Image::Key)),
        Some(b'O') => Ok(Some(Image::Whole)),
        Some(b'N') => Ok(None),
        _ => Err(Malformed("an unknown kind of row").into()),
    }
}

#[inline]
fn expect(tuples: &[u8], at: usize, marker: u8) -> Result<()> {
    match tuples.get(at) {
        Some(found) if *found == marker => Ok(()),
        _ => Err(Malformed("a message lacks its new row").into()),
    }
}

fn unidentified(table: &TableSchema, what: &str) -> Error {
    Error::schema_drift(format!(
        "the log has {what} of {} that does not tell which row it was",
        table.name
    ))
    .with_hint("its REPLICA IDENTITY was changed: resync the table")
}

#[cfg(test)]
mod tests;
