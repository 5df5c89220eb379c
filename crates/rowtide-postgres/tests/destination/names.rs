//! Names that SQL could stumble over.

use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array, StringArray};
use arrow_schema::{DataType, Field};
use rowtide_core::{
    Destination, ErrorKind, MergeWrite, MultisetWrite, Patches, Phase, SchemaChange, TableName,
    TablePlan, TableSchema, TableWrite,
};

use crate::support::{Db, commit_at, plan, schema, state_of, with_metadata};

pub(crate) async fn hostile_names_are_names(db: &Db<'_>) {
    let destination = db.destination();
    let pipeline = "it's \"a\" ; pipeline\n😀";
    let mut writer = destination.open(pipeline).await.unwrap();
    let long = "ä".repeat(31) + "x";
    assert_eq!(long.len(), 63);
    let names =
        ["select", "a\"b", "x.y", "new\nline", "😀", "it's; --", "Case", "case", "$1", &long];
    for (position, (id, name)) in (1..).zip((50..).zip(names)) {
        let other = names[(usize::try_from(id).unwrap() + 3) % names.len()];
        let fields = vec![
            Field::new(name, DataType::Int64, true),
            Field::new(format!("{}2", rowtide(other)), DataType::Utf8, true),
        ];
        let keyed = plan(schema((id, name), fields.clone(), vec![0]));
        let target = TableName::new(format!("{} s", rowtide(name)), name);
        let keyed = TablePlan { target, ..keyed };
        write_all(db, (&destination, pipeline), &mut writer, (&keyed, position)).await;
    }
    let counts = "SELECT count(*) FROM _rowtide.tables WHERE mode = 'merge'";
    assert_eq!(db.sql(counts), names.len().to_string());
    let too_long = plan(schema((99, "t"), vec![Field::new("c", DataType::Int64, true)], vec![0]));
    let too_long = TablePlan { target: TableName::new("s", "n".repeat(64)), ..too_long };
    let error = destination.load(pipeline, &too_long, 1).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.message().contains("63 bytes"), "{}", error.message());
    drop(writer);
    let removed = destination.teardown(pipeline).await.unwrap();
    assert_eq!(removed.iter().filter(|what| what.starts_with("table ")).count(), names.len());
}

/// As much of a name as leaves room for more.
fn rowtide(name: &str) -> String {
    name.chars().take(20).collect()
}

async fn write_all(
    db: &Db<'_>,
    (destination, pipeline): (&rowtide_postgres::PostgresDestination, &str),
    writer: &mut Box<dyn rowtide_core::traits::Writer>,
    (plan, position): (&TablePlan, u64),
) {
    let rows = |id: i64, text: Option<&str>| {
        let columns: Vec<ArrayRef> =
            vec![Arc::new(Int64Array::from(vec![id])), Arc::new(StringArray::from(vec![text]))];
        with_metadata(plan, columns, "update")
    };
    writer.remember(&state_of(plan, Phase::Copying)).await.unwrap();
    commit_at(writer, position * 10).await.unwrap();
    let mut lanes = destination.load(pipeline, plan, 1).await.unwrap();
    lanes[0].write(rows(1, Some("copied"))).await.unwrap();
    for lane in lanes {
        lane.finish().await.unwrap();
    }
    writer.promote(plan).await.unwrap();
    writer.remember(&state_of(plan, Phase::Streaming)).await.unwrap();
    let base: ArrayRef = Arc::new(Int64Array::from(vec![1]));
    let patches = Patches {
        rows: rows(2, None),
        unchanged: vec![(1, [true].into_iter().collect())],
        base: arrow_array::RecordBatch::try_new(plan.source.key_arrow(), vec![base]).unwrap(),
    };
    let write = MergeWrite {
        deletes: Some(rows(1, None)),
        upserts: Some(rows(3, Some("new"))),
        patches: Some(patches),
    };
    writer.write(plan, TableWrite::Merge(write)).await.unwrap();
    let remove = MultisetWrite { removes: Some(rows(3, Some("new"))), inserts: None };
    writer.write(plan, TableWrite::Multiset(remove)).await.unwrap();
    let dropped = plan.source.columns[1].name().to_owned();
    let mut source: TableSchema = (*plan.source).clone();
    source.columns.truncate(1);
    let narrow = plan.with_source(Arc::new(source));
    let found = format!(
        "SELECT string_agg({}::text || {}, ' ') FROM {}",
        rowtide_postgres::identifier(plan.source.columns[0].name()),
        rowtide_postgres::identifier(&dropped),
        rowtide_postgres::table_name(&plan.target)
    );
    commit_at(writer, position * 10 + 1).await.unwrap();
    assert_eq!(db.sql(&found), "2copied", "{}", plan.target);
    let change = SchemaChange::DropColumn { table: Arc::clone(&narrow.source), column: dropped };
    writer.apply_schema(&narrow, &change).await.unwrap();
    commit_at(writer, position * 10 + 2).await.unwrap();
}
