//! The unit that moves between stages: rows of one table and one schema version, in Arrow.

use std::sync::Arc;

use arrow_array::{Array, BooleanArray, RecordBatch, UInt32Array};
use arrow_buffer::BooleanBuffer;
use arrow_select::filter::filter_record_batch;

use serde::{Deserialize, Serialize};

use crate::{Error, Exceptions, Fence, Offset, Result, TableSchema};

/// What happened to a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Op {
    /// A new row.
    Insert,
    /// New values under the same key. Columns marked unchanged keep what the destination has.
    Update,
    /// The row is gone. Only the key columns are meaningful, or all under full row identity.
    Delete,
    /// The old half of a key change: the row under this key moves. Always followed, in the same
    /// batch, by its [`Op::MoveIn`].
    MoveOut,
    /// The new half of a key change. Columns marked unchanged keep what the destination has
    /// under the key of the preceding [`Op::MoveOut`].
    MoveIn,
    /// A row of which a value cannot be represented: whatever stands under its key goes. Only the
    /// key columns are meaningful, and NULL where the key itself cannot be represented; what the
    /// change was, [`Exceptions::refused`] tells.
    Refuse,
}

impl Op {
    /// The op as append tables and `tap` show it: a key change is a delete and an insert.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Insert | Self::MoveIn => "insert",
            Self::Update => "update",
            Self::Delete | Self::MoveOut => "delete",
            Self::Refuse => "quarantine",
        }
    }

    /// Whether no row is left under its key.
    pub const fn removes(self) -> bool {
        matches!(self, Self::Delete | Self::MoveOut | Self::Refuse)
    }
}

/// The transaction that made a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Commit {
    /// Where its commit record starts. With the order within the commit it names a change for
    /// ever. A transaction is already applied exactly when this lies below the checkpoint.
    pub position: Offset,
    /// Its 32-bit transaction id, where the source has such (else 0).
    pub xid: u32,
    /// When it committed, in microseconds since 1970 UTC.
    pub committed_at: i64,
}

/// Consecutive rows of a batch that belong to one transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CommitRun {
    /// The transaction.
    pub commit: Commit,
    /// How many rows of the batch it covers.
    pub rows: usize,
}

/// Per column, which rows hold a value that the log did not repeat.
///
/// Absent is not NULL: such a cell is null in the Arrow column and set here.
#[derive(Debug, Clone, Default)]
pub struct Unchanged(Vec<(usize, BooleanBuffer)>);

impl Unchanged {
    /// Builds the mask from `(column index, bits)`; columns without a set bit are dropped.
    pub fn new(columns: impl IntoIterator<Item = (usize, BooleanBuffer)>) -> Self {
        Self(columns.into_iter().filter(|(_, bits)| bits.count_set_bits() > 0).collect())
    }

    /// Whether no value is missing.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The columns with at least one missing value, and where.
    pub fn columns(&self) -> impl Iterator<Item = (usize, &BooleanBuffer)> {
        self.0.iter().map(|(column, bits)| (*column, bits))
    }

    /// Whether the log did not repeat the value at `row`, `column`.
    pub fn is_set(&self, row: usize, column: usize) -> bool {
        self.0.iter().any(|(at, bits)| *at == column && bits.value(row))
    }

    /// Whether any value of `row` is missing.
    pub fn any_in_row(&self, row: usize) -> bool {
        self.0.iter().any(|(_, bits)| bits.value(row))
    }
}

/// Changes of one table, in the source's order, with one schema version.
///
/// Ops, missing values and transactions stand beside the columns, never inside them.
#[derive(Debug, Clone)]
pub struct ChangeBatch {
    /// The table version every row was decoded with.
    pub table: Arc<TableSchema>,
    /// One per row.
    pub ops: Vec<Op>,
    /// The new row (for deletes and moves out: the old one, as far as it was logged).
    pub rows: RecordBatch,
    /// Values the log did not repeat.
    pub unchanged: Unchanged,
    /// Transactions in commit order; their row counts add up to the batch.
    pub commits: Vec<CommitRun>,
    /// Order of the change within its transaction, one per row, counted over all tables.
    pub ordinals: Vec<u32>,
    /// Values that could not be represented, and what became of them.
    pub exceptions: Exceptions,
}

