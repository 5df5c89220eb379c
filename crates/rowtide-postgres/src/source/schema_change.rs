//! What changed between the version of a table that is known and the layout the log announces.
//!
//! The log names columns, not their numbers, and says nothing of defaults; the catalog knows
//! both, but may be ahead of the log. So: columns are matched by name in the log and by number in
//! the catalog, and whatever the two together do not prove to be an added or a dropped column
//! stops the table.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow_array::ArrayRef;
use rowtide_core::{
    Column, Commit, Error, Identity, Offset, Remedy, Result, SchemaChange, TableName, TableSchema,
    ValuePolicies, XidSnapshot,
};

mod texts;
mod widening;

use super::PostgresSource;
use crate::catalog::{CatalogColumn, CatalogTable, load_tables, load_types, printed_types};
use crate::client::{Sql, get};
use crate::protocol::pgoutput::{Relation, RelationColumn};
use crate::types::{Kind, Mapping, TypeMap};
use crate::value::ColumnBuilder;

/// What the catalog says about an announced table.
#[derive(Debug)]
pub(super) struct View {
    pub(super) catalog: Option<CatalogTable>,
    pub(super) types: TypeMap,
    /// How the server prints the types of the announced columns, in their order.
    pub(super) printed: Vec<String>,
}

/// How long a transaction that was decoded may take to become visible.
const VISIBLE: Duration = Duration::from_secs(30);

impl View {
    /// Looks `relation`, as `commit` left it, up. A transaction is decoded a moment before other
    /// sessions see it (longer where it waits for a synchronous standby), so the catalog is read
    /// only once it shows what `commit` did.
    pub(super) async fn load(sql: &Sql, relation: &Relation, commit: &Commit) -> Result<Self> {
        until_visible(sql, &relation.name, commit).await?;
        let catalog = load_tables(sql, Some(&[relation.id])).await?.into_iter().next();
        let mut types = TypeMap::default();
        load_types(sql, &mut types, relation.columns.iter().map(|column| column.type_oid)).await?;
        let list: Vec<_> =
            relation.columns.iter().map(|column| (column.type_oid, column.type_modifier)).collect();
        Ok(Self { catalog, types, printed: printed_types(sql, &list).await? })
    }
}

/// Waits until other sessions see what `commit` did to `table`.
pub(super) async fn until_visible(sql: &Sql, table: &str, commit: &Commit) -> Result<()> {
    let doing = "waiting for a transaction to be visible";
    let query = "SELECT pg_catalog.pg_current_snapshot()::text";
    let began = Instant::now();
    let mut pause = Duration::from_millis(1);
    loop {
        let row = sql.row(doing, query, &[]).await?;
        if XidSnapshot::parse(get(&row, 0)?, Offset(u64::MAX))?.covers(commit) {
            return Ok(());
        }
        if began.elapsed() > VISIBLE {
            return Err(Error::unavailable(format!(
                "the transaction at {} changed {table} and is still not visible",
                commit.position
            ))
            .with_hint("look for a synchronous standby that does not answer"));
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(200));
    }
}

/// The policies that decide how values are described.
#[derive(Debug, Clone)]
pub(super) struct Policies {
    pub(super) mapping: Mapping,
    pub(super) values: ValuePolicies,
}

impl PostgresSource {
    pub(super) fn policies(&self) -> Policies {
        Policies { mapping: self.options.mapping(), values: self.value_policies() }
    }
}

/// The changes that lead from `known` to `relation`, in order; a single unsupported one if they
/// cannot be followed.
pub(super) fn compare(
    known: &Arc<TableSchema>,
    relation: &Relation,
    view: &View,
    policies: &Policies,
) -> Vec<SchemaChange> {
    let comparison = Comparison { relation, view, policies };
    if let Some(reason) = comparison.taken(known) {
        let (table, remedy) = (Arc::clone(known), Remedy::Operator);
        return vec![SchemaChange::Unsupported { table, reason, remedy }];
    }
    match comparison.changes(known) {
        Ok(changes) => changes,
        Err(reason) => vec![SchemaChange::Unsupported {
            table: Arc::clone(known),
            reason,
            remedy: Remedy::Copy,
        }],
    }
}

