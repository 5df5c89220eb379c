//! When something is to be done again and again: at an interval, or by a cron line (in UTC).

use std::str::FromStr;
use std::time::Duration;

use rowtide_core::{Error, Result};

use crate::config::parse_duration;

/// When something is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Schedule {
    /// So long after it was done last.
    Every(Duration),
    /// At the minutes that a cron line names.
    Cron(Box<Cron>),
}

/// Minutes, hours, days of the month, months and days of the week, each as a set of bits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cron {
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    weekdays: u64,
    /// Whether the day of the month and that of the week are both given: then either will do.
    either: bool,
}

const DAY: i64 = 86_400;
/// How far ahead a minute is looked for: a 29 February may be eight years away.
const HORIZON_DAYS: i64 = 8 * 366;

impl Schedule {
    /// How long after `now` (microseconds since 1970 UTC) it is time; `None` if never.
    pub fn wait(&self, now: i64) -> Option<Duration> {
        match self {
            Self::Every(interval) => Some(*interval),
            Self::Cron(cron) => {
                let next = cron.next_after(now.div_euclid(1_000_000))?;
                let micros = next.saturating_mul(1_000_000).saturating_sub(now);
                Some(Duration::from_micros(u64::try_from(micros).unwrap_or_default()))
            }
        }
    }
}

impl FromStr for Schedule {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let text = text.trim();
        let malformed = |why: String| {
            Error::config(format!("`{text}` is no schedule: {why}"))
                .with_hint("write \"every 6h\", or a cron line such as \"30 2 * * *\" (in UTC)")
        };
        if let Some(interval) = text.strip_prefix("every ") {
            let interval = parse_duration(interval.trim()).map_err(malformed)?;
            if interval < Duration::from_secs(1) {
                return Err(malformed("an interval is at least a second".to_owned()));
            }
            return Ok(Self::Every(interval));
        }
        Cron::parse(text).map(|cron| Self::Cron(Box::new(cron))).map_err(malformed)
    }
}

impl Cron {
    fn parse(text: &str) -> Result<Self, String> {
        let fields: Vec<&str> = text.split_whitespace().collect();
        let [minutes, hours, days, months, weekdays] = fields[..] else {
            return Err(format!("it has {} fields instead of 5", fields.len()));
        };
        let either = !days.starts_with('*') && !weekdays.starts_with('*');
        let weekdays = field(weekdays, (0, 7))?;
        let cron = Self {
            minutes: field(minutes, (0, 59))?,
            hours: field(hours, (0, 23))?,
            days: field(days, (1, 31))?,
            months: field(months, (1, 12))?,
            // Sunday is 0 and 7.
            weekdays: (weekdays | weekdays >> 7) & 0x7f,
            either,
        };
        match cron.next_after(0) {
            Some(_) => Ok(cron),
            None => Err("there is no such day".to_owned()),
        }
    }

    /// The next minute after `now`, in seconds since 1970 UTC.
    fn next_after(&self, now: i64) -> Option<i64> {
        let first = now.div_euclid(60) * 60 + 60;
        let today = first.div_euclid(DAY);
        let is_set = |bits: u64, at: i64| bits >> at & 1 == 1;
        for day in today..today + HORIZON_DAYS {
            if !self.is_on(day) {
                continue;
            }
            let from = if day == today { first.rem_euclid(DAY) / 60 } else { 0 };
            let minute = (from..DAY / 60).find(|minute| {
                is_set(self.hours, minute / 60) && is_set(self.minutes, minute % 60)
            });
            if let Some(minute) = minute {
                return Some(day * DAY + minute * 60);
            }
        }
        None
    }

    /// Whether something is to be done on this day, counted from 1970.
    fn is_on(&self, day: i64) -> bool {
        let (month, of_month) = month_and_day(day);
        // 1970 began on a Thursday.
        let weekday = (day + 4).rem_euclid(7);
        let of_month = self.days >> of_month & 1 == 1;
        let of_week = self.weekdays >> weekday & 1 == 1;
        let day = if self.either { of_month || of_week } else { of_month && of_week };
        day && self.months >> month & 1 == 1
    }
}

/// The values of one field: `*`, numbers, ranges, steps, and lists of these.
fn field(text: &str, (low, high): (u32, u32)) -> Result<u64, String> {
    let number = |text: &str| match text.parse::<u32>() {
        Ok(number) if (low..=high).contains(&number) => Ok(number),
        _ => Err(format!("`{text}` is no number from {low} to {high}")),
    };
    let mut bits = 0;
    for part in text.split(',') {
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => {
                let step = step.parse::<usize>().ok().filter(|step| *step > 0);
                (range, step.ok_or_else(|| format!("`{part}` has no step"))?)
            }
            None => (part, 1),
        };
        let (from, to) = match (range, range.split_once('-')) {
            ("*", _) => (low, high),
            (_, Some((from, to))) => (number(from)?, number(to)?),
            (one, None) if step > 1 => (number(one)?, high),
            (one, None) => (number(one)?, number(one)?),
        };
        (from..=to).step_by(step).for_each(|value| bits |= 1 << value);
    }
    if bits == 0 { Err(format!("`{text}` names nothing")) } else { Ok(bits) }
}

/// Month and day of the month of a day counted from 1970, in the Gregorian calendar.
fn month_and_day(day: i64) -> (i64, i64) {
    // Years that begin in March, in eras of 400 years.
    let of_era = (day + 719_468).rem_euclid(146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted = (5 * of_year + 2) / 153;
    let of_month = of_year - (153 * shifted + 2) / 5 + 1;
    (if shifted < 10 { shifted + 3 } else { shifted - 9 }, of_month)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2024-02-28 23:59:30 UTC, a Wednesday.
    const NOW: i64 = 1_709_164_770;

    fn next(text: &str) -> i64 {
        let wait = text.parse::<Schedule>().unwrap().wait(NOW * 1_000_000).unwrap();
        NOW + i64::try_from(wait.as_secs()).unwrap()
    }

    #[test]
    fn the_next_time_is_found() {
        assert_eq!(next("every 6h"), NOW + 6 * 3600);
        assert_eq!(next("* * * * *"), NOW + 30);
        assert_eq!(next("*/15 * * * *"), NOW + 30);
        assert_eq!(next("30 2 * * *"), NOW + 30 + 2 * 3600 + 30 * 60);
        // The 29th is a Thursday; the next Sunday is 3 March.
        assert_eq!(next("0 0 29 2 *"), NOW + 30);
        assert_eq!(next("0 0 * * 7"), NOW + 30 + 3 * DAY);
        assert_eq!(next("0 0 * * 0"), next("0 0 * * 7"));
        assert_eq!(next("0 0 1 * *"), NOW + 30 + DAY);
        assert_eq!(next("0 0 2 * 5"), NOW + 30 + DAY, "either will do");
        assert_eq!(next("0 8-10/2,12 * * *"), NOW + 30 + 8 * 3600);
    }

    #[test]
    fn what_is_no_schedule_is_refused() {
        for text in ["", "every", "every 0s", "every soon", "* * * *", "60 * * * *", "0 0 31 2 *"]
            .into_iter()
            .chain(["*/0 * * * *", "5-1 * * * *", "a * * * *", "-1 * * * *"])
        {
            assert!(text.parse::<Schedule>().is_err(), "{text}");
        }
    }
}
