//! Dates and times as PostgreSQL prints them in ISO style and in UTC.

use super::number::Short;

const DAY: i64 = 86_400_000_000;

/// What minus infinity is; the largest numbers are infinity.
const FIRST_DAY: i32 = -i32::MAX;
const FIRST_MICRO: i64 = -i64::MAX;

/// Days since 1970.
pub(super) fn date(days: i32, out: &mut Vec<u8>) {
    let mut text = Short::new();
    match days {
        i32::MAX => text.add(b"infinity"),
        FIRST_DAY => text.add(b"-infinity"),
        days => {
            let year = day(i64::from(days), &mut text);
            era(year, &mut text);
        }
    }
    text.end(out);
}

/// Whether these microseconds since 1970 are no instant.
pub(super) fn is_infinite(micros: i64) -> bool {
    matches!(micros, i64::MAX | FIRST_MICRO)
}

/// Microseconds since 1970.
pub(super) fn timestamp(micros: i64, zoned: bool, out: &mut Vec<u8>) {
    let mut text = Short::new();
    match micros {
        i64::MAX => text.add(b"infinity"),
        FIRST_MICRO => text.add(b"-infinity"),
        micros => {
            let year = day(micros.div_euclid(DAY), &mut text);
            text.push(b' ');
            clock(micros.rem_euclid(DAY).unsigned_abs() * 1_000, &mut text);
            if zoned {
                text.add(b"+00");
            }
            era(year, &mut text);
        }
    }
    text.end(out);
}

/// Microseconds since midnight.
pub(super) fn time(micros: i64, out: &mut Vec<u8>) {
    let mut text = Short::new();
    clock(micros.unsigned_abs() * 1_000, &mut text);
    text.end(out);
}

/// A time of day with an offset, packed as [`ext::TIMETZ`](crate::ext::TIMETZ) says.
pub(super) fn time_with_offset(packed: &[u8], out: &mut Vec<u8>) {
    let mut bytes = [0; 8];
    bytes.iter_mut().zip(packed).for_each(|(to, from)| *to = *from);
    let packed = i64::from_le_bytes(bytes);
    let mut text = Short::new();
    clock((packed >> 24).unsigned_abs() * 1_000, &mut text);
    let east = 57_599 - (packed & 0xFF_FFFF);
    text.push(if east < 0 { b'-' } else { b'+' });
    let seconds = east.unsigned_abs();
    text.pair(seconds / 3_600);
    if seconds % 3_600 != 0 {
        text.push(b':');
        text.pair(seconds / 60 % 60);
    }
    if seconds % 60 != 0 {
        text.push(b':');
        text.pair(seconds % 60);
    }
    text.end(out);
}

/// A length of time in its three parts, in the style `postgres`.
pub(super) fn interval((months, days, nanos): (i32, i32, i64), out: &mut Vec<u8>) {
    let mut text = Short::new();
    let mut after_negative = false;
    for (number, unit) in [(months / 12, "year"), (months % 12, "mon"), (days, "day")] {
        if number == 0 {
            continue;
        }
        if !text.is_empty() {
            text.push(b' ');
        }
        match number < 0 {
            true => text.push(b'-'),
            false if after_negative => text.push(b'+'),
            false => {}
        }
        text.number(number.unsigned_abs().into());
        text.push(b' ');
        text.add(unit.as_bytes());
        if number != 1 {
            text.push(b's');
        }
        after_negative = number < 0;
    }
    if nanos != 0 || text.is_empty() {
        if !text.is_empty() {
            text.push(b' ');
        }
        match nanos < 0 {
            true => text.push(b'-'),
            false if after_negative => text.push(b'+'),
            false => {}
        }
        clock(nanos.unsigned_abs(), &mut text);
    }
    text.end(out);
}

