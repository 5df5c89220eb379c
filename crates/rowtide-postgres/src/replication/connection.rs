//! Opening a replication connection, and what can be asked on it before it streams.

use std::time::Duration;

use bytes::BytesMut;
use futures::FutureExt;
use postgres_protocol::message::frontend;
use rowtide_core::{Error, Result};
use rustls_pki_types::ServerName;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;

use super::authentication::Authentication;
use super::frames::FrameReader;
use super::server_error;
use super::thread::LogThread;
use crate::client::{
    ANSWER, AS_IT_IS, KEEPALIVE_IDLE, KEEPALIVE_INTERVAL, KEEPALIVE_RETRIES, PINNED, USER_TIMEOUT,
    answered, timed_out, with_address_hint,
};
use crate::error::{is_certificate_problem, untrusted};
use crate::options::PostgresOptions;
use crate::protocol::Cursor;
use crate::tls;

/// A byte stream to the server: TCP, TLS or a Unix socket.
pub(crate) trait Socket: AsyncRead + AsyncWrite + Send + Sync + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Sync + Unpin> Socket for T {}

/// The half that is read.
pub(crate) type Reader = FrameReader<ReadHalf<Box<dyn Socket>>>;
/// The half that is written.
pub(crate) type Writer = WriteHalf<Box<dyn Socket>>;

/// A connection with `replication=database`, whose bytes arrive at a thread of its own.
pub(crate) struct ReplicationConnection {
    reader: Reader,
    writer: Writer,
    thread: LogThread,
}

/// A row of a simple query: text, or NULL.
pub(crate) type TextRow = Vec<Option<String>>;

impl ReplicationConnection {
    /// Connects, encrypts and authenticates.
    pub(crate) async fn connect(options: &PostgresOptions, application: &str) -> Result<Self> {
        let thread = LogThread::start()?;
        let (options, application) = (options.clone(), application.to_owned());
        let there = thread.clone();
        let opened =
            thread.spawn(async move { Self::open(&options, &application, there).await }).await;
        opened.map_err(|error| {
            Error::internal("the thread that connects for replication died").with_source(error)
        })?
    }

    async fn open(options: &PostgresOptions, application: &str, thread: LogThread) -> Result<Self> {
        let (host, user) = (options.address(), options.user());
        let doing = format!("connecting to {host} as {user} for replication");
        let opening = async {
            let (socket, end_point) = open(options, &doing).await?;
            let (read, write) = tokio::io::split(socket);
            let mut connection = Self { reader: FrameReader::new(read), writer: write, thread };
            connection.start_up(options, application, end_point, &doing).await?;
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
        application: &str,
        security: Security,
        doing: &str,
    ) -> Result<()> {
        let mut out = BytesMut::new();
        let parameters = [
            ("user", options.user()),
            ("database", options.database()),
            ("replication", "database"),
            ("application_name", application),
            ("client_encoding", "UTF8"),
            ("options", PINNED),
        ];
        frontend::startup_message(parameters, &mut out).map_err(|error| {
            Error::config(format!("{doing}: a name is invalid")).with_source(error)
        })?;
        self.send(&out, doing).await?;
        let mut authentication =
            Authentication::new(options, security.end_point, security.encrypted);
        let mut unchecked = false;
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
                b'S' => unchecked |= body == b"server_encoding\0SQL_ASCII\0",
                b'Z' => break,
                _ => {}
            }
        }
        if unchecked {
            self.rows(doing, AS_IT_IS).await?;
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
    async fn message(&mut self, doing: &str) -> Result<(u8, Vec<u8>)> {
        loop {
            match self.reader.take()? {
                Some((b'E', body)) => return Err(server_error(doing, self.reader.bytes(&body))),
                Some((b'N', _)) => {}
                Some((tag, body)) => return Ok((tag, self.reader.bytes(&body).to_vec())),
                None => {
                    let filled = self.reader.fill().await;
                    filled.map_err(|error| Error::unavailable(doing).with_source(error))?;
                }
            }
        }
    }

    async fn query(&mut self, doing: &str, sql: &str) -> Result<()> {
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

    /// Whether the server hung up, or said something without being asked: as a rule why it does.
    pub(crate) fn says_something(&mut self) -> bool {
        self.reader.fill().now_or_never().is_some()
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
        Ok((self.reader, self.writer, self.thread))
    }

    async fn start(&mut self, doing: &str, command: &str) -> Result<()> {
        self.query(doing, command).await?;
        loop {
            match self.message(doing).await? {
                (b'W', _) => return Ok(()),
                (b'Z', _) => return Err(Error::internal(format!("{doing}: nothing was started"))),
                _ => {}
            }
        }
    }
}

/// What is known of a socket's protection.
struct Security {
    encrypted: bool,
    end_point: Option<Vec<u8>>,
}

async fn open(options: &PostgresOptions, doing: &str) -> Result<(Box<dyn Socket>, Security)> {
    let open = Security { encrypted: false, end_point: None };
    let unreachable = |error: std::io::Error| Error::unavailable(doing).with_source(error);
    if options.is_unix_socket() {
        let path = format!("{}/.s.PGSQL.{}", options.host(), options.port());
        let socket = UnixStream::connect(path).await.map_err(unreachable)?;
        return Ok((Box::new(socket), open));
    }
    let mut tcp =
        TcpStream::connect((options.host(), options.port())).await.map_err(unreachable)?;
    prepare(&tcp).map_err(unreachable)?;
    let Some(config) = tls::client_config(options)? else { return Ok((Box::new(tcp), open)) };
    let mut request = BytesMut::new();
    frontend::ssl_request(&mut request);
    tcp.write_all(&request).await.map_err(unreachable)?;
    let mut answer = [0];
    tcp.read_exact(&mut answer).await.map_err(unreachable)?;
    if answer != [b'S'] {
        return Err(Error::config(format!("{doing}: the server does not offer TLS"))
            .with_hint("set ssl=on at the server, or sslmode=disable on a trusted network"));
    }
    let name = ServerName::try_from(options.host().to_owned())
        .map_err(|error| Error::config(format!("{doing}: not a host name")).with_source(error))?;
    let secured = TlsConnector::from(config).connect(name, tcp).await.map_err(|error| {
        let refused = is_certificate_problem(&error);
        let base = if refused { untrusted(doing) } else { Error::unavailable(doing) };
        base.with_source(error)
    })?;
    let certificates = secured.get_ref().1.peer_certificates();
    let end_point =
        certificates.and_then(|chain| chain.first()).and_then(|own| tls::server_end_point(own));
    Ok((Box::new(secured), Security { encrypted: true, end_point }))
}

fn prepare(tcp: &TcpStream) -> std::io::Result<()> {
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE_IDLE)
        .with_interval(KEEPALIVE_INTERVAL)
        .with_retries(KEEPALIVE_RETRIES);
    let socket = SockRef::from(tcp);
    socket.set_tcp_keepalive(&keepalive)?;
    socket.set_tcp_user_timeout(Some(USER_TIMEOUT))?;
    tcp.set_nodelay(true)
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
