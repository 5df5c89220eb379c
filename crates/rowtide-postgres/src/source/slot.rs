//! The replication slot: what it is, and making it.

use std::time::Duration;

use rowtide_core::{Error, Offset, Result};
use tokio_postgres::error::SqlState;

use super::PostgresSource;
use super::identity::parse_lsn;
use crate::client::{Sql, get};
use crate::error::{from_driver, is_state};
use crate::quote::literal;

/// A slot as the server shows it.
#[derive(Debug, Clone)]
pub(super) struct Slot {
    pub(super) plugin: Option<String>,
    pub(super) database: Option<String>,
    /// The process that reads it now.
    pub(super) active_pid: Option<i32>,
    pub(super) restart: Option<u64>,
    pub(super) confirmed: Option<u64>,
    pub(super) wal_status: Option<String>,
    /// Why it can no longer be used (17 and later, or a conflict on 16).
    pub(super) invalidation: Option<String>,
}

impl Slot {
    /// Reads the slot called `name`.
    pub(super) async fn load(sql: &Sql, name: &str, version: i32) -> Result<Option<Self>> {
        let invalidation = match version {
            170_000.. => "s.invalidation_reason",
            160_000.. => "CASE WHEN s.conflicting THEN 'conflict with recovery' END",
            _ => "NULL::text",
        };
        let query = format!(
            "SELECT s.plugin::text, s.database::text, s.active_pid, s.restart_lsn::text, \
             s.confirmed_flush_lsn::text, s.wal_status, {invalidation} \
             FROM pg_catalog.pg_replication_slots s WHERE s.slot_name = $1::text::name"
        );
        let rows = sql.rows("reading the replication slot", &query, &[&name]).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        let lsn = |index| -> Result<Option<u64>> {
            get::<Option<&str>>(row, index)?.map(parse_lsn).transpose()
        };
        Ok(Some(Self {
            plugin: get(row, 0)?,
            database: get(row, 1)?,
            active_pid: get(row, 2)?,
            restart: lsn(3)?,
            confirmed: lsn(4)?,
            wal_status: get(row, 5)?,
            invalidation: get(row, 6)?,
        }))
    }

    /// Whether the server no longer has what the slot needs.
    pub(super) fn is_lost(&self) -> bool {
        self.wal_status.as_deref() == Some("lost") || self.invalidation.is_some()
    }
}

/// Up to where the slot called `name` was acknowledged.
pub(super) async fn confirmed(sql: &Sql, name: &str) -> Result<u64> {
    let doing = "reading the replication slot's position";
    let query = "SELECT s.confirmed_flush_lsn::text FROM pg_catalog.pg_replication_slots s \
         WHERE s.slot_name = $1::text::name";
    let rows = sql.rows(doing, query, &[&name]).await?;
    let position = rows.first().map(|row| get::<Option<&str>>(row, 0)).transpose()?.flatten();
    position.map_or_else(|| Err(Error::unavailable(format!("{doing}: there is none"))), parse_lsn)
}

/// Moves the slot called `name` up to `position`, which is durable; nothing before it is decoded.
pub(super) async fn advance(sql: &Sql, name: &str, position: Offset) -> Result<()> {
    let doing = format!("moving the replication slot `{name}` to {position}");
    let statement = format!(
        "SELECT pg_catalog.pg_replication_slot_advance(s.slot_name, '{position}') \
         FROM pg_catalog.pg_replication_slots s \
         WHERE s.slot_name = {} AND s.confirmed_flush_lsn < '{position}'",
        literal(name)
    );
    sql.execute_in_time(&doing, &statement).await
}

/// Drops the slot; one that is being read cannot be dropped.
pub(super) async fn drop(sql: &Sql, name: &str) -> Result<()> {
    let statement = format!("SELECT pg_catalog.pg_drop_replication_slot({})", literal(name));
    sql.execute(&format!("dropping the replication slot `{name}`"), &statement).await
}

/// How long running transactions may hold up the slot before they are named.
const PATIENCE: Duration = Duration::from_secs(5);

