//! Types in words: what a source's description says, and what an Arrow type is called here.
//!
//! All names are as `format_type` prints them under an empty search path: built-in types bare,
//! others schema-qualified, quoted where they must be.

use arrow_schema::{DataType, Field, TimeUnit};
use rowtide_core::ext;

use crate::types::parts;

/// Built-in types whose input function takes nothing, or whose values name objects of the server
/// they come from.
const ONLY_THERE: &[&str] = &[
    "aclitem",
    "gtsvector",
    "pg_brin_bloom_summary",
    "pg_brin_minmax_multi_summary",
    "pg_dependencies",
    "pg_mcv_list",
    "pg_ndistinct",
    "pg_node_tree",
    "regclass",
    "regcollation",
    "regconfig",
    "regdatabase",
    "regdictionary",
    "regnamespace",
    "regoper",
    "regoperator",
    "regproc",
    "regprocedure",
    "regrole",
    "regtype",
];

/// A description by [`TypeMap::describe`](crate::types::TypeMap::describe), taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Described<'a> {
    /// The type's own name.
    pub(super) printed: &'a str,
    /// What it is underneath, where that is another type.
    pub(super) real: Option<&'a str>,
}

impl<'a> Described<'a> {
    pub(super) fn new(native: &'a str) -> Self {
        let (printed, real) = parts(native);
        Self { printed, real }
    }

    pub(super) fn is_array(self) -> bool {
        self.printed.ends_with("[]")
    }

    /// Whether values mean something only at the server they come from.
    pub(super) fn is_only_there(self) -> bool {
        let name = self.real.unwrap_or(self.printed);
        ONLY_THERE.contains(&name.strip_suffix("[]").unwrap_or(name))
    }

    /// The name of what stands for the type where it does not exist, if the description tells.
    pub(super) fn stand_in(self) -> Option<String> {
        let array = self.is_array();
        match self.real {
            _ if self.is_only_there() => array.then(|| "text[]".to_owned()),
            Some("enum" | "citext" | "vector" | "vector[]") => None,
            Some(real) if real.starts_with("composite(") => None,
            // Their elements are plain texts, and are quoted as texts in an array.
            Some("enum[]" | "citext[]") => Some("text[]".to_owned()),
            // An array of arrays has only the text of the whole.
            Some(real) if real.ends_with("[][]") => None,
            Some(real) => Some(real.to_owned()),
            None => None,
        }
    }
}

/// A type's name without its modifier: `timestamp(3) with time zone` → `timestamp with time zone`.
pub(super) fn without_modifier(printed: &str) -> String {
    let mut bare = String::with_capacity(printed.len());
    let (mut quoted, mut inside) = (false, false);
    for character in printed.chars() {
        quoted ^= character == '"';
        match character {
            '(' if !quoted => inside = true,
            ')' if !quoted => inside = false,
            _ if !inside => bare.push(character),
            _ => {}
        }
    }
    bare
}

/// The numbers in a type's modifier, and the name without it.
pub(super) fn modifier(printed: &str) -> (String, Option<Vec<i32>>) {
    let numbers = printed.split_once('(').and_then(|(_, rest)| rest.split_once(')'));
    let numbers = numbers.and_then(|(inside, _)| {
        inside.split(',').map(|number| number.trim().parse().ok()).collect::<Option<Vec<i32>>>()
    });
    (without_modifier(printed), numbers)
}

/// Whether this is a `numeric` that servers before 15 have no name for.
pub(super) fn is_numeric_of_newer(printed: &str) -> bool {
    let (name, numbers) = modifier(printed);
    let unusual = |numbers: Vec<i32>| match numbers[..] {
        [precision, scale] => scale < 0 || scale > precision,
        _ => false,
    };
    matches!(name.as_str(), "numeric" | "numeric[]") && numbers.is_some_and(unusual)
}

