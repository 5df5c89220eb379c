//! What an operator asks for: where things stand, and removal.

use std::time::{Duration, Instant};

use async_trait::async_trait;
use rowtide_core::traits::{SourceOperations, SourceStatus};
use rowtide_core::{Checkpoint, Error, Offset, Result, SourceIdentity};

use super::identity::{Identity, Server, parse_lsn};
use super::slot::{self, Slot};
use super::{PostgresSource, ddl_events, partition, publication};
use crate::client::{Sql, get};
use crate::quote::identifier;

/// A pipeline that was just stopped may hold its slot for a moment still.
const LETTING_GO: Duration = Duration::from_secs(5);

/// The server's version, and the end of its flushed log. The log that is written but not flushed
/// cannot be reached by a stream yet.
async fn head(sql: &Sql) -> Result<(i32, String, u64)> {
    let query = "SELECT pg_catalog.current_setting('server_version_num')::int4, \
         pg_catalog.current_setting('server_version'), \
         (CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_last_wal_replay_lsn() \
          ELSE pg_catalog.pg_current_wal_flush_lsn() END)::text";
    let row = sql.row("reading the end of the log", query, &[]).await?;
    Ok((get(&row, 0)?, get(&row, 1)?, parse_lsn(get(&row, 2)?)?))
}

#[async_trait]
impl SourceOperations for PostgresSource {
    fn intent(&self) -> SourceIdentity {
        let intent = Identity::intent(&self.names);
        intent.store().unwrap_or(SourceIdentity(serde_json::Value::Null))
    }

    async fn is_of(&self, identity: &SourceIdentity) -> Result<bool> {
        let known = Identity::read(identity)?;
        let sql = self.sql().await?;
        let mut replication = self.replication().await?;
        let server = Server::identify(&sql, &mut replication).await?;
        self.spare.keep(sql);
        self.spare_replication.keep(replication);
        Ok(known.is_of(&server))
    }

    async fn head(&self) -> Result<Checkpoint> {
        let sql = self.sql().await?;
        let (_, _, head) = head(&sql).await?;
        self.spare.keep(sql);
        Ok(Checkpoint::single(partition(), Offset(head)))
    }

    async fn status(&self) -> Result<SourceStatus> {
        let sql = self.sql().await?;
        let (number, version, head) = head(&sql).await?;
        let slot = Slot::load(&sql, &self.names.slot, number).await?;
        self.spare.keep(sql);
        let behind = |position: Option<u64>| position.map(|position| head.saturating_sub(position));
        let confirmed = slot.as_ref().and_then(|slot| slot.confirmed);
        Ok(SourceStatus {
            server: format!("PostgreSQL {version}, {}", self.options.address()),
            head,
            acknowledged: confirmed,
            lag_bytes: behind(confirmed),
            retained_bytes: behind(slot.as_ref().and_then(|slot| slot.restart)),
            active: slot.as_ref().is_some_and(|slot| slot.active_pid.is_some()),
            retention: match slot {
                None => Some("no slot".to_owned()),
                Some(slot) => slot.invalidation.or(slot.wal_status),
            },
        })
    }

    async fn release(&self) -> Result<Vec<String>> {
        let sql = self.sql().await?;
        let (version, _, _) = head(&sql).await?;
        let mut removed = Vec::new();
        let name = &self.names.slot;
        let began = Instant::now();
        while let Some(found) = Slot::load(&sql, name, version).await? {
            if let Some(pid) = found.active_pid {
                if began.elapsed() < LETTING_GO {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
                return Err(Error::unavailable(format!(
                    "the replication slot `{name}` is in use by process {pid}"
                ))
                .with_hint("stop the pipeline first; it may run on another machine"));
            }
            slot::drop(&sql, name).await?;
            removed.push(format!("replication slot {name}"));
            break;
        }
        for found in publication::load(&sql, &self.settled().await?.names, version).await? {
            if found.ours {
                let statement = format!("DROP PUBLICATION {}", identifier(&found.name));
                let doing = format!("dropping the publication `{}`", found.name);
                sql.execute(&doing, &statement).await?;
                removed.push(format!("publication {}", found.name));
            }
        }
        removed.extend(ddl_events::remove(&sql, &self.names).await?);
        Ok(removed)
    }
}
