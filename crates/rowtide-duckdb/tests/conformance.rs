//! DuckDB passes what every destination must do.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking, in its helpers too"
)]

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use rowtide_core::{Destination, TableName};
use rowtide_duckdb::{DuckdbDestination, DuckdbOptions};
use rowtide_testkit::conformance::destination::DestinationSubject;
use rowtide_testkit::conformance::model::Kind;
use rowtide_testkit::conformance::oracle::TextRow;
use tempfile::TempDir;

/// A file of its own, in a directory that goes with it.
struct File {
    path: PathBuf,
    frugal: AtomicBool,
    _directory: TempDir,
}

impl File {
    #[expect(clippy::unnecessary_wraps, reason = "there is always a DuckDB: nothing is skipped")]
    fn start() -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("warehouse.duckdb");
        Some(Self { path, frugal: AtomicBool::new(false), _directory: directory })
    }

    fn open(&self) -> DuckdbDestination {
        let frugal = self.frugal.load(Ordering::Relaxed);
        let memory_limit = if frugal { "128MiB" } else { rowtide_duckdb::DEFAULT_MEMORY_LIMIT };
        let options = DuckdbOptions {
            memory_limit: memory_limit.to_owned(),
            threads: Some(2),
            ..DuckdbOptions::new(&self.path)
        };
        DuckdbDestination::new(options).unwrap()
    }

    async fn select(&self, sql: &str) -> Vec<TextRow> {
        if !self.path.exists() {
            return Vec::new();
        }
        self.open().select(sql).await.unwrap()
    }
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

fn rendered(name: &str, kind: Kind) -> String {
    let name = quoted(name);
    match kind {
        Kind::Integer | Kind::Text | Kind::Boolean => format!("{name}::VARCHAR"),
        Kind::Instant => format!("epoch_us({name})::VARCHAR"),
        Kind::Texts => format!("array_to_string({name}, ',')"),
    }
}

#[async_trait]
impl DestinationSubject for File {
    fn destination(&self) -> Arc<dyn Destination> {
        Arc::new(self.open())
    }

    async fn rows(&self, table: &TableName, columns: &[(String, Kind)]) -> Option<Vec<TextRow>> {
        let found = format!(
            "SELECT 1 AS found FROM duckdb_tables() WHERE schema_name = {} AND table_name = {}",
            literal(&table.schema),
            literal(&table.name)
        );
        if self.select(&found).await.is_empty() {
            return None;
        }
        let columns = columns.iter().zip(0..);
        let columns: Vec<String> = columns
            .map(|((name, kind), at)| format!("{} AS c{at}", rendered(name, *kind)))
            .collect();
        let (schema, name) = (quoted(&table.schema), quoted(&table.name));
        let sql = format!("SELECT {} FROM {schema}.{name}", columns.join(", "));
        Some(self.select(&sql).await)
    }

    async fn inventory(&self) -> BTreeSet<String> {
        let sql = "SELECT schema_name FROM duckdb_schemas() WHERE NOT internal \
                   UNION ALL SELECT schema_name || '.' || table_name FROM duckdb_tables() \
                   UNION ALL SELECT schema_name || '.' || view_name FROM duckdb_views() \
                   WHERE NOT internal \
                   UNION ALL SELECT schema_name || '.' || sequence_name FROM duckdb_sequences()";
        self.select(sql).await.into_iter().filter_map(|row| row[0].clone()).collect()
    }

    async fn make_foreign(&self, table: &TableName) {
        let (schema, name) = (quoted(&table.schema), quoted(&table.name));
        let sql = format!(
            "CREATE SCHEMA IF NOT EXISTS {schema}; \
             CREATE TABLE {schema}.{name} AS SELECT 1::BIGINT AS precious"
        );
        self.open().execute(&sql).await.unwrap();
    }

    fn most_columns(&self) -> usize {
        usize::MAX
    }

    fn be_frugal(&self) {
        self.frugal.store(true, Ordering::Relaxed);
    }

    fn one_process_writes(&self) -> bool {
        true
    }
}

rowtide_testkit::destination_conformance!(File::start);
