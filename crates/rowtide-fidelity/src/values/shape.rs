//! The same value as text, by SQL of each side: nothing here knows how Rowtide decodes.
//!
//! What DuckDB made of a column says how it is looked at: a structure field by field, a list item
//! by item, a time as its number of microseconds. PostgreSQL is asked the same of its own value.

/// NULL inside of a value.
pub(super) const NULL: &str = "\u{1}";
/// Around a floating-point number: each side prints those in words of its own.
const FLOAT: char = '\u{2}';
/// Between parts of a value.
pub(super) const BETWEEN: char = '\u{1f}';

/// What DuckDB says of a column's type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Shape {
    Scalar(String),
    List(Box<Shape>),
    Struct(Vec<(String, Shape)>),
}

impl Shape {
    /// Reads the type as DuckDB's catalog spells it.
    pub(super) fn parse(spelled: &str) -> Self {
        let spelled = spelled.trim();
        if let Some(rest) = spelled.strip_suffix(']')
            && let Some((item, _)) = rest.rsplit_once('[')
        {
            return Self::List(Box::new(Self::parse(item)));
        }
        let inside = spelled.strip_prefix("STRUCT(").and_then(|rest| rest.strip_suffix(')'));
        match inside {
            Some(inside) => Self::Struct(fields(inside)),
            None => Self::Scalar(spelled.to_owned()),
        }
    }

    /// Expressions that render `value` at PostgreSQL and `there` at DuckDB; NULL for NULL.
    pub(super) fn rendered(&self, (value, there): (&str, &str), depth: usize) -> (String, String) {
        match self {
            Self::Scalar(name) => scalar(name, value, there),
            Self::List(item) => list(item, (value, there), depth),
            Self::Struct(fields) => structure(fields, (value, there), depth),
        }
    }
}

