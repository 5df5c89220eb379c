//! What stands in the database under a target's name.

use std::collections::HashMap;

use rowtide_core::{Error, Result, TableName, TablePlan};
use tokio_postgres::Row;

use super::session::Session;
use crate::client::{Sql, get};
use crate::encode::{TargetColumn, accepts};

/// A relation that stands, with what matters to who writes to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Standing {
    pub(super) oid: u32,
    /// `r`elation, `v`iew, `p`artitioned …
    pub(super) kind: u8,
    /// Names and types, as `format_type` prints them, in the table's order.
    pub(super) columns: Vec<(String, String)>,
    /// The name and the columns of the primary key.
    pub(super) primary_key: Option<(String, Vec<String>)>,
    /// A foreign key that changes other rows when one of these goes.
    pub(super) cascade: Option<String>,
    /// Whether something besides the primary key allows only certain rows beside each other.
    pub(super) is_constrained: bool,
}

/// What is asked of relations, with `$which` of them.
macro_rules! asked {
    ($which:literal) => {
        concat!(
            "\
SELECT c.oid, c.relkind::text,
       ARRAY(SELECT a.attname::text FROM pg_catalog.pg_attribute a
             WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum),
       ARRAY(SELECT pg_catalog.format_type(a.atttypid, a.atttypmod)
             FROM pg_catalog.pg_attribute a
             WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum),
       k.conname::text,
       ARRAY(SELECT a.attname::text FROM unnest(k.conkey) WITH ORDINALITY AS u (number, place)
             JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum = u.number
             ORDER BY u.place),
       (SELECT f.conname::text FROM pg_catalog.pg_constraint f
        WHERE f.contype = 'f' AND f.confrelid = c.oid AND f.confdeltype IN ('c', 'n', 'd')
        ORDER BY 1 LIMIT 1),
       n.nspname::text, c.relname::text,
       EXISTS (SELECT FROM pg_catalog.pg_index i WHERE i.indrelid = c.oid
               AND (i.indisunique OR i.indisexclusion) AND NOT i.indisprimary)
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_catalog.pg_constraint k ON k.conrelid = c.oid AND k.contype = 'p'
",
            $which
        )
    };
}

/// One row for the relation called `$1.$2`.
pub(super) const QUERY: &str = asked!("WHERE n.nspname = $1::text AND c.relname = $2::text");

/// One row for each that is there of those called `$1[n].$2[n]`.
const OF_MANY: &str = asked!(
    "JOIN unnest($1::text[], $2::text[]) AS wanted (schema, name)
  ON n.nspname = wanted.schema AND c.relname = wanted.name"
);

/// What stands under `name`; `None` if nothing does.
pub(super) async fn standing(sql: &Sql, name: &TableName) -> Result<Option<Standing>> {
    let doing = format!("looking at {name}");
    let rows = sql.rows(&doing, QUERY, &[&&*name.schema, &&*name.name]).await?;
    rows.first().map(Standing::of).transpose()
}

/// What stands under each of `names`, asked by the writer.
pub(super) async fn standing_pair(
    session: &mut Session,
    names: [&TableName; 2],
) -> Result<[Option<Standing>; 2]> {
    let (schemas, tables) = (names.map(|name| &*name.schema), names.map(|name| &*name.name));
    let (schemas, tables) = (schemas.as_slice(), tables.as_slice());
    let rows = session.query_ready("looking at tables", OF_MANY, &[&schemas, &tables]).await?;
    let mut found = by_name(&rows)?;
    Ok(names.map(|name| found.remove(name)))
}

/// What stands under those of `names` under which something does.
pub(super) async fn standings(
    sql: &Sql,
    names: &[&TableName],
) -> Result<HashMap<TableName, Standing>> {
    let schemas: Vec<&str> = names.iter().map(|name| &*name.schema).collect();
    let tables: Vec<&str> = names.iter().map(|name| &*name.name).collect();
    by_name(&sql.rows("looking at the targets", OF_MANY, &[&schemas, &tables]).await?)
}

/// Reads rows of [`OF_MANY`].
fn by_name(rows: &[Row]) -> Result<HashMap<TableName, Standing>> {
    let one = |row: &Row| {
        let name = TableName::new(get::<&str>(row, 7)?, get::<&str>(row, 8)?);
        Ok((name, Standing::of(row)?))
    };
    rows.iter().map(one).collect()
}

impl Standing {
    /// Reads a row of [`QUERY`].
    pub(super) fn of(row: &Row) -> Result<Self> {
        let kind: &str = get(row, 1)?;
        let names: Vec<String> = get(row, 2)?;
        let types: Vec<String> = get(row, 3)?;
        let key: Option<String> = get(row, 4)?;
        let key_columns: Vec<String> = get(row, 5)?;
        Ok(Self {
            oid: get(row, 0)?,
            kind: kind.bytes().next().unwrap_or_default(),
            columns: names.into_iter().zip(types).collect(),
            primary_key: key.map(|name| (name, key_columns)),
            cascade: get(row, 6)?,
            is_constrained: get(row, 9)?,
        })
    }

    /// The type of the column called `name`.
    pub(super) fn type_of(&self, name: &str) -> Option<&str> {
        let column = self.columns.iter().find(|(standing, _)| standing == name);
        column.map(|(_, kind)| kind.as_str())
    }

