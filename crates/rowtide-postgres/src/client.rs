//! SQL connections: pinned session settings, TLS, keepalives.
//!
//! Settings of the role or of the database change how values are printed, so every session says
//! in its startup packet, which nothing overrides, how they are to be.

use std::sync::Arc;
use std::time::Duration;

use rowtide_core::{Error, Result};
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Config, NoTls};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::error::from_driver;
use crate::options::PostgresOptions;
use crate::tls;

/// The startup `options` of every session.
pub(crate) const PINNED: &str = "-c datestyle=ISO -c intervalstyle=postgres \
    -c extra_float_digits=1 -c bytea_output=hex -c timezone=UTC -c lc_monetary=C \
    -c search_path= -c row_security=off -c xmlbinary=base64 -c statement_timeout=0 \
    -c lock_timeout=0 -c idle_in_transaction_session_timeout=0 -c idle_session_timeout=0";

/// How long written bytes may stay unacknowledged before the connection counts as dead.
pub(crate) const USER_TIMEOUT: Duration = Duration::from_secs(60);
pub(crate) const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);
pub(crate) const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
pub(crate) const KEEPALIVE_RETRIES: u32 = 3;

/// Opens an SQL connection. Dropping the client ends the connection.
pub(crate) async fn connect(options: &PostgresOptions, application: &str) -> Result<Client> {
    let doing = format!("connecting to {} as {}", options.address(), options.user());
    let config = driver_config(options, application);
    let connecting = async {
        match tls::client_config(options)? {
            None => {
                let (client, connection) =
                    config.connect(NoTls).await.map_err(|error| from_driver(&doing, error))?;
                let pins = pins(&connection);
                tokio::spawn(run(connection));
                Ok((client, pins))
            }
            Some(tls) => {
                let tls = MakeRustlsConnect::new((*tls).clone());
                let (client, connection) =
                    config.connect(tls).await.map_err(|error| from_driver(&doing, error))?;
                let pins = pins(&connection);
                tokio::spawn(run(connection));
                Ok((client, pins))
            }
        }
    };
    let (client, pins) = match tokio::time::timeout(options.connect_timeout(), connecting).await {
        Ok(connected) => connected.map_err(|error| with_address_hint(error, options))?,
        Err(_) => return Err(timed_out(&doing, options)),
    };
    if !pins.is_empty() {
        let pinned = client.batch_execute(&pins).await;
        pinned.map_err(|error| from_driver(&doing, error))?;
    }
    Ok(client)
}

/// Settings that older servers would refuse in the startup packet: a limit on transactions would
/// end long copies.
pub(crate) const PINNED_NEWER: &str = "SET transaction_timeout = 0";

/// In a database that does not check encodings, the server would refuse to send what is not
/// UTF-8, and with it everything that comes after. Sent as it is, one value is judged by itself.
pub(crate) const AS_IT_IS: &str = "SET client_encoding = 'SQL_ASCII'";

/// What is set once a server is known.
fn pins<S, T>(connection: &tokio_postgres::Connection<S, T>) -> String
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let newer = is_newer(connection.parameter("server_version")).then_some(PINNED_NEWER);
    let unchecked = connection.parameter("server_encoding") == Some("SQL_ASCII");
    let pins: Vec<&str> = newer.into_iter().chain(unchecked.then_some(AS_IT_IS)).collect();
    pins.join("; ")
}

/// Whether the server is 17 or newer.
pub(crate) fn is_newer(version: Option<&str>) -> bool {
    let digits = |version: &str| {
        let end = version.find(|c: char| !c.is_ascii_digit()).unwrap_or(version.len());
        version.get(..end).and_then(|digits| digits.parse::<u32>().ok())
    };
    version.and_then(digits).is_some_and(|major| major >= 17)
}

