//! What differs between two rows, in words that tell why it matters.

use std::fmt;

use arrow_schema::DataType;
use rowtide_core::TableSchema;
use serde::{Deserialize, Serialize};

/// The text of each value of a row, `None` for NULL, by column.
pub(crate) type Texts = Vec<Option<String>>;

/// How a row differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The destination lacks it.
    Missing,
    /// The destination lacks it, or has it marked as deleted (soft deletes).
    MissingOrMarked,
    /// The source has no such row.
    Extra,
    /// Columns differ.
    Changed,
    /// It stands at both sides, but not equally often.
    Repeated,
}

/// How the values of a column differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Nature {
    /// They are different values.
    Value,
    /// NULL at the destination only.
    Lost,
    /// NULL at the source only.
    Invented,
    /// NULL on one side, nothing in it on the other.
    NullOrEmpty,
    /// -0 on one side and 0 on the other: equal as numbers.
    ZeroSign,
    /// Equal but for zeros at the end.
    TrailingZeros,
    /// Equal but for white space at the end.
    TrailingBlanks,
}

impl Kind {
    /// The kind as a word for the ledger.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::MissingOrMarked => "missing_or_marked",
            Self::Extra => "extra",
            Self::Changed => "changed",
            Self::Repeated => "repeated",
        }
    }
}

impl fmt::Display for Nature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Value => "value differs",
            Self::Lost => "NULL at the destination",
            Self::Invented => "NULL at the source",
            Self::NullOrEmpty => "NULL and empty",
            Self::ZeroSign => "-0 and 0, equal as numbers",
            Self::TrailingZeros => "zeros at the end",
            Self::TrailingBlanks => "white space at the end",
        })
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Missing => "missing",
            Self::MissingOrMarked => "missing, or marked as deleted",
            Self::Extra => "extra",
            Self::Changed => "changed",
            Self::Repeated => "repeated",
        })
    }
}

/// A column's name and its value as text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shown {
    /// The column.
    pub column: String,
    /// Its value, `None` for NULL.
    pub value: Option<String>,
}

/// A column that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ColumnDifference {
    /// Its name.
    pub column: String,
    /// How it differs.
    pub nature: Nature,
    /// The value at the source, if values are shown; `None` for NULL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// The value at the destination, if values are shown; `None` for NULL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination: Option<String>,
}

/// A row that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// Names the row without showing its key: a hash of it.
    pub row: String,
    /// How it differs.
    pub kind: Kind,
    /// Its key, if values are shown; without a key the whole row.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub key: Vec<Shown>,
    /// How many rows the source holds.
    pub at_source: usize,
    /// How many rows the destination holds.
    pub at_destination: usize,
    /// The columns that differ, if it stands at both sides.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub columns: Vec<ColumnDifference>,
}

/// The columns in which two rows differ.
pub(crate) fn columns(
    table: &TableSchema,
    (source, destination): (&Texts, &Texts),
    show: bool,
) -> Vec<ColumnDifference> {
    let values = source.iter().zip(destination);
    let differing = table.columns.iter().zip(values).filter(|(_, (one, other))| one != other);
    let difference = |(column, (one, other)): (&rowtide_core::Column, _)| {
        let (one, other): (&Option<String>, &Option<String>) = (one, other);
        ColumnDifference {
            column: column.name().to_owned(),
            nature: nature(column.field.data_type(), (one.as_deref(), other.as_deref())),
            source: one.clone().filter(|_| show).map(|text| readable(column, text)),
            destination: other.clone().filter(|_| show).map(|text| readable(column, text)),
        }
    };
    differing.map(difference).collect()
}

