//! The model database: tables, and a log of transactions some of which others see only after they
//! can already be decoded. It is the oracle too: applying the log directly gives what must be.

mod changes;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow_schema::{DataType, Field};
use rowtide_core::{Column, Commit, Identity, Offset, TableName, TableSchema};

use crate::scenario::{Kind, Spec, TableSpec, Want};
use changes::{alter, fresh, keyless, redefine, touched};

/// One value.
pub(crate) type Cell = Option<i64>;
/// Values by column number; the first place is not used.
pub(crate) type Row = [Cell; WIDTH];
/// One more than the highest column number.
pub(crate) const WIDTH: usize = 8;
/// The key's column.
pub(crate) const KEY: usize = 1;
/// The column that every update sets.
pub(crate) const VALUE: usize = 2;
/// The first column whose values the log may leave out.
pub(crate) const LARGE: usize = 3;

/// What a change did, with whole rows.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Effect {
    Insert {
        id: i64,
        row: Row,
    },
    /// `unchanged` has a bit for each column that the log does not repeat.
    Update {
        id: i64,
        old: Row,
        row: Row,
        unchanged: u8,
    },
    Delete {
        id: i64,
        old: Row,
    },
    Move {
        from: i64,
        to: i64,
        old: Row,
        row: Row,
        unchanged: u8,
    },
    Truncate,
    /// A column that rows of before show with `fill`. The log does not hold this.
    Add {
        column: usize,
        fill: Cell,
    },
    /// A column is gone. The log does not hold this.
    Drop,
    /// A change of the table that cannot be followed. The log does not hold this.
    Retype,
}

impl Effect {
    /// How many places in the order of changes it takes.
    fn width(&self, keyless: bool) -> u32 {
        match self {
            Self::Update { .. } if keyless => 2,
            Self::Move { .. } => 2,
            Self::Add { .. } | Self::Drop | Self::Retype => 0,
            Self::Insert { .. } | Self::Update { .. } | Self::Delete { .. } | Self::Truncate => 1,
        }
    }

    fn is_exclusive(&self) -> bool {
        matches!(self, Self::Truncate | Self::Add { .. } | Self::Drop | Self::Retype)
    }

    /// Whether the log shows it.
    pub(crate) fn is_logged(&self) -> bool {
        !matches!(self, Self::Add { .. } | Self::Drop | Self::Retype)
    }

    fn ids(&self) -> Vec<i64> {
        match *self {
            Self::Insert { id, .. } | Self::Update { id, .. } | Self::Delete { id, .. } => vec![id],
            Self::Move { from, to, .. } => vec![from, to],
            Self::Truncate | Self::Add { .. } | Self::Drop | Self::Retype => Vec::new(),
        }
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Change {
    pub(crate) table: usize,
    /// The version of the table that the row has.
    pub(crate) version: u32,
    pub(crate) ordinal: u32,
    pub(crate) effect: Effect,
}

#[derive(Debug, Clone)]
pub(crate) struct Transaction {
    pub(crate) xid: u32,
    pub(crate) begin: u64,
    pub(crate) commit: u64,
    pub(crate) end: u64,
    pub(crate) changes: Vec<Change>,
    /// From when on others see it.
    pub(crate) visible_at: u64,
}

impl Transaction {
    /// As the stream names it.
    pub(crate) fn name(&self) -> Commit {
        Commit { position: Offset(self.commit), xid: self.xid, committed_at: 0 }
    }
}

/// What led to a version of a table.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Ddl {
    Add { column: usize, fill: Cell },
    Drop { column: usize },
    Retype,
}

#[derive(Debug)]
pub(crate) struct Version {
    pub(crate) schema: Arc<TableSchema>,
    pub(crate) xid: u32,
    pub(crate) ddl: Option<Ddl>,
}

#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) spec: TableSpec,
    pub(crate) exists: bool,
    pub(crate) versions: Vec<Version>,
    rows: BTreeMap<i64, Row>,
    next_row: i64,
}

impl Table {
    pub(crate) fn version(&self) -> u32 {
        u32::try_from(self.versions.len()).unwrap_or(u32::MAX)
    }

    /// The schema of version `version`.
    pub(crate) fn schema(&self, version: u32) -> Option<&Arc<TableSchema>> {
        let at = usize::try_from(version).ok()?.checked_sub(1)?;
        self.versions.get(at).map(|version| &version.schema)
    }

    fn columns(&self) -> Vec<usize> {
        self.versions.last().map(|version| numbers(&version.schema)).unwrap_or_default()
    }

    fn is_retyped(&self) -> bool {
        self.versions.iter().any(|version| matches!(version.ddl, Some(Ddl::Retype)))
    }
}

/// The numbers of a version's columns, in order.
pub(crate) fn numbers(schema: &TableSchema) -> Vec<usize> {
    schema.columns.iter().filter_map(|column| usize::try_from(column.number).ok()).collect()
}

