//! What a restart needs, in schema `_rowtide` of the same file, so that it commits with the data.
//!
//! The documents (`checkpoint`, `identity`, `state`) are what Rowtide reads back; the columns
//! beside them repeat some of it for people. Times are in UTC.
//!
//! One column says more: `mode` in `_rowtide.tables` is the mode in which the table that stands
//! under the target's name was put there, and NULL until the pipeline put one there. The document
//! is about what is *to be* already while a copy is on its way; only this column tells a table of
//! the pipeline's own from a foreign one, and history from rows that a copy replaces.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use rowtide_core::{Error, Mode, PipelineState, Result, SourceIdentity, TableName, TableState};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::session::Session;
use crate::error::During;
use crate::ffi::{self, Cell, Connection, Value};
use crate::file;
use crate::quote::fold;

/// The schema that holds Rowtide's own tables.
pub(crate) const SCHEMA: &str = "_rowtide";

/// The version of the tables below. A file with a newer one is refused.
const FORMAT: i64 = 1;

const CREATE: &str = "
CREATE SCHEMA IF NOT EXISTS _rowtide;
CREATE TABLE IF NOT EXISTS _rowtide.format (version BIGINT);
CREATE TABLE IF NOT EXISTS _rowtide.pipelines (
    pipeline VARCHAR, fencing_epoch BIGINT, commits BIGINT,
    checkpoint VARCHAR, position VARCHAR, updated_at TIMESTAMP,
    identity VARCHAR, last_error VARCHAR, last_error_at TIMESTAMP);
CREATE TABLE IF NOT EXISTS _rowtide.tables (
    pipeline VARCHAR, source_schema VARCHAR, source_table VARCHAR,
    target_schema VARCHAR, target_table VARCHAR,
    mode VARCHAR, phase VARCHAR, rows_copied BIGINT, reason VARCHAR, state VARCHAR);";

/// Writers of one process raise their epochs one after the other.
static RAISING: Mutex<()> = Mutex::new(());

/// What a pipeline's row in `_rowtide.pipelines` holds.
///
/// Whoever changes the row counts `commits` up: DuckDB sees a conflict between two transactions
/// only if they update the same *column* of a row, and this is the one that all of them update.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Control {
    pub(super) fencing_epoch: i64,
    pub(super) commits: i64,
    pub(super) checkpoint: Option<String>,
}

/// Becomes the one writer of `pipeline`, durably: makes the state tables and the pipeline's row
/// if need be, and raises the fencing epoch. Returns the row.
pub(super) fn raise_epoch(connection: &Connection, pipeline: &str) -> Result<Control> {
    let _guard = RAISING.lock().unwrap_or_else(PoisonError::into_inner);
    let fresh = !exists(connection)?;
    if !fresh {
        check_format(connection)?;
    }
    file::when_free(|| {
        let raised = raise(connection, pipeline, fresh);
        if raised.is_err() {
            // Without an open transaction this fails in its turn, which changes nothing.
            let _ = connection.execute("ROLLBACK");
        }
        raised
    })
    .during(|| "becoming the writer of the DuckDB database".to_owned())?;
    if fresh {
        file::checkpoint(connection)?;
    }
    control(connection, pipeline)?.ok_or_else(|| Error::internal("the pipeline's row is missing"))
}

fn raise(connection: &Connection, pipeline: &str, fresh: bool) -> ffi::Result<()> {
    connection.execute("BEGIN")?;
    if fresh {
        connection.execute(CREATE)?;
        connection.query("INSERT INTO _rowtide.format VALUES (?)", &[FORMAT.into()])?;
    }
    let raised = connection
        .prepare(
            "UPDATE _rowtide.pipelines SET fencing_epoch = fencing_epoch + 1, \
             commits = commits + 1 WHERE pipeline = ?",
        )?
        .execute(&[pipeline.into()])?;
    if raised == 0 {
        let sql =
            "INSERT INTO _rowtide.pipelines (pipeline, fencing_epoch, commits) VALUES (?, 1, 0)";
        connection.query(sql, &[pipeline.into()])?;
    }
    connection.execute("COMMIT").map(drop)
}

