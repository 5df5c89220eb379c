//! Copies: staging tables and how they take their place.

use rowtide_core::traits::Progress;
use rowtide_core::{
    Destination, Error, ErrorKind, Mode, Phase, SchemaChange, Severity, TableName, TablePlan,
    TableSchema, TableWrite,
};

use std::sync::Arc;
use std::time::Duration;

use arrow_array::{ArrayRef, Decimal128Array, Int32Array, Int64Array, RecordBatch, StringArray};
use arrow_schema::{DataType, Field};

use crate::support::{
    Item, PIPELINE, Place, column, commit_at, item_rows, items, place, plan, raw, schema, state_of,
};

const ALL: &str = "FROM public.items ORDER BY ALL";

async fn load(place: &Place, plan: &TablePlan, lanes: usize, ids: std::ops::Range<i64>) {
    let loaders = place.destination.load(PIPELINE, plan, lanes).await.unwrap();
    assert_eq!(loaders.len(), lanes);
    let each = (ids.end - ids.start) / i64::try_from(lanes).unwrap();
    for (lane, mut loader) in (0..).zip(loaders) {
        let start = ids.start + lane * each;
        let rows: Vec<Item<'_>> =
            (start..start + each).map(|id| (id, Some("copied"), None)).collect();
        loader.write(item_rows(plan, &rows)).await.unwrap();
        loader.finish().await.unwrap();
    }
}

#[tokio::test]
async fn a_copy_appears_with_its_epoch() {
    let (place, plan) = (place(), items());
    let mut writer = place.destination.open(PIPELINE).await.unwrap();
    writer.remember(&state_of(&plan, Phase::Copying)).await.unwrap();
    writer.commit(Progress::default()).await.unwrap();
    load(&place, &plan, 2, 0..10_000).await;
    let tables = "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'";
    assert!(place.rows(tables).await[0].starts_with("__rowtide_staging_"));
    writer.promote(&plan).await.unwrap();
    let rows = TableWrite::Append(item_rows(&plan, &[(-1, None, None)]));
    writer.write(&plan, rows).await.unwrap();
    commit_at(&mut writer, 1).await.unwrap();
    assert_eq!(place.rows(tables).await, ["items"]);
    let sums = "SELECT count(*), count(DISTINCT id), min(id), max(id) FROM public.items";
    assert_eq!(place.rows(sums).await, ["10001|10001|-1|9999"]);
}

#[tokio::test]
async fn a_new_copy_replaces_the_old_one() {
    let (place, plan) = (place(), items());
    let mut writer = place.begin(&plan).await;
    for copy in 0..3 {
        load(&place, &plan, 1, copy * 10..copy * 10 + 2).await;
        // The old rows stand, and follow, until the swap.
        let rows = TableWrite::Append(item_rows(&plan, &[(99, None, None)]));
        writer.write(&plan, rows).await.unwrap();
        writer.promote(&plan).await.unwrap();
        writer.commit(Progress::default()).await.unwrap();
    }
    assert_eq!(place.rows(ALL).await, ["20|copied|∅", "21|copied|∅"]);
}

#[tokio::test]
async fn a_copy_is_added_in_append_mode() {
    let place = place();
    let plan = TablePlan { mode: Mode::Append, ..items() };
    let mut writer = place.begin(&plan).await;
    for copy in 0..2 {
        load(&place, &plan, 1, copy..copy + 1).await;
        writer.promote(&plan).await.unwrap();
        writer.commit(Progress::default()).await.unwrap();
    }
    assert_eq!(place.rows(ALL).await, ["0|copied|∅", "1|copied|∅"]);
    let tables = "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'";
    assert_eq!(place.rows(tables).await, ["items"]);
}

#[tokio::test]
async fn an_abandoned_copy_leaves_nothing() {
    let (place, plan) = (place(), items());
    let mut writer = place.begin(&plan).await;
    let mut loaders = place.destination.load(PIPELINE, &plan, 2).await.unwrap();
    loaders[0].write(item_rows(&plan, &[(1, None, None)])).await.unwrap();
    drop(loaders);
    load(&place, &plan, 1, 5..6).await;
    writer.promote(&plan).await.unwrap();
    drop(writer);
    assert_eq!(place.rows(ALL).await, Vec::<String>::new());
    let mut writer = place.destination.open(PIPELINE).await.unwrap();
    writer.promote(&plan).await.unwrap();
    writer.commit(Progress::default()).await.unwrap();
    assert_eq!(place.rows(ALL).await, ["5|copied|∅"]);
}

