//! What the tests and benchmarks share: running the binary, waiting on conditions, workloads, and
//! comparing both sides by SQL.
//!
//! The comparison shares no code with the engine's decoders: each side's own SQL renders every
//! row as canonical text, and the texts are compared as multisets.

mod binary;
mod compare;
pub mod conformance;
mod process;
pub mod proxy;
mod tally;
mod wait;
mod workload;

pub use binary::binary;
pub use compare::{
    Comparison, Copied, Digests, Rows, compare, compare_history, compare_tables, duckdb_rows,
    source_rows,
};
pub use process::{Finished, Rowtide, RowtideCommand};
pub use tally::peak_rss_bytes;
pub use wait::wait_for;
pub use workload::{Workload, WorkloadReport};

/// The result of a test step; the message is what a person reads when it fails.
pub type Result<T, E = String> = std::result::Result<T, E>;
