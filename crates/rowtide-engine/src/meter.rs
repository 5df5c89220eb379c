//! What a running pipeline counts, for whoever listens.
//!
//! Recorded per epoch, batch or attempt, never per row; where no recorder is installed it costs
//! next to nothing. What stands still between two looks (lag, the tables' states) is recorded when
//! somebody looks ([`observe`]).

use std::time::Duration;

use metrics::{Counter, Histogram, counter, gauge, histogram};
use rowtide_core::traits::{Segment, StreamItem};
use rowtide_core::{ErrorKind, Phase, metric};
use tokio::time::Instant;

use crate::{Environment, Monitor};

/// The counters of one pipeline. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Meter {
    pipeline: String,
    changes: Counter,
    change_bytes: Counter,
    transactions: Counter,
    epochs: Counter,
    epoch_duration: Histogram,
    delay: Histogram,
    copied_rows: Counter,
    copied_bytes: Counter,
    retries: Counter,
}

impl Meter {
    pub(crate) fn new(pipeline: &str) -> Self {
        let counter = |name: &'static str| counter!(name, metric::PIPELINE => pipeline.to_owned());
        let histogram =
            |name: &'static str| histogram!(name, metric::PIPELINE => pipeline.to_owned());
        Self {
            pipeline: pipeline.to_owned(),
            changes: counter(metric::CHANGES.name),
            change_bytes: counter(metric::CHANGE_BYTES.name),
            transactions: counter(metric::TRANSACTIONS.name),
            epochs: counter(metric::EPOCHS.name),
            epoch_duration: histogram(metric::EPOCH_DURATION.name),
            delay: histogram(metric::DELAY.name),
            copied_rows: counter(metric::COPIED_ROWS.name),
            copied_bytes: counter(metric::COPIED_BYTES.name),
            retries: counter(metric::RETRIES.name),
        }
    }

    /// Rows were read by a copy.
    pub(crate) fn copied(&self, rows: u64, bytes: u64) {
        self.copied_rows.increment(rows);
        self.copied_bytes.increment(bytes);
    }

    /// Changes that were kept aside during a copy are durable.
    pub(crate) fn replayed(&self, changes: u64) {
        self.changes.increment(changes);
    }

    /// An attempt at something ended with an error.
    pub(crate) fn failed(&self, kind: ErrorKind) {
        let pipeline = self.pipeline.clone();
        counter!(metric::ERRORS.name, metric::PIPELINE => pipeline, metric::KIND => kind.as_str())
            .increment(1);
    }

    /// It is tried again.
    pub(crate) fn retried(&self) {
        self.retries.increment(1);
    }
}

/// What is measured of the open epoch.
pub(crate) struct EpochMeter {
    pub(crate) meter: Meter,
    began: Option<Instant>,
    bytes: u64,
}

impl EpochMeter {
    pub(crate) fn new(meter: Meter) -> Self {
        Self { meter, began: None, bytes: 0 }
    }

    /// A part of the epoch has arrived.
    pub(crate) fn took(&mut self, segment: &Segment, now: Instant) {
        self.began.get_or_insert(now);
        for item in &segment.items {
            if let StreamItem::Changes(batch) = item {
                self.bytes += batch.byte_size() as u64;
            }
        }
    }

    /// The epoch is durable. `oldest` is how many microseconds ago its first transaction committed.
    pub(crate) fn committed(
        &mut self,
        (changes, transactions): (u64, u64),
        oldest: Option<i64>,
        now: Instant,
    ) {
        self.meter.epochs.increment(1);
        self.meter.changes.increment(changes);
        self.meter.transactions.increment(transactions);
        self.meter.change_bytes.increment(std::mem::take(&mut self.bytes));
        if let Some(began) = self.began.take() {
            self.meter.epoch_duration.record(now - began);
        }
        if let Some(micros) = oldest {
            let delay = Duration::from_micros(u64::try_from(micros).unwrap_or(0));
            self.meter.delay.record(delay);
        }
    }
}

/// Every state that a table can be in.
const PHASES: [Phase; 6] = [
    Phase::Pending,
    Phase::Copying,
    Phase::Streaming,
    Phase::Loaded,
    Phase::Skipped,
    Phase::Stopped,
];

/// Records how things stand now, for somebody who looks.
#[expect(clippy::cast_precision_loss, reason = "numbers to be looked at")]
pub fn observe(pipeline: &str, monitor: &Monitor, environment: &Environment) {
    let set = |name: &'static str, value: f64| {
        gauge!(name, metric::PIPELINE => pipeline.to_owned()).set(value);
    };
    let now = environment.now_micros();
    let (mut tables, mut spooled) = ([0_u32; PHASES.len()], 0);
    let (mut lag, mut lag_bytes, mut last_commit) = (None, None, None);
    monitor.read(|snapshot| {
        let stream = &snapshot.stream;
        spooled = stream.spooled_bytes;
        lag = snapshot.lag_micros(now);
        lag_bytes = (stream.head > 0).then(|| stream.lag_bytes());
        last_commit = stream.committed_at;
        for (count, phase) in tables.iter_mut().zip(PHASES) {
            let in_it = snapshot.tables.iter().filter(|table| table.phase == phase);
            *count = u32::try_from(in_it.count()).unwrap_or(u32::MAX);
        }
    });
    set(metric::SPOOLED.name, spooled as f64);
    // What is not known yet is not said to be 0.
    if let Some(bytes) = lag_bytes {
        set(metric::LAG_BYTES.name, bytes as f64);
    }
    if let Some(micros) = lag {
        set(metric::LAG_SECONDS.name, micros as f64 / 1e6);
    }
    if let Some(micros) = last_commit {
        set(metric::LAST_COMMIT.name, micros as f64 / 1e6);
    }
    for (count, phase) in tables.into_iter().zip(PHASES) {
        let labels =
            [(metric::PIPELINE, pipeline.to_owned()), (metric::STATE, phase.as_str().into())];
        gauge!(metric::TABLES.name, &labels).set(f64::from(count));
    }
}
