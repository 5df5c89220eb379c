//! Whether rows that differed are wrong, or were only changing: the judgement about one key.
//!
//! In each round the source is looked at, then the destination when it covers that, then the source
//! again. A key that is equal once *was* right at a moment at which it had to be: it is settled. A
//! difference is believed only when it shows up again and again without anything having moved:
//!
//! - The source's row had the same version before and after the destination was looked at, so it
//!   stood still while the destination, which has everything from before, showed another.
//! - Or the destination's row has stood untouched since the last round, while the source, which was
//!   looked at in between, had another.
//!
//! Either is a proof if the source shows what the destination may have: a commit can be decoded
//! before it is visible, and be long in between. So one round waits for such commits before it
//! looks at the source again, and one in which they did not come counts for nothing. That a difference
//! must be seen twice, some time apart, is for those who cannot tell of such commits. Where neither
//! side tells versions, it takes four rounds.

use std::time::Duration;

use tokio::time::Instant;

use crate::sight::Seen;

/// How much evidence a difference takes.
const ENOUGH: u32 = 4;
/// What a round says in which it is certain that something stood still.
const PROVED: u32 = 2;
/// What a round says in which it only seems so.
const SEEMED: u32 = 1;

/// What one round saw under a key.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Round<'a> {
    /// At the source, before.
    pub(crate) before: &'a [Seen],
    /// At the destination.
    pub(crate) destination: &'a [Seen],
    /// At the source, afterwards.
    pub(crate) after: &'a [Seen],
    /// Whether `after` shows everything that the destination had.
    pub(crate) complete: bool,
}

/// What is known of a key so far.
#[derive(Debug, Default)]
pub(crate) struct Trace {
    evidence: u32,
    /// Since when there is any.
    since: Option<Instant>,
    /// What differed in the last round that was evidence.
    last: Option<(Vec<Seen>, Vec<Seen>)>,
}

/// What a round decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ruling {
    /// The key was right.
    Equal,
    /// It is wrong.
    Different,
    /// It is to be looked at again.
    Open,
}

impl Trace {
    /// Takes what a round saw into account; a difference must have been there for `still`.
    pub(crate) fn judge(&mut self, round: Round<'_>, still: Duration) -> Ruling {
        let Round { before, destination, after, complete } = round;
        if same_content(before, destination) {
            return Ruling::Equal;
        }
        if !complete {
            return Ruling::Open;
        }
        let last = self.last.replace((before.to_vec(), destination.to_vec()));
        let (last_source, last_destination) = last.unwrap_or_default();
        // INVARIANT: the last round's look at the destination came before this round's `before`.
        // In between everything was waited for that the destination had.
        let untouched = is_versioned(destination) && destination == last_destination;
        let unmoved = is_versioned(before) && before == after;
        let weight = match (unmoved || untouched, same_content(before, after)) {
            (true, _) => PROVED,
            (false, true) => SEEMED,
            (false, false) => {
                self.evidence = 0;
                return Ruling::Open;
            }
        };
        // Versions included: what has moved in between begins anew.
        let again = before == last_source && same_content(destination, &last_destination);
        let again = again || untouched;
        if !again || self.evidence == 0 {
            self.evidence = 0;
            self.since = Some(Instant::now());
        }
        self.evidence += weight;
        let long = self.since.is_some_and(|since| since.elapsed() >= still);
        if long && self.evidence >= ENOUGH { Ruling::Different } else { Ruling::Open }
    }
}

/// Whether there is something to see, and every row of it has a version.
fn is_versioned(rows: &[Seen]) -> bool {
    !rows.is_empty() && rows.iter().all(|row| row.version.is_some())
}

/// Whether the rows are the same but for their versions.
pub(crate) fn same_content(one: &[Seen], other: &[Seen]) -> bool {
    one.len() == other.len()
        && one.iter().zip(other).all(|(one, other)| one.content == other.content)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(content: u64, version: Option<u64>) -> Vec<Seen> {
        vec![Seen { content: (content, content), version }]
    }

    fn rounds(rounds: &[[Vec<Seen>; 3]]) -> Vec<Ruling> {
        let mut trace = Trace::default();
        let judged = rounds.iter().map(|[before, destination, after]| {
            let round = Round { before, destination, after, complete: true };
            trace.judge(round, Duration::ZERO)
        });
        judged.collect()
    }

    #[test]
    fn what_may_not_be_seen_yet_proves_nothing() {
        let seen = [row(1, Some(7)), row(2, Some(3)), row(1, Some(7))];
        let [before, destination, after] = &seen;
        let mut trace = Trace::default();
        let mut judge =
            |complete| trace.judge(Round { before, destination, after, complete }, Duration::ZERO);
        assert!((0..10).all(|_| judge(false) == Ruling::Open));
        assert_eq!([judge(true), judge(true)], [Ruling::Open, Ruling::Different]);
    }

    #[test]
    fn what_stands_still_and_differs_twice_is_wrong() {
        use Ruling::{Different, Open};
        let seen = [row(1, Some(7)), row(2, None), row(1, Some(7))];
        assert_eq!(rounds(&[seen.clone(), seen]), [Open, Different]);
        let missing = [row(1, Some(7)), vec![], row(1, Some(7))];
        assert_eq!(rounds(&[missing.clone(), missing]), [Open, Different]);
        // The destination's version speaks from the second round on.
        let extra = [vec![], row(1, Some(3)), vec![]];
        assert_eq!(rounds(&[extra.clone(), extra.clone(), extra]), [Open, Open, Different]);
    }

    #[test]
    fn without_versions_it_takes_four_rounds() {
        use Ruling::{Different, Open};
        let seen = [row(1, None), row(2, None), row(1, None)];
        let all = [seen.clone(), seen.clone(), seen.clone(), seen];
        assert_eq!(rounds(&all), [Open, Open, Open, Different]);
    }

    #[test]
    fn what_moves_proves_nothing() {
        let moving = |n: u64| [row(n, Some(n)), row(n + 1, None), row(n + 2, Some(n + 2))];
        let all: Vec<_> = (0..20).map(moving).collect();
        assert!(rounds(&all).iter().all(|ruling| *ruling == Ruling::Open));
        // Changed and changed back is told by the version.
        let back = |n: u64| [row(1, Some(n)), row(2, None), row(1, Some(n + 1))];
        let all: Vec<_> = (0..3).map(|n| back(2 * n)).collect();
        assert!(rounds(&all).iter().all(|ruling| *ruling == Ruling::Open));
    }

    #[test]
    fn a_row_that_the_stream_no_longer_touches_is_found_under_a_busy_key() {
        let stuck = |n: u64| [row(n, Some(n)), row(99, Some(5)), row(n + 1, Some(n + 1))];
        let all: Vec<_> = (0..3).map(stuck).collect();
        assert_eq!(rounds(&all), [Ruling::Open, Ruling::Open, Ruling::Different]);
    }

    #[test]
    fn equal_once_is_equal() {
        let all = [
            [row(1, Some(1)), row(2, None), row(1, Some(1))],
            [row(1, Some(1)), row(1, None), row(3, Some(2))],
        ];
        assert_eq!(rounds(&all), [Ruling::Open, Ruling::Equal]);
    }
}
