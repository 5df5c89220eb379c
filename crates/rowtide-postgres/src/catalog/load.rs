//! The catalog queries.

use std::collections::{BTreeSet, HashMap};

use rowtide_core::{Result, TableName};
use tokio_postgres::Row;

use super::{CatalogColumn, CatalogTable, Published};
use crate::client::{Sql, get};
use crate::types::{AttributeRow, TypeMap, TypeRow};

const TABLES: &str = "\
SELECT c.oid, n.nspname::text, c.relname::text, c.relkind::text, c.relpersistence::text,
       c.relispartition, c.relreplident::text,
       coalesce(a.amname, 'heap') = 'heap',
       coalesce((SELECT i.indkey::int2[]::int4[] FROM pg_catalog.pg_index i
                 WHERE i.indrelid = c.oid AND i.indisprimary AND i.indisvalid AND i.indimmediate
                 LIMIT 1), '{}'),
       coalesce((SELECT (i.indkey::int2[]::int4[])[0:i.indnkeyatts - 1] FROM pg_catalog.pg_index i
                 WHERE i.indrelid = c.oid AND i.indisreplident AND i.indisvalid AND i.indimmediate
                 LIMIT 1), '{}'),
       coalesce((SELECT i.indnkeyatts::int4 FROM pg_catalog.pg_index i
                 WHERE i.indrelid = c.oid AND i.indisprimary AND i.indisvalid AND i.indimmediate
                 LIMIT 1), 0),
       c.reltuples::float8,
       CASE WHEN c.relkind = 'p' THEN coalesce((
           SELECT pg_catalog.string_agg(DISTINCT l.relreplident::text, '')
           FROM pg_catalog.pg_partition_tree(c.oid) p
           JOIN pg_catalog.pg_class l ON l.oid = p.relid WHERE p.isleaf), '') ELSE '' END,
       c.relfilenode::int8
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_catalog.pg_am a ON a.oid = c.relam
WHERE c.relkind IN ('r', 'p', 'f', 'v', 'm', 'S')
  AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')
  AND n.nspname NOT LIKE 'pg\\_temp\\_%' AND n.nspname NOT LIKE 'pg\\_toast\\_temp\\_%'
  AND ($1::oid[] IS NULL OR c.oid = ANY ($1))
ORDER BY 2, 3";

const COLUMNS: &str = "\
SELECT a.attrelid, a.attnum::int4, a.attname::text, a.atttypid, a.atttypmod,
       coalesce(pg_catalog.format_type(nullif(a.atttypid, 0), a.atttypmod), ''),
       a.attisdropped, a.attgenerated <> '', a.attidentity <> '', a.atthasdef,
       CASE WHEN a.atthasmissing THEN (a.attmissingval::text::text[])[1] END, a.attnotnull,
       a.attgenerated = 's'
FROM pg_catalog.pg_attribute a
WHERE a.attrelid = ANY ($1) AND a.attnum > 0
ORDER BY a.attrelid, a.attnum";

const TYPES: &str = "\
SELECT t.oid, t.typtype::text, t.typname::text, t.typbasetype, t.typtypmod,
       coalesce((SELECT e.oid FROM pg_catalog.pg_type e
                 WHERE e.oid = t.typelem AND e.typarray = t.oid), 0),
       coalesce(pg_catalog.format_type(nullif(t.typbasetype, 0), t.typtypmod), ''),
       t.typdefaultbin IS NOT NULL,
       (SELECT e.extname::text FROM pg_catalog.pg_depend d
        JOIN pg_catalog.pg_extension e ON e.oid = d.refobjid
        WHERE d.classid = 'pg_catalog.pg_type'::regclass AND d.objid = t.oid AND d.deptype = 'e'
          AND d.refclassid = 'pg_catalog.pg_extension'::regclass LIMIT 1)
FROM pg_catalog.pg_type t WHERE t.oid = ANY ($1)";

const ATTRIBUTES: &str = "\
SELECT t.oid, a.attname::text, a.atttypid, a.atttypmod,
       pg_catalog.format_type(a.atttypid, a.atttypmod)
FROM pg_catalog.pg_type t JOIN pg_catalog.pg_attribute a ON a.attrelid = t.typrelid
WHERE t.oid = ANY ($1) AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY t.oid, a.attnum";

const PRINTED: &str = "\
SELECT coalesce(pg_catalog.format_type(t, m), '')
FROM unnest($1::oid[], $2::int4[]) WITH ORDINALITY AS u (t, m, n) ORDER BY n";

/// What the last look at each table saw: without a lock on it, which somebody may hold for long.
const SIZES: &str = "\
SELECT coalesce((
    SELECT sum(l.relpages::int8 + coalesce(t.relpages, 0))
    FROM pg_catalog.pg_class l LEFT JOIN pg_catalog.pg_class t ON t.oid = l.reltoastrelid
    WHERE l.oid = ANY (CASE c.relkind WHEN 'p'
        THEN ARRAY(SELECT p.relid::oid FROM pg_catalog.pg_partition_tree(c.oid) p)
        ELSE ARRAY[c.oid] END)), 0)::int8 * pg_catalog.current_setting('block_size')::int8
FROM unnest($1::oid[]) WITH ORDINALITY AS u (oid, n)
LEFT JOIN pg_catalog.pg_class c ON c.oid = u.oid ORDER BY n";

