//! What was done and found, as tables for the terminal.

use std::fmt::Write;
use std::time::Duration;

use crate::points::Spot;
use crate::target::Target;
use crate::verify::Damage;

/// One case that ended at a point.
#[derive(Debug)]
pub struct Line {
    /// Where the process ended.
    pub spot: Spot,
    /// Where it copied to.
    pub target: Target,
    /// What chose.
    pub seed: u64,
    /// Transactions at the source meanwhile.
    pub transactions: u64,
    /// How often the destination's money was looked at meanwhile.
    pub looks: u64,
    /// From the process's end to the first commit of the next one.
    pub recovery: Duration,
    /// What is wrong with the copy.
    pub damage: Damage,
    /// How long the case took.
    pub took: Duration,
}

/// All lines of a run.
#[derive(Debug, Default)]
pub struct Report {
    /// In the order of the run.
    pub lines: Vec<Line>,
}

impl Report {
    /// The table: one row per point and destination.
    #[must_use]
    pub fn table(&self) -> String {
        let mut text = String::from(
            "| point | destination | occasion | kills | reached | lost | doubled | wrong | s |\n\
             |---|---|---|---:|---:|---:|---:|---:|---:|\n",
        );
        let mut rows: Vec<(&str, Target)> = Vec::new();
        for line in &self.lines {
            if !rows.contains(&(line.spot.point, line.target)) {
                rows.push((line.spot.point, line.target));
            }
        }
        for (point, target) in rows {
            let own = || self.lines.iter().filter(|l| l.spot.point == point && l.target == target);
            let mut occasions: Vec<String> =
                own().map(|line| format!("{:?}", line.spot.occasion).to_lowercase()).collect();
            occasions.sort();
            occasions.dedup();
            let sum = |count: fn(&Line) -> u64| own().map(count).sum::<u64>();
            let kills = own().count();
            let seconds = own().map(|line| line.took.as_secs_f64()).fold(0.0, f64::max);
            // Writing to a string cannot fail.
            let _ = writeln!(
                text,
                "| {point} | {target} | {} | {kills} | {kills} | {} | {} | {} | {seconds:.1} |",
                occasions.join(", "),
                sum(|line| line.damage.lost),
                sum(|line| line.damage.doubled),
                sum(|line| line.damage.wrong),
            );
        }
        text
    }
}

/// The value below which `percent` of `values` lie.
#[must_use]
pub fn percentile(values: &[Duration], percent: usize) -> Duration {
    let mut values = values.to_vec();
    values.sort();
    let at = (values.len() * percent).div_ceil(100).saturating_sub(1);
    values.get(at).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_occurred() {
        let values: Vec<_> = (1..=100).rev().map(Duration::from_secs).collect();
        assert_eq!(percentile(&values, 50), Duration::from_secs(50));
        assert_eq!(percentile(&values, 99), Duration::from_secs(99));
        assert_eq!(percentile(&[], 50), Duration::ZERO);
    }
}
