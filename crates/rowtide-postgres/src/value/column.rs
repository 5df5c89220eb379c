//! The builder of one column.

use std::sync::Arc;

use arrow_array::builder::{
    ArrayBuilder, BinaryBuilder, BooleanBuilder, Date32Builder, Decimal128Builder,
    FixedSizeBinaryBuilder, Float32Builder, Float64Builder, Int16Builder, Int32Builder,
    Int64Builder, IntervalMonthDayNanoBuilder, StringBuilder, Time64MicrosecondBuilder,
    TimestampMicrosecondBuilder, UInt32Builder, UInt64Builder,
};
use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef};
use arrow_schema::DataType;

use super::list::ListColumn;
use super::numeric::{self, Decimal};
use super::record::RecordColumn;
use super::vector::VectorColumn;
use super::{Decoded, ValueError, bits, fixed, interval, number, temporal, unhex, utf8, uuid};
use crate::options::Unrepresentable;
use crate::types::{Kind, UTC, item_field};

/// How many bytes of values room is made for at most: one huge value is no reason to expect more.
const MOST_ROOM: usize = 4 << 20;

/// Appends wire values of one type to an Arrow array.
#[derive(Debug)]
pub(crate) struct ColumnBuilder {
    storage: Storage,
    policy: Unrepresentable,
    scratch: Vec<u8>,
    text: String,
    /// Bytes of text beyond what came over the wire, since the last look.
    grown: usize,
    /// Values that NULL took the place of, since the last look.
    nulled: u32,
}

#[derive(Debug)]
enum Storage {
    Bool(BooleanBuilder),
    Int16(Int16Builder),
    Int32(Int32Builder),
    Int64(Int64Builder),
    UInt32(UInt32Builder),
    UInt64(UInt64Builder),
    Float32(Float32Builder),
    Float64(Float64Builder),
    Decimal(Decimal128Builder, Decimal),
    NumericText(StringBuilder),
    Text(StringBuilder),
    Jsonb(StringBuilder),
    /// Types read by their output function alone.
    Opaque(StringBuilder),
    Bytes(BinaryBuilder),
    Date(Date32Builder),
    Time(Time64MicrosecondBuilder),
    Timestamp(TimestampMicrosecondBuilder, bool),
    Interval(IntervalMonthDayNanoBuilder),
    Uuid(FixedSizeBinaryBuilder),
    TimeTz(FixedSizeBinaryBuilder),
    Bit(BinaryBuilder),
    BitText(StringBuilder),
    Vector(Box<VectorColumn>),
    List(Box<ListColumn>),
    Struct(Box<RecordColumn>),
}

impl ColumnBuilder {
    pub(crate) fn new(kind: &Kind, policy: Unrepresentable) -> Self {
        let storage = match kind {
            Kind::Bool => Storage::Bool(BooleanBuilder::new()),
            Kind::Int16 => Storage::Int16(Int16Builder::new()),
            Kind::Int32 => Storage::Int32(Int32Builder::new()),
            Kind::Int64 => Storage::Int64(Int64Builder::new()),
            Kind::UInt32 => Storage::UInt32(UInt32Builder::new()),
            Kind::UInt64 => Storage::UInt64(UInt64Builder::new()),
            Kind::Float32 => Storage::Float32(Float32Builder::new()),
            Kind::Float64 => Storage::Float64(Float64Builder::new()),
            Kind::Decimal { precision, scale } => {
                let (precision, scale) = (*precision, *scale);
                let builder = Decimal128Builder::new().with_data_type(kind.data_type());
                Storage::Decimal(builder, Decimal { precision, scale })
            }
            Kind::NumericText => Storage::NumericText(StringBuilder::new()),
            Kind::Text | Kind::Json => Storage::Text(StringBuilder::new()),
            Kind::Jsonb => Storage::Jsonb(StringBuilder::new()),
            Kind::Opaque => Storage::Opaque(StringBuilder::new()),
            Kind::Bytes => Storage::Bytes(BinaryBuilder::new()),
            Kind::Date => Storage::Date(Date32Builder::new()),
            Kind::Time => Storage::Time(Time64MicrosecondBuilder::new()),
            Kind::Timestamp => Storage::Timestamp(TimestampMicrosecondBuilder::new(), false),
            Kind::TimestampTz => {
                let builder = TimestampMicrosecondBuilder::new().with_timezone(UTC);
                Storage::Timestamp(builder, true)
            }
            Kind::Interval => Storage::Interval(IntervalMonthDayNanoBuilder::new()),
            Kind::Uuid => Storage::Uuid(FixedSizeBinaryBuilder::new(16)),
            Kind::TimeTz => Storage::TimeTz(FixedSizeBinaryBuilder::new(8)),
            Kind::Bit => Storage::Bit(BinaryBuilder::new()),
            Kind::BitText => Storage::BitText(StringBuilder::new()),
            Kind::Vector => Storage::Vector(Box::new(VectorColumn::new())),
            Kind::Struct(attributes) => {
                Storage::Struct(Box::new(RecordColumn::new(attributes, policy)))
            }
            Kind::List(item) => {
                let items = Self::new(item, policy);
                Storage::List(Box::new(ListColumn::new(Arc::new(item_field(item)), items)))
            }
        };
        Self { storage, policy, scratch: Vec::new(), text: String::new(), grown: 0, nulled: 0 }
    }

