//! The pipeline, as far as a repair needs it.

use async_trait::async_trait;
use rowtide_core::{Checkpoint, Result, TableName, TablePlan, TableWrite, ledger};

/// A running pipeline that can be held still.
#[async_trait]
pub trait Engine: Send + Sync {
    /// Holds it at the end of an epoch, to write to `table`.
    ///
    /// # Errors
    /// `Config` if the table is not followed; `Unavailable` if the pipeline does not come to it.
    async fn hold(&self, table: &TableName) -> Result<Box<dyn Standstill>>;
}

/// A pipeline that is held: the destination has what lies below the checkpoint, and nothing else.
/// It goes on when this is dropped.
#[async_trait]
pub trait Standstill: Send + Sync {
    /// Where it stands.
    fn checkpoint(&self) -> &Checkpoint;

    /// How the table is followed.
    fn plan(&self) -> &TablePlan;

    /// Writes to the table and to Rowtide's own, in one commit, and lets the pipeline go on.
    ///
    /// # Errors
    /// `Unavailable` if it could not wait any longer.
    async fn commit(
        self: Box<Self>,
        writes: Vec<TableWrite>,
        entries: Vec<ledger::Entry>,
    ) -> Result<()>;
}
