//! How each side renders a value as canonical text.

use std::collections::HashMap;

use crate::Result;

/// One column and how each side renders it: NULL, or canonical text.
pub(super) struct Rendered {
    pub(super) source: String,
    pub(super) destination: String,
}

/// Both sides' expression for a value of the type that `format_type` calls `kind`; `c` and `d` are
/// the value at the source and at the destination.
pub(super) fn rendered((c, d): (&str, &str), kind: &str) -> Rendered {
    let (source, destination) = match kind {
        "timestamp without time zone" | "timestamp with time zone" => (
            format!("(extract(epoch from {c}) * 1000000)::bigint::text"),
            format!("epoch_us({d})::VARCHAR"),
        ),
        // Months, days and microseconds: each side prints them in words of its own.
        "interval" => {
            let text = |value: &str| {
                let part = |name: &str| format!("extract({name} FROM {value})::bigint");
                let [year, month, day] = ["year", "month", "day"].map(part);
                let [hour, minute, second] = ["hour", "minute", "microseconds"].map(part);
                format!(
                    "({year} * 12 + {month})::text || ' ' || {day}::text || ' ' || \
                     ({hour} * 3600000000 + {minute} * 60000000 + {second})::text"
                )
            };
            (text(c), text(d))
        }
        "bytea" => (format!("encode({c}, 'hex')"), format!("lower(hex({d}))")),
        "real" | "double precision" => (
            // Both sides round to the same 15 significant digits.
            format!("round({c}::numeric, 6)::text"),
            format!(
                "CASE WHEN {d} IS NULL THEN NULL WHEN isnan({d}) THEN 'NaN' \
                 WHEN isinf({d}) THEN if({d} > 0, 'Infinity', '-Infinity') \
                 ELSE round(try_cast({d} AS DECIMAL(38,6)), 6)::VARCHAR END"
            ),
        ),
        _ if kind.ends_with("[]") => (
            format!("array_to_string({c}, ',', 'NULL')"),
            format!(
                "array_to_string(list_transform({d}, lambda x: coalesce(x::VARCHAR, 'NULL')), ',')"
            ),
        ),
        "boolean" => (format!("{c}::text"), format!("{d}::VARCHAR")),
        // The type's output function: a cast would strip the padding of char(n) and add the mask
        // of inet.
        _ => (
            format!("CASE WHEN {c} IS DISTINCT FROM NULL THEN format('%s', {c}) END"),
            format!("{d}::VARCHAR"),
        ),
    };
    Rendered { source, destination }
}

/// Stands for NULL inside of a value.
const NULL: &str = "\u{1d}";

/// The types that a table's columns have and are made of, by oid.
#[derive(Default)]
pub(super) struct Types(HashMap<String, Type>);

#[derive(Default)]
struct Type {
    printed: String,
    /// What a domain stands on; empty for other types.
    base: String,
    /// The element of an array; empty for other types.
    element: String,
    /// Of a composite type: names and types.
    attributes: Vec<(String, String)>,
}

