//! Rows of one version of a table as another version has them.
//!
//! With the policy `ignore` the destination keeps its columns while the source's change. Columns
//! are matched by the source's number, never by name or place.

use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, RecordBatchOptions, new_null_array};
use rowtide_core::{ChangeBatch, Column, Error, Result, TableSchema, Unchanged};

/// Whether every column of `table` is in `other`, in the same place.
pub(crate) fn same_columns(table: &TableSchema, other: &TableSchema) -> bool {
    table.columns.len() == other.columns.len()
        && table.columns.iter().zip(&other.columns).all(|(a, b)| same(a, b))
}

/// Whether rows of `from` can be shown as rows of `to`: the key is there, types are the same.
pub(crate) fn can_conform(from: &TableSchema, to: &TableSchema) -> bool {
    let counterpart = |column: &Column| from.columns.iter().find(|c| c.number == column.number);
    let kept = to.columns.iter().all(|column| {
        counterpart(column).is_none_or(|c| c.field.data_type() == column.field.data_type())
    });
    let keyed = to.key.iter().all(|&at| to.columns.get(at).and_then(counterpart).is_some());
    kept && keyed && from.identity == to.identity && (to.is_keyed() || same_columns(from, to))
}

/// The changes of `batch` with the columns of `to`: what `to` lacks is left out, what the batch
/// lacks is NULL.
///
/// # Errors
/// `Internal` if [`can_conform`] does not hold.
pub(crate) fn conform(batch: ChangeBatch, to: &Arc<TableSchema>) -> Result<ChangeBatch> {
    if !can_conform(&batch.table, to) {
        return Err(Error::internal(format!("rows of {} have another shape", to.name)));
    }
    let rows = batch.len();
    let places: Vec<Option<usize>> = to
        .columns
        .iter()
        .map(|column| batch.table.columns.iter().position(|c| c.number == column.number))
        .collect();
    let columns: Vec<ArrayRef> = places
        .iter()
        .zip(&to.columns)
        .map(|(place, column)| match place {
            Some(place) => Arc::clone(batch.rows.column(*place)),
            None => new_null_array(column.field.data_type(), rows),
        })
        .collect();
    let place_of = |at: usize| places.iter().position(|place| *place == Some(at));
    let unchanged = Unchanged::new(
        batch.unchanged.columns().filter_map(|(at, bits)| Some((place_of(at)?, bits.clone()))),
    );
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    let full = RecordBatch::try_new_with_options(to.arrow(), columns, &options)?;
    Ok(ChangeBatch { table: Arc::clone(to), rows: full, unchanged, ..batch })
}

fn same(a: &Column, b: &Column) -> bool {
    a.number == b.number && a.field == b.field
}

#[cfg(test)]
mod tests {
    use arrow_array::Int32Array;
    use arrow_schema::{DataType, Field};
    use rowtide_core::{Commit, CommitRun, Exceptions, Identity, Offset, Op, TableName};

    use super::*;

    fn table(columns: &[(&str, i32)]) -> Arc<TableSchema> {
        let columns = columns.iter().map(|(name, number)| Column {
            field: Arc::new(Field::new(*name, DataType::Int32, true)),
            native_type: "integer".into(),
            number: *number,
        });
        let name = TableName::new("public", "t");
        Arc::new(TableSchema::new((7, name), 1, columns.collect(), vec![0], Identity::Key))
    }

    fn batch(table: &Arc<TableSchema>) -> ChangeBatch {
        let columns = (0..table.columns.len())
            .map(|at| Arc::new(Int32Array::from(vec![i32::try_from(at).unwrap()])) as ArrayRef);
        let last = table.columns.len() - 1;
        let commit = Commit { position: Offset(1), xid: 1, committed_at: 0 };
        ChangeBatch {
            table: Arc::clone(table),
            ops: vec![Op::Update],
            rows: RecordBatch::try_new(table.arrow(), columns.collect()).unwrap(),
            unchanged: Unchanged::new([(last, [true].into_iter().collect())]),
            commits: vec![CommitRun { commit, rows: 1 }],
            ordinals: vec![0],
            exceptions: Exceptions::default(),
        }
    }

    #[test]
    fn columns_are_matched_by_number() {
        let to = table(&[("id", 1), ("gone", 2), ("kept", 3)]);
        let from = table(&[("id", 1), ("renamed", 3), ("new", 4)]);
        let conformed = conform(batch(&from), &to).unwrap();
        conformed.validate().unwrap();
        let column = |at: usize| conformed.rows.column(at).to_data();
        assert_eq!(column(0), Int32Array::from(vec![0]).into());
        assert_eq!(column(1).null_count(), 1);
        assert_eq!(column(2), Int32Array::from(vec![1]).into());
        // The value that was not repeated is one that is left out.
        assert!(conformed.unchanged.is_empty());
    }

    #[test]
    fn what_became_of_values_stays_with_their_rows() {
        let (to, from) = (table(&[("id", 1)]), table(&[("id", 1), ("new", 4)]));
        let mut batch = batch(&from);
        batch.ops = vec![Op::Refuse];
        let refused = rowtide_core::Refused {
            change: Op::Insert,
            columns: vec![4],
            column: "new".into(),
            reason: "why".into(),
            key: None,
            values: None,
        };
        batch.exceptions.refused.push((0, refused));
        let before = batch.exceptions.clone();
        let conformed = conform(batch, &to).unwrap();
        conformed.validate().unwrap();
        assert_eq!(conformed.exceptions, before);
    }

    #[test]
    fn a_lost_key_cannot_be_made_up() {
        let to = table(&[("id", 1), ("v", 2)]);
        assert!(!can_conform(&table(&[("v", 2)]), &to));
        assert!(can_conform(&table(&[("id", 1)]), &to));
        assert!(conform(batch(&table(&[("v", 2)])), &to).is_err());
    }
}
