//! From buckets that differ to keys that do: both sides' rows of a bucket, side by side.

use std::cmp::Ordering;
use std::collections::{BTreeSet, HashSet};

use arrow_array::RecordBatch;
use arrow_select::interleave::interleave_record_batch;
use rowtide_core::canonical::{BucketSet, Digest, Encoder};
use rowtide_core::view::{RowsOf, TableView, ViewedRows};
use rowtide_core::{Result, TableSchema};

use crate::budget::Budget;
use crate::sight::{Pair, Wanted, take};

/// How many rows of a side are listed at once, unless a single bucket holds more.
const ROWS_AT_ONCE: u64 = 200_000;
/// How many bytes of keys of a side are kept at once; with more the rows are listed in more turns.
const KEY_BYTES: usize = 32 << 20;

/// What differed when both sides were looked at first.
#[derive(Debug)]
pub(crate) struct Candidates {
    pub(crate) wanted: Wanted,
    /// Whether there are more, which were not followed up.
    pub(crate) more: bool,
}

/// The hashes of some rows, and their keys.
#[derive(Debug, Default)]
struct Listing {
    rows: Vec<Listed>,
    /// Nothing for tables without a key.
    keys: Vec<RecordBatch>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Listed {
    key: u64,
    content: (u64, u64),
    /// Batch and row of the key.
    at: (u32, u32),
}

/// Finds the keys that differ between both views, in the buckets that do.
pub(crate) async fn find(
    pair: &mut Pair,
    (ours, theirs): (&Digest, &Digest),
    (table, most): (&TableSchema, usize),
    budget: &Budget<'_>,
) -> Result<Candidates> {
    let differing = ours.differing(theirs);
    let mut found = Found::new(table, differing.bits)?;
    let at_once = ROWS_AT_ONCE.min(most as u64);
    let mut groups = groups(&differing, (ours, theirs), at_once);
    groups.reverse();
    while let Some(group) = groups.pop() {
        if found.hashes.len() >= most {
            return found.finish(true);
        }
        let sides = futures::future::try_join(
            list(pair.source.as_mut(), (&group, table), budget),
            list(pair.destination.as_mut(), (&group, table), budget),
        );
        let (one, other) = sides.await?;
        match (one, other, group.buckets.len()) {
            (Some(one), Some(other), _) => found.add(&one, &other)?,
            // Too long keys: half of it at a time.
            (_, _, many) if many > 1 => groups.extend(halves(&group)),
            _ => return found.finish(true),
        }
    }
    found.finish(false)
}

/// Buckets to be listed together, of `at_once` rows unless one alone holds more.
fn groups(
    differing: &BucketSet,
    (ours, theirs): (&Digest, &Digest),
    at_once: u64,
) -> Vec<BucketSet> {
    let rows = |digest: &Digest, bucket: u32| {
        digest.buckets.get(bucket as usize).map_or(0, |bucket| bucket.rows)
    };
    let mut groups: Vec<BucketSet> = Vec::new();
    let mut room = 0;
    for &bucket in &differing.buckets {
        let needs = rows(ours, bucket).max(rows(theirs, bucket)).max(1);
        match groups.last_mut() {
            Some(last) if needs <= room => {
                last.buckets.insert(bucket);
                room -= needs;
            }
            _ => {
                let buckets = BTreeSet::from([bucket]);
                groups.push(BucketSet { bits: differing.bits, buckets });
                room = at_once.saturating_sub(needs);
            }
        }
    }
    groups
}

fn halves(group: &BucketSet) -> [BucketSet; 2] {
    let middle = group.buckets.len() / 2;
    let half = |buckets: BTreeSet<u32>| BucketSet { bits: group.bits, buckets };
    let (low, high) = group.buckets.iter().enumerate().partition::<Vec<_>, _>(|(n, _)| *n < middle);
    let of = |list: Vec<(usize, &u32)>| half(list.into_iter().map(|(_, bucket)| *bucket).collect());
    [of(high), of(low)]
}

/// Lists a side's rows of `group`; `None` if their keys are too long to be kept together.
async fn list(
    view: &mut dyn TableView,
    (group, table): (&BucketSet, &TableSchema),
    budget: &Budget<'_>,
) -> Result<Option<Listing>> {
    let encoder = Encoder::new(table)?;
    let mut listing = Listing::default();
    let mut bytes = 0;
    budget.breathe().await;
    view.begin(RowsOf::Buckets(group.clone())).await?;
    while let Some(ViewedRows { rows, .. }) = view.next().await? {
        let hashed = encoder.hash(&rows)?;
        let batch = u32::try_from(listing.keys.len()).unwrap_or(u32::MAX);
        let mut kept = Vec::new();
        for (row, &key) in (0_u32..).zip(&hashed.keys) {
            if group.contains(key) {
                let at = (batch, u32::try_from(kept.len()).unwrap_or(u32::MAX));
                let place = row as usize;
                let content = (hashed.first[place], hashed.second[place]);
                listing.rows.push(Listed { key, content, at });
                kept.push(row);
            }
        }
        if encoder.is_keyed() {
            let keys = take(&rows.project(&table.key)?, kept)?;
            bytes += keys.get_array_memory_size();
            listing.keys.push(keys);
        }
        if bytes > KEY_BYTES && group.buckets.len() > 1 {
            return Ok(None);
        }
    }
    listing.rows.sort_unstable();
    Ok(Some(listing))
}

/// The keys found so far.
struct Found<'a> {
    table: &'a TableSchema,
    bits: u32,
    keyed: bool,
    hashes: Vec<u64>,
    keys: Vec<RecordBatch>,
}

