//! One followed table as the decoder sees it, and where a change of it goes.

use std::sync::Arc;

use hashbrown::HashMap;
use rowtide_core::traits::StreamItem;
use rowtide_core::{Commit, Fence, Remedy, Result, SchemaChange, TableSchema};

use crate::protocol::Malformed;
use crate::source::table_buffer::TableBuffer;

/// A table that is followed.
#[derive(Debug)]
pub(super) struct Followed {
    pub(super) schema: Arc<TableSchema>,
    /// Present once the log has said how its rows are laid out.
    pub(super) buffer: Option<TableBuffer>,
    /// Cannot be followed any more; its changes are dropped.
    pub(super) stopped: bool,
    /// Its copy is not in place yet.
    pub(super) copying: bool,
    /// What its copy contains, if that is in place.
    pub(super) fence: Option<Fence>,
    /// The log's layout is older than the one that is copied: there is no buffer.
    pub(super) older: bool,
}

pub(super) const CHANGED_BEFORE_COPY: &str = "its columns changed before its copy began";

impl Followed {
    pub(super) fn new(schema: Arc<TableSchema>) -> Self {
        let (stopped, copying, older) = (false, false, false);
        Self { schema, buffer: None, stopped, copying, fence: None, older }
    }

    /// Whether the table's copy has what `commit` did; `in_copies` says so of copies to come.
    pub(super) fn has(&self, commit: &Commit, in_copies: bool) -> bool {
        (self.copying && in_copies) || self.fence.as_ref().is_some_and(|fence| fence.covers(commit))
    }

    /// The rows since the last batch.
    pub(super) fn flush(&mut self) -> Result<Option<StreamItem>> {
        let batch = self.buffer.as_mut().map(TableBuffer::take).transpose()?.flatten();
        Ok(batch.map(StreamItem::Changes))
    }

    pub(super) fn stop(&mut self, reason: &str, remedy: Remedy) -> SchemaChange {
        self.stopped = true;
        self.buffer = None;
        let table = Arc::clone(&self.schema);
        SchemaChange::Unsupported { table, reason: reason.to_owned(), remedy }
    }
}

/// Where a change that is being read goes.
pub(super) struct Place<'t> {
    pub(super) tables: &'t mut HashMap<u32, Followed>,
    pub(super) items: &'t mut Vec<StreamItem>,
    pub(super) touched: &'t mut bool,
    /// The copies still to come have the change.
    pub(super) in_copies: bool,
    pub(super) commit: Commit,
}

impl<'t> Place<'t> {
    /// The buffer for a change of `relation`; `None` if the change is not wanted.
    #[inline]
    pub(super) fn buffer(self, relation: u32, len: usize) -> Result<Option<&'t mut TableBuffer>> {
        let Some(table) = self.tables.get_mut(&relation) else { return Ok(None) };
        if table.stopped {
            return Ok(None);
        }
        if table.older {
            if !table.has(&self.commit, self.in_copies) {
                *self.touched = true;
                let change = table.stop(CHANGED_BEFORE_COPY, Remedy::Copy);
                let position = self.commit.position;
                self.items.push(StreamItem::Schema { change, position });
            }
            return Ok(None);
        }
        let buffer = table.buffer.as_mut().ok_or(Malformed("a change of an unannounced table"))?;
        if buffer.is_full(len) {
            self.items.extend(buffer.take()?.map(StreamItem::Changes));
        }
        *self.touched = true;
        Ok(Some(buffer))
    }
}
