//! The text of a value, type by type: what PostgreSQL prints of it with `DateStyle` ISO,
//! `IntervalStyle` postgres and `TimeZone` UTC, save floats.
//!
//! A float is the sixteen (eight) hexadecimal digits of its bits, so that nothing depends on how
//! somebody prints it, and -0 is not 0. Every NaN is one, which PostgreSQL has no more of.
//!
//! Values of one type have the same text only if they are the same.

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Date32Type, Decimal128Type, Float32Type, Float64Type, Int16Type, Int32Type, Int64Type,
    IntervalMonthDayNanoType, Time64MicrosecondType, TimestampMicrosecondType, UInt32Type,
    UInt64Type,
};
use arrow_array::{
    Array, BinaryArray, BooleanArray, FixedSizeBinaryArray, ListArray, PrimitiveArray, StringArray,
};
use arrow_buffer::NullBuffer;
use arrow_schema::{DataType, Field, IntervalUnit, TimeUnit};

use super::quote::Within;
use super::{instant, number, quote};
use crate::{Error, Result, ext};

/// The values of a column, to be written one by one.
pub(super) struct Values<'a> {
    nulls: Option<&'a NullBuffer>,
    kind: Kind<'a>,
}

enum Kind<'a> {
    Boolean(&'a BooleanArray),
    Int16(&'a PrimitiveArray<Int16Type>),
    Int32(&'a PrimitiveArray<Int32Type>),
    Int64(&'a PrimitiveArray<Int64Type>),
    UInt32(&'a PrimitiveArray<UInt32Type>),
    UInt64(&'a PrimitiveArray<UInt64Type>),
    Decimal(&'a PrimitiveArray<Decimal128Type>, usize),
    Float32(&'a PrimitiveArray<Float32Type>),
    Float64(&'a PrimitiveArray<Float64Type>),
    Text(&'a StringArray),
    Bytes(&'a BinaryArray),
    Bits(&'a BinaryArray),
    Uuid(&'a FixedSizeBinaryArray),
    Date(&'a PrimitiveArray<Date32Type>),
    Time(&'a PrimitiveArray<Time64MicrosecondType>),
    TimeWithOffset(&'a FixedSizeBinaryArray),
    Timestamp(&'a PrimitiveArray<TimestampMicrosecondType>, bool),
    Interval(&'a PrimitiveArray<IntervalMonthDayNanoType>),
    List(&'a ListArray, Box<Values<'a>>),
    Struct(Vec<Values<'a>>),
}

impl<'a> Values<'a> {
    /// The values of `array`, which is a column of `field`.
    ///
    /// # Errors
    /// `Data` if no text is laid down for its type; `Internal` if the array is of another type.
    pub(super) fn of(field: &Field, array: &'a dyn Array) -> Result<Self> {
        if !array.data_type().equals_datatype(field.data_type()) {
            return Err(Error::internal(format!(
                "column {:?} is to hold {}, but rows with {} were to be compared",
                field.name(),
                field.data_type(),
                array.data_type()
            )));
        }
        let kind = match (ext::name_of(field), field.data_type()) {
            (Some(ext::UUID), DataType::FixedSizeBinary(16)) => {
                Kind::Uuid(array.as_fixed_size_binary())
            }
            (Some(ext::TIMETZ), DataType::FixedSizeBinary(8)) => {
                Kind::TimeWithOffset(array.as_fixed_size_binary())
            }
            (Some(ext::BIT), DataType::Binary) => Kind::Bits(array.as_binary()),
            (_, DataType::List(item)) => {
                let list: &ListArray = array.as_list();
                Kind::List(list, Box::new(Self::of(item, list.values())?))
            }
            (_, DataType::Struct(fields)) => {
                let columns = fields.iter().zip(array.as_struct().columns());
                let columns = columns.map(|(field, column)| Self::of(field, column));
                Kind::Struct(columns.collect::<Result<_>>()?)
            }
            (_, data_type) => Kind::plain(data_type, array).ok_or_else(|| {
                Error::data(format!(
                    "column {:?} has the Arrow type {data_type}, whose values cannot be compared \
                     between systems",
                    field.name()
                ))
            })?,
        };
        Ok(Self { nulls: array.nulls(), kind })
    }

    /// Whether there is no value.
    pub(super) fn is_null(&self, row: usize) -> bool {
        self.nulls.is_some_and(|nulls| nulls.is_null(row))
    }

    /// Appends the text of the value in `row`, which is not NULL, as it stands by itself.
    pub(super) fn write(&self, row: usize, out: &mut Vec<u8>) {
        match &self.kind {
            Kind::Boolean(array) => out.push(if array.value(row) { b't' } else { b'f' }),
            Kind::Int16(array) => number::signed(array.value(row).into(), out),
            Kind::Int32(array) => number::signed(array.value(row).into(), out),
            Kind::Int64(array) => number::signed(array.value(row), out),
            Kind::UInt32(array) => number::unsigned(array.value(row).into(), out),
            Kind::UInt64(array) => number::unsigned(array.value(row), out),
            Kind::Decimal(array, scale) => number::decimal(array.value(row), *scale, out),
            Kind::Float32(array) => {
                let value = array.value(row);
                let bits = if value.is_nan() { 0x7fc0_0000 } else { value.to_bits() };
                number::hex(&bits.to_be_bytes(), out);
            }
            Kind::Float64(array) => {
                let value = array.value(row);
                let bits = if value.is_nan() { 0x7ff8 << 48 } else { value.to_bits() };
                number::hex(&bits.to_be_bytes(), out);
            }
            Kind::Text(array) => out.extend_from_slice(array.value(row).as_bytes()),
            Kind::Bytes(array) => {
                out.extend_from_slice(b"\\x");
                number::hex(array.value(row), out);
            }
            Kind::Bits(array) => bits(array.value(row), out),
            Kind::Uuid(array) => uuid(array.value(row), out),
            Kind::Date(array) => instant::date(array.value(row), out),
            Kind::Time(array) => instant::time(array.value(row), out),
            Kind::TimeWithOffset(array) => instant::time_with_offset(array.value(row), out),
            Kind::Timestamp(array, zoned) => instant::timestamp(array.value(row), *zoned, out),
            Kind::Interval(array) => {
                let value = array.value(row);
                instant::interval((value.months, value.days, value.nanoseconds), out);
            }
            Kind::List(array, items) => list(array, items, row, out),
            Kind::Struct(columns) => record(columns, row, out),
        }
    }

    /// The same as it stands within a row or a list.
    #[inline]
    fn write_within(&self, within: Within, row: usize, out: &mut Vec<u8>) {
        match &self.kind {
            Kind::Text(array) => quote::text(array.value(row).as_bytes(), within, out),
            _ if self.is_plain(row) => self.write(row, out),
            // A space stands between date and time.
            Kind::Timestamp(array, _) if !instant::is_infinite(array.value(row)) => {
                out.push(b'"');
                self.write(row, out);
                out.push(b'"');
            }
            // The backslash counts twice, and digits need nothing.
            Kind::Bytes(array) => {
                out.extend_from_slice(b"\"\\\\x");
                number::hex(array.value(row), out);
                out.push(b'"');
            }
            _ => {
                let start = out.len();
                self.write(row, out);
                quote::quote(out, start, within);
            }
        }
    }

    /// Whether the value in `row` certainly takes no quotes.
    fn is_plain(&self, row: usize) -> bool {
        match &self.kind {
            // Those before Christ end with an era.
            Kind::Date(array) => array.value(row) >= 0,
            Kind::Text(_)
            | Kind::Bytes(_)
            | Kind::Timestamp(..)
            | Kind::Interval(_)
            | Kind::List(..)
            | Kind::Struct(_) => false,
            _ => true,
        }
    }
}

impl<'a> Kind<'a> {
    /// For a type that is what its Arrow type says.
    fn plain(data_type: &DataType, array: &'a dyn Array) -> Option<Self> {
        Some(match data_type {
            DataType::Boolean => Self::Boolean(array.as_boolean()),
            DataType::Int16 => Self::Int16(array.as_primitive()),
            DataType::Int32 => Self::Int32(array.as_primitive()),
            DataType::Int64 => Self::Int64(array.as_primitive()),
            DataType::UInt32 => Self::UInt32(array.as_primitive()),
            DataType::UInt64 => Self::UInt64(array.as_primitive()),
            DataType::Decimal128(_, scale) => {
                Self::Decimal(array.as_primitive(), usize::try_from(*scale).ok()?)
            }
            DataType::Float32 => Self::Float32(array.as_primitive()),
            DataType::Float64 => Self::Float64(array.as_primitive()),
            DataType::Utf8 => Self::Text(array.as_string()),
            DataType::Binary => Self::Bytes(array.as_binary()),
            DataType::Date32 => Self::Date(array.as_primitive()),
            DataType::Time64(TimeUnit::Microsecond) => Self::Time(array.as_primitive()),
            DataType::Timestamp(TimeUnit::Microsecond, zone) => {
                Self::Timestamp(array.as_primitive(), zone.is_some())
            }
            DataType::Interval(IntervalUnit::MonthDayNano) => Self::Interval(array.as_primitive()),
            _ => return None,
        })
    }
}

/// Appends one row of `columns`: `(1,,"a b")`.
#[inline]
pub(super) fn record(columns: &[Values<'_>], row: usize, out: &mut Vec<u8>) {
    out.push(b'(');
    for (at, column) in columns.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        if !column.is_null(row) {
            column.write_within(Within::Row, row, out);
        }
    }
    out.push(b')');
}

/// Appends the list: `{1,NULL,"a b"}`.
fn list(array: &ListArray, items: &Values<'_>, row: usize, out: &mut Vec<u8>) {
    let bounds = array.value_offsets();
    let place = |offset: i32| usize::try_from(offset).unwrap_or(0);
    let (first, end) = (place(bounds[row]), place(bounds[row + 1]));
    out.push(b'{');
    for at in first..end {
        if at > first {
            out.push(b',');
        }
        if items.is_null(at) {
            out.extend_from_slice(b"NULL");
        } else {
            items.write_within(Within::List, at, out);
        }
    }
    out.push(b'}');
}

/// The zeros and ones of a [bit string](ext::BIT).
fn bits(packed: &[u8], out: &mut Vec<u8>) {
    let Some((padding, bytes)) = packed.split_first() else { return };
    let bits = bytes.iter().flat_map(|byte| (0..8).rev().map(move |at| b'0' + (byte >> at & 1)));
    out.extend(bits.skip(usize::from(*padding)));
}

fn uuid(bytes: &[u8], out: &mut Vec<u8>) {
    /// Where the digits of each byte stand, between hyphens.
    const PLACES: [usize; 16] = [0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34];
    let mut text = [b'-'; 36];
    for (place, byte) in PLACES.into_iter().zip(bytes) {
        text[place..place + 2].copy_from_slice(&number::hex_of(*byte));
    }
    out.extend_from_slice(&text);
}
