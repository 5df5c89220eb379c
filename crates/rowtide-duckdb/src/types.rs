//! Arrow to DuckDB: which column type holds which field.
//!
//! The numbers are the same on both sides, those of infinity too: the largest 32-bit day is
//! `infinity` and its negative `-infinity`, and so for 64-bit microseconds. (The smallest number
//! of all, one below, is no date and must not be written.)

use arrow_schema::{DataType, Field, IntervalUnit, TimeUnit};
use rowtide_core::{Error, Result, ext};

/// The DuckDB type for `field`, as SQL text, spelled as DuckDB's catalog spells it.
///
/// # Errors
/// `Data` if DuckDB has no type that holds every value of it.
pub(crate) fn column_type(field: &Field) -> Result<String> {
    let name = match (ext::name_of(field), field.data_type()) {
        (Some(ext::UUID), DataType::FixedSizeBinary(16)) => "UUID",
        (Some(ext::JSON), DataType::Utf8) => "JSON",
        (_, DataType::List(item)) => return Ok(format!("{}[]", column_type(item)?)),
        (_, DataType::Decimal128(precision, scale)) => {
            return Ok(format!("DECIMAL({precision},{scale})"));
        }
        (_, DataType::Boolean) => "BOOLEAN",
        (_, DataType::Int16) => "SMALLINT",
        (_, DataType::Int32) => "INTEGER",
        (_, DataType::Int64) => "BIGINT",
        (_, DataType::UInt32) => "UINTEGER",
        (_, DataType::Float32) => "FLOAT",
        (_, DataType::Float64) => "DOUBLE",
        (_, DataType::Interval(IntervalUnit::MonthDayNano)) => "INTERVAL",
        (_, DataType::Utf8) => "VARCHAR",
        (_, DataType::Binary) => "BLOB",
        (_, DataType::Date32) => "DATE",
        (_, DataType::Time64(TimeUnit::Microsecond)) => "TIME",
        (_, DataType::Timestamp(TimeUnit::Microsecond, None)) => "TIMESTAMP",
        (_, DataType::Timestamp(TimeUnit::Microsecond, Some(_))) => "TIMESTAMP WITH TIME ZONE",
        (_, other) => {
            return Err(Error::data(format!(
                "column {:?} has the Arrow type {other}, which has no DuckDB type here",
                field.name()
            )));
        }
    };
    Ok(name.to_owned())
}

/// The digits of the integer types before the point, smallest first.
const INTEGERS: [(&str, u32); 4] =
    [("SMALLINT", 5), ("INTEGER", 10), ("UINTEGER", 10), ("BIGINT", 19)];

/// Digits in all that a DECIMAL may have.
const DECIMAL_DIGITS: u32 = 38;

/// Whether a column of type `standing` holds every value of type `wanted` as it is. Both are
/// spelled as the catalog spells them.
pub(crate) fn holds(standing: &str, wanted: &str) -> bool {
    if standing == wanted || standing == "VARCHAR" {
        return true;
    }
    let is_integer = |kind: &str| INTEGERS.iter().any(|(name, _)| *name == kind);
    match (standing, wanted) {
        ("INTEGER", "SMALLINT") | ("BIGINT", "SMALLINT" | "INTEGER" | "UINTEGER") => true,
        ("DOUBLE", "FLOAT") => true,
        _ if is_integer(standing) => false,
        _ => match (digits(standing), digits(wanted)) {
            (Some(has), Some(needs)) => has.0 >= needs.0 && has.1 >= needs.1,
            _ => false,
        },
    }
}

/// The type that holds every value of both: where possible one of the two.
pub(crate) fn common(standing: &str, wanted: &str) -> Option<String> {
    if holds(standing, wanted) {
        return Some(standing.to_owned());
    }
    if holds(wanted, standing) {
        return Some(wanted.to_owned());
    }
    let (a, b) = (digits(standing)?, digits(wanted)?);
    let (whole, scale) = (a.0.max(b.0), a.1.max(b.1));
    (whole + scale <= DECIMAL_DIGITS).then(|| format!("DECIMAL({},{scale})", whole + scale))
}

/// The digits before and after the point of an exact number type.
fn digits(kind: &str) -> Option<(u32, u32)> {
    if let Some((_, whole)) = INTEGERS.iter().find(|(name, _)| *name == kind) {
        return Some((*whole, 0));
    }
    let (precision, scale) = kind.strip_prefix("DECIMAL(")?.strip_suffix(')')?.split_once(',')?;
    let (precision, scale): (u32, u32) =
        (precision.trim().parse().ok()?, scale.trim().parse().ok()?);
    Some((precision.checked_sub(scale)?, scale))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_hold_only_what_they_do_not_change() {
        for (standing, wanted, shared) in [
            ("BIGINT", "INTEGER", Some("BIGINT")),
            ("SMALLINT", "BIGINT", Some("BIGINT")),
            ("INTEGER", "UINTEGER", Some("DECIMAL(10,0)")),
            ("DECIMAL(10,2)", "DECIMAL(10,4)", Some("DECIMAL(12,4)")),
            ("DECIMAL(10,2)", "DECIMAL(12,4)", Some("DECIMAL(12,4)")),
            ("DECIMAL(38,0)", "DECIMAL(38,10)", None),
            ("DECIMAL(18,0)", "BIGINT", Some("DECIMAL(19,0)")),
            ("DECIMAL(21,2)", "BIGINT", Some("DECIMAL(21,2)")),
            ("FLOAT", "DOUBLE", Some("DOUBLE")),
            ("DOUBLE", "BIGINT", None),
            ("DATE", "VARCHAR", Some("VARCHAR")),
            ("VARCHAR", "DATE", Some("VARCHAR")),
            ("JSON", "VARCHAR", Some("VARCHAR")),
            ("DECIMAL(10,2)[]", "DECIMAL(10,4)[]", None),
            ("TIMESTAMP", "TIMESTAMP WITH TIME ZONE", None),
        ] {
            assert_eq!(common(standing, wanted).as_deref(), shared, "{standing} {wanted}");
            assert_eq!(holds(standing, wanted), shared == Some(standing), "{standing} {wanted}");
        }
    }
}
