//! Removing what a pipeline made.

use rowtide_core::Result;

use super::load::staging_prefix;
use super::state;
use crate::error::During;
use crate::ffi::Connection;
use crate::file;
use crate::quote::{Ident, TableRef};

/// Drops the targets, staging tables and state of `pipeline`, in one transaction; tells what went.
/// Its writers cannot commit any more.
pub(super) fn run(connection: &Connection, pipeline: &str) -> Result<Vec<String>> {
    if !state::exists(connection)? {
        return Ok(Vec::new());
    }
    let attempt = || format!("removing pipeline {pipeline:?}");
    let catalog = file::catalog(connection)?;
    connection.execute("BEGIN").during(attempt)?;
    let mut tables: Vec<TableRef> = Vec::new();
    let own = |owner: &&state::Owner| owner.pipeline == pipeline && owner.made.is_some();
    for owner in state::owners(connection, None)?.iter().filter(own) {
        if let Some(standing) = state::table_like(connection, &owner.target)? {
            tables.push(TableRef::new(&catalog, &standing));
        }
    }
    let staging = connection
        .query(
            "SELECT schema_name, table_name FROM duckdb_tables() \
             WHERE database_name = current_database() AND starts_with(table_name, ?)",
            &[staging_prefix(pipeline).as_str().into()],
        )
        .during(attempt)?;
    tables.extend(staging.iter().filter_map(|row| {
        let name = rowtide_core::TableName::new(row[0].text()?, row[1].text()?);
        Some(TableRef::new(&catalog, &name))
    }));
    let mut removed = Vec::new();
    for table in &tables {
        connection.execute(&format!("DROP TABLE IF EXISTS {table}")).during(attempt)?;
        removed.push(format!("table {}.{}", table.schema, table.name));
    }
    // Counting up first makes a writer's open epoch conflict, as it does in `state::Control`.
    connection
        .query(
            "UPDATE _rowtide.pipelines SET commits = commits + 1 WHERE pipeline = ?",
            &[pipeline.into()],
        )
        .during(attempt)?;
    let mut rows = 0;
    for table in ["tables", "pipelines"] {
        let sql = format!("DELETE FROM _rowtide.{} WHERE pipeline = ?", Ident(table));
        rows += connection
            .prepare(&sql)
            .and_then(|mut delete| delete.execute(&[pipeline.into()]))
            .during(attempt)?;
    }
    for plan in rowtide_core::ledger::tables() {
        let table = TableRef::new(&catalog, &plan.target);
        if state::table_like(connection, &plan.target)?.is_some() {
            let sql = format!("DELETE FROM {table} WHERE pipeline = ?");
            connection.query(&sql, &[pipeline.into()]).during(attempt)?;
        }
    }
    if rows > 0 {
        removed.push(format!("the state of pipeline {pipeline:?}"));
    }
    let left = connection.query("SELECT pipeline FROM _rowtide.pipelines", &[]).during(attempt)?;
    if left.is_empty() {
        connection.execute("DROP SCHEMA _rowtide CASCADE").during(attempt)?;
        removed.push("schema _rowtide".to_owned());
    }
    connection.execute("COMMIT").during(attempt)?;
    file::checkpoint(connection)?;
    Ok(removed)
}