/// Whoever hands rows over must learn that nobody takes them any more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lane_whose_table_is_gone_ends() {
    let (place, plan) = (place(), items());
    let mut loaders = place.destination.load(PIPELINE, &plan, 1).await.unwrap();
    let tables = "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'";
    let staging = place.rows(tables).await.remove(0);
    place.destination.execute(&format!("DROP TABLE public.\"{staging}\"")).await.unwrap();
    let mut loader = loaders.remove(0);
    let handing_over = async {
        for id in 0..100 {
            loader.write(item_rows(&plan, &[(id, None, None)])).await?;
        }
        loader.finish().await
    };
    let handed = tokio::time::timeout(Duration::from_secs(60), handing_over).await;
    let error = handed.expect("the lane ends").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config, "{}", error.chain());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lane_given_up_halfway_leaves_nothing() {
    let (place, plan) = (place(), items());
    let mut loaders = place.destination.load(PIPELINE, &plan, 1).await.unwrap();
    let rows: Vec<Item<'_>> = (0..10_000).map(|id| (id, Some("given up"), None)).collect();
    for _ in 0..5 {
        loaders[0].write(item_rows(&plan, &rows)).await.unwrap();
    }
    drop(loaders);
    load(&place, &plan, 1, 0..10).await;
    let mut writer = place.begin(&plan).await;
    writer.commit(Progress::default()).await.unwrap();
    let counts = "SELECT name, count(*) FROM public.items GROUP BY name";
    assert_eq!(place.rows(counts).await, ["copied|10"]);
}

#[tokio::test]
async fn tables_of_others_are_not_touched() {
    let (place, plan) = (place(), items());
    let mut writer = place.destination.open(PIPELINE).await.unwrap();
    raw(&place, "CREATE SCHEMA public; CREATE TABLE public.Items AS SELECT 1 AS precious").await;
    let error = place.destination.load(PIPELINE, &plan, 1).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.message().contains("public.Items"), "{error}");
    assert_eq!(writer.promote(&plan).await.unwrap_err().kind(), ErrorKind::Config);
    drop(writer);
    let findings = place.destination.preflight(std::slice::from_ref(&plan)).await.unwrap();
    assert!(findings.iter().any(|finding| finding.severity == Severity::Error));
    place.destination.teardown(PIPELINE).await.unwrap();
    assert_eq!(place.rows("FROM public.items").await, ["1"]);
}

#[tokio::test]
async fn two_tables_cannot_share_a_target() {
    let (place, one) = (place(), items());
    drop(place.begin(&one).await);
    let other = plan(schema((8, "ITEMS"), 1, crate::support::item_fields(), vec![0]));
    let error = place.destination.load(PIPELINE, &other, 1).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.message().contains("public.items"), "{error}");
    let error = place.destination.load("another", &one, 1).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Config);
}

#[tokio::test]
async fn preflight_finds_what_does_not_fit_and_makes_no_file() {
    use arrow_schema::{DataType, Field};
    let place = place();
    let clean = items();
    let twice = plan(schema((8, "ITEMS"), 1, crate::support::item_fields(), vec![0]));
    let columns = ["a", "A"].map(|name| Field::new(name, DataType::Int64, true)).to_vec();
    let columns = plan(schema((9, "columns"), 1, columns, vec![]));
    let empty = plan(schema((10, "empty"), 1, vec![], vec![]));
    let reserved = TablePlan { target: TableName::new("_rowtide", "tables"), ..items() };
    let soft = TablePlan { delete: rowtide_core::DeleteMode::Soft, ..items() };
    for (plans, errors) in [
        (vec![clean.clone()], 0),
        (vec![clean.clone(), twice], 1),
        (vec![columns], 1),
        (vec![empty], 1),
        (vec![reserved], 1),
        (vec![soft], 1),
    ] {
        let findings = place.destination.preflight(&plans).await.unwrap();
        let found = findings.iter().filter(|finding| finding.severity == Severity::Error).count();
        assert_eq!(found, errors, "{findings:?}");
    }
    assert!(!place.path.exists());
}

