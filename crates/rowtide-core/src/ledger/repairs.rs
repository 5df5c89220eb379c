//! What is told of rows that were made right.

use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};

use super::{Entry, REPAIRS, plan};
use crate::{Offset, Result, TableName};

/// What is told of one row that was made right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repaired {
    /// How it differed, as a word.
    pub kind: &'static str,
    /// Its key as JSON; without a key the whole row.
    pub key: String,
    /// The names of the columns that differed as JSON, if it stood on both sides.
    pub columns: Option<String>,
}

/// The rows that tell of `rows` of `table`, which are right as of `position`.
///
/// # Errors
/// `Internal` if Arrow refuses them.
pub fn repairs(
    table: &TableName,
    rows: &[Repaired],
    (pipeline, position, now): (&str, Offset, i64),
) -> Result<Entry> {
    let rows: Vec<_> =
        rows.iter().map(|row| (row.kind, Some(&*row.key), row.columns.as_deref())).collect();
    told(table, &rows, (pipeline, position, now))
}

/// The row that tells of a whole `table` that was put right as of `position`, because its place in
/// the log was lost: how many rows were written, and how many removed before.
///
/// # Errors
/// `Internal` if Arrow refuses it.
pub fn mended(
    table: &TableName,
    (written, removed): (u64, u64),
    about: (&str, Offset, i64),
) -> Result<Entry> {
    let counts = format!("{{\"removed\":{removed},\"written\":{written}}}");
    told(table, &[("mended", None, Some(&counts))], about)
}

/// Kind, key, and what differed.
type Row<'a> = (&'a str, Option<&'a str>, Option<&'a str>);

fn told(
    table: &TableName,
    rows: &[Row<'_>],
    (pipeline, position, now): (&str, Offset, i64),
) -> Result<Entry> {
    let plan = plan(REPAIRS);
    let same = |text: &str| Arc::new(StringArray::from(vec![text; rows.len()])) as ArrayRef;
    let position = i64::try_from(position.0).unwrap_or(i64::MAX);
    let at = TimestampMicrosecondArray::from(vec![now; rows.len()]).with_timezone("UTC");
    let columns = vec![
        same(pipeline),
        same(&table.schema),
        same(&table.name),
        Arc::new(rows.iter().map(|row| Some(row.0)).collect::<StringArray>()),
        Arc::new(rows.iter().map(|row| row.1).collect::<StringArray>()),
        Arc::new(rows.iter().map(|row| row.2).collect::<StringArray>()),
        Arc::new(Int64Array::from(vec![position; rows.len()])),
        Arc::new(at),
    ];
    let row = RecordBatch::try_new(plan.target_arrow(), columns)?;
    Ok(Entry { plan, row })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repaired_rows_are_told_with_kind_and_key() {
        let one = Repaired { kind: "missing", key: "{\"id\":\"1\"}".to_owned(), columns: None };
        let columns = Some("[\"amount\"]".to_owned());
        let other = Repaired { kind: "changed", columns, ..one.clone() };
        let table = TableName::new("public", "t");
        let entry = repairs(&table, &[one, other], ("p", Offset(5), 1)).unwrap();
        let column = |name: &str| entry.row.column_by_name(name).unwrap().to_data();
        assert_eq!(column("kind"), StringArray::from(vec!["missing", "changed"]).into());
        assert_eq!(column("differing"), StringArray::from(vec![None, Some("[\"amount\"]")]).into());
        assert_eq!(column("position"), Int64Array::from(vec![5, 5]).into());
    }

    #[test]
    fn a_mended_table_is_told_with_its_counts() {
        let table = TableName::new("public", "t");
        let entry = mended(&table, (3, 2), ("p", Offset(5), 1)).unwrap();
        let column = |name: &str| entry.row.column_by_name(name).unwrap().to_data();
        let counts = "{\"removed\":2,\"written\":3}";
        assert_eq!(column("differing"), StringArray::from(vec![Some(counts)]).into());
        assert_eq!(column("key"), StringArray::from(vec![None::<&str>]).into());
    }
}
