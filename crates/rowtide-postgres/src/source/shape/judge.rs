//! What a difference between two shapes of a table means.

use rowtide_core::Result;

use super::{Shape, Shapes, load_columns};
use crate::client::{Sql, get};

/// What became of a table between two looks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::source) enum Verdict {
    /// Nothing.
    Same,
    /// Something that the log tells of; the shape to compare with from now on.
    Harmless(Shape),
    /// Its rows changed without a message; the shape to compare with from now on.
    Untold(Shape, String),
}

/// Judges the table `oid`, which had the shape `before` and has `now`.
pub(in crate::source) async fn judge(
    sql: &Sql,
    oid: u32,
    before: &Shape,
    now: &Shape,
) -> Result<Verdict> {
    if before.files == now.files {
        return Ok(Verdict::Same);
    }
    if !now.partitioned {
        return plain(sql, oid, before, now).await;
    }
    let now = now.clone();
    let gone = before.files.keys().filter(|part| !now.files.contains_key(part)).count();
    if gone > 0 {
        let why = "a partition was detached or dropped with its rows";
        return Ok(Verdict::Untold(now, why.to_owned()));
    }
    let changed = now
        .files
        .iter()
        .find(|(part, file)| before.files.get(part).is_some_and(|before| before != *file));
    if changed.is_some() {
        let why = "a partition was truncated by itself, or written anew";
        return Ok(Verdict::Untold(now, why.to_owned()));
    }
    let fresh = now.files.iter().filter(|(part, _)| !before.files.contains_key(part));
    for (part, file) in fresh {
        if !began_empty(sql, *part, *file).await? {
            let why = "a partition was attached that may have had rows";
            return Ok(Verdict::Untold(now, why.to_owned()));
        }
    }
    Ok(Verdict::Harmless(now))
}

/// A plain table's file changes by TRUNCATE, which is published, and by VACUUM FULL and others,
/// which keep the rows. Only a schema change touches the columns too.
async fn plain(sql: &Sql, oid: u32, before: &Shape, now: &Shape) -> Result<Verdict> {
    let mut one = Shapes::from([(oid, now.clone())]);
    load_columns(sql, &mut one).await?;
    let now = one.remove(&oid).unwrap_or_default();
    let altered = before.columns.is_some() && before.columns != now.columns;
    Ok(match altered {
        true => {
            let why = "a schema change wrote its rows anew: existing rows may have other values";
            Verdict::Untold(now, why.to_owned())
        }
        false => Verdict::Harmless(now),
    })
}

/// Whether every row that a new partition ever had was told by the log: the very statement that
/// made it made it a partition, and it was not truncated since.
///
/// Attaching a table changes all of its columns in the catalog. So a column that inherits, and is
/// still written as by the command that made the row type, was made so. A table's first file has
/// the number of the table.
async fn began_empty(sql: &Sql, part: u32, file: u32) -> Result<bool> {
    let query = "SELECT EXISTS (SELECT FROM pg_catalog.pg_class c \
         JOIN pg_catalog.pg_type t ON t.oid = c.reltype \
         JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid \
         WHERE c.oid = $1 AND a.attnum > 0 AND a.attinhcount > 0 \
           AND a.xmin = t.xmin AND a.cmin = t.cmin)";
    let made = sql.row("looking up a new partition", query, &[&part]).await?;
    Ok(part == file && get(&made, 0)?)
}
