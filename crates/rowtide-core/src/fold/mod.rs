//! Fold: from the changes of a stretch of log to one final change per key.
//!
//! Shared by every destination, so that none of them ever sees a key twice in one write. A key
//! change is a removal of the old key and a new row under the new one. Values that the log did
//! not repeat are first taken from earlier changes in the same stretch; only what is still missing
//! is asked of the destination, from the row that stood there before this write ([`Patches`]).
//!
//! Tables without a key are folded as a multiset: equal inserts and removals cancel out.
//!
//! [`Patches`]: crate::Patches

mod keyed;
mod multiset;
#[cfg(test)]
mod tests;

use arrow_array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow_row::{RowConverter, Rows, SortField};

use crate::{ChangeBatch, Mode, Result, TablePlan, TableWrite};

/// Turns `batch` into the write for `plan`; `loaded_at` is now, in microseconds since 1970 UTC.
///
/// # Errors
/// `Data` if the log contradicts itself (an update of a row that the same stretch deleted),
/// `Internal` if a batch is malformed.
pub fn fold(batch: &ChangeBatch, plan: &TablePlan, loaded_at: i64) -> Result<TableWrite> {
    batch.validate()?;
    let full = with_metadata(batch, plan, loaded_at)?;
    match plan.mode {
        Mode::Append => Ok(TableWrite::Append(full)),
        Mode::Merge | Mode::Replace if batch.table.is_keyed() => {
            keyed::fold(batch, &full).map(TableWrite::Merge)
        }
        Mode::Merge | Mode::Replace => multiset::fold(batch, &full).map(TableWrite::Multiset),
    }
}

/// The batch's rows with the plan's metadata columns behind them.
fn with_metadata(batch: &ChangeBatch, plan: &TablePlan, loaded_at: i64) -> Result<RecordBatch> {
    let mut columns: Vec<ArrayRef> = batch.rows.columns().to_vec();
    columns.extend(plan.metadata.change_values(batch, loaded_at));
    let options = RecordBatchOptions::new().with_row_count(Some(batch.len()));
    Ok(RecordBatch::try_new_with_options(plan.target_arrow(), columns, &options)?)
}

/// The chosen columns of every row as comparable bytes.
fn row_bytes(rows: &RecordBatch, columns: impl Iterator<Item = usize>) -> Result<Rows> {
    let columns: Vec<ArrayRef> = columns.map(|at| rows.column(at).clone()).collect();
    let fields = columns.iter().map(|column| SortField::new(column.data_type().clone())).collect();
    let converter = RowConverter::new(fields)?;
    Ok(converter.convert_columns(&columns)?)
}
