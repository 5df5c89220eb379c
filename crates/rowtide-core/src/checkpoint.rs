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
///
/// An offset may bear a mark: words of the source by which it knows its log again. They are kept
/// with the offset and mean nothing to anyone else; two checkpoints compare by offset alone.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Checkpoint(BTreeMap<Partition, Place>);

/// An offset, with what the source says about it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(from = "Stored", into = "Stored")]
struct Place {
    offset: Offset,
    mark: Option<Arc<str>>,
}

impl PartialEq for Place {
    fn eq(&self, other: &Self) -> bool {
        self.offset == other.offset
    }
}

impl Eq for Place {}

/// A place as it is stored: a bare number, as it was before there were marks, or both.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Stored {
    Bare(Offset),
    Marked(Offset, Arc<str>),
}

impl From<Stored> for Place {
    fn from(stored: Stored) -> Self {
        match stored {
            Stored::Bare(offset) => Self { offset, mark: None },
            Stored::Marked(offset, mark) => Self { offset, mark: Some(mark) },
        }
    }
}

impl From<Place> for Stored {
    fn from(place: Place) -> Self {
        match place.mark {
            None => Self::Bare(place.offset),
            Some(mark) => Self::Marked(place.offset, mark),
        }
    }
}

impl Checkpoint {
    /// A checkpoint of one partition.
    pub fn single(partition: Partition, offset: Offset) -> Self {
        Self(BTreeMap::from([(partition, Place { offset, mark: None })]))
    }

    /// A checkpoint of one partition whose offset bears a mark.
    pub fn marked(partition: Partition, offset: Offset, mark: &str) -> Self {
        Self(BTreeMap::from([(partition, Place { offset, mark: Some(mark.into()) })]))
    }

    /// The mark of `partition`'s offset.
    pub fn mark(&self, partition: &Partition) -> Option<&str> {
        self.0.get(partition)?.mark.as_deref()
    }

    /// The offset of `partition`.
    pub fn get(&self, partition: &Partition) -> Option<Offset> {
        self.0.get(partition).map(|place| place.offset)
    }

    /// The largest offset of all partitions; for sources with a single one, the position.
    pub fn position(&self) -> Offset {
        self.0.values().map(|place| place.offset).max().unwrap_or_default()
    }

    /// All partitions and their offsets, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&Partition, Offset)> {
        self.0.iter().map(|(partition, place)| (partition, place.offset))
    }

    /// Whether every partition of `other` is reached here.
    pub fn covers(&self, other: &Self) -> bool {
        other.iter().all(|(partition, offset)| self.get(partition).is_some_and(|at| at >= offset))
    }

    /// Moves on to `next`, with its marks.
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
            let place = |(partition, offset): (&String, &u64)| {
                let mark = offset.is_multiple_of(2).then(|| format!("mark of {offset}").into());
                (partition.as_str().into(), Place { offset: Offset(*offset), mark })
            };
            Checkpoint(map.iter().map(place).collect())
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
            let read = serde_json::from_str::<Checkpoint>(&text).unwrap();
            for (partition, _) in a.iter() {
                prop_assert_eq!(read.mark(partition), a.mark(partition));
            }
            prop_assert_eq!(read, a);
        }
    }

    #[test]
    fn what_was_stored_without_marks_is_read() {
        let read: Checkpoint = serde_json::from_str(r#"{"a":7}"#).unwrap();
        assert_eq!(read, Checkpoint::marked("a".into(), Offset(7), "whatever"));
        assert_eq!(read.mark(&"a".into()), None);
        let bare = serde_json::to_string(&Checkpoint::single("a".into(), Offset(7)));
        assert_eq!(bare.unwrap(), r#"{"a":7}"#);
        let mut at = read;
        at.advance(&Checkpoint::marked("a".into(), Offset(7), "newer")).unwrap();
        assert_eq!(at.mark(&"a".into()), Some("newer"));
    }
}
