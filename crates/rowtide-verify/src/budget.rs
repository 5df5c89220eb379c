//! What a verification may take from the pipeline: it stands back while the pipeline falls behind.

use std::time::Duration;

use rowtide_core::{Error, Result};
use tokio::time::Instant;

use crate::arrival::Arrival;

/// How long to stand back before looking again.
const BREATH: Duration = Duration::from_millis(100);

/// The time and the share of one table's verification.
pub(crate) struct Budget<'a> {
    arrival: &'a dyn Arrival,
    most_lag: Option<u64>,
    pub(crate) deadline: Instant,
}

impl<'a> Budget<'a> {
    pub(crate) fn new(arrival: &'a dyn Arrival, most_lag: Option<u64>, deadline: Instant) -> Self {
        Self { arrival, most_lag, deadline }
    }

    /// The same without standing back: for whoever holds the pipeline.
    pub(crate) fn without_pause(&self) -> Self {
        Self { most_lag: None, ..*self }
    }

    /// Waits while the pipeline is too far behind, but never beyond the deadline.
    pub(crate) async fn breathe(&self) {
        let Some(most) = self.most_lag else { return };
        while self.arrival.lag_bytes().is_some_and(|lag| lag > most) && !self.is_over() {
            tokio::time::sleep(BREATH).await;
        }
    }

    /// Whether the time is over.
    pub(crate) fn is_over(&self) -> bool {
        Instant::now() >= self.deadline
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
        tokio::time::timeout_at(self.deadline, arrival).await.map_err(late)?
    }
}
