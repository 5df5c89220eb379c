//! Arrow to DuckDB: which column type holds which field.
//!
//! The numbers are the same on both sides, those of infinity too: the largest 32-bit day is
//! `infinity` and its negative `-infinity`, and so for 64-bit microseconds. (The smallest number
//! of all, one below, is no date and must not be written.)

use std::sync::Arc;

use arrow_schema::{DataType, Field, Fields, IntervalUnit, Schema, TimeUnit};
use rowtide_core::{Error, Result, ext};

use crate::quote::Ident;

/// The DuckDB type for `field`, as SQL text, spelled as DuckDB's catalog spells it.
///
/// # Errors
/// `Data` if DuckDB has no type that holds every value of it.
pub fn column_type(field: &Field) -> Result<String> {
    let name = match (ext::name_of(field), field.data_type()) {
        (Some(ext::UUID), DataType::FixedSizeBinary(16)) => "UUID",
        (Some(ext::JSON), DataType::Utf8) => "JSON",
        (Some(ext::BIT), DataType::Binary) => "BIT",
        (Some(ext::TIMETZ), DataType::FixedSizeBinary(8)) => "TIME WITH TIME ZONE",
        (_, DataType::List(item)) => return Ok(format!("{}[]", column_type(item)?)),
        (_, DataType::Struct(fields)) if !fields.is_empty() => {
            let one =
                |field: &Arc<Field>| Ok(format!("{} {}", Ident(field.name()), column_type(field)?));
            let fields = fields.iter().map(one).collect::<Result<Vec<_>>>()?;
            return Ok(format!("STRUCT({})", fields.join(", ")));
        }
        (_, DataType::Decimal128(precision, scale)) => {
            return Ok(format!("DECIMAL({precision},{scale})"));
        }
        (_, DataType::Boolean) => "BOOLEAN",
        (_, DataType::Int16) => "SMALLINT",
        (_, DataType::Int32) => "INTEGER",
        (_, DataType::Int64) => "BIGINT",
        (_, DataType::UInt32) => "UINTEGER",
        (_, DataType::UInt64) => "UBIGINT",
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

/// The columns of `schema` as DuckDB takes them in: extension types under the names that it knows
/// them by. Their values are the same.
pub(crate) fn known_here(schema: &Schema) -> Schema {
    Schema::new(schema.fields().iter().map(|field| Arc::new(known(field))).collect::<Fields>())
}

fn known(field: &Field) -> Field {
    let own = match ext::name_of(field) {
        Some(ext::BIT) => "bit",
        Some(ext::TIMETZ) => "time_tz",
        _ => "",
    };
    if !own.is_empty() {
        let described = format!("{{\"type_name\":\"{own}\",\"vendor_name\":\"DuckDB\"}}");
        let metadata = [(ext::NAME_KEY, "arrow.opaque"), (ext::METADATA_KEY, &described)];
        let metadata = metadata.map(|(key, value)| (key.to_owned(), value.to_owned()));
        return field.clone().with_metadata(metadata.into());
    }
    match field.data_type() {
        DataType::List(item) => field.clone().with_data_type(DataType::List(Arc::new(known(item)))),
        DataType::Struct(fields) => {
            let fields = fields.iter().map(|field| Arc::new(known(field))).collect();
            field.clone().with_data_type(DataType::Struct(fields))
        }
        _ => field.clone(),
    }
}

/// The digits of the integer types before the point, smallest first.
const INTEGERS: [(&str, u32); 5] =
    [("SMALLINT", 5), ("INTEGER", 10), ("UINTEGER", 10), ("BIGINT", 19), ("UBIGINT", 20)];

/// Digits in all that a DECIMAL may have.
const DECIMAL_DIGITS: u32 = 38;

/// Whether a column of type `standing` holds every value of type `wanted` as it is. Both are
/// spelled as the catalog spells them.
pub(crate) fn holds(standing: &str, wanted: &str) -> bool {
    if standing == wanted || standing == "VARCHAR" || words(standing) == words(wanted) {
        return true;
    }
    let is_integer = |kind: &str| INTEGERS.iter().any(|(name, _)| *name == kind);
    match (standing, wanted) {
        ("INTEGER", "SMALLINT") | ("BIGINT", "SMALLINT" | "INTEGER" | "UINTEGER") => true,
        ("UBIGINT", "UINTEGER") => true,
        ("DOUBLE", "FLOAT") => true,
        _ if is_integer(standing) => false,
        _ => match (digits(standing), digits(wanted)) {
            (Some(has), Some(needs)) => has.0 >= needs.0 && has.1 >= needs.1,
            _ => false,
        },
    }
}

/// The words of a type, without quotes: the catalog leaves out those around the names in a STRUCT
/// where it can.
fn words(kind: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quoted = false;
    let mut rest = kind.chars().peekable();
    while let Some(next) = rest.next() {
        let last = words.last_mut();
        match next {
            '"' if quoted && rest.next_if_eq(&'"').is_some() => {
                last.into_iter().for_each(|w| w.push('\"'));
            }
            '"' => quoted = !quoted,
            ' ' | ',' | '(' | ')' if !quoted => words.extend([next.to_string(), String::new()]),
            _ => last.into_iter().for_each(|word| word.push(next)),
        }
    }
    words
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
            ("UBIGINT", "UINTEGER", Some("UBIGINT")),
            ("UBIGINT", "BIGINT", Some("DECIMAL(20,0)")),
            ("DECIMAL(20,0)", "UBIGINT", Some("DECIMAL(20,0)")),
            (
                "STRUCT(a INTEGER, \"b c\" DATE)",
                "STRUCT(\"a\" INTEGER, \"b c\" DATE)",
                Some("STRUCT(a INTEGER, \"b c\" DATE)"),
            ),
            ("STRUCT(a INTEGER)[]", "STRUCT(\"a\" BIGINT)[]", None),
            ("STRUCT(a INTEGER)", "STRUCT(\"a\" INTEGER, \"b\" INTEGER)", None),
            ("STRUCT(\"a, b\" INTEGER)", "STRUCT(\"a\" INTEGER, \"b\" INTEGER)", None),
            ("TIMESTAMP", "TIMESTAMP WITH TIME ZONE", None),
        ] {
            assert_eq!(common(standing, wanted).as_deref(), shared, "{standing} {wanted}");
            assert_eq!(holds(standing, wanted), shared == Some(standing), "{standing} {wanted}");
        }
    }
}
