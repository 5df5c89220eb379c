//! The listener, and the limits of what it takes.

use std::convert::Infallible;
use std::future::ready;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, header};
use hyper_util::rt::{TokioIo, TokioTimer};
use metrics_exporter_prometheus::PrometheusHandle;
use rowtide_core::{Error, Result, Secret};
use rowtide_engine::{Environment, Monitor};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::exposition;
use crate::gate::Gate;
use crate::route::Site;

/// So many connections at a time; more wait.
const CONNECTIONS: usize = 32;
/// How long a connection may last, from the first byte of its request to the last of its answer.
const LONGEST: Duration = Duration::from_secs(10);
/// How large a request may be.
const LARGEST: usize = 16 << 10;
/// How many headers it may have.
const HEADERS: usize = 64;
/// How often measurements are put into their buckets although nobody looks.
const UPKEEP: Duration = Duration::from_secs(5);
/// The pause after a connection could not be taken, for example because too many files are open.
const BREATH: Duration = Duration::from_millis(100);

/// What is served, and where.
pub struct Serve {
    /// Where to listen.
    pub address: SocketAddr,
    /// What a request must bring, if anything.
    pub token: Option<Secret>,
    /// The pipeline's name.
    pub pipeline: String,
    /// How things stand.
    pub monitor: Monitor,
}

/// A running server; dropping it ends it.
pub struct Server {
    address: SocketAddr,
    _tasks: JoinSet<()>,
}

impl Server {
    /// Records this process's metrics from now on, and serves them.
    ///
    /// # Errors
    /// `Config` if the address is taken, is not this machine's, or lets others in without a token.
    pub async fn start(serve: Serve) -> Result<Self> {
        let listener = listen(&serve).await?;
        Self::run(listener, serve, exposition::install()?)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    fn run(listener: TcpListener, serve: Serve, metrics: PrometheusHandle) -> Result<Self> {
        let address = listener.local_addr().map_err(|error| refused(serve.address, error))?;
        let is_local = address.ip().is_loopback();
        let mut tasks = JoinSet::new();
        tasks.spawn(upkeep(metrics.clone()));
        let site = Site {
            gate: Gate { is_local, token: serve.token },
            pipeline: serve.pipeline,
            monitor: serve.monitor,
            environment: Environment::real(),
            metrics,
        };
        tasks.spawn(accept(listener, Arc::new(site)));
        Ok(Self { address, _tasks: tasks })
    }
}

async fn listen(serve: &Serve) -> Result<TcpListener> {
    let address = serve.address;
    if !address.ip().is_loopback() && serve.token.is_none() {
        let message = format!("others could read the metrics at {address}");
        return Err(Error::config(message).with_hint("set metrics.token, or listen at 127.0.0.1"));
    }
    TcpListener::bind(address).await.map_err(|error| refused(address, error))
}

fn refused(address: SocketAddr, error: io::Error) -> Error {
    let message = format!("cannot serve metrics at {address}");
    let hint = match error.kind() {
        io::ErrorKind::AddrInUse => {
            "another program, perhaps another pipeline, listens there: give this one another port \
             with metrics.listen or --metrics-listen"
        }
        io::ErrorKind::AddrNotAvailable => "metrics.listen is an address of this machine",
        io::ErrorKind::PermissionDenied => "choose a port above 1023",
        _ => "choose another address with metrics.listen or --metrics-listen",
    };
    Error::config(message).with_source(error).with_hint(hint)
}

async fn upkeep(metrics: PrometheusHandle) {
    loop {
        tokio::time::sleep(UPKEEP).await;
        metrics.run_upkeep();
    }
}

async fn accept(listener: TcpListener, site: Arc<Site>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    // Those that are open end with the server.
    let mut connections = JoinSet::new();
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        while connections.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((stream, _)) => {
                let site = Arc::clone(&site);
                connections.spawn(async move {
                    let _place = place;
                    let _ = tokio::time::timeout(LONGEST, converse(stream, &site)).await;
                });
            }
            Err(error) => {
                tracing::debug!(%error, "a connection for metrics could not be taken");
                tokio::time::sleep(BREATH).await;
            }
        }
    }
}

/// One request and its answer.
async fn converse(stream: TcpStream, site: &Site) {
    let service = service_fn(|request: Request<Incoming>| {
        let mut response = site.answer((request.method(), request.uri()), request.headers());
        response
            .headers_mut()
            .insert(header::CONNECTION, header::HeaderValue::from_static("close"));
        ready(Ok::<_, Infallible>(response))
    });
    let mut connection = http1::Builder::new();
    connection
        .timer(TokioTimer::new())
        .header_read_timeout(LONGEST)
        .keep_alive(false)
        .max_buf_size(LARGEST)
        .max_headers(HEADERS);
    if let Err(error) = connection.serve_connection(TokioIo::new(stream), service).await {
        tracing::debug!(%error, "a request for metrics was not answered");
    }
}

#[cfg(test)]
mod tests;
