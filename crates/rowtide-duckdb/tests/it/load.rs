//! Copies: staging tables and how they take their place.

use rowtide_core::traits::Progress;
use rowtide_core::{
    Destination, ErrorKind, Mode, Phase, Severity, TableName, TablePlan, TableWrite,
};

use crate::support::{
    Item, PIPELINE, Place, commit_at, item_rows, items, place, plan, raw, schema, state_of,
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
