//! What the engine hands to a destination: folded changes, complete with metadata columns.
//!
//! Every record batch here has the destination table's columns ([`TablePlan::target_arrow`]):
//! the source's, then the metadata columns. A destination needs no knowledge of ops, folding or
//! fences; it applies one [`TableWrite`] after the other inside the open epoch.
//!
//! [`TablePlan::target_arrow`]: crate::TablePlan::target_arrow

use arrow_array::RecordBatch;
use arrow_buffer::BooleanBuffer;

/// One write to one table.
#[derive(Debug, Clone)]
pub enum TableWrite {
    /// Rows to add as they are (append mode).
    Append(RecordBatch),
    /// Net changes per key (merge mode, keyed).
    Merge(MergeWrite),
    /// Net changes of a multiset (merge mode without a key).
    Multiset(MultisetWrite),
    /// Of the events that stand more than once under a key, at the same position and with the same
    /// order, one stays (append mode, keyed; only repairs write this). Only the key columns are
    /// meaningful.
    Once(RecordBatch),
    /// All rows go (hard delete), or are marked deleted (soft delete).
    Truncate {
        /// One row whose metadata columns describe the TRUNCATE; its source columns are null.
        marker: RecordBatch,
    },
}

/// Net changes: at most one entry per key in `upserts` and `patches` together.
///
/// Applied as: (1) complete the patches from the rows that stand in the destination *before* this
/// write; (2) hard delete: remove the rows under every key of `deletes`, `upserts` and `patches`;
/// soft delete: mark the rows under `deletes` as deleted, setting their metadata columns and
/// nothing else, and remove the rows under the keys of `upserts` and `patches`; (3) insert
/// `upserts` and the completed patches. A key in `deletes` may also be in `upserts`/`patches` only
/// when it was moved away and another row took its place; then the removal of step 2 wins over
/// the mark.
#[derive(Debug, Clone, Default)]
pub struct MergeWrite {
    /// Keys whose row goes. Only the key and metadata columns are meaningful.
    pub deletes: Option<RecordBatch>,
    /// Complete rows.
    pub upserts: Option<RecordBatch>,
    /// Rows that take some values from the destination.
    pub patches: Option<Patches>,
}

/// Rows of which the log did not repeat every value.
#[derive(Debug, Clone)]
pub struct Patches {
    /// The new rows; the cells marked in `unchanged` are null here.
    pub rows: RecordBatch,
    /// Column index → rows whose value must be taken from the base row.
    pub unchanged: Vec<(usize, BooleanBuffer)>,
    /// Key columns only ([`TableSchema::key_arrow`]): the key under which each row's base stands
    /// in the destination. It differs from the row's own key after a key change.
    ///
    /// If a base row does not exist the destination has lost a row: the write must fail
    /// (`Data`), naming the table.
    ///
    /// [`TableSchema::key_arrow`]: crate::TableSchema::key_arrow
    pub base: RecordBatch,
}

/// Net changes of a table without a key, whose rows form a multiset.
#[derive(Debug, Clone, Default)]
pub struct MultisetWrite {
    /// For each row here, one equal row goes (soft delete: is marked). Rows are equal when all
    /// source columns are, NULL being equal to NULL; metadata columns are not compared. If there
    /// is no equal row left the write must fail (`Data`), naming the table.
    pub removes: Option<RecordBatch>,
    /// Rows to add.
    pub inserts: Option<RecordBatch>,
}
