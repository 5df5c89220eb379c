//! The canonical form of rows, made by the server: what [`rowtide_core::canonical`] makes of the
//! Arrow values that the same rows are read into.
//!
//! Under the sessions' pinned settings most output functions print a value just so; what they do
//! not is left to [`rowtide_core::canonical::Encoder`], and its table is read row by row.

use rowtide_core::Result;

use crate::client::{Sql, get};
use crate::quote::identifier;
use crate::types::{Kind, parts};

/// Whether the server's own means give the canonical form: it holds text as UTF-8, hashes as on a
/// machine whose lowest byte comes first, and takes for white space in rows what everybody does.
/// (Some systems' C libraries take bytes for white space that are parts of characters.)
const FAITHFUL: &str = "\
WITH all_of (c) AS (
    SELECT pg_catalog.chr(n) FROM pg_catalog.generate_series(1, 2047) AS n
    UNION ALL SELECT pg_catalog.chr(4096 * n) FROM pg_catalog.generate_series(1, 16) AS n
    UNION ALL SELECT pg_catalog.chr(262144 * n) FROM pg_catalog.generate_series(1, 4) AS n
    UNION ALL SELECT pg_catalog.chr(2048))
SELECT pg_catalog.bool_and(
           (pg_catalog.left(ROW(c)::text, 2) = '(\"')
           = (pg_catalog.strpos(E' \\t\\n\\x0b\\f\\r\"\\\\(),', c) > 0))
       AND pg_catalog.hashtextextended('abcdefghijklm' COLLATE \"C\", 1) = 3808842878744369845
FROM all_of";

/// Whether the server behind `sql` can make the canonical form of anything.
pub(crate) async fn is_made_by(sql: &Sql, doing: &str) -> Result<bool> {
    let query = "SELECT pg_catalog.current_setting('server_encoding') = 'UTF8'";
    if !get::<bool>(&sql.row(doing, query, &[]).await?, 0)? {
        return Ok(false);
    }
    get(&sql.row(doing, FAITHFUL, &[]).await?, 0)
}

/// An expression for the canonical form of column `name`, whose values are read as `kind` and
/// whose type is `printed` (by `format_type`, without its domain); `None` if SQL has none.
pub(crate) fn value(name: &str, kind: &Kind, printed: &str) -> Option<String> {
    let column = identifier(name);
    match kind {
        Kind::Float32 => Some(float(&column, "4", "7fc00000")),
        Kind::Float64 => Some(float(&column, "8", "7ff8000000000000")),
        _ => is_printed(kind, Some(printed)).then_some(column),
    }
}

fn float(column: &str, size: &str, nan: &str) -> String {
    format!(
        "CASE WHEN {column} = 'NaN' THEN '{nan}' \
         ELSE pg_catalog.encode(pg_catalog.float{size}send({column}), 'hex') END"
    )
}

/// Whether the output function prints the canonical form of every value.
fn is_printed(kind: &Kind, printed: Option<&str>) -> bool {
    match kind {
        // Only the type itself makes all values have as many digits.
        Kind::Decimal { precision, scale } => {
            printed.is_some_and(|printed| printed == format!("numeric({precision},{scale})"))
        }
        Kind::Struct(attributes) => attributes.iter().all(|one| {
            let (printed, real) = parts(&one.native);
            is_printed(&one.kind, Some(real.unwrap_or(printed)))
        }),
        // What no list holds, several dimensions or other bounds, is printed as no list is.
        Kind::List(item) => is_printed(item, None),
        Kind::Float32 | Kind::Float64 | Kind::Vector => false,
        Kind::Bool | Kind::Int16 | Kind::Int32 | Kind::Int64 | Kind::UInt32 | Kind::UInt64 => true,
        Kind::NumericText | Kind::Text | Kind::Json | Kind::Jsonb | Kind::Bytes => true,
        Kind::Date | Kind::Time | Kind::TimeTz | Kind::Timestamp | Kind::TimestampTz => true,
        Kind::Interval | Kind::Uuid | Kind::Bit | Kind::BitText | Kind::Opaque => true,
    }
}

/// How rows and their keys are hashed in SQL.
#[derive(Debug, Clone)]
pub(crate) struct Forms {
    /// The row's columns.
    row: Vec<String>,
    /// Those of the key; `None` without one, where the row stands for it.
    key: Option<Vec<String>>,
}

impl Forms {
    /// From each column's form, in order, and the key's columns; `None` if one has none.
    pub(crate) fn new(columns: &[Option<String>], key: Option<&[usize]>) -> Option<Self> {
        let row: Vec<String> = columns.iter().cloned().collect::<Option<_>>()?;
        let of_key = |key: &[usize]| key.iter().map(|&at| row.get(at).cloned()).collect();
        let key: Option<Option<Vec<String>>> = key.map(of_key);
        let key = match key {
            Some(key) => Some(key?),
            None => None,
        };
        Some(Self { row, key })
    }

    /// A query for the sums of each bucket of what `from` (with its conditions) gives.
    pub(crate) fn sums(&self, from: &str, bucket_bits: u32) -> String {
        let mask = (1_u64 << bucket_bits) - 1;
        let row = record(&self.row);
        // OFFSET keeps the text and the hashes from being made more than once.
        let inner = match &self.key {
            Some(key) => {
                let key = record(key);
                format!(
                    "SELECT pg_catalog.hashtextextended(r, 0) AS f, \
                     pg_catalog.hashtextextended(r, 1) AS s, k & {mask} AS b \
                     FROM (SELECT {row} AS r, pg_catalog.hashtextextended({key}, 0) AS k {from} \
                     OFFSET 0) AS t"
                )
            }
            None => format!(
                "SELECT f, s, f & {mask} AS b \
                 FROM (SELECT pg_catalog.hashtextextended(r, 0) AS f, \
                 pg_catalog.hashtextextended(r, 1) AS s \
                 FROM (SELECT {row} AS r {from} OFFSET 0) AS t OFFSET 0) AS t"
            ),
        };
        format!(
            "SELECT b, pg_catalog.count(*), pg_catalog.sum(f)::text, pg_catalog.sum(s)::text \
             FROM ({inner}) AS t GROUP BY b"
        )
    }
}

/// An expression for the hash that chooses a row's bucket, from the forms of the columns that do.
pub(crate) fn bucket_hash(columns: &[String]) -> String {
    format!("pg_catalog.hashtextextended({}, 0)", record(columns))
}

fn record(columns: &[String]) -> String {
    format!("ROW({})::text COLLATE \"C\"", columns.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_printed_alike_has_a_form() {
        let decimal = Kind::Decimal { precision: 10, scale: 2 };
        assert_eq!(value("a", &decimal, "numeric(10,2)").as_deref(), Some("\"a\""));
        assert_eq!(value("a", &decimal, "numeric"), None);
        let list = |item| Kind::List(Box::new(item));
        assert_eq!(value("a", &list(Kind::Text), "text[]").as_deref(), Some("\"a\""));
        assert_eq!(value("a", &list(Kind::Float64), "double precision[]"), None);
        assert_eq!(value("a", &list(decimal), "numeric(10,2)[]"), None);
        assert!(value("a", &Kind::Float32, "real").is_some_and(|form| form.contains("7fc00000")));
        assert_eq!(value("a", &Kind::Vector, "public.vector"), None);
    }

    #[test]
    fn a_key_without_a_form_leaves_nothing_to_sum() {
        let columns = [Some("a".to_owned()), None];
        assert!(Forms::new(&columns, Some(&[0])).is_none());
        assert!(Forms::new(&columns[..1], Some(&[0])).is_some());
    }
}
