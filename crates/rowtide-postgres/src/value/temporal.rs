//! Dates and times: from PostgreSQL's counts since 2000 or from ISO text, to Arrow's counts since
//! 1970.
//!
//! Infinity becomes the largest value, minus infinity its negative (not the smallest value): this
//! is what DuckDB reads as infinity.

use super::{Decoded, ValueError, fixed};
use crate::protocol::pgoutput::EPOCH_SHIFT;

const DAY: i64 = 86_400_000_000;
const DAYS_TO_2000: i32 = 10_957;
const BAD: ValueError = ValueError::Malformed("it is not a date or time in ISO form");
const OUT_OF_RANGE: ValueError =
    ValueError::Unrepresentable("it lies beyond what microseconds since 1970 can count");

pub(super) fn date_from_binary(bytes: &[u8]) -> Decoded<i32> {
    match i32::from_be_bytes(fixed(bytes)?) {
        i32::MAX => Ok(i32::MAX),
        i32::MIN => Ok(-i32::MAX),
        days => days.checked_add(DAYS_TO_2000).ok_or(OUT_OF_RANGE),
    }
}

pub(super) fn timestamp_from_binary(bytes: &[u8]) -> Decoded<i64> {
    match i64::from_be_bytes(fixed(bytes)?) {
        i64::MAX => Ok(i64::MAX),
        i64::MIN => Ok(-i64::MAX),
        micros => in_range(micros.checked_add(EPOCH_SHIFT)),
    }
}

pub(super) fn time_from_binary(bytes: &[u8]) -> Decoded<i64> {
    match i64::from_be_bytes(fixed(bytes)?) {
        micros @ 0..=DAY => Ok(micros),
        _ => Err(ValueError::Malformed("it is not a time of day")),
    }
}

fn in_range(micros: Option<i64>) -> Decoded<i64> {
    micros.filter(|micros| *micros < i64::MAX && *micros > -i64::MAX).ok_or(OUT_OF_RANGE)
}

pub(super) fn date_from_text(text: &[u8]) -> Decoded<i32> {
    match text {
        b"infinity" => return Ok(i32::MAX),
        b"-infinity" => return Ok(-i32::MAX),
        _ => {}
    }
    let (text, before_christ) = era(text);
    let mut reader = Reader(text);
    let days = reader.date(before_christ)?;
    reader.end()?;
    i32::try_from(days).map_err(|_| OUT_OF_RANGE)
}

/// `zoned`: the text ends with an offset, which is zero because the session's time zone is UTC.
pub(super) fn timestamp_from_text(text: &[u8], zoned: bool) -> Decoded<i64> {
    match text {
        b"infinity" => return Ok(i64::MAX),
        b"-infinity" => return Ok(-i64::MAX),
        _ => {}
    }
    let (text, before_christ) = era(text);
    let mut reader = Reader(text);
    let days = reader.date(before_christ)?;
    reader.expect(b' ')?;
    let mut time = reader.time()?;
    if zoned {
        time -= reader.offset()?;
    }
    reader.end()?;
    in_range(days.checked_mul(DAY).and_then(|micros| micros.checked_add(time)))
}

pub(super) fn time_from_text(text: &[u8]) -> Decoded<i64> {
    let mut reader = Reader(text);
    let time = reader.time()?;
    reader.end()?;
    if time > DAY { Err(BAD) } else { Ok(time) }
}

/// The [packed](rowtide_core::ext::TIMETZ) form of microseconds since midnight, and seconds west.
pub(super) fn timetz_from_binary(bytes: &[u8]) -> Decoded<[u8; 8]> {
    let [a, b, c, d, e, f, g, h, i, j, k, l] = fixed(bytes)?;
    let time = time_from_binary(&[a, b, c, d, e, f, g, h])?;
    timetz(time, -i64::from(i32::from_be_bytes([i, j, k, l])))
}

/// The same of `12:34:56.7+05:30`.
pub(super) fn timetz_from_text(text: &[u8]) -> Decoded<[u8; 8]> {
    let mut reader = Reader(text);
    let time = reader.time()?;
    let east = reader.offset()? / 1_000_000;
    reader.end()?;
    timetz(time, east)
}

