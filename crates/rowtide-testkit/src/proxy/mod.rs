//! A proxy between a client and a PostgreSQL server that breaks connections on purpose.
//!
//! It understands how messages are framed, so a fault can be put at an exact place: after the
//! commit of the third transaction, at the answer to `COMMIT`, in the middle of a row. Nothing
//! happens by chance or by time (but for the pauses a test asks for), and everything is counted,
//! so that a test can prove that its fault took place.
//!
//! A wish for encryption is answered with no: the proxy could not look inside.

mod pgwire;
mod pump;
mod rule;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;

use crate::{Result, wait_for};
use pgwire::{Framer, Piece};
use pump::{Link, Pump, State};
use rule::{Active, Kind, Verdict};

pub use rule::{Action, Connections, Direction, Rule, Shape, When};

/// What went through, and what was done to it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Connections that were accepted and connected on to the server.
    pub connections: u64,
    /// Connections that were closed at once, by wish or because the server took none.
    pub refused: u64,
    /// Bytes that were forwarded to the server.
    pub bytes_to_server: u64,
    /// Bytes that were forwarded to the client.
    pub bytes_to_client: u64,
    /// Messages of which at least a part was forwarded to the server.
    pub messages_to_server: u64,
    /// Messages of which at least a part was forwarded to the client.
    pub messages_to_client: u64,
    /// Faults of every kind.
    pub faults: u64,
}

/// A rule that was added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RuleId(usize);

/// The proxy; dropping it closes every connection.
#[derive(Debug)]
pub struct Proxy {
    shared: Arc<Shared>,
    port: u16,
    runtime: Option<Runtime>,
}

/// What the proxy and its connections share.
#[derive(Debug, Default)]
struct Shared {
    server: AtomicU16,
    refusing: AtomicBool,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// Never shortened: a [`RuleId`] is a place in it.
    rules: Vec<Option<Active>>,
    /// What rules that were taken away had done.
    past: Vec<u64>,
    shapes: Vec<(Connections, Direction, Shape)>,
    counters: Counters,
    links: Vec<Weak<Link>>,
}

