//! What the log does not tell of a table, and what gives it away.
//!
//! No message says that a partition was attached with its rows or detached with them, that a
//! partition alone was truncated (PostgreSQL leaves that out when it publishes by the root), or
//! that a schema change gave existing rows other values. Each leaves a mark in the catalog: the
//! set of partitions, and the number of the file a table's rows lie in, which changes whenever
//! they are written anew. The marks are kept beside the checkpoint and compared at each start, by
//! the guard while the log is read, and whenever the log names a partition that is not known.
//!
//! A file also changes by `VACUUM FULL`, `CLUSTER` and the like, which change nothing else. For a
//! plain table these are told apart by its columns, which only a schema change touches; for a
//! partition they are taken for a `TRUNCATE`: a copy too many, but never a row too many.

mod judge;

use std::collections::{BTreeMap, BTreeSet};

use rowtide_core::Result;
use serde::{Deserialize, Serialize};

use crate::client::{Sql, get};

pub(super) use judge::{Verdict, judge};

/// What a table's rows lie in.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Shape {
    /// The file of the table, or of each part of a partitioned one, by its oid.
    files: BTreeMap<u32, u32>,
    /// Another text whenever a column was altered; of a plain table only.
    columns: Option<String>,
    /// A part that is not logged, or not of this server.
    #[serde(skip)]
    pub(super) unlogged: Option<String>,
    /// The table became a part of another one.
    #[serde(skip)]
    pub(super) is_partition: bool,
    /// The server lets the application update and delete rows that are published.
    #[serde(skip)]
    pub(super) identified: bool,
    #[serde(skip)]
    partitioned: bool,
}

/// The shapes of tables, by their oids.
pub(super) type Shapes = BTreeMap<u32, Shape>;

impl Shape {
    /// The parts of a partitioned table.
    pub(super) fn parts(&self) -> impl Iterator<Item = u32> {
        self.files.keys().copied().filter(|_| self.partitioned)
    }

    /// Why it can no longer be followed, although it could be.
    pub(super) fn unfit_since(&self, now: &Self) -> Option<String> {
        if now.is_partition && !self.is_partition {
            return Some("it became a partition of another table".to_owned());
        }
        if self.identified && !now.identified {
            return Some("its rows are no longer identified".to_owned());
        }
        now.unlogged.clone().filter(|_| self.unlogged.is_none())
    }

    /// Whether it is a partitioned table.
    pub(super) fn is_root(&self) -> bool {
        self.partitioned
    }
}

/// By the catalog alone, which takes no lock that a schema change could be waiting for. A
/// partition that is being detached concurrently is gone already.
const SHAPES: &str = "\
WITH RECURSIVE tree (root, oid) AS (
    SELECT c.oid, c.oid FROM pg_catalog.pg_class c WHERE c.oid = ANY ($1)
    UNION ALL
    SELECT t.root, i.inhrelid FROM tree t
    JOIN pg_catalog.pg_class r ON r.oid = t.oid AND r.relkind = 'p'
    JOIN pg_catalog.pg_inherits i ON i.inhparent = t.oid AND NOT i.inhdetachpending)
SELECT t.root, t.oid, c.relkind::text, c.relpersistence::text, c.relispartition,
       pg_catalog.pg_relation_filenode(c.oid), n.nspname || '.' || c.relname,
       CASE c.relreplident WHEN 'n' THEN false WHEN 'f' THEN true ELSE EXISTS (
           SELECT FROM pg_catalog.pg_index x
           WHERE x.indrelid = c.oid AND x.indisvalid AND x.indimmediate
             AND CASE c.relreplident WHEN 'i' THEN x.indisreplident ELSE x.indisprimary END) END
FROM tree t
JOIN pg_catalog.pg_class c ON c.oid = t.oid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace";

/// Reads the shapes of those of `tables` that exist, without their columns.
pub(super) async fn load(sql: &Sql, tables: &[u32]) -> Result<Shapes> {
    let doing = "reading what tables lie in";
    let mut shapes = Shapes::new();
    for row in &sql.rows(doing, SHAPES, &[&tables]).await? {
        let (root, oid): (u32, u32) = (get(row, 0)?, get(row, 1)?);
        let (kind, persistence): (&str, &str) = (get(row, 2)?, get(row, 3)?);
        let shape =
            shapes.entry(root).or_insert_with(|| Shape { identified: true, ..Shape::default() });
        if root == oid {
            shape.is_partition = get(row, 4)?;
            shape.partitioned = kind == "p";
        }
        if kind == "p" {
            continue;
        }
        shape.identified &= get::<bool>(row, 7)?;
        shape.files.insert(oid, get::<Option<u32>>(row, 5)?.unwrap_or_default());
        let why = match (kind, persistence) {
            ("f", _) => "a foreign table",
            (_, "u") => "unlogged",
            _ => continue,
        };
        let name: String = get(row, 6)?;
        shape.unlogged = Some(match root == oid {
            true => format!("it is {why}"),
            false => format!("its partition {name} is {why}"),
        });
    }
    Ok(shapes)
}

/// Reads, into `shapes`, when columns were last altered.
pub(super) async fn load_columns(sql: &Sql, shapes: &mut Shapes) -> Result<()> {
    let plain = shapes.iter().filter(|(_, shape)| !shape.partitioned);
    let tables: Vec<u32> = plain.map(|(oid, _)| *oid).collect();
    let query = "SELECT a.attrelid, pg_catalog.hashtextextended(pg_catalog.string_agg( \
             a.attnum || ' ' || a.xmin::text, ',' ORDER BY a.attnum), 0)::text \
         FROM pg_catalog.pg_attribute a \
         WHERE a.attrelid = ANY ($1) AND a.attnum > 0 GROUP BY a.attrelid";
    for row in &sql.rows("reading when columns were altered", query, &[&tables]).await? {
        if let Some(shape) = shapes.get_mut(&get::<u32>(row, 0)?) {
            shape.columns = Some(get(row, 1)?);
        }
    }
    Ok(())
}

/// Of which of `roots` the table `part` is a part, if of any.
pub(super) async fn root_of(sql: &Sql, part: u32, roots: &BTreeSet<u32>) -> Result<Option<u32>> {
    let query = "WITH RECURSIVE up (oid) AS (SELECT $1::oid UNION ALL \
             SELECT i.inhparent FROM up u JOIN pg_catalog.pg_inherits i ON i.inhrelid = u.oid \
             WHERE NOT i.inhdetachpending) \
         SELECT u.oid FROM up u";
    let rows = sql.rows("looking up a partition", query, &[&part]).await?;
    let above: Vec<u32> = rows.iter().map(|row| get(row, 0)).collect::<Result<_>>()?;
    Ok(above.into_iter().find(|oid| *oid != part && roots.contains(oid)))
}