    /// Appends the binary form of a value, or what the policy says.
    #[inline]
    pub(crate) fn append_binary(&mut self, bytes: &[u8]) -> Decoded<()> {
        let appended = self.try_binary(bytes);
        self.judge(appended)
    }

    /// Appends the text form of a value, or what the policy says.
    #[inline]
    pub(crate) fn append_text(&mut self, text: &[u8]) -> Decoded<()> {
        let appended = self.try_text(text);
        self.judge(appended)
    }

    #[inline]
    fn judge(&mut self, appended: Decoded<()>) -> Decoded<()> {
        match (appended, self.policy) {
            (Err(ValueError::Unrepresentable(_)), Unrepresentable::Null) => {
                self.append_null_instead();
                self.nulled = self.nulled.saturating_add(1);
                Ok(())
            }
            (other, _) => other,
        }
    }

    #[inline]
    fn try_binary(&mut self, bytes: &[u8]) -> Decoded<()> {
        match &mut self.storage {
            Storage::Bool(b) => b.append_value(u8::from_be_bytes(fixed(bytes)?) != 0),
            Storage::Int16(b) => b.append_value(i16::from_be_bytes(fixed(bytes)?)),
            Storage::Int32(b) => b.append_value(i32::from_be_bytes(fixed(bytes)?)),
            Storage::Int64(b) => b.append_value(i64::from_be_bytes(fixed(bytes)?)),
            Storage::UInt32(b) => b.append_value(u32::from_be_bytes(fixed(bytes)?)),
            Storage::UInt64(b) => b.append_value(u64::from_be_bytes(fixed(bytes)?)),
            Storage::Float32(b) => b.append_value(canonical32(f32::from_be_bytes(fixed(bytes)?))),
            Storage::Float64(b) => b.append_value(canonical64(f64::from_be_bytes(fixed(bytes)?))),
            Storage::Decimal(b, decimal) => b.append_value(decimal.read_binary(bytes)?),
            Storage::NumericText(b) => {
                self.text.clear();
                numeric::print(bytes, &mut self.text)?;
                self.grown += self.text.len();
                b.append_value(&self.text);
            }
            Storage::Text(b) => b.append_value(utf8(bytes)?),
            Storage::Jsonb(b) => match bytes.split_first() {
                Some((1, text)) => b.append_value(utf8(text)?),
                _ => return Err(ValueError::Malformed("it is of an unknown jsonb version")),
            },
            Storage::Opaque(_) => {
                return Err(ValueError::Malformed("it came in binary, but is read as text"));
            }
            Storage::Bytes(b) => b.append_value(bytes),
            Storage::Date(b) => b.append_value(temporal::date_from_binary(bytes)?),
            Storage::Time(b) => b.append_value(temporal::time_from_binary(bytes)?),
            Storage::Timestamp(b, _) => b.append_value(temporal::timestamp_from_binary(bytes)?),
            Storage::Interval(b) => b.append_value(interval::from_binary(bytes)?),
            Storage::Uuid(b) => append_fixed(b, &fixed::<16>(bytes)?)?,
            Storage::TimeTz(b) => append_fixed(b, &temporal::timetz_from_binary(bytes)?)?,
            Storage::Bit(b) => {
                self.scratch.clear();
                bits::pack_binary(bytes, &mut self.scratch)?;
                b.append_value(&self.scratch);
            }
            Storage::BitText(b) => {
                self.text.clear();
                bits::print(bytes, &mut self.text)?;
                self.grown += self.text.len();
                b.append_value(&self.text);
            }
            Storage::Vector(vector) => vector.append_binary(bytes)?,
            Storage::List(list) => list.append_binary(bytes)?,
            Storage::Struct(record) => record.append_binary(bytes)?,
        }
        Ok(())
    }

