//! The bytes between us and a server: TCP, TLS or a Unix socket.

use bytes::BytesMut;
use postgres_protocol::message::frontend;
use rowtide_core::{Error, Result};
use rustls_pki_types::ServerName;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;

use crate::client::{KEEPALIVE_IDLE, KEEPALIVE_INTERVAL, KEEPALIVE_RETRIES, USER_TIMEOUT};
use crate::error::{is_certificate_problem, untrusted};
use crate::options::PostgresOptions;
use crate::tls;

/// A byte stream to the server.
pub(crate) trait Socket: AsyncRead + AsyncWrite + Send + Sync + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Sync + Unpin> Socket for T {}

/// What is known of a socket's protection.
pub(super) struct Security {
    pub(super) encrypted: bool,
    /// The hash of the server's certificate, where one is defined.
    pub(super) end_point: Option<Vec<u8>>,
}

/// Connects, and encrypts if that is asked for.
pub(super) async fn open(
    options: &PostgresOptions,
    doing: &str,
) -> Result<(Box<dyn Socket>, Security)> {
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
