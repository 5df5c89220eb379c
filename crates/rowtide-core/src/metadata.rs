//! Columns that Rowtide adds to a table on request, and their values.

use std::sync::Arc;

use arrow_array::builder::{ListBuilder, StringBuilder};
use arrow_array::{ArrayRef, BooleanArray, Int64Array, StringArray, TimestampMicrosecondArray};
use arrow_schema::{DataType, Field, TimeUnit};
use serde::{Deserialize, Serialize};

use crate::{ChangeBatch, Commit, Offset, Op};

/// Which metadata columns a table gets, under which names; `None` leaves one out.
///
/// They follow the source's columns in the order of the fields here.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MetadataColumns {
    /// `insert`, `update`, `delete`, `truncate`, `quarantine` for a row that is kept out, or
    /// `snapshot` for copied rows (text). A repaired row has what a change would have that led to
    /// it.
    pub op: Option<String>,
    /// Whether the row was deleted at the source (boolean).
    pub deleted: Option<String>,
    /// Where the change's commit record starts in the source's log (bigint; PostgreSQL: the LSN
    /// as a number). Copied rows hold the position after which streaming continued, repaired rows
    /// that at which they were made right.
    pub position: Option<String>,
    /// The change's order within its commit, from 0 (bigint); NULL for copied rows. Negative for
    /// repaired rows, and rising from each to the next: they come behind what was copied at their
    /// position, and before what is committed there.
    pub seq: Option<String>,
    /// When the change was committed at the source (timestamptz); NULL for copied and repaired
    /// rows.
    pub committed_at: Option<String>,
    /// When Rowtide applied it (timestamptz).
    pub loaded_at: Option<String>,
    /// Names of the columns whose value the log did not repeat (text list), for append tables.
    pub unchanged: Option<String>,
}

impl MetadataColumns {
    /// What append tables have by default: everything but `deleted`.
    pub fn append() -> Self {
        Self { deleted: None, unchanged: Some("_rowtide_unchanged".into()), ..Self::merge() }
    }

    /// What merge tables have when metadata is asked for: everything but `unchanged`.
    pub fn merge() -> Self {
        Self {
            op: Some("_rowtide_op".into()),
            deleted: Some("_rowtide_deleted".into()),
            position: Some("_rowtide_position".into()),
            seq: Some("_rowtide_seq".into()),
            committed_at: Some("_rowtide_committed_at".into()),
            loaded_at: Some("_rowtide_loaded_at".into()),
            unchanged: None,
        }
    }

    /// What soft-delete tables have at least.
    pub fn soft_delete() -> Self {
        Self { deleted: Some("_rowtide_deleted".into()), ..Self::default() }
    }

    /// The fields, in order.
    pub fn fields(&self) -> Vec<Field> {
        let instant = || DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        let list = || DataType::List(Arc::new(Field::new("item", DataType::Utf8, true)));
        let columns: [(&Option<String>, DataType); 7] = [
            (&self.op, DataType::Utf8),
            (&self.deleted, DataType::Boolean),
            (&self.position, DataType::Int64),
            (&self.seq, DataType::Int64),
            (&self.committed_at, instant()),
            (&self.loaded_at, instant()),
            (&self.unchanged, list()),
        ];
        columns
            .into_iter()
            .filter_map(|(name, kind)| name.as_ref().map(|name| Field::new(name, kind, true)))
            .collect()
    }

    /// The values for copied rows; `position` is where the copy's table resumes streaming.
    pub fn snapshot_values(&self, rows: usize, position: i64, loaded_at: i64) -> Vec<ArrayRef> {
        let values = Values {
            op: (0..rows).map(|_| "snapshot").collect(),
            deleted: vec![false; rows],
            position: vec![position; rows],
            seq: vec![None; rows],
            committed_at: vec![None; rows],
        };
        self.arrays(values, loaded_at, None)
    }

