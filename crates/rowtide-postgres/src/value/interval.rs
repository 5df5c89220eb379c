//! Intervals: months, days and microseconds, which are three things and never one.
//!
//! Arrow counts nanoseconds where PostgreSQL counts microseconds, so its largest intervals (292
//! years written as hours) and the infinite ones of version 17 do not fit.

use arrow_buffer::IntervalMonthDayNano;

use super::{Decoded, ValueError, fixed};

const BAD: ValueError = ValueError::Malformed("it is not an interval in PostgreSQL's form");
const TOO_LONG: ValueError =
    ValueError::Unrepresentable("its hours are more than nanoseconds can count, or infinite");

const SECOND: i64 = 1_000_000;

/// The binary form: microseconds, days, months.
pub(super) fn from_binary(bytes: &[u8]) -> Decoded<IntervalMonthDayNano> {
    let bytes: [u8; 16] = fixed(bytes)?;
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = bytes;
    let micros = i64::from_be_bytes([a, b, c, d, e, f, g, h]);
    let days = i32::from_be_bytes([i, j, k, l]);
    let months = i32::from_be_bytes([m, n, o, p]);
    build(months, days, micros)
}

/// The text form under `intervalstyle = postgres`: `1 year -2 mons +3 days -04:05:06.7`.
pub(super) fn from_text(text: &[u8]) -> Decoded<IntervalMonthDayNano> {
    let text = std::str::from_utf8(text).map_err(|_| BAD)?;
    if text == "infinity" || text == "-infinity" {
        return Err(TOO_LONG);
    }
    let (mut months, mut days, mut micros) = (0_i32, 0_i32, 0_i64);
    let mut words = text.split(' ');
    while let Some(word) = words.next() {
        if word.contains(':') {
            micros = clock(word)?;
            continue;
        }
        let count: i32 = word.parse().map_err(|_| BAD)?;
        match words.next().ok_or(BAD)? {
            "year" | "years" => {
                let years = count.checked_mul(12).ok_or(BAD)?;
                months = months.checked_add(years).ok_or(BAD)?;
            }
            "mon" | "mons" => months = months.checked_add(count).ok_or(BAD)?,
            "day" | "days" => days = count,
            _ => return Err(BAD),
        }
    }
    build(months, days, micros)
}

fn build(months: i32, days: i32, micros: i64) -> Decoded<IntervalMonthDayNano> {
    let infinite = [i32::MAX, i32::MIN].contains(&months) && [i32::MAX, i32::MIN].contains(&days);
    let nanos = micros.checked_mul(1000).filter(|_| !infinite).ok_or(TOO_LONG)?;
    Ok(IntervalMonthDayNano::new(months, days, nanos))
}

/// `[-]hours:minutes:seconds[.fraction]` in microseconds. Hours may have many digits.
fn clock(word: &str) -> Decoded<i64> {
    let (negative, rest) = match word.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, word.strip_prefix('+').unwrap_or(word)),
    };
    let mut parts = rest.splitn(3, ':');
    let mut next = || parts.next().ok_or(BAD);
    let (hours, minutes, seconds) = (digits(next()?)?, digits(next()?)?, next()?);
    let (whole, fraction) = seconds.split_once('.').unwrap_or((seconds, ""));
    if fraction.len() > 6 {
        return Err(BAD);
    }
    let scale = 10_i64.pow(6 - u32::try_from(fraction.len()).map_err(|_| BAD)?);
    let fraction = if fraction.is_empty() { 0 } else { digits(fraction)? * scale };
    // Downwards: the smallest number has no positive counterpart.
    let below = |left: i64, unit: i64, count: i64| {
        count.checked_mul(unit).and_then(|part| left.checked_sub(part))
    };
    let total = below(0, 3600 * SECOND, hours)
        .and_then(|left| below(left, 60 * SECOND, minutes))
        .and_then(|left| below(left, SECOND, digits(whole).ok()?))
        .and_then(|left| left.checked_sub(fraction))
        .ok_or(BAD)?;
    if negative { Ok(total) } else { total.checked_neg().ok_or(BAD) }
}

fn digits(text: &str) -> Decoded<i64> {
    match text.bytes().all(|byte| byte.is_ascii_digit()) {
        true => text.parse().map_err(|_| BAD),
        false => Err(BAD),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn binary(months: i32, days: i32, micros: i64) -> Decoded<IntervalMonthDayNano> {
        let parts = [&micros.to_be_bytes()[..], &days.to_be_bytes(), &months.to_be_bytes()];
        from_binary(&parts.concat())
    }

    #[test]
    fn both_forms_agree() {
        for (text, months, days, micros) in [
            ("00:00:00", 0, 0, 0),
            ("1 year 2 mons 3 days 04:05:06.789", 14, 3, 14_706_789_000),
            ("-1 years -2 mons +3 days -04:05:06", -14, 3, -14_706_000_000),
            ("1 mon", 1, 0, 0),
            ("-30 days", 0, -30, 0),
            ("2400000:00:00.000001", 0, 0, 8_640_000_000_000_001),
            ("-00:00:00.5", 0, 0, -500_000),
        ] {
            let expected = IntervalMonthDayNano::new(months, days, micros * 1000);
            assert_eq!(from_text(text.as_bytes()), Ok(expected), "{text}");
            assert_eq!(binary(months, days, micros), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        assert_eq!(binary(0, 0, i64::MAX / 1000 + 1), Err(TOO_LONG));
        assert_eq!(binary(i32::MAX, i32::MAX, i64::MAX), Err(TOO_LONG));
        assert_eq!(from_text(b"2562047788:00:54.775807"), Err(TOO_LONG));
        assert_eq!(from_text(b"infinity"), Err(TOO_LONG));
        for text in ["", "1", "1 fortnight", "1:2", "1:2:3.1234567", "x:1:1", "1 day 2 parsecs"] {
            assert!(from_text(text.as_bytes()).is_err(), "{text}");
        }
    }
}
