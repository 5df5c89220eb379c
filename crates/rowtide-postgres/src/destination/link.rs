//! The pipeline's sessions at the server: how they are known, and how a new writer gets rid of
//! those of the one before.
//!
//! Each session of a pipeline (its writer, its loaders) holds a shared advisory lock that is the
//! pipeline's own, for as long as it lives. So a new writer finds them all, whoever started them
//! and whatever became of their processes, and ends them: a process that sleeps could otherwise
//! keep the rows it has locked for ever. No stored process number could be as true.

use std::time::{Duration, Instant};

use rowtide_core::{Error, Result};

use super::Place;
use super::session::LOCK_TIMEOUT;
use crate::client::{Sql, get};
use crate::error::from_driver;
use crate::source::spare::Ends;

/// How long the end of another session is waited for.
const PARTING: Duration = Duration::from_secs(10);

/// Numbers of advisory locks are of the whole database: these are derived from words nobody else
/// has.
pub(super) struct LockKey(u64);

impl LockKey {
    /// Held shared by every session of `pipeline`.
    pub(super) fn sessions(pipeline: &str) -> Self {
        Self(stable_hash(&format!("rowtide sessions of {pipeline}")))
    }

    /// Held by whoever becomes the writer of `pipeline`.
    pub(super) fn opening(pipeline: &str) -> Self {
        Self(stable_hash(&format!("rowtide opening of {pipeline}")))
    }

    /// Held by whoever makes or removes the state tables.
    pub(super) fn state() -> Self {
        Self(stable_hash("rowtide state tables"))
    }

    /// As SQL spells it.
    pub(super) fn number(&self) -> i64 {
        self.0.cast_signed()
    }

    #[expect(clippy::cast_possible_truncation, reason = "the two halves are meant")]
    fn halves(&self) -> (u32, u32) {
        ((self.0 >> 32) as u32, self.0 as u32)
    }
}

/// FNV-1a: stable between versions, which the standard hasher does not promise to be.
pub(super) fn stable_hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// A connection of the pipeline's.
#[derive(Clone)]
pub(super) struct Link {
    pub(super) sql: Sql,
    /// The server's process that serves it.
    pub(super) pid: i32,
}

impl Ends for Link {
    fn has_ended(&mut self) -> bool {
        self.sql.client().is_closed()
    }
}

impl Link {
    /// Connects, or takes a session that somebody left. It is not yet known as the pipeline's.
    pub(super) async fn connect(place: &Place, pipeline: &str) -> Result<Self> {
        let application = place.options.application_name.clone();
        let application = application.unwrap_or_else(|| format!("rowtide:{pipeline}"));
        if let Some(left) = place.spare.take() {
            let preparing = Self::prepare(left.sql, &application);
            let limit = place.connection.connect_timeout();
            if let Ok(Ok(link)) = tokio::time::timeout(limit, preparing).await {
                return Ok(link);
            }
        }
        Self::prepare(Sql::connect(&place.connection, &application).await?, &application).await
    }

    async fn prepare(sql: Sql, application: &str) -> Result<Self> {
        // A commit that is reported durable must be: a role's or database's setting may say less.
        // Every statement runs once, which compiling it does not pay for.
        let setup = "SELECT pg_catalog.pg_backend_pid(), \
             pg_catalog.set_config('lock_timeout', $1, false), \
             pg_catalog.set_config('jit', 'off', false), \
             pg_catalog.set_config('application_name', $2, false), \
             CASE WHEN pg_catalog.current_setting('synchronous_commit') IN ('on', 'remote_apply') \
             THEN '' ELSE pg_catalog.set_config('synchronous_commit', 'on', false) END";
        let pid =
            get(&sql.row("preparing a session", setup, &[&LOCK_TIMEOUT, &application]).await?, 0)?;
        Ok(Self { sql, pid })
    }

    /// Makes the session known as one of `pipeline`, until it ends.
    pub(super) async fn register(&self, pipeline: &str) -> Result<()> {
        let lock = "SELECT pg_catalog.pg_advisory_lock_shared($1)";
        let key = LockKey::sessions(pipeline).number();
        self.sql.rows("registering a session", lock, &[&key]).await.map(drop)
    }

