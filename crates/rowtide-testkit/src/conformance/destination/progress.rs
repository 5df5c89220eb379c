//! What is remembered beside the data.

use rowtide_core::traits::Progress;
use rowtide_core::{Destination, ErrorKind, Phase, SourceIdentity};

use super::{Case, PIPELINE, commit, epoch};
use crate::conformance::batches::apply;
use crate::conformance::model::{Log, NULL, Table};
use crate::row;

/// A position behind the stored one is a bug of the caller, and nothing is committed with it.
pub async fn a_checkpoint_never_goes_back(case: Case) {
    let items = Table::items();
    let mut log = Log::default();
    log.commit([items.insert(row![1, "a", NULL])]);
    log.commit([items.insert(row![2, "b", NULL])]);
    let mut writer = case.prepare(&[&items]).await;
    epoch(&mut writer, &log, (0, 1)).await.unwrap();
    commit(&mut writer, 9).await.unwrap();
    apply(writer.as_mut(), &log.transactions[1..]).await.unwrap();
    let error = commit(&mut writer, 8).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Internal, "{}", error.chain());
    drop(writer);
    let mut writer = case.open().await;
    assert_eq!(writer.state().await.unwrap().checkpoint, Some(Log::checkpoint(9)));
    case.check(&[&items], &log, 1).await;
    // Nor in the run after it.
    let error = commit(&mut writer, 8).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Internal, "{}", error.chain());
}

/// Identity, error and table states come back as they were given, quotes and all.
pub async fn identity_and_error_are_kept(case: Case) {
    let items = Table::items();
    let mut writer = case.prepare(&[&items]).await;
    let identity = SourceIdentity(serde_json::json!({
        "system": "7'\"\\", "slot": "s 🦆", "large": u64::MAX, "list": [1, null, {"a": 1.5}],
    }));
    let progress = Progress {
        identity: Some(&identity),
        error: Some("it's \"gone\"\nfor good"),
        ..Progress::default()
    };
    writer.commit(progress).await.unwrap();
    let mut stopped = items.plan.state(Phase::Stopped);
    stopped.reason = Some("because 'of' \"this\"".to_owned());
    stopped.rows_copied = 1 << 40;
    stopped.fence = Some(rowtide_core::Fence::Below(rowtide_core::Offset(u64::MAX / 2)));
    writer.remember(&stopped).await.unwrap();
    commit(&mut writer, 3).await.unwrap();
    let state = writer.state().await.unwrap();
    assert_eq!(state.identity, Some(identity));
    assert_eq!(state.tables, [stopped]);
    assert_eq!(state.checkpoint, Some(Log::checkpoint(3)));
    assert!(state.updated_at.is_some());
    assert_eq!(state.last_error.as_ref().unwrap().1, "it's \"gone\"\nfor good");
    assert_eq!(case.peek().await, state);
    drop(writer);
    assert_eq!(case.peek().await, state);
}

/// Looking makes nothing, and takes nothing from the writer.
pub async fn peeking_disturbs_nobody(case: Case) {
    let before = case.subject.inventory().await;
    assert_eq!(case.destination().peek(PIPELINE).await.unwrap(), None);
    assert_eq!(case.subject.inventory().await, before, "looking made something");
    let items = Table::items();
    let mut log = Log::default();
    log.commit([items.insert(row![1, "a", NULL])]);
    let mut writer = case.prepare(&[&items]).await;
    assert_eq!(case.destination().peek("another").await.unwrap(), None);
    apply(writer.as_mut(), &log.transactions).await.unwrap();
    let epoch = case.peek().await.fencing_epoch;
    assert_eq!(case.peek().await.fencing_epoch, epoch);
    commit(&mut writer, 1).await.unwrap();
    case.check(&[&items], &log, 1).await;
}

/// Two pipelines of one store have nothing to do with each other.
pub async fn pipelines_do_not_disturb_each_other(case: Case) {
    let (items, bag) = (Table::items(), Table::bag());
    let mut log = Log::default();
    log.commit([items.insert(row![1, "a", NULL])]);
    let mut other_log = Log::default();
    other_log.commit([bag.insert(row![1, "x"])]);
    let mut one = case.prepare(&[&items]).await;
    apply(one.as_mut(), &log.transactions).await.unwrap();
    let mut two = case.destination().open("two").await.unwrap();
    two.promote(&bag.plan).await.unwrap();
    two.remember(&bag.plan.state(Phase::Streaming)).await.unwrap();
    epoch(&mut two, &other_log, (0, 1)).await.unwrap();
    commit(&mut one, 1).await.unwrap();
    case.check(&[&items], &log, 1).await;
    case.check(&[&bag], &other_log, 1).await;
    let of = |destination: std::sync::Arc<dyn Destination>, pipeline: &'static str| async move {
        destination.peek(pipeline).await.unwrap().unwrap()
    };
    assert_eq!(of(case.destination(), "two").await.tables.len(), 1);
    assert_eq!(of(case.destination(), PIPELINE).await.tables[0].target, *items.target());
}
