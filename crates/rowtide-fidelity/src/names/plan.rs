//! Which name stands where.

use std::collections::BTreeSet;

use super::corpus::{corpus, kept};

/// How a table follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// The current rows, by key.
    Merge,
    /// Every event.
    Append,
    /// The current rows, without a key.
    Keyless,
}

/// One table. Its names are as PostgreSQL keeps them.
#[derive(Debug, Clone)]
pub(super) struct Table {
    pub(super) schema: String,
    pub(super) name: String,
    pub(super) kind: Kind,
    /// The first is the key, or would be.
    pub(super) columns: Vec<String>,
    /// What the second column is called in the end, if it is renamed.
    pub(super) renamed: Option<String>,
    /// A column that is added.
    pub(super) added: Option<String>,
    /// Taken out of the pipeline by its name.
    pub(super) excluded: bool,
}

/// How many columns a table has at first.
const COLUMNS: usize = 4;

/// All tables: each name of the corpus once as a table, and at least once in every other place
/// where PostgreSQL allows it.
pub(super) fn tables() -> Vec<Table> {
    let names = corpus();
    let count = names.len();
    let at = |index: usize| names[index % count].as_str();
    let schemas: Vec<&str> =
        names.iter().map(String::as_str).filter(|name| may_be_schema(name)).collect();
    (0..count)
        .map(|index| {
            // Steps that have no divisor in common with any likely count come by every name.
            let kind = [Kind::Merge, Kind::Append, Kind::Keyless][index % 3];
            let mut used: BTreeSet<String> = BTreeSet::new();
            let mut from = index * 4 + 1;
            let mut next = || loop {
                let name = kept(at(from)).to_owned();
                from += 1;
                if may_be_column(&name, kind) && used.insert(folded(&name)) {
                    return name;
                }
            };
            let columns = (0..COLUMNS).map(|_| next()).collect();
            Table {
                schema: kept(schemas[(index * 7 + 3) % schemas.len()]).to_owned(),
                name: at(index).to_owned(),
                kind,
                columns,
                renamed: (index % 4 == 1).then(&mut next),
                added: (index % 4 == 2).then(&mut next),
                excluded: index % 40 == 39,
            }
        })
        .collect()
}

/// As DuckDB compares names.
pub(super) fn folded(name: &str) -> String {
    name.to_ascii_lowercase()
}

/// PostgreSQL keeps names that begin so for itself, Rowtide that one, and what `public` has is
/// looked at by others.
fn may_be_schema(name: &str) -> bool {
    let lower = folded(name);
    !name.starts_with("pg_") && !["_rowtide", "information_schema", "public"].contains(&&*lower)
}

/// Columns that must be refused are tried apart: those like a metadata column, and the one that
/// hides the numbers of rows.
fn may_be_column(name: &str, kind: Kind) -> bool {
    let lower = folded(name);
    match kind {
        Kind::Merge => true,
        Kind::Append => !lower.starts_with("_rowtide"),
        Kind::Keyless => lower != "rowid",
    }
}

impl Table {
    /// The columns at the end.
    pub(super) fn columns_at_last(&self) -> Vec<&str> {
        let mut columns: Vec<&str> = self.columns.iter().map(String::as_str).collect();
        if let (Some(renamed), Some(second)) = (&self.renamed, columns.get_mut(1)) {
            *second = renamed;
        }
        columns.extend(self.added.as_deref());
        columns
    }

    /// Schema and name, quoted.
    pub(super) fn quoted(&self) -> String {
        format!("{}.{}", quoted(&self.schema), quoted(&self.name))
    }

    /// The same with the name as PostgreSQL keeps it.
    pub(super) fn standing(&self) -> String {
        format!("{}.{}", quoted(&self.schema), quoted(kept(&self.name)))
    }
}

/// A name as an SQL identifier; a pattern takes it as well.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
