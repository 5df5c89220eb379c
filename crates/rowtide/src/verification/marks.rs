//! The marks of the last verifications that found their table equal, from `_rowtide.verify`.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use arrow_array::cast::AsArray;
use arrow_array::types::TimestampMicrosecondType;
use arrow_array::{Array, RecordBatch};
use rowtide_core::view::{Fixed, Inspect, RowsOf, ViewRequest};
use rowtide_core::{Error, Mode, Result, TableName, TablePlan, ledger};

/// By table, the mark of its last verification that found it equal.
pub(crate) type Marks = HashMap<TableName, String>;

/// Reads them for `pipeline`.
///
/// # Errors
/// Whatever reading the destination meets.
pub(crate) async fn read(destination: &dyn Inspect, pipeline: &str) -> Result<Marks> {
    // Every row of it is wanted, not the last of each key.
    let plan = TablePlan { mode: Mode::Merge, ..ledger::verify_plan() };
    let request = ViewRequest {
        pipeline: Arc::from(pipeline),
        plan,
        // The name of a pipeline holds no quote.
        condition: Some(format!("pipeline = '{pipeline}' AND mark IS NOT NULL")),
        range: None,
        share: Fixed::of(1),
        batch_bytes: 1 << 20,
        statement: Duration::from_secs(10),
    };
    let mut view = destination.view(request).await?;
    view.begin(RowsOf::All).await?;
    let mut newest: HashMap<TableName, (i64, String)> = HashMap::new();
    while let Some(viewed) = view.next().await? {
        for (table, at, mark) in rows(&viewed.rows)? {
            let entry = newest.entry(table).or_insert_with(|| (i64::MIN, String::new()));
            if at > entry.0 {
                *entry = (at, mark);
            }
        }
    }
    Ok(newest.into_iter().map(|(table, (_, mark))| (table, mark)).collect())
}

fn rows(batch: &RecordBatch) -> Result<Vec<(TableName, i64, String)>> {
    let column = |name: &str| {
        let lacking = || Error::internal(format!("_rowtide.verify has no column {name}"));
        batch.column_by_name(name).ok_or_else(lacking)
    };
    let text = |name: &str| column(name).map(AsArray::as_string::<i32>);
    let (schemas, tables, marks) = (text("source_schema")?, text("source_table")?, text("mark")?);
    let ended = column("ended_at")?.as_primitive::<TimestampMicrosecondType>();
    let complete = |row: &usize| {
        !(schemas.is_null(*row)
            || tables.is_null(*row)
            || marks.is_null(*row)
            || ended.is_null(*row))
    };
    let row = |row: usize| {
        let name = TableName::new(schemas.value(row), tables.value(row));
        (name, ended.value(row), marks.value(row).to_owned())
    };
    Ok((0..batch.num_rows()).filter(complete).map(row).collect())
}
