//! Failures around the commit, and everywhere else the connector can be broken off.

use rowtide_core::traits::Writer;
use rowtide_core::{Phase, fault};

use super::copies::load;
use super::{Case, catch_up, commit, epoch};
use crate::conformance::batches::apply;
use crate::conformance::model::{Kind, Log, NULL, SAME, Table};
use crate::row;

/// Points at which a destination may be broken off. Those that one has no use for do nothing.
const POINTS: &[&str] = &[
    "write.staged",
    "write.removed",
    "truncate.applied",
    "schema.applied",
    "commit.before",
    "commit.done",
];

fn tables() -> (Table, Table, Table) {
    let history = Table::items().named(11, "history").appending();
    (Table::items(), Table::bag(), history)
}

/// Every kind of write; each transaction changes all three tables.
fn busy_log((items, bag, history): (&Table, &Table, &Table)) -> Log {
    let mut log = Log::default();
    for n in 0..12 {
        let mut events = vec![bag.insert(row![n % 2, "x"]), history.insert(row![n, "h", NULL])];
        events.push(items.insert(row![n, "new", format!("note {n}")]));
        if n > 0 {
            events.push(items.update(row![n - 1, "updated", SAME]));
            events.push(history.update(row![n - 1, "updated", SAME]));
            events.push(bag.delete(row![(n - 1) % 2, "x"]));
        }
        if n % 8 == 3 {
            events.push(items.change_key(row![n - 2], row![n + 100, SAME, SAME]));
            events.push(items.delete(row![n - 1]));
        }
        if n == 6 {
            events.extend([history.truncate(), items.truncate()]);
            events.push(items.insert(row![n, "after", NULL]));
        }
        log.commit(events);
    }
    log
}

/// Whether `point` was arrived at since it was armed with `error@1`: then this is not the first
/// arrival any more.
fn was_reached(point: &str) -> bool {
    let reached = fault::point(point).is_ok();
    fault::arm("").unwrap();
    reached
}

/// A commit that did not happen is told as a failure, leaves nothing, and can be repeated.
pub async fn a_lost_commit_leaves_nothing(case: Case) {
    let (items, bag, history) = tables();
    let all = [&items, &bag, &history];
    let log = busy_log((&items, &bag, &history));
    let mut writer = case.prepare(&all).await;
    epoch(&mut writer, &log, (0, 3)).await.unwrap();
    fault::arm("commit.before=error@1").unwrap();
    let result = epoch(&mut writer, &log, (3, 7)).await;
    assert!(was_reached("commit.before"), "the destination has no point commit.before");
    let error = result.expect_err("the commit did not happen");
    assert!(error.kind().is_transient(), "{}", error.chain());
    drop(writer);
    let mut writer = case.open().await;
    assert_eq!(writer.state().await.unwrap().checkpoint, Some(Log::checkpoint(3)));
    case.check(&all, &log, 3).await;
    catch_up(&mut writer, &log).await;
    case.check(&all, &log, log.len()).await;
}

/// The reply is lost, the commit is not: whatever the destination says then, what it stores as
/// reached is what it holds, and nobody applies anything twice.
pub async fn a_lost_reply_to_a_commit_is_found_out(case: Case) {
    let (items, bag, history) = tables();
    let all = [&items, &bag, &history];
    let log = busy_log((&items, &bag, &history));
    let mut writer = case.prepare(&all).await;
    epoch(&mut writer, &log, (0, 3)).await.unwrap();
    fault::arm("commit.done=error@1").unwrap();
    let result = epoch(&mut writer, &log, (3, 7)).await;
    assert!(was_reached("commit.done"), "the destination has no point commit.done");
    if let Err(error) = &result {
        assert!(error.kind().is_transient(), "{}", error.chain());
    }
    let stored = case.peek().await.checkpoint;
    assert_eq!(stored, Some(Log::checkpoint(7)), "the point comes after the commit");
    case.check(&all, &log, 7).await;
    if result.is_ok() {
        // A writer that was told of no failure goes on.
        epoch(&mut writer, &log, (7, 9)).await.unwrap();
        case.check(&all, &log, 9).await;
    }
    drop(writer);
    let mut writer = case.open().await;
    catch_up(&mut writer, &log).await;
    case.check(&all, &log, log.len()).await;
}

