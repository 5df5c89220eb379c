//! Removing what a pipeline made.

use rowtide_core::{Result, TableName, ledger};

use super::link::{Link, LockKey};
use super::standing::standing;
use super::{Place, ddl, load, origin, state};
use crate::quote::table_name;

/// Drops the targets, staging tables and state of `pipeline`, in one transaction; tells what went.
/// Its sessions end first: they could not commit any more.
pub(super) async fn run(place: &Place, pipeline: &str) -> Result<Vec<String>> {
    let doing = format!("removing pipeline {pipeline:?}");
    let link = Link::connect(place, pipeline).await?;
    let sql = &link.sql;
    let mut removed = Vec::new();
    if state::exists(sql).await? {
        sql.execute(&doing, "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE").await?;
        let lock = "SELECT pg_catalog.pg_advisory_xact_lock($1)";
        sql.rows(&doing, lock, &[&LockKey::opening(pipeline).number()]).await?;
        link.end_others(pipeline).await?;
        sql.rows(&doing, lock, &[&LockKey::state().number()]).await?;
        for table in tables_of(&link, pipeline).await? {
            ddl::run(sql, &doing, &format!("DROP TABLE {}", table_name(&table))).await?;
            removed.push(format!("table {table}"));
        }
        if remove_state(&link, pipeline).await? {
            removed.push(format!("the state of pipeline {pipeline:?}"));
        }
        removed.extend(remove_schema(&link).await?);
        sql.execute(&doing, "COMMIT").await?;
    }
    removed.extend(remove_origin(place, &link, pipeline).await?);
    Ok(removed)
}

/// Its targets that stand, and its staging tables.
async fn tables_of(link: &Link, pipeline: &str) -> Result<Vec<TableName>> {
    let mut tables = Vec::new();
    let owners = state::owners(&link.sql).await?;
    let own = |owner: &&state::Owner| owner.pipeline == pipeline && owner.made.is_some();
    for owner in owners.iter().filter(own) {
        if standing(&link.sql, &owner.target).await?.is_some_and(|found| found.kind == b'r') {
            tables.push(owner.target.clone());
        }
    }
    tables.extend(load::staging_tables(&link.sql, &load::staging_prefix(pipeline)).await?);
    Ok(tables)
}

async fn remove_state(link: &Link, pipeline: &str) -> Result<bool> {
    let doing = "removing the state of a pipeline";
    let mut any = false;
    for table in ["tables", "pipelines"] {
        let delete = format!("DELETE FROM _rowtide.{table} WHERE pipeline = $1 RETURNING 1");
        any |= !link.sql.rows(doing, &delete, &[&pipeline]).await?.is_empty();
    }
    for plan in ledger::tables() {
        // An older Rowtide made none.
        if standing(&link.sql, &plan.target).await?.is_none() {
            continue;
        }
        let table = table_name(&plan.target);
        let delete = format!("DELETE FROM {table} WHERE pipeline = $1");
        link.sql.rows(doing, &delete, &[&pipeline]).await?;
    }
    Ok(any)
}

/// Drops Rowtide's schema when no pipeline is left, unless something of the users' needs it.
async fn remove_schema(link: &Link) -> Result<Option<String>> {
    let doing = "removing the schema _rowtide";
    let left = "SELECT 1 FROM _rowtide.pipelines LIMIT 1";
    if !link.sql.rows(doing, left, &[]).await?.is_empty() {
        return Ok(None);
    }
    let ledger: Vec<String> =
        ledger::tables().iter().map(|plan| table_name(&plan.target)).collect();
    let drop = format!(
        "DROP TABLE IF EXISTS {}; \
         DROP TABLE _rowtide.tables, _rowtide.pipelines, _rowtide.format; \
         DROP SCHEMA _rowtide",
        ledger.join(", ")
    );
    match ddl::attempt(&link.sql, doing, &drop).await? {
        Ok(()) => Ok(Some("schema _rowtide".to_owned())),
        Err(refused) => {
            tracing::warn!(error = %refused.error.chain(), "the schema _rowtide stays");
            Ok(None)
        }
    }
}

async fn remove_origin(place: &Place, link: &Link, pipeline: &str) -> Result<Option<String>> {
    let name = origin::name(place, pipeline);
    let doing = "removing the replication origin";
    let find = "SELECT 1 FROM pg_catalog.pg_replication_origin WHERE roname = $1";
    if link.sql.rows(doing, find, &[&name]).await?.is_empty() {
        return Ok(None);
    }
    let drop = "SELECT pg_catalog.pg_replication_origin_drop($1)";
    match link.sql.rows(doing, drop, &[&name]).await {
        Ok(_) => Ok(Some(format!("replication origin {name}"))),
        Err(error) => {
            tracing::warn!(error = %error.chain(), "the replication origin {name} stays");
            Ok(None)
        }
    }
}