impl Proxy {
    /// Listens on a free port of this machine, for the server on `port` of it.
    ///
    /// # Errors
    /// If no port can be had.
    pub fn start(port: u16) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("proxy")
            .enable_all()
            .build()
            .map_err(|e| format!("start the proxy: {e}"))?;
        let listen = || -> std::io::Result<(TcpListener, u16)> {
            let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
            listener.set_nonblocking(true)?;
            let port = listener.local_addr()?.port();
            let _inside = runtime.enter();
            Ok((TcpListener::from_std(listener)?, port))
        };
        let (listener, own) = listen().map_err(|e| format!("listen for the proxy: {e}"))?;
        let shared = Arc::new(Shared { server: AtomicU16::new(port), ..Shared::default() });
        runtime.spawn(accept(listener, Arc::clone(&shared)));
        Ok(Self { shared, port: own, runtime: Some(runtime) })
    }

    /// The port to connect to.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The URL of the database `db`, for the user `postgres` without a password.
    pub fn url(&self, db: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{db}", self.port)
    }

    /// Connects from now on to another server.
    pub fn forward_to(&self, port: u16) {
        self.shared.server.store(port, Ordering::Release);
    }

    /// Adds a rule; of several that fire at once the first counts.
    pub fn add(&self, rule: Rule) -> RuleId {
        let mut inner = self.shared.lock();
        inner.rules.push(Some(Active::new(rule)));
        inner.past.push(0);
        RuleId(inner.rules.len() - 1)
    }

    /// How often a rule has fired.
    pub fn fired(&self, rule: RuleId) -> u64 {
        let inner = self.shared.lock();
        let active = inner.rules.get(rule.0).and_then(Option::as_ref).map(|active| active.fired);
        active.unwrap_or_else(|| inner.past.get(rule.0).copied().unwrap_or(0))
    }

    /// Waits until a rule has fired `times` times.
    ///
    /// # Errors
    /// If it does not within `limit`.
    pub fn wait_until_fired(&self, rule: RuleId, times: u64, limit: Duration) -> Result<()> {
        wait_for("the proxy's rule to fire", limit, || match self.fired(rule) {
            fired if fired >= times => Ok(Some(())),
            fired => Err(format!("fired {fired} of {times} times; {:?}", self.counters())),
        })
    }

    /// Forwards from now on so; connections of several shapes take the latest.
    pub fn shape(&self, connections: Connections, direction: Direction, shape: Shape) {
        self.shared.lock().shapes.push((connections, direction, shape));
    }

    /// New connections are closed at once, or no longer.
    pub fn refuse(&self, refuse: bool) {
        self.shared.refusing.store(refuse, Ordering::Release);
    }

    /// Closes the connections that there are; returns how many.
    pub fn cut(&self, connections: &Connections) -> u64 {
        self.turn(connections, State::Ended)
    }

    /// Lets nothing pass any more on the connections that there are; returns how many.
    pub fn black_hole(&self, connections: &Connections) -> u64 {
        self.turn(connections, State::Silent)
    }

    fn turn(&self, connections: &Connections, state: State) -> u64 {
        let mut inner = self.shared.lock();
        let live: Vec<_> = inner.links.iter().filter_map(Weak::upgrade).collect();
        let meant = live.iter().filter(|link| connections.contain(link.kind.get()));
        let turned = meant.filter(|link| link.turn(state)).count() as u64;
        inner.counters.faults += turned;
        turned
    }

    /// Takes away all rules and shapes and refuses nobody. Connections that were silenced stay so.
    pub fn heal(&self) {
        self.refuse(false);
        let mut inner = self.shared.lock();
        inner.shapes.clear();
        let Inner { rules, past, .. } = &mut *inner;
        for (rule, past) in rules.iter_mut().zip(past) {
            *past += rule.take().map_or(0, |active| active.fired);
        }
    }

    /// What was counted so far.
    pub fn counters(&self) -> Counters {
        self.shared.lock().counters
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What happens at a piece, and how it is forwarded.
    fn judge(
        &self,
        kind: Option<&Kind>,
        direction: Direction,
        piece: &Piece,
    ) -> (Option<Verdict>, Shape) {
        let mut inner = self.lock();
        let rules = inner.rules.iter_mut().flatten();
        // Every rule sees every piece, or the counts of later ones would be wrong.
        let verdicts: Vec<_> =
            rules.filter_map(|rule| rule.judge(kind, direction, piece)).collect();
        inner.counters.faults += u64::from(!verdicts.is_empty());
        let shapes = inner.shapes.iter().rev();
        let mut meant =
            shapes.filter(|(connections, way, _)| *way == direction && connections.contain(kind));
        (verdicts.first().copied(), meant.next().map(|(_, _, shape)| *shape).unwrap_or_default())
    }

    fn passed(&self, direction: Direction, bytes: usize, begins: bool) {
        let counters = &mut self.lock().counters;
        let (all, messages) = match direction {
            Direction::ToServer => {
                (&mut counters.bytes_to_server, &mut counters.messages_to_server)
            }
            Direction::ToClient => {
                (&mut counters.bytes_to_client, &mut counters.messages_to_client)
            }
        };
        *all += bytes as u64;
        *messages += u64::from(begins && bytes > 0);
    }

    /// Connects an accepted client to the server and forwards both ways.
    async fn serve(self: Arc<Self>, client: TcpStream) {
        let server = SocketAddr::from((Ipv4Addr::LOCALHOST, self.server.load(Ordering::Acquire)));
        let refusing = self.refusing.load(Ordering::Acquire);
        let server = if refusing { None } else { TcpStream::connect(server).await.ok() };
        let Some(server) = server else {
            self.lock().counters.refused += 1;
            return;
        };
        // Without it, single bytes would be gathered by the kernel; an old kernel may refuse.
        let _ = (client.set_nodelay(true), server.set_nodelay(true));
        let link = Arc::new(Link::new());
        {
            let mut inner = self.lock();
            inner.counters.connections += 1;
            inner.links.retain(|link| link.strong_count() > 0);
            inner.links.push(Arc::downgrade(&link));
        }
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = server.into_split();
        let (words_to_server, said_to_server) = mpsc::unbounded_channel();
        let (words_to_client, said_to_client) = mpsc::unbounded_channel();
        let upwards = Pump {
            direction: Direction::ToServer,
            reader: from_client,
            writer: to_server,
            link: Arc::clone(&link),
            shared: Arc::clone(&self),
            framer: Framer::of_client(),
            own_words: said_to_server,
            to_peer: words_to_client,
            pending: None,
        };
        let downwards = Pump {
            direction: Direction::ToClient,
            reader: from_server,
            writer: to_client,
            link,
            shared: self,
            framer: Framer::of_server(),
            own_words: said_to_client,
            to_peer: words_to_server,
            pending: None,
        };
        tokio::join!(upwards.run(), downwards.run());
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((client, _)) = listener.accept().await {
        tokio::spawn(Arc::clone(&shared).serve(client));
    }
}
