//! Lets epochs grow while changes come in fast.
//!
//! An epoch costs the destination a few milliseconds whatever it holds. Without a pause, a busy
//! source would be applied in thousands of small epochs that keep a core busy with those fixed
//! costs, a core the source may need. So the next epoch waits in proportion to what the last one
//! cost and to what it held: hardly at all when changes trickle, up to [`LONGEST`] when they pour.
//! A source that has fallen quiet ends the wait.

use std::time::Duration;

use rowtide_core::traits::{Segment, StreamItem};
use tokio::time::Instant;

use crate::Environment;

/// The longest pause.
const LONGEST: Duration = Duration::from_millis(250);
/// An epoch of this many changes is followed by the longest pause. With the pause they make the rate
/// above which epochs grow whatever they cost: below it their latency stays small.
const CHANGES: u32 = 6_250;

/// When the next segment may be asked for.
#[derive(Debug, Clone)]
pub(crate) struct Pace {
    environment: Environment,
    /// When the segment that is being applied arrived.
    began: Instant,
    /// How many changes it holds, if it ends a transaction and waiting might gain something.
    changes: Option<usize>,
    ready: Instant,
    buffer_bytes: usize,
}

impl Pace {
    /// `buffer_bytes` is what the stream gathers at most: a segment of about that size shows that
    /// waiting would gain nothing.
    pub(crate) fn new(environment: Environment, buffer_bytes: usize) -> Self {
        let now = environment.instant();
        Self { environment, began: now, changes: None, ready: now, buffer_bytes }
    }

    /// Notes what was just received.
    pub(crate) fn took(&mut self, segment: &Segment) {
        let (mut changes, mut bytes) = (0, 0);
        for item in &segment.items {
            if let StreamItem::Changes(batch) = item {
                changes += batch.len();
                bytes += batch.byte_size();
            }
        }
        let whole = segment.watermark.is_some() && bytes < self.buffer_bytes / 2;
        self.began = self.environment.instant();
        self.ready = self.began;
        self.changes = whole.then_some(changes);
    }

    /// Notes that it is durable.
    pub(crate) fn applied(&mut self) {
        let Some(changes) = self.changes.take() else { return };
        let now = self.environment.instant();
        self.ready = now + pause(changes, now.saturating_duration_since(self.began));
    }

    /// Waits until then.
    pub(crate) async fn wait(&self) {
        let left = self.ready.saturating_duration_since(self.environment.instant());
        if left > Duration::ZERO {
            self.environment.sleep(left).await;
        }
    }
}

/// At least as long as the epoch took: under a steady load half of the time goes into applying.
fn pause(changes: usize, cost: Duration) -> Duration {
    if changes == 0 {
        return Duration::ZERO;
    }
    let changes = u32::try_from(changes).unwrap_or(CHANGES).min(CHANGES);
    (LONGEST * changes / CHANGES).max(cost).min(LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAST: Duration = Duration::from_micros(100);

    #[test]
    fn the_pause_grows_with_the_epoch_and_is_bounded() {
        assert_eq!(pause(0, Duration::from_secs(1)), Duration::ZERO);
        assert!(pause(10, FAST) <= Duration::from_micros(500));
        assert_eq!(pause(2_500, FAST), Duration::from_millis(100));
        assert_eq!(pause(usize::MAX, FAST), LONGEST);
    }

    #[test]
    fn it_grows_with_what_the_epoch_cost() {
        assert_eq!(pause(10, Duration::from_millis(5)), Duration::from_millis(5));
        assert_eq!(pause(10, Duration::from_secs(5)), LONGEST);
    }
}
