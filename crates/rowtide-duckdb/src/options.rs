//! The options of a DuckDB destination, and how to write them as a URL.

use std::path::PathBuf;

use rowtide_core::{Error, Result};
use serde::Deserialize;

/// DuckDB's memory limit unless one is set. DuckDB spills to disk beyond it; Rowtide's own
/// buffers come on top.
pub const DEFAULT_MEMORY_LIMIT: &str = "1GiB";

/// How many threads DuckDB may use unless told otherwise: half of the cores, at least one.
///
/// The lanes load copies on threads of their own, and DuckDB's compete with them for the cores;
/// each also makes the process larger. Measured on two cores, copying a million wide rows took
/// 2.2 s and 451 MiB with one thread, 2.6 s and 819 MiB with two; large merges took about the same
/// time with either.
pub fn default_threads() -> u32 {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    u32::try_from(cores / 2).unwrap_or(u32::MAX).max(1)
}

/// Where the database is, and what it may use.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DuckdbOptions {
    /// The database file; created if it does not exist.
    pub path: PathBuf,
    /// How much memory DuckDB may use (`"512MiB"`, `"4GiB"`).
    #[serde(default = "default_memory_limit")]
    pub memory_limit: String,
    /// How many threads DuckDB may use; [`default_threads`] unless set.
    #[serde(default)]
    pub threads: Option<u32>,
    /// Where DuckDB spills what does not fit into memory; beside the file unless set.
    #[serde(default)]
    pub temp_directory: Option<PathBuf>,
}

fn default_memory_limit() -> String {
    DEFAULT_MEMORY_LIMIT.to_owned()
}

impl DuckdbOptions {
    /// The database at `path`, everything else by default.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            memory_limit: default_memory_limit(),
            threads: None,
            temp_directory: None,
        }
    }

    /// Reads `duckdb:warehouse.duckdb?memory_limit=2GiB&threads=4`.
    ///
    /// # Errors
    /// `Config` if it is not such a URL, or names an option that does not exist.
    pub fn from_url(url: &str) -> Result<Self> {
        let rest = url
            .strip_prefix("duckdb:")
            .ok_or_else(|| Error::config(format!("{url:?} does not start with duckdb:")))?;
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let mut options = Self::new(path.strip_prefix("//").unwrap_or(path));
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            match name {
                "memory_limit" => value.clone_into(&mut options.memory_limit),
                "threads" => {
                    options.threads = Some(value.parse().map_err(|_| {
                        Error::config(format!("threads={value} in a duckdb: URL is no number"))
                    })?);
                }
                "temp_directory" => options.temp_directory = Some(value.into()),
                _ => {
                    return Err(Error::config(format!("a duckdb: URL has no option {name:?}"))
                        .with_hint("there are memory_limit, threads and temp_directory"));
                }
            }
        }
        options.validate()?;
        Ok(options)
    }

    /// Checks the values, without looking at the disk.
    ///
    /// # Errors
    /// `Config` naming the option that is wrong.
    pub fn validate(&self) -> Result<()> {
        if self.path.as_os_str().is_empty() {
            return Err(Error::config("duckdb: the path of the database is missing")
                .with_hint("write for example duckdb:warehouse.duckdb"));
        }
        if self.path.to_str().is_none_or(|path| path.contains('\0') || path == ":memory:") {
            return Err(Error::config("duckdb: the path must name a file, in UTF-8"));
        }
        if self.threads == Some(0) {
            return Err(Error::config("duckdb: threads must be at least 1"));
        }
        if !is_size(&self.memory_limit) {
            return Err(Error::config(format!(
                "duckdb: memory_limit = {:?} is not a size",
                self.memory_limit
            ))
            .with_hint("write for example \"512MiB\" or \"4GiB\""));
        }
        Ok(())
    }
}

impl DuckdbOptions {
    /// What `memory_limit` says, in bytes.
    pub(crate) fn memory(&self) -> u64 {
        let text = self.memory_limit.as_str();
        let unit = text.trim_start_matches(|c: char| c.is_ascii_digit());
        let number = text[..text.len() - unit.len()].parse().unwrap_or(u64::MAX);
        let unit = unit.trim_start();
        let base: u64 = if unit.contains('i') { 1024 } else { 1000 };
        let power = (1..).zip("KMGT".chars()).find(|(_, letter)| unit.starts_with(*letter));
        base.pow(power.map_or(0, |(power, _)| power)).saturating_mul(number)
    }
}

fn is_size(text: &str) -> bool {
    let unit = text.trim_start_matches(|c: char| c.is_ascii_digit());
    let digits = text.len() - unit.len();
    digits > 0
        && ["KB", "MB", "GB", "TB", "KiB", "MiB", "GiB", "TiB"].contains(&unit.trim_start())
        && text[..digits].chars().any(|c| c != '0')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_give_options() {
        let options =
            DuckdbOptions::from_url("duckdb:a b.duckdb?memory_limit=2GiB&threads=4").unwrap();
        assert_eq!(options.path, PathBuf::from("a b.duckdb"));
        assert_eq!((options.memory_limit.as_str(), options.threads), ("2GiB", Some(4)));
        assert_eq!(
            DuckdbOptions::from_url("duckdb:///x/y.db").unwrap().path,
            PathBuf::from("/x/y.db")
        );
    }

    #[test]
    fn wrong_urls_are_refused() {
        for url in [
            "postgres:x",
            "duckdb:",
            "duckdb::memory:",
            "duckdb:x?threads=0",
            "duckdb:x?threads=a",
            "duckdb:x?memory_limit=lots",
            "duckdb:x?memory_limit=0GiB",
            "duckdb:x?unknown=1",
        ] {
            let error = DuckdbOptions::from_url(url).unwrap_err();
            assert_eq!(error.kind(), rowtide_core::ErrorKind::Config, "{url}");
        }
    }
}
