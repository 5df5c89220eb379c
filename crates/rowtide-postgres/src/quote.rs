//! The one place where names and strings become SQL text.

use rowtide_core::TableName;

/// A name as an SQL identifier, always quoted.
#[must_use]
pub fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A schema-qualified table name.
#[must_use]
pub fn table_name(table: &TableName) -> String {
    format!("{}.{}", identifier(&table.schema), identifier(&table.name))
}

/// A string as an SQL literal that means the same whatever `standard_conforming_strings` says.
#[must_use]
pub fn literal(text: &str) -> String {
    let quoted = text.replace('\'', "''");
    if quoted.contains('\\') {
        format!(" E'{}'", quoted.replace('\\', "\\\\"))
    } else {
        format!("'{quoted}'")
    }
}

/// A string as the replication grammar wants it: it knows no escapes but the doubled quote.
pub(crate) fn replication_literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// A list of names as `publication_names` is parsed: as identifiers.
pub(crate) fn identifier_list<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    names.into_iter().map(identifier).collect::<Vec<_>>().join(",")
}

/// As much of a name as fits into `bytes`.
pub(crate) fn limited(text: &str, bytes: usize) -> String {
    let mut end = text.len().min(bytes);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_names_survive() {
        assert_eq!(identifier("a\"b"), "\"a\"\"b\"");
        assert_eq!(literal("it's"), "'it''s'");
        assert_eq!(literal("a\\b"), " E'a\\\\b'");
        assert_eq!(identifier_list(["a,b", "c"]), "\"a,b\",\"c\"");
        assert_eq!(table_name(&TableName::new("S", "t.x")), "\"S\".\"t.x\"");
    }
}
