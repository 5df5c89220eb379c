//! Columns that come and go.

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, Int64Array, StringArray};
use arrow_schema::{DataType, Field};
use rowtide_core::traits::Writer;
use rowtide_core::{ErrorKind, MergeWrite, SchemaChange, TablePlan, TableSchema, TableWrite};

use crate::support::{Db, commit_at, in_time, item_rows, items, with_metadata};

/// `plan` with one more column `extra` of text.
fn wider(plan: &TablePlan) -> TablePlan {
    let mut source = (*plan.source).clone();
    let mut column = source.columns[1].clone();
    column.field = Arc::new(Field::new("ex\"tra", DataType::Utf8, true));
    column.number = 9;
    source.columns.push(column);
    source.version += 1;
    plan.with_source(Arc::new(source))
}

fn narrower(plan: &TablePlan) -> TablePlan {
    let mut source: TableSchema = (*plan.source).clone();
    source.columns.remove(2);
    source.version += 1;
    plan.with_source(Arc::new(source))
}

async fn add(writer: &mut dyn Writer, plan: &TablePlan, fill: Option<&str>) {
    let fill = fill.map(|value| Arc::new(StringArray::from(vec![value])) as Arc<dyn Array>);
    let column = plan.source.columns.len() - 1;
    let change = SchemaChange::AddColumn { table: Arc::clone(&plan.source), column, fill };
    writer.apply_schema(plan, &change).await.unwrap();
}

fn merge(rows: arrow_array::RecordBatch) -> TableWrite {
    TableWrite::Merge(MergeWrite { upserts: Some(rows), ..MergeWrite::default() })
}

pub(crate) async fn columns_come_with_their_value_and_go(db: &Db<'_>) {
    let before = items();
    let after = wider(&before);
    let mut writer = db.begin(&before).await;
    writer.write(&before, merge(item_rows(&before, &[(1, None, Some("n"))]))).await.unwrap();
    commit_at(&mut writer, 1).await.unwrap();
    // Between two writes of one epoch.
    writer.write(&before, merge(item_rows(&before, &[(2, None, None)]))).await.unwrap();
    add(writer.as_mut(), &after, Some("it's \\ 'so'")).await;
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from(vec![3])),
        Arc::new(StringArray::from(vec!["three"])),
        Arc::new(StringArray::from(vec![None::<&str>])),
        Arc::new(StringArray::from(vec!["own"])),
    ];
    writer.write(&after, merge(with_metadata(&after, columns, "update"))).await.unwrap();
    commit_at(&mut writer, 2).await.unwrap();
    let all = "SELECT string_agg(id || ':' || \"ex\"\"tra\", ' ' ORDER BY id) FROM items";
    assert_eq!(db.sql(all), "1:it's \\ 'so' 2:it's \\ 'so' 3:own");
    // And the same epoch that adds may be undone.
    let narrow = narrower(&after);
    let change =
        SchemaChange::DropColumn { table: Arc::clone(&narrow.source), column: "note".to_owned() };
    writer.apply_schema(&narrow, &change).await.unwrap();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from(vec![1])),
        Arc::new(StringArray::from(vec!["one"])),
        Arc::new(StringArray::from(vec![None::<&str>])),
    ];
    writer.write(&narrow, merge(with_metadata(&narrow, columns, "update"))).await.unwrap();
    commit_at(&mut writer, 3).await.unwrap();
    let columns = "SELECT string_agg(attname, ',' ORDER BY attnum) FROM pg_attribute \
         WHERE attrelid = 'items'::regclass AND attnum > 0 AND NOT attisdropped";
    assert_eq!(db.sql(columns), "id,name,ex\"tra");
    assert_eq!(db.sql("SELECT id, name, \"ex\"\"tra\" FROM items WHERE id = 1"), "1|one|");
}

