//! A column of a batch, downcast once, for both forms.

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Date32Type, Decimal128Type, Float32Type, Float64Type, Int16Type, Int32Type, Int64Type,
    Time64MicrosecondType, TimestampMicrosecondType,
};
use arrow_array::{
    Array, BinaryArray, BooleanArray, FixedSizeBinaryArray, ListArray, PrimitiveArray, StringArray,
};
use arrow_schema::{DataType, TimeUnit};

use crate::types::Kind;

/// What text stands for in the binary form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TextForm {
    /// Itself: text, enum labels, json.
    Plain,
    /// A jsonb document: a version goes in front.
    Jsonb,
    /// A number.
    Numeric,
}

/// How a column is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Form {
    pub(super) text: TextForm,
    /// The element type's oid at the server, for binary arrays.
    pub(super) element: u32,
}

impl Form {
    /// The form of everything in text copies.
    pub(super) const TEXT: Self = Self { text: TextForm::Plain, element: 0 };

    /// How Arrow values of `data_type` become binary values of a type that is read as `kind`;
    /// `None` where only text is written.
    pub(super) fn binary(kind: &Kind, data_type: &DataType) -> Option<Self> {
        let text = match (kind, data_type) {
            (Kind::NumericText | Kind::Decimal { .. }, DataType::Utf8) => TextForm::Numeric,
            (Kind::Jsonb, DataType::Utf8) => TextForm::Jsonb,
            (Kind::Text | Kind::Json, DataType::Utf8)
            | (Kind::NumericText | Kind::Decimal { .. }, DataType::Decimal128(..))
            | (Kind::Bool, DataType::Boolean)
            | (Kind::Int16, DataType::Int16)
            | (Kind::Int32, DataType::Int32)
            | (Kind::Int64, DataType::Int64)
            | (Kind::Float32, DataType::Float32)
            | (Kind::Float64, DataType::Float64)
            | (Kind::Bytes, DataType::Binary)
            | (Kind::Date, DataType::Date32)
            | (Kind::Time, DataType::Time64(TimeUnit::Microsecond))
            | (Kind::Timestamp, DataType::Timestamp(TimeUnit::Microsecond, None))
            | (Kind::TimestampTz, DataType::Timestamp(TimeUnit::Microsecond, Some(_)))
            | (Kind::Uuid, DataType::FixedSizeBinary(16)) => TextForm::Plain,
            _ => return None,
        };
        Some(Self { text, element: 0 })
    }
}

/// The values of one column.
#[derive(Debug)]
pub(super) enum Values<'a> {
    Bool(&'a BooleanArray),
    Int16(&'a PrimitiveArray<Int16Type>),
    Int32(&'a PrimitiveArray<Int32Type>),
    Int64(&'a PrimitiveArray<Int64Type>),
    Float32(&'a PrimitiveArray<Float32Type>),
    Float64(&'a PrimitiveArray<Float64Type>),
    Decimal(&'a PrimitiveArray<Decimal128Type>, i8),
    Text(&'a StringArray, TextForm),
    Bytes(&'a BinaryArray),
    Date(&'a PrimitiveArray<Date32Type>),
    Time(&'a PrimitiveArray<Time64MicrosecondType>),
    /// With whether it has a time zone.
    Timestamp(&'a PrimitiveArray<TimestampMicrosecondType>, bool),
    Uuid(&'a FixedSizeBinaryArray),
    /// With the element type's oid.
    List(&'a ListArray, Box<Values<'a>>, u32),
}

impl<'a> Values<'a> {
    /// The values of `array`; `None` if its type is not written.
    pub(super) fn of(array: &'a dyn Array, form: Form) -> Option<Self> {
        Some(match array.data_type() {
            DataType::Boolean => Self::Bool(array.as_boolean()),
            DataType::Int16 => Self::Int16(array.as_primitive()),
            DataType::Int32 => Self::Int32(array.as_primitive()),
            DataType::Int64 => Self::Int64(array.as_primitive()),
            DataType::Float32 => Self::Float32(array.as_primitive()),
            DataType::Float64 => Self::Float64(array.as_primitive()),
            DataType::Decimal128(_, scale) => Self::Decimal(array.as_primitive(), *scale),
            DataType::Utf8 => Self::Text(array.as_string(), form.text),
            DataType::Binary => Self::Bytes(array.as_binary()),
            DataType::Date32 => Self::Date(array.as_primitive()),
            DataType::Time64(TimeUnit::Microsecond) => Self::Time(array.as_primitive()),
            DataType::Timestamp(TimeUnit::Microsecond, zone) => {
                Self::Timestamp(array.as_primitive(), zone.is_some())
            }
            DataType::FixedSizeBinary(16) => Self::Uuid(array.as_fixed_size_binary()),
            DataType::List(_) => {
                let list = array.as_list::<i32>();
                match Self::of(list.values().as_ref(), form)? {
                    Self::List(..) => return None,
                    items => Self::List(list, Box::new(items), form.element),
                }
            }
            _ => return None,
        })
    }

    #[inline]
    pub(super) fn is_null(&self, row: usize) -> bool {
        match self {
            Self::Bool(array) => array.is_null(row),
            Self::Int16(array) => array.is_null(row),
            Self::Int32(array) => array.is_null(row),
            Self::Int64(array) => array.is_null(row),
            Self::Float32(array) => array.is_null(row),
            Self::Float64(array) => array.is_null(row),
            Self::Decimal(array, _) => array.is_null(row),
            Self::Text(array, _) => array.is_null(row),
            Self::Bytes(array) => array.is_null(row),
            Self::Date(array) => array.is_null(row),
            Self::Time(array) => array.is_null(row),
            Self::Timestamp(array, _) => array.is_null(row),
            Self::Uuid(array) => array.is_null(row),
            Self::List(array, ..) => array.is_null(row),
        }
    }
}

/// Where the items of one list lie among all items.
pub(super) fn items_of(list: &ListArray, row: usize) -> std::ops::Range<usize> {
    let offsets = list.value_offsets();
    let at = |index: usize| offsets.get(index).and_then(|at| usize::try_from(*at).ok());
    at(row).unwrap_or(0)..at(row + 1).unwrap_or(0)
}

/// Whether values of `data_type` are written at all.
pub(super) fn is_written(data_type: &DataType) -> bool {
    match data_type {
        DataType::List(item) => {
            !matches!(item.data_type(), DataType::List(_)) && is_written(item.data_type())
        }
        _ => {
            let array = arrow_array::new_empty_array(data_type);
            Values::of(array.as_ref(), Form::TEXT).is_some()
        }
    }
}
