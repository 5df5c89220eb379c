//! What commits together, who may commit, and what is remembered.

use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow_schema::{DataType, Field};
use rowtide_core::traits::Progress;
use rowtide_core::{
    Destination, ErrorKind, MergeWrite, Phase, SchemaChange, SourceIdentity, TablePlan, TableWrite,
};

use crate::support::{
    PIPELINE, checkpoint, commit_at, item_fields, item_rows, items, place, schema, state_of,
};

const ALL: &str = "FROM public.items ORDER BY ALL";

fn upsert(plan: &TablePlan, id: i64) -> TableWrite {
    let upserts = Some(item_rows(plan, &[(id, Some("x"), None)]));
    TableWrite::Merge(MergeWrite { upserts, ..MergeWrite::default() })
}

#[tokio::test]
async fn state_is_stored_and_peeked() {
    let (place, plan) = (place(), items());
    assert_eq!(place.destination.peek(PIPELINE).await.unwrap(), None);
    assert!(!place.path.exists());
    let mut writer = place.begin(&plan).await;
    assert_eq!(writer.state().await.unwrap().checkpoint, None);
    let identity = SourceIdentity(serde_json::json!({"system": "7'\"", "slot": "s"}));
    let at = checkpoint(42);
    let progress = Progress {
        checkpoint: Some(&at),
        identity: Some(&identity),
        error: Some("it's gone"),
        restart: false,
    };
    writer.commit(progress).await.unwrap();
    writer.commit(Progress::default()).await.unwrap();
    let state = writer.state().await.unwrap();
    assert_eq!(state.checkpoint, Some(at));
    assert_eq!(state.identity, Some(identity));
    assert_eq!(state.fencing_epoch, 1);
    assert_eq!(state.last_error.as_ref().unwrap().1, "it's gone");
    assert!(state.updated_at.is_some());
    let stored = serde_json::to_value(&state.tables).unwrap();
    assert_eq!(stored, serde_json::to_value([state_of(&plan, Phase::Streaming)]).unwrap());
    assert_eq!(place.destination.peek(PIPELINE).await.unwrap(), Some(state.clone()));
    assert_eq!(place.destination.peek("another").await.unwrap(), None);
    drop(writer);
    assert_eq!(place.destination.peek(PIPELINE).await.unwrap(), Some(state));
}

#[tokio::test]
async fn dropping_a_writer_undoes_its_epoch() {
    let (place, plan) = (place(), items());
    let mut writer = place.begin(&plan).await;
    writer.write(&plan, upsert(&plan, 1)).await.unwrap();
    commit_at(&mut writer, 1).await.unwrap();
    writer.write(&plan, upsert(&plan, 2)).await.unwrap();
    writer.remember(&state_of(&plan, Phase::Stopped)).await.unwrap();
    drop(writer);
    let mut writer = place.destination.open(PIPELINE).await.unwrap();
    assert_eq!(place.rows(ALL).await, ["1|x|∅"]);
    assert_eq!(writer.state().await.unwrap().tables[0].phase, Phase::Streaming);
}

#[tokio::test]
async fn an_older_writer_is_fenced() {
    let (place, plan) = (place(), items());
    let mut older = place.begin(&plan).await;
    older.write(&plan, upsert(&plan, 1)).await.unwrap();
    let mut newer = place.destination.open(PIPELINE).await.unwrap();
    let error = commit_at(&mut older, 1).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Fenced);
    newer.write(&plan, upsert(&plan, 2)).await.unwrap();
    commit_at(&mut newer, 2).await.unwrap();
    assert_eq!(place.rows(ALL).await, ["2|x|∅"]);
}

#[tokio::test]
async fn an_older_writer_without_an_open_epoch_is_fenced() {
    let (place, plan) = (place(), items());
    let mut older = place.begin(&plan).await;
    let mut newer = place.destination.open(PIPELINE).await.unwrap();
    commit_at(&mut newer, 2).await.unwrap();
    older.write(&plan, upsert(&plan, 1)).await.unwrap();
    let error = commit_at(&mut older, 3).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Fenced);
    assert_eq!(newer.state().await.unwrap().fencing_epoch, 2);
}