/// The pipeline's row; `None` if there is none.
pub(super) fn control(connection: &Connection, pipeline: &str) -> Result<Option<Control>> {
    let sql =
        "SELECT fencing_epoch, commits, checkpoint FROM _rowtide.pipelines WHERE pipeline = ?";
    let rows = connection.query(sql, &[pipeline.into()]).during(reading)?;
    rows.first()
        .map(|row| {
            Ok(Control {
                fencing_epoch: number(&row[0])?,
                commits: number(&row[1])?,
                checkpoint: row[2].text().map(str::to_owned),
            })
        })
        .transpose()
}

/// Everything stored of `pipeline`; `None` if nothing is.
pub(super) fn read(connection: &Connection, pipeline: &str) -> Result<Option<PipelineState>> {
    if !exists(connection)? {
        return Ok(None);
    }
    check_format(connection)?;
    let sql = "SELECT fencing_epoch, checkpoint, identity, epoch_us(updated_at), last_error, \
               epoch_us(last_error_at) FROM _rowtide.pipelines WHERE pipeline = ?";
    let rows = connection.query(sql, &[pipeline.into()]).during(reading)?;
    let Some(row) = rows.first() else { return Ok(None) };
    let sql = "SELECT state FROM _rowtide.tables WHERE pipeline = ? \
               ORDER BY source_schema, source_table";
    let tables = connection.query(sql, &[pipeline.into()]).during(reading)?;
    Ok(Some(PipelineState {
        fencing_epoch: u64::try_from(number(&row[0])?).map_err(|_| broken("fencing_epoch"))?,
        checkpoint: row[1].text().map(parse).transpose()?,
        identity: row[2].text().map(parse::<SourceIdentity>).transpose()?,
        updated_at: row[3].int(),
        last_error: row[5].int().zip(row[4].text().map(str::to_owned)),
        tables: tables
            .iter()
            .map(|row| row[0].text().ok_or_else(|| broken("state")).and_then(parse))
            .collect::<Result<_>>()?,
    }))
}

/// What [`remember`] runs.
const UPDATE: &str = "UPDATE _rowtide.tables SET target_schema = $4, target_table = $5, \
     mode = $6, phase = $7, rows_copied = $8, reason = $9, state = $10 \
     WHERE pipeline = $1 AND source_schema = $2 AND source_table = $3";
const INSERT: &str = "INSERT INTO _rowtide.tables VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";

/// Remembers `state` inside the open transaction. `made` is the mode in which the pipeline put
/// the table there that stands under the target's name; `None` if it did not put one there.
/// `is_new` says that nothing is stored of the table for certain.
pub(super) fn remember(
    session: &mut Session,
    state: &TableState,
    (made, is_new): (Option<Mode>, bool),
) -> Result<()> {
    let attempt = || format!("remembering the state of {}", state.schema.name);
    let name = &state.schema.name;
    let document = document(state)?;
    let mode = made.map(|mode| document_word(&mode)).transpose()?;
    let rows_copied = i64::try_from(state.rows_copied).unwrap_or(i64::MAX);
    let pipeline = Arc::clone(&session.pipeline);
    let values: [Value<'_>; 10] = [
        (&*pipeline).into(),
        (&*name.schema).into(),
        (&*name.name).into(),
        (&*state.target.schema).into(),
        (&*state.target.name).into(),
        mode.as_deref().into(),
        state.phase.as_str().into(),
        rows_copied.into(),
        state.reason.as_deref().into(),
        document.as_str().into(),
    ];
    let updated = match is_new {
        true => 0,
        false => session.run_prepared(UPDATE, &values).during(attempt)?,
    };
    if updated == 0 {
        session.run_prepared(INSERT, &values).during(attempt)?;
    }
    Ok(())
}

