//! An epoch is one thing: all of it, or nothing.

use rowtide_core::Phase;
use rowtide_core::traits::Progress;

use super::{Case, catch_up, commit, epoch};
use crate::conformance::batches::apply;
use crate::conformance::model::{Kind, Log, NULL, Table};
use crate::row;

fn two_tables() -> (Table, Table, Log) {
    let (items, bag) = (Table::items(), Table::bag());
    let mut log = Log::default();
    log.commit([items.insert(row![1, "a", NULL]), bag.insert(row![1, "x"])]);
    log.commit([items.insert(row![2, "b", NULL]), bag.insert(row![1, "x"])]);
    log.commit([items.update(row![1, "A", "n"]), bag.delete(row![1, "x"]), items.delete(row![2])]);
    (items, bag, log)
}

/// Nothing before the commit, everything after it, across two tables.
pub async fn an_epoch_appears_at_once(case: Case) {
    let (items, bag, log) = two_tables();
    let tables = [&items, &bag];
    let mut writer = case.prepare(&tables).await;
    epoch(&mut writer, &log, (0, 1)).await.unwrap();
    apply(writer.as_mut(), &log.transactions[1..2]).await.unwrap();
    apply(writer.as_mut(), &log.transactions[2..]).await.unwrap();
    case.check(&tables, &log, 1).await;
    // What is stored is told as of the last commit, by the writer itself too.
    assert_eq!(writer.state().await.unwrap().checkpoint, Some(Log::checkpoint(1)));
    assert_eq!(case.peek().await.checkpoint, Some(Log::checkpoint(1)));
    commit(&mut writer, 3).await.unwrap();
    case.check(&tables, &log, 3).await;
    assert_eq!(case.peek().await.checkpoint, Some(Log::checkpoint(3)));
}

/// What was written and remembered since the last commit goes with its writer.
pub async fn a_dropped_writer_leaves_nothing(case: Case) {
    let (items, bag, log) = two_tables();
    let tables = [&items, &bag];
    let mut writer = case.prepare(&tables).await;
    epoch(&mut writer, &log, (0, 2)).await.unwrap();
    apply(writer.as_mut(), &log.transactions[2..]).await.unwrap();
    writer.remember(&items.plan.state(Phase::Stopped)).await.unwrap();
    let new = Table::new(8, "new", &[("id", Kind::Integer)], &[0]);
    writer.promote(&new.plan).await.unwrap();
    drop(writer);
    let mut writer = case.open().await;
    let state = writer.state().await.unwrap();
    assert_eq!(state.checkpoint, Some(Log::checkpoint(2)));
    assert!(state.tables.iter().all(|table| table.phase == Phase::Streaming), "{state:?}");
    assert_eq!(case.live(&new).await, None);
    case.check(&tables, &log, 2).await;
    catch_up(&mut writer, &log).await;
    case.check(&tables, &log, 3).await;
}

/// A run that ends in the middle of a transaction applies it from its beginning.
pub async fn a_transaction_begun_anew_is_applied_once(case: Case) {
    let (items, bag, log) = two_tables();
    let history = Table::items().named(11, "history").appending();
    let mut large = log.clone();
    let both = |n: i64| {
        [
            items.insert(row![n, "large", NULL]),
            bag.insert(row![n % 3, "large"]),
            history.insert(row![n, "large", NULL]),
        ]
    };
    large.commit((10..60).flat_map(both));
    let tables = [&items, &bag, &history];
    let mut writer = case.prepare(&tables).await;
    epoch(&mut writer, &large, (0, 3)).await.unwrap();
    for part in [30, 60, 150] {
        // The transaction comes in pieces; the run ends within it, or just before the commit.
        let mut piece = large.transactions[3].clone();
        piece.events.truncate(part);
        apply(writer.as_mut(), &[piece]).await.unwrap();
        drop(writer);
        writer = case.open().await;
        case.check(&tables, &large, 3).await;
    }
    catch_up(&mut writer, &large).await;
    case.check(&tables, &large, 4).await;
}

/// An idle source moves on too; and a commit that says nothing changes nothing.
pub async fn an_empty_epoch_moves_the_checkpoint(case: Case) {
    let (items, bag, log) = two_tables();
    let mut writer = case.prepare(&[&items, &bag]).await;
    epoch(&mut writer, &log, (0, 3)).await.unwrap();
    commit(&mut writer, 7).await.unwrap();
    assert_eq!(case.peek().await.checkpoint, Some(Log::checkpoint(7)));
    commit(&mut writer, 7).await.unwrap();
    writer.commit(Progress::default()).await.unwrap();
    assert_eq!(case.peek().await.checkpoint, Some(Log::checkpoint(7)));
    case.check(&[&items, &bag], &log, 3).await;
}
