//! One followed table in memory: its copy, and every change after it.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Array, ArrayRef};
use arrow_schema::DataType;
use rowtide_core::traits::{SnapshotRequest, StreamItem};
use rowtide_core::{ChangeBatch, Fence, Op, Result, SchemaChange, Source, TableSchema};

use crate::conformance::oracle::TextRow;

/// One followed table.
pub(super) struct Followed {
    /// The version that the stream has come to.
    pub(super) schema: Arc<TableSchema>,
    /// What its copy contains; `None` while it is being copied.
    pub(super) fence: Option<Fence>,
    /// Its rows, with values in the order of `names`.
    pub(super) rows: Vec<TextRow>,
    names: Vec<String>,
    /// What happened while it was being copied.
    pub(super) spool: Vec<StreamItem>,
    /// Why it cannot be followed any more.
    pub(super) stopped: Option<String>,
}

impl Followed {
    /// A table that is still to be copied.
    pub(super) fn new(schema: &Arc<TableSchema>) -> Self {
        Self {
            schema: Arc::clone(schema),
            fence: None,
            rows: Vec::new(),
            names: names(schema),
            spool: Vec::new(),
            stopped: None,
        }
    }

    /// Takes in what a schema change says, before its rows change.
    pub(super) fn learn(&mut self, change: &SchemaChange) {
        match change {
            SchemaChange::Unsupported { reason, .. } => self.stopped = Some(reason.clone()),
            _ => self.schema = Arc::clone(change.table()),
        }
    }

    /// Puts a copy in place, made with the columns of `schema`.
    pub(super) fn copied(&mut self, fence: Fence, rows: Vec<TextRow>) {
        (self.fence, self.rows) = (Some(fence), rows);
        for item in std::mem::take(&mut self.spool) {
            self.apply(item);
        }
    }

    /// Applies what happened, unless the copy has it.
    pub(super) fn apply(&mut self, item: StreamItem) {
        let fence = self.fence.clone().expect("the table is copied");
        match item {
            StreamItem::Changes(batch) => {
                if let Some(batch) = batch.outside(&fence).unwrap() {
                    self.change(&batch);
                }
            }
            StreamItem::Truncate { commit, .. } if fence.covers(&commit) => {}
            StreamItem::Truncate { .. } => self.rows.clear(),
            StreamItem::Schema { change, .. } => self.reshape(change),
        }
    }

    fn reshape(&mut self, change: SchemaChange) {
        match change {
            SchemaChange::AddColumn { table, column, fill } => {
                let fill = fill.and_then(|fill| text(&fill, 0));
                self.names.push(table.columns[column].name().to_owned());
                self.rows.iter_mut().for_each(|row| row.push(fill.clone()));
            }
            SchemaChange::RenameColumn { table, column, from } => {
                let at = self.names.iter().position(|name| *name == from);
                let at = at.expect("the renamed column was there");
                table.columns[column].name().clone_into(&mut self.names[at]);
            }
            SchemaChange::DropColumn { column, .. } => {
                let at = self.names.iter().position(|name| *name == column);
                let at = at.expect("the dropped column was there");
                self.names.remove(at);
                self.rows.iter_mut().for_each(|row| drop(row.remove(at)));
            }
            SchemaChange::WidenColumn { .. } | SchemaChange::Unsupported { .. } => {}
        }
    }

    fn change(&mut self, batch: &ChangeBatch) {
        let key = match batch.table.is_keyed() {
            true => batch.table.key.clone(),
            false => (0..batch.table.columns.len()).collect(),
        };
        let mut moving: Option<TextRow> = None;
        for row in 0..batch.len() {
            let values: TextRow =
                batch.rows.columns().iter().map(|values| text(values, row)).collect();
            let completed = |old: Option<TextRow>| -> TextRow {
                let old = old.unwrap_or_else(|| vec![None; values.len()]);
                let pick = |(at, (new, old)): (usize, (&Option<String>, Option<String>))| {
                    if batch.unchanged.is_set(row, at) { old } else { new.clone() }
                };
                values.iter().zip(old).enumerate().map(pick).collect()
            };
            match batch.ops[row] {
                Op::Insert => self.rows.push(values),
                Op::Update => {
                    let old = self.remove(&key, &values);
                    self.rows.push(completed(Some(old)));
                }
                Op::Delete => drop(self.remove(&key, &values)),
                Op::MoveOut => moving = Some(self.remove(&key, &values)),
                Op::Refuse => panic!("{}: a row was refused", self.schema.name),
                Op::MoveIn => {
                    let old = moving.take().expect("a row moves out before it moves in");
                    self.rows.push(completed(Some(old)));
                }
            }
        }
        assert_eq!(moving, None, "a row that moved out moves in, in the same batch");
    }

    fn remove(&mut self, key: &[usize], wanted: &TextRow) -> TextRow {
        let equal = |row: &TextRow| key.iter().all(|&at| row[at] == wanted[at]);
        let found = self.rows.iter().position(equal);
        let name = &self.schema.name;
        self.rows.swap_remove(found.unwrap_or_else(|| panic!("{name}: no row to change")))
    }
}

/// The rows of a copy and what it contains.
///
/// # Errors
/// Those of the source.
pub(super) async fn copy(
    source: Arc<dyn Source>,
    table: Arc<TableSchema>,
    lanes: usize,
) -> Result<(Fence, Vec<TextRow>)> {
    let request = SnapshotRequest { table, lanes, settle: true, batch_bytes: 64 << 10 };
    let snapshot = source.snapshot(request).await?;
    assert!((1..=lanes).contains(&snapshot.parts.len()), "{} parts", snapshot.parts.len());
    let mut rows = Vec::new();
    for mut part in snapshot.parts {
        while let Some((batch, _)) = part.next().await? {
            let columns = batch.columns();
            rows.extend((0..batch.num_rows()).map(|row| -> TextRow {
                columns.iter().map(|values| text(values, row)).collect()
            }));
        }
    }
    Ok((snapshot.fence, rows))
}

fn names(schema: &TableSchema) -> Vec<String> {
    schema.columns.iter().map(|column| column.name().to_owned()).collect()
}

/// A value as canonical text.
pub(super) fn text(array: &ArrayRef, row: usize) -> Option<String> {
    if array.is_null(row) {
        return None;
    }
    Some(match array.data_type() {
        DataType::Int64 => array.as_primitive::<Int64Type>().value(row).to_string(),
        DataType::Utf8 => array.as_string::<i32>().value(row).to_owned(),
        other => panic!("the suite makes no columns of type {other}"),
    })
}
