//! Tables in which Rowtide tells, beside the data and in the same commit, what it did to it.
//!
//! They stand in the schema `_rowtide` of every destination, are made by it when a pipeline is
//! opened, and are written like any append table.

use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow_schema::{DataType, Field, TimeUnit};

use crate::{
    Column, DeleteMode, Identity, MetadataColumns, Mode, Offset, Result, SchemaChange, TableName,
    TablePlan, TableSchema,
};

/// The schema that holds Rowtide's own tables.
pub const SCHEMA: &str = "_rowtide";

/// One row for one of these tables.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The table.
    pub plan: TablePlan,
    /// The row.
    pub row: RecordBatch,
}

/// Who tells, and when.
#[derive(Debug, Clone, Copy)]
pub struct Occasion<'a> {
    /// The pipeline.
    pub pipeline: &'a str,
    /// The position of the transaction it is about.
    pub position: Offset,
    /// Now, in microseconds since 1970 UTC.
    pub now: i64,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Text,
    Number,
    Instant,
}

type Columns = &'static [(&'static str, Kind)];

const SCHEMA_HISTORY: (&str, Columns) = (
    "schema_history",
    &[
        ("pipeline", Kind::Text),
        ("source_schema", Kind::Text),
        ("source_table", Kind::Text),
        ("version", Kind::Number),
        ("position", Kind::Number),
        ("change", Kind::Text),
        ("applied_at", Kind::Instant),
    ],
);

/// All of these tables.
pub fn tables() -> Vec<TablePlan> {
    vec![plan(SCHEMA_HISTORY)]
}

/// The row that tells of a schema change which led to `table`.
///
/// # Errors
/// `Internal` if Arrow refuses the row.
pub fn schema_history(
    table: &TableSchema,
    change: &SchemaChange,
    occasion: Occasion<'_>,
) -> Result<Entry> {
    let plan = plan(SCHEMA_HISTORY);
    let text = |value: &str| Arc::new(StringArray::from(vec![value])) as ArrayRef;
    let number = |value: i64| Arc::new(Int64Array::from(vec![value])) as ArrayRef;
    let position = i64::try_from(occasion.position.0).unwrap_or(i64::MAX);
    let at = TimestampMicrosecondArray::from(vec![occasion.now]).with_timezone("UTC");
    let columns = vec![
        text(occasion.pipeline),
        text(&table.name.schema),
        text(&table.name.name),
        number(i64::from(table.version)),
        number(position),
        text(&change.to_string()),
        Arc::new(at),
    ];
    let row = RecordBatch::try_new(plan.target_arrow(), columns)?;
    Ok(Entry { plan, row })
}

fn plan((name, columns): (&str, Columns)) -> TablePlan {
    let columns = columns.iter().zip(1..).map(|((name, kind), number)| {
        let (data_type, native) = match kind {
            Kind::Text => (DataType::Utf8, "text"),
            Kind::Number => (DataType::Int64, "bigint"),
            Kind::Instant => {
                (DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), "timestamptz")
            }
        };
        let field = Arc::new(Field::new(*name, data_type, true));
        Column { field, native_type: native.to_owned(), number }
    });
    let name = TableName::new(SCHEMA, name);
    let columns = columns.collect();
    let source = TableSchema::new((0, name.clone()), 1, columns, Vec::new(), Identity::None);
    TablePlan {
        source: Arc::new(source),
        target: name,
        mode: Mode::Append,
        delete: DeleteMode::Hard,
        metadata: MetadataColumns::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_told_with_its_position() {
        let plan = &tables()[0];
        let change =
            SchemaChange::DropColumn { table: Arc::clone(&plan.source), column: "gone".to_owned() };
        let occasion = Occasion { pipeline: "p", position: Offset(17), now: 1 };
        let entry = schema_history(&plan.source, &change, occasion).unwrap();
        let column = |name: &str| entry.row.column_by_name(name).unwrap().to_data();
        assert_eq!(column("position"), Int64Array::from(vec![17]).into());
        assert_eq!(column("change"), StringArray::from(vec!["column gone dropped"]).into());
    }
}