struct Comparison<'a> {
    relation: &'a Relation,
    view: &'a View,
    policies: &'a Policies,
}

impl Comparison<'_> {
    fn changes(&self, known: &Arc<TableSchema>) -> Result<Vec<SchemaChange>, String> {
        self.check_name(known)?;
        let mut table = Arc::clone(known);
        let mut changes = Vec::new();
        for column in known.columns.iter().filter(|column| column.text_of().is_none()) {
            match self.announced(column.name()) {
                Some((index, announced)) => {
                    if let Some(now) = self.same(known, (column, index), announced)? {
                        table = replaced(&table, &now);
                        changes.push(widened(&table, column));
                    }
                }
                None if let Some(renamed) = self.renamed(known, column) => {
                    let (index, announced) = renamed;
                    let now = self.describe(announced, index, column.number);
                    let wider = self.check_type(known, column, &now)?;
                    let renamed = Column { field: Arc::clone(&now.field), ..column.clone() };
                    table = replaced(&table, if wider { &renamed } else { &now });
                    let at = table.columns.iter().position(|c| c.number == column.number);
                    changes.push(SchemaChange::RenameColumn {
                        table: Arc::clone(&table),
                        column: at.unwrap_or_default(),
                        from: column.name().to_owned(),
                    });
                    if wider {
                        table = replaced(&table, &now);
                        changes.push(widened(&table, column));
                    }
                }
                None => {
                    self.check_dropped(known, column)?;
                    table = without(&table, column.number);
                    let column = column.name().to_owned();
                    changes.push(SchemaChange::DropColumn { table: Arc::clone(&table), column });
                }
            }
        }
        self.check_identity(&table)?;
        let last = known.columns.iter().map(|column| column.number).max().unwrap_or(0);
        let mut used = last;
        for (index, announced) in self.relation.columns.iter().enumerate() {
            if table.index_of(&announced.name).is_some() {
                continue;
            }
            let (column, fill) = self.added(known, (announced, index), last, &mut used)?;
            table = with(&table, column);
            let column = table.columns.len() - 1;
            changes.push(SchemaChange::AddColumn { table: Arc::clone(&table), column, fill });
        }
        self.texts(known, &mut table, &mut changes)?;
        Ok(changes)
    }

    fn announced(&self, name: &str) -> Option<(usize, &RelationColumn)> {
        self.relation.columns.iter().enumerate().find(|(_, column)| column.name == name)
    }

    fn catalog(&self) -> &[CatalogColumn] {
        self.view.catalog.as_ref().map_or(&[], |table| &table.columns)
    }

    fn check_name(&self, known: &TableSchema) -> Result<(), String> {
        let (schema, name) = (&self.relation.schema, &self.relation.name);
        if *known.name.schema == **schema && *known.name.name == **name {
            return Ok(());
        }
        Err(format!("it was renamed to {schema}.{name}"))
    }

    /// Rows must be identified as before.
    fn check_identity(&self, known: &TableSchema) -> Result<(), String> {
        let full = self.relation.identity == b'f';
        let flagged = || self.relation.columns.iter().filter(|column| column.key);
        match known.identity {
            Identity::None => Ok(()),
            Identity::FullRow if full => Ok(()),
            Identity::FullRow => Err("its REPLICA IDENTITY is no longer FULL".to_owned()),
            Identity::Key => {
                let key: Vec<&str> = known
                    .key
                    .iter()
                    .filter_map(|&at| known.columns.get(at))
                    .map(Column::name)
                    .collect();
                let all_flagged =
                    key.iter().all(|name| flagged().any(|column| column.name == *name));
                if !all_flagged || (!full && flagged().count() != key.len()) {
                    return Err("its key or its REPLICA IDENTITY changed".to_owned());
                }
                // Under FULL every column is flagged: only the catalog knows the key.
                match &self.view.catalog {
                    Some(catalog) if full && !same_key(known, catalog) => {
                        Err("its key changed or was dropped (REPLICA IDENTITY is FULL)".to_owned())
                    }
                    _ => Ok(()),
                }
            }
        }
    }

    /// A column of the same name must be the same column, with the same type or a wider one; tells
    /// what it is now if that is wider.
    fn same(
        &self,
        known: &TableSchema,
        (column, index): (&Column, usize),
        announced: &RelationColumn,
    ) -> Result<Option<Column>, String> {
        let name = column.name();
        let same_name = self.catalog().iter().find(|found| !found.dropped && found.name == name);
        let dropped =
            self.catalog().iter().any(|found| found.number == column.number && found.dropped);
        if same_name.is_some_and(|found| found.number != column.number) {
            return Err(match dropped {
                true => format!("the column {name} was dropped and added again"),
                false => format!("the column {name} is now another one (columns were renamed)"),
            });
        }
        if !self.view.types.rows.contains_key(&announced.type_oid) {
            // The type is gone by now: the values are still those of the known column.
            return Ok(None);
        }
        let now = self.describe(announced, index, column.number);
        Ok(self.check_type(known, column, &now)?.then_some(now))
    }

    /// A column must keep its type, or get a wider one without a row being rewritten; tells
    /// whether it is wider.
    fn check_type(
        &self,
        known: &TableSchema,
        before: &Column,
        after: &Column,
    ) -> Result<bool, String> {
        let (old, new) = (before.field.data_type(), after.field.data_type());
        let meant_alike = after.field.metadata() == before.field.metadata();
        if old == new && meant_alike && after.native_type == before.native_type {
            return Ok(false);
        }
        // The log does not tell USING, but that would have rewritten the rows. The catalog may be
        // ahead of the log: a rewrite that comes later only costs a copy that is due anyway.
        let storage = self.view.catalog.as_ref().and_then(|catalog| catalog.storage);
        let untouched = known.storage.is_some() && known.storage == storage;
        let (from, to) = (&before.native_type, &after.native_type);
        if untouched && meant_alike && widening::holds_more((old, from), (new, to)) {
            return Ok(true);
        }
        let name = before.name();
        Err(format!("the column {name} changed its type from {from} to {to}"))
    }

    /// What a known column is announced as, if the catalog says that it was renamed.
    fn renamed(&self, known: &TableSchema, column: &Column) -> Option<(usize, &RelationColumn)> {
        let found = self.catalog().iter().find(|found| found.number == column.number)?;
        let fresh = known.index_of(&found.name).is_none();
        self.announced(&found.name).filter(|_| fresh && !found.dropped)
    }

    fn describe(&self, announced: &RelationColumn, index: usize, number: i32) -> Column {
        let printed = self.view.printed.get(index).map_or("", String::as_str);
        let type_of = (announced.type_oid, announced.type_modifier, printed);
        let (kind, native_type) = self.view.types.describe(type_of, self.policies.mapping);
        Column { field: Arc::new(kind.field(&announced.name)), native_type, number }
    }

    /// A column that is no longer announced must be gone from the table.
    fn check_dropped(&self, known: &TableSchema, column: &Column) -> Result<(), String> {
        let name = column.name();
        let Some(found) = self.catalog().iter().find(|found| found.number == column.number) else {
            return Err("it was dropped".to_owned());
        };
        if !found.dropped {
            let renamed = found.name != name;
            return Err(match renamed {
                true => format!("the column {name} was renamed to {}", found.name),
                false => format!("the column {name} is no longer published"),
            });
        }
        let is_key = known
            .key
            .iter()
            .any(|&at| known.columns.get(at).is_some_and(|key| key.number == column.number));
        if is_key { Err(format!("the key column {name} was dropped")) } else { Ok(()) }
    }

    /// A new column: its number, and what older rows hold in it.
    fn added(
        &self,
        known: &TableSchema,
        (announced, index): (&RelationColumn, usize),
        last: i32,
        used: &mut i32,
    ) -> Result<(Column, Option<ArrayRef>), String> {
        let name = &announced.name;
        if self.view.catalog.is_none() {
            return Err(format!("the column {name} was added, and the table dropped"));
        }
        let live = self.catalog().iter().find(|found| !found.dropped && found.name == *name);
        let Some(found) = live else {
            // The catalog is ahead: the column was dropped or renamed since. Its number is that of
            // the first newer column that no announced name accounts for.
            let named =
                |found: &CatalogColumn| !found.dropped && self.announced(&found.name).is_some();
            let candidate =
                self.catalog().iter().find(|found| found.number > *used && !named(found));
            let found = candidate
                .ok_or_else(|| format!("the column {name} is not known to the catalog"))?;
            if !found.dropped {
                return Err(format!("the column {name} was added and renamed"));
            }
            if !known.is_keyed() {
                // What is removed is named by all its values, this one included.
                return Err(format!(
                    "the column {name} was added and dropped again: what older rows held in it, \
                     by which they are told apart, is not known"
                ));
            }
            *used = found.number;
            tracing::warn!(
                column = %name,
                "column was added and dropped again; rows older than it show NULL until the drop"
            );
            return Ok((self.describe(announced, index, found.number), None));
        };
        if found.number <= last {
            return Err(format!("the column {name} was renamed, or was not published before"));
        }
        *used = (*used).max(found.number);
        let column = self.describe(announced, index, found.number);
        let fill = self.fill(&known.name, (found, &column))?;
        Ok((column, fill))
    }

    fn fill(
        &self,
        table: &TableName,
        (found, column): (&CatalogColumn, &Column),
    ) -> Result<Option<ArrayRef>, String> {
        let name = &found.name;
        let Some(missing) = &found.missing else {
            let domain = self.view.types.rows.get(&found.type_oid);
            let filled = found.has_default
                || found.identity
                || domain.is_some_and(|domain| domain.class == b'd' && domain.has_default);
            if filled {
                return Err(format!(
                    "the column {name} was added with a default that gives each row its own value \
                     (or was given a default later)"
                ));
            }
            if found.not_null {
                // Its default is gone by now, or older rows were given values before.
                return Err(format!(
                    "the column {name} was added, and is NOT NULL without a default: what older \
                     rows hold in it is not known"
                ));
            }
            return Ok(None);
        };
        let policy = self.policies.values.of(table, name);
        let mut builder = ColumnBuilder::new(&Kind::of(column), policy);
        builder
            .append_text(missing.as_bytes())
            .map_err(|_| format!("the default of the added column {name} cannot be represented"))?;
        Ok(Some(builder.finish()))
    }
}

