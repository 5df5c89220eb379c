//! Copies: staging tables, their lanes, and how they take their place.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rowtide_core::{Phase, TableName};

use super::{Case, PIPELINE, catch_up, commit, epoch};
use crate::conformance::batches::copied_rows;
use crate::conformance::model::{Log, NULL, Row, Table};
use crate::conformance::oracle::TextRow;
use crate::row;

/// Says that a copy is on its way, and fills a staging table with `ids`, a lane for each range.
pub(super) async fn load(case: &Case, table: &Table, lanes: &[(i64, i64)]) {
    let loaders = case.destination().load(PIPELINE, &table.plan, lanes.len()).await.unwrap();
    assert_eq!(loaders.len(), lanes.len());
    let lanes = loaders.into_iter().zip(lanes.to_vec()).map(|(mut loader, (from, to))| {
        let table = table.clone();
        tokio::spawn(async move {
            let rows: Vec<Row> = (from..to).map(|id| row![id, "copied", NULL]).collect();
            for rows in rows.chunks(1_000) {
                loader.write(copied_rows(&table, rows, 900)).await.unwrap();
            }
            loader.finish().await.unwrap();
        })
    });
    for lane in lanes.collect::<Vec<_>>() {
        lane.await.unwrap();
    }
}

fn copied(ids: impl IntoIterator<Item = i64>) -> Vec<TextRow> {
    let row = |id: i64| vec![Some(id.to_string()), Some("copied".to_owned()), None];
    let mut rows: Vec<TextRow> = ids.into_iter().map(row).collect();
    rows.sort();
    rows
}

/// Lanes of their own speed make one table, which appears with its epoch and what is replayed.
pub async fn lanes_fill_one_table(case: Case) {
    let items = Table::items();
    let mut writer = case.open().await;
    writer.remember(&items.plan.state(Phase::Copying)).await.unwrap();
    commit(&mut writer, 0).await.unwrap();
    load(&case, &items, &[(0, 5_000), (5_000, 5_001), (5_001, 12_345), (20_000, 20_000)]).await;
    assert_eq!(case.live(&items).await, None, "a copy appears with its epoch");
    writer.promote(&items.plan).await.unwrap();
    writer.remember(&items.plan.state(Phase::Streaming)).await.unwrap();
    let mut log = Log::default();
    log.commit([items.delete(row![0]), items.insert(row![-1, "copied", NULL])]);
    epoch(&mut writer, &log, (0, 1)).await.unwrap();
    let expected = copied((1..12_345).chain([-1]));
    assert_eq!(case.live(&items).await.unwrap(), expected);
}

/// The old rows stand and are followed until the new copy takes their place.
pub async fn a_copy_takes_the_place_of_the_old_one(case: Case) {
    let items = Table::items();
    let mut log = Log::default();
    log.commit([items.insert(row![99, "old", NULL])]);
    log.commit([items.update(row![99, "older", NULL])]);
    let mut writer = case.prepare(&[&items]).await;
    epoch(&mut writer, &log, (0, 1)).await.unwrap();
    for copy in 0..3 {
        load(&case, &items, &[(copy * 10, copy * 10 + 2), (copy * 10 + 2, copy * 10 + 3)]).await;
        if copy == 0 {
            epoch(&mut writer, &log, (1, 2)).await.unwrap();
            case.check(&[&items], &log, 2).await;
        }
        writer.promote(&items.plan).await.unwrap();
        writer.remember(&items.plan.state(Phase::Streaming)).await.unwrap();
        commit(&mut writer, 2).await.unwrap();
        assert_eq!(case.live(&items).await.unwrap(), copied(copy * 10..copy * 10 + 3));
    }
    // The new table is written like any other.
    log.commit([items.delete(row![20]), items.insert(row![30, "copied", NULL])]);
    catch_up(&mut writer, &log).await;
    assert_eq!(case.live(&items).await.unwrap(), copied([21, 22, 30]));
}

