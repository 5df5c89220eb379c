//! From the model's log to what a destination is given: change batches, folded as the engine does.

use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray, new_null_array};
use arrow_buffer::BooleanBuffer;
use arrow_schema::{Field, Schema};
use rowtide_core::traits::Writer;
use rowtide_core::{
    ChangeBatch, Commit, CommitRun, Exceptions, Mode, Op, Phase, Result, SchemaChange, TableSchema,
    TableWrite, Unchanged, fold,
};

use super::model::{Alteration, Cell, Change, Event, Kind, Row, Table, Transaction};

/// When everything was "loaded", in microseconds since 1970 UTC.
pub const LOADED_AT: i64 = 1_800_000_000_000_000;

/// The values of one column.
pub fn array<'a>(kind: Kind, cells: impl Iterator<Item = &'a Cell>) -> ArrayRef {
    match kind {
        Kind::Integer => Arc::new(
            cells
                .map(|cell| match cell {
                    Cell::Integer(value) => Some(*value),
                    Cell::Null | Cell::Same => None,
                    Cell::Text(_) => panic!("a text in a column of integers"),
                })
                .collect::<Int64Array>(),
        ),
        Kind::Text => Arc::new(
            cells
                .map(|cell| match cell {
                    Cell::Text(value) => Some(value),
                    Cell::Null | Cell::Same => None,
                    Cell::Integer(_) => panic!("an integer in a column of texts"),
                })
                .collect::<StringArray>(),
        ),
        other => panic!("the suite makes no source columns of kind {other:?}"),
    }
}

/// Rows with the source's columns.
pub fn source_rows(table: &TableSchema, rows: &[Row]) -> RecordBatch {
    let columns = table.columns.iter().enumerate().map(|(at, column)| {
        array(Kind::of(column.field.data_type()), rows.iter().map(|row| &row[at]))
    });
    // A row that only has a key is null elsewhere, whatever its table says.
    let fields: Vec<Field> =
        table.arrow().fields().iter().map(|field| nullable(field.as_ref())).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns.collect()).unwrap()
}

fn nullable(field: &Field) -> Field {
    field.clone().with_nullable(true)
}

/// Rows as a copy delivers them: with metadata columns that say so.
pub fn copied_rows(table: &Table, rows: &[Row], position: i64) -> RecordBatch {
    let mut columns = source_rows(&table.plan.source, rows).columns().to_vec();
    columns.extend(table.plan.metadata.snapshot_values(rows.len(), position, LOADED_AT));
    RecordBatch::try_new(table.plan.target_arrow(), columns).unwrap()
}

/// Changes of one table as a source would decode them.
pub fn change_batch(table: &Arc<TableSchema>, changes: &[(Commit, u32, Op, Row)]) -> ChangeBatch {
    let rows: Vec<Row> = changes.iter().map(|change| change.3.clone()).collect();
    let unchanged = (0..table.columns.len()).map(|at| {
        let bits: BooleanBuffer = rows.iter().map(|row| row[at] == Cell::Same).collect();
        (at, bits)
    });
    let mut commits: Vec<CommitRun> = Vec::new();
    for (commit, ..) in changes {
        match commits.last_mut() {
            Some(run) if run.commit == *commit => run.rows += 1,
            _ => commits.push(CommitRun { commit: *commit, rows: 1 }),
        }
    }
    ChangeBatch {
        table: Arc::clone(table),
        ops: changes.iter().map(|change| change.2).collect(),
        rows: source_rows(table, &rows),
        unchanged: Unchanged::new(unchanged),
        commits,
        ordinals: changes.iter().map(|change| change.1).collect(),
        exceptions: Exceptions::default(),
    }
}

/// The one row that describes a TRUNCATE.
fn marker(table: &Table, commit: &Commit, ordinal: u32) -> RecordBatch {
    let source = table.plan.source.columns.iter();
    let mut columns: Vec<ArrayRef> =
        source.map(|column| new_null_array(column.field.data_type(), 1)).collect();
    columns.extend(table.plan.metadata.truncate_values(commit, ordinal, LOADED_AT));
    let schema = table.plan.target_arrow();
    let fields: Vec<Field> = schema.fields().iter().map(|field| nullable(field)).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
}

