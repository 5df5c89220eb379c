//! How values are read, and into what.

use std::sync::Arc;

use arrow_schema::{DataType, Field, IntervalUnit, TimeUnit};
use rowtide_core::{Column, ext};

/// The time zone of every `timestamptz` column.
pub(crate) const UTC: &str = "UTC";

/// Where a struct's field says which attribute of which type it is.
const ATTRIBUTE: &str = "postgresql:attribute";

/// How values of a column are read, and into what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    Bool,
    Int16,
    Int32,
    Int64,
    /// An oid.
    UInt32,
    /// An `xid8`.
    UInt64,
    Float32,
    Float64,
    Decimal {
        precision: u8,
        scale: i8,
    },
    NumericText,
    Text,
    Json,
    Jsonb,
    Bytes,
    Date,
    Time,
    TimeTz,
    Timestamp,
    TimestampTz,
    Interval,
    Uuid,
    /// A bit string that is never empty.
    Bit,
    /// Any other bit string: its zeros and ones.
    BitText,
    /// A vector of the extension of this name.
    Vector,
    List(Box<Kind>),
    /// A composite type.
    Struct(Vec<Attribute>),
    /// Any other type: the text of its output function.
    Opaque,
}

/// A composite type's attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Attribute {
    pub(crate) name: String,
    /// Its type, as the binary form of every value repeats it.
    pub(crate) oid: u32,
    /// Its type in words, as a column's.
    pub(crate) native: String,
    pub(crate) kind: Kind,
}

impl Attribute {
    pub(crate) fn field(&self) -> Field {
        let field = self.kind.field(&self.name);
        let mut metadata = field.metadata().clone();
        metadata.insert(ATTRIBUTE.to_owned(), format!("{} {}", self.oid, self.native));
        field.with_metadata(metadata)
    }

    fn of(field: &Field) -> Self {
        let described = field.metadata().get(ATTRIBUTE).and_then(|text| text.split_once(' '));
        let (oid, native) = described.unwrap_or_default();
        Self {
            name: field.name().clone(),
            oid: oid.parse().unwrap_or(0),
            native: native.to_owned(),
            kind: Kind::described(field, native),
        }
    }
}

impl Kind {
    /// Whether the binary form can be read.
    pub(crate) fn reads_binary(&self) -> bool {
        match self {
            Self::Opaque => false,
            Self::List(item) => item.reads_binary(),
            Self::Struct(attributes) => attributes.iter().all(|one| one.kind.reads_binary()),
            _ => true,
        }
    }

    /// Whether there are values of the server's type that it does not hold.
    pub(crate) fn can_refuse(&self) -> bool {
        match self {
            Self::Bool | Self::Int16 | Self::Int32 | Self::Int64 | Self::UInt32 | Self::UInt64 => {
                false
            }
            Self::Float32 | Self::Float64 | Self::NumericText | Self::Text | Self::Json => false,
            Self::Jsonb | Self::Bytes | Self::Date | Self::Time | Self::TimeTz | Self::Uuid => {
                false
            }
            Self::BitText | Self::Vector | Self::Opaque => false,
            Self::Decimal { .. } | Self::Timestamp | Self::TimestampTz | Self::Interval => true,
            Self::Bit | Self::List(_) | Self::Struct(_) => true,
        }
    }

    /// Whether a value can take much more memory than it came in.
    pub(crate) fn grows(&self) -> bool {
        match self {
            // An attribute that is NULL is a comma in text, and as wide as any other in Arrow.
            Self::NumericText | Self::BitText | Self::Struct(_) => true,
            Self::List(item) => item.grows(),
            _ => false,
        }
    }

    /// What a value takes at least, NULL or not.
    pub(crate) fn width(&self) -> usize {
        match self {
            Self::Bool => 1,
            Self::Int16 => 2,
            Self::Int32 | Self::UInt32 | Self::Float32 | Self::Date => 4,
            Self::Int64 | Self::UInt64 | Self::Float64 => 8,
            Self::Time | Self::TimeTz | Self::Timestamp | Self::TimestampTz => 8,
            Self::Decimal { .. } | Self::Uuid | Self::Interval => 16,
            Self::NumericText | Self::Text | Self::Json | Self::Jsonb | Self::Bytes => 4,
            Self::Bit | Self::BitText | Self::Vector | Self::List(_) | Self::Opaque => 4,
            Self::Struct(attributes) => attributes.iter().map(|one| one.kind.width()).sum(),
        }
    }