    /// The values for each row of `batch`.
    pub fn change_values(&self, batch: &ChangeBatch, loaded_at: i64) -> Vec<ArrayRef> {
        let len = batch.len();
        let mut values = Values {
            op: batch.ops.iter().map(|op| op.as_str()).collect(),
            deleted: batch.ops.iter().map(|op| op.removes()).collect(),
            position: Vec::with_capacity(len),
            seq: batch.ordinals.iter().map(|&ordinal| Some(i64::from(ordinal))).collect(),
            committed_at: Vec::with_capacity(len),
        };
        for run in &batch.commits {
            values.position.extend(std::iter::repeat_n(position_of(&run.commit), run.rows));
            let at = Some(run.commit.committed_at);
            values.committed_at.extend(std::iter::repeat_n(at, run.rows));
        }
        self.arrays(values, loaded_at, Some(batch))
    }

    /// The values of the one row that records a TRUNCATE in an append table.
    pub fn truncate_values(&self, commit: &Commit, ordinal: u32, loaded_at: i64) -> Vec<ArrayRef> {
        let values = Values {
            op: vec!["truncate"],
            deleted: vec![true],
            position: vec![position_of(commit)],
            seq: vec![Some(i64::from(ordinal))],
            committed_at: vec![Some(commit.committed_at)],
        };
        self.arrays(values, loaded_at, None)
    }

    /// The values for repaired rows, the first of which has the order `first`; `ops` are words for
    /// changes.
    pub fn repair_values(
        &self,
        ops: &[Op],
        (position, first): (Offset, i64),
        loaded_at: i64,
    ) -> Vec<ArrayRef> {
        let rows = ops.len();
        let position = i64::try_from(position.0).unwrap_or(i64::MAX);
        let values = Values {
            op: ops.iter().map(|op| op.as_str()).collect(),
            deleted: ops.iter().map(|op| op.removes()).collect(),
            position: vec![position; rows],
            seq: (first..).take(rows).map(Some).collect(),
            committed_at: vec![None; rows],
        };
        self.arrays(values, loaded_at, None)
    }

    fn arrays(&self, v: Values, loaded_at: i64, batch: Option<&ChangeBatch>) -> Vec<ArrayRef> {
        let rows = v.op.len();
        let mut out: Vec<ArrayRef> = Vec::new();
        if self.op.is_some() {
            out.push(Arc::new(StringArray::from(v.op)));
        }
        if self.deleted.is_some() {
            out.push(Arc::new(BooleanArray::from(v.deleted)));
        }
        if self.position.is_some() {
            out.push(Arc::new(Int64Array::from(v.position)));
        }
        if self.seq.is_some() {
            out.push(Arc::new(Int64Array::from(v.seq)));
        }
        if self.committed_at.is_some() {
            let at = TimestampMicrosecondArray::from(v.committed_at);
            out.push(Arc::new(at.with_timezone("UTC")));
        }
        if self.loaded_at.is_some() {
            let at = TimestampMicrosecondArray::from_value(loaded_at, rows);
            out.push(Arc::new(at.with_timezone("UTC")));
        }
        if self.unchanged.is_some() {
            out.push(unchanged_names(rows, batch));
        }
        out
    }
}

struct Values {
    op: Vec<&'static str>,
    deleted: Vec<bool>,
    position: Vec<i64>,
    seq: Vec<Option<i64>>,
    committed_at: Vec<Option<i64>>,
}

fn position_of(commit: &Commit) -> i64 {
    i64::try_from(commit.position.0).unwrap_or(i64::MAX)
}

fn unchanged_names(rows: usize, batch: Option<&ChangeBatch>) -> ArrayRef {
    let mut names = ListBuilder::new(StringBuilder::new());
    for row in 0..rows {
        let mut any = false;
        if let Some(batch) = batch {
            for (column, bits) in batch.unchanged.columns() {
                if bits.value(row) {
                    names.values().append_value(batch.table.columns[column].name());
                    any = true;
                }
            }
        }
        names.append(any);
    }
    Arc::new(names.finish())
}
