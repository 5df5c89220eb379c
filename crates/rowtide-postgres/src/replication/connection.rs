//! Opening a replication connection, and what can be asked on it before it streams.

use std::time::Duration;

use rowtide_core::{Error, Result};

use super::thread::LogThread;
use crate::client::{ANSWER, answered};
use crate::options::PostgresOptions;
use crate::wire::{Connection, Purpose, Reader, TextRow, Writer};

/// A connection with `replication=database`, whose bytes arrive at a thread of its own.
pub(crate) struct ReplicationConnection {
    wire: Connection,
    thread: LogThread,
}

impl ReplicationConnection {
    /// Connects, encrypts and authenticates.
    pub(crate) async fn connect(options: &PostgresOptions, application: &str) -> Result<Self> {
        let thread = LogThread::start()?;
        let (options, application) = (options.clone(), application.to_owned());
        let opening =
            async move { Connection::connect(&options, &application, Purpose::Replication).await };
        let opened = thread.spawn(opening).await.map_err(|error| {
            Error::internal("the thread that connects for replication died").with_source(error)
        })?;
        Ok(Self { wire: opened?, thread })
    }

    /// The rows of one statement or replication command that is answered at once.
    pub(crate) async fn rows(&mut self, doing: &str, sql: &str) -> Result<Vec<TextRow>> {
        self.wire.rows(doing, sql).await
    }

    /// The rows of one that waits for others.
    pub(crate) async fn rows_in_time(&mut self, doing: &str, sql: &str) -> Result<Vec<TextRow>> {
        self.wire.rows_in_time(doing, sql).await
    }

    /// Whether the server hung up, or said something without being asked: as a rule why it does.
    pub(crate) fn says_something(&mut self) -> bool {
        self.wire.says_something()
    }

    /// How long the server waits for a sign of life; `None` if for ever.
    pub(crate) async fn sender_timeout(&mut self) -> Result<Option<Duration>> {
        let rows = self.rows("reading wal_sender_timeout", "SHOW wal_sender_timeout").await?;
        let text = rows.into_iter().flatten().flatten().next().unwrap_or_default();
        Ok(parse_interval(&text).filter(|interval| !interval.is_zero()))
    }

    /// The server's version, as a number.
    pub(crate) async fn server_version(&mut self) -> Result<i32> {
        let rows = self.rows("reading the server's version", "SHOW server_version_num").await?;
        let text = rows.into_iter().flatten().flatten().next();
        let version = text.and_then(|text| text.parse().ok());
        version.ok_or_else(|| Error::internal("the server does not say its version"))
    }

    /// Starts streaming by `command` (`START_REPLICATION …`) and gives the connection away.
    pub(crate) async fn stream(
        mut self,
        doing: &str,
        command: &str,
    ) -> Result<(Reader, Writer, LogThread)> {
        answered(Some(ANSWER), doing, self.start(doing, command)).await?;
        Ok((self.wire.reader, self.wire.writer, self.thread))
    }

    async fn start(&mut self, doing: &str, command: &str) -> Result<()> {
        self.wire.query(doing, command).await?;
        loop {
            match self.wire.message(doing).await? {
                (b'W', _) => return Ok(()),
                (b'Z', _) => return Err(Error::internal(format!("{doing}: nothing was started"))),
                _ => {}
            }
        }
    }
}

/// Reads a setting such as `1min`, `10s`, `500ms` or `0`.
fn parse_interval(text: &str) -> Option<Duration> {
    let at = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(at);
    let number: u64 = number.parse().ok()?;
    let millis = match unit {
        "" | "ms" => 1,
        "s" => 1_000,
        "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    number.checked_mul(millis).map(Duration::from_millis)
}
