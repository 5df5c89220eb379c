//! From messages to segments: transactions, ordinals, tables. No I/O.
//!
//! Ordinals count messages of every published table, followed or not, and by the message alone:
//! an update takes two if its message has an old row. So a change has the same ordinal in every
//! run, whatever the pipeline follows at the time.

mod followed;
mod rows;

use std::sync::Arc;

use hashbrown::HashMap;
use rowtide_core::traits::{Segment, StreamItem};
use rowtide_core::{
    Checkpoint, Commit, Error, ErrorKind, Fence, Offset, Remedy, Result, SchemaChange,
    SourceIdentity, TableSchema, ValuePolicies, Watermark, XidSnapshot,
};

use followed::Followed;

use super::ddl_events;
use super::history::History;
use super::partition;
use super::table_buffer::{Appended, TableBuffer};
use crate::protocol::Malformed;
use crate::protocol::pgoutput::{Message, Relation, TupleCells};

/// What the caller has to do after a message.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// Nothing.
    Continue,
    /// A transaction ended: a segment may end here.
    Committed,
    /// Look the table up in the catalog, then call [`Decoder::relation`].
    Relation(Relation),
    /// A table that is not followed: it may be a part of one that is.
    Stranger(Relation),
    /// Something was said of schema changes ([`super::ddl_events`]).
    Told(Vec<u8>),
}

/// The state of a stream.
#[derive(Debug)]
pub(super) struct Decoder {
    tables: HashMap<u32, Followed>,
    policies: ValuePolicies,
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
    /// To be stored with what is handed over next.
    identity: Option<SourceIdentity>,
}

impl Decoder {
    pub(super) fn new(
        tables: impl IntoIterator<Item = Arc<TableSchema>>,
        start: u64,
        policies: impl Into<ValuePolicies>,
    ) -> Self {
        let follow = |schema: Arc<TableSchema>| {
            let id = u32::try_from(schema.id).ok()?;
            Some((id, Followed::new(schema)))
        };
        Self {
            tables: tables.into_iter().filter_map(follow).collect(),
            policies: policies.into(),
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
            identity: None,
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
            Message::StreamStart { .. } | Message::StreamStop | Message::StreamCommit { .. } => {
                return Err(Malformed("a streamed transaction was not put together").into());
            }
            Message::Logical { transactional: true, prefix, content }
                if prefix == ddl_events::PREFIX && !self.skipping =>
            {
                return Ok(Event::Told(content.to_vec()));
            }
            // A stream abort without a stream start is a known slip of PostgreSQL 18: it speaks
            // of a transaction that was never sent.
            Message::StreamAbort { .. } | Message::Logical { .. } | Message::Other => {}
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
        Ok(Event::Stranger(relation))
    }

    /// The transaction that is half read.
    pub(super) fn open(&self) -> Option<Commit> {
        self.open
    }

    /// The version of a table that its changes have now.
    pub(super) fn schema(&self, id: u32) -> Option<&Arc<TableSchema>> {
        self.tables.get(&id).map(|table| &table.schema)
    }

    /// Whether changes of the table are still read.
    pub(super) fn reads(&self, id: u32) -> bool {
        self.tables.get(&id).is_some_and(|table| !table.stopped)
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
        self.changed(relation.id, changes)?;
        let Some(table) = self.tables.get_mut(&relation.id) else { return Ok(()) };
        table.older = false;
        table.buffer = match table.stopped {
            true => None,
            false => Some(TableBuffer::new(Arc::clone(&table.schema), relation, &self.policies)?),
        };
        Ok(())
    }

    /// Takes what changed in a table's columns before anybody wrote to it again: the log will
    /// announce them before it does.
    pub(super) fn altered_without_rows(
        &mut self,
        id: u32,
        changes: Vec<SchemaChange>,
    ) -> Result<()> {
        self.changed(id, changes)?;
        if let Some(table) = self.tables.get_mut(&id) {
            table.buffer = None;
        }
        Ok(())
    }

    /// Hands on what changed in a table, behind the rows of before.
    fn changed(&mut self, id: u32, changes: Vec<SchemaChange>) -> Result<()> {
        let position = self.position();
        let Some(table) = self.tables.get_mut(&id) else { return Ok(()) };
        self.items.extend(table.flush()?);
        for change in changes {
            self.touched = true;
            match &change {
                SchemaChange::Unsupported { .. } => table.stopped = true,
                followed => table.schema = Arc::clone(followed.table()),
            }
            self.items.push(StreamItem::Schema { change, position });
        }
        Ok(())
    }

    /// Up to where everything has been decoded, if that is the end of a transaction.
    pub(super) fn settled(&self) -> Option<u64> {
        self.open.is_none().then_some(self.end)
    }

    /// The tables whose columns the log leads to.
    pub(super) fn live(&self) -> impl Iterator<Item = (u32, Arc<TableSchema>)> {
        let live = self.tables.iter().filter(|(_, table)| !table.stopped && !table.older);
        live.map(|(id, table)| (*id, Arc::clone(&table.schema)))
    }

    /// Whether a table's copy was not in place when the stream began.
    pub(super) fn is_copying(&self, id: u32) -> bool {
        self.tables.get(&id).is_some_and(|table| table.copying)
    }

    /// Ends a table that the log alone no longer leads to, if that has not ended already.
    pub(super) fn cut(&mut self, id: u32, reason: &str, remedy: Remedy) -> Result<()> {
        match self.tables.get(&id) {
            Some(table) if !table.stopped => self.stop(id, reason, remedy),
            _ => Ok(()),
        }
    }

    /// Hands `identity` over with the next end of a transaction.
    pub(super) fn remember(&mut self, identity: SourceIdentity) {
        self.identity = Some(identity);
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
            // The copy has the row as it was later: only a copy with a key refuses it.
            Appended::Refused(_) if self.is_old(relation) => self.leave_out(relation),
            Appended::Refused(error) if error.kind() == ErrorKind::SchemaDrift => {
                self.stop(relation, error.message(), Remedy::Copy)
            }
            Appended::Refused(error) => {
                let hint = error.hint().unwrap_or_default();
                let reason = format!("{} ({hint})", error.message());
                self.stop(relation, &reason, Remedy::Operator)
            }
        }
    }

    /// Forgets the half of a row that was taken.
    #[cold]
    fn leave_out(&mut self, relation: u32) -> Result<()> {
        let batch = self.tables.get_mut(&relation).map(Followed::flush).transpose()?.flatten();
        self.items.extend(batch);
        Ok(())
    }

    /// A change that does not tell which row it was: the table's identity was changed.
    #[cold]
    fn unidentified(&mut self, relation: u32, what: &str) -> Result<()> {
        if self.is_old(relation) {
            return Ok(());
        }
        let reason = format!(
            "the log has {what} that does not tell which row it was: its REPLICA IDENTITY was \
             changed"
        );
        self.stop(relation, &reason, Remedy::Copy)
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
        let identity = self.identity.take_if(|_| watermark.is_some());
        Ok(Segment { items, watermark, identity })
    }
}

#[cfg(test)]
mod tests;