/// Whether the catalog's key has the same columns, in whatever order.
fn same_key(known: &TableSchema, catalog: &CatalogTable) -> bool {
    let key = known.key.iter().filter_map(|&at| known.columns.get(at));
    let key: BTreeSet<i32> = key.map(|column| column.number).collect();
    key == catalog.key().0.into_iter().collect()
}

fn without(table: &TableSchema, number: i32) -> Arc<TableSchema> {
    let columns = table.columns.iter().filter(|column| column.number != number).cloned().collect();
    next(table, columns)
}

fn with(table: &TableSchema, column: Column) -> Arc<TableSchema> {
    let columns = table.columns.iter().cloned().chain([column]).collect();
    next(table, columns)
}

fn replaced(table: &TableSchema, column: &Column) -> Arc<TableSchema> {
    let one = |known: &Column| match known.number == column.number {
        true => column.clone(),
        false => known.clone(),
    };
    next(table, table.columns.iter().map(one).collect())
}

fn widened(table: &Arc<TableSchema>, before: &Column) -> SchemaChange {
    let at = table.columns.iter().position(|column| column.number == before.number);
    SchemaChange::WidenColumn {
        table: Arc::clone(table),
        column: at.unwrap_or_default(),
        from: before.native_type.clone(),
    }
}

/// The next version, with the key where it now stands.
fn next(table: &TableSchema, columns: Vec<Column>) -> Arc<TableSchema> {
    let key = table
        .key
        .iter()
        .filter_map(|&at| table.columns.get(at))
        .filter_map(|key| columns.iter().position(|column| column.number == key.number))
        .collect();
    let id = (table.id, table.name.clone());
    let next = TableSchema::new(id, table.version + 1, columns, key, table.identity);
    Arc::new(TableSchema { system: table.system.clone(), storage: table.storage, ..next })
}
