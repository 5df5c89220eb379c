//! What was seen of some rows at one moment: their hashes, by the hash of their keys.

use std::collections::{HashMap, HashSet};

use arrow_array::RecordBatch;
use rowtide_core::canonical::{BucketSet, Encoder};
use rowtide_core::view::{RowsOf, TableView, ViewedRows};
use rowtide_core::{Result, TableSchema};

use crate::budget::Budget;

/// A view of each side.
pub(crate) struct Pair {
    pub(crate) source: Box<dyn TableView>,
    /// It has everything from before the source's view.
    pub(crate) destination: Box<dyn TableView>,
}

/// One row as it was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Seen {
    /// Its two hashes.
    pub(crate) content: (u64, u64),
    /// Its version, if the system tells.
    pub(crate) version: Option<u64>,
}

/// What is looked for.
#[derive(Debug, Clone)]
pub(crate) enum Wanted {
    /// Rows under these keys, with the hashes of the keys.
    Keys(RecordBatch, Vec<u64>),
    /// Rows of a table without a key, by the hash of the whole row.
    Rows(HashSet<u64>, u32),
}

/// How many keys are asked for at once.
const KEYS_AT_ONCE: usize = 2_000;

impl Wanted {
    /// The hashes of the keys.
    pub(crate) fn hashes(&self) -> Vec<u64> {
        match self {
            Self::Keys(_, hashes) => hashes.clone(),
            Self::Rows(hashes, _) => {
                let mut hashes: Vec<u64> = hashes.iter().copied().collect();
                hashes.sort_unstable();
                hashes
            }
        }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Keys(_, hashes) => hashes.len(),
            Self::Rows(hashes, _) => hashes.len(),
        }
    }

    /// Only those of `kept`.
    pub(crate) fn among(&self, kept: &HashSet<u64>) -> Result<Self> {
        Ok(match self {
            Self::Keys(keys, hashes) => {
                let at = (0_u32..).zip(hashes).filter(|(_, hash)| kept.contains(hash));
                let (at, hashes): (Vec<u32>, Vec<u64>) = at.map(|(at, hash)| (at, *hash)).unzip();
                Self::Keys(take(keys, at)?, hashes)
            }
            Self::Rows(_, bits) => Self::Rows(kept.clone(), *bits),
        })
    }

    /// All but those of `left_out`.
    pub(crate) fn without(&self, left_out: &HashSet<u64>) -> Result<Self> {
        self.among(&self.hashes().into_iter().filter(|hash| !left_out.contains(hash)).collect())
    }

    /// The same in parts of at most `most` keys.
    pub(crate) fn parts(&self, most: usize) -> Result<Vec<Self>> {
        let part = |some: &[u64]| self.among(&some.iter().copied().collect());
        self.hashes().chunks(most).map(part).collect()
    }

    /// The hashes of the keys in each of [`Self::portions`].
    pub(crate) fn hashes_of_portions(&self, most: usize) -> Vec<Vec<u64>> {
        match self {
            Self::Keys(_, hashes) => hashes.chunks(most).map(<[u64]>::to_vec).collect(),
            Self::Rows(..) => vec![self.hashes()],
        }
    }

    /// What to ask a view for, in portions of at most `most` keys.
    pub(crate) fn portions(&self, most: usize) -> Vec<RowsOf> {
        match self {
            Self::Keys(keys, _) => {
                let starts = (0..keys.num_rows()).step_by(most);
                let portion = |at: usize| keys.slice(at, most.min(keys.num_rows() - at));
                starts.map(|at| RowsOf::Keys(portion(at))).collect()
            }
            Self::Rows(hashes, bits) => vec![RowsOf::Buckets(buckets_of(hashes, *bits))],
        }
    }
}

/// The buckets that hold rows with these hashes.
fn buckets_of(hashes: &HashSet<u64>, bits: u32) -> BucketSet {
    let bucket = |hash: &u64| u32::try_from(hash & ((1 << bits) - 1)).unwrap_or_default();
    BucketSet { bits, buckets: hashes.iter().map(bucket).collect() }
}

/// Rows `at` of `batch`.
pub(crate) fn take(batch: &RecordBatch, at: Vec<u32>) -> Result<RecordBatch> {
    Ok(arrow_select::take::take_record_batch(batch, &arrow_array::UInt32Array::from(at))?)
}

/// What was seen, by the hash of the key; the rows of one key in order of their hashes.
#[derive(Debug, Default)]
pub(crate) struct Sight(HashMap<u64, Vec<Seen>>);

impl Sight {
    /// The rows under the key with this hash.
    pub(crate) fn of(&self, hash: u64) -> &[Seen] {
        self.0.get(&hash).map_or(&[], Vec::as_slice)
    }

    /// The rows under the key with this hash, which are not asked for again.
    pub(crate) fn remove(&mut self, hash: u64) -> Vec<Seen> {
        self.0.remove(&hash).unwrap_or_default()
    }
}

/// Looks for `wanted` in `view`.
pub(crate) async fn look(
    view: &mut dyn TableView,
    (wanted, table): (&Wanted, &TableSchema),
    budget: &Budget<'_>,
) -> Result<Sight> {
    let hashes: HashSet<u64> = wanted.hashes().into_iter().collect();
    let encoder = Encoder::new(table)?;
    let mut sight = Sight::default();
    for portion in wanted.portions(KEYS_AT_ONCE) {
        budget.breathe().await;
        view.begin(portion).await?;
        while let Some(ViewedRows { rows, versions }) = view.next().await? {
            let hashed = encoder.hash(&rows)?;
            for (row, key) in hashed.keys.iter().enumerate() {
                if hashes.contains(key) {
                    let version = versions.as_ref().and_then(|all| all.get(row).copied());
                    let content = (hashed.first[row], hashed.second[row]);
                    sight.0.entry(*key).or_default().push(Seen { content, version });
                }
            }
        }
    }
    sight.0.values_mut().for_each(|rows| rows.sort_unstable());
    Ok(sight)
}