/// The largest offset, 15:59:59.
const MAX_OFFSET: i64 = 16 * 3600 - 1;

fn timetz(time: i64, east: i64) -> Decoded<[u8; 8]> {
    if time > DAY || !(-MAX_OFFSET..=MAX_OFFSET).contains(&east) {
        return Err(BAD);
    }
    Ok((time << 24 | (MAX_OFFSET - east)).to_le_bytes())
}

fn era(text: &[u8]) -> (&[u8], bool) {
    match text.strip_suffix(b" BC") {
        Some(rest) => (rest, true),
        None => (text, false),
    }
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    /// A run of at least `least` digits.
    fn number(&mut self, least: usize) -> Decoded<i64> {
        let len = self.0.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if len < least || len > 9 {
            return Err(BAD);
        }
        let (digits, rest) = self.0.split_at(len);
        self.0 = rest;
        Ok(digits.iter().fold(0, |value, digit| value * 10 + i64::from(digit - b'0')))
    }

    fn expect(&mut self, byte: u8) -> Decoded<()> {
        if self.take(byte) { Ok(()) } else { Err(BAD) }
    }

    fn take(&mut self, byte: u8) -> bool {
        match self.0.split_first() {
            Some((first, rest)) if *first == byte => {
                self.0 = rest;
                true
            }
            _ => false,
        }
    }

    fn end(&self) -> Decoded<()> {
        if self.0.is_empty() { Ok(()) } else { Err(BAD) }
    }

    /// Days since 1970 in the proleptic Gregorian calendar.
    fn date(&mut self, before_christ: bool) -> Decoded<i64> {
        let year = self.number(4)?;
        self.expect(b'-')?;
        let month = self.number(2)?;
        self.expect(b'-')?;
        let day = self.number(2)?;
        if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
            return Err(BAD);
        }
        Ok(days_from_civil(if before_christ { 1 - year } else { year }, month, day))
    }

    /// Microseconds since midnight.
    fn time(&mut self) -> Decoded<i64> {
        let hours = self.number(2)?;
        self.expect(b':')?;
        let minutes = self.number(2)?;
        self.expect(b':')?;
        let seconds = self.number(2)?;
        if hours > 24 || minutes > 59 || seconds > 60 {
            return Err(BAD);
        }
        let mut micros = 0;
        if self.take(b'.') {
            let before = self.0.len();
            micros = self.number(1)?;
            for _ in before - self.0.len()..6 {
                micros *= 10;
            }
            if micros > 999_999 {
                return Err(BAD);
            }
        }
        Ok(((hours * 60 + minutes) * 60 + seconds) * 1_000_000 + micros)
    }

    /// `+HH`, `+HH:MM` or `+HH:MM:SS`, in microseconds.
    fn offset(&mut self) -> Decoded<i64> {
        let sign = if self.take(b'-') {
            -1
        } else {
            self.expect(b'+')?;
            1
        };
        let mut seconds = self.number(2)? * 3600;
        for unit in [60, 1] {
            if self.take(b':') {
                seconds += self.number(2)? * unit;
            }
        }
        Ok(sign * seconds * 1_000_000)
    }
}