/// Why two texts of one column's values are not the same.
fn nature(kind: &DataType, (source, destination): (Option<&str>, Option<&str>)) -> Nature {
    let (one, other) = match (source, destination) {
        (Some(one), Some(other)) => (one, other),
        (Some(""), None) | (None, Some("")) => return Nature::NullOrEmpty,
        (Some(_), None) => return Nature::Lost,
        (None, _) => return Nature::Invented,
    };
    if matches!(kind, DataType::Float32 | DataType::Float64) {
        // Shifted out: the sign.
        let width = if *kind == DataType::Float32 { 33 } else { 1 };
        let is_zero = |text: &str| {
            u64::from_str_radix(text, 16).is_ok_and(|bits| bits.wrapping_shl(width) == 0)
        };
        return if is_zero(one) && is_zero(other) { Nature::ZeroSign } else { Nature::Value };
    }
    let number = |text: &str| {
        let digits = text.strip_prefix('-').unwrap_or(text);
        text.contains('.') && digits.chars().all(|c| c.is_ascii_digit() || c == '.')
    };
    let short = |text: &str| match number(text) {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text.to_owned(),
    };
    if short(one) == short(other) {
        return Nature::TrailingZeros;
    }
    match one.trim_end() == other.trim_end() {
        true => Nature::TrailingBlanks,
        false => Nature::Value,
    }
}

/// The columns `which` of a row, for those who may see values.
pub(crate) fn shown(table: &TableSchema, texts: &Texts, which: &[usize]) -> Vec<Shown> {
    let column = |&at: &usize| {
        let column = table.columns.get(at)?;
        let value = texts.get(at)?.clone().map(|text| readable(column, text));
        Some(Shown { column: column.name().to_owned(), value })
    };
    which.iter().filter_map(column).collect()
}

/// The longest value that is shown whole, in characters.
const LONGEST_SHOWN: usize = 500;

/// A value's text for people: a float's is a number instead of its bits, and a long one is cut.
fn readable(column: &rowtide_core::Column, text: String) -> String {
    if text.len() > LONGEST_SHOWN {
        let cut: String = text.chars().take(LONGEST_SHOWN).collect();
        return format!("{cut}… ({} bytes)", text.len());
    }
    match column.field.data_type() {
        DataType::Float64 => match u64::from_str_radix(&text, 16) {
            Ok(bits) => format!("{:?}", f64::from_bits(bits)),
            Err(_) => text,
        },
        DataType::Float32 => match u32::from_str_radix(&text, 16) {
            Ok(bits) => format!("{:?}", f32::from_bits(bits)),
            Err(_) => text,
        },
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nature_of_a_difference_is_told() {
        let text = |one, other| nature(&DataType::Utf8, (one, other));
        assert_eq!(text(Some("a"), Some("b")), Nature::Value);
        assert_eq!(text(Some(""), None), Nature::NullOrEmpty);
        assert_eq!(text(None, Some("")), Nature::NullOrEmpty);
        assert_eq!(text(Some("a"), None), Nature::Lost);
        assert_eq!(text(None, Some("a")), Nature::Invented);
        assert_eq!(text(Some("1.50"), Some("1.5")), Nature::TrailingZeros);
        assert_eq!(text(Some("1.00"), Some("1")), Nature::TrailingZeros);
        assert_eq!(text(Some("100"), Some("1")), Nature::Value);
        assert_eq!(text(Some("a "), Some("a")), Nature::TrailingBlanks);
        let float = |one: f64, other: f64| {
            let (one, other) =
                (format!("{:016x}", one.to_bits()), format!("{:016x}", other.to_bits()));
            nature(&DataType::Float64, (Some(&one), Some(&other)))
        };
        assert_eq!(float(-0.0, 0.0), Nature::ZeroSign);
        assert_eq!(float(1.0, 0.0), Nature::Value);
        let float = |one: f32, other: f32| {
            let (one, other) =
                (format!("{:08x}", one.to_bits()), format!("{:08x}", other.to_bits()));
            nature(&DataType::Float32, (Some(&one), Some(&other)))
        };
        assert_eq!(float(-0.0, 0.0), Nature::ZeroSign);
        assert_eq!(float(-1.0, 1.0), Nature::Value);
    }
}
