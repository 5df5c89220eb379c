//! The rows of one side, kept to be written or to be compared.

use std::collections::{HashMap, HashSet};

use arrow_array::RecordBatch;
use arrow_select::interleave::interleave_record_batch;
use rowtide_core::canonical::Encoder;
use rowtide_core::view::{TableView, ViewedRows};
use rowtide_core::{Error, Result, TableSchema};

use crate::budget::Budget;
use crate::compare::Texts;
use crate::settle::same_content;
use crate::sight::{Seen, Wanted, take};

/// How many keys are asked for at once.
const KEYS_AT_ONCE: usize = 500;

/// Rows by the hash of their key.
#[derive(Debug, Default)]
pub(crate) struct Rows {
    batches: Vec<RecordBatch>,
    found: HashMap<u64, Found>,
}

/// What stands under one key.
#[derive(Debug)]
struct Found {
    seen: Vec<Seen>,
    /// Batch and row of the first.
    at: (usize, usize),
}

/// Reads what is `wanted`; gives up after about so many bytes, and tells which keys it did not come
/// to.
pub(crate) async fn read(
    view: &mut dyn TableView,
    (wanted, table): (&Wanted, &TableSchema),
    (budget, most): (&Budget<'_>, usize),
) -> Result<(Rows, HashSet<u64>)> {
    let mut unread: HashSet<u64> = wanted.hashes().into_iter().collect();
    let all = unread.clone();
    let encoder = Encoder::new(table)?;
    let mut rows = Rows::default();
    let mut bytes = 0;
    let portions = wanted.portions(KEYS_AT_ONCE).into_iter();
    for (portion, hashes) in portions.zip(wanted.hashes_of_portions(KEYS_AT_ONCE)) {
        if bytes > most {
            break;
        }
        budget.breathe().await;
        view.begin(portion).await?;
        while let Some(some) = view.next().await? {
            bytes += rows.add(some, &all, &encoder)?;
        }
        for hash in hashes {
            unread.remove(&hash);
        }
    }
    rows.found.values_mut().for_each(|found| found.seen.sort_unstable());
    Ok((rows, unread))
}

impl Rows {
    /// Keeps those of `some` that are wanted; tells how many bytes they take.
    fn add(&mut self, some: ViewedRows, wanted: &HashSet<u64>, encoder: &Encoder) -> Result<usize> {
        let ViewedRows { rows, versions } = some;
        let hashed = encoder.hash(&rows)?;
        let batch = self.batches.len();
        let mut kept = Vec::new();
        for (row, key) in (0_u32..).zip(&hashed.keys) {
            if !wanted.contains(key) {
                continue;
            }
            let place = row as usize;
            let version = versions.as_ref().and_then(|all| all.get(place).copied());
            let content = (hashed.first[place], hashed.second[place]);
            let found = self.found.entry(*key).or_insert_with(|| {
                kept.push(row);
                Found { seen: Vec::new(), at: (batch, kept.len() - 1) }
            });
            found.seen.push(Seen { content, version });
        }
        let kept = take(&rows, kept)?;
        let bytes = kept.get_array_memory_size();
        self.batches.push(kept);
        Ok(bytes)
    }

    /// What stands under the key with this hash.
    pub(crate) fn of(&self, hash: u64) -> &[Seen] {
        self.found.get(&hash).map_or(&[], |found| found.seen.as_slice())
    }

    /// Whether it is what was `seen` before, untouched as far as can be told.
    pub(crate) fn has(&self, hash: u64, seen: &[Seen]) -> bool {
        same_content(self.of(hash), seen)
    }

    /// The values of the first row under the key, as text.
    pub(crate) fn texts(&self, hash: u64, encoder: &Encoder) -> Result<Option<Texts>> {
        let Some(Found { at: (batch, row), .. }) = self.found.get(&hash) else { return Ok(None) };
        encoder.texts(&self.batches[*batch], *row).map(Some)
    }

    /// The first row under each of these keys.
    pub(crate) fn pick(&self, hashes: impl IntoIterator<Item = u64>) -> Result<RecordBatch> {
        let gone = || Error::internal("a row to be repaired is gone");
        let at = hashes.into_iter().map(|hash| self.found.get(&hash).map(|found| found.at));
        let at = at.collect::<Option<Vec<_>>>().ok_or_else(gone)?;
        let batches: Vec<&RecordBatch> = self.batches.iter().collect();
        Ok(interleave_record_batch(&batches, &at)?)
    }
}
