//! What must be known of a table to change it at random.

use std::collections::HashMap;
use std::sync::Arc;

use rowtide_core::{Result, TableName, TableSchema};
use rowtide_postgres::{identifier, table_name};
use tokio_postgres::Client;

use super::lost;

/// A table with a key.
pub(super) struct Target {
    pub(super) name: TableName,
    /// The quoted names of the key's columns.
    pub(super) key: Vec<String>,
    pub(super) columns: Vec<Column>,
    /// Which part of the table's pages a sample reads, in percent.
    pub(super) sample_percent: f64,
}

/// A column that a statement may set.
pub(super) struct Column {
    /// Its quoted name.
    pub(super) name: String,
    /// The type to cast to.
    pub(super) cast: String,
    /// What values it takes.
    pub(super) kind: String,
    /// A type's modifier: length, or precision and scale.
    pub(super) modifier: i32,
    /// The labels, for an enumeration.
    pub(super) labels: Vec<String>,
    pub(super) in_key: bool,
    pub(super) nullable: bool,
    /// Whether the database fills it when it is left out.
    pub(super) filled: bool,
    /// Whether it may be set at all.
    pub(super) settable: bool,
    /// The table and column it refers to, both quoted.
    pub(super) refers_to: Option<(String, String)>,
}

const COLUMNS: &str = "
WITH RECURSIVE base AS (
    SELECT a.attrelid, a.attnum, a.atttypid AS type, a.atttypmod AS modifier, a.attnotnull AS required
    FROM pg_catalog.pg_attribute a
    WHERE a.attrelid = ANY ($1::oid[]) AND a.attnum > 0 AND NOT a.attisdropped
    UNION ALL
    SELECT b.attrelid, b.attnum, t.typbasetype, t.typtypmod, b.required OR t.typnotnull
    FROM base b JOIN pg_catalog.pg_type t ON t.oid = b.type WHERE t.typtype = 'd'
)
SELECT a.attrelid, a.attname::text, pg_catalog.format_type(a.atttypid, a.atttypmod),
       CASE WHEN t.typtype = 'e' THEN 'enum' ELSE pg_catalog.format_type(t.oid, NULL) END,
       b.modifier, b.required,
       a.atthasdef OR a.attidentity <> '', a.attgenerated <> '' OR a.attidentity = 'a',
       ARRAY(SELECT enumlabel::text FROM pg_catalog.pg_enum e WHERE e.enumtypid = t.oid ORDER BY enumsortorder),
       coalesce(a.attnum = ANY (i.indkey::int2[]), false),
       f.confrelid::regclass::text, fa.attname::text,
       greatest(c.relpages, 1)
FROM base b
JOIN pg_catalog.pg_type t ON t.oid = b.type AND t.typtype <> 'd'
JOIN pg_catalog.pg_attribute a ON a.attrelid = b.attrelid AND a.attnum = b.attnum
JOIN pg_catalog.pg_class c ON c.oid = a.attrelid
LEFT JOIN pg_catalog.pg_index i ON i.indrelid = a.attrelid AND i.indisprimary
LEFT JOIN LATERAL (SELECT * FROM pg_catalog.pg_constraint f
                   WHERE f.conrelid = a.attrelid AND f.contype = 'f' AND f.conkey = ARRAY[a.attnum]
                   LIMIT 1) f ON true
LEFT JOIN pg_catalog.pg_attribute fa ON fa.attrelid = f.confrelid AND fa.attnum = f.confkey[1]
ORDER BY a.attrelid, a.attnum";

/// How many pages a random row is looked for in.
const SAMPLED_PAGES: f64 = 10.0;

/// Reads the columns of those `tables` that have a primary key.
pub(super) async fn load(client: &Client, tables: &[Arc<TableSchema>]) -> Result<Vec<Target>> {
    let keyed: Vec<_> = tables.iter().filter(|table| table.is_keyed()).collect();
    let oids: Vec<u32> = keyed.iter().filter_map(|table| u32::try_from(table.id).ok()).collect();
    let rows = client.query(COLUMNS, &[&oids]).await.map_err(|error| lost(&error))?;
    let mut columns: HashMap<u32, (Vec<Column>, i32)> = HashMap::new();
    for row in rows {
        let found = columns.entry(row.get(0)).or_default();
        found.1 = row.get(12);
        found.0.push(column(&row));
    }
    let target = |table: &&Arc<TableSchema>| {
        let (columns, pages) = columns.remove(&u32::try_from(table.id).ok()?)?;
        let key = columns.iter().filter(|column| column.in_key);
        let key: Vec<_> = key.map(|column| column.name.clone()).collect();
        (!key.is_empty()).then(|| Target {
            name: table.name.clone(),
            key,
            columns,
            sample_percent: (100.0 * SAMPLED_PAGES / f64::from(pages)).min(100.0),
        })
    };
    Ok(keyed
        .iter()
        .copied()
        .filter_map({
            let mut target = target;
            move |table| target(&table)
        })
        .collect())
}

fn column(row: &tokio_postgres::Row) -> Column {
    let refers_to: Option<String> = row.get(10);
    let referred: Option<String> = row.get(11);
    Column {
        name: identifier(row.get(1)),
        cast: row.get(2),
        kind: row.get(3),
        modifier: row.get(4),
        nullable: !row.get::<_, bool>(5),
        filled: row.get(6),
        settable: !row.get::<_, bool>(7),
        labels: row.get(8),
        in_key: row.get(9),
        // The search path is empty, so that `regclass` prints the whole name, quoted.
        refers_to: refers_to.zip(referred.map(|name| identifier(&name))),
    }
}

impl Target {
    /// The quoted name.
    pub(super) fn sql_name(&self) -> String {
        table_name(&self.name)
    }
}