impl ChangeBatch {
    /// The number of changes.
    pub fn len(&self) -> usize {
        self.ops.len()
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }

    /// An estimate of the memory this batch holds, in bytes.
    pub fn byte_size(&self) -> usize {
        let beside = self.len() * 8 + self.commits.len() * 40 + self.exceptions.byte_size();
        self.rows.get_array_memory_size() + beside
    }

    /// Checks that the parts agree with each other.
    ///
    /// # Errors
    /// `Internal` naming the table and the part that disagrees.
    pub fn validate(&self) -> Result<()> {
        let len = self.len();
        let covered: usize = self.commits.iter().map(|run| run.rows).sum();
        let masks = self
            .unchanged
            .columns()
            .all(|(column, bits)| bits.len() == len && column < self.table.columns.len());
        let shape = self.rows.num_columns() == self.table.columns.len();
        let refused = self.exceptions.refused.iter();
        let refused = refused.filter(|(row, _)| self.ops.get(*row as usize) == Some(&Op::Refuse));
        let told = refused.count() == self.ops.iter().filter(|op| **op == Op::Refuse).count();
        let agree = self.rows.num_rows() == len && covered == len && self.ordinals.len() == len;
        let agree = agree && told;
        if agree && masks && shape {
            Ok(())
        } else {
            Err(Error::internal(format!(
                "a change batch of {} disagrees with itself: {len} ops, {} rows of {} columns, \
                 {covered} rows in commits, {} ordinals",
                self.table.name,
                self.rows.num_rows(),
                self.rows.num_columns(),
                self.ordinals.len()
            )))
        }
    }

    /// Leaves out every change that `fence` covers; `None` if nothing is left.
    ///
    /// # Errors
    /// `Internal` if Arrow refuses the filter.
    pub fn outside(self, fence: &Fence) -> Result<Option<Self>> {
        let covered: Vec<bool> = self.commits.iter().map(|run| fence.covers(&run.commit)).collect();
        if !covered.contains(&true) {
            return Ok(Some(self));
        }
        if !covered.contains(&false) {
            return Ok(None);
        }
        let mut keep = Vec::with_capacity(self.len());
        for (run, covered) in self.commits.iter().zip(&covered) {
            keep.extend(std::iter::repeat_n(!covered, run.rows));
        }
        let mut kept_runs = self.commits.iter().zip(&covered).filter(|(_, covered)| !**covered);
        let commits = kept_runs.by_ref().map(|(run, _)| *run).collect();
        self.filtered(&keep, commits).map(Some)
    }

    fn filtered(&self, keep: &[bool], commits: Vec<CommitRun>) -> Result<Self> {
        let mask = BooleanArray::from(keep.to_vec());
        let indices: Vec<usize> = (0..keep.len()).filter(|&row| keep[row]).collect();
        let unchanged =
            Unchanged::new(self.unchanged.columns().map(|(column, bits)| {
                (column, indices.iter().map(|&row| bits.value(row)).collect())
            }));
        Ok(Self {
            table: Arc::clone(&self.table),
            ops: indices.iter().map(|&row| self.ops[row]).collect(),
            rows: filter_record_batch(&self.rows, &mask)?,
            unchanged,
            commits,
            ordinals: indices.iter().map(|&row| self.ordinals[row]).collect(),
            exceptions: self.exceptions.among(&indices),
        })
    }

    /// Per row, the index of its transaction in `commits`.
    pub fn commit_indices(&self) -> Vec<u32> {
        let mut indices = Vec::with_capacity(self.len());
        for (index, run) in (0_u32..).zip(&self.commits) {
            indices.extend(std::iter::repeat_n(index, run.rows));
        }
        indices
    }
}

/// Takes `rows` (indices) of `batch`.
pub(crate) fn take_rows(batch: &RecordBatch, rows: &[u32]) -> Result<RecordBatch> {
    let indices = UInt32Array::from(rows.to_vec());
    let columns = batch
        .columns()
        .iter()
        .map(|column| arrow_select::take::take(column.as_ref(), &indices, None))
        .collect::<Result<Vec<_>, _>>()?;
    debug_assert!(columns.iter().all(|column| column.len() == rows.len()));
    let options = arrow_array::RecordBatchOptions::new().with_row_count(Some(rows.len()));
    Ok(RecordBatch::try_new_with_options(batch.schema(), columns, &options)?)
}
