//! From values to places on an axis, and the round numbers that are written beside it.

/// One axis: the values it spans, and where its marks are.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Scale {
    low: f64,
    high: f64,
    logarithmic: bool,
    /// The marked values, all round.
    pub(crate) ticks: Vec<f64>,
}

impl Scale {
    /// An even scale from `low` to `high`, widened to round numbers, with about `wanted` marks.
    pub(crate) fn even(low: f64, high: f64, wanted: u32) -> Self {
        let high = if high > low { high } else { low + 1.0 };
        let step = round_up((high - low) / f64::from(wanted.max(1)));
        let (first, last) = ((low / step).floor(), (high / step).ceil());
        let ticks = count(first, last).map(|at| at * step).collect();
        Self { low: first * step, high: last * step, logarithmic: false, ticks }
    }

    /// A scale on which ten times as much is always the same distance; both ends above zero.
    pub(crate) fn logarithmic(low: f64, high: f64) -> Self {
        let low = round_down(low.max(f64::MIN_POSITIVE));
        let high = round_up(high.max(low * 1.5));
        let decades = count(low.log10().floor(), high.log10().ceil());
        let mut ticks: Vec<f64> = decades
            .flat_map(|power| [1.0, 2.0, 5.0].map(|digit| digit * ten_to(power)))
            .filter(|tick| (low * 0.999..=high * 1.001).contains(tick))
            .collect();
        if ticks.len() > 12 {
            ticks.retain(|tick| (tick.log10() - tick.log10().round()).abs() < 1e-6);
        }
        Self { low, high, logarithmic: true, ticks }
    }

    /// Where a value lies: 0 at the low end, 1 at the high one, never beyond.
    pub(crate) fn place(&self, value: f64) -> f64 {
        let place = match self.logarithmic {
            true => (value.max(self.low) / self.low).ln() / (self.high / self.low).ln(),
            false => (value - self.low) / (self.high - self.low),
        };
        place.clamp(0.0, 1.0)
    }
}

/// The whole numbers from `first` to `last`.
fn count(first: f64, last: f64) -> impl Iterator<Item = f64> {
    std::iter::successors(Some(first), |at| Some(at + 1.0)).take_while(move |at| *at <= last)
}

/// 10 to a whole power, exact where a decimal fraction can be.
fn ten_to(power: f64) -> f64 {
    match power < 0.0 {
        true => 1.0 / 10_f64.powf(-power),
        false => 10_f64.powf(power),
    }
}

/// The least 1, 2 or 5 times a power of ten that is not below `value`.
fn round_up(value: f64) -> f64 {
    let decade = ten_to(value.log10().floor());
    let digits = [1.0, 2.0, 5.0, 10.0].map(|digit| digit * decade);
    digits.into_iter().find(|round| *round >= value * 0.999_999).unwrap_or(10.0 * decade)
}

/// The greatest 1, 2 or 5 times a power of ten that is not above `value`.
fn round_down(value: f64) -> f64 {
    let decade = ten_to(value.log10().floor());
    let digits = [5.0, 2.0, 1.0].map(|digit| digit * decade);
    digits.into_iter().find(|round| *round <= value * 1.000_001).unwrap_or(decade)
}

/// A number in few characters: `0.5`, `20`, `1.5k`, `2M`.
pub(crate) fn short(value: f64) -> String {
    let (scaled, unit) = match value.abs() {
        size if size >= 999_999_500.0 => (value / 1e9, "G"),
        size if size >= 999_999.5 => (value / 1e6, "M"),
        size if size >= 1000.0 => (value / 1e3, "k"),
        _ => (value, ""),
    };
    let decimals = match scaled.abs() {
        size if size >= 100.0 => 0,
        size if size >= 1.0 => 2,
        _ => 4,
    };
    let text = format!("{scaled:.decimals$}");
    let text = match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.'),
        false => &text,
    };
    format!("{}{unit}", if text == "-0" { "0" } else { text })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_round_and_cover_the_values() {
        assert_eq!(Scale::even(0.0, 57.3, 5).ticks, [0.0, 20.0, 40.0, 60.0]);
        assert_eq!(Scale::even(0.0, 1.0, 5).ticks.len(), 6);
        assert_eq!(Scale::even(0.0, 183_000.0, 4).ticks.last(), Some(&200_000.0));
        assert_eq!(Scale::even(-3.0, 3.0, 3).ticks, [-4.0, -2.0, 0.0, 2.0, 4.0]);
        // Nothing happened: still an axis.
        assert_eq!(Scale::even(0.0, 0.0, 4).ticks.last(), Some(&1.0));
    }

    #[test]
    fn marks_of_a_logarithmic_axis_are_ones_twos_and_fives() {
        let scale = Scale::logarithmic(0.7, 130.0);
        assert_eq!(scale.ticks, [0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0]);
        let wide = Scale::logarithmic(0.01, 90_000.0);
        assert_eq!(wide.ticks, [0.01, 0.1, 1.0, 10.0, 100.0, 1e3, 1e4, 1e5]);
        let distance = |a: f64, b: f64| scale.place(b) - scale.place(a);
        assert!((distance(1.0, 10.0) - distance(10.0, 100.0)).abs() < 1e-9);
    }

    #[test]
    fn places_lie_between_the_ends() {
        for scale in [Scale::even(0.0, 100.0, 5), Scale::logarithmic(1.0, 100.0)] {
            assert!(scale.place(-5.0).abs() < 1e-9);
            assert!((scale.place(100.0) - 1.0).abs() < 1e-9);
            assert!((scale.place(1e9) - 1.0).abs() < 1e-9);
            assert!(scale.place(20.0) < scale.place(21.0));
        }
    }

    #[test]
    fn numbers_are_short() {
        let all = [0.0, 0.05, 0.5, 20.0, 999.0, 1500.0, 12_345.0, 2_000_000.0, 3.2e9, -0.0];
        let texts = all.map(short);
        assert_eq!(texts, ["0", "0.05", "0.5", "20", "999", "1.5k", "12.35k", "2M", "3.2G", "0"]);
    }
}
