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
//! Rows that came or went without a message ([`super::shape`]) do not even end the stream: their
//! table alone is left for a new copy.

use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use rowtide_core::{Error, Result, TableName, TableSchema, fault};
use tokio::sync::{mpsc, oneshot};

use super::identity::Identity;
use super::labels::{self, Labels};
use super::layouts::Look;
use super::publication::standing::{Row, Standing, was_away};
use super::shape::{Shapes, Verdict, judge};
use super::stream::{Found, Notice};
use super::{PostgresSource, composites};
use crate::client::{Sql, get};

const EVERY: Duration = Duration::from_secs(10);

/// However long a look takes, the next one is not later than this.
const LATEST: Duration = Duration::from_secs(60);

/// Of its time the server spends at most this part on looks: one over very many tables takes it
/// half a second.
const PART: u32 = 50;

/// When to look again after a look that took so long.
fn pause_after(took: Duration) -> Duration {
    took.saturating_mul(PART).clamp(EVERY, LATEST)
}

/// Which transactions are seen. While these are the same nothing has changed in the catalog.
async fn seen(sql: &Sql) -> Result<String> {
    let query = "SELECT pg_catalog.pg_current_snapshot()::text";
    get(&sql.row("reading what is visible", query, &[]).await?, 0)
}

/// What was there when the pipeline was attached, and what was stored of it.
#[derive(Debug, Clone, Default)]
pub(super) struct Memory {
    pub(super) standing: Standing,
    pub(super) identity: Identity,
    /// The columns of the tables, if they were looked at.
    pub(super) look: Option<Look>,
}

