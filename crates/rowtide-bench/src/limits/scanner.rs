//! DuckDB's own `postgres` extension, where it is installed.

use std::path::PathBuf;

use clap::Args;
use rowtide_testkit::Result;

use super::duckdb::Duckdb;
use super::job::Meter;
use crate::stopwatch::Taken;

/// What is copied. The extension and the DuckDB library need not be those of this version, and so
/// only what has been in DuckDB for long is used.
#[derive(Debug, Clone, Args)]
pub(crate) struct Scanner {
    /// The extension's file; the installed one without it.
    #[arg(long)]
    pub(crate) extension: Option<PathBuf>,
    #[arg(long)]
    pub(crate) url: String,
    #[arg(long)]
    pub(crate) into: PathBuf,
    #[arg(long, value_delimiter = ',')]
    pub(crate) tables: Vec<String>,
}

impl Scanner {
    /// Copies all tables. What is measured begins before anything is opened and ends with the file
    /// closed, as with Rowtide, which connects and loads what it needs in its own time too.
    pub(crate) fn run(&self) -> Result<Taken> {
        let meter = Meter::start();
        let file = Duckdb::open(&self.into)?;
        let extension = match &self.extension {
            Some(path) => format!("'{}'", path.display()),
            None => "postgres_scanner".to_owned(),
        };
        file.execute(&format!("LOAD {extension}"))?;
        file.execute(&format!(
            "SET preserve_insertion_order = false;
             SET pg_use_binary_copy = true;
             CREATE SCHEMA IF NOT EXISTS public;
             ATTACH '{}' AS source (TYPE postgres, READ_ONLY)",
            self.url
        ))?;
        for table in &self.tables {
            file.execute(&format!("CREATE TABLE {table} AS FROM source.{table}"))?;
        }
        file.execute("CHECKPOINT")?;
        drop(file);
        Ok(meter.stop())
    }
}