/// About how many bytes each of `oids` takes, in their order; 0 of those that are not there.
pub(crate) async fn load_sizes(sql: &Sql, oids: &[u32]) -> Result<Vec<u64>> {
    let rows = sql.rows("reading the sizes of tables", SIZES, &[&oids]).await?;
    rows.iter().map(|row| Ok(u64::try_from(get::<i64>(row, 0)?).unwrap_or(0))).collect()
}

/// Every table (without columns), or those of `oids` (with columns).
pub(crate) async fn load_tables(sql: &Sql, oids: Option<&[u32]>) -> Result<Vec<CatalogTable>> {
    let doing = "reading the catalog";
    let rows = sql.rows(doing, TABLES, &[&oids]).await?;
    let mut tables = rows.iter().map(table).collect::<Result<Vec<_>>>()?;
    let Some(oids) = oids else { return Ok(tables) };
    let mut places: HashMap<u32, &mut CatalogTable> =
        tables.iter_mut().map(|table| (table.oid, table)).collect();
    for row in &sql.rows(doing, COLUMNS, &[&oids]).await? {
        if let Some(table) = places.get_mut(&get(row, 0)?) {
            table.columns.push(column(row)?);
        }
    }
    Ok(tables)
}

fn table(row: &Row) -> Result<CatalogTable> {
    let letter =
        |index| -> Result<u8> { Ok(get::<&str>(row, index)?.bytes().next().unwrap_or_default()) };
    let mut primary_key: Vec<i32> = get(row, 8)?;
    let key_columns: i32 = get(row, 10)?;
    primary_key.truncate(usize::try_from(key_columns).unwrap_or(0));
    let rows: f64 = get(row, 11)?;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an estimate, and not negative here"
    )]
    let estimated_rows = (rows >= 0.0).then_some(rows as u64);
    Ok(CatalogTable {
        oid: get(row, 0)?,
        name: TableName::new(get::<&str>(row, 1)?, get::<&str>(row, 2)?),
        kind: letter(3)?,
        persistence: letter(4)?,
        is_partition: get(row, 5)?,
        replica_identity: letter(6)?,
        heap: get(row, 7)?,
        primary_key,
        identity_index: get(row, 9)?,
        leaf_identities: get(row, 12)?,
        estimated_rows,
        storage: u64::try_from(get::<i64>(row, 13)?).ok().filter(|file| *file != 0),
        columns: Vec::new(),
        published: Published::default(),
    })
}

fn column(row: &Row) -> Result<CatalogColumn> {
    Ok(CatalogColumn {
        number: get(row, 1)?,
        name: get(row, 2)?,
        type_oid: get(row, 3)?,
        modifier: get(row, 4)?,
        printed: get(row, 5)?,
        dropped: get(row, 6)?,
        generated: get(row, 7)?,
        identity: get(row, 8)?,
        has_default: get(row, 9)?,
        missing: get(row, 10)?,
        not_null: get(row, 11)?,
        stored: get(row, 12)?,
    })
}

/// Loads the types of `oids` and everything below them into `types`.
pub(crate) async fn load_types(
    sql: &Sql,
    types: &mut TypeMap,
    oids: impl IntoIterator<Item = u32>,
) -> Result<()> {
    let mut wanted: BTreeSet<u32> = oids.into_iter().collect();
    loop {
        wanted.retain(|oid| *oid != 0 && !types.rows.contains_key(oid));
        if wanted.is_empty() {
            return Ok(());
        }
        let list: Vec<u32> = wanted.iter().copied().collect();
        let mut below = BTreeSet::new();
        let mut composites: Vec<u32> = Vec::new();
        for row in &sql.rows("reading types", TYPES, &[&list]).await? {
            let class: &str = get(row, 1)?;
            let (base, element): (u32, u32) = (get(row, 3)?, get(row, 5)?);
            below.extend([base, element]);
            let oid = get(row, 0)?;
            composites.extend((class == "c").then_some(oid));
            types.rows.insert(
                oid,
                TypeRow {
                    class: class.bytes().next().unwrap_or_default(),
                    name: get(row, 2)?,
                    base,
                    base_modifier: get(row, 4)?,
                    element,
                    base_name: get(row, 6)?,
                    has_default: get(row, 7)?,
                    extension: get(row, 8)?,
                    attributes: Vec::new(),
                },
            );
        }
        if !composites.is_empty() {
            below.extend(load_attributes(sql, types, &composites).await?);
        }
        wanted = below;
    }
}

/// Loads the attributes of `composites`; returns their types.
async fn load_attributes(sql: &Sql, types: &mut TypeMap, composites: &[u32]) -> Result<Vec<u32>> {
    let mut below = Vec::new();
    for row in &sql.rows("reading types", ATTRIBUTES, &[&composites]).await? {
        let attribute = AttributeRow {
            name: get(row, 1)?,
            oid: get(row, 2)?,
            modifier: get(row, 3)?,
            printed: get(row, 4)?,
        };
        below.push(attribute.oid);
        if let Some(found) = types.rows.get_mut(&get(row, 0)?) {
            found.attributes.push(attribute);
        }
    }
    Ok(below)
}

/// How the server prints each type with its modifier; `???` for one that is gone.
pub(crate) async fn printed_types(sql: &Sql, types: &[(u32, i32)]) -> Result<Vec<String>> {
    let (oids, modifiers): (Vec<u32>, Vec<i32>) = types.iter().copied().unzip();
    let rows = sql.rows("reading types", PRINTED, &[&oids, &modifiers]).await?;
    rows.iter().map(|row| get(row, 0)).collect()
}
