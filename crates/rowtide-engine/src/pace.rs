//! Lets epochs grow while changes come in fast.
//!
//! An epoch costs the destination a few milliseconds whatever it holds. Without a pause, a fast
//! source would be applied in thousands of small epochs that keep a core busy with those fixed
//! costs, a core the source may need. So the next epoch waits in proportion to the size of the
//! last one: not at all when changes trickle, up to [`LONGEST`] when they pour.

use std::time::Duration;

use rowtide_core::traits::{Segment, StreamItem};
use tokio::time::Instant;

use crate::Environment;

/// The longest pause.
const LONGEST: Duration = Duration::from_millis(100);
/// An epoch of this many changes is followed by the longest pause.
const CHANGES: u32 = 10_000;

/// When the next segment may be asked for.
#[derive(Debug, Clone)]
pub(crate) struct Pace {
    environment: Environment,
    ready: Instant,
    buffer_bytes: usize,
}

impl Pace {
    /// `buffer_bytes` is what the stream gathers at most: a segment of about that size shows that
    /// waiting would gain nothing.
    pub(crate) fn new(environment: Environment, buffer_bytes: usize) -> Self {
        let ready = environment.instant();
        Self { environment, ready, buffer_bytes }
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
        let pause = if whole { pause(changes) } else { Duration::ZERO };
        self.ready = self.environment.instant() + pause;
    }

    /// Waits until then.
    pub(crate) async fn wait(&self) {
        let left = self.ready.saturating_duration_since(self.environment.instant());
        if left > Duration::ZERO {
            self.environment.sleep(left).await;
        }
    }
}

fn pause(changes: usize) -> Duration {
    let changes = u32::try_from(changes).unwrap_or(CHANGES).min(CHANGES);
    LONGEST * changes / CHANGES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_grows_with_the_epoch_and_is_bounded() {
        assert_eq!(pause(0), Duration::ZERO);
        assert!(pause(10) <= Duration::from_micros(100));
        assert_eq!(pause(5_000), Duration::from_millis(50));
        assert_eq!(pause(usize::MAX), LONGEST);
    }
}
