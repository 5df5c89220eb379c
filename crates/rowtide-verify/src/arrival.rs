//! Waiting until the destination holds what the source was seen to hold.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use rowtide_core::{Checkpoint, Destination, Result, TableName, TableState};

/// Tells how far the pipeline has come.
#[async_trait]
pub trait Arrival: Send + Sync {
    /// Waits until everything below `checkpoint` is durable at the destination. Cancel safe.
    ///
    /// # Errors
    /// Whatever keeps it from being known.
    async fn until(&self, checkpoint: &Checkpoint) -> Result<()>;

    /// How the destination has `table` now, where that can be told.
    ///
    /// # Errors
    /// Whatever keeps it from being known.
    async fn state_of(&self, table: &TableName) -> Result<Option<TableState>> {
        let _ = table;
        Ok(None)
    }

    /// How many bytes of log the destination is behind, if known.
    fn lag_bytes(&self) -> Option<u64> {
        None
    }
}

/// Asks the destination itself, again and again.
pub struct Polled {
    /// The destination.
    pub destination: Arc<dyn Destination>,
    /// The pipeline.
    pub pipeline: Arc<str>,
}

/// How long to wait before the destination is asked again.
const POLL: Duration = Duration::from_millis(200);

#[async_trait]
impl Arrival for Polled {
    async fn until(&self, checkpoint: &Checkpoint) -> Result<()> {
        loop {
            let state = self.destination.peek(&self.pipeline).await?;
            if state.and_then(|state| state.checkpoint).is_some_and(|at| at.covers(checkpoint)) {
                return Ok(());
            }
            tokio::time::sleep(POLL).await;
        }
    }

    async fn state_of(&self, table: &TableName) -> Result<Option<TableState>> {
        let state = self.destination.peek(&self.pipeline).await?;
        Ok(state.and_then(|state| state.tables.into_iter().find(|one| one.schema.name == *table)))
    }
}
