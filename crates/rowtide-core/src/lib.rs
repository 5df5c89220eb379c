//! The words of Rowtide, shared by the engine and every connector.
//!
//! Nothing here does I/O or needs a runtime: tables and their schemas, change batches in Arrow,
//! checkpoints and fences, the fold, the write contract, errors, and the traits a connector
//! implements. A connector depends on this crate and its driver, never on the engine or on
//! another connector.

mod batch;
pub mod canonical;
mod checkpoint;
mod error;
mod exception;
pub mod fault;
mod fence;
mod finding;
mod fold;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
pub mod ledger;
mod metadata;
pub mod metric;
mod policy;
mod schema;
mod secret;
mod selection;
mod spelling;
mod state;
pub mod traits;
pub mod view;
mod write;

pub use batch::{ChangeBatch, Commit, CommitRun, Op, Unchanged};
pub use checkpoint::{Checkpoint, Offset, Partition, Watermark};
pub use error::{Error, ErrorKind, Result};
pub use exception::{Exceptions, Held, MOST_HELD, Refused, Replaced, ValueTally};
pub use fence::{Fence, XidSnapshot};
pub use finding::{Finding, Severity};
pub use fold::fold;
pub use metadata::MetadataColumns;
pub use policy::{ValuePolicies, ValuePolicy, ValueRule};
pub use schema::{Column, Identity, Remedy, SchemaChange, TableName, TableSchema, ext};
pub use secret::Secret;
pub use selection::{Pattern, TableSelection};
pub use state::{
    Awaits, DeleteMode, Mode, Phase, PipelineState, SourceIdentity, TablePlan, TableState,
};
pub use traits::{Capabilities, Destination, Source};
pub use write::{MergeWrite, MultisetWrite, Patches, TableWrite};
