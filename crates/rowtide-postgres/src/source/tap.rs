//! Watching changes without keeping anything: a temporary slot that dies with its connection.

use std::sync::Arc;

use rowtide_core::traits::{ChangeStream, StreamStart};
use rowtide_core::{Checkpoint, Error, Offset, Result, TableSchema};
use tokio::sync::watch;

use super::identity::parse_lsn;
use super::stream::{Start, start_on};
use super::{PostgresSource, partition};
use crate::quote::identifier;

impl PostgresSource {
    /// Follows `tables` from now on, by a temporary slot and the existing publication
    /// `publication`. Nothing is acknowledged for anyone else, and nothing remains afterwards.
    ///
    /// # Errors
    /// `Config` or `Access` if the server does not let a slot be made.
    pub async fn tap(
        &self,
        tables: Vec<Arc<TableSchema>>,
        publication: &str,
        buffer_bytes: usize,
    ) -> Result<Box<dyn ChangeStream>> {
        let mut connection = self.replication().await?;
        let slot = format!("rowtide_tap_{:016x}", rand::random::<u64>());
        let doing = "creating a temporary replication slot";
        let command = format!(
            "CREATE_REPLICATION_SLOT {} TEMPORARY LOGICAL pgoutput NOEXPORT_SNAPSHOT",
            identifier(&slot)
        );
        let rows = connection.rows_in_time(doing, &command).await?;
        let start = rows.into_iter().next().and_then(|row| row.into_iter().nth(1)).flatten();
        let start = start.ok_or_else(|| Error::internal(format!("{doing}: no position")))?;
        let checkpoint = Checkpoint::single(partition(), Offset(parse_lsn(&start)?));
        let timeout = connection.sender_timeout().await?;
        // Nothing is durable: the slot's position moves by what has been received alone.
        let (_, durable) = watch::channel(checkpoint.clone());
        let start = Start {
            slot,
            publications: vec![publication.to_owned()],
            binary: false,
            timeout: timeout.unwrap_or(super::stream::DEFAULT_TIMEOUT),
            start: StreamStart {
                checkpoint,
                tables,
                copying: Vec::new(),
                fences: Vec::new(),
                buffer_bytes,
                spool_directory: std::env::temp_dir(),
            },
            durable,
            covered: None,
            alarm: None,
            untold: None,
            sql: None,
        };
        let stream = start_on(self, connection, start).await?;
        Ok(Box::new(stream))
    }
}
