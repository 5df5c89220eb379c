//! What the role may do with a table, and the statement that lets it do what is missing.

use std::collections::HashMap;

use rowtide_core::Result;

use super::PostgresSource;
use crate::catalog::CatalogTable;
use crate::client::{Sql, get};
use crate::quote::{identifier, table_name};

const RIGHTS: &str = "\
SELECT c.oid,
       pg_catalog.has_schema_privilege(c.relnamespace, 'USAGE'),
       pg_catalog.has_table_privilege(c.oid, 'SELECT')
         OR pg_catalog.has_any_column_privilege(c.oid, 'SELECT'),
       pg_catalog.pg_has_role(c.relowner, 'USAGE'),
       pg_catalog.pg_get_userbyid(c.relowner)::text,
       pg_catalog.row_security_active(c.oid),
       EXISTS (SELECT FROM pg_catalog.pg_index i
               WHERE i.indrelid = c.oid AND i.indisprimary AND NOT i.indimmediate)
FROM pg_catalog.pg_class c WHERE c.oid = ANY ($1)";

/// What the role may do with a table.
pub(super) struct Rights {
    schema: bool,
    select: bool,
    owner: bool,
    owned_by: String,
    hidden_rows: bool,
    pub(super) deferrable_key: bool,
}

/// Something that the role may not do.
pub(super) struct Missing {
    pub(super) what: String,
    pub(super) fix: String,
}

/// Looks up what the role may do with each of the tables `oids`.
pub(super) async fn load(sql: &Sql, oids: &[u32]) -> Result<HashMap<u32, Rights>> {
    let rows = sql.rows("reading rights", RIGHTS, &[&oids]).await?;
    let rights = rows.iter().map(|row| {
        let rights = Rights {
            schema: get(row, 1)?,
            select: get(row, 2)?,
            owner: get(row, 3)?,
            owned_by: get(row, 4)?,
            hidden_rows: get(row, 5)?,
            deferrable_key: get(row, 6)?,
        };
        Ok((get(row, 0)?, rights))
    });
    rights.collect()
}

impl Rights {
    /// What is missing to copy `table` and, if `publishing`, to add it to a publication.
    pub(super) fn missing(
        &self,
        source: &PostgresSource,
        table: &CatalogTable,
        publishing: bool,
    ) -> Vec<Missing> {
        let role = identifier(source.options.user());
        let name = table_name(&table.name);
        let mut missing = Vec::new();
        let mut say =
            |what: &str, fix: String| missing.push(Missing { what: what.to_owned(), fix });
        if !self.schema {
            let schema = identifier(&table.name.schema);
            say("its schema may not be used", format!("GRANT USAGE ON SCHEMA {schema} TO {role};"));
        }
        if !self.select {
            say("it may not be read", format!("GRANT SELECT ON {name} TO {role};"));
        }
        if self.hidden_rows {
            let what = "row level security hides rows from the copy, but not from the log";
            say(what, format!("ALTER ROLE {role} BYPASSRLS;"));
        }
        if !self.owner && publishing {
            say(
                &format!("only its owner ({}) may add it to a publication", self.owned_by),
                format!(
                    "as {owner}: CREATE PUBLICATION {publication} FOR TABLE {name} WITH \
                     (publish_via_partition_root = true); then set publication = \"{plain}\"; or \
                     GRANT {owner} TO {role};",
                    owner = identifier(&self.owned_by),
                    publication = identifier(&source.names.publication),
                    plain = source.names.publication,
                ),
            );
        }
        missing
    }
}
