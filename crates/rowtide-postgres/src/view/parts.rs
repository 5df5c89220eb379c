//! Where a table's rows are.

use rowtide_core::{Error, Result, TableName};
use tokio_postgres::Row;

use super::Part;
use crate::client::{Sql, get};
use crate::quote::table_name;

/// What is asked of a relation.
const RELATION: &str = "\
SELECT c.oid, c.relkind::text, coalesce(a.amname, 'heap') = 'heap',
       coalesce(pg_catalog.pg_relation_size(c.oid), 0)
           / pg_catalog.current_setting('block_size')::int8,
       pg_catalog.row_security_active(c.oid), n.nspname::text, c.relname::text,
       pg_catalog.has_table_privilege(c.oid, 'SELECT')
           AND pg_catalog.has_schema_privilege(n.oid, 'USAGE')
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_catalog.pg_am a ON a.oid = c.relam";

/// A relation that could be a table.
#[derive(Debug, Clone)]
pub(crate) struct Relation {
    pub(crate) oid: u32,
    kind: u8,
    heap: bool,
    pages: u64,
    hides_rows: bool,
    name: TableName,
    readable: bool,
}

impl Relation {
    fn of(row: &Row) -> Result<Self> {
        Ok(Self {
            oid: get(row, 0)?,
            kind: get::<&str>(row, 1)?.bytes().next().unwrap_or_default(),
            heap: get(row, 2)?,
            pages: u64::try_from(get::<i64>(row, 3)?).unwrap_or(0),
            hides_rows: get(row, 4)?,
            name: TableName::new(get::<&str>(row, 5)?, get::<&str>(row, 6)?),
            readable: get(row, 7)?,
        })
    }

    /// Whether the server tells of each row which transaction wrote it.
    pub(crate) fn names_writers(&self) -> bool {
        self.heap
    }

    /// The relation as it is locked and read.
    pub(crate) fn whole(&self) -> String {
        let only = if self.kind == b'p' { "" } else { "ONLY " };
        format!("{only}{}", table_name(&self.name))
    }

    fn part(&self) -> Part {
        let paged = self.kind == b'r' && self.heap;
        Part { name: self.whole(), pages: paged.then_some(self.pages) }
    }
}

/// What stands under `name`.
///
/// # Errors
/// `SchemaDrift` if nothing does; `Access` if it shows other rows than it has, or other relations'.
pub(crate) async fn find(sql: &Sql, name: &TableName) -> Result<Relation> {
    let query = format!("{RELATION} WHERE n.nspname = $1::text AND c.relname = $2::text");
    let doing = format!("looking at {name}");
    let rows = sql.rows(&doing, &query, &[&&*name.schema, &&*name.name]).await?;
    let Some(row) = rows.first() else {
        return Err(Error::schema_drift(format!("the table {name} was dropped or renamed"))
            .of_one_table()
            .with_hint("take it out of the pipeline, or copy it again under its new name"));
    };
    let found = Relation::of(row)?;
    let stands = match found.kind {
        b'r' | b'p' => None,
        b'v' => Some("a view"),
        b'm' => Some("a materialized view"),
        b'f' => Some("a foreign table"),
        _ => Some("no table"),
    };
    if let Some(stands) = stands {
        return Err(Error::access(format!(
            "{name} is {stands}: what it shows is not the rows of the table that is replicated"
        ))
        .of_one_table()
        .with_hint("put the table back in its place, or take it out of the pipeline"));
    }
    if found.hides_rows {
        return Err(Error::access(format!(
            "row level security hides rows of {name} from the role that looks at it"
        ))
        .of_one_table()
        .with_hint("ALTER ROLE … BYPASSRLS, or connect as the table's owner"));
    }
    Ok(found)
}

/// The parts of `relation` that can be read one by one: a partitioned table's leaves, if each of
/// them may be read.
pub(crate) async fn parts_of(sql: &Sql, relation: &Relation) -> Result<Vec<Part>> {
    if relation.kind != b'p' {
        return Ok(vec![relation.part()]);
    }
    let query = format!(
        "{RELATION} JOIN pg_catalog.pg_partition_tree($1::oid) p ON p.relid = c.oid WHERE p.isleaf"
    );
    let doing = format!("looking at {}", relation.name);
    let leaves = sql.rows(&doing, &query, &[&relation.oid]).await?;
    let leaves: Vec<Relation> = leaves.iter().map(Relation::of).collect::<Result<_>>()?;
    let alone = |leaf: &Relation| leaf.kind == b'r' && leaf.readable && !leaf.hides_rows;
    match !leaves.is_empty() && leaves.iter().all(alone) {
        true => Ok(leaves.iter().map(Relation::part).collect()),
        false => Ok(vec![relation.part()]),
    }
}
