//! A pipeline that is held still for a moment, so that somebody else writes through its writer.
//!
//! What is handed in becomes an epoch of its own: fenced like any other, with the checkpoint
//! unchanged. Verification writes its verdicts so, and a repair the rows that it makes right.

use std::time::Duration;

use rowtide_core::{Checkpoint, Error, Result, TableName, TablePlan, TableWrite, ledger};
use tokio::sync::{mpsc, oneshot};

use crate::command::Request;

/// No pipeline is held longer.
pub const LONGEST: Duration = Duration::from_secs(60);

/// A request to be held.
#[derive(Debug)]
pub struct Hold {
    /// The tables that are to be written, by their names at the source.
    pub tables: Vec<TableName>,
    /// How long to wait for what is to be written; a minute at most.
    pub patience: Duration,
    /// Where the answer goes, once an epoch has ended: an error if one of the tables is not being
    /// followed.
    pub reply: oneshot::Sender<Result<Held>>,
}

/// A pipeline that stands still until `epoch` is used or dropped, or its patience ends.
#[derive(Debug)]
pub struct Held {
    /// What the destination holds: everything below, and nothing else.
    pub checkpoint: Checkpoint,
    /// How the tables are followed now, in the order they were asked for.
    pub plans: Vec<TablePlan>,
    /// Where the writes go.
    pub epoch: oneshot::Sender<Epoch>,
}

/// What is to be written in one commit.
#[derive(Debug)]
pub struct Epoch {
    /// The writes, in order, by the plans that [`Held`] told.
    pub writes: Vec<(TablePlan, TableWrite)>,
    /// What is told in Rowtide's own tables.
    pub entries: Vec<ledger::Entry>,
    /// Told when it is durable, or why it is not.
    pub committed: oneshot::Sender<Result<()>>,
}

/// Holds a running pipeline.
///
/// # Errors
/// `Unavailable` if it ends first; `Config` if one of the tables is not being followed.
pub async fn hold(
    requests: &mpsc::Sender<Request>,
    tables: Vec<TableName>,
    patience: Duration,
) -> Result<Held> {
    let (reply, answer) = oneshot::channel();
    let request = Request::Hold(Hold { tables, patience, reply });
    requests.send(request).await.map_err(|_| ending())?;
    answer.await.map_err(|_| ending())?
}

impl Held {
    /// Hands in what is to be written, and waits until it is durable.
    ///
    /// # Errors
    /// `Unavailable` if the pipeline went on or ended without it; else why it was refused.
    pub async fn commit(
        self,
        writes: Vec<(TablePlan, TableWrite)>,
        entries: Vec<ledger::Entry>,
    ) -> Result<()> {
        let (committed, outcome) = oneshot::channel();
        let late = |_| Error::unavailable("the pipeline was held no longer");
        self.epoch.send(Epoch { writes, entries, committed }).map_err(late)?;
        outcome.await.map_err(|_| ending())?
    }
}

fn ending() -> Error {
    Error::unavailable("the pipeline is ending")
}