/// Hours, however many, minutes and seconds.
fn clock(nanos: u64, text: &mut Short) {
    let seconds = nanos / 1_000_000_000;
    let hours = seconds / 3_600;
    if hours < 100 {
        text.pair(hours);
    } else {
        text.number(hours);
    }
    text.push(b':');
    text.pair(seconds / 60 % 60);
    text.push(b':');
    text.pair(seconds % 60);
    text.fraction(nanos % 1_000_000_000);
}

/// Writes the date; returns its year, where 0 is the year 1 BC.
fn day(days: i64, text: &mut Short) -> i64 {
    let (year, month, day) = civil(days);
    let shown = if year > 0 { year } else { 1 - year }.unsigned_abs();
    if shown < 10_000 {
        text.pair(shown / 100);
        text.pair(shown);
    } else {
        text.number(shown);
    }
    text.push(b'-');
    text.pair(month);
    text.push(b'-');
    text.pair(day);
    year
}

fn era(year: i64, text: &mut Short) {
    if year <= 0 {
        text.add(b" BC");
    }
}

/// The Gregorian date, counting years from March on and in eras of 400 years.
fn civil(days: i64) -> (i64, u64, u64) {
    const ERA: i64 = 146_097;
    let days = days + 719_468;
    let era = days.div_euclid(ERA);
    let of_era = u32::try_from(days.rem_euclid(ERA)).unwrap_or(0);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (era * 400 + i64::from(year) + next, month.into(), day.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn dates_are_those_of_postgresql() {
        for (days, expected) in [
            (0, "1970-01-01"),
            (-1, "1969-12-31"),
            (11_016, "2000-02-29"),
            (-719_162, "0001-01-01"),
            (-719_163, "0001-12-31 BC"),
            (-2_440_588, "4714-11-24 BC"),
            (2_932_897, "10000-01-01"),
            (2_145_042_905, "5874897-12-31"),
            (i32::MAX, "infinity"),
            (-i32::MAX, "-infinity"),
        ] {
            assert_eq!(text(|out| date(days, out)), expected);
        }
    }

    #[test]
    fn times_are_those_of_postgresql() {
        for (micros, zoned, expected) in [
            (0, true, "1970-01-01 00:00:00+00"),
            (-1, false, "1969-12-31 23:59:59.999999"),
            (1_704_067_200_120_000, true, "2024-01-01 00:00:00.12+00"),
            (-62_135_596_800_000_001, true, "0001-12-31 23:59:59.999999+00 BC"),
            (9_223_371_244_799_999_999, false, "294246-12-31 23:59:59.999999"),
            (i64::MAX, true, "infinity"),
            (-i64::MAX, false, "-infinity"),
        ] {
            assert_eq!(text(|out| timestamp(micros, zoned, out)), expected);
        }
        let packed = |micros: i64, east: i64| (micros << 24 | (57_599 - east)).to_le_bytes();
        for (micros, east, expected) in [
            (86_400_000_000, -57_599, "24:00:00-15:59:59"),
            (0, 57_599, "00:00:00+15:59:59"),
            (1, 19_800, "00:00:00.000001+05:30"),
            (43_200_500_000, 0, "12:00:00.5+00"),
            (0, -3_600, "00:00:00-01"),
            (0, 3_601, "00:00:00+01:00:01"),
        ] {
            assert_eq!(text(|out| time_with_offset(&packed(micros, east), out)), expected);
        }
    }

    /// Expected values are what PostgreSQL 15 prints.
    #[test]
    fn intervals_are_those_of_postgresql() {
        for (months, days, micros, expected) in [
            (0, 0, 0, "00:00:00"),
            (14, 3, 14_706_700_000, "1 year 2 mons 3 days 04:05:06.7"),
            (-14, 3, -1, "-1 years -2 mons +3 days -00:00:00.000001"),
            (1, -1, 1_000_000, "1 mon -1 days +00:00:01"),
            (0, 30, 0, "30 days"),
            (-1, 0, 0, "-1 mons"),
            (-12, 1, 360_000_000_000_000, "-1 years +1 day 100000:00:00"),
        ] {
            assert_eq!(text(|out| interval((months, days, micros * 1_000), out)), expected);
        }
    }
}
