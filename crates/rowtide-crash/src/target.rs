//! Where a case copies to.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use rowtide_testkit::{Copied, Result};

use crate::arena::Arena;

/// A kind of destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// A DuckDB file.
    Duckdb,
    /// Another database of the source's server.
    Postgres,
}

impl Target {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Duckdb, Self::Postgres];

    /// As it is written on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Duckdb => "duckdb",
            Self::Postgres => "postgres",
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self> {
        let all = Self::ALL.into_iter();
        all.clone()
            .find(|target| target.as_str() == text)
            .ok_or_else(|| format!("there is no destination `{text}`"))
    }
}

/// The destination of one case.
#[derive(Debug)]
pub(crate) enum Place {
    /// The file.
    Duckdb(PathBuf),
    /// The database's name.
    Postgres(String),
}

impl Place {
    /// Makes a place for the case called `name`, whose files are in `directory`.
    pub(crate) fn make(
        arena: &Arena,
        target: Target,
        name: &str,
        directory: &Path,
    ) -> Result<Self> {
        match target {
            Target::Duckdb => Ok(Self::Duckdb(directory.join("copy.duckdb"))),
            Target::Postgres => {
                let db = format!("{name}_copy");
                arena.sql("postgres", &format!("CREATE DATABASE {db}"))?;
                Ok(Self::Postgres(db))
            }
        }
    }

    pub(crate) fn url(&self, arena: &Arena) -> String {
        match self {
            Self::Duckdb(path) => format!("duckdb:{}", path.display()),
            Self::Postgres(db) => arena.server.url(db),
        }
    }

    pub(crate) fn copied<'a>(&'a self, arena: &'a Arena) -> Copied<'a> {
        match self {
            Self::Duckdb(path) => Copied::Duckdb(path),
            Self::Postgres(db) => Copied::Postgres(&arena.server, db),
        }
    }
}