impl<'a> Found<'a> {
    fn new(table: &'a TableSchema, bits: u32) -> Result<Self> {
        let keyed = Encoder::new(table)?.is_keyed();
        Ok(Self { table, bits, keyed, hashes: Vec::new(), keys: Vec::new() })
    }

    /// Adds the keys under which the two sides differ.
    fn add(&mut self, one: &Listing, other: &Listing) -> Result<()> {
        let mut picked: Vec<(usize, usize)> = Vec::new();
        let second = one.keys.len();
        for (key, (ours, theirs)) in pairs(&one.rows, &other.rows) {
            let contents = |rows: &[Listed]| rows.iter().map(|row| row.content).collect::<Vec<_>>();
            if contents(ours) == contents(theirs) {
                continue;
            }
            let at = |row: &Listed, base: usize| (base + row.at.0 as usize, row.at.1 as usize);
            let ours = ours.first().map(|row| at(row, 0));
            let theirs = theirs.first().map(|row| at(row, second));
            picked.extend(ours.or(theirs));
            self.hashes.push(key);
        }
        if self.keyed && !picked.is_empty() {
            let all: Vec<&RecordBatch> = one.keys.iter().chain(&other.keys).collect();
            self.keys.push(interleave_record_batch(&all, &picked)?);
        }
        Ok(())
    }

    fn finish(self, more: bool) -> Result<Candidates> {
        let wanted = match self.keyed {
            true => {
                let schema = self.table.key_arrow();
                let keys = arrow_select::concat::concat_batches(&schema, &self.keys)?;
                Wanted::Keys(keys, self.hashes)
            }
            false => Wanted::Rows(self.hashes.into_iter().collect::<HashSet<_>>(), self.bits),
        };
        Ok(Candidates { wanted, more })
    }
}

/// The rows of both sides key by key; both are in order.
fn pairs<'a>(
    mut ours: &'a [Listed],
    mut theirs: &'a [Listed],
) -> impl Iterator<Item = (u64, (&'a [Listed], &'a [Listed]))> {
    std::iter::from_fn(move || {
        let next = |rows: &[Listed]| rows.first().map(|row| row.key);
        let key = match (next(ours), next(theirs)) {
            (Some(one), Some(other)) => match one.cmp(&other) {
                Ordering::Greater => other,
                Ordering::Less | Ordering::Equal => one,
            },
            (one, other) => one.or(other)?,
        };
        let end = |rows: &[Listed]| rows.partition_point(|row| row.key <= key);
        let (one, rest) = ours.split_at(end(ours));
        ours = rest;
        let (other, rest) = theirs.split_at(end(theirs));
        theirs = rest;
        Some((key, (one, other)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(rows: &[u64]) -> Digest {
        let mut digest = Digest::empty(2);
        for (bucket, rows) in digest.buckets.iter_mut().zip(rows) {
            bucket.rows = *rows;
            bucket.first = *rows;
        }
        digest
    }

    #[test]
    fn few_rows_are_listed_at_once() {
        let (ours, theirs) = (digest(&[9, 150_000, 60_000, 3]), digest(&[9, 1, 0, 900_000]));
        let groups = groups(&ours.differing(&theirs), (&ours, &theirs), ROWS_AT_ONCE);
        let groups: Vec<Vec<u32>> =
            groups.iter().map(|group| group.buckets.iter().copied().collect()).collect();
        assert_eq!(groups, [vec![1], vec![2], vec![3]]);
    }

    #[test]
    fn halves_are_the_whole() {
        let group = BucketSet { bits: 4, buckets: (3..8).collect() };
        let [second, first] = halves(&group);
        assert_eq!(first.buckets, BTreeSet::from([3, 4]));
        assert_eq!(second.buckets, BTreeSet::from([5, 6, 7]));
    }
}
