//! Coming back: from an older checkpoint, after a restart, after a crash.

use std::sync::Arc;

use rowtide_core::{Checkpoint, Offset, Partition, TableSchema};

use super::Case;
use super::applier::Applier;
use crate::conformance::in_time;

async fn insert(case: &Case, ids: std::ops::Range<i64>) {
    let t = case.table("t");
    let mut session = case.subject.session().await;
    for id in ids {
        session.execute(&format!("INSERT INTO {t} VALUES ({id}, 'x', NULL)")).await;
    }
}

fn ids(applier: &Applier) -> Vec<i64> {
    let id = |seen: &super::applier::Seen| seen.values[0].as_ref().unwrap().parse().unwrap();
    applier.seen.iter().map(id).collect()
}

/// Starts again from `at`; a server may need a moment to see that the old session has ended.
async fn again(case: &Case, at: &Checkpoint, tables: &[Arc<TableSchema>]) -> Applier {
    let attempt = async {
        loop {
            match Applier::start_with(case, at, tables, 1 << 20).await {
                Ok(mut applier) => {
                    applier.nothing_to_copy();
                    return applier;
                }
                Err(error) => assert!(error.kind().is_transient(), "{}", error.chain()),
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    in_time("the stream to start again", attempt).await
}

/// Every transaction behind the checkpoint once, and none before it, as often as one comes back,
/// whatever had been heard already.
pub async fn a_restart_delivers_what_is_not_durable(case: Case) {
    case.create_items("t").await;
    let tables = case.discover(&["t"]).await;
    let attached = case.attach(&tables).await;
    let mut first = again(&case, &attached.checkpoint, &tables).await;
    insert(&case, 0..5).await;
    first.catch_up().await;
    let middle = first.at.clone();
    first.acknowledge();
    insert(&case, 5..10).await;
    // Heard and not durable: comes again.
    first.catch_up().await;
    assert_eq!(ids(&first), (0..10).collect::<Vec<_>>());
    first.cut();
    for _ in 0..2 {
        let mut second = again(&case, &middle, &tables).await;
        second.catch_up().await;
        assert_eq!(ids(&second), (5..10).collect::<Vec<_>>());
        second.close().await;
    }
    // From each place in between that a checkpoint can lie on.
    let places: Vec<_> = first.seen.iter().map(|seen| seen.commit.position).collect();
    let partition: Partition = middle.iter().next().unwrap().0.clone();
    for (at, position) in places.iter().enumerate().skip(6) {
        let checkpoint = Checkpoint::single(partition.clone(), Offset(position.0));
        let mut third = again(&case, &checkpoint, &tables).await;
        third.catch_up().await;
        assert_eq!(ids(&third), (i64::try_from(at).unwrap()..10).collect::<Vec<_>>());
        third.close().await;
    }
}

/// What the source may forget is what was declared durable, and nothing more.
pub async fn nothing_is_acknowledged_beyond_what_is_durable(case: Case) {
    case.create_items("t").await;
    let tables = case.discover(&["t"]).await;
    let attached = case.attach(&tables).await;
    let source = case.source();
    let acknowledged = || async { source.operations().status().await.unwrap().acknowledged };
    let start = attached.checkpoint.position().0;
    let mut applier = again(&case, &attached.checkpoint, &tables).await;
    for round in 0..5 {
        insert(&case, round * 10..round * 10 + 10).await;
        applier.catch_up().await;
        assert!(acknowledged().await.is_none_or(|at| at <= start), "nothing is durable yet");
    }
    // Half of it is durable.
    let durable = applier.at.clone();
    applier.acknowledge();
    insert(&case, 50..60).await;
    applier.catch_up().await;
    assert!(applier.at != durable);
    let reached = async {
        while acknowledged().await.is_none_or(|at| at < durable.position().0) {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    in_time("the acknowledgement", reached).await;
    assert!(acknowledged().await.unwrap() <= durable.position().0);
    // Ending in order does not acknowledge what was only heard.
    applier.close().await;
    assert!(acknowledged().await.unwrap() <= durable.position().0);
    let mut applier = again(&case, &durable, &tables).await;
    applier.catch_up().await;
    assert_eq!(ids(&applier), (50..60).collect::<Vec<_>>());
}

async fn over_an_outage(case: Case, kill: bool) {
    case.create_items("t").await;
    let tables = case.discover(&["t"]).await;
    let attached = case.attach(&tables).await;
    let mut applier = again(&case, &attached.checkpoint, &tables).await;
    let mut next = 0;
    for _ in 0..3 {
        insert(&case, next..next + 20).await;
        applier.catch_up().await;
        applier.acknowledge();
        insert(&case, next + 20..next + 30).await;
        let subject = Arc::clone(&case.subject);
        let outage = tokio::spawn(async move {
            match kill {
                true => subject.kill().await,
                false => subject.restart().await,
            }
        });
        // The stream goes on until it ends with an error that passes; it neither hangs nor ends
        // in silence. A server that stops in order may wait for what it sent to be durable.
        let error = loop {
            match applier.step().await {
                Ok(()) => applier.acknowledge(),
                Err(error) => break error,
            }
        };
        in_time("the server to be back", outage).await.unwrap();
        assert!(error.kind().is_transient(), "{}", error.chain());
        let at = applier.at.clone();
        insert(&case, next + 30..next + 40).await;
        let known = Some((&attached.identity, Some(&at)));
        let back = async {
            while let Err(error) = case.attach_as(&tables, known).await {
                assert!(error.kind().is_transient(), "{}", error.chain());
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
            while let Err(error) = applier.connect(1 << 20).await {
                assert!(error.kind().is_transient(), "{}", error.chain());
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
        };
        in_time("the source to come back", back).await;
        applier.catch_up().await;
        next += 40;
        assert_eq!(ids(&applier), (0..next).collect::<Vec<_>>(), "each once");
        applier.check_all(&case).await;
    }
}

/// Restarted in order.
pub async fn a_restarted_server_loses_nothing(case: Case) {
    over_an_outage(case, false).await;
}

/// Killed, and recovered by itself.
pub async fn a_killed_server_loses_nothing(case: Case) {
    over_an_outage(case, true).await;
}

/// A run that ended within a large transaction hears all of it again.
pub async fn the_middle_of_a_transaction_is_no_place_to_begin(case: Case) {
    case.create_items("t").await;
    let t = case.table("t");
    let tables = case.discover(&["t"]).await;
    let attached = case.attach(&tables).await;
    insert(&case, 0..1).await;
    let rows: Vec<String> =
        (1..5_000).map(|id| format!("({id}, '{}', NULL)", "x".repeat(100))).collect();
    case.run(&format!("INSERT INTO {t} VALUES {}", rows.join(", "))).await;
    let mut applier =
        Applier::start_with(&case, &attached.checkpoint, &tables, 50_000).await.unwrap();
    applier.nothing_to_copy();
    while applier.seen.len() < 1_000 {
        applier.step().await.unwrap();
    }
    assert!(applier.seen.len() < 5_000, "the transaction is larger than the buffer");
    let at = applier.at.clone();
    applier.cut();
    drop(applier);
    let mut applier = again(&case, &at, &tables).await;
    applier.catch_up().await;
    let seen = ids(&applier);
    let first = seen[0];
    assert!(first <= 1, "from the beginning of the transaction, not from {first}");
    assert_eq!(seen, (first..5_000).collect::<Vec<_>>());
}
