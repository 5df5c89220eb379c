//! Watching over the publications and the tables of a running stream.
//!
//! A server from version 18 on skips a publication that does not exist, with all its tables, and
//! says nothing; one that was made anew begins in the middle. Either is a gap. And nothing in the
//! log says that a table was dropped, or that another one has its name now.

use std::sync::Arc;
use std::time::Duration;

use rowtide_core::{Error, Result, TableName, TableSchema, fault};
use tokio::sync::oneshot;

use super::PostgresSource;
use crate::client::{Sql, get};

const EVERY: Duration = Duration::from_secs(10);

/// The publications of a stream, with the oids they had when it began.
#[derive(Debug, Clone)]
pub(super) struct Guard {
    publications: Vec<(String, u32)>,
    /// The followed tables.
    tables: Vec<(u32, TableName)>,
}

impl Guard {
    /// Finds the pipeline's publications.
    pub(super) async fn new(
        source: &PostgresSource,
        sql: &Sql,
        tables: &[Arc<TableSchema>],
    ) -> Result<Self> {
        let names = &source.names;
        let publications = load(source, sql).await?;
        if !publications.iter().any(|(name, _)| *name == names.publication) {
            return Err(lost(&names.publication, "no longer exists"));
        }
        let named = |table: &Arc<TableSchema>| {
            u32::try_from(table.id).ok().map(|oid| (oid, table.name.clone()))
        };
        Ok(Self { publications, tables: tables.iter().filter_map(named).collect() })
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.publications.iter().map(|(name, _)| name.clone()).collect()
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
            let looked = tokio::time::timeout(EVERY, self.look(&source, sql)).await;
            match looked.unwrap_or_else(|_| Err(Error::unavailable("no answer"))) {
                Ok(None) => {}
                Ok(Some(error)) => {
                    // A closed channel means that the stream has ended.
                    let _ = alarm.send(error);
                    return;
                }
                Err(error) => {
                    tracing::debug!(error = %error.chain(), "publications and tables could not be looked up");
                    connected = None;
                }
            }
        }
    }

    /// What is wrong, if anything is.
    async fn look(&self, source: &PostgresSource, sql: &Sql) -> Result<Option<Error>> {
        if let Some(error) = self.compare(&load(source, sql).await?) {
            return Ok(Some(error));
        }
        let query = "SELECT o FROM pg_catalog.unnest($1::oid[]) o WHERE NOT EXISTS \
             (SELECT 1 FROM pg_catalog.pg_class c WHERE c.oid = o) LIMIT 1";
        let oids: Vec<u32> = self.tables.iter().map(|(oid, _)| *oid).collect();
        let gone = sql.rows("looking for dropped tables", query, &[&oids]).await?;
        let Some(row) = gone.first() else { return Ok(None) };
        let oid: u32 = get(row, 0)?;
        let name = self.tables.iter().find(|(known, _)| *known == oid).map(|(_, name)| name);
        Ok(name.map(|name| {
            Error::unavailable(format!("the table {name} was dropped at the source"))
                .with_hint("nothing to do: the tables are looked up again")
        }))
    }

    fn compare(&self, found: &[(String, u32)]) -> Option<Error> {
        self.publications.iter().find_map(|(name, oid)| {
            match found.iter().find(|(found, _)| found == name) {
                Some((_, found)) if found == oid => None,
                Some(_) if fault::planted("publication-gap-accepted") => None,
                Some(_) => Some(lost(name, "was dropped and made anew")),
                None => Some(lost(name, "no longer exists")),
            }
        })
    }
}

/// The main publication, and the one for inserts if this pipeline made it; with their oids.
async fn load(source: &PostgresSource, sql: &Sql) -> Result<Vec<(String, u32)>> {
    let names = &source.names;
    let query = "SELECT p.pubname::text, p.oid FROM pg_catalog.pg_publication p \
         WHERE p.pubname = $1::text::name OR p.pubname = $2::text::name \
           AND pg_catalog.obj_description(p.oid, 'pg_publication') = $3 \
         ORDER BY p.pubname <> $1::text::name";
    let parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 3] =
        [&names.publication, &names.inserts, &names.mark()];
    let rows = sql.rows("reading publications", query, &parameters).await?;
    rows.iter().map(|row| Ok((get(row, 0)?, get(row, 1)?))).collect()
}

fn lost(name: &str, why: &str) -> Error {
    Error::position_lost(format!(
        "the publication `{name}` {why}: the server may have skipped changes"
    ))
    .with_hint("copy the tables again: `resync`")
}
