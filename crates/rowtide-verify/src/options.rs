//! How a verification goes about it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How much of each table is looked at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Extent {
    /// Every row.
    #[default]
    Full,
    /// About so many rows in a hundred, chosen by the hash of their keys.
    Sample {
        /// How many in a hundred.
        percent: f64,
        /// Decides which.
        seed: u64,
    },
    /// What changed at the source since the last verification that found the table equal, and how
    /// many rows there are; everything where that proves nothing.
    Since,
}

impl Extent {
    /// The extent as a word for the ledger.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Sample { .. } => "sample",
            Self::Since => "since",
        }
    }
}

/// How a verification goes about it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Options {
    /// How much of each table is looked at.
    pub extent: Extent,
    /// A condition in SQL that the rows fulfil, in words that both sides understand.
    pub condition: Option<String>,
    /// Only the keys of this range ([`RangeText`](rowtide_core::view::RangeText)).
    pub range: Option<String>,
    /// How many connections to the source are used at the same time, over all tables, and as many
    /// to the destination. So many tables are looked at together, each by one; what is left over is
    /// lent to large ones.
    pub connections: usize,
    /// No statement that reads a whole table takes much longer, where it can be read in pieces.
    pub statement: Duration,
    /// Bytes of one batch of rows.
    pub batch_bytes: usize,
    /// A table is summed up in 2ⁿ buckets.
    pub bucket_bits: u32,
    /// Reading pauses while the pipeline is further behind than so many bytes of log.
    pub lag_bytes: Option<u64>,
    /// How long one table may take to settle, and the destination to come to a position.
    pub timeout: Duration,
    /// How often rows that differ are looked at again, at most.
    pub rounds: u32,
    /// How long a difference must have stood still before it is believed.
    pub still: Duration,
    /// How many differing rows are listed per table; all are counted.
    pub listed: usize,
    /// Whether keys and values are shown. Without it a row is named by a hash of its key.
    pub show_values: bool,
    /// How many differing keys of a table are followed up; beyond it there are "at least" so many.
    pub candidates: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            extent: Extent::Full,
            condition: None,
            range: None,
            connections: 3,
            statement: Duration::from_secs(1),
            batch_bytes: 4 << 20,
            bucket_bits: 12,
            lag_bytes: Some(64 << 20),
            timeout: Duration::from_secs(300),
            rounds: 40,
            still: Duration::from_millis(500),
            listed: 100,
            show_values: false,
            candidates: 100_000,
        }
    }
}