#[tokio::test]
async fn teardown_removes_what_the_pipeline_made() {
    let (place, plan) = (place(), items());
    assert!(place.destination.teardown(PIPELINE).await.unwrap().is_empty());
    let writer = place.begin(&plan).await;
    let mut other = place.destination.open("other").await.unwrap();
    commit_at(&mut other, 1).await.unwrap();
    drop(place.destination.load(PIPELINE, &plan, 1).await.unwrap());
    drop((writer, other));
    let removed = place.destination.teardown(PIPELINE).await.unwrap();
    assert_eq!(removed.len(), 3, "{removed:?}");
    assert_eq!(removed[0], "table public.items");
    assert!(place.destination.peek("other").await.unwrap().is_some());
    let removed = place.destination.teardown("other").await.unwrap();
    assert_eq!(removed.last().unwrap(), "schema _rowtide");
    assert!(place.rows("SELECT table_name FROM information_schema.tables").await.is_empty());
}

/// DuckDB's transactions do not see what is committed after they began. A promotion that would
/// therefore miss rows must fail, and must not make an empty table of them.
#[tokio::test]
async fn a_copy_finished_after_the_epoch_began_is_not_half_promoted() {
    for opened_before in [false, true] {
        let (place, plan) = (place(), items());
        let mut writer = place.destination.open(PIPELINE).await.unwrap();
        let loaders = place.destination.load(PIPELINE, &plan, 1).await.unwrap();
        if !opened_before {
            drop(loaders);
            writer.remember(&state_of(&plan, Phase::Copying)).await.unwrap();
            load(&place, &plan, 1, 0..5).await;
        } else {
            writer.remember(&state_of(&plan, Phase::Copying)).await.unwrap();
            let mut loader = loaders.into_iter().next().unwrap();
            loader.write(item_rows(&plan, &[(1, None, None)])).await.unwrap();
            loader.finish().await.unwrap();
        }
        let error = writer.promote(&plan).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Internal);
        let mut writer = place.destination.open(PIPELINE).await.unwrap();
        writer.promote(&plan).await.unwrap();
        writer.commit(Progress::default()).await.unwrap();
        assert!(!place.rows(ALL).await.is_empty());
    }
}

/// Loaders hold transactions open for long; the writer's epochs, with new tables too, go on.
#[tokio::test]
async fn epochs_commit_while_tables_are_loaded() {
    let (place, plan) = (place(), items());
    let mut writer = place.destination.open(PIPELINE).await.unwrap();
    let mut loader = place.destination.load(PIPELINE, &plan, 1).await.unwrap().remove(0);
    let text = "long ".repeat(40);
    let mut written = 0;
    for table in 0..4_u64 {
        let rows: Vec<Item<'_>> =
            (written..written + 50_000).map(|id| (id, Some(&*text), None)).collect();
        loader.write(item_rows(&plan, &rows)).await.unwrap();
        written += 50_000;
        let other = TablePlan {
            target: TableName::new(format!("schema{table}"), "items"),
            ..crate::support::plan(schema(
                (table, "others"),
                1,
                crate::support::item_fields(),
                vec![0],
            ))
        };
        writer.promote(&other).await.unwrap();
        let rows = TableWrite::Append(item_rows(&other, &[(1, None, None)]));
        writer.write(&other, rows).await.unwrap();
        commit_at(&mut writer, table + 1).await.unwrap();
    }
    loader.finish().await.unwrap();
    writer.promote(&plan).await.unwrap();
    commit_at(&mut writer, 9).await.unwrap();
    assert_eq!(place.rows("SELECT count(DISTINCT id) FROM public.items").await, ["200000"]);
}

/// Many tables are prepared at once, in a schema that is not there yet.
#[tokio::test]
async fn tables_are_prepared_side_by_side() {
    let place = place();
    let _writer = place.destination.open(PIPELINE).await.unwrap();
    let tasks: Vec<_> = (0..8)
        .map(|id| {
            let destination = place.destination.clone();
            let name = format!("t{id}");
            let plan = plan(schema((id, &name), 1, crate::support::item_fields(), vec![0]));
            tokio::spawn(async move { destination.load(PIPELINE, &plan, 2).await.map(drop) })
        })
        .collect();
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    assert_eq!(
        place
            .rows("SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'")
            .await
            .len(),
        8
    );
}

#[tokio::test]
async fn a_column_called_rowid_is_refused_without_a_key() {
    use arrow_schema::{DataType, Field};
    let place = place();
    let fields = vec![Field::new("RowID", DataType::Int64, true)];
    let bag = plan(schema((1, "bag"), 1, fields.clone(), vec![]));
    let findings = place.destination.preflight(&[bag]).await.unwrap();
    assert_eq!(findings[0].severity, Severity::Error);
    let keyed = plan(schema((1, "keyed"), 1, fields, vec![0]));
    let findings = place.destination.preflight(&[keyed]).await.unwrap();
    assert_eq!(findings[0].severity, Severity::Ok);
}

