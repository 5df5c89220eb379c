//! What a restart needs, in schema `_rowtide` of the same database, so that it commits with the
//! data.
//!
//! The documents (`checkpoint`, `identity`, `state`) are what Rowtide reads back; the columns
//! beside them repeat some of it for people.
//!
//! One column says more: `mode` in `_rowtide.tables` is the mode in which the table that stands
//! under the target's name was put there, and NULL until the pipeline put one there. The document
//! is about what is *to be* already while a copy is on its way; only this column tells a table of
//! the pipeline's own from a foreign one, and history from rows that a copy replaces.

use std::sync::Arc;

use rowtide_core::{
    Error, Mode, PipelineState, Result, SourceIdentity, TableName, TablePlan, TableState, ledger,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::link::LockKey;
use super::session::Session;
use crate::client::{Sql, get};

/// The schema that holds Rowtide's own tables.
pub(super) const SCHEMA: &str = "_rowtide";

/// The version of the tables below. A database with a newer one is refused.
const FORMAT: i64 = 1;

const CREATE: &str = "
CREATE TABLE _rowtide.format (version bigint NOT NULL);
CREATE TABLE _rowtide.pipelines (
    pipeline text PRIMARY KEY, fencing_epoch bigint NOT NULL, commits bigint NOT NULL,
    checkpoint text, position text, updated_at timestamptz,
    identity text, last_error text, last_error_at timestamptz);
CREATE TABLE _rowtide.tables (
    pipeline text NOT NULL, source_schema text NOT NULL, source_table text NOT NULL,
    target_schema text NOT NULL, target_table text NOT NULL,
    mode text, phase text NOT NULL, rows_copied bigint NOT NULL, reason text, state text NOT NULL,
    PRIMARY KEY (pipeline, source_schema, source_table));";

/// By target, for whose a target is is asked for every table that is copied.
const INDEX: &str = "CREATE INDEX IF NOT EXISTS tables_target \
     ON _rowtide.tables (target_schema, target_table)";

pub(super) const READING: &str = "reading Rowtide's state in the destination";

/// What says who may write: the writer's number, and how often the row was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Control {
    pub(super) fencing_epoch: i64,
    pub(super) commits: i64,
}

/// Makes the state tables unless they are there. Several may try at once.
pub(super) async fn prepare(sql: &Sql) -> Result<()> {
    if exists(sql).await? && has_ledger(sql).await? {
        return check_format(sql).await;
    }
    let doing = "making Rowtide's state tables in the destination";
    sql.execute(doing, "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE").await?;
    let lock = "SELECT pg_catalog.pg_advisory_xact_lock($1)";
    sql.rows(doing, lock, &[&LockKey::state().number()]).await?;
    if !exists(sql).await? {
        ensure_schema(sql, SCHEMA).await?;
        sql.execute(doing, CREATE).await?;
        sql.rows(doing, "INSERT INTO _rowtide.format VALUES ($1)", &[&FORMAT]).await?;
    }
    for plan in ledger::tables() {
        sql.execute(doing, &ledger_table(&plan)).await?;
    }
    sql.execute(doing, INDEX).await?;
    sql.execute(doing, "COMMIT").await?;
    check_format(sql).await
}

/// Whether all is there that later versions added: an index, and the tables in which Rowtide tells
/// what it did.
pub(super) async fn has_ledger(sql: &Sql) -> Result<bool> {
    let ledger = ledger::tables();
    let ledger = ledger.iter().map(|plan| crate::quote::table_name(&plan.target));
    let names: Vec<String> = ledger.chain(["_rowtide.tables_target".to_owned()]).collect();
    let query = "SELECT pg_catalog.bool_and(pg_catalog.to_regclass(name) IS NOT NULL) \
         FROM pg_catalog.unnest($1::text[]) AS name";
    get(&sql.row(READING, query, &[&names]).await?, 0)
}

fn ledger_table(plan: &TablePlan) -> String {
    let columns: Vec<String> = plan
        .source
        .columns
        .iter()
        .map(|column| format!("{} {}", crate::quote::identifier(column.name()), column.native_type))
        .collect();
    let name = crate::quote::table_name(&plan.target);
    format!("CREATE TABLE IF NOT EXISTS {name} ({})", columns.join(", "))
}

