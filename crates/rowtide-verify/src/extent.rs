//! Summing up as much of a table as was asked for.

use std::collections::BTreeSet;

use rowtide_core::canonical::{BucketSet, Digest, Encoder};
use rowtide_core::view::{self, RowsOf, TableView, ViewedRows};
use rowtide_core::{Result, TableSchema};

use crate::budget::Budget;

/// Sums up the whole table: inside the system if it can, else here.
pub(crate) async fn whole(
    view: &mut dyn TableView,
    (table, bits): (&TableSchema, u32),
    budget: &Budget<'_>,
) -> Result<Digest> {
    budget.breathe().await;
    // Views stand back between their statements: one that waited for us would be held open.
    view::sum_up(view, (table, bits)).await
}

/// Sums up some buckets of it, and leaves the others empty.
pub(crate) async fn part(
    view: &mut dyn TableView,
    (table, part): (&TableSchema, &BucketSet),
    budget: &Budget<'_>,
) -> Result<Digest> {
    let encoder = Encoder::new(table)?;
    let mut digest = Digest::empty(part.bits);
    budget.breathe().await;
    view.begin(RowsOf::Buckets(part.clone())).await?;
    while let Some(ViewedRows { rows, .. }) = view.next().await? {
        encoder.sum_up(&rows, &mut digest)?;
    }
    // A system may have given rows of other buckets too.
    for (bucket, sum) in (0_u32..).zip(&mut digest.buckets) {
        if !part.buckets.contains(&bucket) {
            *sum = rowtide_core::canonical::BucketSum::default();
        }
    }
    Ok(digest)
}

/// About `percent` of a hundred of all buckets, at least one: which ones, `seed` decides.
pub(crate) fn sample(bits: u32, percent: f64, seed: u64) -> BucketSet {
    let all = 1_u32 << bits;
    let share = (percent / 100.0).clamp(0.0, 1.0) * f64::from(all);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 2³¹")]
    let many = (share.ceil() as u32).clamp(1, all);
    let mut shuffled: Vec<(u64, u32)> =
        (0..all).map(|bucket| (mixed(seed ^ (u64::from(bucket) << 32)), bucket)).collect();
    shuffled.sort_unstable();
    let buckets: BTreeSet<u32> =
        shuffled.into_iter().take(many as usize).map(|(_, bucket)| bucket).collect();
    BucketSet { bits, buckets }
}

/// A number that looks like chance (`SplitMix64`).
fn mixed(seed: u64) -> u64 {
    let seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let seed = (seed ^ (seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let seed = (seed ^ (seed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    seed ^ (seed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_as_large_as_asked_for_and_another_with_another_seed() {
        assert_eq!(sample(12, 10.0, 1).buckets.len(), 410);
        assert_eq!(sample(12, 100.0, 1).buckets.len(), 4096);
        assert_eq!(sample(12, 0.0, 1).buckets.len(), 1);
        assert_eq!(sample(12, 10.0, 1), sample(12, 10.0, 1));
        assert_ne!(sample(12, 10.0, 1), sample(12, 10.0, 2));
    }
}
