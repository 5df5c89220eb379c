//! The table native type → Arrow, and how the two forms of each type are read.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_schema::{DataType, Field, IntervalUnit, TimeUnit};
use rowtide_core::{Column, ext};

use crate::options::NumericWithoutScale;

/// The time zone of every `timestamptz` column.
pub(crate) const UTC: &str = "UTC";

/// What [`TableSchema::system`](rowtide_core::TableSchema::system) says of PostgreSQL's tables.
pub(crate) const SYSTEM: &str = "postgresql";

/// What decides how native types become Arrow types.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Mapping {
    pub(crate) numeric: NumericWithoutScale,
    /// The destination holds PostgreSQL's own types: decimals and arrays go as their text, which
    /// holds every one of them, NaN and several dimensions included.
    pub(crate) native: bool,
}

/// How values of a column are read, and into what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    Bool,
    Int16,
    Int32,
    Int64,
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
    Timestamp,
    TimestampTz,
    Interval,
    Uuid,
    List(Box<Kind>),
    /// Any other type: the text of its output function.
    Opaque,
}

impl Kind {
    /// Whether the binary form can be read.
    pub(crate) fn reads_binary(&self) -> bool {
        match self {
            Self::Opaque => false,
            Self::List(item) => item.reads_binary(),
            _ => true,
        }
    }

    /// Whether a value can take much more memory than it came in.
    pub(crate) fn grows(&self) -> bool {
        match self {
            Self::NumericText => true,
            Self::List(item) => item.grows(),
            _ => false,
        }
    }

    /// What a value takes at least, NULL or not.
    pub(crate) fn width(&self) -> usize {
        match self {
            Self::Bool => 1,
            Self::Int16 => 2,
            Self::Int32 | Self::Float32 | Self::Date => 4,
            Self::Int64 | Self::Float64 | Self::Time | Self::Timestamp | Self::TimestampTz => 8,
            Self::Decimal { .. } | Self::Uuid | Self::Interval => 16,
            Self::NumericText | Self::Text | Self::Json | Self::Jsonb | Self::Bytes => 4,
            Self::List(_) | Self::Opaque => 4,
        }
    }

    pub(crate) fn data_type(&self) -> DataType {
        match self {
            Self::Bool => DataType::Boolean,
            Self::Int16 => DataType::Int16,
            Self::Int32 => DataType::Int32,
            Self::Int64 => DataType::Int64,
            Self::Float32 => DataType::Float32,
            Self::Float64 => DataType::Float64,
            Self::Decimal { precision, scale } => DataType::Decimal128(*precision, *scale),
            Self::NumericText | Self::Text | Self::Json | Self::Jsonb | Self::Opaque => {
                DataType::Utf8
            }
            Self::Bytes => DataType::Binary,
            Self::Date => DataType::Date32,
            Self::Time => DataType::Time64(TimeUnit::Microsecond),
            Self::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, None),
            Self::TimestampTz => DataType::Timestamp(TimeUnit::Microsecond, Some(UTC.into())),
            Self::Interval => DataType::Interval(IntervalUnit::MonthDayNano),
            Self::Uuid => DataType::FixedSizeBinary(16),
            Self::List(item) => DataType::List(Arc::new(item_field(item))),
        }
    }

    /// A field of this kind. Nullable always: the log does not tell when NOT NULL is dropped.
    pub(crate) fn field(&self, name: &str) -> Field {
        match self {
            Self::Uuid => ext::uuid(name),
            Self::Json | Self::Jsonb => ext::json(name),
            _ => Field::new(name, self.data_type(), true),
        }
    }

    /// The kind of a column that was described earlier: the inverse of [`TypeMap::describe`].
    pub(crate) fn of(column: &Column) -> Self {
        let real = real_name(&column.native_type);
        let printed = column.native_type.split(": ").next().unwrap_or_default();
        let array = printed.ends_with("[]") || real.ends_with("[]");
        if array && *column.field.data_type() == DataType::Utf8 {
            return Self::Opaque;
        }
        Self::of_field(&column.field, real)
    }

    fn of_field(field: &Field, real: &str) -> Self {
        match field.data_type() {
            DataType::Boolean => Self::Bool,
            DataType::Int16 => Self::Int16,
            DataType::Int32 => Self::Int32,
            DataType::Int64 => Self::Int64,
            DataType::Float32 => Self::Float32,
            DataType::Float64 => Self::Float64,
            DataType::Decimal128(precision, scale) => {
                Self::Decimal { precision: *precision, scale: *scale }
            }
            DataType::Binary => Self::Bytes,
            DataType::Date32 => Self::Date,
            DataType::Time64(_) => Self::Time,
            DataType::Timestamp(_, None) => Self::Timestamp,
            DataType::Timestamp(_, Some(_)) => Self::TimestampTz,
            DataType::Interval(_) => Self::Interval,
            DataType::FixedSizeBinary(_) => Self::Uuid,
            DataType::List(item) => {
                Self::List(Box::new(Self::of_field(item, real.trim_end_matches("[]"))))
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
            "text" | "character varying" | "character" | "name" | "citext" | "enum" => Self::Text,
            _ => Self::Opaque,
        }
    }
}

