//! Tables without a key.

use std::sync::Arc;

use arrow_array::{ArrayRef, Int32Array, RecordBatch, StringArray};
use arrow_schema::{DataType, Field};
use rowtide_core::{
    DeleteMode, ErrorKind, MetadataColumns, MultisetWrite, TablePlan, TableSchema, TableWrite, ext,
};

use crate::support::{Db, commit_at, plan, schema, with_metadata};

fn bag() -> TablePlan {
    let fields =
        vec![Field::new("x", DataType::Int32, true), Field::new("y", DataType::Utf8, true)];
    plan(schema((21, "bag"), fields, vec![]))
}

fn rows(plan: &TablePlan, rows: &[(Option<i32>, Option<&str>)], op: &str) -> RecordBatch {
    let columns: Vec<ArrayRef> = vec![
        Arc::new(rows.iter().map(|row| row.0).collect::<Int32Array>()),
        Arc::new(rows.iter().map(|row| row.1).collect::<StringArray>()),
    ];
    with_metadata(plan, columns, op)
}

fn write(removes: Option<RecordBatch>, inserts: Option<RecordBatch>) -> TableWrite {
    TableWrite::Multiset(MultisetWrite { removes, inserts })
}

const ALL: &str = "SELECT string_agg(concat(coalesce(x::text, '-'), coalesce(y, '-')), ' ' \
     ORDER BY x NULLS FIRST, y COLLATE \"C\" NULLS FIRST) FROM bag";

pub(crate) async fn equal_rows_go_one_by_one(db: &Db<'_>) {
    let plan = bag();
    let mut writer = db.begin(&plan).await;
    let all = [
        (None, None),
        (None, None),
        (None, Some("")),
        (Some(1), Some("a")),
        (Some(1), Some("a")),
        (Some(1), Some("a")),
        (Some(1), None),
        (Some(2), Some("a,b\"\\\n")),
    ];
    writer.write(&plan, write(None, Some(rows(&plan, &all, "insert")))).await.unwrap();
    commit_at(&mut writer, 1).await.unwrap();
    let gone =
        [(None, None), (Some(1), Some("a")), (Some(1), Some("a")), (Some(2), Some("a,b\"\\\n"))];
    let removes = Some(rows(&plan, &gone, "delete"));
    let inserts = Some(rows(&plan, &[(Some(3), None)], "insert"));
    writer.write(&plan, write(removes, inserts)).await.unwrap();
    commit_at(&mut writer, 2).await.unwrap();
    assert_eq!(db.sql(ALL), "-- - 1- 1a 3-");
    // One that is not there any more.
    let removes = Some(rows(&plan, &[(Some(1), Some("a")), (Some(1), Some("a"))], "delete"));
    let error = writer.write(&plan, write(removes, None)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Data);
    assert!(error.message().contains("public.bag"), "{}", error.message());
    assert_eq!(db.sql(ALL), "-- - 1- 1a 3-");
}

pub(crate) async fn values_without_equality_are_compared(db: &Db<'_>) {
    let fields = vec![
        ext::json("j"),
        Field::new("p", DataType::Utf8, true),
        Field::new("x", DataType::Utf8, true),
        Field::new("n", DataType::Utf8, true),
    ];
    let mut source = schema((22, "bag"), fields, vec![]);
    for (column, native) in source.columns.iter_mut().zip(["json", "point", "xml", "numeric"]) {
        column.native_type = native.to_owned();
    }
    let plan = plan(TableSchema { system: Some("postgresql".to_owned()), ..source });
    let row = |json: &str, number: &str| {
        let columns: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from(vec![json])),
            Arc::new(StringArray::from(vec!["(1,2)"])),
            Arc::new(StringArray::from(vec!["<a/>"])),
            Arc::new(StringArray::from(vec![number])),
        ];
        with_metadata(&plan, columns, "update")
    };
    let mut writer = db.begin(&plan).await;
    for (json, number) in [("{\"a\": 1}", "1.0"), ("{\"a\":1}", "1.00"), ("{\"a\": 1}", "NaN")] {
        writer.write(&plan, write(None, Some(row(json, number)))).await.unwrap();
    }
    writer.write(&plan, write(Some(row("{\"a\":1}", "1.00")), None)).await.unwrap();
    writer.write(&plan, write(Some(row("{\"a\": 1}", "NaN")), None)).await.unwrap();
    commit_at(&mut writer, 1).await.unwrap();
    assert_eq!(db.sql("SELECT j, p, x, n FROM bag"), "{\"a\": 1}|(1,2)|<a/>|1.0");
    let types = "SELECT string_agg(format_type(atttypid, atttypmod), ',' ORDER BY attnum) \
         FROM pg_attribute WHERE attrelid = 'bag'::regclass AND attnum > 0";
    assert_eq!(db.sql(types), "json,point,xml,numeric");
}

pub(crate) async fn soft_deletes_mark_one_of_the_equals(db: &Db<'_>) {
    let metadata = MetadataColumns::merge();
    let plan = TablePlan { delete: DeleteMode::Soft, metadata, ..bag() };
    let mut writer = db.begin(&plan).await;
    let three = [(Some(1), Some("a")); 3];
    writer.write(&plan, write(None, Some(rows(&plan, &three, "insert")))).await.unwrap();
    for marked in 1..=2 {
        let removes = Some(rows(&plan, &three[..1], "delete"));
        writer.write(&plan, write(removes, None)).await.unwrap();
        commit_at(&mut writer, marked).await.unwrap();
        let count = "SELECT count(*), count(*) FILTER (WHERE _rowtide_deleted), \
             count(*) FILTER (WHERE _rowtide_op = 'delete') FROM bag";
        assert_eq!(db.sql(count), format!("3|{marked}|{marked}"));
    }
}