/// `a INTEGER, "b c" VARCHAR`, with commas and quotes inside of names and types.
fn fields(inside: &str) -> Vec<(String, Shape)> {
    let (mut depth, mut quoted, mut start) = (0_i32, false, 0);
    let mut parts = Vec::new();
    for (at, character) in inside.char_indices() {
        match character {
            '"' => quoted = !quoted,
            '(' if !quoted => depth += 1,
            ')' if !quoted => depth -= 1,
            ',' if !quoted && depth == 0 => {
                parts.push(&inside[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&inside[start..]);
    parts.into_iter().map(|part| field(part.trim())).collect()
}

fn field(part: &str) -> (String, Shape) {
    let Some(quoted) = part.strip_prefix('"') else {
        let (name, kind) = part.split_once(' ').unwrap_or((part, ""));
        return (name.to_owned(), Shape::parse(kind));
    };
    let mut name = String::new();
    let mut rest = quoted;
    while let Some((before, after)) = rest.split_once('"') {
        name.push_str(before);
        rest = after;
        match after.strip_prefix('"') {
            Some(more) => {
                name.push('"');
                rest = more;
            }
            None => break,
        }
    }
    (name, Shape::parse(rest))
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn scalar(name: &str, value: &str, there: &str) -> (String, String) {
    let plain = format!("{there}::VARCHAR");
    match name {
        "BOOLEAN" => (format!("({value})::boolean::text"), plain),
        "FLOAT" | "DOUBLE" => {
            let (bits, mark) =
                (if name == "FLOAT" { "4" } else { "8" }, format!("chr({})", u32::from(FLOAT)));
            let around = |text: String| format!("{mark} || '{bits}' || {text} || {mark}");
            (around(format!("({value})::text")), around(plain))
        }
        "BLOB" => (
            format!("md5({value}) || ' ' || length({value})"),
            format!("md5({there}) || ' ' || octet_length({there})"),
        ),
        "DATE" => (
            infinite(value, &format!("({value} - date '1970-01-01')::text"), "'1970-01-01'"),
            infinite_there(
                there,
                &format!("date_diff('day', DATE '1970-01-01', {there})::VARCHAR"),
                "DATE '1970-01-01'",
            ),
        ),
        "TIMESTAMP" | "TIMESTAMP WITH TIME ZONE" => (
            infinite(
                value,
                &format!("trunc(extract(epoch FROM {value}) * 1000000)::text"),
                "'1970-01-01'",
            ),
            infinite_there(
                there,
                &format!("epoch_us({there})::VARCHAR"),
                &format!("'1970-01-01'::{name}"),
            ),
        ),
        "TIME" => (
            format!("trunc(extract(epoch FROM {value}) * 1000000)::text"),
            format!("epoch_us({there})::VARCHAR"),
        ),
        // DuckDB leaves out the minutes of an offset of seconds when it prints.
        "TIME WITH TIME ZONE" => (parts_of_time(value), parts_of_time(there)),
        // Months, days and microseconds: each side prints them in words of its own.
        "INTERVAL" => (
            format!(
                "CASE WHEN isfinite({value}) THEN {} ELSE ({value})::text END",
                parts_of_interval(value)
            ),
            parts_of_interval(there),
        ),
        // The type's output function: a cast would strip the padding of char(n), and add the mask
        // of inet.
        _ => (
            format!("CASE WHEN ({value}) IS DISTINCT FROM NULL THEN format('%s', {value}) END"),
            plain,
        ),
    }
}

fn infinite(value: &str, finite: &str, middle: &str) -> String {
    format!(
        "CASE WHEN {value} IS NULL THEN NULL WHEN isfinite({value}) THEN {finite} \
         WHEN {value} > {middle} THEN 'after' ELSE 'before' END"
    )
}

fn infinite_there(value: &str, finite: &str, middle: &str) -> String {
    format!(
        "CASE WHEN {value} IS NULL THEN NULL WHEN isfinite({value}) THEN {finite} \
         WHEN {value} > {middle} THEN 'after' ELSE 'before' END"
    )
}

fn parts_of_time(value: &str) -> String {
    let part = |name: &str| format!("extract({name} FROM {value})::bigint::text");
    ["hour", "minute", "microseconds", "timezone"].map(part).join(" || ' ' || ")
}

fn parts_of_interval(value: &str) -> String {
    let part = |name: &str| format!("extract({name} FROM {value})::bigint");
    let [year, month, day] = ["year", "month", "day"].map(part);
    let [hour, minute, second] = ["hour", "minute", "microseconds"].map(part);
    format!(
        "({year} * 12 + {month})::text || ' ' || {day}::text || ' ' || \
         ({hour} * 3600000000 + {minute} * 60000000 + {second})::text"
    )
}

fn list(item: &Shape, (value, there): (&str, &str), depth: usize) -> (String, String) {
    let (subscript, name) = (format!("i{depth}"), format!("e{depth}"));
    let (own, theirs) = item.rendered((&format!("({value})[{subscript}]"), &name), depth + 1);
    (
        format!(
            "CASE WHEN ({value}) IS NOT NULL THEN cardinality({value}) || ':' || coalesce((SELECT \
             string_agg(coalesce({own}, chr(1)), chr(31) ORDER BY {subscript}) FROM \
             generate_subscripts({value}, 1) {subscript}), '') END"
        ),
        format!(
            "len({there})::VARCHAR || ':' || coalesce(array_to_string(list_transform({there}, \
             lambda {name}: coalesce({theirs}, chr(1))), chr(31)), '')"
        ),
    )
}

fn structure(
    fields: &[(String, Shape)],
    (value, there): (&str, &str),
    depth: usize,
) -> (String, String) {
    let mut sides = (Vec::new(), Vec::new());
    for (name, shape) in fields {
        let name = quoted(name);
        let (own, theirs) =
            shape.rendered((&format!("({value}).{name}"), &format!("({there}).{name}")), depth);
        sides.0.push(format!("coalesce({own}, chr(1))"));
        sides.1.push(format!("coalesce({theirs}, chr(1))"));
    }
    let between = " || chr(31) || ";
    (
        format!("CASE WHEN ({value}) IS DISTINCT FROM NULL THEN {} END", sides.0.join(between)),
        format!("CASE WHEN ({there}) IS NOT NULL THEN {} END", sides.1.join(between)),
    )
}

/// A rendering in which floating-point numbers are their bits.
pub(super) fn with_bits(text: &str) -> String {
    let parts =
        text.split(FLOAT).enumerate().map(|(at, part)| match (at % 2, part.split_at_checked(1)) {
            (1, Some(("4", number))) => number.parse::<f32>().map_or(part.to_owned(), |f| {
                format!("{:08x}", canonical(f.into(), f.to_bits().into()))
            }),
            (1, Some((_, number))) => number
                .parse::<f64>()
                .map_or(part.to_owned(), |f| format!("{:016x}", canonical(f, f.to_bits()))),
            _ => part.to_owned(),
        });
    parts.collect()
}

/// All NaNs are one: no text tells them apart.
fn canonical(number: f64, bits: u64) -> u64 {
    if number.is_nan() { u64::MAX } else { bits }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scalar(name: &str) -> Shape {
        Shape::Scalar(name.to_owned())
    }

    #[test]
    fn types_are_read_as_duckdb_spells_them() {
        let spelled = "STRUCT(a INTEGER, \"b, \"\"c\"\"\" DECIMAL(10,2)[])[]";
        let fields = vec![
            ("a".to_owned(), scalar("INTEGER")),
            ("b, \"c\"".to_owned(), Shape::List(Box::new(scalar("DECIMAL(10,2)")))),
        ];
        assert_eq!(Shape::parse(spelled), Shape::List(Box::new(Shape::Struct(fields))));
        assert_eq!(Shape::parse("FLOAT[3]"), Shape::List(Box::new(scalar("FLOAT"))));
    }

    #[test]
    fn numbers_are_compared_by_their_bits() {
        let both = |a: &str, b: &str| {
            with_bits(&format!("x\u{2}8{a}\u{2}")) == with_bits(&format!("x\u{2}8{b}\u{2}"))
        };
        assert!(
            both("1e+22", "1e22")
                && both("NaN", "nan")
                && both("-0", "-0.0")
                && both("Infinity", "inf")
        );
        assert!(!both("-0", "0") && !both("0.1", "0.10000000000000002"));
    }
}
