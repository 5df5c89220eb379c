//! Row-by-row comparison of tables that are too large to hold as text: of every row a digest.

use rowtide_sandbox::PostgresServer;

use super::{Copied, columns, parts, quoted, source_rows};
use crate::Result;

/// A digest of each row of a table, as canonical text, in order: two tables hold the same rows,
/// each as often, if and only if these are the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Digests(Vec<u128>);

impl Digests {
    /// Those of `table` of a source's database, rendered so that they can be compared with
    /// `copied`.
    ///
    /// # Errors
    /// What the server said.
    pub fn of_source(
        (server, db): (&PostgresServer, &str),
        copied: Copied<'_>,
        table: &str,
    ) -> Result<Self> {
        let columns = columns((server, db), copied, table)?;
        let row = parts(&columns, |column| &column.source);
        let sql = format!("SELECT md5({row}) FROM {}", quoted(table));
        Self::read(&source_rows(server, db, &sql)?)
    }

    /// Those of the copy.
    ///
    /// # Errors
    /// What a server or DuckDB said.
    pub fn of_copy(
        source: (&PostgresServer, &str),
        copied: Copied<'_>,
        table: &str,
    ) -> Result<Self> {
        let columns = columns(source, copied, table)?;
        let row = match copied {
            Copied::Duckdb(_) => parts(&columns, |column| &column.destination),
            Copied::Postgres(..) => parts(&columns, |column| &column.source),
        };
        Self::read(&copied.rows(&format!("SELECT md5({row}) FROM {}", quoted(table)))?)
    }

    /// How many rows there are.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.0.len()
    }

    fn read(lines: &[String]) -> Result<Self> {
        let digest = |line: &String| {
            u128::from_str_radix(line, 16).map_err(|e| format!("{line} is no digest: {e}"))
        };
        let mut all = lines.iter().map(digest).collect::<Result<Vec<_>>>()?;
        all.sort_unstable();
        Ok(Self(all))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digests(rows: &[&str]) -> Digests {
        Digests::read(&rows.iter().map(|&row| row.to_owned()).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn the_order_of_rows_does_not_matter_and_how_often_they_stand_does() {
        let (one, two) = ("d41d8cd98f00b204e9800998ecf8427e", "ffffffffffffffffffffffffffffffff");
        assert_eq!(digests(&[one, two]), digests(&[two, one]));
        assert_ne!(digests(&[one, two, two]), digests(&[one, one, two]));
        assert_ne!(digests(&[one]), digests(&[one, one]));
        assert!(Digests::read(&["an error".to_owned()]).is_err());
    }
}
