//! How far all is durable: a map from partition to offset that never goes back.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// A totally ordered sub-log of the source: a PostgreSQL slot, a server UUID, a topic partition.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Partition(pub Arc<str>);

impl From<&str> for Partition {
    fn from(name: &str) -> Self {
        Self(name.into())
    }
}

/// A place in a partition whose order is the source's order (PostgreSQL: the LSN).
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Offset(pub u64);

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}/{:X}", self.0 >> 32, self.0 & 0xFFFF_FFFF)
    }
}

/// Per partition, the offset up to which everything is applied and durable.
///
/// In PostgreSQL's terms: the end LSN of a commit. A transaction is already applied exactly when
/// the start of its commit record lies below the checkpoint.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Checkpoint(BTreeMap<Partition, Offset>);

impl Checkpoint {
    /// A checkpoint of one partition.
    pub fn single(partition: Partition, offset: Offset) -> Self {
        Self(BTreeMap::from([(partition, offset)]))
    }

    /// The offset of `partition`.
    pub fn get(&self, partition: &Partition) -> Option<Offset> {
        self.0.get(partition).copied()
    }

    /// The largest offset of all partitions; for sources with a single one, the position.
    pub fn position(&self) -> Offset {
        self.0.values().copied().max().unwrap_or_default()
    }

    /// All partitions and their offsets, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&Partition, Offset)> {
        self.0.iter().map(|(partition, offset)| (partition, *offset))
    }

    /// Whether every partition of `other` is reached here.
    pub fn covers(&self, other: &Self) -> bool {
        other.iter().all(|(partition, offset)| self.get(partition).is_some_and(|at| at >= offset))
    }

    /// Moves on to `next`.
    ///
    /// # Errors
    /// `Internal` if any partition would go back or disappear: a checkpoint never regresses.
    pub fn advance(&mut self, next: &Self) -> Result<()> {
        if !next.covers(self) {
            return Err(Error::internal(format!(
                "the checkpoint would go back from {self} to {next}"
            )));
        }
        self.clone_from(next);
        Ok(())
    }
}

impl fmt::Display for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("the beginning");
        }
        for (n, (partition, offset)) in self.iter().enumerate() {
            let separator = if n == 0 { "" } else { ", " };
            write!(f, "{separator}{}@{offset}", partition.0)?;
        }
        Ok(())
    }
}

/// The source's statement that everything up to a transaction's end has been emitted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watermark {
    /// Where the last emitted transaction ended, or how far an idle log has moved on.
    pub checkpoint: Checkpoint,
    /// When the last emitted transaction committed, in microseconds since 1970 UTC; `None` for
    /// progress without a transaction.
    pub committed_at: Option<i64>,
    /// How many transactions ended since the previous watermark.
    pub transaction_count: u64,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn checkpoint() -> impl Strategy<Value = Checkpoint> {
        proptest::collection::btree_map("[a-c]", 0_u64..50, 0..3).prop_map(|map| {
            Checkpoint(map.iter().map(|(p, o)| (p.as_str().into(), Offset(*o))).collect())
        })
    }

    proptest! {
        #[test]
        fn advancing_is_exactly_covering(a in checkpoint(), b in checkpoint()) {
            let mut at = a.clone();
            let moved = at.advance(&b).is_ok();
            prop_assert_eq!(moved, b.covers(&a));
            prop_assert_eq!(at, if moved { b } else { a });
        }

        #[test]
        fn covering_is_a_partial_order(a in checkpoint(), b in checkpoint(), c in checkpoint()) {
            prop_assert!(a.covers(&a));
            if a.covers(&b) && b.covers(&c) { prop_assert!(a.covers(&c)); }
            if a.covers(&b) && b.covers(&a) { prop_assert_eq!(&a, &b); }
        }

        #[test]
        fn json_round_trips(a in checkpoint()) {
            let text = serde_json::to_string(&a).unwrap();
            prop_assert_eq!(serde_json::from_str::<Checkpoint>(&text).unwrap(), a);
        }
    }
}
