//! From transactions to the items of a segment.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array};
use rowtide_core::traits::StreamItem;
use rowtide_core::{
    Commit, Error, Op, Remedy, Result, SchemaChange, TableSchema, ValuePolicy, XidSnapshot, fault,
};

use super::Following;
use crate::log::{Change, Ddl, Effect, Row, Transaction};
use crate::refusing;
use crate::rows::{Entry, changes};
use crate::scenario::{Kind, TableSpec};
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
            let spec = self.world.lock().log.tables[change.table].spec;
            if fails(change, spec) {
                let following = following.clone();
                self.stop((change.table, &following), &commit, "a value is refused")?;
                if let Some(following) = known.get_mut(&change.table) {
                    following.stopped = true;
                }
                continue;
            }
            let entries = entries(change, spec, commit);
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
        let steps = self.steps(table, following.version, change.version)?;
        let Some(steps) = steps else {
            following.stopped = true;
            let reason = "its columns changed in a way that cannot be followed";
            self.stop((table, following), commit, reason)?;
            return Ok(false);
        };
        if let Some(entries) = self.pending.remove(&table) {
            let schema = self.schema(table, following.version)?;
            self.items.push(StreamItem::Changes(changes(&schema, &entries)?));
        }
        following.version = change.version;
        let position = commit.position;
        let item = |change| StreamItem::Schema { change, position };
        self.items.extend(steps.into_iter().map(item));
        Ok(true)
    }

    /// Says that a table stops, after what came of it before.
    fn stop(
        &mut self,
        (table, following): (usize, &Following),
        commit: &Commit,
        reason: &str,
    ) -> Result<()> {
        let before = self.schema(table, following.version)?;
        if let Some(entries) = self.pending.remove(&table) {
            self.items.push(StreamItem::Changes(changes(&before, &entries)?));
        }
        // A new copy cures some tables; others wait for somebody.
        let remedy = if table.is_multiple_of(2) { Remedy::Copy } else { Remedy::Operator };
        let reason = reason.to_owned();
        let change = SchemaChange::Unsupported { table: before, reason, remedy };
        self.items.push(StreamItem::Schema { change, position: commit.position });
        Ok(())
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
fn entries(change: &Change, spec: TableSpec, commit: Commit) -> Vec<Entry> {
    let keyless = spec.kind == Kind::Keyless;
    let entry = |op, (row, unchanged): (Row, u8), place: u32| {
        let ordinal = change.ordinal + place;
        let (row, replaced) = refusing::replaced(spec, &row, unchanged);
        Entry { op, row, unchanged, commit, ordinal, replaced, refused: None }
    };
    // A row that is kept out is its key alone.
    let refused = |change, (row, unchanged): (Row, u8), place: u32| Entry {
        refused: Some(refusing::refused(spec, (&row, unchanged), change)),
        ..entry(Op::Refuse, (refusing::key_of(&row), 0), place)
    };
    let is_out = |row: &Row, unchanged| refusing::keeps_out(spec, row, unchanged);
    let one = |op, (row, unchanged): (Row, u8)| match is_out(&row, unchanged) {
        true => refused(op, (row, unchanged), 0),
        false => entry(op, (row, unchanged), 0),
    };
    match change.effect {
        Effect::Insert { row, .. } => vec![one(Op::Insert, (row, 0))],
        Effect::Update { old, row, .. } if keyless => {
            let gone = match (is_out(&old, 0), is_out(&row, 0)) {
                (true, _) => refused(Op::Delete, (old, 0), 0),
                (false, true) => entry(Op::Delete, (old, 0), 0),
                (false, false) => entry(Op::MoveOut, (old, 0), 0),
            };
            let come = match (is_out(&row, 0), is_out(&old, 0)) {
                (true, _) => refused(Op::Update, (row, 0), 1),
                (false, true) => entry(Op::Insert, (row, 0), 1),
                (false, false) => entry(Op::MoveIn, (row, 0), 1),
            };
            vec![gone, come]
        }
        Effect::Update { row, unchanged, .. } => vec![one(Op::Update, (row, unchanged))],
        Effect::Delete { old, .. } if keyless => vec![one(Op::Delete, (old, 0))],
        Effect::Delete { old, .. } => {
            vec![entry(Op::Delete, (refusing::key_of(&old), 0), 0)]
        }
        Effect::Move { old, row, unchanged, .. } => {
            let key = (refusing::key_of(&old), 0);
            match is_out(&row, unchanged) {
                true => vec![entry(Op::Delete, key, 0), refused(Op::Update, (row, unchanged), 1)],
                false => {
                    vec![entry(Op::MoveOut, key, 0), entry(Op::MoveIn, (row, unchanged), 1)]
                }
            }
        }
        Effect::Truncate | Effect::Add { .. } | Effect::Drop | Effect::Retype => Vec::new(),
    }
}

/// Whether the table stops at `change`, for it has a value that is refused.
fn fails(change: &Change, spec: TableSpec) -> bool {
    let (row, unchanged) = match &change.effect {
        Effect::Insert { row, .. } => (row, 0),
        Effect::Update { row, unchanged, .. } | Effect::Move { row, unchanged, .. } => {
            (row, *unchanged)
        }
        Effect::Delete { .. } | Effect::Truncate => return false,
        Effect::Add { .. } | Effect::Drop | Effect::Retype => return false,
    };
    spec.policy == Some(ValuePolicy::Fail) && refusing::refuses(spec, row, unchanged)
}