/// Drives one connection until the client is dropped or the server hangs up.
async fn run<S, T>(connection: tokio_postgres::Connection<S, T>)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    if let Err(error) = connection.await {
        // Whoever uses the client gets an error of their own; DETAIL must not be printed.
        let state = error.code().map_or("", tokio_postgres::error::SqlState::code);
        tracing::debug!(state, "connection to PostgreSQL ended");
    }
}

pub(crate) fn timed_out(doing: &str, options: &PostgresOptions) -> Error {
    let waited = options.connect_timeout().as_secs();
    Error::unavailable(format!("{doing}: no answer within {waited} s"))
        .with_hint("check the host and the port, and that no firewall drops the packets")
}

/// Says where to look when nothing answered.
pub(crate) fn with_address_hint(error: Error, options: &PostgresOptions) -> Error {
    if error.kind().is_transient() && error.hint().is_none() {
        let hint = format!(
            "check that PostgreSQL runs on {}, port {}, and lets this host in",
            options.host(),
            options.port()
        );
        return error.with_hint(hint);
    }
    error
}

fn driver_config(options: &PostgresOptions, application: &str) -> Config {
    let mut config = Config::new();
    config
        .host(options.host())
        .port(options.port())
        .user(options.user())
        .dbname(options.database())
        .application_name(application)
        .options(PINNED)
        .connect_timeout(options.connect_timeout())
        .tcp_user_timeout(USER_TIMEOUT)
        .keepalives(true)
        .keepalives_idle(KEEPALIVE_IDLE)
        .keepalives_interval(KEEPALIVE_INTERVAL)
        .keepalives_retries(KEEPALIVE_RETRIES)
        .ssl_mode(match options.sslmode() {
            crate::options::SslMode::Disable => tokio_postgres::config::SslMode::Disable,
            _ => tokio_postgres::config::SslMode::Require,
        });
    if let Some(password) = &options.password {
        config.password(password.reveal());
    }
    config
}

/// An SQL client with the words to say what failed.
#[derive(Clone)]
pub(crate) struct Sql {
    client: Arc<Client>,
    /// How long an answer may take.
    limit: Option<Duration>,
}

impl Sql {
    pub(crate) async fn connect(options: &PostgresOptions, application: &str) -> Result<Self> {
        let client = Arc::new(connect(options, application).await?);
        Ok(Self { client, limit: None })
    }

    /// The same for what a server answers at once: gives up after [`ANSWER`].
    #[must_use]
    pub(crate) fn answering(self) -> Self {
        Self { limit: Some(ANSWER), ..self }
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// Runs statements without results.
    pub(crate) async fn execute(&self, doing: &str, sql: &str) -> Result<()> {
        answered(self.limit, doing, self.execute_in_time(doing, sql)).await
    }

    /// Runs statements that wait for others, and bound that themselves.
    pub(crate) async fn execute_in_time(&self, doing: &str, sql: &str) -> Result<()> {
        self.client.batch_execute(sql).await.map_err(|error| from_driver(doing, error))
    }

    /// All rows of a query.
    pub(crate) async fn rows(
        &self,
        doing: &str,
        sql: &str,
        parameters: &[&dyn Parameter],
    ) -> Result<Vec<tokio_postgres::Row>> {
        let answer = async {
            let answer = self.client.query_typed(sql, &declared(parameters)).await;
            answer.map_err(|error| from_driver(doing, error))
        };
        answered(self.limit, doing, answer).await
    }

    /// The one row of a query.
    pub(crate) async fn row(
        &self,
        doing: &str,
        sql: &str,
        parameters: &[&dyn Parameter],
    ) -> Result<tokio_postgres::Row> {
        let answer = async {
            let answer = self.client.query_typed_one(sql, &declared(parameters)).await;
            answer.map_err(|error| from_driver(doing, error))
        };
        answered(self.limit, doing, answer).await
    }
}

/// A value of a statement's parameter, which says of what type it is. Where the client says so, a
/// query is one round trip; the server's word for it would be another one before.
pub(crate) trait Parameter: ToSql + Sync {
    fn declared(&self) -> Type;
}

macro_rules! parameters {
    ($($rust:ty => $sql:ident),* $(,)?) => {
        $(impl Parameter for $rust {
            fn declared(&self) -> Type {
                Type::$sql
            }
        })*
    };
}

parameters! {
    bool => BOOL,
    i32 => INT4,
    i64 => INT8,
    u32 => OID,
    &str => TEXT,
    String => TEXT,
    &[u32] => OID_ARRAY,
    Vec<u32> => OID_ARRAY,
    Vec<i32> => INT4_ARRAY,
    Option<&[u32]> => OID_ARRAY,
    &[&str] => TEXT_ARRAY,
    &[String] => TEXT_ARRAY,
    Vec<&str> => TEXT_ARRAY,
    Vec<String> => TEXT_ARRAY,
}

fn declared<'a>(parameters: &[&'a dyn Parameter]) -> Vec<(&'a (dyn ToSql + Sync), Type)> {
    parameters.iter().map(|value| (*value as &(dyn ToSql + Sync), value.declared())).collect()
}