/// What a described type is underneath: after the colon for domains, enums and extension types.
fn real_name(native: &str) -> &str {
    native.rsplit_once(": ").map_or(native, |(_, real)| real)
}

/// The element of a list column.
pub(crate) fn item_field(item: &Kind) -> Field {
    item.field("item")
}

/// A row of `pg_type`, as far as it decides how values are read.
#[derive(Debug, Clone)]
pub(crate) struct TypeRow {
    /// `b`ase, `c`omposite, `d`omain, `e`num, …
    pub(crate) class: u8,
    pub(crate) name: String,
    /// What a domain stands on, with the domain's own modifier.
    pub(crate) base: u32,
    pub(crate) base_modifier: i32,
    /// The element, if this is the array type of another type (else 0).
    pub(crate) element: u32,
    /// The name with the base's modifier applied, as `format_type` prints it.
    pub(crate) base_name: String,
    /// A domain's default fills new columns in old rows.
    pub(crate) has_default: bool,
}

/// Every type that the tables at hand use, by oid.
#[derive(Debug, Clone, Default)]
pub(crate) struct TypeMap {
    pub(crate) rows: HashMap<u32, TypeRow>,
}

impl TypeMap {
    /// How a column of this type is read, and its type in words: `format_type`'s name, and what
    /// it is underneath where that cannot be seen from the name.
    pub(crate) fn describe(
        &self,
        (oid, modifier, printed): (u32, i32, &str),
        mapping: Mapping,
    ) -> (Kind, String) {
        let kind = self.kind(oid, modifier, mapping);
        let native = match self.underneath(oid) {
            Some(real) => format!("{printed}: {real}"),
            None => printed.to_owned(),
        };
        (kind, native)
    }

    fn kind(&self, oid: u32, modifier: i32, mapping: Mapping) -> Kind {
        let Some(row) = self.rows.get(&oid) else { return Kind::Opaque };
        match row.class {
            b'd' => {
                let modifier = if modifier == -1 { row.base_modifier } else { modifier };
                self.kind(row.base, modifier, mapping)
            }
            b'e' => Kind::Text,
            b'b' if row.element != 0 && mapping.native => Kind::Opaque,
            b'b' if row.element != 0 => match self.kind(row.element, modifier, mapping) {
                // Arrays of what is read as text are read as text whole.
                Kind::Opaque | Kind::List(_) => Kind::Opaque,
                item => Kind::List(Box::new(item)),
            },
            b'b' => builtin(oid, modifier, &row.name, mapping),
            _ => Kind::Opaque,
        }
    }

    /// For domains, enums and citext: the name of what they are read as.
    fn underneath(&self, oid: u32) -> Option<String> {
        let row = self.rows.get(&oid)?;
        match row.class {
            b'd' => Some(self.underneath(row.base).unwrap_or_else(|| row.base_name.clone())),
            b'e' => Some("enum".to_owned()),
            b'b' if row.element != 0 => {
                self.underneath(row.element).map(|item| format!("{item}[]"))
            }
            b'b' if row.name == "citext" => Some("citext".to_owned()),
            _ => None,
        }
    }
}

