//! Watching over the publications and the tables of a running stream.
//!
//! A server from version 18 on skips a publication that does not exist, with all its tables, and
//! says nothing; one that was made anew begins in the middle, and so does a table that was taken
//! out and put back. Any of these is a gap. And nothing in the log says that a table was dropped,
//! or that another one has its name now.
//!
//! What is compared with is what was there when the pipeline was attached, so that nothing is
//! missed between that and the stream. A lost publication is a lost position. What concerns a
//! table alone only ends the stream: attaching again finds out, and has the table copied again.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use rowtide_core::{Error, Result, TableName, TableSchema, fault};
use tokio::sync::oneshot;

use super::PostgresSource;
use super::publication::standing::{Row, Standing, was_away};
use crate::client::Sql;

const EVERY: Duration = Duration::from_secs(10);

/// The publications of a stream, as they were when it began.
#[derive(Debug, Clone)]
pub(super) struct Guard {
    standing: Standing,
    /// The followed tables.
    tables: Vec<(u32, TableName)>,
}

impl Guard {
    /// Finds the pipeline's publications, and whether anything was taken away since it was
    /// attached.
    pub(super) async fn new(
        source: &PostgresSource,
        sql: &Sql,
        tables: &[Arc<TableSchema>],
    ) -> Result<Self> {
        let names = &source.names;
        let named = |table: &Arc<TableSchema>| {
            u32::try_from(table.id).ok().map(|oid| (oid, table.name.clone()))
        };
        let tables: Vec<_> = tables.iter().filter_map(named).collect();
        let mut guard = Self { standing: Standing::default(), tables };
        let mut now = guard.load(source, sql).await?;
        if !now.publications.contains_key(&names.publication) {
            return Err(lost(&names.publication, "no longer exists"));
        }
        let attached = source.attached.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(attached) = attached {
            guard.standing = attached;
            if let Some(error) = guard.compare(&now) {
                return Err(error);
            }
            // Tables that are not known from there count from now on.
            now.entries.extend(std::mem::take(&mut guard.standing.entries));
        }
        guard.standing = now;
        Ok(guard)
    }

    /// The publications to read by, the main one first.
    pub(super) fn names(&self, source: &PostgresSource) -> Vec<String> {
        let names = &source.names;
        let both = [&names.publication, &names.inserts];
        let found = both.into_iter().filter(|name| self.standing.publications.contains_key(*name));
        found.cloned().collect()
    }

    /// Looks now and then; raises the alarm once. A failed look says nothing: the stream notices
    /// by itself when the server is gone.
    pub(super) async fn run(self, source: PostgresSource, alarm: oneshot::Sender<Error>) {
        let mut connected: Option<Sql> = None;
        loop {
            tokio::time::sleep(EVERY).await;
            if connected.as_ref().is_none_or(|sql| sql.client().is_closed()) {
                connected = source.sql().await.ok();
            }
            let Some(sql) = &connected else { continue };
            // A connection that fell silent must not end the watch.
            let looked = tokio::time::timeout(EVERY, self.load(&source, sql)).await;
            match looked.unwrap_or_else(|_| Err(Error::unavailable("no answer"))) {
                Ok(now) => {
                    if let Some(error) = self.compare(&now).or_else(|| self.dropped(&now)) {
                        // A closed channel means that the stream has ended.
                        let _ = alarm.send(error);
                        return;
                    }
                }
                Err(error) => {
                    tracing::debug!(error = %error.chain(), "publications and tables could not be looked up");
                    connected = None;
                }
            }
        }
    }

    async fn load(&self, source: &PostgresSource, sql: &Sql) -> Result<Standing> {
        let oids: Vec<u32> = self.tables.iter().map(|(oid, _)| *oid).collect();
        Standing::load(sql, &source.names, &oids).await
    }

    /// What is wrong, if anything is.
    fn compare(&self, now: &Standing) -> Option<Error> {
        let publications = self.standing.publications.iter();
        publications
            .map(|(name, before)| (name, before, now.publications.get(name)))
            .find_map(|(name, before, now)| altered(name, before, now))
            .or_else(|| self.tables.iter().find_map(|(oid, name)| self.gap(*oid, name, now)))
    }

    /// A table that is gone. Of one that was gone when the stream began, the log may still hold
    /// something, so this is looked at later.
    fn dropped(&self, now: &Standing) -> Option<Error> {
        let mut tables = self.tables.iter();
        let (_, name) = tables.find(|(oid, _)| !now.entries.contains_key(oid))?;
        Some(again(format!("the table {name} was dropped at the source")))
    }

    /// What is wrong with a table alone.
    fn gap(&self, oid: u32, name: &TableName, now: &Standing) -> Option<Error> {
        let (before, entries) = (self.standing.entries.get(&oid)?, now.entries.get(&oid)?);
        let away = was_away(before, entries) && !fault::planted("publication-gap-accepted");
        away.then(|| again(format!("the table {name} was taken out of its publication")))
    }
}

/// What is wrong with a publication.
fn altered(name: &str, before: &Row, now: Option<&Row>) -> Option<Error> {
    let Some(now) = now else { return Some(lost(name, "no longer exists")) };
    if fault::planted("publication-gap-accepted") || before == now {
        return None;
    }
    Some(if before.oid != now.oid {
        lost(name, "was dropped and made anew")
    } else if before.is_narrowed(now) {
        lost(name, "was altered and no longer publishes every kind of change")
    } else if before.version.went_and_came(&now.version) {
        lost(name, "was altered, and altered back")
    } else {
        again(format!("the publication `{name}` was altered"))
    })
}

/// To be looked at by attaching again.
fn again(what: String) -> Error {
    Error::unavailable(what).with_hint("nothing to do: the tables are looked up again")
}

pub(super) fn lost(name: &str, why: &str) -> Error {
    Error::position_lost(format!(
        "the publication `{name}` {why}: the server may have skipped changes"
    ))
    .with_hint("copy the tables again: `resync`")
}
