//! Composite types that were altered.
//!
//! A table that uses one is not announced again, and rows that nobody touched show the change as
//! well: a new attribute is NULL in them, and a dropped one is gone. So what is described is
//! compared with the catalog when a pipeline is attached, and now and then while it runs. Values
//! that arrive in between and have other attributes than described are refused one by one; those
//! whose attributes only stand for something else are right again once the table has been copied.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rowtide_core::{Result, TableSchema};

use crate::client::{Sql, get};
use crate::types::{Mapping, TypeMap, is_composite};

/// The columns whose type is composite, or might be: domains and arrays of either.
const COLUMNS: &str = "\
SELECT a.attrelid, a.attnum::int4, a.atttypid, a.atttypmod,
       pg_catalog.format_type(a.atttypid, a.atttypmod)
FROM pg_catalog.pg_attribute a
JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
LEFT JOIN pg_catalog.pg_type e ON e.oid = t.typelem AND e.typarray = t.oid
WHERE a.attrelid = ANY ($1) AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
  AND (t.typtype IN ('c', 'd') OR e.typtype IN ('c', 'd'))
ORDER BY a.attrelid, a.attnum";

/// The tables among `tables` that are known to have columns of composite types.
pub(super) fn using<'a>(
    tables: impl IntoIterator<Item = &'a Arc<TableSchema>>,
) -> Vec<Arc<TableSchema>> {
    let uses = |table: &&Arc<TableSchema>| {
        table.columns.iter().any(|column| is_composite(&column.native_type))
    };
    tables.into_iter().filter(uses).cloned().collect()
}

/// The tables among `tables` with a column whose composite type is not what it was when they were
/// described, and what is to be said of it.
pub(super) async fn altered<'a>(
    sql: &Sql,
    tables: impl IntoIterator<Item = &'a TableSchema>,
    mapping: Mapping,
) -> Result<Vec<(&'a TableSchema, String)>> {
    let tables: BTreeMap<u32, &TableSchema> = tables
        .into_iter()
        .filter_map(|table| Some((u32::try_from(table.id).ok()?, table)))
        .collect();
    if tables.is_empty() {
        return Ok(Vec::new());
    }
    let oids: Vec<u32> = tables.keys().copied().collect();
    let rows = sql.rows("reading columns of composite types", COLUMNS, &[&oids]).await?;
    let mut used = BTreeSet::new();
    for row in &rows {
        used.insert(get::<u32>(row, 2)?);
    }
    let mut types = TypeMap::default();
    crate::catalog::load_types(sql, &mut types, used).await?;
    let mut altered = Vec::new();
    for row in &rows {
        let (oid, number, printed): (u32, i32, &str) = (get(row, 2)?, get(row, 1)?, get(row, 4)?);
        let Some(table) = tables.get(&get(row, 0)?) else { continue };
        let known = table.columns.iter().find(|column| column.number == number);
        let Some(known) = known.filter(|_| types.is_composite(oid)) else { continue };
        let (kind, native) = types.describe((oid, get(row, 3)?, printed), mapping);
        if native != known.native_type || kind.data_type() != *known.field.data_type() {
            let name = known.name();
            altered.push((*table, format!("the type {printed} of the column {name} was altered")));
        }
    }
    Ok(altered)
}
