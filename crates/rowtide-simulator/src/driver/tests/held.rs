//! A pipeline that is held still: nothing is applied meanwhile, what is handed in is committed with
//! the checkpoint unchanged, and it goes on.

use std::sync::Arc;
use std::time::Duration;

use rowtide_core::{
    ErrorKind, MergeWrite, Offset, Result, TableName, TablePlan, TableWrite, ledger,
};
use rowtide_engine::{Held, hold};
use tokio::time::sleep;

use super::super::runs::{Configuration, Run};
use super::{put, scenario};
use crate::log::Row;
use crate::rows::batch;
use crate::scenario::{Act, Fault, Scenario, Site, Strike};
use crate::world::World;

const SOON: Duration = Duration::from_millis(50);

/// A pipeline that follows a table with one row.
struct Followed {
    world: Arc<World>,
    run: Run,
}

impl Followed {
    async fn start(scenario: &Scenario) -> Self {
        let world = World::new(scenario, false);
        world.lock().log.tables[0].exists = true;
        let configuration = Configuration { once: false, resync: Vec::new(), repairs: false };
        let run = Run::start(&world, scenario, 1, configuration);
        let followed = Self { world, run };
        sleep(SOON).await;
        followed.put(1).await;
        followed
    }

    /// A transaction at the source, and time for it to arrive.
    async fn put(&self, key: i64) {
        let Act::Commit { changes, .. } = put(key) else { unreachable!() };
        let now = self.world.now();
        self.world.lock().log.commit(&changes, None, (now, 0));
        self.world.grown.notify_waiters();
        sleep(SOON).await;
    }

    fn keys(&self) -> Vec<i64> {
        let state = self.world.lock();
        state.durable.content.tables[&0].keyed.keys().copied().collect()
    }

    fn row(&self, key: i64) -> Row {
        self.world.lock().durable.content.tables[&0].keyed[&key].row
    }

    fn position(&self) -> Offset {
        let state = self.world.lock();
        state.durable.content.state.checkpoint.as_ref().unwrap().position()
    }

    async fn hold(&self, patience: Duration) -> Result<Held> {
        hold(&self.run.requests, vec![TableName::new("public", "t0")], patience).await
    }

    /// Runs on, and must still be sound.
    async fn goes_on(self) {
        self.put(7).await;
        assert!(self.keys().contains(&7));
        assert!(!self.run.has_ended());
        assert_eq!(self.world.lock().violation, None);
        self.run.kill().await;
    }
}

/// Puts `row` in place of what stands under its key.
fn again(plan: &TablePlan, row: Row) -> (TablePlan, TableWrite) {
    let rows = batch(&plan.source, &[row]).unwrap();
    let write = MergeWrite { upserts: Some(rows), ..MergeWrite::default() };
    (plan.clone(), TableWrite::Merge(write))
}

fn verdict() -> ledger::Entry {
    ledger::verify("model", &[]).unwrap()
}

#[tokio::test(start_paused = true)]
async fn nothing_is_applied_until_the_epoch_is_handed_in() {
    let followed = Followed::start(&scenario(Vec::new(), Vec::new())).await;
    let held = followed.hold(SOON * 10).await.unwrap();
    let position = followed.position();
    assert_eq!(held.checkpoint.position(), position);
    followed.put(2).await;
    assert_eq!(followed.keys(), [1], "it is held");
    let write = again(&held.plans[0], followed.row(1));
    let writes = followed.world.lock().tally.writes;
    held.commit(vec![write], vec![verdict()]).await.unwrap();
    assert_eq!(followed.position(), position);
    assert!(followed.world.lock().tally.writes >= writes + 2);
    sleep(SOON).await;
    assert_eq!(followed.keys(), [1, 2]);
    followed.goes_on().await;
}

#[tokio::test(start_paused = true)]
async fn who_leaves_or_takes_too_long_holds_nothing_up() {
    let followed = Followed::start(&scenario(Vec::new(), Vec::new())).await;
    drop(followed.hold(SOON * 100).await.unwrap());
    followed.put(2).await;
    assert_eq!(followed.keys(), [1, 2]);
    let held = followed.hold(SOON).await.unwrap();
    sleep(SOON * 2).await;
    followed.put(3).await;
    assert_eq!(followed.keys(), [1, 2, 3]);
    let late = held.commit(Vec::new(), Vec::new()).await.unwrap_err();
    assert_eq!(late.kind(), ErrorKind::Unavailable);
    followed.goes_on().await;
}

#[tokio::test(start_paused = true)]
async fn only_what_is_followed_can_be_written() {
    let followed = Followed::start(&scenario(Vec::new(), Vec::new())).await;
    let nowhere = vec![TableName::new("public", "nowhere")];
    let refused = hold(&followed.run.requests, nowhere, SOON).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Config);
    followed.goes_on().await;
}

#[tokio::test(start_paused = true)]
async fn an_epoch_that_is_refused_costs_nobody_else_anything() {
    // The first write is that of the row; the second one is handed in.
    let faults = vec![Fault { site: Site::Write, nth: 1, strike: Strike::Refuse }];
    let followed = Followed::start(&scenario(Vec::new(), faults)).await;
    let held = followed.hold(SOON * 10).await.unwrap();
    let write = again(&held.plans[0], followed.row(1));
    let refused = held.commit(vec![write], Vec::new()).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Data);
    sleep(Duration::from_secs(1)).await;
    assert_eq!(followed.keys(), [1]);
    followed.goes_on().await;
}
