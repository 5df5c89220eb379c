//! Row-by-row comparison of a PostgreSQL table with its copy in a DuckDB file or in another
//! PostgreSQL database, by SQL on both sides.

use std::collections::HashMap;
use std::path::Path;

use rowtide_duckdb::{DuckdbDestination, DuckdbOptions};
use rowtide_sandbox::PostgresServer;

use crate::Result;

mod digest;
mod render;

pub use digest::Digests;
use render::{Rendered, Types, rendered};

/// What comparing one table found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Comparison {
    /// `schema.table`.
    pub table: String,
    /// Rows at the source.
    pub source_rows: usize,
    /// Rows at the destination.
    pub destination_rows: usize,
    /// Rows that the source has and the destination lacks, each as often as it is missing.
    pub missing: u64,
    /// Rows that the destination has beyond the source's.
    pub surplus: u64,
    /// Rows (as canonical text) that one side has more often, with how much more often the source
    /// has them; at most [`Comparison::SHOWN`].
    pub differences: Vec<(String, i64)>,
}

/// The copy that is compared.
#[derive(Debug, Clone, Copy)]
pub enum Copied<'a> {
    /// A DuckDB file.
    Duckdb(&'a Path),
    /// A database of a PostgreSQL server.
    Postgres(&'a PostgresServer, &'a str),
}

impl Copied<'_> {
    /// The rows of a one-column query.
    ///
    /// # Errors
    /// What the destination said.
    pub fn rows(self, sql: &str) -> Result<Vec<String>> {
        match self {
            Self::Duckdb(path) => duckdb_rows(path, sql),
            Self::Postgres(server, db) => source_rows(server, db, sql),
        }
    }
}

/// Which of the copy's rows are to equal the source's.
#[derive(Debug, Clone, Copy)]
pub enum Rows<'a> {
    /// All of them.
    All,
    /// Those that fulfil a condition.
    Where(&'a str),
    /// The last event of each key (these columns) of a history, if it is not a delete.
    Last(&'a str),
}

impl Comparison {
    /// How many differing rows are kept.
    pub const SHOWN: usize = 10;

    /// Whether both sides hold the same rows.
    pub fn is_equal(&self) -> bool {
        self.differences.is_empty() && self.source_rows == self.destination_rows
    }
}

/// Separates a row's columns; NULL is distinct from every text.
const SEPARATOR: char = '\u{1f}';

/// Compares `tables` (`schema.table`) of database `db` with the file at `path`.
///
/// # Errors
/// If a side cannot be read, or any table differs: then with the differing rows.
pub fn compare_tables(
    server: &PostgresServer,
    db: &str,
    path: &Path,
    tables: &[&str],
) -> Result<Vec<Comparison>> {
    let compared = |table: &&str| compare((server, db), Copied::Duckdb(path), table, Rows::All);
    equal(tables.iter().map(compared).collect::<Result<_>>()?)
}

/// Compares the state that the history of append tables leads to: the last event of each key, if
/// it is not a delete.
///
/// # Errors
/// As [`compare_tables`].
pub fn compare_history(
    server: &PostgresServer,
    db: &str,
    path: &Path,
    (table, key): (&str, &str),
) -> Result<Vec<Comparison>> {
    equal(vec![compare((server, db), Copied::Duckdb(path), table, Rows::Last(key))?])
}

fn equal(all: Vec<Comparison>) -> Result<Vec<Comparison>> {
    match all.iter().any(|comparison| !comparison.is_equal()) {
        true => Err(format!("the sides differ: {all:#?}")),
        false => Ok(all),
    }
}

/// Compares `table` of a source's database with `rows` of its copy.
///
/// # Errors
/// If a side cannot be read. A difference is no error here.
pub fn compare(
    (server, db): (&PostgresServer, &str),
    copied: Copied<'_>,
    table: &str,
    rows: Rows<'_>,
) -> Result<Comparison> {
    let columns = columns((server, db), copied, table)?;
    let join = |pick: fn(&Rendered) -> &str| format!("{} AS row", parts(&columns, pick));
    let name = quoted(table);
    let wanted = join(|column| &column.source);
    let source = source_rows(server, db, &format!("SELECT {wanted} FROM {name}"))?;
    let standing = match copied {
        Copied::Duckdb(_) => join(|column| &column.destination),
        Copied::Postgres(..) => wanted,
    };
    let destination = copied.rows(&match rows {
        Rows::All => format!("SELECT {standing} FROM {name}"),
        Rows::Where(condition) => format!("SELECT {standing} FROM {name} WHERE {condition}"),
        Rows::Last(key) => format!(
            "SELECT {standing} FROM (SELECT *, row_number() OVER (PARTITION BY {key} \
             ORDER BY _rowtide_position DESC, _rowtide_seq DESC NULLS LAST) AS rowtide_rank \
             FROM {name}) AS history WHERE rowtide_rank = 1 AND _rowtide_op <> 'delete'"
        ),
    })?;
    Ok(difference(table, &source, &destination))
}

/// A row as one text, from what `pick` takes for each column.
fn parts(columns: &[Rendered], pick: fn(&Rendered) -> &str) -> String {
    let parts: Vec<String> =
        columns.iter().map(|column| format!("coalesce({}, '\u{1e}')", pick(column))).collect();
    // A separator at the end too: psql's output is trimmed, char(n) values are padded.
    format!("concat({}, '{SEPARATOR}')", parts.join(&format!(", '{SEPARATOR}', ")))
}

fn difference(table: &str, source: &[String], destination: &[String]) -> Comparison {
    let mut counts: HashMap<&str, i64> = HashMap::new();
    for row in source {
        *counts.entry(row).or_default() += 1;
    }
    for row in destination {
        *counts.entry(row).or_default() -= 1;
    }
    let total = |sign: i64| -> u64 {
        counts.values().map(|count| u64::try_from(count * sign).unwrap_or(0)).sum()
    };
    let (missing, surplus) = (total(1), total(-1));
    let mut differences: Vec<(String, i64)> = counts
        .into_iter()
        .filter(|(_, count)| *count != 0)
        .map(|(row, count)| (row.replace(SEPARATOR, " | "), count))
        .collect();
    differences.sort();
    differences.truncate(Comparison::SHOWN);
    Comparison {
        table: table.to_owned(),
        source_rows: source.len(),
        destination_rows: destination.len(),
        missing,
        surplus,
        differences,
    }
}

/// The rows of a one-column query at the source. Line feeds in values are not supported.
///
/// # Errors
/// What the server said.
pub fn source_rows(server: &PostgresServer, db: &str, sql: &str) -> Result<Vec<String>> {
    let sql =
        format!("SET datestyle = 'ISO'; SET timezone = 'UTC'; SET extra_float_digits = 1; {sql}");
    let text = server.psql(db, &sql).map_err(|e| e.to_string())?;
    Ok(text.lines().filter(|line| *line != "SET").map(str::to_owned).collect())
}

/// The rows of a one-column query in the file at `path`.
///
/// # Errors
/// What DuckDB said.
pub fn duckdb_rows(path: &Path, sql: &str) -> Result<Vec<String>> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().build().map_err(|e| e.to_string())?;
    // The pipeline may have had more than the usual memory for its largest values.
    let options = DuckdbOptions { memory_limit: "8GiB".to_owned(), ..DuckdbOptions::new(path) };
    let file = DuckdbDestination::new(options).map_err(|e| e.chain())?;
    let rows = runtime.block_on(file.select(sql)).map_err(|e| e.chain())?;
    Ok(rows
        .into_iter()
        .map(|row| row.into_iter().next().flatten().unwrap_or_else(|| "NULL".to_owned()))
        .collect())
}