/// A copy whose promotion was not committed is copied again; nobody saw it.
pub async fn a_lost_commit_of_a_copy_can_be_repeated(case: Case) {
    for point in ["promote.swapped", "commit.before", "commit.done"] {
        let items = Table::items();
        let mut writer = case.open().await;
        writer.remember(&items.plan.state(Phase::Copying)).await.unwrap();
        commit(&mut writer, 0).await.unwrap();
        load(&case, &items, &[(0, 10), (10, 20)]).await;
        fault::arm(&format!("{point}=error@1")).unwrap();
        let promoted = promoted(&mut writer, &items).await;
        fault::arm("").unwrap();
        drop(writer);
        let mut writer = case.open().await;
        let state = writer.state().await.unwrap();
        let phase = state.tables[0].phase;
        let standing = case.live(&items).await;
        assert_eq!(phase == Phase::Streaming, standing.is_some(), "{point}: {phase:?}");
        if promoted.is_ok() {
            assert_eq!(phase, Phase::Streaming, "{point}");
        }
        if phase == Phase::Copying {
            load(&case, &items, &[(0, 7), (7, 20)]).await;
            self::promoted(&mut writer, &items).await.unwrap();
        }
        assert_eq!(case.live(&items).await.unwrap().len(), 20, "{point}");
        drop(writer);
        case.destination().teardown(super::PIPELINE).await.unwrap();
    }
}

async fn promoted(writer: &mut Box<dyn Writer>, table: &Table) -> rowtide_core::Result<()> {
    writer.promote(&table.plan).await?;
    writer.remember(&table.plan.state(Phase::Streaming)).await?;
    commit(writer, 1).await
}

/// Applies the whole log, one or two transactions an epoch, with `point` failing at its n-th
/// arrival for n = 1, 2, 3; after each failure goes on from what is stored, as a run would.
async fn with_faults(case: &Case, all: &[&Table], log: &Log, point: &str) {
    let mut writer = case.prepare(all).await;
    let mut done = 0;
    for arrival in 1..4 {
        fault::arm(&format!("{point}=error@{arrival}")).unwrap();
        for size in [1, 2, 1] {
            let to = (done + size).min(log.len());
            let result = in_pieces(&mut writer, log, (done, to)).await;
            if let Err(error) = &result {
                assert!(error.kind().is_transient(), "{point}: {}", error.chain());
                drop(writer);
                writer = case.open().await;
            }
            let stored = writer.state().await.unwrap().checkpoint.unwrap();
            let now = log.applied(&stored);
            assert!(now == to || (result.is_err() && now == done), "{point}: {done} {now} {to}");
            done = now;
            case.check(all, log, done).await;
        }
    }
    fault::arm("").unwrap();
    catch_up(&mut writer, log).await;
    case.check(all, log, log.len()).await;
    drop(writer);
    case.destination().teardown(super::PIPELINE).await.unwrap();
}

async fn in_pieces(
    writer: &mut Box<dyn Writer>,
    log: &Log,
    (from, to): (usize, usize),
) -> rowtide_core::Result<()> {
    for n in from..to {
        apply(writer.as_mut(), &log.transactions[n..=n]).await?;
    }
    commit(writer, to).await
}

/// In mode append: each (position, order) once, whatever failed on the way.
pub async fn history_has_each_event_once_after_every_fault(case: Case) {
    let (_, _, history) = tables();
    let other = Table::new(20, "other", &[("id", Kind::Integer)], &[0]).appending();
    let mut log = Log::default();
    for n in 0..12 {
        let mut events = vec![history.insert(row![n, "h", NULL]), other.insert(row![n])];
        if n == 5 {
            events.push(history.truncate());
        }
        log.commit(events);
    }
    for point in POINTS {
        with_faults(&case, &[&history, &other], &log, point).await;
    }
}

/// In mode merge: the source's rows, whatever failed on the way.
pub async fn tables_are_exact_after_every_fault(case: Case) {
    let (items, bag, history) = tables();
    let all = [&items, &bag, &history];
    let log = busy_log((&items, &bag, &history));
    for point in POINTS {
        with_faults(&case, &all, &log, point).await;
    }
}
