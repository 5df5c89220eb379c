//! How much of its tables a publication publishes: which columns, and which rows.
//!
//! The copy must hold what the log will go on with, so both read the same columns and apply the
//! same filter. A publication of this pipeline has neither list nor filter, but the server's
//! version decides whether generated columns are in it.

use std::collections::HashMap;

use rowtide_core::{Result, TableName};

use crate::catalog::{CatalogTable, Published};
use crate::client::{Sql, get};
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
}