/// Which table a schema or a name is of.
pub(crate) fn index_of(name: &TableName) -> Option<usize> {
    name.name.strip_prefix('t')?.parse().ok()
}

fn schema(table: usize, kind: Kind, columns: &[usize], version: u32) -> Arc<TableSchema> {
    let column = |number: &usize| Column {
        field: Arc::new(Field::new(format!("c{number}"), DataType::Int64, true)),
        native_type: "int8".into(),
        number: i32::try_from(*number).unwrap_or(0),
    };
    let (key, identity) = match kind {
        Kind::Keyless => (Vec::new(), Identity::FullRow),
        Kind::Keyed | Kind::Soft | Kind::Append => (vec![0], Identity::Key),
    };
    let name = TableName::new("public", format!("t{table}"));
    let columns = columns.iter().map(column).collect();
    let id = (1 + table as u64, name);
    Arc::new(TableSchema::new(id, version, columns, key, identity))
}

/// A transaction that has begun and not ended.
#[derive(Debug, Clone, Copy)]
struct Running {
    xid: u32,
    begin: u64,
}

#[derive(Debug)]
pub(crate) struct Log {
    pub(crate) tables: Vec<Table>,
    pub(crate) transactions: Vec<Transaction>,
    slots: [Option<Running>; 3],
    next_xid: u32,
    next_lsn: u64,
    next_value: i64,
}

/// What invisible transactions keep others from touching.
#[derive(Default)]
struct Locks {
    rows: BTreeSet<(usize, i64)>,
    touched: BTreeSet<usize>,
    exclusive: BTreeSet<usize>,
}

impl Log {
    pub(crate) fn new(tables: &[TableSpec]) -> Self {
        let table = |(index, spec): (usize, &TableSpec)| Table {
            spec: *spec,
            exists: !spec.later,
            versions: vec![Version {
                schema: schema(index, spec.kind, &[KEY, VALUE, LARGE], 1),
                xid: 0,
                ddl: None,
            }],
            rows: BTreeMap::new(),
            next_row: 0,
        };
        Self {
            tables: tables.iter().enumerate().map(table).collect(),
            transactions: Vec::new(),
            slots: [None; 3],
            next_xid: 100,
            next_lsn: 1000,
            next_value: 0,
        }
    }

    /// A transaction takes its id.
    pub(crate) fn begin(&mut self, slot: usize) {
        if let Some(place) = self.slots.get_mut(slot).filter(|place| place.is_none()) {
            *place = Some(Running { xid: self.next_xid, begin: self.next_lsn });
            self.next_xid += 1;
            self.next_lsn += 16;
        }
    }

    /// The log grows by something nobody follows.
    pub(crate) fn noise(&mut self) {
        self.next_lsn += 24;
    }

    /// Whatever has begun is rolled back; whatever has committed is seen.
    pub(crate) fn settle(&mut self) {
        self.slots = [None; 3];
        self.transactions.iter_mut().for_each(|transaction| transaction.visible_at = 0);
    }

    /// The end of the log.
    pub(crate) fn end(&self) -> u64 {
        self.next_lsn
    }

    pub(crate) fn next_xid(&self) -> u32 {
        self.next_xid
    }

    /// The transactions that others do not see at `now`.
    pub(crate) fn unseen(&self, now: u64) -> BTreeSet<u32> {
        let late = self.transactions.iter().filter(|t| t.visible_at > now).map(|t| t.xid);
        late.chain(self.slots.iter().flatten().map(|running| running.xid)).collect()
    }

    /// Whether somebody holds `table` alone at `now`.
    pub(crate) fn is_locked(&self, table: usize, now: u64) -> bool {
        self.locks(now).exclusive.contains(&table)
    }

    /// The newest version of `table` that others see.
    pub(crate) fn visible_version(&self, table: usize, now: u64) -> u32 {
        let unseen = self.unseen(now);
        let versions = self.tables.get(table).map_or(&[][..], |table| &table.versions);
        let seen = versions.iter().rposition(|version| !unseen.contains(&version.xid));
        seen.and_then(|at| u32::try_from(at + 1).ok()).unwrap_or(1)
    }

    fn locks(&self, now: u64) -> Locks {
        let mut locks = Locks::default();
        for change in
            self.transactions.iter().filter(|t| t.visible_at > now).flat_map(|t| &t.changes)
        {
            locks.touched.insert(change.table);
            if change.effect.is_exclusive() {
                locks.exclusive.insert(change.table);
            }
            locks.rows.extend(change.effect.ids().into_iter().map(|id| (change.table, id)));
        }
        locks
    }

