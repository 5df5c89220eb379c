//! Ending an epoch, and finding out how it ended when the answer is lost.

use std::time::Duration;

use rowtide_core::traits::Progress;
use rowtide_core::{Checkpoint, Error, ErrorKind, Result, fault};
use tokio_postgres::types::ToSql;

use super::link::Link;
use super::session::{Session, fenced};
use super::state::{self, Control};
use crate::error::from_driver;

/// How often the outcome is asked for before it is left to the next run, and the pause between.
const TRIES: u32 = 8;
const PAUSE: Duration = Duration::from_millis(250);

/// Changes the pipeline's row.
const RECORD: &str = "UPDATE _rowtide.pipelines SET commits = commits + 1, \
     checkpoint = CASE WHEN $8 THEN $4 ELSE coalesce($4, checkpoint) END, \
     position = coalesce($5, position), \
     updated_at = CASE WHEN $4::text IS NULL THEN updated_at \
                  ELSE pg_catalog.clock_timestamp() END, \
     identity = coalesce($6, identity), last_error = coalesce($7, last_error), \
     last_error_at = CASE WHEN $7::text IS NULL THEN last_error_at \
                     ELSE pg_catalog.clock_timestamp() END \
     WHERE pipeline = $1";

/// If it is as this writer left it.
const CHECKED: &str = "AND fencing_epoch = $2::int8 AND commits = $3::int8";

/// What a careless writer would do.
const UNCHECKED: &str = "AND ($2::int8, $3::int8) IS NOT NULL";

impl Session {
    /// Ends the epoch: records `progress` if this is still the pipeline's writer, and commits.
    pub(super) async fn commit(&mut self, progress: Progress<'_>) -> Result<()> {
        self.begin().await?;
        let mut checkpoint = match progress.restart {
            true => Checkpoint::default(),
            false => self.checkpoint.clone(),
        };
        if let Some(next) = progress.checkpoint {
            checkpoint.advance(next)?;
        }
        let next = Control { commits: self.control.commits + 1, ..self.control };
        if fault::planted("checkpoint-outside-commit") {
            self.record_apart(progress).await?;
        }
        if self.record(progress).await? != 1 {
            return Err(fenced(&self.pipeline));
        }
        fault::point("commit.before")?;
        let doing = "committing an epoch";
        let committed = self.sql().client().batch_execute("COMMIT").await;
        let answered = committed
            .map_err(|error| (is_refusal(&error), from_driver(doing, error)))
            .and_then(|()| fault::point("commit.done").map_err(|error| (false, error)));
        match answered {
            Ok(()) => {}
            Err((true, refusal)) => return Err(refusal),
            Err((false, lost)) => self.resolve(next, lost).await?,
        }
        self.ended();
        self.control = next;
        self.checkpoint = checkpoint;
        Ok(())
    }

    /// Writes `progress` within the epoch; returns how many rows changed.
    async fn record(&mut self, progress: Progress<'_>) -> Result<u64> {
        let doing = "recording the checkpoint";
        let check = if fault::planted("zombie-commits") { UNCHECKED } else { CHECKED };
        let statement = self.prepared(doing, &format!("{RECORD} {check}")).await?;
        let checkpoint = progress.checkpoint.map(state::document).transpose()?;
        let position = progress.checkpoint.map(ToString::to_string);
        let identity = progress.identity.map(state::document).transpose()?;
        let values: [&(dyn ToSql + Sync); 8] = [
            &&*self.pipeline,
            &self.control.fencing_epoch,
            &self.control.commits,
            &checkpoint,
            &position,
            &identity,
            &progress.error,
            &progress.restart,
        ];
        let changed = self.sql().client().execute(&statement, &values).await;
        changed.map_err(|error| from_driver(doing, error))
    }

    /// Writes the checkpoint in a transaction of its own, which is wrong.
    async fn record_apart(&self, progress: Progress<'_>) -> Result<()> {
        let checkpoint = progress.checkpoint.map(state::document).transpose()?;
        let link = Link::connect(&self.place, &self.pipeline).await?;
        let sql = "UPDATE _rowtide.pipelines SET checkpoint = coalesce($2, checkpoint) \
             WHERE pipeline = $1";
        let values: [&(dyn ToSql + Sync); 2] = [&&*self.pipeline, &checkpoint];
        let recorded = link.sql.client().query(sql, &values).await;
        recorded.map(drop).map_err(|error| from_driver("recording", error))
    }

    /// Finds out whether the epoch was committed although nobody said so, and goes on with a new
    /// connection if it was.
    ///
    /// # Errors
    /// `Unavailable` if it was not, or if nobody can be asked: then the next run reads it.
    async fn resolve(&mut self, next: Control, lost: Error) -> Result<()> {
        let not_committed = |lost: Error| {
            Error::unavailable("an epoch was not committed: the connection was lost")
                .with_source(lost)
        };
        if fault::planted("retry-without-reading") {
            return Err(not_committed(lost));
        }
        tracing::warn!(error = %lost.chain(), "the answer to a commit was lost, looking for it");
        let mut tries = 0;
        let (link, stored) = loop {
            tries += 1;
            match self.ask().await {
                Ok(answer) => break answer,
                Err(error) if tries >= TRIES || !error.kind().is_transient() => {
                    return Err(Error::unavailable(
                        "nobody can be asked whether the last epoch was committed",
                    )
                    .with_source(error));
                }
                Err(_) => tokio::time::sleep(PAUSE * tries).await,
            }
        };
        match stored {
            Some(stored) if stored == next => self.go_on_with(link).await,
            Some(stored) if stored == self.control => Err(not_committed(lost)),
            Some(_) | None => Err(fenced(&self.pipeline)),
        }
    }

    /// The pipeline's row as it is when the old connection is through with it, and the connection
    /// that read it.
    async fn ask(&self) -> Result<(Link, Option<Control>)> {
        let doing = "asking whether an epoch was committed";
        let link = Link::connect(&self.place, &self.pipeline).await?;
        link.register(&self.pipeline).await?;
        let begin =
            "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; SET LOCAL lock_timeout = '5s'";
        link.sql.execute(doing, begin).await?;
        // The lock waits for whoever is still committing this row. The old session may also sit
        // there for ever, because the COMMIT never reached it.
        let locked = state::control(&link.sql, &self.pipeline, "FOR UPDATE").await;
        let stored = match locked {
            Err(error) if error.kind() == ErrorKind::Unavailable => {
                link.sql.execute(doing, "ROLLBACK").await?;
                link.end_one(&self.pipeline, self.link.pid).await?;
                return Err(error);
            }
            stored => stored?,
        };
        // The lock is written to the log, so this waits for standbys as the epoch should have.
        link.sql.execute(doing, "COMMIT").await?;
        Ok((link, stored))
    }
}

/// Whether the server said that it did not commit, and why. Being told to go is no such answer:
/// it may come after the commit.
fn is_refusal(error: &tokio_postgres::Error) -> bool {
    error.as_db_error().is_some_and(|db| {
        let state = db.code().code();
        !state.starts_with("57P") && !state.starts_with("08") && !state.starts_with("XX")
    })
}