/// The types whose binary form is read.
fn builtin(oid: u32, modifier: i32, name: &str, mapping: Mapping) -> Kind {
    match oid {
        16 => Kind::Bool,
        17 => Kind::Bytes,
        // name, text, bpchar, varchar
        19 | 25 | 1042 | 1043 => Kind::Text,
        20 => Kind::Int64,
        21 => Kind::Int16,
        23 => Kind::Int32,
        114 => Kind::Json,
        700 => Kind::Float32,
        701 => Kind::Float64,
        1082 => Kind::Date,
        1083 => Kind::Time,
        1114 => Kind::Timestamp,
        1184 => Kind::TimestampTz,
        1186 if mapping.native => Kind::Opaque,
        1186 => Kind::Interval,
        1700 if mapping.native => Kind::NumericText,
        1700 => decimal(modifier, mapping.numeric),
        2950 => Kind::Uuid,
        3802 => Kind::Jsonb,
        _ if name == "citext" => Kind::Text,
        _ => Kind::Opaque,
    }
}

/// `numeric(p,s)` by its modifier; what Arrow's decimal cannot hold is text.
fn decimal(modifier: i32, numeric: NumericWithoutScale) -> Kind {
    if modifier < 4 {
        return match numeric {
            NumericWithoutScale::Text => Kind::NumericText,
            NumericWithoutScale::Decimal { precision, scale } => Kind::Decimal { precision, scale },
        };
    }
    let packed = modifier - 4;
    let precision = (packed >> 16) & 0xFFFF;
    let scale = ((packed & 0x7FF) ^ 1024) - 1024;
    match (u8::try_from(precision), i8::try_from(scale)) {
        (Ok(precision @ 1..=38), Ok(scale))
            if scale >= 0 && i32::from(scale) <= i32::from(precision) =>
        {
            Kind::Decimal { precision, scale }
        }
        _ => Kind::NumericText,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(class: u8, name: &str, base: u32, element: u32) -> TypeRow {
        TypeRow {
            class,
            name: name.into(),
            base,
            base_modifier: -1,
            element,
            base_name: "jsonb".into(),
            has_default: false,
        }
    }

    fn map() -> TypeMap {
        let rows = [
            (16, row(b'b', "bool", 0, 0)),
            (1700, row(b'b', "numeric", 0, 0)),
            (1231, row(b'b', "_numeric", 0, 1700)),
            (3802, row(b'b', "jsonb", 0, 0)),
            (869, row(b'b', "inet", 0, 0)),
            (1041, row(b'b', "_inet", 0, 869)),
            (20_000, row(b'e', "mood", 0, 0)),
            (20_001, row(b'b', "_mood", 0, 20_000)),
            (20_002, row(b'd', "doc", 3802, 0)),
            (20_003, row(b'b', "_doc", 0, 20_002)),
            (
                20_004,
                TypeRow { base_name: "public.mood[]".into(), ..row(b'd', "moods", 20_001, 0) },
            ),
        ];
        TypeMap { rows: rows.into_iter().collect() }
    }

    fn modifier(precision: i32, scale: i32) -> i32 {
        ((precision << 16) | (scale & 0x7FF)) + 4
    }

    #[test]
    fn the_description_leads_back_to_the_kind() {
        let cases = [
            (16, -1, "boolean"),
            (1700, -1, "numeric"),
            (1700, modifier(10, 2), "numeric(10,2)"),
            (1231, modifier(10, 2), "numeric(10,2)[]"),
            (1231, -1, "numeric[]"),
            (1041, -1, "inet[]"),
            (20_001, -1, "public.mood[]"),
            (20_002, -1, "public.doc"),
            (20_003, -1, "public.doc[]"),
            (20_004, -1, "public.moods"),
            (99_999, -1, "???"),
        ];
        let both = [false, true].map(|native| Mapping { native, ..Mapping::default() });
        for ((oid, modifier, printed), mapping) in
            cases.iter().flat_map(|case| both.map(|mapping| (*case, mapping)))
        {
            let (kind, native_type) = map().describe((oid, modifier, printed), mapping);
            let column = Column { field: Arc::new(kind.field("c")), native_type, number: 1 };
            assert_eq!(Kind::of(&column), kind, "{}", column.native_type);
        }
    }

    #[test]
    fn numerics_that_arrow_cannot_hold_are_text() {
        for (precision, scale) in [(39, 2), (5, -2), (3, 5)] {
            assert_eq!(
                decimal(modifier(precision, scale), NumericWithoutScale::Text),
                Kind::NumericText
            );
        }
        assert_eq!(
            decimal(modifier(38, 38), NumericWithoutScale::Text),
            Kind::Decimal { precision: 38, scale: 38 }
        );
    }
}
