//! A connection whose messages are read in place.

use bytes::BytesMut;
use futures::FutureExt;
use postgres_protocol::message::frontend;
use rowtide_core::{Error, Result};
use tokio::io::{AsyncWriteExt, ReadHalf, WriteHalf};

use super::authentication::Authentication;
use super::frames::FrameReader;
use super::server_error;
use super::socket::{self, Security, Socket};
use crate::client::{
    ANSWER, AS_IT_IS, PINNED, PINNED_NEWER, answered, is_newer, timed_out, with_address_hint,
};
use crate::options::PostgresOptions;
use crate::protocol::Cursor;

/// The half that is read.
pub(crate) type Reader = FrameReader<ReadHalf<Box<dyn Socket>>>;
/// The half that is written.
pub(crate) type Writer = WriteHalf<Box<dyn Socket>>;

/// A row of a simple query: text, or NULL.
pub(crate) type TextRow = Vec<Option<String>>;

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Statements, and the rows of `COPY`.
    Sql,
    /// The commands of replication as well (`replication=database`).
    Replication,
}

/// One connection, which knows simple queries, `COPY … TO STDOUT` and commands of replication.
pub(crate) struct Connection {
    pub(crate) reader: Reader,
    pub(crate) writer: Writer,
}

/// What comes next of a copy.
pub(crate) enum Copied<'a> {
    /// A row, as the server sent it.
    Row(&'a [u8]),
    /// Whatever has arrived is read.
    Wait,
    /// The copy is complete, and the connection ready for another statement.
    End,
}

impl Connection {
    /// Connects, encrypts, authenticates and pins the session's settings.
    pub(crate) async fn connect(
        options: &PostgresOptions,
        application: &str,
        purpose: Purpose,
    ) -> Result<Self> {
        let (host, user) = (options.address(), options.user());
        let why = if purpose == Purpose::Replication { " for replication" } else { "" };
        let doing = format!("connecting to {host} as {user}{why}");
        let opening = async {
            let (socket, security) = socket::open(options, &doing).await?;
            let (read, writer) = tokio::io::split(socket);
            let mut connection = Self { reader: FrameReader::new(read), writer };
            connection.start_up(options, (application, purpose), security, &doing).await?;
            Ok(connection)
        };
        match tokio::time::timeout(options.connect_timeout(), opening).await {
            Ok(opened) => opened.map_err(|error| with_address_hint(error, options)),
            Err(_) => Err(timed_out(&doing, options)),
        }
    }

    async fn start_up(
        &mut self,
        options: &PostgresOptions,
        (application, purpose): (&str, Purpose),
        security: Security,
        doing: &str,
    ) -> Result<()> {
        let mut out = BytesMut::new();
        let parameters = [
            ("user", options.user()),
            ("database", options.database()),
            ("application_name", application),
            ("client_encoding", "UTF8"),
            ("options", PINNED),
        ];
        let replication = (purpose == Purpose::Replication).then_some(("replication", "database"));
        let parameters = parameters.into_iter().chain(replication);
        frontend::startup_message(parameters, &mut out).map_err(|error| {
            Error::config(format!("{doing}: a name is invalid")).with_source(error)
        })?;
        self.send(&out, doing).await?;
        let mut authentication =
            Authentication::new(options, security.end_point, security.encrypted);
        let mut pins = Vec::new();
        loop {
            let (tag, body) = self.message(doing).await?;
            match tag {
                b'R' => {
                    out.clear();
                    let step = authentication.step(&body, &mut out);
                    let done = step.map_err(|error| error.context(doing))?;
                    if !done && !out.is_empty() {
                        self.send(&out, doing).await?;
                    }
                }
                // ParameterStatus.
                b'S' => pins.extend(pin(&body)),
                b'Z' => break,
                _ => {}
            }
        }
        for pin in pins {
            self.rows(doing, pin).await?;
        }
        Ok(())
    }

    async fn send(&mut self, bytes: &[u8], doing: &str) -> Result<()> {
        let sent = async {
            self.writer.write_all(bytes).await?;
            self.writer.flush().await
        };
        sent.await.map_err(|error| Error::unavailable(doing).with_source(error))
    }

    /// The next message, without notices; an error the server reports is an error.
    pub(crate) async fn message(&mut self, doing: &str) -> Result<(u8, Vec<u8>)> {
        loop {
            match self.reader.take()? {
                Some((b'E', body)) => return Err(server_error(doing, self.reader.bytes(&body))),
                Some((b'N', _)) => {}
                Some((tag, body)) => return Ok((tag, self.reader.bytes(&body).to_vec())),
                None => self.fill(doing).await?,
            }
        }
    }

    pub(crate) async fn query(&mut self, doing: &str, sql: &str) -> Result<()> {
        let mut out = BytesMut::new();
        frontend::query(sql, &mut out).map_err(|error| Error::config(doing).with_source(error))?;
        self.send(&out, doing).await
    }

    /// The rows of one statement or replication command that is answered at once.
    pub(crate) async fn rows(&mut self, doing: &str, sql: &str) -> Result<Vec<TextRow>> {
        answered(Some(ANSWER), doing, self.rows_in_time(doing, sql)).await
    }

    /// The rows of one that waits for others.
    pub(crate) async fn rows_in_time(&mut self, doing: &str, sql: &str) -> Result<Vec<TextRow>> {
        self.query(doing, sql).await?;
        let mut rows = Vec::new();
        loop {
            let (tag, body) = self.message(doing).await?;
            match tag {
                b'D' => rows.push(text_row(&body)?),
                b'Z' => return Ok(rows),
                _ => {}
            }
        }
    }

