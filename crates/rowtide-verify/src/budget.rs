//! What a verification may take of the source and of the pipeline, over all its tables.
//!
//! Every table that is being compared has a [`Seat`]: one connection to either side, which it keeps
//! until it is done, so that none waits for another while it holds what that one needs. What is
//! left over goes to whoever sums up a large table just now ([`Share::spare`]). All of them stand
//! back between two statements while the pipeline falls behind.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use rowtide_core::view::{Share, Spare};
use rowtide_core::{Error, Result};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::Instant;

use crate::arrival::Arrival;

/// How long to stand back before looking again.
const BREATH: Duration = Duration::from_millis(100);

/// What all tables have together.
#[derive(Debug)]
pub(crate) struct Purse {
    source: Arc<Semaphore>,
    destination: Arc<Semaphore>,
    /// Whether the pipeline is too far behind.
    behind: watch::Sender<bool>,
}

/// One table's connection to either side.
#[derive(Debug)]
pub(crate) struct Seat {
    _source: Option<OwnedSemaphorePermit>,
    _destination: Option<OwnedSemaphorePermit>,
}

impl Purse {
    pub(crate) fn new(connections: usize) -> Self {
        let all = || Arc::new(Semaphore::new(connections.max(1)));
        Self { source: all(), destination: all(), behind: watch::Sender::new(false) }
    }

    /// Waits for a connection to either side.
    pub(crate) async fn seat(&self) -> Seat {
        // Nobody closes them.
        let source = Arc::clone(&self.source).acquire_owned().await.ok();
        let destination = Arc::clone(&self.destination).acquire_owned().await.ok();
        Seat { _source: source, _destination: destination }
    }

    /// Watches how far the pipeline is behind, without end.
    pub(crate) async fn watch(&self, arrival: &dyn Arrival, most: Option<u64>) {
        loop {
            let behind = most.is_some_and(|most| arrival.lag_bytes().is_some_and(|lag| lag > most));
            self.behind.send_if_modified(|was| std::mem::replace(was, behind) != behind);
            tokio::time::sleep(BREATH).await;
        }
    }

    /// The budget of one table, until `deadline`.
    pub(crate) fn budget<'a>(&self, arrival: &'a dyn Arrival, deadline: Instant) -> Budget<'a> {
        let gate = Gate { behind: Some(self.behind.subscribe()), deadline };
        let (source, destination) = (Arc::clone(&self.source), Arc::clone(&self.destination));
        Budget { arrival, gate, source, destination }
    }
}

/// The time and the share of one table's verification.
#[derive(Clone)]
pub(crate) struct Budget<'a> {
    arrival: &'a dyn Arrival,
    gate: Gate,
    source: Arc<Semaphore>,
    destination: Arc<Semaphore>,
}

/// What is waited for before a statement begins.
#[derive(Debug, Clone)]
struct Gate {
    /// `None` for whoever holds the pipeline, and would wait for itself.
    behind: Option<watch::Receiver<bool>>,
    deadline: Instant,
}

impl Gate {
    /// Waits while the pipeline is too far behind, but never beyond the deadline.
    async fn pass(&self) {
        let Some(behind) = &self.behind else { return };
        let mut behind = behind.clone();
        let caught_up = behind.wait_for(|behind| !behind);
        let _ = tokio::time::timeout_at(self.deadline, caught_up).await;
    }
}

impl Budget<'_> {
    /// The same without standing back: for whoever holds the pipeline.
    pub(crate) fn without_pause(&self) -> Self {
        let gate = Gate { behind: None, deadline: self.gate.deadline };
        Self { gate, ..self.clone() }
    }

    /// What a view of the source may take, besides the seat's connection.
    pub(crate) fn at_source(&self) -> Arc<dyn Share> {
        Arc::new(Part { gate: self.gate.clone(), spare: Arc::clone(&self.source) })
    }

    /// What a view of the destination may take, besides the seat's connection.
    pub(crate) fn at_destination(&self) -> Arc<dyn Share> {
        Arc::new(Part { gate: self.gate.clone(), spare: Arc::clone(&self.destination) })
    }

    /// Waits while the pipeline is too far behind, but never beyond the deadline.
    pub(crate) async fn breathe(&self) {
        self.gate.pass().await;
    }

    /// Whether the time is over.
    pub(crate) fn is_over(&self) -> bool {
        Instant::now() >= self.gate.deadline
    }

    /// Not longer than `time`, and never beyond the deadline.
    pub(crate) fn at_most(&self, time: Duration) -> Duration {
        time.min(self.gate.deadline.saturating_duration_since(Instant::now()))
    }

    /// Waits for `checkpoint` at the destination.
    ///
    /// # Errors
    /// `Unavailable` if it does not come in time.
    pub(crate) async fn arrived(&self, checkpoint: &rowtide_core::Checkpoint) -> Result<()> {
        let arrival = self.arrival.until(checkpoint);
        let late = |_| {
            Error::unavailable(format!("the destination did not come to {checkpoint} in time"))
                .with_hint(
                    "`rowtide status` tells how far it is behind; wait until it has caught up, or \
                     pass a longer --timeout",
                )
        };
        tokio::time::timeout_at(self.gate.deadline, arrival).await.map_err(late)?
    }
}

impl fmt::Debug for Budget<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Budget").field("gate", &self.gate).finish_non_exhaustive()
    }
}

/// A view's share.
#[derive(Debug)]
struct Part {
    gate: Gate,
    spare: Arc<Semaphore>,
}

#[async_trait]
impl Share for Part {
    async fn turn(&self) {
        self.gate.pass().await;
    }

    fn spare(&self) -> Option<Spare> {
        // None while a table waits for its seat: released permits go there first.
        let permit = Arc::clone(&self.spare).try_acquire_owned().ok()?;
        Some(Box::new(permit))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_left_over_can_be_lent_and_comes_back() {
        let purse = Purse::new(3);
        let seats = (purse.seat().await, purse.seat().await);
        let share = Part {
            gate: Gate { behind: None, deadline: Instant::now() },
            spare: Arc::clone(&purse.source),
        };
        let lent = share.spare();
        assert!(lent.is_some() && share.spare().is_none());
        drop(seats);
        assert!(share.spare().is_some() && purse.source.available_permits() == 2);
        drop(lent);
        assert_eq!(purse.source.available_permits(), 3);
    }

    #[tokio::test]
    async fn a_table_that_waits_comes_before_what_could_be_lent() {
        let purse = Purse::new(1);
        let seat = purse.seat().await;
        let next = purse.seat();
        tokio::pin!(next);
        assert!(futures::poll!(&mut next).is_pending());
        drop(seat);
        assert!(Arc::clone(&purse.source).try_acquire_owned().is_err());
        drop(next.await);
        assert!(Arc::clone(&purse.source).try_acquire_owned().is_ok());
    }
}
