//! Looking at a table's rows as they stand at one moment, so that two sides can be compared.
//!
//! Both ends show a table as the *source's* columns in the source's Arrow types, whatever types
//! the rows are stored in: a value that was carried over exactly is the same Arrow value on both
//! sides. What the rows' canonical form is, and how it is summed up, says [`crate::canonical`].

mod range;
mod share;
mod sum;

use std::sync::Arc;
use std::time::Duration;

use arrow_array::{Array, RecordBatch};
use arrow_schema::Field;
use async_trait::async_trait;

pub use self::range::{KeyRange, RangeText};
pub use self::share::{Fixed, Share, Spare};
pub use self::sum::sum_up;

use crate::canonical::{BucketSet, Digest};
use crate::{Checkpoint, Fence, Result, TablePlan, TableSchema};

/// A system whose tables can be looked at.
#[async_trait]
pub trait Inspect: Send + Sync {
    /// Opens a consistent view of one table.
    ///
    /// # Errors
    /// `SchemaDrift` if the table's columns are not those of `request.plan`; `Access` if the view
    /// could be of fewer rows than the table has (row security, a view in the table's place).
    async fn view(&self, request: ViewRequest) -> Result<Box<dyn TableView>>;

    /// Waits until a view of `table` shows every change that a stream has told of before this was
    /// called; false if that takes longer than `patience`.
    ///
    /// A log may tell of a commit before it can be seen: one that waits for another server stays
    /// unseen for as long as that one is away. A system of which this is not so need not wait.
    async fn until_visible(&self, table: &TableSchema, patience: Duration) -> Result<bool> {
        let _ = (table, patience);
        Ok(true)
    }

    /// Tells by which columns a destination's table is not that of `plan`, whatever its rows.
    /// Nothing of a table that is gone, and nothing of a history's further columns: an earlier copy
    /// may have had them.
    async fn column_gaps(&self, pipeline: &str, plan: &TablePlan) -> Result<ColumnGaps> {
        let _ = (pipeline, plan);
        Ok(ColumnGaps::default())
    }

    /// Refuses a condition in SQL that the system does not understand of `table`.
    ///
    /// # Errors
    /// `Config` if it does not.
    async fn check_condition(&self, table: &TableSchema, condition: &str) -> Result<()> {
        let _ = (table, condition);
        Ok(())
    }
}

/// The columns by which a destination's table is not its plan's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ColumnGaps {
    /// They do not stand in the table.
    pub missing: Vec<String>,
    /// They stand in it, and are neither the source's nor metadata.
    pub extra: Vec<String>,
}

impl ColumnGaps {
    /// Whether the table has exactly the plan's columns.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.missing.is_empty() && self.extra.is_empty()
    }
}

/// Which table to look at, and how.
#[derive(Debug, Clone)]
pub struct ViewRequest {
    /// The pipeline.
    pub pipeline: Arc<str>,
    /// The table: a source looks at `plan.source`, a destination at `plan.target`.
    pub plan: TablePlan,
    /// A condition in SQL that rows fulfil, in words that both sides understand.
    pub condition: Option<String>,
    /// Only these keys.
    pub range: Option<KeyRange>,
    /// What the view may take of its system.
    pub share: Arc<dyn Share>,
    /// Close a batch at about this many bytes.
    pub batch_bytes: usize,
    /// No statement that reads the whole table takes much longer than this, where the system can
    /// read it in pieces.
    pub statement: Duration,
}

/// When a view was taken.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Moment {
    /// Of a source: a place that a stream reaches only behind everything the view shows. Of a
    /// destination: its checkpoint, read with the rows; the view shows everything below it.
    pub checkpoint: Checkpoint,
    /// Words of the source from which it later tells what has changed since
    /// ([`RowsOf::Since`]).
    pub mark: Option<String>,
}

/// A view of a source's table that a stream can go on from, as from a copy.
pub struct FencedView {
    /// What the view shows.
    pub fence: Fence,
    /// A position that no change outside the fence lies below.
    pub position: u64,
    /// The rows.
    pub view: Box<dyn TableView>,
}

/// A consistent view of one table. Dropping it ends its connection.
#[async_trait]
pub trait TableView: Send {
    /// When it was taken.
    fn moment(&self) -> &Moment;

    /// Sums the table up inside the system, without reading its rows here; `None` if the system
    /// cannot do that for this table, whose rows are then to be read.
    async fn digest(&mut self, bucket_bits: u32) -> Result<Option<Digest>>;

    /// Counts the rows.
    async fn count(&mut self) -> Result<u64>;

    /// Begins to read rows, from the beginning, giving up what was being read.
    async fn begin(&mut self, rows: RowsOf) -> Result<()>;

    /// The next rows; `None` at the end.
    async fn next(&mut self) -> Result<Option<ViewedRows>>;

    /// How values stand in the system's SQL; `None` if nobody writes to it that way.
    fn wording(&self) -> Option<&dyn Wording> {
        None
    }
}

/// How the rows of one table stand in its system's SQL, for statements that people read and run.
/// Names are quoted with `"` there.
pub trait Wording: Send + Sync {
    /// The value in `row` of `values`, which are of `field`, as INSERT takes it.
    ///
    /// # Errors
    /// `Data` if the type has no text.
    fn value(&self, field: &Field, values: &dyn Array, row: usize) -> Result<String>;

    /// A condition that only rows fulfil which are exactly this one of `rows`, NULL being equal to
    /// NULL. The rows have the source's columns.
    ///
    /// # Errors
    /// As [`Self::value`].
    fn same(&self, rows: &RecordBatch, row: usize) -> Result<String>;

    /// The hidden column that numbers the rows of a table.
    fn place(&self) -> &'static str;
}

/// Which rows to read.
#[derive(Debug, Clone)]
pub enum RowsOf {
    /// All.
    All,
    /// Those of these buckets. A system that cannot tell may give others too.
    Buckets(BucketSet),
    /// Those under these keys ([`TableSchema::key_arrow`](crate::TableSchema::key_arrow)).
    Keys(RecordBatch),
    /// Those that are new or changed since the moment that bore this mark. Only of sources that
    /// give marks; others give all.
    Since(String),
}

/// Rows of a view.
#[derive(Debug, Clone)]
pub struct ViewedRows {
    /// The rows, as [`TableSchema::arrow`](crate::TableSchema::arrow) of the plan's source.
    pub rows: RecordBatch,
    /// Per row a number that is another one after any change of the row, if the system has such.
    pub versions: Option<Vec<u64>>,
}