/// Days since 1970 of a civil date, by counting in eras of 400 years that begin in March.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The inverse of [`days_from_civil`].
    fn civil(days: i64) -> (i64, i64, i64) {
        let z = days + 719_468;
        let era = z.div_euclid(146_097);
        let doe = z.rem_euclid(146_097);
        let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
        let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
        let mp = (5 * doy + 2) / 153;
        let month = if mp < 10 { mp + 3 } else { mp - 9 };
        (yoe + era * 400 + i64::from(month <= 2), month, doy - (153 * mp + 2) / 5 + 1)
    }

    fn date_text(days: i64) -> (String, &'static str) {
        let (year, month, day) = civil(days);
        match year {
            1.. => (format!("{year:04}-{month:02}-{day:02}"), ""),
            _ => (format!("{:04}-{month:02}-{day:02}", 1 - year), " BC"),
        }
    }

    proptest! {
        #[test]
        fn dates_agree(days in -2_451_545_i32..2_145_031_949) {
            let (date, era) = date_text(i64::from(days) + i64::from(DAYS_TO_2000));
            let from_text = date_from_text(format!("{date}{era}").as_bytes()).unwrap();
            prop_assert_eq!(from_text, date_from_binary(&days.to_be_bytes()).unwrap());
        }

        #[test]
        fn timestamps_agree(micros in -211_813_488_000_000_000_i64..9_223_371_331_200_000_000) {
            let since_1970 = i128::from(micros) + i128::from(EPOCH_SHIFT);
            let days = i64::try_from(since_1970.div_euclid(i128::from(DAY))).unwrap();
            let time = i64::try_from(since_1970.rem_euclid(i128::from(DAY))).unwrap();
            let (date, era) = date_text(days);
            let (s, us) = (time / 1_000_000, time % 1_000_000);
            let clock = format!("{:02}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60);
            let fraction = format!(".{us:06}");
            let fraction = fraction.trim_end_matches('0').trim_end_matches('.');
            let binary = timestamp_from_binary(&micros.to_be_bytes());
            let plain = format!("{date} {clock}{fraction}{era}");
            prop_assert_eq!(timestamp_from_text(plain.as_bytes(), false), binary);
            let zoned = format!("{date} {clock}{fraction}+00{era}");
            prop_assert_eq!(timestamp_from_text(zoned.as_bytes(), true), binary);
            prop_assert_eq!(
                time_from_text(format!("{clock}{fraction}").as_bytes()),
                time_from_binary(&time.to_be_bytes())
            );
        }

        #[test]
        fn times_with_offsets_agree(time in 0..=DAY, west in -57_599_i32..=57_599) {
            let bytes = [time.to_be_bytes().as_slice(), &west.to_be_bytes()].concat();
            let (s, us, off) = (time / 1_000_000, time % 1_000_000, west.abs());
            let sign = if west > 0 { '-' } else { '+' };
            let mut text = format!("{:02}:{:02}:{:02}.{us:06}", s / 3600, s / 60 % 60, s % 60);
            text.push_str(&format!("{sign}{:02}:{:02}:{:02}", off / 3600, off / 60 % 60, off % 60));
            let binary = timetz_from_binary(&bytes).unwrap();
            prop_assert_eq!(timetz_from_text(text.as_bytes()), Ok(binary));
            let packed = i64::from_le_bytes(binary);
            prop_assert_eq!((packed >> 24, MAX_OFFSET - (packed & 0xFF_FFFF)), (time, -i64::from(west)));
        }

        #[test]
        fn nothing_panics(text in "[0-9: .+BC-]{0,30}") {
            let _ = date_from_text(text.as_bytes());
            let _ = time_from_text(text.as_bytes());
            let _ = timetz_from_text(text.as_bytes());
            let _ = timestamp_from_text(text.as_bytes(), true);
        }
    }

    #[test]
    fn edges_keep_their_meaning() {
        assert_eq!(date_from_text(b"1970-01-01"), Ok(0));
        assert_eq!(date_from_text(b"infinity"), date_from_binary(&i32::MAX.to_be_bytes()));
        assert_eq!(date_from_text(b"-infinity"), date_from_binary(&i32::MIN.to_be_bytes()));
        assert_eq!(date_from_binary(&i32::MIN.to_be_bytes()), Ok(-i32::MAX));
        assert_eq!(timestamp_from_binary(&i64::MIN.to_be_bytes()), Ok(-i64::MAX));
        assert_eq!(time_from_text(b"24:00:00"), Ok(DAY));
        assert_eq!(date_from_text(b"0044-03-15 BC"), Ok(-735_160));
        assert_eq!(timestamp_from_text(b"294276-12-31 23:59:59.999999", false), Err(OUT_OF_RANGE));
    }
}
