//! Getting past what the server cannot decode in one session.
//!
//! Version 14 keeps, for as long as a session lasts, by which table the rows of a partition are
//! published; also once the partition was detached, or attached elsewhere. If the columns no longer
//! fit, decoding ends with `could not convert row type`. A session that begins behind the last row
//! from before knows nothing of it.
//!
//! So after such an end the next session hands transactions over one by one, which brings the
//! checkpoint up to the one that fails, and begins where that is durable, to which the slot is moved
//! first: moving a slot decodes nothing. Only a transaction that does all of it by itself remains.
//!
//! (What was published by the wrong table until then is of tables that are copied again, because
//! their partitions changed; `attach/forget` keeps it out of what follows the copy.)

use std::sync::PoisonError;

use rowtide_core::{Error, Offset, Result};

use super::reader::Reader;
use crate::client::Sql;
use crate::source::{PostgresSource, slot};

/// How carefully a session reads, and what it came to.
#[derive(Debug, Default)]
pub(super) struct Care {
    /// Up to where transactions are handed over one by one.
    until: Option<u64>,
    /// Something was handed over.
    pub(super) progressed: bool,
}

impl Care {
    /// How a session by `source` that begins at `position` has to read.
    ///
    /// # Errors
    /// `Unavailable` if the slot cannot be moved now.
    pub(super) async fn take(
        source: &PostgresSource,
        sql: Option<&Sql>,
        position: Offset,
    ) -> Result<Self> {
        let until = *source.stumbled.lock().unwrap_or_else(PoisonError::into_inner);
        if let (Some(sql), Some(_)) = (sql, until) {
            slot::advance(sql, &source.names.slot, position).await?;
        }
        Ok(Self { until, progressed: false })
    }

    /// Whether the transaction that ends at `end` is handed over before the next one is read.
    pub(super) fn is_needed(&self, end: Option<u64>) -> bool {
        self.until.is_some_and(|until| end.is_some_and(|end| end <= until))
    }
}

impl<R: tokio::io::AsyncRead + Unpin + Send> Reader<R> {
    /// What the end of the session means for the next one.
    pub(super) fn stumbled(&self, error: Error) -> Error {
        if !error.message().contains("(SQLSTATE 42804)") {
            return error;
        }
        let again = self.care.until.is_some();
        // Whether a transaction is open, the server tells before its first row, or not at all.
        let until = self.decoder.open().map_or(self.progress.head(), |open| open.position.0);
        let mut stumbled = self.source.stumbled.lock().unwrap_or_else(PoisonError::into_inner);
        *stumbled = Some(stumbled.unwrap_or_default().max(until));
        match again && !self.care.progressed {
            false => Error::unavailable(error.message()).with_hint(
                "nothing to do: PostgreSQL 14 confuses partitions that were detached or attached \
                 in between; the log is read on from the last transaction before that",
            ),
            true => Error::position_lost(error.message()).with_hint(format!(
                "one transaction changed rows of a partition, detached or attached it, and changed \
                 rows and columns again, which PostgreSQL 14 cannot decode: give the log up with \
                 SELECT pg_drop_replication_slot('{}'); and copy all tables again with \
                 `rowtide run --resync '*'`",
                self.slot.replace('\'', "''")
            )),
        }
    }
}
