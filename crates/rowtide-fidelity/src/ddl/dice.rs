//! Chance that a seed decides.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// All choices of one history.
#[derive(Debug)]
pub(super) struct Dice(StdRng);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(StdRng::seed_from_u64(seed))
    }

    /// Less than `bound`, which is at least 1.
    pub(super) fn below(&mut self, bound: usize) -> usize {
        self.0.random_range(0..bound.max(1))
    }

    /// True once in `times`.
    pub(super) fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    /// One of `list`.
    pub(super) fn pick<'a, T>(&mut self, list: &'a [T]) -> Option<&'a T> {
        list.get(self.below(list.len()))
    }

    /// The place of one of `weights`, each as likely as it is heavy.
    pub(super) fn weighted(&mut self, weights: &[u32]) -> usize {
        let total: u32 = weights.iter().sum();
        let mut left = self.0.random_range(0..total.max(1));
        for (at, weight) in weights.iter().enumerate() {
            match left.checked_sub(*weight) {
                Some(rest) => left = rest,
                None => return at,
            }
        }
        0
    }

    /// A few letters.
    pub(super) fn word(&mut self, longest: usize) -> String {
        const LETTERS: &[char] =
            &['a', 'b', 'c', 'x', 'y', 'z', 'é', 'ß', '語', '\'', '"', ' ', '\\'];
        let length = 1 + self.below(longest);
        (0..length).filter_map(|_| self.pick(LETTERS)).collect::<String>().trim().to_owned() + "."
    }
}
