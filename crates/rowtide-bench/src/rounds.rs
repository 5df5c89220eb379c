//! The same things measured several times in turn.
//!
//! A shared machine drifts, so that two figures are comparable only if they were taken one after
//! the other. Every contender therefore runs once in each round, and the ratio of two is the
//! median of the rounds' ratios, not the ratio of two medians.

use serde::Serialize;

use crate::stopwatch::Taken;

/// The wall times of the fastest and of the slowest round.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Spread {
    pub(crate) fastest: f64,
    pub(crate) slowest: f64,
}

/// What each contender took in each round.
#[derive(Debug, Default)]
pub(crate) struct Rounds {
    contenders: Vec<(&'static str, Vec<Taken>)>,
}

impl Rounds {
    /// Adds what `contender` took in the present round.
    pub(crate) fn add(&mut self, contender: &'static str, taken: Taken) {
        match self.contenders.iter_mut().find(|(name, _)| *name == contender) {
            Some((_, all)) => all.push(taken),
            None => self.contenders.push((contender, vec![taken])),
        }
    }

    fn all(&self, contender: &str) -> &[Taken] {
        let found = self.contenders.iter().find(|(name, _)| *name == contender);
        found.map_or(&[], |(_, all)| all)
    }

    /// The round of `contender` whose wall time is the median, if it ran.
    pub(crate) fn median(&self, contender: &str) -> Option<Taken> {
        let mut all = self.all(contender).to_vec();
        all.sort_by(|a, b| a.wall.total_cmp(&b.wall));
        all.get(all.len() / 2).copied()
    }

    pub(crate) fn spread(&self, contender: &str) -> Option<Spread> {
        let walls = || self.all(contender).iter().map(|taken| taken.wall);
        let (fastest, slowest) = (walls().min_by(f64::total_cmp)?, walls().max_by(f64::total_cmp)?);
        Some(Spread { fastest, slowest })
    }

    /// The most memory that `contender` had in any round.
    pub(crate) fn peak_bytes(&self, contender: &str) -> u64 {
        self.all(contender).iter().map(|taken| taken.peak_bytes).max().unwrap_or_default()
    }

    /// How many times as fast as `other` the contender was: the median of the rounds' ratios.
    pub(crate) fn speed(&self, contender: &str, other: &str) -> Option<f64> {
        self.ratio(contender, |round| self.all(other).get(round).map(|taken| taken.wall))
    }

    /// The median of `seconds` of a round by the contender's wall time in it.
    pub(crate) fn ratio(
        &self,
        contender: &str,
        seconds: impl Fn(usize) -> Option<f64>,
    ) -> Option<f64> {
        let rounds = self.all(contender).iter().enumerate();
        let ratios = rounds.filter_map(|(round, taken)| Some(seconds(round)? / taken.wall));
        median(ratios.collect())
    }

    /// What `contender` took in a round.
    pub(crate) fn of(&self, contender: &str, round: usize) -> Option<Taken> {
        self.all(contender).get(round).copied()
    }
}

/// The middle one; of an even number, the upper of the two in the middle.
pub(crate) fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(wall: f64) -> Taken {
        Taken { wall, ..Taken::default() }
    }

    #[test]
    fn a_ratio_compares_within_rounds() {
        let mut rounds = Rounds::default();
        // The machine is ten times slower in the second round, for both.
        for (limit, ours) in [(1.0, 2.0), (10.0, 20.0), (1.0, 4.0)] {
            rounds.add("limit", taken(limit));
            rounds.add("ours", taken(ours));
        }
        assert_eq!(rounds.speed("ours", "limit"), Some(0.5));
        assert_eq!(rounds.median("ours").map(|taken| taken.wall), Some(4.0));
        assert_eq!(rounds.spread("limit"), Some(Spread { fastest: 1.0, slowest: 10.0 }));
        assert_eq!(rounds.speed("ours", "nobody"), None);
    }
}
