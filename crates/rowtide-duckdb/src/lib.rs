//! DuckDB as a destination: data and checkpoint in one transaction of one file.
//!
//! Each source schema becomes a schema of the file, each table a table without keys or indexes.
//! Rowtide's own state stands in schema `_rowtide` of the same file and commits with the data, so
//! a file is always consistent with the checkpoint it holds.
//!
//! # Reading the file meanwhile
//! DuckDB lets one process write a file, and then no other process may read it. While a pipeline
//! runs, read a *copy* made between runs, or stop the pipeline (`--once` in a schedule) and attach
//! the file with `ATTACH 'warehouse.duckdb' (READ_ONLY)`: several processes may read at once.

mod destination;
mod error;
mod ffi;
mod file;
mod long;
mod options;
mod quote;
mod types;

pub use destination::DuckdbDestination;
pub use options::{DEFAULT_MEMORY_LIMIT, DuckdbOptions, default_threads};
pub use types::column_type;