pub(crate) async fn what_users_hang_on_a_column_is_not_dropped(db: &Db<'_>) {
    let before = items();
    let after = narrower(&before);
    let mut writer = db.begin(&before).await;
    db.sql("CREATE VIEW notes AS SELECT id, note FROM items");
    let change =
        SchemaChange::DropColumn { table: Arc::clone(&after.source), column: "note".to_owned() };
    let error = writer.apply_schema(&after, &change).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::SchemaDrift);
    assert!(error.hint().unwrap().contains("views"), "{error:?}");
    assert_eq!(db.sql("SELECT count(*) FROM notes"), "0");
}

pub(crate) async fn a_table_that_is_being_read_is_waited_for(db: &Db<'_>) {
    let before = items();
    let after = wider(&before);
    let mut writer = db.begin(&before).await;
    let reader = rowtide_core::Destination::open(&db.destination(), "reader").await.unwrap();
    let url = db.server.url(&db.name);
    let psql = rowtide_sandbox::client_tool("psql").unwrap();
    let mut child = std::process::Command::new(psql)
        .args(["-X", "-q", "-d", &url, "-c", "BEGIN; SELECT * FROM items; SELECT pg_sleep(4)"])
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let held = "SELECT count(*) > 0 FROM pg_locks WHERE relation = 'items'::regclass";
    db.wait_until("the reader", held, "t").await;
    in_time("the column", add(writer.as_mut(), &after, None)).await;
    commit_at(&mut writer, 1).await.unwrap();
    assert_eq!(db.sql("SELECT count(\"ex\"\"tra\") FROM items"), "0");
    child.wait().unwrap();
    drop(reader);
}

/// What users hung on a column goes along, the key's constraint as well.
pub(crate) async fn columns_get_other_names(db: &Db<'_>) {
    let before = items();
    let renamed = |plan: &TablePlan, at: usize, to: &str| {
        let mut source = (*plan.source).clone();
        let field = source.columns[at].field.as_ref().clone();
        source.columns[at].field = Arc::new(field.with_name(to));
        source.version += 1;
        plan.with_source(Arc::new(source))
    };
    let change = |plan: &TablePlan, column: usize, from: &str| SchemaChange::RenameColumn {
        table: Arc::clone(&plan.source),
        column,
        from: from.to_owned(),
    };
    let mut writer = db.begin(&before).await;
    db.sql("CREATE VIEW seen AS SELECT id, note FROM items; CREATE INDEX ON items (note)");
    writer.write(&before, merge(item_rows(&before, &[(1, None, Some("n"))]))).await.unwrap();
    let second = renamed(&before, 2, "re\"mark");
    writer.apply_schema(&second, &change(&second, 2, "note")).await.unwrap();
    let third = renamed(&second, 0, "Id");
    writer.apply_schema(&third, &change(&third, 0, "id")).await.unwrap();
    let rows = [(1, Some("one"), Some("m")), (2, None, Some("o"))];
    writer.write(&third, merge(item_rows(&third, &rows))).await.unwrap();
    commit_at(&mut writer, 1).await.unwrap();
    let all = "SELECT string_agg(concat_ws(':', \"Id\", name, \"re\"\"mark\"), ' ' ORDER BY 1) FROM items";
    assert_eq!(db.sql(all), "1:one:m 2:o");
    assert_eq!(db.sql("SELECT string_agg(note, ',' ORDER BY id) FROM seen"), "m,o");
    let defined = "SELECT string_agg(pg_get_indexdef(indexrelid), ' ') FROM pg_index \
         WHERE indrelid = 'items'::regclass";
    let defined = db.sql(defined);
    assert!(defined.contains("(\"Id\")") && defined.contains("(\"re\"\"mark\")"), "{defined}");
    // A name that every table has anyway is refused in words.
    let fourth = renamed(&third, 1, "xmin");
    let error = writer.apply_schema(&fourth, &change(&fourth, 1, "name")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.message().contains("xmin") && error.hint().is_some(), "{}", error.chain());
}