#[tokio::test]
async fn pipelines_in_one_file_do_not_fence_each_other() {
    let (place, plan) = (place(), items());
    let mut one = place.begin(&plan).await;
    let mut two = place.destination.open("two").await.unwrap();
    one.write(&plan, upsert(&plan, 1)).await.unwrap();
    commit_at(&mut two, 5).await.unwrap();
    commit_at(&mut one, 6).await.unwrap();
    assert_eq!(two.state().await.unwrap().checkpoint, Some(checkpoint(5)));
}

#[tokio::test]
async fn a_checkpoint_does_not_go_back() {
    let place = place();
    let mut writer = place.begin(&items()).await;
    commit_at(&mut writer, 9).await.unwrap();
    let error = commit_at(&mut writer, 8).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Internal);
}

#[tokio::test]
async fn a_torn_down_pipeline_cannot_commit() {
    let (place, plan) = (place(), items());
    let mut writer = place.begin(&plan).await;
    place.destination.teardown(PIPELINE).await.unwrap();
    let error = commit_at(&mut writer, 1).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Fenced, "{}", error.chain());
    drop(writer);
    assert_eq!(place.destination.peek(PIPELINE).await.unwrap(), None);
    assert_eq!(place.rows("SELECT table_name FROM information_schema.tables").await.len(), 0);
}

#[tokio::test]
async fn an_open_epoch_of_a_torn_down_pipeline_cannot_commit() {
    let (place, plan) = (place(), items());
    let mut writer = place.begin(&plan).await;
    let mut other = place.destination.open("other").await.unwrap();
    let another = TablePlan { target: rowtide_core::TableName::new("public", "b"), ..plan.clone() };
    other.promote(&another).await.unwrap();
    other.commit(Progress::default()).await.unwrap();
    // The epoch is open, yet has not touched what teardown removes.
    writer.promote(&another).await.unwrap_err();
    let mut writer = place.destination.open(PIPELINE).await.unwrap();
    let third = TablePlan { target: rowtide_core::TableName::new("public", "c"), ..plan };
    writer.remember(&state_of(&third, Phase::Pending)).await.unwrap();
    place.destination.teardown(PIPELINE).await.unwrap();
    let error = commit_at(&mut writer, 1).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Fenced, "{}", error.chain());
    assert_eq!(place.destination.peek(PIPELINE).await.unwrap(), None);
}

#[tokio::test]
async fn newer_state_is_refused() {
    let place = place();
    drop(place.begin(&items()).await);
    crate::support::raw(&place, "UPDATE _rowtide.format SET version = 99").await;
    let error = place.destination.open(PIPELINE).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.message().contains("format 99"), "{error}");
}

/// `items` with a number added, and then without the name.
fn versions() -> (TablePlan, TablePlan, TablePlan) {
    let first = items();
    let mut fields = item_fields();
    fields.push(Field::new("number", DataType::Int64, true));
    let second = first.with_source(schema((7, "items"), 2, fields.clone(), vec![0]));
    fields.remove(1);
    let third = first.with_source(schema((7, "items"), 3, fields, vec![0]));
    (first, second, third)
}

fn added(plan: &TablePlan, fill: Option<i64>) -> SchemaChange {
    let fill = fill.map(|value| Arc::new(Int64Array::from(vec![value])) as ArrayRef);
    SchemaChange::AddColumn { table: Arc::clone(&plan.source), column: 3, fill }
}

fn dropped(plan: &TablePlan) -> SchemaChange {
    SchemaChange::DropColumn { table: Arc::clone(&plan.source), column: "name".to_owned() }
}

fn numbered(plan: &TablePlan, id: i64, number: i64) -> TableWrite {
    let schema = plan.target_arrow();
    let columns = schema.fields().iter().map(|field| -> ArrayRef {
        match field.name().as_str() {
            "id" => Arc::new(Int64Array::from(vec![id])),
            "number" => Arc::new(Int64Array::from(vec![number])),
            "__op" => Arc::new(StringArray::from(vec!["insert"])),
            _ => Arc::new(StringArray::from(vec!["text"])),
        }
    });
    let upserts = Some(RecordBatch::try_new(schema.clone(), columns.collect()).unwrap());
    TableWrite::Merge(MergeWrite { upserts, ..MergeWrite::default() })
}

