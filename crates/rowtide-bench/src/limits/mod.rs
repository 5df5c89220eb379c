//! What the surroundings can do at best with the same data.
//!
//! Each limit is the work without us: the server's half of a copy with nobody who looks at the
//! rows, DuckDB's half with rows that lie ready, the log read by somebody who does nothing with
//! it, and PostgreSQL's own replication.

mod duckdb;
mod ingest;
mod job;
mod lanes;
mod native;
mod reader;
mod scanner;

pub(crate) use duckdb::{Duckdb, version as duckdb_version};
pub(crate) use ingest::export;
pub(crate) use job::{Done, Job, apart, apart_with, run};
pub(crate) use lanes::{copy_to_copy, copy_to_nothing};
pub(crate) use native::{Subscription, copy_by_subscription};
pub(crate) use reader::Counts;
