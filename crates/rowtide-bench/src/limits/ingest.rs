//! How fast DuckDB takes rows that are already in memory, or in a Parquet file.

use std::path::{Path, PathBuf};

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use arrow_select::concat::concat_batches;
use clap::{Args, ValueEnum};
use rowtide_testkit::Result;

use super::duckdb::Duckdb;
use super::job::Meter;
use crate::stopwatch::Taken;

/// Rows of one batch of Arrow.
const BATCH: usize = 100_000;

/// What is fed, and how.
#[derive(Debug, Clone, Args)]
pub(crate) struct Ingest {
    #[arg(long)]
    pub(crate) how: How,
    /// A directory with the rows of each table in `<table>.parquet`.
    #[arg(long)]
    pub(crate) from: PathBuf,
    /// The file that is made.
    #[arg(long)]
    pub(crate) into: PathBuf,
    #[arg(long, value_delimiter = ',')]
    pub(crate) tables: Vec<String>,
}

/// The ways in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum How {
    /// One statement over all batches.
    Arrow,
    /// A statement for each batch.
    ArrowBatches,
    /// One statement that reads the Parquet file.
    Parquet,
}

impl Ingest {
    /// The file of `table`'s rows.
    pub(crate) fn parquet(directory: &Path, table: &str) -> PathBuf {
        directory.join(format!("{table}.parquet"))
    }

    /// Makes the tables; what is measured ends with the file closed.
    pub(crate) fn run(&self) -> Result<Taken> {
        let file = Duckdb::open(&self.into)?;
        // As a program does that copies: rows have no order of their own. And in Arrow each value
        // has the form that DuckDB takes as it is: UUIDs as text would be parsed, JSON checked.
        file.execute(
            "SET preserve_insertion_order = false; SET arrow_lossless_conversion = true;
             CREATE SCHEMA IF NOT EXISTS public",
        )?;
        let mut loaded = Vec::new();
        for table in &self.tables {
            let rows = format!("read_parquet('{}')", Self::parquet(&self.from, table).display());
            file.execute(&format!("CREATE TABLE {table} AS FROM {rows} LIMIT 0"))?;
            loaded.push(match self.how {
                How::Parquet => None,
                _ => Some(batches(&file, &rows)?),
            });
        }
        let meter = Meter::start();
        for (table, rows) in self.tables.iter().zip(loaded) {
            match rows {
                None => {
                    let path = Self::parquet(&self.from, table);
                    file.execute(&format!(
                        "INSERT INTO {table} SELECT * FROM read_parquet('{}')",
                        path.display()
                    ))?;
                }
                Some((schema, batches)) => {
                    let insert = format!("INSERT INTO {table} SELECT * FROM arrow_rows");
                    let at_once = match self.how {
                        How::ArrowBatches => 1,
                        _ => batches.len().max(1),
                    };
                    for some in batches.chunks(at_once) {
                        file.with_arrow("arrow_rows", &schema, some.to_vec(), &insert)?;
                    }
                }
            }
        }
        file.execute("CHECKPOINT")?;
        drop(file);
        Ok(meter.stop())
    }
}

/// The rows of `source` as batches of [`BATCH`] rows.
fn batches(file: &Duckdb, source: &str) -> Result<(SchemaRef, Vec<RecordBatch>)> {
    let (schema, pieces) = file.rows(&format!("SELECT * FROM {source}"))?;
    let mut batches = Vec::new();
    let mut waiting: Vec<RecordBatch> = Vec::new();
    let mut rows = 0;
    let joined = |some: &[RecordBatch]| concat_batches(&schema, some).map_err(|e| e.to_string());
    for piece in pieces {
        rows += piece.num_rows();
        waiting.push(piece);
        if rows >= BATCH {
            batches.push(joined(&waiting)?);
            waiting.clear();
            rows = 0;
        }
    }
    if !waiting.is_empty() {
        batches.push(joined(&waiting)?);
    }
    Ok((schema, batches))
}

/// Writes the rows of `tables` of the DuckDB file `from` as Parquet into `directory`.
pub(crate) fn export(from: &Path, tables: &[&str], directory: &Path) -> Result<()> {
    let file = Duckdb::open(from)?;
    for table in tables {
        let path = Ingest::parquet(directory, table);
        file.execute(&format!("COPY {table} TO '{}' (FORMAT parquet)", path.display()))?;
    }
    Ok(())
}
