//! Waiting for commits that are in the log and cannot be seen yet.
//!
//! A transaction is in the log, and with that in the stream, before any snapshot shows it: its
//! commit waits for a synchronous standby in between, or is merely slow. It keeps the locks on the
//! tables that it has written until it can be seen. So whatever was told of before these locks are
//! looked at can be seen once their holders of that time have ended.

use std::collections::BTreeSet;
use std::time::Duration;

use rowtide_core::{Result, TableSchema};
use tokio::time::Instant;

use super::PostgresSource;
use crate::client::{Sql, get};

/// The transactions that may have written to a table or its partitions, and may be committing.
///
/// One that waits for its next statement has not begun to commit. Of a prepared one nothing tells
/// whether it does: it counts. Who may not see what a session does counts it as well.
const WRITERS: &str = "\
SELECT l.virtualtransaction, l.pid
FROM pg_catalog.pg_locks l
LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid
WHERE l.locktype = 'relation' AND l.granted AND l.mode IN ('RowExclusiveLock', 'AccessExclusiveLock')
  AND l.database = (SELECT oid FROM pg_catalog.pg_database
                    WHERE datname = pg_catalog.current_database())
  AND (l.relation = $1 OR l.relation IN (SELECT relid FROM pg_catalog.pg_partition_tree($1)))
  AND a.state IS DISTINCT FROM 'idle in transaction'
  AND a.state IS DISTINCT FROM 'idle in transaction (aborted)'";

/// The first pause before looking again; it doubles each time.
const FIRST_PAUSE: Duration = Duration::from_millis(2);
/// The longest.
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

/// Waits until whoever may be committing a change of `table` now has done so; false if that takes
/// longer than `patience`.
pub(super) async fn wait(
    source: &PostgresSource,
    table: &TableSchema,
    patience: Duration,
) -> Result<bool> {
    let deadline = Instant::now() + patience;
    let sql = Sql::connect(&source.options, &source.names.application).await?;
    let mut waited_for = writers(&sql, table).await?;
    let mut pause = FIRST_PAUSE;
    while !waited_for.is_empty() {
        if Instant::now() >= deadline {
            let pids: Vec<String> = waited_for.iter().map(|one| one.1.clone()).collect();
            tracing::info!(
                table = %table.name, writers = pids.join(", "),
                "transactions run on that may have changed rows: these cannot be judged yet"
            );
            return Ok(false);
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
        let now = writers(&sql, table).await?;
        waited_for.retain(|one| now.contains(one));
    }
    Ok(true)
}

/// The transactions that may be committing a change of `table`: what names them, and their process.
async fn writers(sql: &Sql, table: &TableSchema) -> Result<BTreeSet<(String, String)>> {
    let doing = format!("looking for writers of {}", table.name);
    let oid = u32::try_from(table.id).unwrap_or(0);
    let writer = |row: &tokio_postgres::Row| -> Result<(String, String)> {
        let pid = get::<Option<i32>>(row, 1)?;
        let pid = pid.map_or_else(|| "prepared".to_owned(), |pid| format!("pid {pid}"));
        Ok((get(row, 0)?, pid))
    };
    sql.rows(&doing, WRITERS, &[&oid]).await?.iter().map(writer).collect()
}
