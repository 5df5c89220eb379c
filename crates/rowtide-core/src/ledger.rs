//! Tables in which Rowtide tells, beside the data and in the same commit, what it did to it.
//!
//! They stand in the schema `_rowtide` of every destination, are made by it when a pipeline is
//! opened, and are written like any append table.

mod repairs;
mod told;

use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow_schema::{DataType, Field, TimeUnit};

use crate::{
    Column, DeleteMode, Identity, MetadataColumns, Mode, Offset, Result, SchemaChange, TableName,
    TablePlan, TableSchema,
};

pub use repairs::{Repaired, mended, repairs};
pub use told::{Told, told};

/// The schema that holds Rowtide's own tables.
pub const SCHEMA: &str = "_rowtide";

/// Rows for one of these tables.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The table.
    pub plan: TablePlan,
    /// The rows.
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

const QUARANTINE: (&str, Columns) = (
    "quarantine",
    &[
        ("pipeline", Kind::Text),
        ("source_schema", Kind::Text),
        ("source_table", Kind::Text),
        ("source_column", Kind::Text),
        ("op", Kind::Text),
        ("reason", Kind::Text),
        ("position", Kind::Number),
        ("ordinal", Kind::Number),
        ("key", Kind::Text),
        ("row_values", Kind::Text),
        ("quarantined_at", Kind::Instant),
    ],
);

const VERIFY: (&str, Columns) = (
    "verify",
    &[
        ("pipeline", Kind::Text),
        ("source_schema", Kind::Text),
        ("source_table", Kind::Text),
        ("extent", Kind::Text),
        ("verdict", Kind::Text),
        ("position", Kind::Number),
        ("mark", Kind::Text),
        ("rows_at_source", Kind::Number),
        ("rows_at_destination", Kind::Number),
        ("differing", Kind::Number),
        ("unsettled", Kind::Number),
        ("started_at", Kind::Instant),
        ("ended_at", Kind::Instant),
    ],
);

const REPAIRS: (&str, Columns) = (
    "repairs",
    &[
        ("pipeline", Kind::Text),
        ("source_schema", Kind::Text),
        ("source_table", Kind::Text),
        ("kind", Kind::Text),
        ("key", Kind::Text),
        ("differing", Kind::Text),
        ("position", Kind::Number),
        ("repaired_at", Kind::Instant),
    ],
);

/// All of these tables.
pub fn tables() -> Vec<TablePlan> {
    vec![plan(SCHEMA_HISTORY), plan(QUARANTINE), plan(VERIFY), plan(REPAIRS)]
}

/// What is told of one table's verification.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// The table at the source.
    pub table: TableName,
    /// How much of it was looked at, as a word.
    pub extent: &'static str,
    /// What was found, as a word.
    pub verdict: &'static str,
    /// As of when, if it was compared.
    pub position: Option<Offset>,
    /// Words of the source by which it later tells what has changed since.
    pub mark: Option<String>,
    /// Rows at the source.
    pub rows_at_source: u64,
    /// Rows at the destination.
    pub rows_at_destination: u64,
    /// Keys that differ.
    pub differing: u64,
    /// Keys that kept changing.
    pub unsettled: u64,
    /// When it began, in microseconds since 1970 UTC.
    pub started_at: i64,
    /// When it ended.
    pub ended_at: i64,
}

/// How the table `_rowtide.verify` is followed, for whoever reads it.
pub fn verify_plan() -> TablePlan {
    plan(VERIFY)
}

/// The rows that tell of verifications.
///
/// # Errors
/// `Internal` if Arrow refuses them.
pub fn verify(pipeline: &str, tables: &[Verified]) -> Result<Entry> {
    let plan = plan(VERIFY);
    let text = |pick: &dyn Fn(&Verified) -> Option<String>| {
        Arc::new(tables.iter().map(pick).collect::<StringArray>()) as ArrayRef
    };
    let number = |pick: fn(&Verified) -> Option<u64>| {
        let number = |of: &Verified| pick(of).map(|n| i64::try_from(n).unwrap_or(i64::MAX));
        Arc::new(tables.iter().map(number).collect::<Int64Array>()) as ArrayRef
    };
    let instant = |pick: fn(&Verified) -> i64| {
        let at = TimestampMicrosecondArray::from_iter_values(tables.iter().map(pick));
        Arc::new(at.with_timezone("UTC")) as ArrayRef
    };
    let columns = vec![
        text(&|_| Some(pipeline.to_owned())),
        text(&|of| Some(of.table.schema.to_string())),
        text(&|of| Some(of.table.name.to_string())),
        text(&|of| Some(of.extent.to_owned())),
        text(&|of| Some(of.verdict.to_owned())),
        number(|of| of.position.map(|at| at.0)),
        text(&|of| of.mark.clone()),
        number(|of| Some(of.rows_at_source)),
        number(|of| Some(of.rows_at_destination)),
        number(|of| Some(of.differing)),
        number(|of| Some(of.unsettled)),
        instant(|of| of.started_at),
        instant(|of| of.ended_at),
    ];
    let row = RecordBatch::try_new(plan.target_arrow(), columns)?;
    Ok(Entry { plan, row })
}

