//! Arrow to DuckDB: which column type holds which field.
//!
//! The numbers are the same on both sides, those of infinity too: the largest 32-bit day is
//! `infinity` and its negative `-infinity`, and so for 64-bit microseconds. (The smallest number
//! of all, one below, is no date and must not be written.)

use arrow_schema::{DataType, Field, TimeUnit};
use rowtide_core::{Error, Result, ext};

/// The DuckDB type for `field`, as SQL text.
///
/// # Errors
/// `Data` if DuckDB has no type that holds every value of it.
pub(crate) fn column_type(field: &Field) -> Result<String> {
    let name = match (ext::name_of(field), field.data_type()) {
        (Some(ext::UUID), DataType::FixedSizeBinary(16)) => "UUID",
        (Some(ext::JSON), DataType::Utf8) => "JSON",
        (_, DataType::List(item)) => return Ok(format!("{}[]", column_type(item)?)),
        (_, DataType::Decimal128(precision, scale)) => {
            return Ok(format!("DECIMAL({precision}, {scale})"));
        }
        (_, DataType::Boolean) => "BOOLEAN",
        (_, DataType::Int16) => "SMALLINT",
        (_, DataType::Int32) => "INTEGER",
        (_, DataType::Int64) => "BIGINT",
        (_, DataType::UInt32) => "UINTEGER",
        (_, DataType::Float32) => "FLOAT",
        (_, DataType::Float64) => "DOUBLE",
        (_, DataType::Utf8) => "VARCHAR",
        (_, DataType::Binary) => "BLOB",
        (_, DataType::Date32) => "DATE",
        (_, DataType::Time64(TimeUnit::Microsecond)) => "TIME",
        (_, DataType::Timestamp(TimeUnit::Microsecond, None)) => "TIMESTAMP",
        (_, DataType::Timestamp(TimeUnit::Microsecond, Some(_))) => "TIMESTAMPTZ",
        (_, other) => {
            return Err(Error::data(format!(
                "column {:?} has the Arrow type {other}, which has no DuckDB type here",
                field.name()
            )));
        }
    };
    Ok(name.to_owned())
}