/// How long a server may take for what it does at once: a connection can fall silent without
/// being lost, when what is in between answers for the server.
pub(crate) const ANSWER: Duration = Duration::from_secs(60);

/// Gives up on what takes longer than `limit`.
pub(crate) async fn answered<T>(
    limit: Option<Duration>,
    doing: &str,
    answer: impl Future<Output = Result<T>>,
) -> Result<T> {
    let Some(limit) = limit else { return answer.await };
    tokio::time::timeout(limit, answer).await.unwrap_or_else(|_| {
        let message = format!("{doing}: no answer within {} s", limit.as_secs_f32());
        Err(Error::unavailable(message)
            .with_hint("check that the server is not overloaded, and the way to it"))
    })
}

/// A column of a row, with an error instead of a panic.
pub(crate) fn get<'a, T: tokio_postgres::types::FromSql<'a>>(
    row: &'a tokio_postgres::Row,
    index: usize,
) -> Result<T> {
    row.try_get(index).map_err(|error| {
        let cause = std::error::Error::source(&error);
        if cause.is_some_and(<dyn std::error::Error>::is::<std::str::Utf8Error>) {
            return Error::config("a name in the source's catalog is not valid UTF-8").with_hint(
                "the database does not check encodings (SQL_ASCII): rename the table, column or \
                 type",
            );
        }
        Error::internal(format!("column {index} of a catalog query is not as expected"))
            .with_source(error)
    })
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use rowtide_core::ErrorKind;
    use rowtide_sandbox::ServerOptions;
    use rowtide_sandbox::testing::start_or_skip;

    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn what_is_not_answered_is_given_up() {
        let Some(server) = start_or_skip(&ServerOptions::default()) else { return };
        let options = PostgresOptions::from_url(&server.url("postgres"), &|_| None).unwrap();
        let sql = Sql::connect(&options, "test").await.unwrap();
        assert_eq!(sql.clone().answering().limit, Some(ANSWER));
        let limited = Sql { limit: Some(Duration::from_millis(200)), ..sql.clone() };
        let began = Instant::now();
        for error in [
            limited.rows("asking", "SELECT pg_catalog.pg_sleep(60)", &[]).await.err(),
            limited.row("asking", "SELECT pg_catalog.pg_sleep(60)", &[]).await.err(),
            limited.execute("asking", "SELECT pg_catalog.pg_sleep(60)").await.err(),
        ] {
            let error = error.unwrap();
            assert_eq!(error.kind(), ErrorKind::Unavailable);
            assert!(error.message().contains("asking: no answer within"), "{error}");
        }
        assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
        // What bounds itself may take longer.
        let other = Sql::connect(&options, "test").await.unwrap();
        let patient = Sql { limit: Some(Duration::from_millis(200)), ..other };
        patient.execute_in_time("waiting", "SELECT pg_catalog.pg_sleep(0.5)").await.unwrap();
    }
}