/// Changes of one table that wait to be folded together.
struct Pending {
    table: Table,
    changes: Vec<(Commit, u32, Op, Row)>,
}

impl Pending {
    async fn write(self, writer: &mut dyn Writer) -> Result<()> {
        if self.changes.is_empty() {
            return Ok(());
        }
        let batch = change_batch(&self.table.plan.source, &self.changes);
        writer.write(&self.table.plan, fold(&batch, &self.table.plan, LOADED_AT)?).await
    }
}

/// Applies `transactions` as one piece of an epoch: per table, everything between two TRUNCATEs or
/// schema changes is folded into one write.
///
/// # Errors
/// Those of the writer.
pub async fn apply(writer: &mut dyn Writer, transactions: &[Transaction]) -> Result<()> {
    let mut pending: Vec<Pending> = Vec::new();
    for transaction in transactions {
        let mut ordinal = 0;
        for event in &transaction.events {
            let table = event.table();
            let at = pending.iter().position(|one| one.table.target() == table.target());
            match event {
                Event::Change(_, change) => {
                    let at = at.unwrap_or_else(|| {
                        pending.push(Pending { table: table.clone(), changes: Vec::new() });
                        pending.len() - 1
                    });
                    for (op, row) in ops(change) {
                        pending[at].changes.push((transaction.commit, ordinal, op, row));
                        ordinal += 1;
                    }
                }
                Event::Truncate(_) => {
                    flush(writer, &mut pending, at).await?;
                    let marker = marker(table, &transaction.commit, ordinal);
                    writer.write(&table.plan, truncation(table, marker)).await?;
                    ordinal += 1;
                }
                Event::Schema(_, alteration) => {
                    flush(writer, &mut pending, at).await?;
                    alter(writer, table, alteration).await?;
                }
            }
        }
    }
    for one in pending {
        one.write(writer).await?;
    }
    Ok(())
}

async fn flush(
    writer: &mut dyn Writer,
    pending: &mut Vec<Pending>,
    at: Option<usize>,
) -> Result<()> {
    match at {
        Some(at) => pending.remove(at).write(writer).await,
        None => Ok(()),
    }
}

fn ops(change: &Change) -> Vec<(Op, Row)> {
    match change.clone() {
        Change::Insert(row) => vec![(Op::Insert, row)],
        Change::Update(row) => vec![(Op::Update, row)],
        Change::Delete(row) => vec![(Op::Delete, row)],
        Change::Move { old, new } => vec![(Op::MoveOut, old), (Op::MoveIn, new)],
    }
}

fn truncation(table: &Table, marker: RecordBatch) -> TableWrite {
    match table.plan.mode {
        Mode::Append => TableWrite::Append(marker),
        Mode::Merge | Mode::Replace => TableWrite::Truncate { marker },
    }
}

async fn alter(writer: &mut dyn Writer, table: &Table, alteration: &Alteration) -> Result<()> {
    let source = Arc::clone(&table.plan.source);
    let change = match alteration {
        Alteration::Added { fill } => {
            let column = source.columns.len() - 1;
            let kind = Kind::of(source.columns[column].field.data_type());
            let fill = (*fill != Cell::Null).then(|| array(kind, std::iter::once(fill)));
            SchemaChange::AddColumn { table: source, column, fill }
        }
        Alteration::Dropped { column, .. } => {
            SchemaChange::DropColumn { table: source, column: column.clone() }
        }
        Alteration::Renamed { from, at } => {
            SchemaChange::RenameColumn { table: source, column: *at, from: from.clone() }
        }
    };
    writer.apply_schema(&table.plan, &change).await?;
    writer.remember(&table.plan.state(Phase::Streaming)).await
}