/// What `op` says of a row that is in quarantine no more; without a key, of all that were.
pub const RESOLVED: &str = "resolved";

/// What is told of one row in quarantine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quarantined {
    /// What the change was, `snapshot` for copied rows, or [`RESOLVED`].
    pub op: &'static str,
    /// The column whose value cannot be represented.
    pub column: Option<String>,
    /// Why.
    pub reason: String,
    /// The transaction; for copied rows the place of the copy.
    pub position: Offset,
    /// Its order in the transaction.
    pub ordinal: Option<u32>,
    /// The row's key as JSON.
    pub key: Option<String>,
    /// The row as JSON.
    pub values: Option<String>,
}

/// The rows that tell of `rows` of `table`.
///
/// # Errors
/// `Internal` if Arrow refuses them.
pub fn quarantine(
    table: &TableName,
    rows: &[Quarantined],
    (pipeline, now): (&str, i64),
) -> Result<Entry> {
    let plan = plan(QUARANTINE);
    let same = |text: &str| Arc::new(StringArray::from(vec![text; rows.len()])) as ArrayRef;
    let text = |pick: fn(&Quarantined) -> Option<&str>| {
        Arc::new(rows.iter().map(pick).collect::<StringArray>()) as ArrayRef
    };
    let number = |pick: fn(&Quarantined) -> Option<i64>| {
        Arc::new(rows.iter().map(pick).collect::<Int64Array>()) as ArrayRef
    };
    let at = TimestampMicrosecondArray::from(vec![now; rows.len()]).with_timezone("UTC");
    let columns = vec![
        same(pipeline),
        same(&table.schema),
        same(&table.name),
        text(|row| row.column.as_deref()),
        text(|row| Some(row.op)),
        text(|row| Some(&row.reason)),
        number(|row| Some(i64::try_from(row.position.0).unwrap_or(i64::MAX))),
        number(|row| row.ordinal.map(i64::from)),
        text(|row| row.key.as_deref()),
        text(|row| row.values.as_deref()),
        Arc::new(at),
    ];
    let row = RecordBatch::try_new(plan.target_arrow(), columns)?;
    Ok(Entry { plan, row })
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

    #[test]
    fn a_verdict_is_told_with_its_place_and_mark() {
        let one = Verified {
            table: TableName::new("public", "t"),
            extent: "full",
            verdict: "equal",
            position: Some(Offset(17)),
            mark: Some("words".to_owned()),
            rows_at_source: 3,
            rows_at_destination: 3,
            differing: 0,
            unsettled: 0,
            started_at: 1,
            ended_at: 2,
        };
        let failed = Verified { position: None, mark: None, verdict: "failed", ..one.clone() };
        let entry = verify("p", &[one, failed]).unwrap();
        let column = |name: &str| entry.row.column_by_name(name).unwrap().to_data();
        assert_eq!(column("position"), Int64Array::from(vec![Some(17), None]).into());
        assert_eq!(column("verdict"), StringArray::from(vec!["equal", "failed"]).into());
        assert_eq!(column("mark"), StringArray::from(vec![Some("words"), None]).into());
    }

    #[test]
    fn rows_in_quarantine_are_told_with_place_and_key() {
        let one = Quarantined {
            op: "insert",
            column: Some("amount".to_owned()),
            reason: "it is NaN".to_owned(),
            position: Offset(5),
            ordinal: Some(2),
            key: Some("{\"id\":\"1\"}".to_owned()),
            values: None,
        };
        let marker = Quarantined { op: RESOLVED, column: None, ordinal: None, ..one.clone() };
        let table = TableName::new("public", "t");
        let entry = quarantine(&table, &[one, marker], ("p", 1)).unwrap();
        let column = |name: &str| entry.row.column_by_name(name).unwrap().to_data();
        assert_eq!(column("op"), StringArray::from(vec!["insert", "resolved"]).into());
        assert_eq!(column("ordinal"), Int64Array::from(vec![Some(2), None]).into());
        assert_eq!(column("source_table"), StringArray::from(vec!["t", "t"]).into());
    }
}
