//! Changes of columns that no row follows yet.
//!
//! The log announces a table's columns before its next row only. So a column that was added,
//! dropped or renamed in a table that nobody writes to would not arrive. What the catalog says is
//! taken for what the log says, once it is certain that the log is there: a look at the catalog,
//! then the end of the log. When everything up to there has been decoded, and the columns are
//! still as they were seen, then whatever made them so lies behind.

use std::collections::BTreeMap;
use std::sync::Arc;

use rowtide_core::{Result, SchemaChange, TableSchema};

use super::PostgresSource;
use super::identity::parse_lsn;
use super::schema_change::{View, compare};
use crate::catalog::{CatalogTable, load_tables, load_types};
use crate::client::{Sql, get};
use crate::protocol::pgoutput::{Relation, RelationColumn};
use crate::types::TypeMap;

/// By table: another text whenever a column was altered.
pub(super) type Marks = BTreeMap<u32, String>;

/// A look at the columns of tables.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Look {
    pub(super) marks: Marks,
    /// What was seen lies below.
    pub(super) position: u64,
}

/// A page of the log begins with one of these, which are not sent until more follows.
const PAGE: u64 = 8192;
const PAGE_HEADERS: [u64; 2] = [24, 40];

impl Look {
    /// Looks at `tables`.
    pub(super) async fn take(sql: &Sql, tables: &[u32]) -> Result<Self> {
        let marks = marks(sql, tables).await?;
        // A transaction that does not wait for its commit to be flushed is visible before: so the
        // end of what is written, not of what is flushed.
        let query = "SELECT (CASE WHEN pg_catalog.pg_is_in_recovery() \
             THEN pg_catalog.pg_last_wal_replay_lsn() \
             ELSE pg_catalog.pg_current_wal_insert_lsn() END)::text";
        let row = sql.row("reading the end of the log", query, &[]).await?;
        let end = parse_lsn(get(&row, 0)?)?;
        let header = PAGE_HEADERS.contains(&(end % PAGE)).then_some(end % PAGE);
        Ok(Self { marks, position: end - header.unwrap_or(0) })
    }
}

async fn marks(sql: &Sql, tables: &[u32]) -> Result<Marks> {
    let query = "SELECT a.attrelid, pg_catalog.hashtextextended(pg_catalog.string_agg( \
             a.attnum || ' ' || a.xmin::text, ',' ORDER BY a.attnum), 0)::text \
         FROM pg_catalog.pg_attribute a \
         WHERE a.attrelid = ANY ($1) AND a.attnum > 0 GROUP BY a.attrelid";
    let rows = sql.rows("reading when columns were altered", query, &[&tables]).await?;
    rows.iter().map(|row| Ok((get(row, 0)?, get(row, 1)?))).collect()
}

/// What changed in each of `known` since the version the decoder has, as far as it was seen in
/// `look` already.
pub(super) async fn changes(
    source: &PostgresSource,
    sql: &Sql,
    (known, look): (&[(u32, Arc<TableSchema>)], &Look),
) -> Result<Vec<(u32, Vec<SchemaChange>)>> {
    let oids: Vec<u32> = known.iter().map(|(oid, _)| *oid).collect();
    let mut tables = load_tables(sql, Some(&oids)).await?;
    source.narrow(sql, &mut tables).await?;
    let known: BTreeMap<u32, &Arc<TableSchema>> =
        known.iter().map(|(oid, schema)| (*oid, schema)).collect();
    let policies = source.policies();
    let mut found = Vec::new();
    for table in tables {
        let Some(schema) = known.get(&table.oid).filter(|schema| !is_same(schema, &table)) else {
            continue;
        };
        let oid = table.oid;
        let relation = announcement(&table);
        let mut types = TypeMap::default();
        load_types(sql, &mut types, relation.columns.iter().map(|column| column.type_oid)).await?;
        let printed = table.replicated().map(|column| column.printed.clone()).collect();
        let view = View { catalog: Some(table), types, printed };
        let changes = compare(schema, &relation, &view, &policies);
        if !changes.is_empty() {
            found.push((oid, changes));
        }
    }
    if found.is_empty() {
        return Ok(found);
    }
    // Read again: what was altered since may lie in what was not decoded yet.
    let oids: Vec<u32> = found.iter().map(|(oid, _)| *oid).collect();
    let now = marks(sql, &oids).await?;
    found.retain(|(oid, _)| now.contains_key(oid) && now.get(oid) == look.marks.get(oid));
    Ok(found)
}

/// Whether nothing speaks for a change: most tables are told apart without a question. What an
/// enum, a composite or a domain is underneath (behind the colon) is looked at elsewhere.
fn is_same(known: &TableSchema, table: &CatalogTable) -> bool {
    let sent = || known.columns.iter().filter(|column| column.text_of().is_none());
    known.name == table.name
        && sent().count() == table.replicated().count()
        && sent().all(|column| {
            table.replicated().any(|found| {
                found.number == column.number
                    && found.name == column.name()
                    && column.native_type.split(": ").next() == Some(found.printed.as_str())
            })
        })
}

/// What the log would announce.
fn announcement(table: &CatalogTable) -> Relation {
    let full = table.replica_identity == b'f';
    let key = match table.replica_identity {
        b'i' => &table.identity_index,
        _ => &table.primary_key,
    };
    let columns = table.replicated().map(|column| RelationColumn {
        key: full || key.contains(&column.number),
        name: column.name.clone(),
        type_oid: column.type_oid,
        type_modifier: column.modifier,
    });
    Relation {
        id: table.oid,
        schema: table.name.schema.to_string(),
        name: table.name.name.to_string(),
        identity: table.replica_identity,
        columns: columns.collect(),
    }
}
