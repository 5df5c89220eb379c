//! Rows as Arrow.

use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array, RecordBatch, RecordBatchOptions};
use arrow_buffer::BooleanBuffer;
use rowtide_core::{
    ChangeBatch, Commit, CommitRun, Exceptions, Op, Refused, Replaced, Result, TableSchema,
    Unchanged,
};

use crate::log::{Row, numbers};

/// `rows` with the columns of `schema`.
pub(crate) fn batch(schema: &TableSchema, rows: &[Row]) -> Result<RecordBatch> {
    let column = |number: usize| -> ArrayRef {
        Arc::new(rows.iter().map(|row| row[number]).collect::<Int64Array>())
    };
    let columns = numbers(schema).into_iter().map(column).collect();
    let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
    Ok(RecordBatch::try_new_with_options(schema.arrow(), columns, &options)?)
}

/// One change on its way into a batch.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) op: Op,
    pub(crate) row: Row,
    /// A bit for each column that the log does not repeat.
    pub(crate) unchanged: u8,
    pub(crate) commit: Commit,
    pub(crate) ordinal: u32,
    /// How many of its values were replaced.
    pub(crate) replaced: Replaced,
    /// Why it is kept out, if it is.
    pub(crate) refused: Option<Refused>,
}

/// `entries` as a change batch. What the log does not repeat is null there.
pub(crate) fn changes(table: &Arc<TableSchema>, entries: &[Entry]) -> Result<ChangeBatch> {
    let shown = |entry: &Entry| {
        let mut row = entry.row;
        for (number, cell) in row.iter_mut().enumerate() {
            if entry.unchanged & 1 << number != 0 {
                *cell = None;
            }
        }
        row
    };
    let rows: Vec<Row> = entries.iter().map(shown).collect();
    let mask = |(at, number): (usize, usize)| {
        let bits: BooleanBuffer =
            entries.iter().map(|entry| entry.unchanged & 1 << number != 0).collect();
        (at, bits)
    };
    let mut commits: Vec<CommitRun> = Vec::new();
    for entry in entries {
        match commits.last_mut().filter(|run| run.commit == entry.commit) {
            Some(run) => run.rows += 1,
            None => commits.push(CommitRun { commit: entry.commit, rows: 1 }),
        }
    }
    Ok(ChangeBatch {
        table: Arc::clone(table),
        ops: entries.iter().map(|entry| entry.op).collect(),
        rows: batch(table, &rows)?,
        unchanged: Unchanged::new(numbers(table).into_iter().enumerate().map(mask)),
        commits,
        ordinals: entries.iter().map(|entry| entry.ordinal).collect(),
        exceptions: exceptions(entries),
    })
}

/// What became of values that are refused.
fn exceptions(entries: &[Entry]) -> Exceptions {
    let mut exceptions = Exceptions::default();
    for (row, entry) in (0_u32..).zip(entries) {
        if !entry.replaced.is_nothing() {
            exceptions.replaced.push((row, entry.replaced));
        }
        exceptions.refused.extend(entry.refused.clone().map(|refused| (row, refused)));
    }
    exceptions
}

/// The same rows in memory of their own.
pub(crate) fn detached(rows: &RecordBatch) -> Result<RecordBatch> {
    let copied = |column: &ArrayRef| arrow_array::make_array(column.to_data());
    let columns = rows.columns().iter().map(copied).collect();
    let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
    Ok(RecordBatch::try_new_with_options(rows.schema(), columns, &options)?)
}