/// The calls of the engine for a copy of one batch.
async fn copied(place: &Place, plan: &TablePlan, rows: RecordBatch) -> Result<(), Error> {
    let mut writer = place.destination.open(PIPELINE).await?;
    writer.remember(&state_of(plan, Phase::Copying)).await?;
    writer.commit(Progress::default()).await?;
    let mut loader = place.destination.load(PIPELINE, plan, 1).await?.remove(0);
    loader.write(rows).await?;
    loader.finish().await?;
    writer.promote(plan).await?;
    writer.remember(&state_of(plan, Phase::Streaming)).await?;
    writer.commit(Progress::default()).await
}

#[tokio::test]
async fn the_first_copy_does_not_replace_a_table_of_others() {
    for mode in [Mode::Merge, Mode::Append, Mode::Replace] {
        let place = place();
        let plan = TablePlan { mode, ..items() };
        raw(&place, "CREATE SCHEMA public; CREATE TABLE public.Items AS SELECT 1 AS precious")
            .await;
        let mut writer = place.destination.open(PIPELINE).await.unwrap();
        let error = writer.remember(&state_of(&plan, Phase::Copying)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.message().contains("public.Items"), "{error}");
        drop(writer);
        for _ in 0..2 {
            let error = copied(&place, &plan, item_rows(&plan, &[])).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config);
        }
        let state = place.destination.peek(PIPELINE).await.unwrap().unwrap();
        assert!(state.tables.is_empty());
        place.destination.teardown(PIPELINE).await.unwrap();
        assert_eq!(place.rows("FROM public.items").await, ["1"]);
    }
}

/// That a copy was begun under a name does not make a table there the pipeline's own.
#[tokio::test]
async fn a_table_made_by_others_during_the_first_copy_is_not_replaced() {
    for mode in [Mode::Merge, Mode::Append] {
        let place = place();
        let plan = TablePlan { mode, ..items() };
        let mut writer = place.destination.open(PIPELINE).await.unwrap();
        writer.remember(&state_of(&plan, Phase::Copying)).await.unwrap();
        writer.commit(Progress::default()).await.unwrap();
        load(&place, &plan, 1, 0..3).await;
        raw(&place, "CREATE TABLE public.Items AS SELECT 1 AS precious").await;
        assert_eq!(writer.promote(&plan).await.unwrap_err().kind(), ErrorKind::Config);
        let error = place.destination.load(PIPELINE, &plan, 1).await.err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Config);
        let mut writer = place.destination.open(PIPELINE).await.unwrap();
        let error = writer.remember(&state_of(&plan, Phase::Copying)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        drop(writer);
        let findings = place.destination.preflight(std::slice::from_ref(&plan)).await.unwrap();
        assert!(findings.iter().any(|finding| finding.severity == Severity::Error));
        place.destination.teardown(PIPELINE).await.unwrap();
        assert_eq!(place.rows("FROM public.items").await, ["1"]);
    }
}

#[tokio::test]
async fn a_new_target_leaves_the_old_table_and_takes_no_others() {
    let (place, old) = (place(), items());
    copied(&place, &old, item_rows(&old, &[(1, None, None)])).await.unwrap();
    raw(&place, "CREATE TABLE public.taken AS SELECT 1 AS precious").await;
    let taken = TablePlan { target: TableName::new("public", "Taken"), ..old.clone() };
    let error = copied(&place, &taken, item_rows(&taken, &[])).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert_eq!(place.rows("FROM public.taken").await, ["1"]);
    let new = TablePlan { target: TableName::new("public", "new"), ..old.clone() };
    copied(&place, &new, item_rows(&new, &[(2, None, None)])).await.unwrap();
    assert_eq!(place.rows(ALL).await, ["1|∅|∅"]);
    assert_eq!(place.rows("FROM public.new").await, ["2|∅|∅"]);
}

