//! Names in SQL text. Every statement of this crate quotes through here; values never stand in
//! SQL text that is run here: they cross as Arrow or as bound parameters. Only the bounds of a range
//! of keys do, quoted, once they were read strictly by their type.

use std::fmt;
use std::sync::Arc;

use rowtide_core::TableName;

/// A name that displays as a quoted identifier.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ident<'a>(pub(crate) &'a str);

impl fmt::Display for Ident<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0.replace('"', "\"\""))
    }
}

/// A table with its catalog, displayed quoted. The catalog is always spelled out: DuckDB refuses
/// `a.b` as ambiguous when both a catalog and a schema are called `a`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct TableRef {
    pub(crate) catalog: Arc<str>,
    pub(crate) schema: Arc<str>,
    pub(crate) name: Arc<str>,
}

impl TableRef {
    /// `table` in `catalog`.
    pub(crate) fn new(catalog: &Arc<str>, table: &TableName) -> Self {
        Self {
            catalog: Arc::clone(catalog),
            schema: Arc::clone(&table.schema),
            name: Arc::clone(&table.name),
        }
    }

    /// The table called `name` beside this one.
    pub(crate) fn sibling(&self, name: impl Into<Arc<str>>) -> Self {
        Self { name: name.into(), ..self.clone() }
    }

    /// The schema, quoted, with its catalog.
    pub(crate) fn schema(&self) -> String {
        format!("{}.{}", Ident(&self.catalog), Ident(&self.schema))
    }
}

impl fmt::Display for TableRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", Ident(&self.catalog), Ident(&self.schema), Ident(&self.name))
    }
}

/// `items`, each as `show` writes it, with `separator` between them.
pub(crate) fn join<T>(
    items: impl IntoIterator<Item = T>,
    separator: &str,
    show: impl Fn(T) -> String,
) -> String {
    items.into_iter().map(show).collect::<Vec<_>>().join(separator)
}

/// `name` as DuckDB compares names: without regard to the case of ASCII letters.
pub(crate) fn fold(name: &str) -> String {
    name.to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_are_doubled() {
        assert_eq!(Ident("a\"b").to_string(), "\"a\"\"b\"");
        let table = TableRef { catalog: "c.d".into(), schema: "s".into(), name: "select".into() };
        assert_eq!(table.to_string(), "\"c.d\".\"s\".\"select\"");
    }
}