/// Loaders that were dropped, finished or not, leave nothing to the next copy.
pub async fn an_abandoned_copy_leaves_nothing(case: Case) {
    let items = Table::items();
    let mut writer = case.prepare(&[&items]).await;
    let mut loaders = case.destination().load(PIPELINE, &items.plan, 2).await.unwrap();
    let rows = copied_rows(&items, &[row![1, "copied", NULL]], 900);
    loaders[0].write(rows.clone()).await.unwrap();
    drop(loaders);
    // One lane finished, the other died.
    let mut loaders = case.destination().load(PIPELINE, &items.plan, 2).await.unwrap();
    loaders[0].write(rows).await.unwrap();
    loaders.remove(0).finish().await.unwrap();
    drop(loaders);
    load(&case, &items, &[(5, 7)]).await;
    // A promotion that was not committed is none.
    writer.promote(&items.plan).await.unwrap();
    drop(writer);
    assert_eq!(case.live(&items).await.unwrap(), copied([]));
    let mut writer = case.open().await;
    load(&case, &items, &[(8, 10)]).await;
    writer.promote(&items.plan).await.unwrap();
    commit(&mut writer, 1).await.unwrap();
    assert_eq!(case.live(&items).await.unwrap(), copied(8..10));
    let staging: Vec<String> = case.subject.inventory().await.into_iter().collect();
    assert!(!staging.iter().any(|name| name.contains("staging")), "{staging:?}");
}

/// A table that is not copied begins empty; what stands is never emptied for that.
pub async fn nothing_to_copy_makes_an_empty_table(case: Case) {
    let items = Table::items();
    let mut log = Log::default();
    log.commit([items.insert(row![1, "a", NULL])]);
    let mut writer = case.open().await;
    writer.promote(&items.plan).await.unwrap();
    writer.remember(&items.plan.state(Phase::Streaming)).await.unwrap();
    commit(&mut writer, 0).await.unwrap();
    assert_eq!(case.live(&items).await.unwrap(), copied([]));
    epoch(&mut writer, &log, (0, 1)).await.unwrap();
    writer.promote(&items.plan).await.unwrap();
    commit(&mut writer, 1).await.unwrap();
    case.check(&[&items], &log, 1).await;
}

/// In mode append a copy adds its rows to those that stand.
pub async fn a_copy_is_added_to_history(case: Case) {
    let items = Table::items().appending();
    let mut log = Log::default();
    log.commit([items.insert(row![50, "copied", NULL])]);
    let mut writer = case.prepare(&[&items]).await;
    for copy in 0..2 {
        load(&case, &items, &[(copy * 10, copy * 10 + 2)]).await;
        writer.promote(&items.plan).await.unwrap();
        writer.remember(&items.plan.state(Phase::Streaming)).await.unwrap();
        commit(&mut writer, 0).await.unwrap();
    }
    epoch(&mut writer, &log, (0, 1)).await.unwrap();
    assert_eq!(case.live(&items).await.unwrap(), copied([0, 1, 10, 11, 50]));
    let staging: Vec<String> = case.subject.inventory().await.into_iter().collect();
    assert!(!staging.iter().any(|name| name.contains("staging")), "{staging:?}");
}

/// Whoever reads meanwhile sees the old table or the new one.
pub async fn readers_never_see_half_a_copy(case: Case) {
    const ROWS: i64 = 3_000;
    let items = Table::items();
    let case = Arc::new(case);
    let done = Arc::new(AtomicBool::new(false));
    let reader = tokio::spawn({
        let (case, done, items) = (Arc::clone(&case), Arc::clone(&done), items.clone());
        async move {
            let mut seen = Vec::new();
            while !done.load(Ordering::Relaxed) {
                let rows = case.live(&items).await.unwrap_or_default();
                let first = rows.iter().filter_map(|row| row[0].as_ref()?.parse::<i64>().ok());
                let generation = first.min().map(|id| id / ROWS);
                let count = i64::try_from(rows.len()).unwrap();
                assert!(count == 0 || count == ROWS, "{count} rows");
                let last = rows.iter().filter_map(|row| row[0].as_ref()?.parse::<i64>().ok()).max();
                assert_eq!(generation, last.map(|id| id / ROWS), "rows of two copies");
                seen.push(generation);
            }
            seen
        }
    });
    let mut writer = case.open().await;
    for copy in 0..4 {
        load(
            &case,
            &items,
            &[(copy * ROWS, copy * ROWS + 1_000), (copy * ROWS + 1_000, (copy + 1) * ROWS)],
        )
        .await;
        writer.promote(&items.plan).await.unwrap();
        writer.remember(&items.plan.state(Phase::Streaming)).await.unwrap();
        commit(&mut writer, 0).await.unwrap();
        assert_eq!(case.live(&items).await.unwrap(), copied(copy * ROWS..(copy + 1) * ROWS));
    }
    done.store(true, Ordering::Relaxed);
    let seen = reader.await.unwrap();
    assert!(seen.is_sorted() && !seen.is_empty(), "{seen:?}");
}

/// A target in a schema that has to be made as well.
pub(super) fn elsewhere() -> Table {
    let mut table = Table::items().named(12, "elsewhere");
    table.plan.target = TableName::new("Else where", "items");
    table
}