#[tokio::test]
async fn columns_come_and_go_between_rows_of_one_epoch() {
    for fill in [None, Some(5)] {
        let (place, (first, second, third)) = (place(), versions());
        let mut writer = place.begin(&first).await;
        writer.write(&first, upsert(&first, 1)).await.unwrap();
        writer.write(&first, upsert(&first, 2)).await.unwrap();
        commit_at(&mut writer, 1).await.unwrap();
        // Deleted and updated rows, then two changes of the table, with rows in between.
        writer.write(&first, upsert(&first, 1)).await.unwrap();
        writer.write(&first, upsert(&first, 3)).await.unwrap();
        writer.apply_schema(&second, &added(&second, fill)).await.unwrap();
        writer.write(&second, numbered(&second, 2, 22)).await.unwrap();
        writer.write(&second, numbered(&second, 4, 44)).await.unwrap();
        writer.apply_schema(&third, &dropped(&third)).await.unwrap();
        writer.write(&third, numbered(&third, 4, 45)).await.unwrap();
        writer.write(&third, numbered(&third, 6, 66)).await.unwrap();
        commit_at(&mut writer, 2).await.unwrap();
        let text = fill.map_or("∅".to_owned(), |value| value.to_string());
        let expected = [
            format!("1|∅|{text}"),
            "2|text|22".into(),
            format!("3|∅|{text}"),
            "4|text|45".into(),
            "6|text|66".into(),
        ];
        assert_eq!(place.rows(ALL).await, expected);
    }
}

#[tokio::test]
async fn columns_come_and_go_in_an_untouched_table() {
    let (place, (first, second, third)) = (place(), versions());
    let mut writer = place.begin(&first).await;
    writer.write(&first, upsert(&first, 1)).await.unwrap();
    commit_at(&mut writer, 1).await.unwrap();
    writer.apply_schema(&second, &added(&second, Some(7))).await.unwrap();
    writer.apply_schema(&third, &dropped(&third)).await.unwrap();
    writer.write(&third, numbered(&third, 1, 11)).await.unwrap();
    writer.write(&third, numbered(&third, 2, 22)).await.unwrap();
    commit_at(&mut writer, 2).await.unwrap();
    assert_eq!(place.rows(ALL).await, ["1|text|11", "2|text|22"]);
}

#[tokio::test]
async fn an_undone_schema_change_leaves_the_table_as_it_was() {
    let (place, (first, second, _)) = (place(), versions());
    let mut writer = place.begin(&first).await;
    writer.write(&first, upsert(&first, 1)).await.unwrap();
    commit_at(&mut writer, 1).await.unwrap();
    writer.write(&first, upsert(&first, 1)).await.unwrap();
    writer.apply_schema(&second, &added(&second, Some(7))).await.unwrap();
    drop(writer);
    let mut writer = place.destination.open(PIPELINE).await.unwrap();
    writer.write(&first, upsert(&first, 2)).await.unwrap();
    commit_at(&mut writer, 2).await.unwrap();
    assert_eq!(place.rows(ALL).await, ["1|x|∅", "2|x|∅"]);
}

/// A new column stands at the table's end, behind the metadata columns: writes go by name.
#[tokio::test]
async fn metadata_columns_may_stand_before_a_new_column() {
    let (place, (first, second, _)) = (place(), versions());
    let metadata = rowtide_core::MetadataColumns { op: Some("__op".into()), ..Default::default() };
    let first = TablePlan { metadata: metadata.clone(), ..first };
    let second = TablePlan { metadata, ..second };
    let mut writer = place.begin(&first).await;
    writer.write(&first, upsert(&first, 1)).await.unwrap();
    commit_at(&mut writer, 1).await.unwrap();
    writer.apply_schema(&second, &added(&second, None)).await.unwrap();
    writer.write(&second, numbered(&second, 2, 22)).await.unwrap();
    commit_at(&mut writer, 2).await.unwrap();
    let rows = place.rows("SELECT id, name, number, __op FROM public.items ORDER BY id").await;
    assert_eq!(rows, ["1|x|∅|update", "2|text|22|insert"]);
}
