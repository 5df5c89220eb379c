//! How long transactions took from their commit at the source to being durable here.

/// Sub-buckets per power of two: a quantile is off by at most 1/16.
const STEPS: u64 = 16;
/// Powers of two of microseconds, up to about 19 hours.
const POWERS: u64 = 36;

/// Counts of delays in buckets that widen with the delay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Latency {
    buckets: Vec<u64>,
    count: u64,
    max_micros: u64,
}

impl Default for Latency {
    fn default() -> Self {
        Self { buckets: vec![0; index(u64::MAX) + 1], count: 0, max_micros: 0 }
    }
}

impl Latency {
    /// Counts one delay, in microseconds. A clock that runs behind counts as no delay.
    pub fn record(&mut self, micros: i64) {
        let micros = u64::try_from(micros).unwrap_or(0);
        self.max_micros = self.max_micros.max(micros);
        self.count += 1;
        if let Some(bucket) = self.buckets.get_mut(index(micros)) {
            *bucket += 1;
        }
    }

    /// How many delays were counted.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The longest delay, in milliseconds.
    pub fn max_ms(&self) -> f64 {
        ms(self.max_micros)
    }

    /// The delay that the fraction `q` (0 to 1) of all transactions did not exceed, in
    /// milliseconds; `None` if nothing was counted.
    pub fn quantile_ms(&self, q: f64) -> Option<f64> {
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a rank among counted transactions"
        )]
        let rank = ((self.count as f64 * q).ceil() as u64).max(1);
        let mut seen = 0;
        for (at, bucket) in self.buckets.iter().enumerate() {
            seen += bucket;
            if seen >= rank {
                return Some(ms(upper(at as u64).min(self.max_micros)));
            }
        }
        None
    }

    /// How often each delay was counted: the longest of its bucket, in milliseconds.
    pub fn spread(&self) -> impl Iterator<Item = (f64, u64)> + '_ {
        let buckets = self.buckets.iter().enumerate().filter(|(_, count)| **count > 0);
        buckets.map(|(at, count)| (ms(upper(at as u64).min(self.max_micros)), *count))
    }
}

#[expect(clippy::cast_precision_loss, reason = "a delay for people")]
fn ms(micros: u64) -> f64 {
    micros as f64 / 1000.0
}

/// The bucket of a delay: exact below 16 µs, then sixteen per power of two.
fn index(micros: u64) -> usize {
    let index = if micros < STEPS {
        micros
    } else {
        let power = u64::from(micros.ilog2());
        let step = (micros >> (power - 4)) - STEPS;
        (power - 3) * STEPS + step
    };
    usize::try_from(index.min(POWERS * STEPS - 1)).unwrap_or(0)
}

/// The largest delay of a bucket.
fn upper(index: u64) -> u64 {
    if index < STEPS {
        return index;
    }
    let (power, step) = (index / STEPS + 3, index % STEPS);
    ((STEPS + step + 1) << (power - 4)) - 1
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_delay_lies_in_its_bucket(micros in 0_u64..1 << 36) {
            let at = index(micros) as u64;
            prop_assert!(micros <= upper(at));
            prop_assert!(at == 0 || micros > upper(at - 1));
        }
    }

    #[test]
    fn quantiles_are_those_of_the_counted_delays() {
        let mut latency = Latency::default();
        assert_eq!(latency.quantile_ms(0.5), None);
        for ms in 1..=100 {
            latency.record(ms * 1000);
        }
        latency.record(-5);
        let close = |q, expected: f64| {
            let found = latency.quantile_ms(q).unwrap();
            assert!((found / expected - 1.0).abs() < 0.08, "{q}: {found}");
        };
        close(0.5, 50.0);
        close(0.99, 99.0);
        assert!((latency.max_ms() - 100.0).abs() < f64::EPSILON);
        assert_eq!(latency.spread().map(|(_, count)| count).sum::<u64>(), latency.count());
        assert_eq!(latency.spread().last(), Some((100.0, 2)));
    }
}
