//! Values of keys, as every database reads them alike.

use arrow_schema::{DataType, TimeUnit};

use crate::{Column, ext};

/// What a bound's value is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Boolean,
    /// A whole number from the first to the last.
    Whole(i128, i128),
    /// Digits in all, and behind the point.
    Decimal(u8, u8),
    Text,
    Bytes,
    Uuid,
    Date,
    Time,
    /// With an offset, or without.
    Timestamp(bool),
}

impl Kind {
    /// What the values of `column` are; `None` if their order is not the same everywhere.
    pub(super) fn of(column: &Column) -> Option<Self> {
        Some(match (ext::name_of(&column.field), column.field.data_type()) {
            (Some(ext::UUID), DataType::FixedSizeBinary(16)) => Self::Uuid,
            (Some(_), _) => return None,
            (None, DataType::Boolean) => Self::Boolean,
            (None, DataType::Int16) => Self::Whole(i16::MIN.into(), i16::MAX.into()),
            (None, DataType::Int32) => Self::Whole(i32::MIN.into(), i32::MAX.into()),
            (None, DataType::Int64) => Self::Whole(i64::MIN.into(), i64::MAX.into()),
            (None, DataType::UInt32) => Self::Whole(0, u32::MAX.into()),
            (None, DataType::UInt64) => Self::Whole(0, u64::MAX.into()),
            (None, DataType::Decimal128(precision, scale)) => {
                Self::Decimal(*precision, u8::try_from(*scale).ok()?)
            }
            (None, DataType::Utf8) if is_text(&column.native_type) => Self::Text,
            (None, DataType::Binary) => Self::Bytes,
            (None, DataType::Date32) => Self::Date,
            (None, DataType::Time64(TimeUnit::Microsecond)) => Self::Time,
            (None, DataType::Timestamp(TimeUnit::Microsecond, zone)) => {
                Self::Timestamp(zone.is_some())
            }
            _ => return None,
        })
    }

    /// How such a value is written.
    pub(super) const fn example(self) -> &'static str {
        match self {
            Self::Boolean => "true or false",
            Self::Whole(..) => "a whole number that the column can hold",
            Self::Decimal(..) => "a number with no more digits than the column has",
            Self::Text => "text, in single quotes where it is not plain",
            Self::Bytes => "\\x and hexadecimal digits",
            Self::Uuid => "12345678-1234-1234-1234-123456789abc",
            Self::Date => "2026-01-31",
            Self::Time => "23:59:59.5",
            Self::Timestamp(false) => "2026-01-31 23:59:59.5",
            Self::Timestamp(true) => "2026-01-31 23:59:59.5+00",
        }
    }

    /// The value that `text` is, in the form that every database reads alike.
    pub(super) fn read(self, text: &str) -> Option<String> {
        match self {
            Self::Boolean => match text.to_ascii_lowercase().as_str() {
                "t" | "true" => Some("true".to_owned()),
                "f" | "false" => Some("false".to_owned()),
                _ => None,
            },
            Self::Whole(least, most) => {
                let number: i128 = text.parse().ok()?;
                (least..=most).contains(&number).then(|| number.to_string())
            }
            Self::Decimal(precision, scale) => decimal(text, (precision, scale)),
            Self::Text => (!text.contains('\0')).then(|| text.to_owned()),
            Self::Bytes => {
                let digits = text.strip_prefix("\\x")?;
                let fits = digits.len() % 2 == 0 && digits.bytes().all(|c| c.is_ascii_hexdigit());
                fits.then(|| format!("\\x{}", digits.to_ascii_lowercase()))
            }
            Self::Uuid => uuid(text),
            Self::Date => date(text).then(|| text.to_owned()),
            Self::Time => time(text),
            Self::Timestamp(zoned) => timestamp(text, zoned),
        }
    }
}

/// Whether a type's values are nothing but text, all of whose characters count.
fn is_text(native: &str) -> bool {
    native == "text" || native.starts_with("character varying") || native == "name"
}

fn decimal(text: &str, (precision, scale): (u8, u8)) -> Option<String> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let all_digits = |part: &str| part.bytes().all(|c| c.is_ascii_digit());
    let fits = !(whole.is_empty() && fraction.is_empty())
        && all_digits(whole)
        && all_digits(fraction)
        && fraction.len() <= usize::from(scale)
        && whole.trim_start_matches('0').len() <= usize::from(precision.saturating_sub(scale));
    let sign = if text.starts_with('-') { "-" } else { "" };
    let whole = if whole.is_empty() { "0" } else { whole };
    let point = if fraction.is_empty() { "" } else { "." };
    fits.then(|| format!("{sign}{whole}{point}{fraction}"))
}

fn uuid(text: &str) -> Option<String> {
    let lengths = text.split('-').map(str::len);
    let known = lengths.eq([8, 4, 4, 4, 12]) || text.len() == 32;
    let digits: String = text.chars().filter(|c| *c != '-').collect();
    let fits = known && digits.len() == 32 && digits.bytes().all(|c| c.is_ascii_hexdigit());
    fits.then(|| text.to_ascii_lowercase())
}

/// The number that exactly `digits` digits are.
fn number(text: &str, digits: usize) -> Option<u32> {
    let fits = text.len() == digits && text.bytes().all(|c| c.is_ascii_digit());
    if fits { text.parse().ok() } else { None }
}

fn date(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let [year, month, day] = parts[..] else { return false };
    let numbers = (number(year, 4), number(month, 2), number(day, 2));
    let (Some(year), Some(month), Some(day)) = numbers else { return false };
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let days = match month {
        4 | 6 | 9 | 11 => 30,
        2 => 28 + u32::from(leap),
        1..=12 => 31,
        _ => 0,
    };
    year > 0 && (1..=days).contains(&day)
}

/// A time of day, with its seconds.
fn time(text: &str) -> Option<String> {
    let (clock, fraction) = match text.split_once('.') {
        Some((clock, fraction)) => (clock, Some(fraction)),
        None => (text, None),
    };
    let fraction_fits = fraction.is_none_or(|digits| {
        (1..=6).contains(&digits.len()) && digits.bytes().all(|c| c.is_ascii_digit())
    });
    let parts: Vec<Option<u32>> = clock.split(':').map(|part| number(part, 2)).collect();
    match parts[..] {
        [Some(0..24), Some(0..60)] if fraction.is_none() => Some(format!("{text}:00")),
        [Some(0..24), Some(0..60), Some(0..60)] if fraction_fits => Some(text.to_owned()),
        _ => None,
    }
}

fn timestamp(text: &str, zoned: bool) -> Option<String> {
    let day = text.get(..10).filter(|day| date(day))?;
    let rest = text.get(10..)?;
    let (clock, offset) = match (rest.strip_prefix([' ', 'T']), zoned) {
        (None, false) if rest.is_empty() => ("00:00:00", String::new()),
        (None, _) => return None,
        (Some(clock), false) => (clock, String::new()),
        (Some(clock), true) => {
            let at = clock.find(['+', '-', 'Z'])?;
            (&clock[..at], offset(&clock[at..])?)
        }
    };
    Some(format!("{day} {}{offset}", time(clock)?))
}

/// An offset from UTC with hours and minutes.
fn offset(text: &str) -> Option<String> {
    if text == "Z" {
        return Some("+00:00".to_owned());
    }
    let (sign, rest) = text.split_at_checked(1)?;
    let (hours, minutes) = rest.split_once(':').unwrap_or((rest, "00"));
    let fits = number(hours, 2)? <= 15 && number(minutes, 2)? < 60 && sign != "Z";
    fits.then(|| format!("{sign}{hours}:{minutes}"))
}
