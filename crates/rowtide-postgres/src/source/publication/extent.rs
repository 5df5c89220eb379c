//! How much of its tables a publication publishes: which columns, and which rows.
//!
//! The copy must hold what the log will go on with, so both read the same columns and apply the
//! same filter. A publication of this pipeline has neither list nor filter, but the server's
//! version decides whether generated columns are in it.

use std::collections::HashMap;
use std::sync::PoisonError;

use rowtide_core::{Error, Result, TableName, TableSchema};

use super::standing::{Standing, was_away};
use crate::catalog::{CatalogTable, Published};
use crate::client::{Sql, get};
use crate::quote::identifier;
use crate::source::PostgresSource;

/// The first version with column lists and row filters.
const FIRST_WITH_LISTS: i32 = 150_000;
/// The first version that can publish generated columns.
pub(in crate::source) const FIRST_WITH_GENERATED: i32 = 180_000;

impl PostgresSource {
    /// Says of `tables` how much of them is published, or will be.
    pub(in crate::source) async fn narrow(
        &self,
        sql: &Sql,
        tables: &mut [CatalogTable],
    ) -> Result<()> {
        let doing = "reading what publications publish";
        let query = "SELECT pg_catalog.current_setting('server_version_num')::int4, \
             (SELECT pg_catalog.to_jsonb(p) ->> 'pubgencols' FROM pg_catalog.pg_publication p \
              WHERE p.pubname = $1::text::name)";
        let publication = &self.names.publication;
        let row = sql.row(doing, query, &[publication]).await?;
        let (version, generated): (i32, Option<&str>) = (get(&row, 0)?, get(&row, 1)?);
        // One that does not exist yet will be made to publish them.
        let generated = version >= FIRST_WITH_GENERATED && generated.is_none_or(|kind| kind == "s");
        for table in tables.iter_mut() {
            table.published.generated = generated;
        }
        if self.options.publication.is_none() || version < FIRST_WITH_LISTS {
            return Ok(());
        }
        let query = "SELECT t.schemaname::text, t.tablename::text, t.attnames::text[], t.rowfilter \
             FROM pg_catalog.pg_publication_tables t WHERE t.pubname = $1::text::name";
        let mut published = HashMap::new();
        for row in &sql.rows(doing, query, &[publication]).await? {
            let name = TableName::new(get::<&str>(row, 0)?, get::<&str>(row, 1)?);
            let (columns, filter) = (get(row, 2)?, get(row, 3)?);
            published.insert(name, Published { columns, filter, generated });
        }
        for table in tables {
            let generated_too = version >= FIRST_WITH_GENERATED;
            if let Some(Published { columns: Some(columns), .. }) = published.get_mut(&table.name) {
                // Older servers list generated columns too, and send none.
                let sent = |name: &String| {
                    let mut all = table.columns.iter();
                    generated_too || !all.any(|column| column.generated && column.name == *name)
                };
                columns.retain(sent);
            }
            table.published =
                published.remove(&table.name).unwrap_or_else(|| table.published.clone());
        }
        Ok(())
    }

    /// Refuses to compare a table of which the log no longer tells everything: of which a
    /// publication that this pipeline made was narrowed by hand, or whose place in a publication is
    /// another one than when the pipeline was attached, with another filter or list of columns.
    ///
    /// # Errors
    /// `Config` that says so.
    pub(in crate::source) async fn refuse_narrowed(
        &self,
        sql: &Sql,
        table: &TableSchema,
    ) -> Result<()> {
        let oid = u32::try_from(table.id).unwrap_or(0);
        if self.options.publication.is_none() {
            self.refuse_narrowed_own(sql, (oid, &table.name)).await?;
        }
        let before = {
            let attached = self.attached.lock().unwrap_or_else(PoisonError::into_inner);
            attached.as_ref().and_then(|memory| memory.standing.entries.get(&oid).cloned())
        };
        let Some(before) = before else { return Ok(()) };
        let now = Standing::load(sql, &self.names, &[oid]).await?;
        if now.entries.get(&oid).is_none_or(|now| !was_away(&before, now)) {
            return Ok(());
        }
        Err(Error::config(format!(
            "the publication of {} was changed while the pipeline runs: the log may have left out \
             rows or columns since",
            table.name
        ))
        .of_one_table()
        .with_hint("the pipeline looks into it within a minute: verify again then"))
    }

    async fn refuse_narrowed_own(&self, sql: &Sql, (oid, table): (u32, &TableName)) -> Result<()> {
        // Before version 15 there are no such columns.
        let query = "SELECT p.pubname::text, pg_catalog.to_jsonb(r) ->> 'prattrs' IS NOT NULL \
             FROM pg_catalog.pg_publication_rel r \
             JOIN pg_catalog.pg_publication p ON p.oid = r.prpubid \
             WHERE r.prrelid = $1 AND p.pubname = ANY ($2::text[]::name[]) \
               AND (pg_catalog.to_jsonb(r) ->> 'prattrs' IS NOT NULL \
                    OR pg_catalog.to_jsonb(r) ->> 'prqual' IS NOT NULL)";
        let ours: [&str; 2] = [&self.names.publication, &self.names.inserts];
        let doing = "looking for column lists and row filters";
        let rows = sql.rows(doing, query, &[&oid, &ours.as_slice()]).await?;
        let Some(row) = rows.first() else { return Ok(()) };
        let (name, columns): (&str, bool) = (get(row, 0)?, get(row, 1)?);
        let what = if columns { "lists the columns" } else { "filters the rows" };
        Err(Error::config(format!(
            "the publication `{name}`, which this pipeline made, was altered and {what} of {table}: \
             the log leaves changes out, and a comparison would prove nothing"
        ))
        .of_one_table()
        .with_hint(format!(
            "put it back (ALTER PUBLICATION {} SET TABLE …, without a list and WHERE), and copy the \
             table again (resync)",
            identifier(name)
        )))
    }
}
