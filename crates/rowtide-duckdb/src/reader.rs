//! Reading a DuckDB file by SQL, for the demo, the tests and people's tools.

use std::path::Path;

use rowtide_core::Result;

use crate::error::During;
use crate::ffi::{Cell, Connection};
use crate::{DuckdbOptions, file};

/// Rows as text: one vector per row, `None` for NULL.
pub type TextRows = Vec<Vec<Option<String>>>;

/// Runs one query on the file at `path`, read-only (on the open database if this process writes
/// it), and returns its rows. Columns must be VARCHAR or integers. Blocks.
///
/// # Errors
/// `Config` if there is no such file or it is no DuckDB database, `Unavailable` if another process
/// writes it.
pub fn read_rows(path: &Path, sql: &str) -> Result<TextRows> {
    let query = |connection: &Connection| {
        let rows = connection.query(sql, &[]);
        rows.during(|| format!("querying {}", path.display()))
    };
    let rows = file::read(&DuckdbOptions::new(path), query)?.ok_or_else(|| {
        rowtide_core::Error::config(format!("there is no file {}", path.display()))
    })?;
    let text = |cell: Cell| match cell {
        Cell::Null => None,
        Cell::Int(number) => Some(number.to_string()),
        Cell::Text(text) => Some(text),
    };
    Ok(rows.into_iter().map(|row| row.into_iter().map(text).collect()).collect())
}