#[tokio::test]
async fn rows_of_another_mode_are_not_taken_for_history() {
    for mode in [Mode::Merge, Mode::Replace] {
        let place = place();
        let before = TablePlan { mode, ..items() };
        copied(&place, &before, item_rows(&before, &[(1, None, None)])).await.unwrap();
        let after = TablePlan { mode: Mode::Append, ..items() };
        // A copy that breaks off has already remembered the new mode.
        let mut writer = place.destination.open(PIPELINE).await.unwrap();
        writer.remember(&state_of(&after, Phase::Copying)).await.unwrap();
        writer.commit(Progress::default()).await.unwrap();
        drop(writer);
        for ids in [[1], [2]] {
            let rows = item_rows(&after, &ids.map(|id| (id, None, None)));
            copied(&place, &after, rows).await.unwrap();
        }
        assert_eq!(place.rows(ALL).await, ["1|∅|∅", "2|∅|∅"]);
    }
}

fn history(version: u32, fields: &[(&str, DataType)]) -> TablePlan {
    let fields = fields.iter().map(|(name, kind)| Field::new(*name, kind.clone(), true));
    let source = schema((7, "items"), version, fields.collect(), vec![]);
    TablePlan { mode: Mode::Append, ..plan(source) }
}

fn batch(plan: &TablePlan, columns: Vec<ArrayRef>) -> RecordBatch {
    RecordBatch::try_new(plan.target_arrow(), columns).unwrap()
}

fn decimals(values: Vec<i128>, precision: u8, scale: i8) -> ArrayRef {
    Arc::new(Decimal128Array::from(values).with_precision_and_scale(precision, scale).unwrap())
}

fn old_history() -> (TablePlan, RecordBatch) {
    let plan = history(
        1,
        &[
            ("n", DataType::Int32),
            ("price", DataType::Decimal128(10, 2)),
            ("word", DataType::Int64),
            ("gone", DataType::Utf8),
        ],
    );
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int32Array::from(vec![1])),
        decimals(vec![9_999_999_999], 10, 2),
        Arc::new(Int64Array::from(vec![i64::MIN])),
        Arc::new(StringArray::from(vec!["kept"])),
    ];
    let rows = batch(&plan, columns);
    (plan, rows)
}

fn new_history() -> (TablePlan, RecordBatch) {
    let plan = history(
        2,
        &[
            ("n", DataType::Int64),
            ("price", DataType::Decimal128(10, 4)),
            ("word", DataType::Utf8),
            ("added", DataType::Utf8),
        ],
    );
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from(vec![1 << 40])),
        decimals(vec![12_345], 10, 4),
        Arc::new(StringArray::from(vec!["word"])),
        Arc::new(StringArray::from(vec!["new"])),
    ];
    let rows = batch(&plan, columns);
    (plan, rows)
}

const OLD: &str = "1|99999999.9900|-9223372036854775808|kept|∅";
const NEW: &str = "1099511627776|1.2345|word|∅|new";

#[tokio::test]
async fn history_takes_up_a_copy_of_another_shape_without_loss() {
    let place = place();
    let ((before, old), (after, new)) = (old_history(), new_history());
    copied(&place, &before, old.clone()).await.unwrap();
    copied(&place, &after, new.clone()).await.unwrap();
    let history = "SELECT n, price, word, gone, added FROM public.items ORDER BY n";
    assert_eq!(place.rows(history).await, [OLD, NEW]);
    // Later events are added; a narrower version of the table fits into the wider columns.
    let mut writer = place.destination.open(PIPELINE).await.unwrap();
    writer.write(&after, TableWrite::Append(new)).await.unwrap();
    writer.commit(Progress::default()).await.unwrap();
    copied(&place, &before, old.clone()).await.unwrap();
    let mut writer = place.destination.open(PIPELINE).await.unwrap();
    writer.write(&before, TableWrite::Append(old)).await.unwrap();
    writer.commit(Progress::default()).await.unwrap();
    assert_eq!(place.rows(history).await, [OLD, OLD, OLD, NEW, NEW]);
}

