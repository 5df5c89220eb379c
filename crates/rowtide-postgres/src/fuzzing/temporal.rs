//! Dates and times over the whole range that the server has, in both forms.

use super::Input;
use super::values::agreed;
use crate::types::Kind;

const DAY: i64 = 86_400_000_000;
/// 4714-11-24 BC and 294276-12-31, in microseconds since 2000.
const TIMESTAMPS: (i64, i64) = (-211_813_488_000_000_000, 9_223_371_331_200_000_000);
/// 4714-11-24 BC and 5874897-12-31, in days since 2000.
const DATES: (i64, i64) = (-2_451_545, 2_145_031_949);
const DAYS_TO_2000: i64 = 10_957;

/// A date, a time or an instant: both forms are one value, or unrepresentable in both.
pub fn temporal(bytes: &[u8]) {
    let mut input = Input(bytes);
    let code = input.u8();
    let number = i64::from_be_bytes(input.u64().to_be_bytes());
    let within = |(low, high): (i64, i64)| {
        let (low, high) = (i128::from(low), i128::from(high));
        i64::try_from(low + i128::from(number).rem_euclid(high - low)).unwrap_or(0)
    };
    match code % 5 {
        0 => {
            let days = within(DATES);
            let (date, era) = date_text(days);
            let binary = i32::try_from(days).unwrap_or(0).to_be_bytes();
            assert!(agreed(&Kind::Date, &binary, format!("{date}{era}").as_bytes()).is_some());
        }
        1 => {
            let time = number.rem_euclid(DAY + 1);
            let text = time_text(time);
            assert!(agreed(&Kind::Time, &time.to_be_bytes(), text.as_bytes()).is_some());
        }
        2 | 3 => {
            let micros = within(TIMESTAMPS);
            let (days, time) = (micros.div_euclid(DAY), micros.rem_euclid(DAY));
            let ((date, era), time) = (date_text(days), time_text(time));
            let binary = micros.to_be_bytes();
            let plain = format!("{date} {time}{era}");
            let _ = agreed(&Kind::Timestamp, &binary, plain.as_bytes());
            let zoned = format!("{date} {time}+00{era}");
            let _ = agreed(&Kind::TimestampTz, &binary, zoned.as_bytes());
        }
        _ => {
            for (text, date, instant) in
                [("infinity", i32::MAX, i64::MAX), ("-infinity", i32::MIN, i64::MIN)]
            {
                let (date, instant) = (date.to_be_bytes(), instant.to_be_bytes());
                assert!(agreed(&Kind::Date, &date, text.as_bytes()).is_some());
                assert!(agreed(&Kind::Timestamp, &instant, text.as_bytes()).is_some());
                assert!(agreed(&Kind::TimestampTz, &instant, text.as_bytes()).is_some());
            }
        }
    }
}

/// A day counted from 2000 as the server prints it, and the suffix of its era.
fn date_text(days: i64) -> (String, &'static str) {
    let z = days + DAYS_TO_2000 + 719_468;
    let (era, day_of_era) = (z.div_euclid(146_097), z.rem_euclid(146_097));
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    if year <= 0 {
        return (format!("{:04}-{month:02}-{day:02}", 1 - year), " BC");
    }
    (format!("{year:04}-{month:02}-{day:02}"), "")
}

fn time_text(micros: i64) -> String {
    let (seconds, rest) = (micros / 1_000_000, micros % 1_000_000);
    let fraction = format!(".{rest:06}");
    let fraction = fraction.trim_end_matches('0').trim_end_matches('.');
    format!("{:02}:{:02}:{:02}{fraction}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}
