//! The table native type → Arrow, and how the two forms of each type are read.

mod kind;

use std::collections::{BTreeSet, HashMap};

pub(crate) use kind::{Attribute, Kind, UTC, is_composite, item_field, parts};

use crate::options::NumericWithoutScale;
use crate::quote::identifier;

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

/// A row of `pg_type`, as far as it decides how values are read.
#[derive(Debug, Clone, Default)]
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
    /// The extension that the type came with.
    pub(crate) extension: Option<String>,
    /// Of a composite type, in order, without dropped ones.
    pub(crate) attributes: Vec<AttributeRow>,
}

impl TypeRow {
    fn is_vector(&self) -> bool {
        self.name == "vector" && self.extension.as_deref() == Some("vector")
    }
}

/// A composite type's attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AttributeRow {
    pub(crate) name: String,
    pub(crate) oid: u32,
    pub(crate) modifier: i32,
    /// The type by `format_type`.
    pub(crate) printed: String,
}

/// How deep types may lie in each other: what reads and stores descriptions of them has limits.
const DEPTH: usize = 12;

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
        let types = Depth { map: self, mapping, left: DEPTH };
        (types.kind(oid, modifier), types.native(oid, printed))
    }

    /// Whether values of this type have attributes, somewhere in them.
    pub(crate) fn is_composite(&self, oid: u32) -> bool {
        let Some(row) = self.rows.get(&oid) else { return false };
        row.class == b'c'
            || [row.base, row.element].into_iter().any(|below| self.is_composite(below))
    }
}

/// The types, seen from so deep inside of one of them.
#[derive(Clone, Copy)]
struct Depth<'a> {
    map: &'a TypeMap,
    mapping: Mapping,
    left: usize,
}

impl<'a> Depth<'a> {
    fn row(self, oid: u32) -> Option<(&'a TypeRow, Self)> {
        let left = self.left.checked_sub(1)?;
        Some((self.map.rows.get(&oid)?, Self { left, ..self }))
    }

    fn kind(self, oid: u32, modifier: i32) -> Kind {
        let Some((row, below)) = self.row(oid) else { return Kind::Opaque };
        match row.class {
            b'd' => {
                let modifier = if modifier == -1 { row.base_modifier } else { modifier };
                below.kind(row.base, modifier)
            }
            b'e' => Kind::Text,
            b'c' if self.mapping.native => Kind::Opaque,
            b'c' => below.composite(&row.attributes),
            b'b' if row.element != 0 && self.mapping.native => Kind::Opaque,
            b'b' if row.element != 0 => match below.kind(row.element, modifier) {
                // Arrays of what is read as text are read as text whole.
                Kind::Opaque | Kind::List(_) => Kind::Opaque,
                item => Kind::List(Box::new(item)),
            },
            b'b' if row.is_vector() && !self.mapping.native => Kind::Vector,
            b'b' => builtin(oid, modifier, &row.name, self.mapping),
            _ => Kind::Opaque,
        }
    }

    /// A composite type is read attribute by attribute if each of them can be read, and if the
    /// attributes have names that differ in more than case; else its text is read whole.
    fn composite(self, rows: &[AttributeRow]) -> Kind {
        let mut attributes = Vec::new();
        for row in rows {
            let kind = self.kind(row.oid, row.modifier);
            if kind == Kind::Opaque {
                return Kind::Opaque;
            }
            let native = self.native(row.oid, &row.printed);
            attributes.push(Attribute { name: row.name.clone(), oid: row.oid, native, kind });
        }
        let names: BTreeSet<_> = rows.iter().map(|row| row.name.to_lowercase()).collect();
        match names.len() {
            0 => Kind::Opaque,
            found if found < rows.len() => Kind::Opaque,
            _ => Kind::Struct(attributes),
        }
    }

    fn native(self, oid: u32, printed: &str) -> String {
        match self.underneath(oid) {
            Some(real) => format!("{printed}: {real}"),
            None => printed.to_owned(),
        }
    }

