//! What a running pipeline shows of itself. Written by the engine, read by whoever draws it.

use std::sync::{Arc, Mutex, PoisonError};

use rowtide_core::{Phase, TableName};
use tokio::time::Instant;

use crate::Latency;

/// What the pipeline as a whole does.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Activity {
    /// Connecting to both ends and comparing their states.
    #[default]
    Starting,
    /// Copying tables (and following the log meanwhile).
    Copying,
    /// Following the log.
    Streaming,
    /// Waiting to try again after an error that may pass.
    Retrying {
        /// What went wrong.
        error: String,
        /// Which attempt comes next.
        attempt: u32,
    },
    /// Finishing after a request to stop.
    Stopping,
}

/// How far one table's copy has come.
#[derive(Debug, Clone)]
pub struct TableProgress {
    /// The table at the source.
    pub name: TableName,
    /// How far it has come.
    pub phase: Phase,
    /// Rows copied in this run.
    pub rows: u64,
    /// Bytes copied in this run, as they came over the wire.
    pub bytes: u64,
    /// The source's estimate of its rows.
    pub estimated_rows: Option<u64>,
    /// When copying began, in this run.
    pub started: Option<Instant>,
    /// When copying ended, in this run.
    pub finished: Option<Instant>,
    /// Why it stopped.
    pub reason: Option<String>,
}

impl TableProgress {
    /// One of which nothing was copied yet.
    pub fn new(name: TableName, phase: Phase, reason: Option<String>) -> Self {
        let (rows, bytes, estimated_rows) = (0, 0, None);
        Self { name, phase, rows, bytes, estimated_rows, started: None, finished: None, reason }
    }
}

/// How far following the log has come, in this run.
#[derive(Debug, Clone, Default)]
pub struct StreamProgress {
    /// The durable position, as the source writes it.
    pub position: u64,
    /// The end of the source's log as last heard of.
    pub head: u64,
    /// When the newest applied transaction committed, in microseconds since 1970 UTC.
    pub committed_at: Option<i64>,
    /// Delays of all transactions applied in this run, from commit to durable.
    pub latency: Latency,
    /// Changes applied.
    pub changes: u64,
    /// Transactions applied.
    pub transactions: u64,
    /// Epochs committed.
    pub epochs: u64,
    /// Changes in the last epoch.
    pub last_epoch_changes: u64,
    /// Bytes kept aside for tables being copied.
    pub spooled_bytes: u64,
    /// Attempts after the first.
    pub retries: u64,
    /// When everything that was known of the log was durable, as last seen, in microseconds since
    /// 1970 UTC.
    pub caught_up_at: Option<i64>,
}

impl StreamProgress {
    /// Bytes of log that are not durable here yet.
    pub fn lag_bytes(&self) -> u64 {
        self.head.saturating_sub(self.position)
    }
}

/// One look at a pipeline.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// What it does.
    pub activity: Activity,
    /// Its tables, in order of their names.
    pub tables: Vec<TableProgress>,
    /// How far following the log has come.
    pub stream: StreamProgress,
}

impl Snapshot {
    /// For how many microseconds at most the destination has been behind; `None` while that is not
    /// known.
    ///
    /// What is missing committed after the newest transaction that was applied, and after
    /// everything was last seen to be durable; the later of the two is the closer bound. Without a
    /// connection nobody knows of what is missing, so then something may be.
    pub fn lag_micros(&self, now: i64) -> Option<i64> {
        let stream = &self.stream;
        let is_connected = matches!(self.activity, Activity::Copying | Activity::Streaming);
        if is_connected && stream.head > 0 && stream.lag_bytes() == 0 {
            return Some(0);
        }
        let since = stream.committed_at.max(stream.caught_up_at)?;
        Some(now.saturating_sub(since).max(0))
    }
}

/// The shared board: cheap to clone, cheap to read.
#[derive(Debug, Clone, Default)]
pub struct Monitor(Arc<Mutex<Snapshot>>);

impl Monitor {
    /// A copy of how things stand.
    pub fn snapshot(&self) -> Snapshot {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The durable position alone.
    pub fn position(&self) -> u64 {
        self.read(|snapshot| snapshot.stream.position)
    }

    /// How many bytes of log are not durable yet.
    pub fn lag_bytes(&self) -> u64 {
        self.read(|snapshot| snapshot.stream.lag_bytes())
    }

    /// What the pipeline does, without its tables.
    pub fn activity(&self) -> Activity {
        self.read(|snapshot| snapshot.activity.clone())
    }

    pub(crate) fn read<T>(&self, pick: impl FnOnce(&Snapshot) -> T) -> T {
        pick(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn update(&self, change: impl FnOnce(&mut Snapshot)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    pub(crate) fn table(&self, name: &TableName, change: impl FnOnce(&mut TableProgress)) {
        self.update(|snapshot| {
            let place = snapshot.tables.binary_search_by(|table| table.name.cmp(name));
            if let Some(table) = place.ok().and_then(|place| snapshot.tables.get_mut(place)) {
                change(table);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lag_is_the_closer_of_two_bounds_and_grows_without_a_connection() {
        let mut seen = Snapshot { activity: Activity::Streaming, ..Snapshot::default() };
        assert_eq!(seen.lag_micros(1000), None);
        seen.stream = StreamProgress { position: 50, head: 50, ..StreamProgress::default() };
        assert_eq!(seen.lag_micros(1000), Some(0));
        // After an hour without changes one arrives: the destination is not an hour behind.
        seen.stream.committed_at = Some(100);
        seen.stream.caught_up_at = Some(900);
        seen.stream.head = 60;
        assert_eq!(seen.lag_micros(1000), Some(100));
        // Under a load that never lets it catch up, it is as far behind as what it applies.
        seen.stream.committed_at = Some(990);
        assert_eq!(seen.lag_micros(1000), Some(10));
        seen.stream.head = 50;
        seen.activity = Activity::Retrying { error: String::new(), attempt: 1 };
        assert_eq!(seen.lag_micros(5000), Some(4010));
    }
}