/// Notes in the state of `source`, if there is any, that a table was put in place in `mode` under
/// the name `target`.
pub(super) fn note_made(
    connection: &Connection,
    pipeline: &str,
    (source, target): (&TableName, &TableName),
    mode: Mode,
) -> Result<()> {
    let mode = document_word(&mode)?;
    let values: [Value<'_>; 6] = [
        mode.as_str().into(),
        pipeline.into(),
        (&*source.schema).into(),
        (&*source.name).into(),
        (&*target.schema).into(),
        (&*target.name).into(),
    ];
    let sql = "UPDATE _rowtide.tables SET mode = $1 WHERE pipeline = $2 \
               AND source_schema = $3 AND source_table = $4 \
               AND target_schema = $5 AND target_table = $6";
    let attempt = || format!("remembering that {target} was made");
    connection.query(sql, &values).during(attempt).map(drop)
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

/// The targets of all pipelines in this file: all, or those that DuckDB takes for `like`.
pub(super) fn owners(connection: &Connection, like: Option<&TableName>) -> Result<Vec<Owner>> {
    if !exists(connection)? {
        return Ok(Vec::new());
    }
    let sql = "SELECT pipeline, source_schema, source_table, target_schema, target_table, \
               mode FROM _rowtide.tables \
               WHERE $1 IS NULL OR (lower(target_schema) = lower($1) AND lower(target_table) = lower($2))";
    let like_values = [like.map(|name| &*name.schema).into(), like.map(|name| &*name.name).into()];
    let rows = connection.query(sql, &like_values).during(reading)?;
    let owners = rows.iter().map(|row| {
        let text = |at: usize| row[at].text().ok_or_else(|| broken("tables"));
        Ok(Owner {
            pipeline: text(0)?.to_owned(),
            source: TableName::new(text(1)?, text(2)?),
            target: TableName::new(text(3)?, text(4)?),
            made: row[5].text().map(|mode| parse(&format!("\"{mode}\""))).transpose()?,
        })
    });
    let is_like = |owner: &Owner| like.is_none_or(|like| same_name(&owner.target, like));
    Ok(owners.collect::<Result<Vec<_>>>()?.into_iter().filter(is_like).collect())
}

/// The table that stands under `name`, its own name as it is spelled, compared as DuckDB compares
/// names.
pub(super) fn table_like(connection: &Connection, name: &TableName) -> Result<Option<TableName>> {
    let catalog = file::catalog(connection)?;
    let found = connection.entry([&catalog, &name.schema, &name.name]);
    let found = found.during(|| format!("looking for {name}"))?;
    Ok(found.map(|spelled| TableName::new(Arc::clone(&name.schema), spelled)))
}

/// All tables and views of the file.
pub(super) fn standing(connection: &Connection) -> Result<Vec<TableName>> {
    let sql = "SELECT table_schema, table_name FROM information_schema.tables \
               WHERE table_catalog = current_database()";
    let rows = connection.query(sql, &[]).during(|| "listing the tables".to_owned())?;
    Ok(names(&rows).collect())
}

fn names(rows: &[Vec<Cell>]) -> impl Iterator<Item = TableName> + '_ {
    rows.iter().filter_map(|row| Some(TableName::new(row[0].text()?, row[1].text()?)))
}

/// Whether two names are one to DuckDB.
pub(super) fn same_name(a: &TableName, b: &TableName) -> bool {
    fold(&a.schema) == fold(&b.schema) && fold(&a.name) == fold(&b.name)
}

/// Whether the file has Rowtide's tables.
pub(super) fn exists(connection: &Connection) -> Result<bool> {
    Ok(table_like(connection, &TableName::new(SCHEMA, "format"))?.is_some())
}

fn check_format(connection: &Connection) -> Result<()> {
    let rows = connection.query("SELECT max(version) FROM _rowtide.format", &[]).during(reading)?;
    let version = rows.first().and_then(|row| row[0].int()).ok_or_else(|| broken("format"))?;
    if version > FORMAT {
        return Err(Error::config(format!(
            "the state in the DuckDB database has format {version}; this Rowtide reads up to {FORMAT}"
        ))
        .with_hint("use the newer Rowtide that wrote it"));
    }
    Ok(())
}

/// Microseconds since 1970 UTC.
pub(super) fn now_us() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
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
        Error::internal("the state in the DuckDB database cannot be read").with_source(error)
    })
}

fn number(cell: &Cell) -> Result<i64> {
    cell.int().ok_or_else(|| broken("pipelines"))
}

fn reading() -> String {
    "reading Rowtide's state in the DuckDB database".to_owned()
}

fn broken(what: &str) -> Error {
    Error::internal(format!("the state in the DuckDB database lacks {what}"))
}
