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

/// The name itself if it fits into `bytes`; else its beginning and a number that the whole of it
/// gives, so that names which differ only near the end stay apart.
pub(crate) fn shortened(text: &str, bytes: usize) -> String {
    const DIGITS: usize = 8;
    if text.len() <= bytes {
        return text.to_owned();
    }
    // FNV-1a. It must give the same for ever: things at servers bear the name.
    let step = |hash: u32, byte: u8| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    let hash = text.bytes().fold(0x811c_9dc5, step);
    format!("{}_{hash:08x}", limited(text, bytes - DIGITS - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shortened_names_stay_apart_and_the_same() {
        assert_eq!(shortened("short", 16), "short");
        assert_eq!(shortened("exactly_sixteen_", 16), "exactly_sixteen_");
        assert_eq!(shortened("a_name_too_long_1", 16), "a_name__b88157ae");
        assert_ne!(shortened("a_name_too_long_2", 16), shortened("a_name_too_long_1", 16));
        assert!(shortened(&"é".repeat(20), 16).len() <= 16);
    }

    #[test]
    fn odd_names_survive() {
        assert_eq!(identifier("a\"b"), "\"a\"\"b\"");
        assert_eq!(literal("it's"), "'it''s'");
        assert_eq!(literal("a\\b"), " E'a\\\\b'");
        assert_eq!(identifier_list(["a,b", "c"]), "\"a,b\",\"c\"");
        assert_eq!(table_name(&TableName::new("S", "t.x")), "\"S\".\"t.x\"");
    }
}