/// Makes the schema `name` unless it is there. Asked first: `IF NOT EXISTS` alone wants the right
/// to make schemas even where there is nothing to make.
pub(super) async fn ensure_schema(sql: &Sql, name: &str) -> Result<()> {
    let doing = format!("making the schema {name:?}");
    let query = "SELECT 1 FROM pg_catalog.pg_namespace WHERE nspname = $1";
    if sql.rows(&doing, query, &[&name]).await?.is_empty() {
        let create = format!("CREATE SCHEMA IF NOT EXISTS {}", crate::quote::identifier(name));
        sql.execute(&doing, &create).await?;
    }
    Ok(())
}

/// Raises the fencing epoch within the open transaction; returns the row as it is then.
pub(super) async fn raise(sql: &Sql, pipeline: &str) -> Result<Control> {
    let raise = "INSERT INTO _rowtide.pipelines AS p (pipeline, fencing_epoch, commits) \
         VALUES ($1, 1, 0) ON CONFLICT (pipeline) DO UPDATE \
         SET fencing_epoch = p.fencing_epoch + 1, commits = p.commits + 1 \
         RETURNING fencing_epoch, commits";
    control_of(&sql.row("becoming the writer of the destination", raise, &[&pipeline]).await?)
}

/// The pipeline's row, locked as `lock` says; `None` if there is none.
pub(super) async fn control(sql: &Sql, pipeline: &str, lock: &str) -> Result<Option<Control>> {
    if !exists(sql).await? {
        return Ok(None);
    }
    let query =
        format!("SELECT fencing_epoch, commits FROM _rowtide.pipelines WHERE pipeline = $1 {lock}");
    let rows = sql.rows(READING, &query, &[&pipeline]).await?;
    rows.first().map(control_of).transpose()
}

fn control_of(row: &Row) -> Result<Control> {
    Ok(Control { fencing_epoch: get(row, 0)?, commits: get(row, 1)? })
}

/// Everything stored of `pipeline`; `None` if nothing is.
pub(super) async fn read(sql: &Sql, pipeline: &str) -> Result<Option<PipelineState>> {
    if !exists(sql).await? {
        return Ok(None);
    }
    check_format(sql).await?;
    // One statement, one snapshot: a commit in between must not be seen by half.
    let query = "SELECT fencing_epoch, checkpoint, identity, \
             (extract(epoch FROM updated_at) * 1000000)::int8, last_error, \
             (extract(epoch FROM last_error_at) * 1000000)::int8, \
             ARRAY(SELECT t.state FROM _rowtide.tables t WHERE t.pipeline = p.pipeline \
                   ORDER BY t.source_schema COLLATE \"C\", t.source_table COLLATE \"C\") \
         FROM _rowtide.pipelines p WHERE pipeline = $1";
    let rows = sql.rows(READING, query, &[&pipeline]).await?;
    let Some(row) = rows.first() else { return Ok(None) };
    let checkpoint: Option<&str> = get(row, 1)?;
    let identity: Option<&str> = get(row, 2)?;
    let at: Option<i64> = get(row, 5)?;
    let error: Option<String> = get(row, 4)?;
    let tables: Vec<String> = get(row, 6)?;
    Ok(Some(PipelineState {
        fencing_epoch: u64::try_from(get::<i64>(row, 0)?).map_err(|_| broken("fencing_epoch"))?,
        checkpoint: checkpoint.map(parse).transpose()?,
        identity: identity.map(parse::<SourceIdentity>).transpose()?,
        updated_at: get(row, 3)?,
        last_error: at.zip(error),
        tables: tables.iter().map(|state| parse(state)).collect::<Result<_>>()?,
    }))
}

/// What [`remember`] runs.
const REMEMBER: &str = "INSERT INTO _rowtide.tables VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) \
     ON CONFLICT (pipeline, source_schema, source_table) DO UPDATE SET \
     target_schema = excluded.target_schema, target_table = excluded.target_table, \
     mode = excluded.mode, phase = excluded.phase, rows_copied = excluded.rows_copied, \
     reason = excluded.reason, state = excluded.state";

/// Remembers `state` inside the open transaction. `made` is the mode in which the pipeline put
/// the table there that stands under the target's name; `None` if it did not put one there.
pub(super) async fn remember(
    session: &mut Session,
    state: &TableState,
    made: Option<Mode>,
) -> Result<()> {
    let pipeline = Arc::clone(&session.pipeline);
    let name = &state.schema.name;
    let doing = format!("remembering the state of {name}");
    let mode = made.map(|mode| document_word(&mode)).transpose()?;
    let rows_copied = i64::try_from(state.rows_copied).unwrap_or(i64::MAX);
    let values: [&(dyn ToSql + Sync); 10] = [
        &&*pipeline,
        &&*name.schema,
        &&*name.name,
        &&*state.target.schema,
        &&*state.target.name,
        &mode,
        &state.phase.as_str(),
        &rows_copied,
        &state.reason,
        &document(state)?,
    ];
    session.query_ready(&doing, REMEMBER, &values).await.map(drop)
}