/// Columns that come and go right after such a copy, in its epoch, cost no history either.
#[tokio::test]
async fn columns_change_in_the_epoch_that_added_to_history() {
    for others_rows in [false, true] {
        let place = place();
        let ((before, old), (after, new)) = (old_history(), new_history());
        copied(&place, &before, old.clone()).await.unwrap();
        let mut writer = place.destination.open(PIPELINE).await.unwrap();
        writer.remember(&state_of(&after, Phase::Copying)).await.unwrap();
        writer.commit(Progress::default()).await.unwrap();
        let mut loader = place.destination.load(PIPELINE, &after, 1).await.unwrap().remove(0);
        if others_rows {
            loader.write(new.clone()).await.unwrap();
        }
        loader.finish().await.unwrap();
        writer.promote(&after).await.unwrap();
        writer.remember(&state_of(&after, Phase::Streaming)).await.unwrap();
        // The column that was gone comes back, and another one goes.
        let mut columns = after.source.columns.clone();
        columns.push(column(9, Field::new("gone", DataType::Utf8, true)));
        let with = |version, columns| {
            let source = &after.source;
            let name = (source.id, source.name.clone());
            Arc::new(TableSchema::new(name, version, columns, vec![], source.identity))
        };
        let wide = with(3, columns.clone());
        let plan = after.with_source(Arc::clone(&wide));
        let change = SchemaChange::AddColumn { table: wide, column: 4, fill: None };
        writer.apply_schema(&plan, &change).await.unwrap();
        let rows = new.columns().iter().cloned();
        let back: ArrayRef = Arc::new(StringArray::from(vec!["back"]));
        let rows = batch(&plan, rows.chain([back]).collect());
        writer.write(&plan, TableWrite::Append(rows)).await.unwrap();
        columns.remove(3);
        let less = with(4, columns);
        let plan = after.with_source(Arc::clone(&less));
        let change = SchemaChange::DropColumn { table: less, column: "added".to_owned() };
        writer.apply_schema(&plan, &change).await.unwrap();
        writer.commit(Progress::default()).await.unwrap();
        let mut expected = vec!["1|99999999.9900|kept", "1099511627776|1.2345|back"];
        if others_rows {
            expected.push("1099511627776|1.2345|∅");
        }
        let history = "SELECT n, price, gone FROM public.items ORDER BY n, gone NULLS LAST";
        assert_eq!(place.rows(history).await, expected);
    }
}

#[tokio::test]
async fn history_that_would_lose_values_is_left_alone() {
    let place = place();
    let before = history(1, &[("v", DataType::Int64)]);
    let rows = batch(&before, vec![Arc::new(Int64Array::from(vec![i64::MAX]))]);
    copied(&place, &before, rows).await.unwrap();
    let after = history(2, &[("v", DataType::Float64)]);
    let rows = batch(&after, vec![Arc::new(arrow_array::Float64Array::from(vec![0.5]))]);
    let error = copied(&place, &after, rows.clone()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Data);
    assert!(error.message().contains("public.items: column \"v\""), "{error}");
    assert!(error.hint().is_some());
    assert_eq!(place.rows("FROM public.items").await, ["9223372036854775807"]);
    let moved = TablePlan { target: TableName::new("public", "items_2"), ..after };
    copied(&place, &moved, rows).await.unwrap();
    assert_eq!(place.rows("FROM public.items").await, ["9223372036854775807"]);
    assert_eq!(place.rows("FROM public.items_2").await, ["0.5"]);
}

#[tokio::test]
async fn rows_are_never_rounded_to_fit() {
    for mode in [Mode::Append, Mode::Merge] {
        let place = place();
        let fields = |scale| [("v", DataType::Decimal128(10, scale))];
        let before = TablePlan { mode, ..history(1, &fields(2)) };
        let after = TablePlan { mode, ..history(2, &fields(4)) };
        let mut writer = place.begin(&before).await;
        let rows = batch(&after, vec![decimals(vec![12_345], 10, 4)]);
        let write = match mode {
            Mode::Append => TableWrite::Append(rows),
            _ => TableWrite::Multiset(rowtide_core::MultisetWrite {
                inserts: Some(rows),
                ..rowtide_core::MultisetWrite::default()
            }),
        };
        let error = writer.write(&after, write).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Data);
        assert!(error.message().contains("DECIMAL(10,2)"), "{error}");
        drop(writer);
        assert!(place.rows("FROM public.items").await.is_empty());
    }
}

#[tokio::test]
async fn duckdb_gets_half_of_the_cores_unless_told_otherwise() {
    use rowtide_duckdb::{DuckdbDestination, DuckdbOptions, default_threads};
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file.duckdb");
    let cores = std::thread::available_parallelism().unwrap().get();
    assert_eq!(default_threads() as usize, (cores / 2).max(1));
    for (threads, expected) in [(None, default_threads()), (Some(3), 3)] {
        let options = DuckdbOptions { threads, ..DuckdbOptions::new(&path) };
        let destination = DuckdbDestination::new(options).unwrap();
        drop(destination.open(PIPELINE).await.unwrap());
        let rows = crate::support::rows(&destination, "SELECT current_setting('threads')").await;
        assert_eq!(rows, [expected.to_string()]);
    }
}
