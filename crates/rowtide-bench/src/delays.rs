//! Delays, and what is said of many of them: which one a fraction did not exceed, and how they
//! are spread.

use crate::plot::Bar;

/// Bars per tenfold of a histogram.
const BARS_PER_DECADE: f64 = 10.0;

/// Delays in milliseconds, each with how often it was seen, in order.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Delays(Vec<(f64, u64)>);

impl Delays {
    /// From delays in milliseconds. What is not a number above zero counts as the least delay
    /// that a clock can tell.
    pub(crate) fn new(counted: impl IntoIterator<Item = (f64, u64)>) -> Self {
        let known = |(delay, count): (f64, u64)| (if delay > 0.001 { delay } else { 0.001 }, count);
        let mut all: Vec<_> = counted.into_iter().filter(|(_, n)| *n > 0).map(known).collect();
        all.sort_by(|(a, _), (b, _)| a.total_cmp(b));
        Self(all)
    }

    /// How many there are.
    pub(crate) fn count(&self) -> u64 {
        self.0.iter().map(|(_, count)| count).sum()
    }

    /// The delay that the fraction `q` (0 to 1) did not exceed: the least of those seen for which
    /// that is so, never one in between.
    pub(crate) fn quantile(&self, q: f64) -> Option<f64> {
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a rank among far fewer delays than 2^52"
        )]
        let rank = ((self.count() as f64 * q).ceil() as u64).max(1);
        let mut seen = 0;
        self.0.iter().find_map(|(delay, count)| {
            seen += count;
            (seen >= rank).then_some(*delay)
        })
    }

    /// All of them in steps of a tenth of a millisecond, each with how often it was seen.
    #[expect(clippy::cast_precision_loss, reason = "a height to be looked at")]
    pub(crate) fn points(&self) -> Vec<(f64, f64)> {
        let mut points: Vec<(f64, f64)> = Vec::new();
        for (delay, count) in &self.0 {
            let step = (delay * 10.0).ceil() / 10.0;
            match points.last_mut() {
                Some((last, height)) if *last >= step => *height += *count as f64,
                _ => points.push((step, *count as f64)),
            }
        }
        points
    }

    /// The longest.
    pub(crate) fn max(&self) -> Option<f64> {
        self.0.last().map(|(delay, _)| *delay)
    }

    /// A histogram whose bars are equally wide where ten times as long is one distance.
    pub(crate) fn bars(&self) -> Vec<Bar> {
        let edge = |at: f64| 10_f64.powf(at / BARS_PER_DECADE);
        // A delay on an edge lies in the bar below it.
        let place = |delay: f64| (delay.log10() * BARS_PER_DECADE - 1e-9).ceil() - 1.0;
        let mut bars: Vec<(f64, u64)> = Vec::new();
        for (delay, count) in &self.0 {
            let at = place(*delay);
            match bars.last_mut() {
                #[expect(clippy::float_cmp, reason = "both are whole numbers")]
                Some((last, height)) if *last == at => *height += count,
                _ => bars.push((at, *count)),
            }
        }
        #[expect(clippy::cast_precision_loss, reason = "a height to be looked at")]
        let bar =
            |(at, n): (f64, u64)| Bar { from: edge(at), to: edge(at + 1.0), height: n as f64 };
        bars.into_iter().map(bar).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_one_of_the_delays() {
        let delays = Delays::new((1..=100).rev().map(|ms| (f64::from(ms), 1)));
        assert_eq!(delays.count(), 100);
        assert_eq!(delays.quantile(0.5), Some(50.0));
        assert_eq!(delays.quantile(0.99), Some(99.0));
        assert_eq!(delays.quantile(0.995), Some(100.0));
        assert_eq!(delays.quantile(0.0), Some(1.0));
        assert_eq!(delays.quantile(1.0), Some(100.0));
        assert_eq!(delays.max(), Some(100.0));
        assert_eq!(Delays::default().quantile(0.5), None);
    }

    #[test]
    fn a_delay_counts_as_often_as_it_was_seen() {
        let delays = Delays::new([(5.0, 98), (1000.0, 1), (20.0, 1), (3.0, 0)]);
        assert_eq!(delays.quantile(0.98), Some(5.0));
        assert_eq!(delays.quantile(0.99), Some(20.0));
        assert_eq!(delays.quantile(0.991), Some(1000.0));
    }

    #[test]
    fn points_are_tenths_of_a_millisecond() {
        let delays = Delays::new([(1.01, 1), (1.09, 2), (1.11, 3), (20.0, 4)]);
        assert_eq!(delays.points(), [(1.1, 3.0), (1.2, 3.0), (20.0, 4.0)]);
    }

    #[test]
    fn every_delay_is_in_one_bar() {
        let delays = Delays::new([(1.0, 3), (1.2, 4), (10.0, 5), (10.1, 6), (-1.0, 7)]);
        let bars = delays.bars();
        let total: f64 = bars.iter().map(|bar| bar.height).sum();
        assert!((total - 25.0).abs() < 1e-9);
        let holding = |ms: f64| {
            let found: Vec<f64> = bars
                .iter()
                .filter(|bar| bar.from * 1.000_001 < ms && ms <= bar.to * 1.000_001)
                .map(|bar| bar.height)
                .collect();
            found
        };
        assert_eq!(holding(1.0), [3.0]);
        assert_eq!(holding(1.2), [4.0]);
        assert_eq!(holding(10.0), [5.0]);
        assert_eq!(holding(10.1), [6.0]);
        assert!(bars.windows(2).all(|pair| pair[0].to <= pair[1].from * 1.000_001));
    }
}