    pub(crate) fn data_type(&self) -> DataType {
        match self {
            Self::Bool => DataType::Boolean,
            Self::Int16 => DataType::Int16,
            Self::Int32 => DataType::Int32,
            Self::Int64 => DataType::Int64,
            Self::UInt32 => DataType::UInt32,
            Self::UInt64 => DataType::UInt64,
            Self::Float32 => DataType::Float32,
            Self::Float64 => DataType::Float64,
            Self::Decimal { precision, scale } => DataType::Decimal128(*precision, *scale),
            Self::NumericText | Self::Text | Self::Json | Self::Jsonb => DataType::Utf8,
            Self::BitText | Self::Opaque => DataType::Utf8,
            Self::Bytes | Self::Bit => DataType::Binary,
            Self::Date => DataType::Date32,
            Self::Time => DataType::Time64(TimeUnit::Microsecond),
            Self::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, None),
            Self::TimestampTz => DataType::Timestamp(TimeUnit::Microsecond, Some(UTC.into())),
            Self::Interval => DataType::Interval(IntervalUnit::MonthDayNano),
            Self::Uuid => DataType::FixedSizeBinary(16),
            Self::TimeTz => DataType::FixedSizeBinary(8),
            Self::Vector => DataType::List(Arc::new(item_field(&Self::Float32))),
            Self::List(item) => DataType::List(Arc::new(item_field(item))),
            Self::Struct(attributes) => {
                DataType::Struct(attributes.iter().map(Attribute::field).collect())
            }
        }
    }

    /// A field of this kind. Nullable always: the log does not tell when NOT NULL is dropped.
    pub(crate) fn field(&self, name: &str) -> Field {
        match self {
            Self::Uuid => ext::uuid(name),
            Self::Json | Self::Jsonb => ext::json(name),
            Self::Bit => ext::bit(name),
            Self::TimeTz => ext::timetz(name),
            _ => Field::new(name, self.data_type(), true),
        }
    }

    /// The kind of a column that was described earlier: the inverse of [`TypeMap::describe`].
    pub(crate) fn of(column: &Column) -> Self {
        Self::described(&column.field, &column.native_type)
    }

    fn described(field: &Field, native: &str) -> Self {
        let (printed, under) = parts(native);
        let real = under.unwrap_or(printed);
        let array = printed.ends_with("[]") || real.ends_with("[]");
        if array && *field.data_type() == DataType::Utf8 {
            return Self::Opaque;
        }
        Self::of_field(field, real)
    }

    fn of_field(field: &Field, real: &str) -> Self {
        match field.data_type() {
            DataType::Boolean => Self::Bool,
            DataType::Int16 => Self::Int16,
            DataType::Int32 => Self::Int32,
            DataType::Int64 => Self::Int64,
            DataType::UInt32 => Self::UInt32,
            DataType::UInt64 => Self::UInt64,
            DataType::Float32 => Self::Float32,
            DataType::Float64 => Self::Float64,
            DataType::Decimal128(precision, scale) => {
                Self::Decimal { precision: *precision, scale: *scale }
            }
            DataType::Binary if ext::name_of(field) == Some(ext::BIT) => Self::Bit,
            DataType::Binary => Self::Bytes,
            DataType::Date32 => Self::Date,
            DataType::Time64(_) => Self::Time,
            DataType::Timestamp(_, None) => Self::Timestamp,
            DataType::Timestamp(_, Some(_)) => Self::TimestampTz,
            DataType::Interval(_) => Self::Interval,
            DataType::FixedSizeBinary(8) => Self::TimeTz,
            DataType::FixedSizeBinary(_) => Self::Uuid,
            DataType::List(_) if real == "vector" => Self::Vector,
            DataType::List(item) => {
                let item_type = real.strip_suffix("[]").unwrap_or(real);
                Self::List(Box::new(Self::of_field(item, item_type)))
            }
            DataType::Struct(fields) => {
                Self::Struct(fields.iter().map(|field| Attribute::of(field)).collect())
            }
            _ => Self::of_text(real),
        }
    }

    fn of_text(real: &str) -> Self {
        let base = real.split('(').next().unwrap_or(real).trim_end();
        match base {
            "json" => Self::Json,
            "jsonb" => Self::Jsonb,
            "numeric" => Self::NumericText,
            "bit" | "\"bit\"" | "bit varying" => Self::BitText,
            "text" | "character varying" | "character" | "bpchar" | "name" | "citext" | "enum" => {
                Self::Text
            }
            _ => Self::Opaque,
        }
    }
}

/// A description by [`TypeMap::describe`](super::TypeMap::describe), taken apart: the type's own
/// name, and what it is underneath where that is another type.
pub(crate) fn parts(native: &str) -> (&str, Option<&str>) {
    let mut quoted = false;
    let colon = native.bytes().enumerate().find_map(|(at, byte)| {
        quoted ^= byte == b'"';
        (byte == b':' && !quoted).then_some(at)
    });
    match colon.and_then(|at| Some((native.get(..at)?, native.get(at..)?))) {
        Some((printed, rest)) => (printed, rest.strip_prefix(": ")),
        None => (native, None),
    }
}

/// Whether a described type has attributes, somewhere in its values.
pub(crate) fn is_composite(native: &str) -> bool {
    parts(native).1.is_some_and(|under| under.starts_with("composite("))
}

/// The element of a list column.
pub(crate) fn item_field(item: &Kind) -> Field {
    item.field("item")
}
