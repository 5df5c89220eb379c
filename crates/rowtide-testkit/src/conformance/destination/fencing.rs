//! One writer at a time: an older one cannot commit, whatever it has open.

use rowtide_core::traits::Writer;
use rowtide_core::{ErrorKind, Result};

use super::{Case, PIPELINE, commit, epoch};
use crate::conformance::batches::apply;
use crate::conformance::in_time;
use crate::conformance::model::{Log, NULL, Table};
use crate::row;

/// A log whose last transaction the older writer applies under another name: `zombie`.
fn logs(items: &Table) -> (Log, Log) {
    let mut log = Log::default();
    log.commit([items.insert(row![1, "a", NULL]), items.insert(row![2, "b", NULL])]);
    let mut zombie = log.clone();
    log.commit([items.insert(row![3, "new", NULL])]);
    zombie.commit([items.insert(row![4, "zombie", NULL])]);
    (log, zombie)
}

fn assert_fenced(result: Result<()>) {
    let error = result.expect_err("an older writer cannot commit");
    assert_eq!(error.kind(), ErrorKind::Fenced, "{}", error.chain());
}

async fn opened(case: &Case) -> Box<dyn Writer> {
    in_time("the newer writer, which no older one may hold up", case.open()).await
}

/// The newer writer is not held up by the older one's open epoch, and wins.
pub async fn an_older_writer_with_an_open_epoch_is_fenced(case: Case) {
    let items = Table::items();
    let (log, zombie) = logs(&items);
    let mut older = case.prepare(&[&items]).await;
    epoch(&mut older, &log, (0, 1)).await.unwrap();
    apply(older.as_mut(), &zombie.transactions[1..]).await.unwrap();
    let mut newer = opened(&case).await;
    in_time("an epoch", epoch(&mut newer, &log, (1, 2))).await.unwrap();
    assert_fenced(in_time("the older commit", commit(&mut older, 2)).await);
    drop(older);
    case.check(&[&items], &log, 2).await;
    assert_eq!(newer.state().await.unwrap().fencing_epoch, case.peek().await.fencing_epoch);
}

/// Opening is enough: the newer writer need not have committed anything.
pub async fn an_older_writer_that_commits_first_is_fenced(case: Case) {
    let items = Table::items();
    let (log, zombie) = logs(&items);
    let mut older = case.prepare(&[&items]).await;
    epoch(&mut older, &log, (0, 1)).await.unwrap();
    let first = case.peek().await.fencing_epoch;
    apply(older.as_mut(), &zombie.transactions[1..]).await.unwrap();
    let mut newer = opened(&case).await;
    assert!(case.peek().await.fencing_epoch > first, "the epoch is raised durably");
    assert_fenced(in_time("the older commit", commit(&mut older, 2)).await);
    case.check(&[&items], &log, 1).await;
    in_time("an epoch", epoch(&mut newer, &log, (1, 2))).await.unwrap();
    case.check(&[&items], &log, 2).await;
}

/// Without an open epoch, and without data: still fenced.
pub async fn an_older_writer_that_begins_late_is_fenced(case: Case) {
    let items = Table::items();
    let (log, zombie) = logs(&items);
    let mut older = case.prepare(&[&items]).await;
    let mut idle = {
        epoch(&mut older, &log, (0, 1)).await.unwrap();
        opened(&case).await
    };
    let mut newer = opened(&case).await;
    epoch(&mut newer, &log, (1, 2)).await.unwrap();
    // The write may be refused already; the commit must be.
    match apply(older.as_mut(), &zombie.transactions[1..]).await {
        Ok(()) => assert_fenced(commit(&mut older, 2).await),
        Err(error) => assert_eq!(error.kind(), ErrorKind::Fenced, "{}", error.chain()),
    }
    assert_fenced(commit(&mut idle, 5).await);
    case.check(&[&items], &log, 2).await;
    assert_eq!(case.peek().await.checkpoint, Some(Log::checkpoint(2)));
}

/// What the older writer has changed and not committed does not hold up the newer one, which
/// applies the very same changes again.
pub async fn an_older_writers_epoch_holds_no_rows(case: Case) {
    let items = Table::items();
    let mut log = Log::default();
    log.commit([items.insert(row![1, "a", NULL]), items.insert(row![2, "b", NULL])]);
    log.commit([items.update(row![1, "A", NULL]), items.delete(row![2])]);
    let mut older = case.prepare(&[&items]).await;
    epoch(&mut older, &log, (0, 1)).await.unwrap();
    apply(older.as_mut(), &log.transactions[1..]).await.unwrap();
    let mut newer = opened(&case).await;
    let result = in_time("an epoch", epoch(&mut newer, &log, (1, 2))).await;
    assert_fenced(in_time("the older commit", commit(&mut older, 2)).await);
    match result {
        Ok(()) => {}
        Err(error) if case.subject.one_process_writes() && error.kind().is_transient() => {
            let mut again = opened(&case).await;
            epoch(&mut again, &log, (1, 2)).await.unwrap();
        }
        Err(error) => panic!("held up by an older writer: {}", error.chain()),
    }
    case.check(&[&items], &log, 2).await;
}

/// Removing the pipeline fences its writer as well.
pub async fn a_torn_down_pipeline_cannot_commit(case: Case) {
    let items = Table::items();
    let (log, _) = logs(&items);
    let mut writer = case.prepare(&[&items]).await;
    epoch(&mut writer, &log, (0, 1)).await.unwrap();
    case.destination().teardown(PIPELINE).await.unwrap();
    assert_fenced(commit(&mut writer, 2).await);
    drop(writer);
    assert_eq!(case.destination().peek(PIPELINE).await.unwrap(), None);
    assert_eq!(case.live(&items).await, None);
}
