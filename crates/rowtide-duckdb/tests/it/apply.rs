//! Each kind of write, as `rowtide_core::TableWrite` describes it.

use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow_buffer::BooleanBuffer;
use arrow_schema::{DataType, Field};
use rowtide_core::traits::Progress;
use rowtide_core::{
    DeleteMode, ErrorKind, MergeWrite, MetadataColumns, Mode, MultisetWrite, Patches, Phase,
    TableName, TablePlan, TableWrite,
};

use crate::support::{
    Item, Place, item_fields, item_rows, items, place, plan, schema, state_of, with_metadata,
};

const ALL: &str = "SELECT id, name, note FROM public.items ORDER BY ALL";

fn upserts(plan: &TablePlan, rows: &[Item<'_>]) -> TableWrite {
    TableWrite::Merge(MergeWrite { upserts: Some(item_rows(plan, rows)), ..MergeWrite::default() })
}

fn deletes(plan: &TablePlan, ids: &[i64]) -> TableWrite {
    let rows: Vec<Item<'_>> = ids.iter().map(|id| (*id, None, None)).collect();
    let columns = item_rows(plan, &rows).columns()[..3].to_vec();
    let batch = with_metadata(plan, columns, "delete");
    TableWrite::Merge(MergeWrite { deletes: Some(batch), ..MergeWrite::default() })
}

/// Rows whose note is unchanged where `unchanged` says so, with the keys of their bases.
fn patches(plan: &TablePlan, rows: &[(Item<'_>, bool, i64)]) -> Patches {
    let items: Vec<Item<'_>> = rows.iter().map(|row| row.0).collect();
    let base: Int64Array = rows.iter().map(|row| Some(row.2)).collect();
    let unchanged: BooleanBuffer = rows.iter().map(|row| row.1).collect();
    Patches {
        rows: item_rows(plan, &items),
        unchanged: vec![(2, unchanged)],
        base: RecordBatch::try_new(plan.source.key_arrow(), vec![Arc::new(base)]).unwrap(),
    }
}

/// Applies `writes` in one epoch to a table that holds `before`.
async fn applied(place: &Place, plan: &TablePlan, before: &[Item<'_>], writes: Vec<TableWrite>) {
    let mut writer = place.begin(plan).await;
    writer.write(plan, upserts(plan, before)).await.unwrap();
    writer.commit(Progress::default()).await.unwrap();
    for write in writes {
        writer.write(plan, write).await.unwrap();
    }
    writer.commit(Progress::default()).await.unwrap();
}

const ABC: [Item<'static>; 3] =
    [(1, Some("a"), Some("one")), (2, Some("b"), Some("two")), (3, Some("c"), None)];

#[tokio::test]
async fn merge_inserts_updates_and_deletes() {
    let (place, plan) = (place(), items());
    let writes = vec![
        upserts(&plan, &[(2, Some("B"), None), (4, None, Some("four"))]),
        deletes(&plan, &[1, 99]),
    ];
    applied(&place, &plan, &ABC, writes).await;
    assert_eq!(place.rows(ALL).await, ["2|B|∅", "3|c|∅", "4|∅|four"]);
}

/// DuckDB plans by the statistics of the moment, and a plan that is kept would keep them: a statement
/// planned when every key was new would never find one.
#[tokio::test]
async fn statements_are_planned_for_what_stands() {
    let place = place();
    let called = |oid, name| plan(schema((oid, name), 1, item_fields(), vec![0]));
    let plans = [called(21, "one"), called(22, "other")];
    let mut writer = place.begin(&plans[0]).await;
    writer.promote(&plans[1]).await.unwrap();
    writer.remember(&state_of(&plans[1], Phase::Streaming)).await.unwrap();
    writer.commit(Progress::default()).await.unwrap();
    let rows = |first: i64, name| -> Vec<Item<'static>> {
        (first..first + 100).map(|id| (id, Some(name), None)).collect()
    };
    // All new, beyond what stands; then what stands; then far away; then all of it again.
    for (first, name) in [(0, "a"), (1000, "a"), (0, "b"), (1_000_000, "b"), (1000, "c"), (0, "d")]
    {
        for plan in &plans {
            writer.write(plan, upserts(plan, &rows(first, name))).await.unwrap();
        }
        writer.commit(Progress::default()).await.unwrap();
    }
    for plan in &plans {
        writer.write(plan, deletes(plan, &[1_000_000, 1001, 1])).await.unwrap();
    }
    writer.commit(Progress::default()).await.unwrap();
    for name in ["one", "other"] {
        let counts =
            format!("SELECT name, count(*) FROM public.{name} GROUP BY name ORDER BY name");
        assert_eq!(place.rows(&counts).await, ["b|99", "c|99", "d|99"], "{name}");
    }
}

#[tokio::test]
async fn a_merge_may_be_applied_again() {
    let (place, plan) = (place(), items());
    let write = || upserts(&plan, &[(2, Some("B"), None), (4, None, Some("four"))]);
    applied(
        &place,
        &plan,
        &ABC,
        vec![write(), write(), deletes(&plan, &[1]), deletes(&plan, &[1])],
    )
    .await;
    assert_eq!(place.rows(ALL).await, ["2|B|∅", "3|c|∅", "4|∅|four"]);
}

#[tokio::test]
async fn keys_can_be_swapped_with_unchanged_values() {
    let (place, plan) = (place(), items());
    let patches = patches(
        &plan,
        &[
            ((2, Some("was a"), None), true, 1),
            ((1, Some("was b"), None), true, 2),
            ((3, Some("c2"), Some("given")), false, 3),
        ],
    );
    let deletes = Some(item_rows(&plan, &[(1, None, None), (2, None, None)]));
    let write = MergeWrite { deletes, patches: Some(patches), upserts: None };
    applied(&place, &plan, &ABC, vec![TableWrite::Merge(write)]).await;
    assert_eq!(place.rows(ALL).await, ["1|was b|two", "2|was a|one", "3|c2|given"]);
}

#[tokio::test]
async fn a_missing_base_row_is_an_error_that_names_the_table() {
    let (place, plan) = (place(), items());
    let mut writer = place.begin(&plan).await;
    let patches = patches(&plan, &[((9, Some("x"), None), true, 9)]);
    let write = MergeWrite { patches: Some(patches), ..MergeWrite::default() };
    let error = writer.write(&plan, TableWrite::Merge(write)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Data);
    assert!(error.message().contains("public.items"), "{error}");
    assert!(error.hint().unwrap().contains("resync"));
    assert_eq!(writer.commit(Progress::default()).await.unwrap_err().kind(), ErrorKind::Internal);
}

#[tokio::test]
async fn a_composite_key_of_texts() {
    let place = place();
    let key_last = schema((8, "items"), 1, item_fields(), vec![1, 0]);
    let plan = plan(key_last);
    let before: [Item<'_>; 3] =
        [(1, Some("x"), None), (1, Some("y"), Some("stays")), (2, Some("x"), Some("stays"))];
    let writes = vec![upserts(&plan, &[(1, Some("x"), Some("new"))])];
    applied(&place, &plan, &before, writes).await;
    assert_eq!(place.rows(ALL).await, ["1|x|new", "1|y|stays", "2|x|stays"]);
}

fn soft_items() -> TablePlan {
    let metadata = MetadataColumns {
        op: Some("__op".into()),
        position: Some("__position".into()),
        ..MetadataColumns::soft_delete()
    };
    TablePlan { delete: DeleteMode::Soft, metadata, ..items() }
}

const SOFT: &str = "SELECT id, name, note, __op, _rowtide_deleted, __position \
                    FROM public.items ORDER BY ALL";

#[tokio::test]
async fn soft_delete_marks_and_keeps_the_values() {
    let (place, plan) = (place(), soft_items());
    let writes = vec![deletes(&plan, &[1, 99])];
    applied(&place, &plan, &ABC[..2], writes).await;
    assert_eq!(place.rows(SOFT).await, ["1|a|one|delete|true|77", "2|b|two|update|false|77"]);
}

#[tokio::test]
async fn soft_delete_gives_way_to_a_row_that_took_the_key() {
    let (place, plan) = (place(), soft_items());
    let TableWrite::Merge(delete) = deletes(&plan, &[1, 2]) else { unreachable!() };
    let upserts = Some(item_rows(&plan, &[(2, Some("moved here"), None)]));
    let write = TableWrite::Merge(MergeWrite { upserts, ..delete });
    applied(&place, &plan, &ABC[..2], vec![write]).await;
    assert_eq!(
        place.rows(SOFT).await,
        ["1|a|one|delete|true|77", "2|moved here|∅|update|false|77"]
    );
}

#[tokio::test]
async fn soft_delete_keeps_a_moved_row_under_its_old_key() {
    let (place, plan) = (place(), soft_items());
    let TableWrite::Merge(delete) = deletes(&plan, &[1]) else { unreachable!() };
    let patches = Some(patches(&plan, &[((5, Some("a"), None), true, 1)]));
    let write = TableWrite::Merge(MergeWrite { patches, ..delete });
    applied(&place, &plan, &ABC[..1], vec![write]).await;
    assert_eq!(place.rows(SOFT).await, ["1|a|one|delete|true|77", "5|a|one|update|false|77"]);
}

#[tokio::test]
async fn truncate_empties_or_marks() {
    for (plan, expected) in [
        (items(), vec![]),
        (soft_items(), vec!["1|a|one|truncate|true|77", "2|b|two|delete|true|77"]),
    ] {
        let place = place();
        let columns = item_rows(&plan, &[(0, None, None)]).columns()[..3].to_vec();
        let mut marker = with_metadata(&plan, columns, "delete");
        if plan.delete == DeleteMode::Soft {
            let mut columns = marker.columns().to_vec();
            columns[3] = Arc::new(StringArray::from(vec!["truncate"]));
            marker = RecordBatch::try_new(marker.schema(), columns).unwrap();
        }
        let writes = vec![deletes(&plan, &[2]), TableWrite::Truncate { marker }];
        applied(&place, &plan, &ABC[..2], writes).await;
        if plan.delete == DeleteMode::Soft {
            assert_eq!(place.rows(SOFT).await, expected);
        } else {
            assert_eq!(place.rows(ALL).await, expected);
        }
    }
}

fn bag(delete: DeleteMode) -> TablePlan {
    let metadata = match delete {
        DeleteMode::Hard => MetadataColumns::default(),
        DeleteMode::Soft => soft_items().metadata,
    };
    TablePlan { delete, metadata, ..plan(schema((9, "items"), 1, item_fields(), vec![])) }
}

fn multiset(plan: &TablePlan, removes: &[Item<'_>], inserts: &[Item<'_>]) -> TableWrite {
    let removes = item_rows(plan, removes).columns()[..3].to_vec();
    TableWrite::Multiset(MultisetWrite {
        removes: Some(with_metadata(plan, removes, "delete")),
        inserts: Some(item_rows(plan, inserts)),
    })
}

const TWINS: [Item<'static>; 5] = [
    (1, None, Some("n")),
    (1, None, Some("n")),
    (1, None, Some("n")),
    (2, Some("x"), None),
    (2, Some("x"), None),
];

#[tokio::test]
async fn multisets_remove_one_row_for_one() {
    let (place, plan) = (place(), bag(DeleteMode::Hard));
    let mut writer = place.begin(&plan).await;
    writer.write(&plan, multiset(&plan, &[], &TWINS)).await.unwrap();
    let removes = [(1, None, Some("n")), (2, Some("x"), None), (1, None, Some("n"))];
    writer.write(&plan, multiset(&plan, &removes, &[(3, None, None)])).await.unwrap();
    writer.commit(Progress::default()).await.unwrap();
    assert_eq!(place.rows(ALL).await, ["1|∅|n", "2|x|∅", "3|∅|∅"]);
    let error = writer.write(&plan, multiset(&plan, &removes, &[])).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Data);
    assert!(error.message().contains("public.items"), "{error}");
    drop(writer);
    assert_eq!(place.rows(ALL).await.len(), 3);
}

#[tokio::test]
async fn soft_multisets_mark_one_row_for_one() {
    let (place, plan) = (place(), bag(DeleteMode::Soft));
    let mut writer = place.begin(&plan).await;
    writer.write(&plan, multiset(&plan, &[], &TWINS)).await.unwrap();
    writer.commit(Progress::default()).await.unwrap();
    let removes = [(1, None, Some("n")), (1, None, Some("n"))];
    writer.write(&plan, multiset(&plan, &removes, &[])).await.unwrap();
    writer.write(&plan, multiset(&plan, &removes[..1], &[])).await.unwrap();
    writer.commit(Progress::default()).await.unwrap();
    let marked = "SELECT id, count(*) FROM public.items WHERE _rowtide_deleted GROUP BY 1";
    assert_eq!(place.rows(marked).await, ["1|3"]);
    let error = writer.write(&plan, multiset(&plan, &removes[..1], &[])).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Data);
}

#[tokio::test]
async fn append_adds_every_event() {
    let place = place();
    let plan = TablePlan { mode: Mode::Append, metadata: MetadataColumns::append(), ..items() };
    let mut writer = place.begin(&plan).await;
    for _ in 0..2 {
        writer.write(&plan, TableWrite::Append(item_rows(&plan, &ABC))).await.unwrap();
    }
    writer.commit(Progress::default()).await.unwrap();
    let count = "SELECT count(*), count(_rowtide_unchanged), min(_rowtide_op) FROM public.items";
    assert_eq!(place.rows(count).await, ["6|0|update"]);
}

#[tokio::test]
async fn hostile_names_are_only_names() {
    let place = place();
    let names = ["select", "a\"b; DROP TABLE x; --", "🦆.é", "c0", " ", "s"];
    let fields = names.iter().map(|name| Field::new(*name, DataType::Int64, true)).collect();
    let source = schema((1, "x"), 1, fields, vec![1, 4]);
    for table in ["order", "we\"ird.t'a;ble", "🦆", "warehouse", "main"] {
        let target = TableName::new("sch\"e.ma'; --", table);
        let plan = TablePlan { target, ..plan(Arc::clone(&source)) };
        let mut writer = place.begin(&plan).await;
        let row = |value: i64| -> RecordBatch {
            let column: ArrayRef = Arc::new(Int64Array::from(vec![value]));
            let columns = vec![Arc::clone(&column); names.len()];
            RecordBatch::try_new(plan.target_arrow(), columns).unwrap()
        };
        for value in [1, 2, 1] {
            let upserts = Some(row(value));
            let write = MergeWrite { upserts, ..MergeWrite::default() };
            writer.write(&plan, TableWrite::Merge(write)).await.unwrap();
        }
        writer.commit(Progress::default()).await.unwrap();
        let quoted = table.replace('"', "\"\"");
        let all = format!("FROM \"sch\"\"e.ma'; --\".\"{quoted}\" ORDER BY ALL");
        assert_eq!(place.rows(&all).await, ["1|1|1|1|1|1", "2|2|2|2|2|2"]);
    }
    let removed = rowtide_core::Destination::teardown(&place.destination, "shop").await.unwrap();
    assert_eq!(removed.len(), 3, "{removed:?}");
}
