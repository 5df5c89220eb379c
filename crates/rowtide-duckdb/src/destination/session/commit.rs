//! Ending an epoch: the checkpoint and the proof that no newer writer exists, in one transaction
//! with the data.

use std::fmt::Write;
use std::sync::Arc;

use rowtide_core::traits::Progress;
use rowtide_core::{Checkpoint, Error, Result, fault};

use super::Session;
use crate::destination::owners::Owners;
use crate::destination::state::{self, Control};
use crate::error::During;
use crate::ffi::Value;
use crate::file;
use crate::long;

impl Session {
    /// Ends the epoch: records `progress` if this is still the pipeline's writer, and commits.
    pub(in crate::destination) fn commit(&mut self, progress: Progress<'_>) -> Result<()> {
        self.begin()?;
        let mut checkpoint = match progress.restart {
            true => Checkpoint::default(),
            false => self.checkpoint.clone(),
        };
        if let Some(next) = progress.checkpoint {
            checkpoint.advance(next)?;
        }
        let text = progress.checkpoint.map(state::document).transpose()?;
        let next = Control {
            commits: self.control.commits + 1,
            checkpoint: match progress.restart {
                true => text,
                false => text.or_else(|| self.control.checkpoint.clone()),
            },
            ..self.control.clone()
        };
        if fault::planted("checkpoint-outside-commit") {
            self.connection.execute("COMMIT; BEGIN").during(|| "committing".to_owned())?;
        }
        let recorded = self.record(&next, progress);
        let recorded =
            recorded.or_else(|error| if self.is_fenced() { Ok(0) } else { Err(error) })?;
        if recorded != 1 {
            return Err(self.fenced());
        }
        if self.long.is_some() {
            long::keep_apart(&self.connection)?;
        }
        fault::point("commit.before")?;
        if let Err(failure) = self.connection.execute("COMMIT")
            && !self.is_committed(&next)
        {
            return Err(failure).during(|| "committing an epoch".to_owned());
        }
        fault::point("commit.done")?;
        self.in_transaction = false;
        self.changed.clear();
        self.promoted.clear();
        self.owners = Owners::default();
        self.control = next;
        self.checkpoint = checkpoint;
        self.checkpoint_file()
    }

    /// Updates the pipeline's row if it is as this writer left it; returns how many rows changed.
    fn record(&mut self, next: &Control, progress: Progress<'_>) -> Result<u64> {
        let now = state::now_us();
        let identity = progress.identity.map(state::document).transpose()?;
        let position = progress.checkpoint.map(ToString::to_string);
        let (pipeline, control) = (Arc::clone(&self.pipeline), self.control.clone());
        // What is NULL is not bound, for DuckDB plans a statement anew whose values change their type.
        // What stays as it is is not written: the identity, which tells of every table, would fill
        // the log and the memory of thousands of tables at each commit.
        let mut values: Vec<Value<'_>> =
            vec![(&*pipeline).into(), control.fencing_epoch.into(), next.commits.into()];
        let mut set = "commits = $3".to_owned();
        let texts = [
            ("checkpoint", next.checkpoint.as_deref()),
            ("position", position.as_deref()),
            ("identity", identity.as_deref()),
            ("last_error", progress.error),
        ];
        for (column, text) in texts {
            if let Some(text) = text {
                values.push(text.into());
                let _ = write!(set, ", {column} = ${}", values.len());
            } else if column == "checkpoint" {
                set.push_str(", checkpoint = NULL");
            }
        }
        let times = [
            ("updated_at", progress.checkpoint.is_some()),
            ("last_error_at", progress.error.is_some()),
        ];
        for (column, _) in times.iter().filter(|(_, is_new)| *is_new) {
            values.push(now.into());
            let _ = write!(set, ", {column} = make_timestamp(${}::BIGINT)", values.len());
        }
        let before =
            control.checkpoint.as_deref().map_or("checkpoint IS NULL".to_owned(), |text| {
                values.push(text.into());
                format!("checkpoint = ${}", values.len())
            });
        let anyone = if fault::planted("zombie-commits") { "true OR" } else { "" };
        let sql = format!(
            "UPDATE _rowtide.pipelines SET {set} \
             WHERE pipeline = $1 AND ({anyone} (fencing_epoch = $2 AND {before}))"
        );
        self.run_prepared(&sql, &values).during(|| "recording the checkpoint".to_owned())
    }

    /// Folds the log into the file directly after definitions changed: replaying such changes
    /// from the log is where DuckDB has had most of its bugs. Impossible while loaders write;
    /// then the next commit tries again. Also after long rows, so that the next ones begin a row
    /// group of their own.
    fn checkpoint_file(&mut self) -> Result<()> {
        if let Some(vector) = self.long.take() {
            long::note(&self.connection, vector)?;
            let mut unfolded = self.connection.long();
            return long::fold(&self.connection, &mut unfolded, long::share(&self.connection));
        }
        self.ddl = self.ddl && !file::checkpoint(&self.connection)?;
        Ok(())
    }

    /// Whether a COMMIT of unknown outcome took place.
    fn is_committed(&self, next: &Control) -> bool {
        matches!(self.stored_control(), Ok(Some(stored)) if stored == *next)
    }

    /// Whether the pipeline's row is a newer writer's, or gone.
    fn is_fenced(&self) -> bool {
        match self.stored_control() {
            Ok(Some(stored)) => stored.fencing_epoch != self.control.fencing_epoch,
            Ok(None) => true,
            Err(_) => false,
        }
    }

    fn stored_control(&self) -> Result<Option<Control>> {
        let connection = file::connect(&self.database)?;
        if !state::exists(&connection)? {
            return Ok(None);
        }
        state::control(&connection, &self.pipeline)
    }

    pub(super) fn fenced(&self) -> Error {
        Error::new(
            rowtide_core::ErrorKind::Fenced,
            format!(
                "a newer writer of pipeline {:?} took over, or it was torn down",
                self.pipeline
            ),
        )
        .with_hint("end this run; the newer one goes on")
    }
}
