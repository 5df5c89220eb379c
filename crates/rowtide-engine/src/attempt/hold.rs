//! Standing still at the end of an epoch for somebody who writes an epoch of their own.

use rowtide_core::traits::Progress;
use rowtide_core::{Error, ErrorKind, Result, TableWrite};
use tokio::sync::oneshot;

use super::{Reason, Running};
use crate::hold::{Epoch, Held, Hold, LONGEST};

impl Running<'_> {
    /// Answers where everything stands, waits for what is to be written, and commits it with the
    /// checkpoint unchanged. Nothing else is applied meanwhile.
    ///
    /// A refused epoch costs the attempt, not the run: the writer must not be used any more.
    pub(super) async fn stand_still(&mut self, hold: Hold) -> Result<Option<Reason>> {
        let Hold { tables, patience, reply } = hold;
        let (hand_in, handed_in) = oneshot::channel();
        let plans = tables.iter().map(|table| {
            self.router.live(table).cloned().ok_or_else(|| {
                Error::config(format!("{table} is not being followed at present"))
                    .with_hint("`rowtide status` tells why")
            })
        });
        let plans = plans.collect::<Result<Vec<_>>>();
        let checkpoint = self.durable.borrow().clone();
        if reply.send(plans.map(|plans| Held { checkpoint, plans, epoch: hand_in })).is_err() {
            return Ok(None);
        }
        let environment = &self.attempt.pipeline.environment;
        let epoch = tokio::select! {
            biased;
            epoch = handed_in => epoch,
            () = environment.sleep(patience.min(LONGEST)) => return Ok(None),
        };
        match epoch {
            Ok(epoch) => self.commit_foreign(epoch).await,
            // It came to nothing.
            Err(_) => Ok(None),
        }
    }

    async fn commit_foreign(&mut self, epoch: Epoch) -> Result<Option<Reason>> {
        let Epoch { writes, entries, committed } = epoch;
        let entries = entries.into_iter().map(|e| (e.plan, TableWrite::Append(e.row)));
        let written = async {
            for (plan, write) in writes.into_iter().chain(entries) {
                self.writer.write(&plan, write).await?;
            }
            self.writer.commit(Progress::default()).await
        };
        let outcome: Result<()> = written.await;
        let error = match outcome {
            Ok(()) => {
                self.attempt.reached.committed = true;
                // Whoever asked may have left.
                let _ = committed.send(Ok(()));
                return Ok(None);
            }
            Err(error) => error,
        };
        if error.kind().is_transient() || error.kind() == ErrorKind::Fenced {
            let lost = "the pipeline lost its destination before the epoch was committed";
            let _ = committed.send(Err(Error::unavailable(lost)));
            return Err(error);
        }
        tracing::warn!(error = %error.chain(), "an epoch that was handed in is refused");
        let _ = committed.send(Err(error));
        Ok(Some(Reason::Replan))
    }
}