    /// Checks that the rows of `plan`, of the types `wanted`, are held as they are.
    ///
    /// # Errors
    /// `Data` naming the column that would change them, or the constraint that would change more
    /// than them.
    pub(super) fn check(&self, plan: &TablePlan, wanted: &[TargetColumn]) -> Result<()> {
        if !matches!(self.kind, b'r' | b'p') {
            return Err(Error::data(format!("{} is no table any more", plan.target))
                .with_hint("drop what stands there, then copy the table again (resync)"));
        }
        for column in wanted {
            match self.type_of(&column.name) {
                Some(standing) if !accepts(standing, column) => {
                    return Err(misfit(plan, standing, column));
                }
                Some(_) => {}
                None => {
                    return Err(Error::data(format!(
                        "table {}: the column {:?} is gone",
                        plan.target, column.name
                    ))
                    .with_hint(
                        "the table was changed by hand: add the column, or copy the table again \
                         (resync)",
                    ));
                }
            }
        }
        match &self.cascade {
            None => Ok(()),
            Some(constraint) => Err(Error::data(format!(
                "table {}: the foreign key {constraint:?} that refers to it would change other \
                 rows when one is replaced, which is done by deleting and inserting",
                plan.target
            ))
            .with_hint("make it ON DELETE NO ACTION DEFERRABLE INITIALLY DEFERRED, or drop it")),
        }
    }

    /// Whether the columns are exactly `wanted`, in any order.
    pub(super) fn is_like(&self, wanted: &[TargetColumn]) -> bool {
        self.columns.len() == wanted.len()
            && wanted.iter().all(|column| {
                self.type_of(&column.name).is_some_and(|standing| accepts(standing, column))
            })
    }
}

/// A column of `plan`'s target does not hold what is to be written to it.
pub(super) fn misfit(plan: &TablePlan, standing: &str, wanted: &TargetColumn) -> Error {
    Error::data(format!(
        "table {}: column {:?} is {standing}, which does not hold every value of {}, the type \
         that table {} has now",
        plan.target, wanted.name, wanted.sql_type, plan.source.name
    ))
    .with_hint(
        "alter the column's type, or give the table a new target, then copy it again (resync)",
    )
}

/// What users hung on a table that would be lost with it: indexes, views, grants, comments …
pub(super) async fn has_attachments(sql: &Sql, oid: u32) -> Result<bool> {
    let query = "\
SELECT c.relacl IS NOT NULL OR c.relrowsecurity OR c.relforcerowsecurity
    OR c.reloptions IS NOT NULL OR c.reltablespace <> 0 OR c.relreplident <> 'd'
    OR c.relkind <> 'r' OR c.relpersistence <> 'p'
    OR c.relowner <> (SELECT r.oid FROM pg_catalog.pg_roles r WHERE r.rolname = current_user)
    OR EXISTS (SELECT FROM pg_catalog.pg_index i WHERE i.indrelid = c.oid AND NOT i.indisprimary)
    OR EXISTS (SELECT FROM pg_catalog.pg_trigger t WHERE t.tgrelid = c.oid)
    OR EXISTS (SELECT FROM pg_catalog.pg_constraint k WHERE k.conrelid = c.oid
               AND k.contype NOT IN ('p', 'n'))
    OR EXISTS (SELECT FROM pg_catalog.pg_constraint k WHERE k.confrelid = c.oid)
    OR EXISTS (SELECT FROM pg_catalog.pg_policy p WHERE p.polrelid = c.oid)
    OR EXISTS (SELECT FROM pg_catalog.pg_rewrite w WHERE w.ev_class = c.oid)
    OR EXISTS (SELECT FROM pg_catalog.pg_depend d
               WHERE d.classid = 'pg_catalog.pg_rewrite'::regclass
               AND d.refclassid = 'pg_catalog.pg_class'::regclass AND d.refobjid = c.oid)
    OR EXISTS (SELECT FROM pg_catalog.pg_description d
               WHERE d.classoid = 'pg_catalog.pg_class'::regclass AND d.objoid = c.oid)
    OR EXISTS (SELECT FROM pg_catalog.pg_seclabel s
               WHERE s.classoid = 'pg_catalog.pg_class'::regclass AND s.objoid = c.oid)
    OR EXISTS (SELECT FROM pg_catalog.pg_publication_rel p WHERE p.prrelid = c.oid)
    OR EXISTS (SELECT FROM pg_catalog.pg_statistic_ext s WHERE s.stxrelid = c.oid)
    OR EXISTS (SELECT FROM pg_catalog.pg_inherits h WHERE c.oid IN (h.inhparent, h.inhrelid))
    OR EXISTS (SELECT FROM pg_catalog.pg_attrdef f WHERE f.adrelid = c.oid)
    OR EXISTS (SELECT FROM pg_catalog.pg_attribute a WHERE a.attrelid = c.oid
               AND a.attnum > 0 AND (a.attacl IS NOT NULL OR a.attoptions IS NOT NULL))
FROM pg_catalog.pg_class c WHERE c.oid = $1";
    let doing = "looking for what hangs on a table";
    let rows = sql.rows(doing, query, &[&oid]).await?;
    rows.first().map_or(Ok(false), |row| get(row, 0))
}
