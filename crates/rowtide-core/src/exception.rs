//! Values that the destination's types cannot hold: what became of them, beside the rows and in
//! what is remembered of a table.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::Op;

/// How many rows of one table may be in quarantine at a time. They are remembered by key.
pub const MOST_HELD: usize = 10_000;

/// What happened to values of some rows of a batch, in the order of the rows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exceptions {
    /// Rows of which values were replaced.
    pub replaced: Vec<(u32, Replaced)>,
    /// Rows that are kept out of the destination; their op is [`Op::Refuse`].
    pub refused: Vec<(u32, Refused)>,
}

impl Exceptions {
    /// Whether nothing happened.
    pub fn is_empty(&self) -> bool {
        self.replaced.is_empty() && self.refused.is_empty()
    }

    /// What is left of it for the rows of `kept`, which are sorted, under their new places.
    #[must_use]
    pub fn among(&self, kept: &[usize]) -> Self {
        let place = |row: u32| kept.binary_search(&(row as usize)).ok();
        let place = |row: u32| place(row).and_then(|at| u32::try_from(at).ok());
        let replaced = self.replaced.iter().filter_map(|(row, what)| Some((place(*row)?, *what)));
        let refused =
            self.refused.iter().filter_map(|(row, what)| Some((place(*row)?, what.clone())));
        Self { replaced: replaced.collect(), refused: refused.collect() }
    }

    /// An estimate of the memory it takes, in bytes.
    pub fn byte_size(&self) -> usize {
        let refused = self.refused.iter().map(|(_, refused)| refused.byte_size());
        self.replaced.len() * size_of::<(u32, Replaced)>() + refused.sum::<usize>()
    }
}

/// How many values were replaced.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replaced {
    /// By NULL.
    pub nulled: u32,
    /// By their text in the column beside.
    pub as_text: u32,
}

impl Replaced {
    /// Adds up.
    pub fn add(&mut self, other: Self) {
        self.nulled = self.nulled.saturating_add(other.nulled);
        self.as_text = self.as_text.saturating_add(other.as_text);
    }

    /// Whether nothing was replaced.
    pub fn is_nothing(self) -> bool {
        self == Self::default()
    }
}

/// A row that is kept out of the destination.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// What the change was: [`Op::Insert`], [`Op::Update`], or [`Op::Delete`] of a row that never
    /// came in.
    pub change: Op,
    /// The source's numbers of the columns whose values cannot be represented.
    pub columns: Vec<i32>,
    /// The name of the first of them.
    pub column: String,
    /// Why its value cannot be.
    pub reason: String,
    /// The row's key as a JSON object of the source's own texts.
    pub key: Option<String>,
    /// The row as a JSON object of the source's own texts, if those are there.
    pub values: Option<String>,
}

impl Refused {
    /// An estimate of the memory it takes, in bytes.
    pub fn byte_size(&self) -> usize {
        let texts = [&self.key, &self.values].into_iter().flatten().map(String::len);
        size_of::<Self>() + texts.sum::<usize>() + self.reason.len() + self.column.len()
    }
}

/// What became of a table's values since the pipeline knows it. Counts never go back.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ValueTally {
    /// Values that NULL took the place of.
    pub nulled: u64,
    /// Values that stand as text in the column beside.
    pub as_text: u64,
    /// Rows that went to quarantine.
    pub quarantined: u64,
    /// Rows that are there, or in history went there since the copy, where no key tells them apart.
    #[serde(skip_serializing_if = "is_zero")]
    pub unresolved: u64,
    /// Rows that are there now, by key.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub held: BTreeMap<String, Held>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "what serde calls")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// A row in quarantine.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// The source's numbers of the columns whose values cannot be represented.
    pub columns: Vec<i32>,
    /// Its key as the quarantine shows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

impl ValueTally {
    /// Whether nothing ever happened.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// How many rows are in quarantine.
    pub fn open(&self) -> u64 {
        self.unresolved + self.held.len() as u64
    }

    /// Counts what was replaced.
    pub fn count(&mut self, replaced: Replaced) {
        self.nulled += u64::from(replaced.nulled);
        self.as_text += u64::from(replaced.as_text);
    }

    /// Nothing is in quarantine any more; the counts stay.
    pub fn release(&mut self) {
        self.unresolved = 0;
        self.held.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exceptions_follow_their_rows() {
        let refused = Refused {
            change: Op::Insert,
            columns: vec![2],
            column: "v".into(),
            reason: "why".into(),
            key: None,
            values: None,
        };
        let one = Replaced { nulled: 1, as_text: 0 };
        let all = Exceptions {
            replaced: vec![(0, one), (3, one)],
            refused: vec![(1, refused.clone()), (4, refused)],
        };
        let kept = all.among(&[3, 4]);
        assert_eq!(kept.replaced, [(0, one)]);
        assert_eq!(kept.refused.iter().map(|(row, _)| *row).collect::<Vec<_>>(), [1]);
    }

    #[test]
    fn a_state_of_before_has_nothing_in_it() {
        let tally: ValueTally = serde_json::from_str("{}").unwrap();
        assert!(tally.is_empty());
        assert!(!serde_json::to_string(&tally).unwrap().contains("held"));
    }
}
