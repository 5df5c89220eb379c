//! DuckDB's own `postgres` extension, where it is installed.

use std::path::PathBuf;

use clap::Args;
use rowtide_testkit::Result;

use super::duckdb::Duckdb;
use super::job::Meter;
use crate::stopwatch::Taken;

/// What is copied.
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
    /// Copies all tables; what is measured ends with the file closed.
    pub(crate) fn run(&self) -> Result<Taken> {
        let file = Duckdb::open(&self.into)?;
        let extension = match &self.extension {
            Some(path) => format!("'{}'", path.display()),
            None => "postgres_scanner".to_owned(),
        };
        file.execute(&format!(
            "SET preserve_insertion_order = false; LOAD {extension};
             CREATE SCHEMA IF NOT EXISTS public;
             ATTACH '{}' AS source (TYPE postgres, READ_ONLY)",
            self.url
        ))?;
        let meter = Meter::start();
        for table in &self.tables {
            file.execute(&format!("CREATE TABLE {table} AS FROM source.{table}"))?;
        }
        file.execute("CHECKPOINT")?;
        drop(file);
        Ok(meter.stop())
    }
}
