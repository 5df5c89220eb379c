//! Rows so long that a vector of them does not fit into DuckDB's memory.
//!
//! DuckDB reads 2,048 rows of a row group at once, all of their values in memory: to write them
//! to its log, and again to fold that into the file. Committing less at a time does not help, for
//! they gather in one row group. What does is to fold the log in after each few: the next rows
//! then begin a row group of their own. DuckDB would merge such row groups again later, so that is
//! switched off in a file that has them ([`spare`] tells it at the next opening), until
//! `memory_limit` is raised.

use rowtide_core::Result;

use crate::error::During;
use crate::ffi::{Connection, Long};
use crate::file;

/// The rows that DuckDB reads at once.
const VECTOR_ROWS: u64 = 2048;

/// The part of the memory that a vector of rows may take before its rows count as long.
const SHARE: u64 = 8;

/// How many tasks may merge row groups in one fold of the log: DuckDB's default.
const MERGING: u32 = 100;

/// The bytes that rows may take between two folds of the log.
pub(crate) fn share(connection: &Connection) -> u64 {
    connection.memory() / SHARE
}

/// Watches how long the rows are that are added to a table.
#[derive(Debug, Default)]
pub(crate) struct Window {
    rows: u64,
    bytes: u64,
}

impl Window {
    /// Takes note of more rows; `Some` once they are long: the bytes that a vector of them takes.
    pub(crate) fn note(&mut self, rows: usize, bytes: usize, share: u64) -> Option<u64> {
        self.rows += rows as u64;
        self.bytes += bytes as u64;
        let vector = self.bytes.saturating_mul(VECTOR_ROWS) / self.rows.max(1);
        let full = self.rows >= VECTOR_ROWS;
        let long = if full { vector > share } else { self.bytes > share };
        if full || long {
            *self = Self::default();
        }
        long.then_some(vector)
    }
}

/// Lets DuckDB merge row groups in the file just opened, unless it has rows too long for that.
pub(crate) fn spare(connection: &Connection) -> Result<()> {
    let attempt = || "looking for long rows".to_owned();
    if noted(connection)? <= share(connection) {
        connection.execute(&format!("SET GLOBAL max_vacuum_tasks = {MERGING}")).during(attempt)?;
    }
    Ok(())
}

/// Keeps DuckDB from merging row groups; to be called before long rows are committed.
pub(crate) fn keep_apart(connection: &Connection) -> Result<()> {
    let attempt = || "keeping row groups of long rows apart".to_owned();
    connection.execute("SET GLOBAL max_vacuum_tasks = 0").during(attempt).map(drop)
}

/// Notes in the file that it has rows a vector of which takes `vector` bytes. Outside of a
/// transaction.
pub(crate) fn note(connection: &Connection, vector: u64) -> Result<()> {
    if noted(connection)? >= vector {
        return Ok(());
    }
    let sql = format!(
        "CREATE SCHEMA IF NOT EXISTS _rowtide; \
         CREATE OR REPLACE VIEW _rowtide.long_rows AS SELECT {vector}::BIGINT AS bytes"
    );
    file::when_free(|| connection.execute(&sql)).during(|| "noting long rows".to_owned()).map(drop)
}

/// The bytes of the longest vector that was noted; 0 if none was.
fn noted(connection: &Connection) -> Result<u64> {
    let attempt = || "looking for long rows".to_owned();
    let catalog = file::catalog(connection)?;
    if connection.entry([&catalog, "_rowtide", "long_rows"]).during(attempt)?.is_none() {
        return Ok(0);
    }
    let rows = connection.query("SELECT bytes FROM _rowtide.long_rows", &[]).during(attempt)?;
    let bytes = rows.first().and_then(|row| row[0].int());
    Ok(bytes.and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or(0))
}

/// Folds the log into the file after `bytes` of long rows were committed. While other transactions
/// are open that is left to the next time, unless the rows since the last would be too many: then
/// it waits for a while. Blocks.
pub(crate) fn fold(connection: &Connection, unfolded: &mut Long<'_>, bytes: u64) -> Result<()> {
    **unfolded += bytes;
    let fold = || connection.fold_log_now();
    let folded = match **unfolded > share(connection) {
        true => file::when_free(fold),
        false => fold(),
    };
    match folded {
        Ok(()) => **unfolded = 0,
        Err(failure) if failure.is_busy() => {}
        Err(failure) => return Err(failure).during(|| "folding the log into the file".to_owned()),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_long_when_a_vector_of_them_is() {
        let share = 64 << 20;
        let mut window = Window::default();
        // 30 kB a row, however they come.
        assert!((0..10_000).all(|_| window.note(1, 30_000, share).is_none()));
        assert_eq!(window.note(65_536, 65_536 * 30_000, share), None);
        let mut window = Window::default();
        let first = (1..).find_map(|row| window.note(1, 200_000, share).map(|bytes| (row, bytes)));
        assert_eq!(first, Some((336, 200_000 * VECTOR_ROWS)));
        // A single long value is none yet.
        assert_eq!(window.note(1, 32 << 20, share), None);
        assert_eq!(window.note(3000, 3000 * 100, share), None);
    }
}