/// The publications of a stream, as they were when it began.
#[derive(Debug, Clone)]
pub(super) struct Guard {
    standing: Standing,
    identity: Identity,
    /// The last look at the columns.
    look: Option<Look>,
    /// The followed tables.
    tables: Vec<(u32, TableName)>,
    /// Those that have columns of composite types.
    composites: Vec<Arc<TableSchema>>,
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
        let composites = composites::using(tables);
        let tables: Vec<_> = tables.iter().filter_map(named).collect();
        let attached = source.attached.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let identity = attached.as_ref().map(|memory| memory.identity.clone()).unwrap_or_default();
        let look = attached.as_ref().and_then(|memory| memory.look.clone());
        let standing = Standing::default();
        let mut guard = Self { standing, identity, look, tables, composites };
        let mut now = guard.load(source, sql).await?;
        if !now.publications.contains_key(&names.publication) {
            return Err(lost(&names.publication, "no longer exists"));
        }
        if let Some(attached) = attached {
            guard.standing = attached.standing;
            if let Some(error) = guard.compare(&now) {
                return Err(error);
            }
            // Tables that are not known from there count from now on.
            now.entries.extend(std::mem::take(&mut guard.standing.entries));
            now.shapes.extend(std::mem::take(&mut guard.standing.shapes));
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

    /// What is known of the tables beside the log.
    pub(super) fn known(&self) -> (Identity, Shapes) {
        (self.identity.clone(), self.standing.shapes.clone())
    }

    /// Looks now and then; raises the alarm once. A failed look says nothing: the stream notices
    /// by itself when the server is gone.
    pub(super) async fn run(
        mut self,
        source: PostgresSource,
        alarm: oneshot::Sender<Error>,
        notices: mpsc::Sender<Found>,
    ) {
        let mut connected: Option<Sql> = None;
        let (mut last, mut pause) = (None, EVERY);
        loop {
            tokio::time::sleep(pause).await;
            if connected.as_ref().is_none_or(|sql| sql.client().is_closed()) {
                connected = source.sql().await.ok();
            }
            let Some(sql) = &connected else { continue };
            // A connection that fell silent must not end the watch.
            let began = Instant::now();
            let looking = async {
                let seen = Some(seen(sql).await?);
                if seen == last {
                    return Ok(None);
                }
                let now = self.load(&source, sql).await?;
                let mut noticed = self.untold(sql, &now).await?;
                let altered = self.altered(&source, sql).await?;
                let labels = labels::load(sql).await?;
                noticed.extend(self.relabelled(sql, (&now, &labels)).await?);
                let look = Look::take(sql, &self.oids()).await?;
                Ok(Some((seen, (now, noticed, altered, labels, look))))
            };
            let looked = tokio::time::timeout(EVERY, looking).await;
            pause = pause_after(began.elapsed());
            match looked.unwrap_or_else(|_| Err(Error::unavailable("no answer"))) {
                Ok(None) => {}
                Ok(Some((seen, (now, noticed, altered, labels, look)))) => {
                    last = seen;
                    let wrong = self.compare(&now).or_else(|| self.dropped(&now)).or(altered);
                    if let Some(error) = wrong {
                        // A closed channel means that the stream has ended.
                        let _ = alarm.send(error);
                        return;
                    }
                    for notice in noticed {
                        self.standing.shapes.insert(notice.table, notice.shape.clone());
                        if notices.send(Found::Table(notice)).await.is_err() {
                            return;
                        }
                    }
                    if self.look.as_ref().is_none_or(|known| known.marks != look.marks) {
                        self.look = Some(look.clone());
                        if notices.send(Found::Columns(look)).await.is_err() {
                            return;
                        }
                    }
                    // Last: until then, a restart finds the tables by the old labels.
                    if labels != self.identity.labels {
                        self.identity.labels.clone_from(&labels);
                        if notices.send(Found::Labels(labels)).await.is_err() {
                            return;
                        }
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
        Standing::load(sql, &source.names, &self.oids()).await
    }

    fn oids(&self) -> Vec<u32> {
        self.tables.iter().map(|(oid, _)| *oid).collect()
    }

    /// The columns of the tables, as they were when the pipeline was attached.
    pub(super) fn look(&self) -> Option<Look> {
        self.look.clone()
    }

    /// A table with a column whose composite type was altered.
    async fn altered(&self, source: &PostgresSource, sql: &Sql) -> Result<Option<Error>> {
        let tables = self.composites.iter().map(Arc::as_ref);
        let altered = composites::altered(sql, tables, source.options.mapping()).await?;
        let first = altered.into_iter().next();
        Ok(first.map(|(table, why)| again(format!("table {}: {why}", table.name))))
    }

    /// The tables in which a label shows that was renamed.
    async fn relabelled(
        &self,
        sql: &Sql,
        (now, labels): (&Standing, &Labels),
    ) -> Result<Vec<Notice>> {
        let tables = self.tables.iter().map(|(oid, _)| *oid);
        let affected = labels::affected(sql, (&self.identity.labels, labels), tables).await?;
        let notice = |(table, why)| {
            let known = self.standing.shapes.get(&table).or_else(|| now.shapes.get(&table));
            let shape = known?.clone();
            Some(Notice { table, shape, untold: Some(why) })
        };
        Ok(affected.into_iter().filter_map(notice).collect())
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

    /// What became of the tables beside the log.
    async fn untold(&self, sql: &Sql, now: &Standing) -> Result<Vec<Notice>> {
        let mut notices = Vec::new();
        for (table, now) in &now.shapes {
            let Some(before) = self.standing.shapes.get(table) else { continue };
            let (shape, untold) = match judge(sql, *table, before, now).await? {
                Verdict::Same => continue,
                Verdict::Harmless(shape) => (shape, None),
                Verdict::Untold(shape, why) => (shape, Some(why)),
            };
            notices.push(Notice { table: *table, shape, untold });
        }
        Ok(notices)
    }

    /// What is wrong with a table alone.
    fn gap(&self, oid: u32, name: &TableName, now: &Standing) -> Option<Error> {
        if let (Some(before), Some(now)) = (self.standing.shapes.get(&oid), now.shapes.get(&oid))
            && let Some(why) = before.unfit_since(now)
        {
            return Some(again(format!("the table {name} can no longer be followed: {why}")));
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_that_takes_long_is_taken_less_often() {
        for (took, pause) in [(0, 10_000), (150, 10_000), (500, 25_000), (9_000, 60_000)] {
            let took = Duration::from_millis(took);
            assert_eq!(pause_after(took), Duration::from_millis(pause), "{took:?}");
        }
    }
}