impl Types {
    /// Asks the source.
    pub(super) fn load(
        query: impl Fn(&str) -> Result<Vec<String>>,
        quoted_table: &str,
    ) -> Result<Self> {
        let used = format!(
            "WITH RECURSIVE used (oid) AS (SELECT atttypid FROM pg_attribute \
             WHERE attrelid = '{quoted_table}'::regclass AND attnum > 0 AND NOT attisdropped \
             UNION SELECT below.oid FROM used JOIN pg_type t ON t.oid = used.oid, LATERAL ( \
             SELECT t.typbasetype UNION ALL SELECT t.typelem UNION ALL SELECT a.atttypid \
             FROM pg_attribute a WHERE a.attrelid = t.typrelid AND t.typtype = 'c' \
             AND a.attnum > 0 AND NOT a.attisdropped) AS below (oid) WHERE below.oid <> 0)"
        );
        let rows = query(&format!(
            "{used} SELECT concat_ws(E'\\x1f', t.oid, t.typbasetype, \
             CASE WHEN e.oid IS NULL THEN 0 ELSE t.typelem END, format_type(t.oid, NULL)) \
             FROM used JOIN pg_type t ON t.oid = used.oid \
             LEFT JOIN pg_type e ON e.oid = t.typelem AND e.typarray = t.oid"
        ))?;
        let mut types = Self::default();
        let known = |oid: &str| if oid == "0" { String::new() } else { oid.to_owned() };
        for row in &rows {
            let [oid, base, element, printed] = row.split('\u{1f}').collect::<Vec<_>>()[..] else {
                return Err(format!("unexpected type: {row}"));
            };
            let (base, element) = (known(base), known(element));
            let found = Type { printed: printed.to_owned(), base, element, attributes: Vec::new() };
            types.0.insert(oid.to_owned(), found);
        }
        let rows = query(&format!(
            "{used} SELECT concat_ws(E'\\x1f', t.oid, a.attname, a.atttypid) \
             FROM used JOIN pg_type t ON t.oid = used.oid \
             JOIN pg_attribute a ON a.attrelid = t.typrelid AND t.typtype = 'c' \
             WHERE a.attnum > 0 AND NOT a.attisdropped ORDER BY t.oid, a.attnum"
        ))?;
        for row in &rows {
            let [oid, name, kind] = row.split('\u{1f}').collect::<Vec<_>>()[..] else {
                return Err(format!("unexpected attribute: {row}"));
            };
            if let Some(found) = types.0.get_mut(oid) {
                found.attributes.push((name.to_owned(), kind.to_owned()));
            }
        }
        Ok(types)
    }

    /// Both sides' expression for a value of the type `oid`, which lies `depth` deep in another.
    pub(super) fn rendered(&self, (c, d): (&str, &str), oid: &str, depth: usize) -> Rendered {
        let Some(found) = self.0.get(oid) else { return rendered((c, d), "") };
        if !found.base.is_empty() {
            return self.rendered((c, d), &found.base, depth);
        }
        if !found.element.is_empty() {
            let (n, x) = (format!("n{depth}"), format!("x{depth}"));
            let item = self.rendered((&format!("({c})[{n}]"), &x), &found.element, depth + 1);
            let Rendered { source, destination } = item;
            return Rendered {
                source: format!(
                    "CASE WHEN {c} IS NOT NULL THEN coalesce((SELECT string_agg(coalesce({source}, \
                     '{NULL}'), ',' ORDER BY {n}) FROM generate_subscripts({c}, 1) AS {n}), '') END"
                ),
                destination: format!(
                    "CASE WHEN {d} IS NOT NULL THEN coalesce(array_to_string(list_transform({d}, \
                     lambda {x}: coalesce({destination}, '{NULL}')), ','), '') END"
                ),
            };
        }
        if found.attributes.is_empty() {
            return rendered((c, d), &found.printed);
        }
        let (mut source, mut destination) = (String::new(), String::new());
        for (name, kind) in &found.attributes {
            let attribute = self.rendered(
                (
                    &format!("({c}).\"{}\"", name.replace('"', "\"\"")),
                    &format!("struct_extract({d}, '{}')", name.replace('\'', "''")),
                ),
                kind,
                depth,
            );
            source.push_str(&format!(", coalesce({}, '{NULL}'), ';'", attribute.source));
            let text = format!(", coalesce({}, '{NULL}'), ';'", attribute.destination);
            destination.push_str(&text);
        }
        // A composite value IS NULL if all of its attributes are; this asks for the value alone.
        Rendered {
            source: format!("CASE WHEN {c} IS DISTINCT FROM NULL THEN concat('('{source}) END"),
            destination: format!("CASE WHEN {d} IS NOT NULL THEN concat('('{destination}) END"),
        }
    }
}