    /// Commits what `specs` come to; tells whether that was anything.
    pub(crate) fn commit(
        &mut self,
        specs: &[Spec],
        slot: Option<usize>,
        (now, unseen): (u64, u64),
    ) -> bool {
        let locks = self.locks(now);
        let running = slot.and_then(|slot| self.slots.get_mut(slot)).and_then(Option::take);
        let running = running.unwrap_or_else(|| {
            let running = Running { xid: self.next_xid, begin: self.next_lsn };
            self.next_xid += 1;
            running
        });
        let mut changes = Vec::new();
        let mut ordinal = 0;
        for spec in specs {
            self.change(spec, running.xid, &locks, (&mut changes, &mut ordinal));
        }
        if changes.is_empty() {
            return false;
        }
        let commit = self.next_lsn + 40;
        self.next_lsn = commit + 8;
        self.transactions.push(Transaction {
            xid: running.xid,
            begin: running.begin,
            commit,
            end: commit + 8,
            changes,
            visible_at: if unseen == 0 { 0 } else { now + unseen },
        });
        true
    }

    fn change(
        &mut self,
        spec: &Spec,
        xid: u32,
        locks: &Locks,
        (changes, ordinal): (&mut Vec<Change>, &mut u32),
    ) {
        if spec.want == Want::TruncateAll {
            let before = changes.len();
            for (table, found) in self.tables.iter_mut().enumerate() {
                if locks.touched.contains(&table) || !found.exists {
                    continue;
                }
                let version = found.version();
                let effect = Effect::Truncate;
                apply(&mut found.rows, &effect);
                changes.push(Change { table, version, ordinal: *ordinal, effect });
            }
            *ordinal += u32::from(changes.len() > before);
            return;
        }
        let Some(effect) = self.effect(spec, xid, locks) else { return };
        let table = &mut self.tables[spec.table];
        apply(&mut table.rows, &effect);
        let version = table.version();
        changes.push(Change { table: spec.table, version, ordinal: *ordinal, effect });
        *ordinal += effect.width(table.spec.kind == Kind::Keyless);
    }

    /// What `spec` comes to with the rows that are there.
    fn effect(&mut self, spec: &Spec, xid: u32, locks: &Locks) -> Option<Effect> {
        self.next_value += 1;
        let value = self.next_value;
        let table = self.tables.get_mut(spec.table).filter(|table| table.exists)?;
        if locks.exclusive.contains(&spec.table) {
            return None;
        }
        let free = |id: &i64| !locks.rows.contains(&(spec.table, *id));
        let alone = !locks.touched.contains(&spec.table);
        let found = match table.spec.kind {
            Kind::Keyless => {
                let same = |(_, row): &(&i64, &Row)| row[KEY] == Some(spec.key);
                table.rows.iter().filter(same).map(|(id, row)| (*id, *row)).find(|(id, _)| free(id))
            }
            _ => table.rows.get(&spec.key).map(|row| (spec.key, *row)),
        };
        match spec.want {
            Want::Truncate => alone.then_some(Effect::Truncate),
            Want::TruncateAll => None,
            Want::AddColumn { .. } | Want::DropColumn | Want::Retype => {
                let ddl = if alone { alter(table, spec.want, value) } else { None };
                ddl.map(|ddl| redefine(table, spec.table, (xid, ddl)))
            }
            _ if table.spec.kind == Kind::Keyless => keyless(table, spec, found, value),
            Want::Put if found.is_none() => {
                let id = Some(spec.key).filter(free)?;
                Some(Effect::Insert { id, row: fresh(table, spec.key, value) })
            }
            Want::Put => {
                let (id, old) = found.filter(|(id, _)| free(id))?;
                let row = fresh(table, spec.key, value);
                Some(Effect::Update { id, old, row, unchanged: 0 })
            }
            Want::Touch => {
                let (id, old) = found.filter(|(id, _)| free(id))?;
                let (row, unchanged) = touched(table, old, value);
                Some(Effect::Update { id, old, row, unchanged })
            }
            Want::Remove => {
                let (id, old) = found.filter(|(id, _)| free(id))?;
                Some(Effect::Delete { id, old })
            }
            Want::Move { to, keep } => {
                let (from, old) = found.filter(|(id, _)| free(id))?;
                let to = Some(to).filter(|to| free(to) && !table.rows.contains_key(to))?;
                let (mut row, unchanged) = match keep {
                    true => touched(table, old, value),
                    false => (fresh(table, to, value), 0),
                };
                row[KEY] = Some(to);
                Some(Effect::Move { from, to, old, row, unchanged })
            }
        }
    }
}

/// Applies one change to the rows of its table. Values of a dropped column stay: a destination
/// that has not heard of it yet shows them.
pub(crate) fn apply(rows: &mut BTreeMap<i64, Row>, effect: &Effect) {
    match *effect {
        Effect::Insert { id, row } | Effect::Update { id, row, .. } => {
            rows.insert(id, row);
        }
        Effect::Delete { id, .. } => {
            rows.remove(&id);
        }
        Effect::Move { from, to, row, .. } => {
            rows.remove(&from);
            rows.insert(to, row);
        }
        Effect::Truncate => rows.clear(),
        Effect::Add { column, fill } => rows.values_mut().for_each(|row| row[column] = fill),
        Effect::Drop | Effect::Retype => {}
    }
}