fn columns(
    (server, db): (&PostgresServer, &str),
    copied: Copied<'_>,
    table: &str,
) -> Result<Vec<Rendered>> {
    let sql = format!(
        "SELECT attname || '{SEPARATOR}' || atttypid || '{SEPARATOR}' || \
         format_type(atttypid, NULL) \
         FROM pg_attribute WHERE attrelid = '{}'::regclass AND attnum > 0 AND NOT attisdropped \
         AND attgenerated = '' ORDER BY attnum",
        quoted(table)
    );
    let structs = structs(copied, table)?;
    let types = match structs.is_empty() {
        true => Types::default(),
        false => Types::load(|sql| source_rows(server, db, sql), &quoted(table))?,
    };
    let mut columns = Vec::new();
    for line in source_rows(server, db, &sql)? {
        let parts: Vec<&str> = line.split(SEPARATOR).collect();
        let [name, oid, kind] = parts[..] else {
            return Err(format!("unexpected catalog row: {line}"));
        };
        let c = format!("\"{}\"", name.replace('"', "\"\""));
        columns.push(match structs.iter().any(|one| one == name) {
            true => types.rendered((&c, &c), oid, 0),
            false => rendered((&c, &c), kind),
        });
    }
    Ok(columns)
}

/// The columns of the copy that hold structs, or lists of them.
fn structs(copied: Copied<'_>, table: &str) -> Result<Vec<String>> {
    let Copied::Duckdb(path) = copied else { return Ok(Vec::new()) };
    let (schema, name) = table.split_once('.').unwrap_or(("public", table));
    let [schema, name] = [schema, name].map(|part| part.replace('\'', "''"));
    let sql = format!(
        "SELECT column_name FROM duckdb_columns() WHERE schema_name = '{schema}' \
         AND lower(table_name) = lower('{name}') AND data_type LIKE 'STRUCT(%'"
    );
    duckdb_rows(path, &sql)
}

/// `schema.table` with both parts quoted.
fn quoted(table: &str) -> String {
    let (schema, name) = table.split_once('.').unwrap_or(("public", table));
    format!("\"{}\".\"{}\"", schema.replace('"', "\"\""), name.replace('"', "\"\""))
}
