//! What a verification tells, and how it is shown.

mod console;
mod csv;
mod html;
#[cfg(test)]
mod tests;

use arrow_array::RecordBatch;
use rowtide_core::canonical::Encoder;
use rowtide_core::view::ColumnGaps;
use rowtide_core::{Checkpoint, Error, ErrorKind, Result, TableName, TableSchema, TableState};
use serde::{Deserialize, Serialize};

use crate::compare::Difference;
use crate::sight::Wanted;
use crate::{Extent, Repaired, Verdict};

pub use console::{sentence, shown, summary};
pub use csv::csv;
pub use html::html;

/// What a verification found.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Report {
    /// The pipeline.
    pub pipeline: String,
    /// How much of each table was looked at.
    pub extent: Extent,
    /// The condition that the rows fulfil.
    pub condition: Option<String>,
    /// The range of keys that was compared, if only one was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_range: Option<String>,
    /// When it began, in microseconds since 1970 UTC.
    pub started_at: i64,
    /// When it ended.
    pub ended_at: i64,
    /// One per table.
    pub tables: Vec<TableReport>,
}

/// What was found out about one table.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TableReport {
    /// Its name at the source.
    pub table: TableName,
    /// Its name at the destination.
    pub target: TableName,
    /// What was found.
    pub verdict: Verdict,
    /// As of when.
    pub position: Option<Checkpoint>,
    /// The same as the source writes it, and the console shows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub as_of: Option<String>,
    /// Columns that only one side has.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub columns: Vec<ColumnGap>,
    /// Words of the source by which it later tells what has changed since.
    pub mark: Option<String>,
    /// Rows at the source that were compared.
    pub source_rows: u64,
    /// Rows at the destination that were compared.
    pub destination_rows: u64,
    /// How many keys (rows, without a key) differ.
    pub differing: u64,
    /// Whether more may differ, which were not followed up.
    pub at_least: bool,
    /// How many keys kept changing until the end.
    pub unsettled: u64,
    /// How often rows that differed were looked at again.
    pub rounds: u32,
    /// The first of those that differ.
    pub differences: Vec<Difference>,
    /// What else there is to say.
    pub note: Option<String>,
    /// Why it could not be verified.
    pub trouble: Option<Trouble>,
    /// When it began, in microseconds since 1970 UTC.
    pub started_at: i64,
    /// When it ended.
    pub ended_at: i64,
    /// What was done about what differed, if anything. The rows listed are those that differed
    /// before; the verdict and the counts tell what is left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repair: Option<Repaired>,
    /// What a repair needs. It stays in the process: it holds keys.
    #[serde(skip)]
    pub disagreement: Disagreement,
}

/// A column that only one side has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ColumnGap {
    /// Its name.
    pub column: String,
    /// Who has it.
    pub only_at: Side,
}

/// One of the two sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// Where the rows come from.
    Source,
    /// Where they go.
    Destination,
}

impl ColumnGap {
    /// All of them, one by one.
    pub(crate) fn of(gaps: ColumnGaps) -> Vec<Self> {
        let one = |only_at| move |column| Self { column, only_at };
        let missing = gaps.missing.into_iter().map(one(Side::Source));
        missing.chain(gaps.extra.into_iter().map(one(Side::Destination))).collect()
    }
}

/// Which rows differ, for whoever makes them right.
#[derive(Debug, Clone, Default)]
pub struct Disagreement {
    /// Their keys ([`TableSchema::key_arrow`](rowtide_core::TableSchema::key_arrow)).
    pub keys: Option<RecordBatch>,
    /// Without a key: the first hashes of the rows of which the sides do not hold as many.
    pub rows: Vec<u64>,
}

impl Disagreement {
    /// The same, to be looked for; without a key in so many bits' buckets.
    pub(crate) fn wanted(&self, table: &TableSchema, bits: u32) -> Result<Wanted> {
        Ok(match &self.keys {
            Some(keys) => Wanted::Keys(keys.clone(), Encoder::new(table)?.keys(keys)?),
            None => Wanted::Rows(self.rows.iter().copied().collect(), bits),
        })
    }
}

/// An error, as it is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble {
    /// Its kind as a word.
    pub kind: String,
    /// The exit code for it.
    pub exit_code: u8,
    /// What went wrong.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
}

impl From<&Error> for Trouble {
    fn from(error: &Error) -> Self {
        Self {
            kind: error.kind().as_str().to_owned(),
            exit_code: error.kind().exit_code(),
            message: error.chain(),
            hint: error.hint().map(str::to_owned),
        }
    }
}

impl TableReport {
    /// Of a table of which nothing is known yet.
    pub(crate) fn begun(state: &TableState, now: i64) -> Self {
        Self {
            table: state.schema.name.clone(),
            target: state.target.clone(),
            verdict: Verdict::NotCompared,
            position: None,
            as_of: None,
            columns: Vec::new(),
            mark: None,
            source_rows: 0,
            destination_rows: 0,
            differing: 0,
            at_least: false,
            unsettled: 0,
            rounds: 0,
            differences: Vec::new(),
            note: None,
            trouble: None,
            started_at: now,
            ended_at: now,
            repair: None,
            disagreement: Disagreement::default(),
        }
    }

    /// How long it took, in seconds.
    #[expect(clippy::cast_precision_loss, reason = "to be looked at")]
    pub fn seconds(&self) -> f64 {
        self.ended_at.saturating_sub(self.started_at) as f64 / 1e6
    }
}

impl Report {
    /// Whether every table is equal.
    pub fn is_equal(&self) -> bool {
        self.tables.iter().all(|table| table.verdict == Verdict::Equal)
    }

    /// 0 if every table is equal; the code of the first error if one could not be verified; else 1.
    pub fn exit_code(&self) -> u8 {
        let failed = self.tables.iter().find_map(|table| table.trouble.as_ref());
        match failed {
            Some(trouble) => trouble.exit_code,
            None if self.is_equal() => 0,
            None => Verdict::Differs.exit_code(None::<ErrorKind>),
        }
    }
}
