//! What was simulated, in numbers.

use std::collections::BTreeMap;
use std::fmt;

use crate::scenario::Strike;

/// Counts over one or many histories.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    /// Histories.
    pub seeds: u64,
    /// Transactions committed at the source.
    pub transactions: u64,
    /// Durable commits at the destination.
    pub commits: u64,
    /// Comparisons of a table with the oracle.
    pub comparisons: u64,
    /// Runs of the pipeline.
    pub runs: u64,
    /// Copies that were begun.
    pub copies: u64,
    /// Tables compared with the source, to put right what differs.
    pub compared: u64,
    /// Copies that were put in place.
    pub promoted: u64,
    /// Writes to tables.
    pub writes: u64,
    /// Schema changes that were applied.
    pub schema_changes: u64,
    /// Tables that stopped.
    pub stopped: u64,
    /// Values that were replaced, as the pipelines counted them.
    pub replaced: u64,
    /// Rows that were kept out, as the pipelines counted them.
    pub kept_out: u64,
    /// Writers that found themselves fenced off.
    pub fenced: u64,
    /// Histories that ended with a lost position, or a lost row.
    pub endings: u64,
    pub(crate) faults: BTreeMap<Strike, u64>,
}

impl Tally {
    /// Adds another one.
    pub fn add(&mut self, other: &Self) {
        self.seeds += other.seeds;
        self.transactions += other.transactions;
        self.commits += other.commits;
        self.comparisons += other.comparisons;
        self.runs += other.runs;
        self.copies += other.copies;
        self.compared += other.compared;
        self.promoted += other.promoted;
        self.writes += other.writes;
        self.schema_changes += other.schema_changes;
        self.stopped += other.stopped;
        self.replaced += other.replaced;
        self.kept_out += other.kept_out;
        self.fenced += other.fenced;
        self.endings += other.endings;
        for (strike, count) in &other.faults {
            *self.faults.entry(*strike).or_default() += count;
        }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let faults: Vec<String> = self
            .faults
            .iter()
            .map(|(strike, count)| format!("{count} {}", format!("{strike:?}").to_lowercase()))
            .collect();
        write!(
            f,
            "{} histories: {} transactions, {} commits, {} comparisons, {} runs, {} copies begun, \
             {} in place, {} put right, {} writes, {} schema changes, {} tables stopped, {} values replaced, {} rows \
             kept out, {} writers fenced, {} lost positions and rows; faults: {}",
            self.seeds,
            self.transactions,
            self.commits,
            self.comparisons,
            self.runs,
            self.copies,
            self.promoted,
            self.compared,
            self.writes,
            self.schema_changes,
            self.stopped,
            self.replaced,
            self.kept_out,
            self.fenced,
            self.endings,
            faults.join(", ")
        )
    }
}
