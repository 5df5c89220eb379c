//! What must end a healthy pipeline: a position that is lost, a row that is lost.

use std::time::Duration;

use rowtide_core::{ErrorKind, Phase, TableName};
use rowtide_engine::Summary;
use tokio::time::Instant;

use super::{Driver, PATIENCE};
use crate::driver::runs::{Configuration, Failure};
use crate::log::index_of;
use crate::oracle;
use crate::scenario::{Ending, Kind, Scenario, Spec, Want};
use crate::world::Slot;

impl Driver {
    pub(super) async fn ending(&mut self, scenario: &Scenario) {
        match scenario.ending {
            Ending::Nothing => {}
            Ending::SlotLost { recreated } => self.slot_lost(scenario, recreated).await,
            Ending::RowLost => self.row_lost(scenario).await,
        }
    }

    /// Somebody takes the slot away, and something happens that it would have kept.
    async fn slot_lost(&mut self, scenario: &Scenario, recreated: bool) {
        let follows = {
            let state = self.world.lock();
            state.slot.is_some() && oracle::follows(&state)
        };
        if !follows {
            return;
        }
        let spec = Spec { table: 0, key: 1, want: Want::Put };
        {
            let now = self.world.now();
            let mut state = self.world.lock();
            state.log.commit(&[spec], None, (now, 0));
            state.slots_made += 1;
            let (incarnation, start) = (state.slots_made, state.log.end());
            state.slot = recreated.then_some(Slot { incarnation, start, acknowledged: start });
            state.log.commit(&[spec], None, (now, 0));
            for step in 100..112 {
                state.log.commit(&[some_change(scenario, step)], None, (now, 0));
            }
            state.tally.endings += 1;
        }
        let before = self.world.lock().durable.content.state.checkpoint.clone();
        self.must_fail(scenario, ErrorKind::PositionLost).await;
        if self.world.lock().durable.content.state.checkpoint != before {
            self.world.violate("lost position", "the checkpoint moved on");
        }
        if !self.has_failed() {
            self.repaired(scenario).await;
        }
    }

    /// One more run, which puts right what differs while others write. Histories are copied again.
    async fn repaired(&mut self, scenario: &Scenario) {
        let kinds = scenario.tables.iter().map(|spec| spec.kind).enumerate();
        let resync = kinds.filter(|(_, kind)| *kind == Kind::Append).map(|(table, _)| table);
        let resync = resync.collect();
        self.start(scenario, Configuration { once: true, resync, repairs: true });
        for step in 0..40 {
            let chance = chance(scenario, step);
            let time = (self.world.now(), chance % 2000);
            self.world.lock().log.commit(&[some_change(scenario, step)], None, time);
            self.world.grown.notify_waiters();
            self.pause(scenario, Duration::from_micros(chance % 900)).await;
        }
        let deadline = Instant::now() + PATIENCE;
        while self.current.is_some() && !self.has_failed() && Instant::now() < deadline {
            self.pause(scenario, Duration::from_secs(1)).await;
        }
        self.world.lock().log.settle();
        if !self.has_failed() {
            self.catch_up(scenario).await;
        }
        let outcome = oracle::check_end(&mut self.world.lock());
        if let (Err(violation), false) = (outcome, self.has_failed()) {
            self.world.violate(violation.class, violation.detail);
        }
    }

    /// Somebody deletes a row in the destination that the log then changes without its values.
    async fn row_lost(&mut self, scenario: &Scenario) {
        if let Some(table) = self.lose_a_row(scenario) {
            self.world.lock().tally.endings += 1;
            self.must_stop(scenario, table).await;
        }
    }

