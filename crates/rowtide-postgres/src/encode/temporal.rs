//! Dates and times, from Arrow's counts since 1970 to PostgreSQL's since 2000, or to ISO text.
//!
//! The largest value is infinity and its negative minus infinity, as `value` makes them. What
//! lies outside the server's range is refused here, before a shift could make it an infinity.

use std::fmt::Write;
use std::ops::Range;

use bytes::BytesMut;

use super::{Encoded, Refusal};
use crate::protocol::pgoutput::EPOCH_SHIFT;

const SECOND: i64 = 1_000_000;
const DAY: i64 = 86_400 * SECOND;
const DAYS_TO_2000: i64 = 10_957;
/// From 4714-11-24 BC to 5874897-12-31, since 2000.
const DATES: Range<i64> = -2_451_545..2_145_031_949;
/// From 4714-11-24 BC to the end of 294276, since 2000.
const TIMESTAMPS: Range<i64> = -211_813_488_000_000_000..9_223_371_331_200_000_000;
const OUT_OF_RANGE: Refusal = Refusal("it lies outside the range of PostgreSQL's type");

/// The binary form of a date.
#[inline]
pub(super) fn date(days: i32) -> Encoded<i32> {
    match days {
        i32::MAX => Ok(i32::MAX),
        _ if days == -i32::MAX => Ok(i32::MIN),
        _ => {
            let days = i64::from(days) - DAYS_TO_2000;
            let days = Some(days).filter(|days| DATES.contains(days));
            days.and_then(|days| i32::try_from(days).ok()).ok_or(OUT_OF_RANGE)
        }
    }
}

/// The binary form of a timestamp, with or without time zone.
#[inline]
pub(super) fn timestamp(micros: i64) -> Encoded<i64> {
    match micros {
        i64::MAX => Ok(i64::MAX),
        _ if micros == -i64::MAX => Ok(i64::MIN),
        _ => {
            let micros = micros.checked_sub(EPOCH_SHIFT);
            micros.filter(|micros| TIMESTAMPS.contains(micros)).ok_or(OUT_OF_RANGE)
        }
    }
}

/// The binary form of a time of day, which may be 24:00.
#[inline]
pub(super) fn time(micros: i64) -> Encoded<i64> {
    if (0..=DAY).contains(&micros) { Ok(micros) } else { Err(OUT_OF_RANGE) }
}

pub(super) fn print_date(days: i32, out: &mut BytesMut) -> Encoded<()> {
    match date(days)? {
        i32::MAX => out.extend_from_slice(b"infinity"),
        i32::MIN => out.extend_from_slice(b"-infinity"),
        _ => {
            let era = print_day(i64::from(days), out);
            out.extend_from_slice(era);
        }
    }
    Ok(())
}

pub(super) fn print_timestamp(micros: i64, zoned: bool, out: &mut BytesMut) -> Encoded<()> {
    match timestamp(micros)? {
        i64::MAX => out.extend_from_slice(b"infinity"),
        i64::MIN => out.extend_from_slice(b"-infinity"),
        _ => {
            let era = print_day(micros.div_euclid(DAY), out);
            out.extend_from_slice(b" ");
            print_clock(micros.rem_euclid(DAY), out);
            if zoned {
                out.extend_from_slice(b"+00");
            }
            out.extend_from_slice(era);
        }
    }
    Ok(())
}

pub(super) fn print_time(micros: i64, out: &mut BytesMut) -> Encoded<()> {
    print_clock(time(micros)?, out);
    Ok(())
}

fn print_clock(micros: i64, out: &mut BytesMut) {
    let seconds = micros / SECOND;
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    print(out, format_args!("{hours:02}:{minutes:02}:{:02}", seconds % 60));
    if micros % SECOND != 0 {
        print(out, format_args!(".{:06}", micros % SECOND));
    }
}

/// Prints a day; returns what stands at the very end if it lies before Christ.
fn print_day(days: i64, out: &mut BytesMut) -> &'static [u8] {
    let (year, month, day) = civil(days);
    let (year, era): (_, &[u8]) = if year > 0 { (year, b"") } else { (1 - year, b" BC") };
    print(out, format_args!("{year:04}-{month:02}-{day:02}"));
    era
}

/// Writing to a growing buffer does not fail.
pub(super) fn print(out: &mut BytesMut, arguments: std::fmt::Arguments<'_>) {
    let _ = out.write_fmt(arguments);
}

/// Year, month and day in the proleptic Gregorian calendar, by counting in eras of 400 years
/// that begin in March.
fn civil(days: i64) -> (i64, i64, i64) {
    let since_march_0 = days + 719_468;
    let era = since_march_0.div_euclid(146_097);
    let day_of_era = since_march_0.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}
