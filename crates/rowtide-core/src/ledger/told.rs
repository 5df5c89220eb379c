//! What is told of rows in quarantine, read back.

use crate::{Offset, TableName};

/// Selects from `_rowtide.quarantine` the last that was told of each row of the pipeline `$1` since
/// all rows of its table were resolved; of rows without a key, all that was. Values only if
/// `with_values`; the time as `micros` of it.
///
/// Plain SQL that every destination with `$1` for a parameter understands.
pub fn told(with_values: bool, micros: &str) -> String {
    let values = if with_values { "t.row_values" } else { "NULL" };
    format!(
        "SELECT t.source_schema, t.source_table, t.source_column, t.op, t.reason, t.position, \
         t.ordinal, t.key, {values}, {micros} \
         FROM (SELECT q.*, row_number() OVER (\
                   PARTITION BY q.source_schema, q.source_table, q.key \
                   ORDER BY q.position DESC, q.ordinal DESC NULLS LAST, q.quarantined_at DESC) \
                   AS nth \
               FROM _rowtide.quarantine AS q WHERE q.pipeline = $1 AND q.op <> 'resolved') AS t \
         WHERE (t.nth = 1 OR t.key IS NULL) AND NOT EXISTS (\
             SELECT 1 FROM _rowtide.quarantine AS r \
             WHERE r.pipeline = $1 AND r.op = 'resolved' AND r.key IS NULL \
               AND r.source_schema = t.source_schema AND r.source_table = t.source_table \
               AND r.position > t.position) \
         ORDER BY 1, 2, t.position, t.ordinal NULLS FIRST, t.key"
    )
}

/// What was told of a row that went to quarantine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// Its table at the source.
    pub table: TableName,
    /// What the change was.
    pub op: String,
    /// The column whose value cannot be represented.
    pub column: Option<String>,
    /// Why.
    pub reason: String,
    /// The transaction; for copied rows the place of the copy.
    pub position: Offset,
    /// Its order in the transaction.
    pub ordinal: Option<i64>,
    /// The row's key as JSON.
    pub key: Option<String>,
    /// The row as JSON, if it was asked for.
    pub values: Option<String>,
    /// When, in microseconds since 1970 UTC.
    pub at: i64,
}
