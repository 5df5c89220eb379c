//! Where a process is ended, and what it is doing then.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rowtide_core::fault::POINTS;

/// What the process that is to end has to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Occasion {
    /// A new pipeline: makes the source's side and copies.
    Fresh,
    /// Goes on with a pipeline whose tables are copied.
    Follow,
    /// Goes on after a table was added at the source.
    Added,
    /// Goes on, and meets a change of a table that it cannot follow.
    Stopping,
    /// Copies a table again.
    Resync,
}

use Occasion::{Added, Follow, Fresh, Resync, Stopping};

/// A point, at one of its arrivals, on one occasion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spot {
    /// The point.
    pub point: &'static str,
    /// At which arrival.
    pub arrival: u64,
    /// On which occasion.
    pub occasion: Occasion,
}

/// For each point the occasions on which it is certain to be reached, and up to how often it is
/// certain to be reached on each.
const REACH: &[(&str, &[(Occasion, u64)])] = &[
    ("intent.before", &[(Fresh, 1)]),
    ("intent.stored", &[(Fresh, 1)]),
    ("publication.created", &[(Fresh, 1)]),
    ("slot.created", &[(Fresh, 1)]),
    ("attach.before", &[(Fresh, 1), (Follow, 1), (Added, 1)]),
    ("attach.stored", &[(Fresh, 1), (Added, 1), (Follow, 1)]),
    ("plan.stored", &[(Fresh, 1), (Resync, 1), (Added, 1)]),
    ("snapshot.before", &[(Fresh, 9), (Added, 1), (Resync, 1)]),
    ("snapshot.fenced", &[(Fresh, 9), (Added, 1), (Resync, 1)]),
    ("staging.created", &[(Resync, 1), (Fresh, 9), (Added, 1)]),
    ("lane.written", &[(Resync, 10), (Fresh, 30)]),
    ("lane.finished", &[(Fresh, 9), (Added, 1), (Resync, 1)]),
    ("spool.before", &[(Fresh, 10)]),
    ("spool.written", &[(Fresh, 10)]),
    ("promote.before", &[(Fresh, 9), (Resync, 1), (Added, 1)]),
    ("promote.swapped", &[(Added, 1), (Fresh, 9), (Resync, 1)]),
    ("promote.replayed", &[(Resync, 1), (Fresh, 9), (Added, 1)]),
    ("promote.committed", &[(Fresh, 9), (Added, 1), (Resync, 1)]),
    ("segment.received", &[(Fresh, 8), (Follow, 20)]),
    ("transaction.part", &[(Follow, 5)]),
    ("write.before", &[(Fresh, 4), (Follow, 30)]),
    ("write.staged", &[(Follow, 20)]),
    ("write.removed", &[(Follow, 20)]),
    ("write.applied", &[(Fresh, 4), (Follow, 30)]),
    ("truncate.before", &[(Follow, 2)]),
    ("truncate.applied", &[(Follow, 2)]),
    ("schema.before", &[(Follow, 3)]),
    ("schema.applied", &[(Follow, 3)]),
    ("schema.remembered", &[(Follow, 3)]),
    ("table.stopped", &[(Stopping, 1)]),
    ("epoch.sealed", &[(Fresh, 4), (Follow, 20)]),
    ("commit.before", &[(Fresh, 8), (Follow, 20)]),
    ("commit.done", &[(Fresh, 8), (Follow, 20)]),
    ("epoch.committed", &[(Follow, 20), (Fresh, 4)]),
    ("acknowledge.before", &[(Fresh, 2), (Follow, 4)]),
    ("acknowledge.sent", &[(Follow, 4), (Fresh, 2)]),
    ("restart.opened", &[(Fresh, 1), (Follow, 1), (Added, 1)]),
    ("restart.attached", &[(Follow, 1), (Added, 1), (Fresh, 1)]),
    ("publication.altered", &[(Added, 1)]),
];

/// One spot for each of `names` (all points if it is empty), chosen by `seed`.
///
/// # Errors
/// If a name is no point, or it is not known where a point is reached.
pub fn spots(names: &[String], seed: u64) -> Result<Vec<Spot>, String> {
    let named = |point: &&&str| names.is_empty() || names.iter().any(|name| name == **point);
    if let Some(unknown) = names.iter().find(|name| !POINTS.contains(&name.as_str())) {
        return Err(format!("there is no point `{unknown}`"));
    }
    POINTS.iter().filter(named).map(|point| spot(point, seed)).collect()
}

fn spot(point: &'static str, seed: u64) -> Result<Spot, String> {
    let (_, occasions) = REACH.iter().find(|(name, _)| *name == point).ok_or_else(|| {
        format!("crates/rowtide-crash/src/points.rs: where is `{point}` reached?")
    })?;
    let letters = point.bytes().fold(seed, |hash, byte| hash.wrapping_mul(31) + u64::from(byte));
    let mut rng = StdRng::seed_from_u64(letters);
    let (occasion, most) = occasions[usize::try_from(seed).unwrap_or(0) % occasions.len()];
    Ok(Spot { point, arrival: rng.random_range(1..=most), occasion })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_known_where_every_point_is_reached() {
        for seed in 0..4 {
            assert_eq!(spots(&[], seed).unwrap().len(), POINTS.len());
        }
        assert!(REACH.iter().all(|(point, _)| POINTS.contains(point)));
    }

    #[test]
    fn a_seed_chooses_the_same_again() {
        assert_eq!(spots(&[], 7), spots(&[], 7));
        assert_ne!(spots(&[], 7), spots(&[], 8));
        assert!(spots(&["nowhere".to_owned()], 1).is_err());
    }
}