    /// The table that lost a row which the log then changes.
    fn lose_a_row(&self, scenario: &Scenario) -> Option<TableName> {
        let now = self.world.now();
        let mut state = self.world.lock();
        let tables = state.durable.content.state.tables.clone();
        let following = tables.iter().filter(|known| known.phase == Phase::Streaming);
        for known in following.filter(|known| known.schema.columns.len() > 2) {
            let Some(table) = index_of(&known.schema.name) else { continue };
            if scenario.tables[table].policy.is_some() {
                // The change could be one that does not look for the row.
                continue;
            }
            let held = state.durable.content.held(table);
            let (key, want) = match scenario.tables[table].kind {
                Kind::Keyed | Kind::Soft => {
                    // A row whose large values are not all NULL, or the log would repeat them.
                    let large = |row: &crate::log::Row| row[3..].iter().any(Option::is_some);
                    let found =
                        held.keyed.iter().find(|(_, stored)| !stored.deleted && large(&stored.row));
                    let Some(key) = found.map(|(key, _)| *key) else { continue };
                    held.keyed.remove(&key);
                    (key, Want::Touch)
                }
                Kind::Keyless => {
                    let Some(row) = held.bag.keys().next().copied() else { continue };
                    let key = row[crate::log::KEY].unwrap_or(0);
                    held.bag.retain(|row, _| row[crate::log::KEY] != Some(key));
                    (key, Want::Remove)
                }
                Kind::Append => continue,
            };
            state.tampered = true;
            let versions = state.log.tables[table].version();
            let spec = Spec { table, key, want };
            if versions != known.schema.version || !state.log.commit(&[spec], None, (now, 0)) {
                return None;
            }
            return Some(known.schema.name.clone());
        }
        None
    }

    /// One more run, which must stop this table and end well.
    async fn must_stop(&mut self, scenario: &Scenario, table: TableName) {
        let Some(outcome) = self.one_more(scenario, "stop").await else { return };
        let is_named = |(name, reason): &(TableName, String)| *name == table && !reason.is_empty();
        match outcome {
            Ok(Ok(summary)) if summary.stopped.iter().any(is_named) => {}
            Ok(Ok(_)) => self.world.violate("not noticed", format!("{table} was to stop")),
            Ok(Err(error)) => {
                let detail = format!("failed instead of stopping {table}: {}", error.chain());
                self.world.violate("not noticed", detail);
            }
            Err(violation) => self.world.violate(violation.0, violation.1),
        }
    }

    /// One more run, which must fail in this way.
    async fn must_fail(&mut self, scenario: &Scenario, kind: ErrorKind) {
        let Some(outcome) = self.one_more(scenario, kind.as_str()).await else { return };
        match outcome {
            Ok(Err(error)) if error.kind() == kind => {}
            Ok(Err(error)) => {
                let detail = format!("failed otherwise than {kind:?}: {}", error.chain());
                self.world.violate("not noticed", detail);
            }
            Ok(Ok(_)) => self.world.violate("not noticed", format!("{kind:?} was due")),
            Err(violation) => self.world.violate(violation.0, violation.1),
        }
    }
    /// How one more run ends, if it does.
    async fn one_more(
        &mut self,
        scenario: &Scenario,
        due: &str,
    ) -> Option<Result<rowtide_core::Result<Summary>, Failure>> {
        self.start(scenario, Configuration { once: true, resync: Vec::new(), repairs: false });
        let mut run = self.current.take()?;
        let deadline = Instant::now() + PATIENCE;
        if tokio::time::timeout_at(deadline, run.ended()).await.is_err() {
            run.kill().await;
            self.world.violate("not noticed", format!("no end where {due} was due"));
            return None;
        }
        Some(run.outcome().await)
    }
}

fn chance(scenario: &Scenario, step: u64) -> u64 {
    (scenario.seed ^ step).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32
}

/// A change of few keys, so that they are met again.
fn some_change(scenario: &Scenario, step: u64) -> Spec {
    let chance = chance(scenario, step);
    let pick = |from: u64, among: usize| {
        usize::try_from((chance >> from) % among as u64).unwrap_or_default()
    };
    let wants = [Want::Put, Want::Touch, Want::Remove];
    let key = i64::try_from(pick(4, 6)).unwrap_or_default();
    Spec { table: pick(8, scenario.tables.len()), key, want: wants[pick(16, 3)] }
}