/// Notes in the state of `plan`'s source, if there is any, that a table was put in place under
/// the target's name.
pub(super) async fn note_made(sql: &Sql, pipeline: &str, plan: &TablePlan) -> Result<()> {
    let (source, target) = (&plan.source.name, &plan.target);
    let mode = document_word(&plan.mode)?;
    let note = "UPDATE _rowtide.tables SET mode = $1 WHERE pipeline = $2 \
         AND source_schema = $3 AND source_table = $4 AND target_schema = $5 AND target_table = $6";
    sql.rows(
        &format!("remembering that {target} was made"),
        note,
        &[&mode, &pipeline, &&*source.schema, &&*source.name, &&*target.schema, &&*target.name],
    )
    .await
    .map(drop)
}

/// Whose a target is: the pipeline and the source table, of those in `_rowtide.tables`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) pipeline: String,
    pub(super) source: TableName,
    pub(super) target: TableName,
    /// The mode in which the pipeline put a table there, if it did.
    pub(super) made: Option<Mode>,
}

/// Everything that is stored of targets.
const OWNERS: &str = "SELECT pipeline, source_schema, source_table, target_schema, target_table, \
     mode FROM _rowtide.tables";

/// The same of the target `$1.$2`.
pub(super) const OWNERS_OF: &str = "SELECT pipeline, source_schema, source_table, target_schema, \
     target_table, mode FROM _rowtide.tables WHERE target_schema = $1 AND target_table = $2 \
     ORDER BY 1, 2, 3";

/// The targets of all pipelines in this database.
pub(super) async fn owners(sql: &Sql) -> Result<Vec<Owner>> {
    if !exists(sql).await? {
        return Ok(Vec::new());
    }
    sql.rows(READING, &format!("{OWNERS} ORDER BY 1, 2, 3"), &[]).await?.iter().map(owner).collect()
}

/// Those called `name`.
pub(super) async fn owners_of(sql: &Sql, name: &TableName) -> Result<Vec<Owner>> {
    if !exists(sql).await? {
        return Ok(Vec::new());
    }
    let rows = sql.rows(READING, OWNERS_OF, &[&&*name.schema, &&*name.name]).await?;
    rows.iter().map(owner).collect()
}

/// Reads a row of [`OWNERS_OF`].
pub(super) fn owner(row: &Row) -> Result<Owner> {
    let text = |at: usize| get::<&str>(row, at);
    let mode: Option<&str> = get(row, 5)?;
    Ok(Owner {
        pipeline: text(0)?.to_owned(),
        source: TableName::new(text(1)?, text(2)?),
        target: TableName::new(text(3)?, text(4)?),
        made: mode.map(|mode| parse(&format!("\"{mode}\""))).transpose()?,
    })
}

/// Whether the database has Rowtide's tables.
pub(super) async fn exists(sql: &Sql) -> Result<bool> {
    let query = "SELECT 1 FROM pg_catalog.pg_class c \
         JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
         WHERE n.nspname = '_rowtide' AND c.relname = 'format'";
    Ok(!sql.rows(READING, query, &[]).await?.is_empty())
}

async fn check_format(sql: &Sql) -> Result<()> {
    let row = sql.row(READING, "SELECT max(version) FROM _rowtide.format", &[]).await?;
    let version: Option<i64> = get(&row, 0)?;
    let version = version.ok_or_else(|| broken("format"))?;
    if version > FORMAT {
        return Err(Error::config(format!(
            "the state in the destination has format {version}; this Rowtide reads up to {FORMAT}"
        ))
        .with_hint("use the newer Rowtide that wrote it"));
    }
    Ok(())
}

/// `value` as the JSON text that is stored.
pub(super) fn document(value: &impl Serialize) -> Result<String> {
    serde_json::to_string(value)
        .map_err(|error| Error::internal("state that is no JSON").with_source(error))
}

fn document_word(value: &impl Serialize) -> Result<String> {
    document(value).map(|text| text.trim_matches('"').to_owned())
}

fn parse<T: DeserializeOwned>(text: &str) -> Result<T> {
    serde_json::from_str(text).map_err(|error| {
        Error::internal("the state in the destination cannot be read").with_source(error)
    })
}

fn broken(what: &str) -> Error {
    Error::internal(format!("the state in the destination lacks {what}"))
}
