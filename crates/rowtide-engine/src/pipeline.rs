//! One pipeline, run under supervision: attempts, retried while errors may pass.

use std::sync::Arc;
use std::time::Duration;

use rowtide_core::traits::Progress;
use rowtide_core::{Checkpoint, Destination, Error, ErrorKind, Result, Source, TableName};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::attempt::{Attempt, Ended, Reached, offered};
use crate::meter::Meter;
use crate::plan::mends;
use crate::progress::Activity;
use crate::refusal::Refusals;
use crate::retry::Backoff;
use crate::{Environment, Monitor, Requests, Settings};

/// A source, a destination, and what to do between them.
pub struct Pipeline {
    /// The pipeline's name: the key of its state in the destination.
    pub name: String,
    /// Where changes come from.
    pub source: Arc<dyn Source>,
    /// Where they go.
    pub destination: Arc<dyn Destination>,
    /// What to do.
    pub settings: Settings,
    /// Where progress is shown.
    pub monitor: Monitor,
    /// What operators ask of its tables while it runs.
    pub requests: Requests,
    /// Where time, chance and tasks come from.
    pub environment: Environment,
}

/// How a run ended.
#[derive(Debug, Clone, Default)]
pub struct Summary {
    /// Up to where everything is durable.
    pub checkpoint: Option<Checkpoint>,
    /// Tables that stopped, and why.
    pub stopped: Vec<(TableName, String)>,
    /// Whether the run was asked to stop before its work was done.
    pub interrupted: bool,
}

/// How often in a row the position may be lost with nothing committed between.
const LOSSES: u32 = 5;

impl Pipeline {
    /// Runs until the work is done, `shutdown` becomes true, or an error needs somebody.
    ///
    /// Errors that may pass are retried: for ever once the pipeline has run, or if the other side
    /// was reached and said so itself (a lock, too many connections), and otherwise for
    /// `retry_startup`, so that a mistyped host is not retried for ever.
    ///
    /// # Errors
    /// The first error that is not transient, after it was stored for `status`.
    pub async fn run(self, mut shutdown: watch::Receiver<bool>) -> Result<Summary> {
        let mut backoff = Backoff::new(self.settings.retry_initial, self.settings.retry_max);
        let mut settings = Arc::new(self.settings.clone());
        let mut promoted = Vec::new();
        let mut replans = Replans::new(&self.settings);
        let mut refusals = Refusals::default();
        let started = self.environment.instant();
        let meter = Meter::new(&self.name);
        let mut ever_ran = false;
        loop {
            let mut reached =
                Reached { promoted: std::mem::take(&mut promoted), ..Reached::default() };
            let how = (&mut reached, replans.wait(&self.environment));
            let attempt = Attempt::new(&self, Arc::clone(&settings), how);
            let ended = attempt.run(&mut shutdown).await;
            ever_ran |= reached.attached;
            promoted = std::mem::take(&mut reached.promoted);
            let error = match ended {
                Ok(Ended::Finished(summary)) => return Ok(summary),
                Ok(Ended::Replan(tables)) => {
                    Arc::make_mut(&mut settings).resync.clear();
                    promoted.retain(|done| !tables.contains(done));
                    replans.count(&self.environment);
                    continue;
                }
                Err(error) => error,
            };
            meter.failed(error.kind());
            if reached.planned {
                // What was to be copied again is remembered so; a later attempt goes on from there.
                Arc::make_mut(&mut settings).resync.clear();
            }
            if reached.committed {
                backoff.reset();
                refusals.progressed();
            }
            let error = match refusals.judge(&error) {
                None => error,
                Some(table) => match self.stop_refused(&table, error).await {
                    Ok(()) => {
                        promoted.push(table);
                        continue;
                    }
                    Err(error) => error,
                },
            };
            if *shutdown.borrow() && error.kind().is_transient() {
                tracing::warn!(error = %error.chain(), "stopped while an error may still pass");
                return Ok(Summary { interrupted: true, ..Summary::default() });
            }
            if self.may_repair(&error, &reached, &backoff) {
                // The next attempt starts anew, once it finds the same.
                if self.wait(&error, &mut backoff, &mut shutdown).await {
                    return Ok(Summary { interrupted: true, ..Summary::default() });
                }
                continue;
            }
            let young = self.environment.instant() - started < self.settings.retry_startup;
            let patient = ever_ran || young || error.is_answered();
            if !error.kind().is_transient() || !patient {
                self.store(&error, reached.opened).await;
                return Err(if reached.attached { offered(error, &settings) } else { error });
            }
            if self.wait(&error, &mut backoff, &mut shutdown).await {
                return Ok(Summary { interrupted: true, ..Summary::default() });
            }
        }
    }

    /// Whether the position was lost while the log was followed, and may be put right. Not for ever:
    /// who takes it away again and again is not to be outrun.
    fn may_repair(&self, error: &Error, reached: &Reached, backoff: &Backoff) -> bool {
        error.kind() == ErrorKind::PositionLost
            && reached.attached
            && mends(&self.settings)
            && backoff.attempt() < LOSSES
    }

    /// Waits before the next attempt; tells whether the wait was ended by a request to stop.
    async fn wait(
        &self,
        error: &Error,
        backoff: &mut Backoff,
        shutdown: &mut watch::Receiver<bool>,
    ) -> bool {
        Meter::new(&self.name).retried();
        let wait = backoff.next_wait(&self.environment);
        let attempt = backoff.attempt();
        tracing::warn!(error = %error.chain(), hint = error.hint(), ?wait, attempt, "retrying");
        self.monitor.update(|snapshot| {
            snapshot.stream.retries += 1;
            snapshot.activity = Activity::Retrying { error: error.chain(), attempt };
        });
        tokio::select! {
            biased;
            () = self.environment.sleep(wait) => false,
            stop = shutdown.wait_for(|stop| *stop) => stop.is_ok() || stop.is_err(),
        }
    }

    /// Keeps the error that ended the run for `status`, if the destination still takes it.
    async fn store(&self, error: &Error, opened: bool) {
        if !opened || error.kind() == ErrorKind::Fenced {
            return;
        }
        let text = error.chain();
        let outcome = async {
            let mut writer = self.destination.open(&self.name).await?;
            writer.commit(Progress { error: Some(&text), ..Progress::default() }).await
        };
        if let Err(second) = outcome.await {
            tracing::debug!(error = %second.chain(), "the error could not be stored");
        }
    }
}

/// How soon tables whose schema changed are copied again: at once the first time, ever later while
/// it happens again and again.
struct Replans {
    backoff: Backoff,
    last: Option<Instant>,
}

impl Replans {
    /// A run that did without for so long starts over.
    const CALM: Duration = Duration::from_secs(600);

    fn new(settings: &Settings) -> Self {
        Self { backoff: Backoff::new(settings.retry_initial, settings.retry_max), last: None }
    }

    fn wait(&mut self, environment: &Environment) -> Duration {
        let now = environment.instant();
        if self.last.is_none_or(|last| now - last > Self::CALM) {
            self.backoff.reset();
        }
        self.backoff.clone().next_wait(environment)
    }

    fn count(&mut self, environment: &Environment) {
        self.last = Some(environment.instant());
        self.backoff.next_wait(environment);
    }
}

#[cfg(test)]
mod tests;