    /// For domains, enums, composite types and some of extensions: what they are read as. An
    /// altered composite type has another description.
    fn underneath(self, oid: u32) -> Option<String> {
        let (row, below) = self.row(oid)?;
        match row.class {
            b'd' => Some(below.underneath(row.base).unwrap_or_else(|| row.base_name.clone())),
            b'e' => Some("enum".to_owned()),
            b'c' => {
                let one = |row: &AttributeRow| {
                    format!("{} {}", identifier(&row.name), below.native(row.oid, &row.printed))
                };
                let attributes: Vec<_> = row.attributes.iter().map(one).collect();
                Some(format!("composite({})", attributes.join(", ")))
            }
            b'b' if row.element != 0 => {
                below.underneath(row.element).map(|item| format!("{item}[]"))
            }
            b'b' if row.name == "citext" => Some("citext".to_owned()),
            b'b' if row.is_vector() => Some("vector".to_owned()),
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
        26 if !mapping.native => Kind::UInt32,
        114 => Kind::Json,
        700 => Kind::Float32,
        701 => Kind::Float64,
        1082 => Kind::Date,
        1083 => Kind::Time,
        1114 => Kind::Timestamp,
        1184 => Kind::TimestampTz,
        1186 | 1266 if mapping.native => Kind::Opaque,
        1186 => Kind::Interval,
        1266 => Kind::TimeTz,
        // Without a length, and a varbit, it may be empty.
        1560 if modifier > 0 && !mapping.native => Kind::Bit,
        1560 | 1562 => Kind::BitText,
        1700 if mapping.native => Kind::NumericText,
        1700 => decimal(modifier, mapping.numeric),
        2950 => Kind::Uuid,
        3802 => Kind::Jsonb,
        5069 if !mapping.native => Kind::UInt64,
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
    use std::sync::Arc;

    use rowtide_core::Column;

    use super::*;

    fn row(class: u8, name: &str, base: u32, element: u32) -> TypeRow {
        TypeRow {
            class,
            name: name.into(),
            base,
            base_modifier: -1,
            element,
            base_name: "jsonb".into(),
            ..TypeRow::default()
        }
    }

    fn composite(attributes: &[(&str, u32, &str)]) -> TypeRow {
        let one = |(name, oid, printed): &(&str, u32, &str)| AttributeRow {
            name: (*name).into(),
            oid: *oid,
            modifier: -1,
            printed: (*printed).into(),
        };
        let attributes = attributes.iter().map(one).collect();
        TypeRow { attributes, ..row(b'c', "made", 0, 0) }
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
            (23, row(b'b', "int4", 0, 0)),
            (25, row(b'b', "text", 0, 0)),
            (26, row(b'b', "oid", 0, 0)),
            (700, row(b'b', "float4", 0, 0)),
            (1021, row(b'b', "_float4", 0, 700)),
            (1266, row(b'b', "timetz", 0, 0)),
            (1270, row(b'b', "_timetz", 0, 1266)),
            (1560, row(b'b', "bit", 0, 0)),
            (1561, row(b'b', "_bit", 0, 1560)),
            (1562, row(b'b', "varbit", 0, 0)),
            (1563, row(b'b', "_varbit", 0, 1562)),
            (5069, row(b'b', "xid8", 0, 0)),
            (
                20_010,
                composite(&[
                    ("a", 23, "integer"),
                    ("b: jsonb", 25, "text"),
                    ("m", 20_000, "public.mood"),
                    ("n", 1700, "numeric"),
                    ("d", 20_002, "public.doc"),
                    ("o", 20_003, "public.doc[]"),
                ]),
            ),
            (20_011, row(b'b', "_made", 0, 20_010)),
            (20_012, row(b'd', "made_domain", 20_010, 0)),
            (20_013, composite(&[("in", 20_011, "public.made[]"), ("v", 20_020, "public.vector")])),
            (20_014, composite(&[("in", 869, "inet")])),
            (20_015, composite(&[("a", 23, "integer"), ("A", 23, "integer")])),
            (20_016, composite(&[])),
            (20_017, composite(&[("c", 20_014, "public.unread")])),
            (20_020, TypeRow { extension: Some("vector".into()), ..row(b'b', "vector", 0, 0) }),
            (20_021, row(b'b', "_vector", 0, 20_020)),
            (20_022, row(b'd', "embedding", 20_020, 0)),
            (20_023, row(b'b', "vector", 0, 0)),
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
            (26, -1, "oid"),
            (1021, -1, "real[]"),
            (1266, -1, "time with time zone"),
            (1270, -1, "time with time zone[]"),
            (1560, 3, "bit(3)"),
            (1560, -1, "\"bit\""),
            (1561, 3, "bit(3)[]"),
            (1562, 9, "bit varying(9)"),
            (1563, -1, "bit varying[]"),
            (5069, -1, "xid8"),
            (20_010, -1, "public.made"),
            (20_011, -1, "public.made[]"),
            (20_012, -1, "public.made_domain"),
            (20_013, -1, "\"a: b(\".outer"),
            (20_014, -1, "public.unread"),
            (20_015, -1, "public.twice"),
            (20_016, -1, "public.nothing"),
            (20_017, -1, "public.deep"),
            (20_020, -1, "public.vector(3)"),
            (20_021, -1, "public.vector(3)[]"),
            (20_022, -1, "public.embedding"),
            (20_023, -1, "mine.vector"),
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
    fn composites_are_structs_where_every_attribute_is_read() {
        let read = |oid| map().describe((oid, -1, "made"), Mapping::default());
        assert!(matches!(read(20_010).0, Kind::Struct(attributes) if attributes.len() == 6));
        assert!(matches!(read(20_011).0, Kind::List(item) if matches!(*item, Kind::Struct(_))));
        for oid in [20_014, 20_015, 20_016, 20_017, 20_023] {
            assert_eq!(read(oid).0, Kind::Opaque, "{oid}");
        }
        assert_eq!(
            read(20_017).1,
            "made: composite(\"c\" public.unread: composite(\"in\" inet))",
            "a type that is read as text is described as well"
        );
        assert!(map().is_composite(20_011) && map().is_composite(20_012));
        assert!(!map().is_composite(20_001) && !map().is_composite(99_999));
    }

    #[test]
    fn an_altered_composite_is_described_otherwise() {
        let (_, before) = map().describe((20_013, -1, "made"), Mapping::default());
        let mut altered = map();
        if let Some(row) = altered.rows.get_mut(&20_010) {
            row.attributes.pop();
        }
        for native in [false, true] {
            let mapping = Mapping { native, ..Mapping::default() };
            assert_ne!(altered.describe((20_013, -1, "made"), mapping).1, before);
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