/// What an Arrow field's values are here when nothing else is known; `None` if they are not
/// written.
pub(super) fn natural(field: &Field) -> Option<String> {
    let fixed = match field.data_type() {
        DataType::Boolean => "boolean",
        DataType::Int16 => "smallint",
        DataType::Int32 => "integer",
        DataType::Int64 => "bigint",
        DataType::Float32 => "real",
        DataType::Float64 => "double precision",
        DataType::Decimal128(precision, scale) => {
            return Some(match scale {
                ..0 => "numeric".to_owned(),
                _ => format!("numeric({precision},{scale})"),
            });
        }
        DataType::Utf8 if ext::name_of(field) == Some(ext::JSON) => "json",
        DataType::Utf8 => "text",
        DataType::Binary if ext::name_of(field) == Some(ext::BIT) => return None,
        DataType::Binary => "bytea",
        DataType::Date32 => "date",
        DataType::Time64(TimeUnit::Microsecond) => "time without time zone",
        DataType::Timestamp(TimeUnit::Microsecond, None) => "timestamp without time zone",
        DataType::Timestamp(TimeUnit::Microsecond, Some(_)) => "timestamp with time zone",
        // Other bytes of this length are not written.
        DataType::FixedSizeBinary(16) => "uuid",
        DataType::List(item) if !matches!(item.data_type(), DataType::List(_)) => {
            return natural(item).map(|item| format!("{item}[]"));
        }
        _ => return None,
    };
    Some(fixed.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptions_come_apart_outside_of_quotes() {
        for (native, printed, real) in [
            ("integer", "integer", None),
            ("public.mood: enum", "public.mood", Some("enum")),
            (
                "\"a: b\".\"x\"\": y\"[]: numeric(5,2)",
                "\"a: b\".\"x\"\": y\"[]",
                Some("numeric(5,2)"),
            ),
            (
                "public.pair: composite(a integer, \"b: text\" public.mood: enum)",
                "public.pair",
                Some("composite(a integer, \"b: text\" public.mood: enum)"),
            ),
            ("\"a: b\".c", "\"a: b\".c", None),
        ] {
            assert_eq!(Described::new(native), Described { printed, real }, "{native}");
        }
    }

    #[test]
    fn modifiers_are_cut_out_of_names() {
        for (printed, bare, numbers) in [
            ("numeric(12,2)", "numeric", Some(vec![12, 2])),
            ("numeric(5,-2)[]", "numeric[]", Some(vec![5, -2])),
            ("timestamp(3) with time zone", "timestamp with time zone", Some(vec![3])),
            ("interval day to second(3)", "interval day to second", Some(vec![3])),
            ("public.geometry(Point,4326)", "public.geometry", None),
            ("\"odd(1)\".\"t(2)\"(3)", "\"odd(1)\".\"t(2)\"", Some(vec![1])),
            ("text", "text", None),
        ] {
            assert_eq!(without_modifier(printed), bare);
            let read = modifier(printed);
            // Quoted names never get as far as having their numbers compared.
            assert!(printed.contains('"') || read == (bare.to_owned(), numbers), "{printed}");
        }
        assert!(is_numeric_of_newer("numeric(3,5)"));
        assert!(is_numeric_of_newer("numeric(5,-2)[]"));
        assert!(!is_numeric_of_newer("numeric(5,2)"));
        assert!(!is_numeric_of_newer("numeric"));
    }

    #[test]
    fn what_is_missing_has_a_stand_in() {
        for (native, expected) in [
            ("public.mood: enum", None),
            ("public.mood[]: enum[]", Some("text[]")),
            ("public.price: numeric(10,2)", Some("numeric(10,2)")),
            ("public.price[]: numeric(10,2)[]", Some("numeric(10,2)[]")),
            ("public.numbers: integer[]", Some("integer[]")),
            ("public.moods: enum[]", Some("text[]")),
            ("public.numbers[]: integer[][]", None),
            ("public.pair[]", None),
            ("regclass", None),
            ("regclass[]", Some("text[]")),
            ("public.relation: regclass", None),
        ] {
            assert_eq!(Described::new(native).stand_in().as_deref(), expected, "{native}");
        }
    }
}
