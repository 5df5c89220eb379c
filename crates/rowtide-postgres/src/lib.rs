//! PostgreSQL 14 to 18 as a source: preflight, parallel snapshot with fences, and the logical
//! replication stream decoded straight into Arrow. And as a destination: data and checkpoint in
//! one transaction.
//!
//! ```text
//!  catalog ──► TableSchema ──────────────┐
//!  COPY (N lanes, one exported snapshot) ─┼─► value builders ──► RecordBatch / ChangeBatch
//!  replication socket ──► pgoutput ───────┘
//! ```
//!
//! `protocol` decodes bytes and does no I/O; `value` turns wire values into Arrow and is the one
//! place where a value's meaning is decided, so that copy and stream cannot disagree; `client`
//! and `replication` own the connections; `source` puts them together behind
//! [`rowtide_core::Source`]. In the other direction, `encode` writes Arrow as rows of `COPY`, and
//! `destination` puts them in place behind [`rowtide_core::Destination`]. `view` looks at a table
//! of either for [`rowtide_core::view::Inspect`].

mod catalog;
mod client;
mod destination;
mod encode;
mod error;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
mod options;
mod protocol;
mod quote;
pub mod reference;
mod replication;
mod source;
mod tls;
mod types;
mod value;
mod view;
mod wire;

pub use destination::{OriginUse, PostgresDestination, PostgresDestinationOptions};
pub use options::{
    Interval, NumericWithoutScale, Origin, PostgresOptions, Secret, SslMode, Streaming,
    Unrepresentable,
};
pub use quote::{identifier, literal, table_name};
pub use source::PostgresSource;