    /// Begins `statement`, a `COPY … TO STDOUT`. Its rows are what [`copied`](Self::copied) gives.
    pub(crate) async fn copy_out(&mut self, doing: &str, statement: &str) -> Result<()> {
        self.query(doing, statement).await?;
        loop {
            match self.message(doing).await? {
                (b'H', _) => return Ok(()),
                (b'Z', _) => return Err(Error::internal(format!("{doing}: nothing is copied"))),
                _ => {}
            }
        }
    }

    /// What has arrived next of a copy that has begun.
    #[inline]
    pub(crate) fn copied(&mut self, doing: &str) -> Result<Copied<'_>> {
        loop {
            match self.reader.take()? {
                Some((b'd', body)) => return Ok(Copied::Row(self.reader.bytes(&body))),
                None => return Ok(Copied::Wait),
                Some((b'Z', _)) => return Ok(Copied::End),
                Some((b'E', body)) => return Err(server_error(doing, self.reader.bytes(&body))),
                Some(_) => {}
            }
        }
    }

    /// Waits until more has arrived.
    pub(crate) async fn fill(&mut self, doing: &str) -> Result<()> {
        let filled = self.reader.fill().await;
        filled.map(drop).map_err(|error| Error::unavailable(doing).with_source(error))
    }

    /// Whether the server hung up, or said something without being asked: as a rule why it does.
    pub(crate) fn says_something(&mut self) -> bool {
        self.reader.fill().now_or_never().is_some()
    }
}

/// What has to be set because of what the server says of itself in a `ParameterStatus`.
fn pin(body: &[u8]) -> Option<&'static str> {
    let text = std::str::from_utf8(body).ok()?;
    match text.strip_suffix('\0')?.split_once('\0')? {
        ("server_encoding", "SQL_ASCII") => Some(AS_IT_IS),
        ("server_version", version) if is_newer(Some(version)) => Some(PINNED_NEWER),
        _ => None,
    }
}

fn text_row(body: &[u8]) -> Result<TextRow> {
    let mut cursor = Cursor::new(body);
    let count = cursor.u16()?;
    let mut row = Vec::with_capacity(usize::from(count));
    for _ in 0..count {
        row.push(match cursor.i32()? {
            -1 => None,
            len => {
                let bytes = cursor.take(usize::try_from(len).unwrap_or(usize::MAX))?;
                Some(String::from_utf8_lossy(bytes).into_owned())
            }
        });
    }
    Ok(row)
}

#[cfg(test)]
mod tests {
    use rowtide_core::ErrorKind;
    use rowtide_sandbox::testing::start_or_skip;
    use rowtide_sandbox::{Major, ServerOptions};

    use super::*;

    async fn copy(connection: &mut Connection, query: &str) -> Result<Vec<String>> {
        let doing = "copying a test";
        connection.copy_out(doing, &format!("COPY ({query}) TO STDOUT")).await?;
        let mut rows = Vec::new();
        loop {
            match connection.copied(doing)? {
                Copied::Row(row) => rows.push(String::from_utf8_lossy(row).into_owned()),
                Copied::Wait => connection.fill(doing).await?,
                Copied::End => return Ok(rows),
            }
        }
    }

    #[tokio::test]
    async fn rows_are_copied_and_the_connection_is_ready_for_more() {
        let Some(server) = start_or_skip(&ServerOptions::default()) else { return };
        let options = PostgresOptions::from_url(&server.url("postgres"), &|_| None).unwrap();
        let mut connection = Connection::connect(&options, "test", Purpose::Sql).await.unwrap();
        for _ in 0..2 {
            // More than what is received at once, and longer rows than that.
            let query = "SELECT i, repeat('x', i) FROM generate_series(1, 3000) i \
                         UNION ALL SELECT 4000, repeat('y', 3000000)";
            let rows = copy(&mut connection, query).await.unwrap();
            assert_eq!(rows.len(), 3001);
            assert_eq!(rows[2], "3\txxx\n");
            assert_eq!(rows[3000].len(), "4000\t\n".len() + 3_000_000);
            assert!(!connection.says_something(), "something is left");
        }
        let rows = connection.rows("asking", "SELECT 1, NULL; SELECT 2").await.unwrap();
        assert_eq!(rows, [vec![Some("1".to_owned()), None], vec![Some("2".to_owned())]]);
        let ended = copy(&mut connection, "SELECT 1 / (3 - i) FROM generate_series(1, 5) i").await;
        assert_eq!(ended.unwrap_err().kind(), ErrorKind::Data);
        let mut connection = Connection::connect(&options, "test", Purpose::Sql).await.unwrap();
        let nothing = connection.copy_out("copying", "SELECT 1").await;
        assert_eq!(nothing.unwrap_err().kind(), ErrorKind::Internal);
    }

    #[tokio::test]
    async fn settings_of_the_database_do_not_reach_a_session() {
        let newest = ServerOptions { major: Some(Major::V18), ..ServerOptions::default() };
        let Some(server) = start_or_skip(&newest) else { return };
        server
            .psql(
                "postgres",
                "ALTER DATABASE postgres SET transaction_timeout = '1s';
                 ALTER DATABASE postgres SET timezone = 'Asia/Tokyo';
                 ALTER DATABASE postgres SET statement_timeout = '2s'",
            )
            .unwrap();
        let options = PostgresOptions::from_url(&server.url("postgres"), &|_| None).unwrap();
        for purpose in [Purpose::Sql, Purpose::Replication] {
            let mut connection = Connection::connect(&options, "test", purpose).await.unwrap();
            for (setting, pinned) in
                [("transaction_timeout", "0"), ("timezone", "UTC"), ("statement_timeout", "0")]
            {
                let rows = connection.rows("asking", &format!("SHOW {setting}")).await.unwrap();
                assert_eq!(rows, [[Some(pinned.to_owned())]], "{setting}, {purpose:?}");
            }
        }
    }
}
