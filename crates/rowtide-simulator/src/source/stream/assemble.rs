//! From transactions to the items of a segment.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array};
use rowtide_core::traits::StreamItem;
use rowtide_core::{
    Commit, Error, Op, Remedy, Result, SchemaChange, TableSchema, XidSnapshot, fault,
};

use super::Following;
use crate::log::{Change, Ddl, Effect, KEY, Row, Transaction, WIDTH};
use crate::rows::{Entry, changes};
use crate::scenario::Kind;
use crate::world::World;

/// A segment being built.
pub(super) struct Assembly<'a> {
    world: &'a Arc<World>,
    covered: &'a XidSnapshot,
    items: Vec<StreamItem>,
    pending: BTreeMap<usize, Vec<Entry>>,
}

impl<'a> Assembly<'a> {
    pub(super) fn new(world: &'a Arc<World>, covered: &'a XidSnapshot) -> Self {
        Self { world, covered, items: Vec::new(), pending: BTreeMap::new() }
    }

    /// Takes one statement's changes of `transaction`.
    pub(super) fn take(
        &mut self,
        transaction: &Transaction,
        group: &[Change],
        known: &mut BTreeMap<usize, Following>,
    ) -> Result<()> {
        let mut commit = transaction.name();
        if fault::planted("order-by-change-position") {
            commit.position.0 = transaction.begin;
        }
        let mut truncated = Vec::new();
        let mut ordinal = 0;
        for change in group {
            if !self.is_wanted(transaction, change) {
                continue;
            }
            let Some(following) = known.get_mut(&change.table).filter(|table| !table.stopped)
            else {
                continue;
            };
            if !self.announce(change, following, &commit)? {
                continue;
            }
            ordinal = change.ordinal;
            if matches!(change.effect, Effect::Truncate) {
                self.flush(change.table, known)?;
                truncated.push(self.schema(change.table, change.version)?);
                continue;
            }
            let kind = self.world.lock().log.tables[change.table].spec.kind;
            let entries = entries(change, kind, commit);
            self.pending.entry(change.table).or_default().extend(entries);
            if self.world.decide(2).is_multiple_of(8) {
                self.flush(change.table, known)?;
            }
        }
        if !truncated.is_empty() {
            self.items.push(StreamItem::Truncate { tables: truncated, commit, ordinal });
        }
        Ok(())
    }

    /// Everything, in order per table.
    pub(super) fn finish(mut self, known: &BTreeMap<usize, Following>) -> Result<Vec<StreamItem>> {
        let tables: Vec<usize> = self.pending.keys().copied().collect();
        for table in tables {
            self.flush(table, known)?;
        }
        Ok(self.items)
    }

    fn is_wanted(&self, transaction: &Transaction, change: &Change) -> bool {
        let state = self.world.lock();
        let published = state.published.get(&change.table);
        change.effect.is_logged()
            && published.is_some_and(|published| {
                transaction.commit >= published.from
                    && !published.without.contains(&transaction.xid)
            })
    }

    fn schema(&self, table: usize, version: u32) -> Result<Arc<TableSchema>> {
        let state = self.world.lock();
        let found = state.log.tables.get(table).and_then(|table| table.schema(version));
        found.cloned().ok_or_else(|| Error::internal("a version that never was"))
    }

    fn flush(&mut self, table: usize, known: &BTreeMap<usize, Following>) -> Result<()> {
        if let Some(entries) = self.pending.remove(&table)
            && let Some(following) = known.get(&table)
        {
            let schema = self.schema(table, following.version)?;
            self.items.push(StreamItem::Changes(changes(&schema, &entries)?));
        }
        Ok(())
    }

    /// Announces the layout of `change` if it is another than before; tells whether the change is
    /// to be delivered.
    fn announce(
        &mut self,
        change: &Change,
        following: &mut Following,
        commit: &Commit,
    ) -> Result<bool> {
        if change.version == following.version {
            return Ok(true);
        }
        let in_place = following.fence.as_ref().is_some_and(|fence| fence.covers(commit));
        if in_place || (following.copying && self.covered.covers(commit)) {
            // The copy has it, whatever the table was like at the time.
            return Ok(false);
        }
        let table = change.table;
        if let Some(entries) = self.pending.remove(&table) {
            let schema = self.schema(table, following.version)?;
            self.items.push(StreamItem::Changes(changes(&schema, &entries)?));
        }
        let steps = self.steps(table, following.version, change.version)?;
        let Some(steps) = steps else {
            following.stopped = true;
            let before = self.schema(table, following.version)?;
            let reason = "its columns changed in a way that cannot be followed".to_owned();
            // A new copy cures some tables; others wait for somebody.
            let remedy = if table.is_multiple_of(2) { Remedy::Copy } else { Remedy::Operator };
            let change = SchemaChange::Unsupported { table: before, reason, remedy };
            self.items.push(StreamItem::Schema { change, position: commit.position });
            return Ok(false);
        };
        following.version = change.version;
        let position = commit.position;
        let item = |change| StreamItem::Schema { change, position };
        self.items.extend(steps.into_iter().map(item));
        Ok(true)
    }

    /// The changes from one version to a later one; `None` if they cannot be followed.
    fn steps(&self, table: usize, from: u32, to: u32) -> Result<Option<Vec<SchemaChange>>> {
        if from > to {
            return Ok(None);
        }
        let mut steps = Vec::new();
        for version in from + 1..=to {
            let schema = self.schema(table, version)?;
            let ddl = {
                let state = self.world.lock();
                let versions = &state.log.tables[table].versions;
                versions[version as usize - 1].ddl
            };
            match ddl {
                Some(Ddl::Add { column, fill }) => {
                    let at = schema.index_of(&format!("c{column}"));
                    let column = at.ok_or_else(|| Error::internal("no such column"))?;
                    let fill = fill.map(|fill| Arc::new(Int64Array::from(vec![fill])) as ArrayRef);
                    steps.push(SchemaChange::AddColumn { table: schema, column, fill });
                }
                Some(Ddl::Drop { column }) => {
                    let column = format!("c{column}");
                    steps.push(SchemaChange::DropColumn { table: schema, column });
                }
                Some(Ddl::Retype) | None => return Ok(None),
            }
        }
        Ok(Some(steps))
    }
}

/// What the log shows of a change.
fn entries(change: &Change, kind: Kind, commit: Commit) -> Vec<Entry> {
    let keyless = kind == Kind::Keyless;
    let image = |old: Row| {
        let mut key = [None; WIDTH];
        key[KEY] = old[KEY];
        if keyless { old } else { key }
    };
    let entry = |op, row, unchanged, place: u32| Entry {
        op,
        row,
        unchanged,
        commit,
        ordinal: change.ordinal + place,
    };
    match change.effect {
        Effect::Insert { row, .. } => vec![entry(Op::Insert, row, 0, 0)],
        Effect::Update { old, row, .. } if keyless => {
            vec![entry(Op::MoveOut, old, 0, 0), entry(Op::MoveIn, row, 0, 1)]
        }
        Effect::Update { row, unchanged, .. } => vec![entry(Op::Update, row, unchanged, 0)],
        Effect::Delete { old, .. } => vec![entry(Op::Delete, image(old), 0, 0)],
        Effect::Move { old, row, unchanged, .. } => {
            vec![entry(Op::MoveOut, image(old), 0, 0), entry(Op::MoveIn, row, unchanged, 1)]
        }
        Effect::Truncate | Effect::Add { .. } | Effect::Drop | Effect::Retype => Vec::new(),
    }
}
