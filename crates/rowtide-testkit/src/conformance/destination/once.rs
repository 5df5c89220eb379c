//! Events that came to stand twice in a history, of which a repair leaves one.

use arrow_array::{ArrayRef, RecordBatch};
use rowtide_core::traits::{Progress, Writer};
use rowtide_core::{ErrorKind, TableWrite};

use super::{Case, PIPELINE, assert_rows, commit, epoch};
use crate::conformance::batches::{LOADED_AT, apply, copied_rows, source_rows};
use crate::conformance::in_time;
use crate::conformance::model::{Log, NULL, Row, SAME, Table};
use crate::conformance::oracle::{self, TextRow};
use crate::row;

/// Keys that several events name, at one place and at several.
fn log(items: &Table) -> Log {
    let mut log = Log::default();
    log.commit([
        items.insert(row![1, "a", "long"]),
        items.update(row![1, "b", SAME]),
        items.insert(row![2, "a", NULL]),
        items.insert(row![3, "a", NULL]),
    ]);
    log.commit([items.update(row![1, "b", SAME]), items.delete(row![2]), items.truncate()]);
    log
}

/// The write that leaves each event under `keys` once.
fn once(items: &Table, keys: &[i64]) -> TableWrite {
    let rows: Vec<Row> = keys.iter().map(|key| row![*key, NULL, NULL]).collect();
    let mut columns: Vec<ArrayRef> = source_rows(&items.plan.source, &rows).columns().to_vec();
    columns.extend(items.plan.metadata.snapshot_values(rows.len(), 0, LOADED_AT));
    TableWrite::Once(RecordBatch::try_new(items.plan.target_arrow(), columns).unwrap())
}

/// What stands when the events under `twice` stand twice, and TRUNCATE, which has no key.
fn expected(log: &Log, items: &Table, twice: &[&str]) -> Vec<TextRow> {
    let history = oracle::history(&log.transactions, items.target());
    // Behind position, order and op.
    let is_twice = |row: &&TextRow| row[3].as_deref().is_none_or(|key| twice.contains(&key));
    let again: Vec<TextRow> = history.iter().filter(is_twice).cloned().collect();
    let mut all = [history, again].concat();
    all.sort();
    all
}

/// With everything of `log` applied twice.
async fn doubled(case: &Case, items: &Table, log: &Log) -> Box<dyn Writer> {
    let mut writer = case.prepare(&[items]).await;
    epoch(&mut writer, log, (0, log.len())).await.unwrap();
    apply(writer.as_mut(), &log.transactions).await.unwrap();
    writer.commit(Progress::default()).await.unwrap();
    check(case, (items, log), &["1", "2", "3"]).await;
    writer
}

async fn check(case: &Case, (items, log): (&Table, &Log), twice: &[&str]) {
    assert_rows("history", &case.history(items).await, &expected(log, items, twice));
    let stored = case.peek().await.checkpoint;
    assert_eq!(stored, Some(Log::checkpoint(log.len())), "a repair moves no checkpoint");
}

/// Only under the keys that it names, and only what has the same place; done again it does nothing.
pub async fn an_event_that_stands_twice_is_left_once(case: Case) {
    let items = Table::items().appending();
    let log = log(&items);
    let mut writer = doubled(&case, &items, &log).await;
    writer.write(&items.plan, once(&items, &[1, 3, 99])).await.unwrap();
    check(&case, (&items, &log), &["1", "2", "3"]).await;
    writer.commit(Progress::default()).await.unwrap();
    check(&case, (&items, &log), &["2"]).await;
    drop(writer);
    let mut writer = case.open().await;
    for _ in 0..2 {
        writer.write(&items.plan, once(&items, &[1, 3, 99])).await.unwrap();
    }
    writer.commit(Progress::default()).await.unwrap();
    check(&case, (&items, &log), &["2"]).await;
    writer.write(&items.plan, once(&items, &[2])).await.unwrap();
    writer.commit(Progress::default()).await.unwrap();
    check(&case, (&items, &log), &[]).await;
}

/// A copied row has a place of its own, without an order.
pub async fn a_copied_row_that_stands_twice_is_left_once(case: Case) {
    let items = Table::items().appending();
    let mut log = Log::default();
    log.commit([items.insert(row![2, "followed", NULL])]);
    let mut writer = case.prepare(&[&items]).await;
    let rows = [row![1, "copied", NULL], row![2, "copied", NULL], row![1, "copied", NULL]];
    for (row, position) in rows.into_iter().zip([500, 500, 700]) {
        for _ in 0..3 {
            let copied = copied_rows(&items, std::slice::from_ref(&row), position);
            writer.write(&items.plan, TableWrite::Append(copied)).await.unwrap();
        }
    }
    epoch(&mut writer, &log, (0, 1)).await.unwrap();
    assert_eq!(case.history(&items).await.len(), 10);
    writer.write(&items.plan, once(&items, &[1, 2])).await.unwrap();
    writer.commit(Progress::default()).await.unwrap();
    let standing = case.history(&items).await;
    let place = |row: &TextRow| (row[0].clone().unwrap(), row[3].clone().unwrap());
    let places: Vec<(String, String)> = standing.iter().map(place).collect();
    let expected = [("1000", "2"), ("500", "1"), ("500", "2"), ("700", "1")];
    assert_eq!(places, expected.map(|(at, key)| (at.to_owned(), key.to_owned())));
}

/// What comes before it in the epoch is left once as well, and what comes after it stands.
pub async fn what_is_left_once_keeps_its_place_in_the_epoch(case: Case) {
    let items = Table::items().appending();
    let log = log(&items);
    let mut writer = case.prepare(&[&items]).await;
    epoch(&mut writer, &log, (0, log.len())).await.unwrap();
    apply(writer.as_mut(), &log.transactions).await.unwrap();
    writer.write(&items.plan, once(&items, &[1, 2, 3])).await.unwrap();
    writer.commit(Progress::default()).await.unwrap();
    check(&case, (&items, &log), &[]).await;
    writer.write(&items.plan, once(&items, &[1, 2, 3])).await.unwrap();
    let mut again = log.clone();
    again.commit([items.insert(row![3, "later", NULL])]);
    apply(writer.as_mut(), &again.transactions[log.len()..]).await.unwrap();
    commit(&mut writer, again.len()).await.unwrap();
    // TRUNCATE stands twice, but what is told apart by a key does not.
    let standing = case.history(&items).await;
    assert_rows("history", &standing, &expected(&again, &items, &[]));
    assert_eq!(case.peek().await.checkpoint, Some(Log::checkpoint(again.len())));
}

/// A writer that is none any more leaves everything as it stood.
pub async fn an_older_writer_leaves_nothing_once(case: Case) {
    let items = Table::items().appending();
    let log = log(&items);
    let mut older = doubled(&case, &items, &log).await;
    older.write(&items.plan, once(&items, &[1, 2, 3])).await.unwrap();
    let mut newer = in_time("the newer writer", case.open()).await;
    let refused = in_time("the older commit", older.commit(Progress::default())).await;
    let error = refused.expect_err("an older writer cannot commit");
    assert_eq!(error.kind(), ErrorKind::Fenced, "{}", error.chain());
    drop(older);
    check(&case, (&items, &log), &["1", "2", "3"]).await;
    newer.write(&items.plan, once(&items, &[2])).await.unwrap();
    newer.commit(Progress::default()).await.unwrap();
    check(&case, (&items, &log), &["1", "3"]).await;
    drop(newer);
    case.destination().teardown(PIPELINE).await.unwrap();
}