/// Makes the slot and returns where it starts. The server waits for every transaction that runs
/// now; those that make it wait are logged, and named in the error when time is up.
pub(super) async fn create(source: &PostgresSource, sql: &Sql) -> Result<u64> {
    let name = &source.names.slot;
    let doing = format!("creating the replication slot `{name}`");
    let query = format!(
        "SELECT lsn::text FROM pg_catalog.pg_create_logical_replication_slot({}, 'pgoutput')",
        literal(name)
    );
    let creating = sql.client().query_one(&query, &[]);
    tokio::pin!(creating);
    let limit = source.options.slot_timeout();
    let first = tokio::time::timeout(PATIENCE.min(limit), &mut creating).await;
    let created = match first {
        Ok(created) => created,
        Err(_) => {
            let blockers = blockers(source).await;
            tracing::info!(%blockers, "slot waits for transactions to end");
            match tokio::time::timeout(limit.saturating_sub(PATIENCE), creating).await {
                Ok(created) => created,
                Err(_) => return Err(give_up(source, &doing).await),
            }
        }
    };
    let row =
        created.map_err(|error| match is_state(&error, &SqlState::INSUFFICIENT_PRIVILEGE) {
            true => from_driver(&doing, error).with_hint(format!(
                "ALTER ROLE {} REPLICATION;",
                crate::quote::identifier(source.options.user())
            )),
            false => from_driver(&doing, error),
        })?;
    parse_lsn(get(&row, 0)?)
}

/// Takes the wish back, so that no half-made slot holds the log.
async fn give_up(source: &PostgresSource, doing: &str) -> Error {
    let blockers = blockers(source).await;
    if let Ok(other) = source.sql().await {
        // The slot's own session is cancelled by its process id: this needs no TLS set up again.
        let cancel = "SELECT pg_catalog.pg_cancel_backend(pid) FROM pg_catalog.pg_stat_activity \
             WHERE pid = $1 AND usename = CURRENT_USER";
        if let Some(pid) = creating_pid(&other, &source.names.slot).await {
            let _ = other.rows("cancelling", cancel, &[&pid]).await;
        }
    }
    let waited = source.options.slot_timeout().as_secs();
    Error::unavailable(format!("{doing}: transactions still ran after {waited} s: {blockers}"))
        .answered()
        .with_hint(
            "end them (a prepared one by COMMIT PREPARED or ROLLBACK PREPARED in its database), or \
             raise slot_timeout",
        )
}

async fn creating_pid(sql: &Sql, slot: &str) -> Option<i32> {
    let query = "SELECT active_pid FROM pg_catalog.pg_replication_slots \
         WHERE slot_name = $1::text::name";
    let rows = sql.rows("looking for the slot's session", query, &[&slot]).await.ok()?;
    get(rows.first()?, 0).ok().flatten()
}

async fn blockers(source: &PostgresSource) -> String {
    match source.sql().await {
        Ok(sql) => writers(&sql).await,
        Err(_) => "unknown".to_owned(),
    }
}

/// The transactions that write, oldest first, in words: those of sessions, and prepared ones, which
/// have none.
pub(super) async fn writers(sql: &Sql) -> String {
    let sessions = sessions("backend_xid IS NOT NULL");
    let query = format!(
        "SELECT words FROM ({sessions} UNION ALL SELECT prepared, pg_catalog.format( \
         'prepared transaction %L (%s, in %s, since %s)', gid, owner, database, \
         pg_catalog.date_trunc('second', prepared)) FROM pg_catalog.pg_prepared_xacts) t \
         ORDER BY since LIMIT 5"
    );
    listed(sql, &query).await
}

/// Sessions that fulfil `condition`, in words; statements are not shown, they may hold values.
pub(super) async fn transactions(sql: &Sql, condition: &str) -> String {
    let sessions = sessions(condition);
    listed(sql, &format!("SELECT words FROM ({sessions}) t ORDER BY since LIMIT 5")).await
}

fn sessions(condition: &str) -> String {
    format!(
        "SELECT xact_start AS since, pg_catalog.format('pid %s (%s, %s, since %s)', pid, usename, \
         state, pg_catalog.date_trunc('second', xact_start)) AS words \
         FROM pg_catalog.pg_stat_activity WHERE {condition} AND pid <> pg_catalog.pg_backend_pid()"
    )
}

async fn listed(sql: &Sql, query: &str) -> String {
    let rows = sql.rows("looking for running transactions", query, &[]).await;
    let rows = rows.unwrap_or_default();
    let words: Vec<String> = rows.iter().filter_map(|row| get(row, 0).ok()).collect();
    if words.is_empty() { "none that this user may see".to_owned() } else { words.join(", ") }
}