    /// Leaves a session of `pipeline` to whoever connects next: without an open transaction, a
    /// temporary table, or a mark on what it writes.
    pub(super) async fn leave(self, place: &Place, pipeline: &str) {
        let unlock = "SELECT pg_catalog.pg_advisory_unlock_shared($1)";
        let key = LockKey::sessions(pipeline).number();
        let unlocked = self.sql.row("leaving a session", unlock, &[&key]).await;
        if unlocked.and_then(|row| get(&row, 0)).is_ok_and(|unlocked: bool| unlocked) {
            place.spare.keep(self);
        }
    }

    /// Ends the other sessions of `pipeline`, and waits until they are gone.
    ///
    /// # Errors
    /// `Unavailable` if one stays: it is another role's, or busy with something that cannot be
    /// broken off.
    pub(super) async fn end_others(&self, pipeline: &str) -> Result<()> {
        let key = LockKey::sessions(pipeline);
        let deadline = Instant::now() + PARTING;
        loop {
            let others = self.holders(&key).await?;
            if others.is_empty() {
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err(stays(pipeline, &others));
            }
            for pid in others {
                self.end(pipeline, pid).await?;
            }
        }
    }

    /// Ends whoever holds the right to become the writer of `pipeline` and sleeps on it.
    pub(super) async fn end_opener(&self, pipeline: &str) -> Result<()> {
        for pid in self.holders(&LockKey::opening(pipeline)).await? {
            self.end(pipeline, pid).await?;
        }
        Ok(())
    }

    /// Ends the session served by `pid` if it is still one of `pipeline`.
    pub(super) async fn end_one(&self, pipeline: &str, pid: i32) -> Result<()> {
        let holders = self.holders(&LockKey::sessions(pipeline)).await?;
        if holders.contains(&pid) { self.end(pipeline, pid).await } else { Ok(()) }
    }

    async fn end(&self, pipeline: &str, pid: i32) -> Result<()> {
        tracing::warn!(pipeline, pid, "ending an older session of the pipeline");
        let end = "SELECT pg_catalog.pg_terminate_backend($1, 1000)";
        match self.sql.client().query(end, &[&pid]).await {
            Ok(_) => Ok(()),
            Err(error) if error.as_db_error().is_some() => Err(stays(pipeline, &[pid])),
            Err(error) => Err(from_driver("ending an older session", error)),
        }
    }

    /// The other sessions that hold `key`.
    async fn holders(&self, key: &LockKey) -> Result<Vec<i32>> {
        let (high, low) = key.halves();
        let query = "SELECT l.pid FROM pg_catalog.pg_locks l \
             WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1 \
             AND l.classid = $1 AND l.objid = $2 AND l.pid <> pg_catalog.pg_backend_pid() \
             AND l.database = (SELECT d.oid FROM pg_catalog.pg_database d \
                               WHERE d.datname = pg_catalog.current_database())";
        let rows = self.sql.rows("looking for other sessions", query, &[&high, &low]).await?;
        rows.iter().map(|row| get(row, 0)).collect()
    }
}

fn stays(pipeline: &str, pids: &[i32]) -> Error {
    let list = pids.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    Error::unavailable(format!(
        "an older session of pipeline {pipeline:?} stays connected to the destination: server \
         process {list}"
    ))
    .with_hint(
        "end it as the role it belongs to, or as a superuser: SELECT pg_terminate_backend(pid)",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_differ_by_purpose_and_pipeline_and_stay_the_same() {
        let numbers = [
            LockKey::sessions("a").number(),
            LockKey::sessions("b").number(),
            LockKey::opening("a").number(),
            LockKey::state().number(),
        ];
        for (index, number) in numbers.iter().enumerate() {
            assert!(!numbers[..index].contains(number));
        }
        assert_eq!(stable_hash("a"), 0xaf63_dc4c_8601_ec8c);
    }
}
