//! What the tests share: a file of its own for each, plans, rows, and reading back as text.

use std::path::PathBuf;
use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow_schema::{DataType, Field};
use rowtide_core::traits::{Progress, Writer};
use rowtide_core::{
    Checkpoint, Column, DeleteMode, Destination, Identity, MetadataColumns, Mode, Offset, Phase,
    Result, TableName, TablePlan, TableSchema, TableState,
};
use rowtide_duckdb::{DuckdbDestination, DuckdbOptions};
use tempfile::TempDir;

pub(crate) const PIPELINE: &str = "shop";

/// A database file in a directory that goes with it.
pub(crate) struct Place {
    pub(crate) destination: DuckdbDestination,
    pub(crate) path: PathBuf,
    _directory: TempDir,
}

pub(crate) fn place() -> Place {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("warehouse.duckdb");
    Place { destination: at(path.clone()), path, _directory: directory }
}

pub(crate) fn at(path: PathBuf) -> DuckdbDestination {
    let options = DuckdbOptions {
        memory_limit: "512MiB".to_owned(),
        threads: Some(2),
        ..DuckdbOptions::new(path)
    };
    DuckdbDestination::new(options).unwrap()
}

impl Place {
    /// The rows of `select`, joined by `|`, with `∅` for NULL.
    pub(crate) async fn rows(&self, select: &str) -> Vec<String> {
        rows(&self.destination, select).await
    }

    /// A writer, and the target of `plan` made, empty.
    pub(crate) async fn begin(&self, plan: &TablePlan) -> Box<dyn Writer> {
        let mut writer = self.destination.open(PIPELINE).await.unwrap();
        writer.promote(plan).await.unwrap();
        writer.remember(&state_of(plan, Phase::Streaming)).await.unwrap();
        writer.commit(Progress::default()).await.unwrap();
        writer
    }
}

pub(crate) async fn rows(destination: &DuckdbDestination, select: &str) -> Vec<String> {
    let rows = destination.select(select).await.unwrap();
    let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "∅".to_owned());
    rows.iter().map(|row| row.iter().map(text).collect::<Vec<_>>().join("|")).collect()
}

pub(crate) fn column(number: i32, field: Field) -> Column {
    Column { field: Arc::new(field), native_type: "test".to_owned(), number }
}

pub(crate) fn schema(
    (id, name): (u64, &str),
    version: u32,
    fields: Vec<Field>,
    key: Vec<usize>,
) -> Arc<TableSchema> {
    let columns = (1..).zip(fields).map(|(number, field)| column(number, field)).collect();
    let identity = if key.is_empty() { Identity::FullRow } else { Identity::Key };
    let name = TableName::new("public", name);
    Arc::new(TableSchema::new((id, name), version, columns, key, identity))
}

pub(crate) fn plan(source: Arc<TableSchema>) -> TablePlan {
    TablePlan {
        target: source.name.clone(),
        source,
        mode: Mode::Merge,
        delete: DeleteMode::Hard,
        metadata: MetadataColumns::default(),
    }
}

/// A keyed table `items (id, name, note)`.
pub(crate) fn items() -> TablePlan {
    plan(schema((7, "items"), 1, item_fields(), vec![0]))
}

pub(crate) fn item_fields() -> Vec<Field> {
    vec![
        Field::new("id", DataType::Int64, true),
        Field::new("name", DataType::Utf8, true),
        Field::new("note", DataType::Utf8, true),
    ]
}

pub(crate) type Item<'a> = (i64, Option<&'a str>, Option<&'a str>);

pub(crate) fn item_rows(plan: &TablePlan, items: &[Item<'_>]) -> RecordBatch {
    let columns: Vec<ArrayRef> = vec![
        Arc::new(items.iter().map(|item| Some(item.0)).collect::<Int64Array>()),
        Arc::new(items.iter().map(|item| item.1).collect::<StringArray>()),
        Arc::new(items.iter().map(|item| item.2).collect::<StringArray>()),
    ];
    with_metadata(plan, columns, "update")
}

/// `columns` and the metadata columns of `plan` as a batch.
pub(crate) fn with_metadata(plan: &TablePlan, columns: Vec<ArrayRef>, op: &str) -> RecordBatch {
    use arrow_array::{BooleanArray, TimestampMicrosecondArray};
    let rows = columns[0].len();
    let mut columns = columns;
    for field in plan.metadata.fields() {
        columns.push(match field.data_type() {
            DataType::Utf8 => Arc::new(StringArray::from(vec![op; rows])),
            DataType::Boolean => Arc::new(BooleanArray::from(vec![op == "delete"; rows])),
            DataType::Int64 => Arc::new(Int64Array::from(vec![77; rows])),
            DataType::Timestamp(..) => {
                Arc::new(TimestampMicrosecondArray::from(vec![1; rows]).with_timezone("UTC"))
            }
            other => arrow_array::new_null_array(other, rows),
        });
    }
    RecordBatch::try_new(plan.target_arrow(), columns).unwrap()
}

pub(crate) fn state_of(plan: &TablePlan, phase: Phase) -> TableState {
    TableState {
        schema: (*plan.source).clone(),
        target: plan.target.clone(),
        mode: plan.mode,
        delete: plan.delete,
        metadata: plan.metadata.clone(),
        phase,
        fence: None,
        rows_copied: 0,
        reason: None,
        awaits: None,
        values: rowtide_core::ValueTally::default(),
    }
}

pub(crate) fn checkpoint(position: u64) -> Checkpoint {
    Checkpoint::single("slot".into(), Offset(position))
}

pub(crate) async fn commit_at(writer: &mut Box<dyn Writer>, position: u64) -> Result<()> {
    let checkpoint = checkpoint(position);
    let progress = Progress { checkpoint: Some(&checkpoint), ..Progress::default() };
    writer.commit(progress).await
}

/// Runs `sql` as somebody else would who opens the file in this process.
pub(crate) async fn raw(place: &Place, sql: &str) {
    place.destination.execute(sql).await.unwrap();
}
