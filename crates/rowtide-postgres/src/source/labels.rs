//! Labels of enums, which somebody may rename.
//!
//! `ALTER TYPE … RENAME VALUE` changes what every row shows that has the label, and no message says
//! so. A label keeps its number in the catalog, so one that has another text than before was
//! renamed. The labels of all enums are kept beside the checkpoint: a column that begins to use one
//! is then known from its first row on.

use std::collections::{BTreeMap, BTreeSet};

use rowtide_core::Result;

use crate::client::{Sql, get};

/// The database's labels by their numbers.
pub(super) type Labels = BTreeMap<u32, String>;

/// Reads the labels of every enum.
pub(super) async fn load(sql: &Sql) -> Result<Labels> {
    let query = "SELECT e.oid, e.enumlabel::text FROM pg_catalog.pg_enum e";
    let rows = sql.rows("reading the labels of enums", query, &[]).await?;
    rows.iter().map(|row| Ok((get(row, 0)?, get(row, 1)?))).collect()
}

/// The numbers of the labels that were renamed.
pub(super) fn renamed(before: &Labels, now: &Labels) -> Vec<u32> {
    let other = |(number, label): &(&u32, &String)| {
        before.get(number).is_some_and(|before| before != *label)
    };
    now.iter().filter(other).map(|(number, _)| *number).collect()
}

/// Which of `tables` have columns of the enums that `labels` belong to: as they are, or in a
/// domain, an array, a range or a composite type; with what happened to them.
pub(super) async fn users(
    sql: &Sql,
    labels: &[u32],
    tables: &[u32],
) -> Result<BTreeMap<u32, String>> {
    // PostgreSQL keeps types from containing themselves only where they are made.
    let query = "\
WITH RECURSIVE using_it (oid) AS (
    SELECT e.enumtypid FROM pg_catalog.pg_enum e WHERE e.oid = ANY ($1)
    UNION
    SELECT outer_type.oid FROM using_it u, LATERAL (
        SELECT t.oid FROM pg_catalog.pg_type t WHERE t.typbasetype = u.oid OR t.typelem = u.oid
        UNION ALL
        SELECT r.rngtypid FROM pg_catalog.pg_range r WHERE r.rngsubtype = u.oid
        UNION ALL
        SELECT m.rngmultitypid FROM pg_catalog.pg_range m WHERE m.rngtypid = u.oid
        UNION ALL
        SELECT c.reltype FROM pg_catalog.pg_attribute a
        JOIN pg_catalog.pg_class c ON c.oid = a.attrelid
        WHERE a.atttypid = u.oid AND NOT a.attisdropped AND c.reltype <> 0) AS outer_type)
SELECT a.attrelid, pg_catalog.min(a.attname::text)
FROM pg_catalog.pg_attribute a
WHERE a.attrelid = ANY ($2) AND a.attnum > 0 AND NOT a.attisdropped
  AND a.atttypid IN (SELECT u.oid FROM using_it u)
GROUP BY a.attrelid";
    let rows = sql.rows("looking up who uses an enum", query, &[&labels, &tables]).await?;
    rows.iter()
        .map(|row| {
            let column: String = get(row, 1)?;
            let why = format!("a label of the enum in its column {column} was renamed");
            Ok((get(row, 0)?, why))
        })
        .collect()
}

/// The tables among `tables` that show other labels now than `before`, and why.
pub(super) async fn affected(
    sql: &Sql,
    (before, now): (&Labels, &Labels),
    tables: impl IntoIterator<Item = u32>,
) -> Result<BTreeMap<u32, String>> {
    let renamed = renamed(before, now);
    if renamed.is_empty() {
        return Ok(BTreeMap::new());
    }
    let tables: Vec<u32> = tables.into_iter().collect::<BTreeSet<_>>().into_iter().collect();
    users(sql, &renamed, &tables).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_that_is_new_or_gone_was_not_renamed() {
        let of = |labels: &[(u32, &str)]| -> Labels {
            labels.iter().map(|(number, label)| (*number, (*label).to_owned())).collect()
        };
        let before = of(&[(1, "sad"), (2, "ok"), (3, "gone")]);
        assert!(renamed(&before, &of(&[(1, "sad"), (2, "ok"), (4, "new")])).is_empty());
        assert_eq!(renamed(&before, &of(&[(1, "ok"), (2, "sad")])), [1, 2]);
        assert!(renamed(&Labels::new(), &before).is_empty());
    }
}