    #[inline]
    fn try_text(&mut self, text: &[u8]) -> Decoded<()> {
        match &mut self.storage {
            Storage::Bool(b) => match text {
                b"t" => b.append_value(true),
                b"f" => b.append_value(false),
                _ => return Err(ValueError::Malformed("it is neither t nor f")),
            },
            Storage::Int16(b) => b.append_value(number(text)?),
            Storage::Int32(b) => b.append_value(number(text)?),
            Storage::Int64(b) => b.append_value(number(text)?),
            Storage::UInt32(b) => b.append_value(number(text)?),
            Storage::UInt64(b) => b.append_value(number(text)?),
            Storage::Float32(b) => b.append_value(canonical32(number(text)?)),
            Storage::Float64(b) => b.append_value(canonical64(number(text)?)),
            Storage::Decimal(b, decimal) => b.append_value(decimal.read_text(text)?),
            Storage::NumericText(b)
            | Storage::Text(b)
            | Storage::Jsonb(b)
            | Storage::BitText(b)
            | Storage::Opaque(b) => b.append_value(utf8(text)?),
            Storage::Bytes(b) => {
                let digits = text.strip_prefix(b"\\x");
                self.scratch.clear();
                unhex(digits.ok_or(ValueError::Malformed("it is not hex"))?, &mut self.scratch)?;
                b.append_value(&self.scratch);
            }
            Storage::Date(b) => b.append_value(temporal::date_from_text(text)?),
            Storage::Time(b) => b.append_value(temporal::time_from_text(text)?),
            Storage::Timestamp(b, zoned) => {
                b.append_value(temporal::timestamp_from_text(text, *zoned)?);
            }
            Storage::Interval(b) => b.append_value(interval::from_text(text)?),
            Storage::Uuid(b) => append_fixed(b, &uuid(text)?)?,
            Storage::TimeTz(b) => append_fixed(b, &temporal::timetz_from_text(text)?)?,
            Storage::Bit(b) => {
                self.scratch.clear();
                bits::pack_text(text, &mut self.scratch)?;
                b.append_value(&self.scratch);
            }
            Storage::Vector(vector) => vector.append_text(text)?,
            Storage::List(list) => list.append_text(text)?,
            Storage::Struct(record) => record.append_text(text)?,
        }
        Ok(())
    }

    /// Appends NULL.
    #[inline]
    pub(crate) fn append_null(&mut self) {
        match &mut self.storage {
            Storage::Bool(b) => b.append_null(),
            Storage::Int16(b) => b.append_null(),
            Storage::Int32(b) => b.append_null(),
            Storage::Int64(b) => b.append_null(),
            Storage::UInt32(b) => b.append_null(),
            Storage::UInt64(b) => b.append_null(),
            Storage::Float32(b) => b.append_null(),
            Storage::Float64(b) => b.append_null(),
            Storage::Decimal(b, _) => b.append_null(),
            Storage::NumericText(b)
            | Storage::Text(b)
            | Storage::Jsonb(b)
            | Storage::BitText(b)
            | Storage::Opaque(b) => b.append_null(),
            Storage::Bytes(b) | Storage::Bit(b) => b.append_null(),
            Storage::Date(b) => b.append_null(),
            Storage::Time(b) => b.append_null(),
            Storage::Timestamp(b, _) => b.append_null(),
            Storage::Interval(b) => b.append_null(),
            Storage::Uuid(b) | Storage::TimeTz(b) => b.append_null(),
            Storage::Vector(vector) => vector.append_null(),
            Storage::List(list) => list.append_null(),
            Storage::Struct(record) => record.append_null(),
        }
    }

    /// Appends NULL in the place of a value that was just refused, and of which a part may be in.
    pub(crate) fn append_null_instead(&mut self) {
        let before = self.len();
        self.mend();
        if self.len() == before {
            self.append_null();
        }
    }

    /// Makes a NULL of the part of a value that is in, if there is one.
    pub(super) fn mend(&mut self) {
        match &mut self.storage {
            Storage::List(list) => list.mend(),
            Storage::Struct(record) => record.mend(),
            _ => {}
        }
    }

    /// How many values NULL took the place of, since the last call, also within others.
    pub(crate) fn take_nulled(&mut self) -> u32 {
        let own = std::mem::take(&mut self.nulled);
        match &mut self.storage {
            Storage::List(list) => own.saturating_add(list.take_nulled()),
            Storage::Struct(record) => own.saturating_add(record.take_nulled()),
            _ => own,
        }
    }

    /// How much more memory values took than they came in, since the last call. A number of few
    /// bytes can have thousands of digits.
    pub(crate) fn take_growth(&mut self) -> usize {
        let own = std::mem::take(&mut self.grown);
        match &mut self.storage {
            Storage::List(list) => own + list.take_growth(),
            Storage::Struct(record) => own + record.take_growth(),
            _ => own,
        }
    }

