//! What becomes of each type, told by the mapping itself: the reference of types is made of it,
//! and the values that are sent through real servers are held against it.

use arrow_schema::{DataType, Field};

use crate::encode::stands_as;
use crate::types::{AttributeRow, Kind, Mapping, TypeMap, TypeRow};

mod samples;

use samples::{SAMPLES, Sample, Shape};

/// How the values of a type arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// The same value, in a type that holds the same values.
    Exact,
    /// The same value, in a type that holds others too.
    Widened,
    /// PostgreSQL's text of the value.
    Text,
    /// The same value, save some that the type there does not hold: `unrepresentable` decides.
    Policy,
}

impl Class {
    /// Its word in the reference.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Widened => "widened",
            Self::Text => "text",
            Self::Policy => "policy",
        }
    }
}

/// A source type, and what it is read as.
#[derive(Debug, Clone)]
pub struct Reading {
    /// The type as `format_type` prints it, or what it is if a user made it.
    pub name: String,
    /// What it is for a destination.
    pub field: Field,
    /// Its type at a PostgreSQL destination; `None` for one without PostgreSQL's types.
    pub own: Option<String>,
    /// Whether tables with it can be followed in the log's binary form.
    pub binary: bool,
    /// How its values arrive.
    pub class: Class,
    /// Which values are left to `unrepresentable`.
    pub refused: Option<&'static str>,
}

/// Every built-in type and every sort of type that users make, for a destination that holds
/// PostgreSQL's own types or for one that does not; each followed by its array.
#[must_use]
pub fn readings(native: bool) -> Vec<Reading> {
    let mapping = Mapping { native, ..Mapping::default() };
    SAMPLES
        .iter()
        .flat_map(|sample| [read(sample, false, mapping), read(sample, true, mapping)])
        .collect()
}

/// The oid that a type has here if users make it.
const MADE: u32 = 100_000;
/// The oid of the array of the type at hand.
const ARRAY: u32 = 100_001;

fn read(sample: &Sample, array: bool, mapping: Mapping) -> Reading {
    let types = type_map(sample);
    let oid = if array { ARRAY } else { sample.oid_here() };
    let name = if array { format!("{}[]", sample.name) } else { sample.name.to_owned() };
    let printed = match sample.shape {
        Shape::BuiltIn | Shape::Range | Shape::Multirange => name.clone(),
        _ if array => "public.made[]".to_owned(),
        _ => "public.made".to_owned(),
    };
    let (kind, native_type) = types.describe((oid, sample.modifier, &printed), mapping);
    let field = kind.field("v");
    let refused = refused(&kind);
    let own = mapping.native.then(|| match stands_as(&native_type, &field) {
        own if own == printed => name.clone(),
        other => other,
    });
    let class = match &own {
        _ if refused.is_some() => Class::Policy,
        Some(own) if *own == name => Class::Exact,
        Some(_) => Class::Text,
        None if is_text(&field) && !sample.shape.is_textual(sample.name) => Class::Text,
        None if sample.is_limited() => Class::Widened,
        None => Class::Exact,
    };
    Reading { name, binary: kind.reads_binary(), field, own, class, refused }
}

/// Whether the text of some type's output function is in it.
fn is_text(field: &Field) -> bool {
    match field.data_type() {
        DataType::Utf8 => rowtide_core::ext::name_of(field).is_none(),
        DataType::List(item) => is_text(item),
        _ => false,
    }
}

/// The values that what a kind is read as cannot hold.
fn refused(kind: &Kind) -> Option<&'static str> {
    match kind {
        Kind::Decimal { .. } => Some("NaN"),
        Kind::Interval => Some("more hours than 292 years have; infinity"),
        Kind::Timestamp | Kind::TimestampTz => Some("after the year 294246"),
        Kind::List(_) => Some("several dimensions; a lower bound other than 1"),
        _ => None,
    }
}

fn type_map(sample: &Sample) -> TypeMap {
    let row = |class, name: &str| TypeRow { class, name: name.to_owned(), ..TypeRow::default() };
    let integer = TypeRow { base_modifier: -1, ..row(b'b', "int4") };
    let bare = sample.name.split('(').next().unwrap_or_default();
    let own = match sample.shape {
        Shape::BuiltIn => row(b'b', bare),
        Shape::Range => row(b'r', bare),
        Shape::Multirange => row(b'm', bare),
        Shape::Enum => row(b'e', "made"),
        Shape::Composite => TypeRow { attributes: attributes(), ..row(b'c', "made") },
        Shape::Domain => TypeRow {
            base: 23,
            base_modifier: -1,
            base_name: "integer".to_owned(),
            ..row(b'd', "made")
        },
        Shape::Extension => {
            TypeRow { extension: Some(sample.name.to_owned()), ..row(b'b', sample.name) }
        }
    };
    let array = TypeRow { element: sample.oid_here(), ..row(b'b', "_made") };
    let text = TypeRow { base_modifier: -1, ..row(b'b', "text") };
    let rows = [(23, integer), (25, text), (sample.oid_here(), own), (ARRAY, array)];
    TypeMap { rows: rows.into_iter().collect() }
}

/// Those of the composite type that stands for all: a number and a text.
fn attributes() -> Vec<AttributeRow> {
    let one = |(name, oid, printed): (&str, u32, &str)| AttributeRow {
        name: name.to_owned(),
        oid,
        modifier: -1,
        printed: printed.to_owned(),
    };
    [("a", 23, "integer"), ("b", 25, "text")].into_iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(name: &str, native: bool) -> (Class, Option<String>) {
        let found = readings(native).into_iter().find(|reading| reading.name == name).unwrap();
        (found.class, found.own)
    }

    #[test]
    fn classes_follow_the_mapping() {
        assert_eq!(class("integer", false).0, Class::Exact);
        assert_eq!(class("numeric(10,2)", false).0, Class::Policy);
        assert_eq!(class("numeric", false).0, Class::Text);
        assert_eq!(class("character varying(20)", false).0, Class::Widened);
        assert_eq!(class("an enum", false).0, Class::Widened);
        assert_eq!(class("integer[]", false).0, Class::Policy);
        assert_eq!(class("text[]", false).0, Class::Policy);
        let own = |name: &str| (Class::Exact, Some(name.to_owned()));
        for name in ["numeric(10,2)", "integer[]", "an enum", "a composite type", "interval"] {
            assert_eq!(class(name, true), own(name), "{name}");
        }
        assert_eq!(class("regclass", true), (Class::Text, Some("text".into())));
        assert_eq!(class("regclass[]", true), (Class::Text, Some("text[]".into())));
    }

    #[test]
    fn no_type_is_told_twice() {
        let mut names: Vec<_> = readings(false).into_iter().map(|reading| reading.name).collect();
        names.sort();
        let told = names.len();
        names.dedup();
        assert_eq!(names.len(), told);
    }
}
