//! Sums over the rows of a table, bucket by bucket.

use std::collections::BTreeSet;

use super::Hashes;

/// The sums of one bucket.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BucketSum {
    /// How many rows.
    pub rows: u64,
    /// The sum of their first hashes, modulo 2⁶⁴.
    pub first: u64,
    /// The sum of their second hashes, modulo 2⁶⁴.
    pub second: u64,
}

impl BucketSum {
    /// Counts one more row.
    #[inline]
    pub fn add(&mut self, (first, second): (u64, u64)) {
        self.rows += 1;
        self.first = self.first.wrapping_add(first);
        self.second = self.second.wrapping_add(second);
    }
}

/// A table's sums: one per bucket, 2ⁿ of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Digest {
    /// One per bucket.
    pub buckets: Vec<BucketSum>,
}

impl Digest {
    /// No rows yet, in 2ⁿ buckets for `bits` = n.
    #[must_use]
    pub fn empty(bits: u32) -> Self {
        Self { buckets: vec![BucketSum::default(); 1 << bits] }
    }

    /// The bucket of a row whose key has this hash: its lowest bits.
    #[must_use]
    pub fn bucket_of(&self, key: u64) -> usize {
        let mask = self.buckets.len() as u64 - 1;
        usize::try_from(key & mask).unwrap_or(0)
    }

    /// Adds rows.
    pub fn add(&mut self, rows: &Hashes) {
        for ((key, first), second) in rows.keys.iter().zip(&rows.first).zip(&rows.second) {
            let bucket = self.bucket_of(*key);
            self.buckets[bucket].add((*first, *second));
        }
    }

    /// Adds the rows of `other`, which has as many buckets.
    pub fn merge(&mut self, other: &Self) {
        for (sum, more) in self.buckets.iter_mut().zip(&other.buckets) {
            sum.rows += more.rows;
            sum.first = sum.first.wrapping_add(more.first);
            sum.second = sum.second.wrapping_add(more.second);
        }
    }

    /// How many rows there are in all.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.buckets.iter().map(|bucket| bucket.rows).sum()
    }

    /// The buckets whose sums differ.
    #[must_use]
    pub fn differing(&self, other: &Self) -> BucketSet {
        let pairs = self.buckets.iter().zip(&other.buckets).zip(0_u32..);
        let differing = pairs.filter(|((one, two), _)| one != two).map(|(_, index)| index);
        BucketSet { bits: self.buckets.len().trailing_zeros(), buckets: differing.collect() }
    }
}

/// Some of 2ⁿ buckets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BucketSet {
    /// n.
    pub bits: u32,
    /// Their numbers.
    pub buckets: BTreeSet<u32>,
}

impl BucketSet {
    /// Whether the row whose key has this hash is in one of them.
    #[must_use]
    pub fn contains(&self, key: u64) -> bool {
        let bucket = key & ((1 << self.bits) - 1);
        u32::try_from(bucket).is_ok_and(|bucket| self.buckets.contains(&bucket))
    }
}