    /// How many values have been appended.
    pub(crate) fn len(&self) -> usize {
        match &self.storage {
            Storage::Vector(vector) => vector.len(),
            Storage::List(list) => list.len(),
            Storage::Struct(record) => record.len(),
            Storage::Bool(b) => b.len(),
            Storage::Int16(b) => b.len(),
            Storage::Int32(b) => b.len(),
            Storage::Int64(b) => b.len(),
            Storage::UInt32(b) => b.len(),
            Storage::UInt64(b) => b.len(),
            Storage::Float32(b) => b.len(),
            Storage::Float64(b) => b.len(),
            Storage::Decimal(b, _) => b.len(),
            Storage::NumericText(b)
            | Storage::Text(b)
            | Storage::Jsonb(b)
            | Storage::BitText(b)
            | Storage::Opaque(b) => b.len(),
            Storage::Bytes(b) | Storage::Bit(b) => b.len(),
            Storage::Date(b) => b.len(),
            Storage::Time(b) => b.len(),
            Storage::Timestamp(b, _) => b.len(),
            Storage::Interval(b) => b.len(),
            Storage::Uuid(b) | Storage::TimeTz(b) => b.len(),
        }
    }

    /// Makes room for as much as `like` holds and a little more, in one piece: a column that grows
    /// by itself moves its values again and again, into memory nobody has touched before.
    pub(crate) fn reserve_like(&mut self, like: &dyn Array) {
        let rows = like.len() + like.len() / 16;
        let bytes = || {
            let bytes = match like.data_type() {
                DataType::Utf8 => like.as_string::<i32>().values().len(),
                _ => like.as_binary_opt::<i32>().map_or(0, |like| like.values().len()),
            };
            (bytes + bytes / 16).min(MOST_ROOM)
        };
        match &mut self.storage {
            Storage::Int16(b) => *b = Int16Builder::with_capacity(rows),
            Storage::Int32(b) => *b = Int32Builder::with_capacity(rows),
            Storage::Int64(b) => *b = Int64Builder::with_capacity(rows),
            Storage::Float32(b) => *b = Float32Builder::with_capacity(rows),
            Storage::Float64(b) => *b = Float64Builder::with_capacity(rows),
            Storage::Date(b) => *b = Date32Builder::with_capacity(rows),
            Storage::Uuid(b) => *b = FixedSizeBinaryBuilder::with_capacity(rows, 16),
            Storage::Decimal(b, _) => {
                let empty = Decimal128Builder::with_capacity(rows);
                *b = empty.with_data_type(like.data_type().clone());
            }
            Storage::Timestamp(b, _) => {
                let empty = TimestampMicrosecondBuilder::with_capacity(rows);
                *b = empty.with_data_type(like.data_type().clone());
            }
            Storage::NumericText(b)
            | Storage::Text(b)
            | Storage::Jsonb(b)
            | Storage::BitText(b)
            | Storage::Opaque(b) => *b = StringBuilder::with_capacity(rows, bytes()),
            Storage::Bytes(b) | Storage::Bit(b) => {
                *b = BinaryBuilder::with_capacity(rows, bytes());
            }
            // Small, seldom, or made of others.
            _ => {}
        }
    }

    /// Everything appended since the last call.
    pub(crate) fn finish(&mut self) -> ArrayRef {
        match &mut self.storage {
            Storage::Bool(b) => Arc::new(b.finish()),
            Storage::Int16(b) => Arc::new(b.finish()),
            Storage::Int32(b) => Arc::new(b.finish()),
            Storage::Int64(b) => Arc::new(b.finish()),
            Storage::UInt32(b) => Arc::new(b.finish()),
            Storage::UInt64(b) => Arc::new(b.finish()),
            Storage::Float32(b) => Arc::new(b.finish()),
            Storage::Float64(b) => Arc::new(b.finish()),
            Storage::Decimal(b, _) => Arc::new(b.finish()),
            Storage::NumericText(b)
            | Storage::Text(b)
            | Storage::Jsonb(b)
            | Storage::BitText(b)
            | Storage::Opaque(b) => Arc::new(b.finish()),
            Storage::Bytes(b) | Storage::Bit(b) => Arc::new(b.finish()),
            Storage::Date(b) => Arc::new(b.finish()),
            Storage::Time(b) => Arc::new(b.finish()),
            Storage::Timestamp(b, _) => Arc::new(b.finish()),
            Storage::Interval(b) => Arc::new(b.finish()),
            Storage::Uuid(b) | Storage::TimeTz(b) => Arc::new(b.finish()),
            Storage::Vector(vector) => vector.finish(),
            Storage::List(list) => list.finish(),
            Storage::Struct(record) => record.finish(),
        }
    }
}

fn append_fixed(builder: &mut FixedSizeBinaryBuilder, bytes: &[u8]) -> Decoded<()> {
    builder.append_value(bytes).map_err(|_| ValueError::Malformed("it has another length"))
}

/// All NaNs are one: the text form cannot tell them apart.
fn canonical64(value: f64) -> f64 {
    if value.is_nan() { f64::NAN } else { value }
}

fn canonical32(value: f32) -> f32 {
    if value.is_nan() { f32::NAN } else { value }
}
