//! The running log reader.
//!
//! ```text
//!  socket ──► reader task ──► decoder ──(one segment when asked)──► ChangeStream::next
//!    ▲                                                                     │
//!    └── feedback task ◄── durable checkpoints ◄── engine ◄────────────────┘
//! ```
//!
//! The reader hands over only when it is asked, so a segment grows while the destination is busy,
//! up to the buffer's size; then the socket is left unread, which is all the back-pressure there
//! is. The feedback task goes on in the meantime.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use rowtide_core::traits::{ChangeStream, Segment, StreamStart};
use rowtide_core::{Checkpoint, Error, ErrorKind, Offset, Result, XidSnapshot, fault};
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use super::decoder::{Decoder, Event};
use super::guard::Guard;
use super::history::History;
use super::identity::parse_lsn;
use super::schema_change::{View, compare};
use super::{PostgresSource, partition, slot};
use crate::catalog::{load_tables, load_types};
use crate::client::{Sql, get};
use crate::options::Origin;
use crate::protocol::Malformed;
use crate::protocol::pgoutput::Relation;
use crate::protocol::replication::Frame;
use crate::quote::{identifier, identifier_list, replication_literal};
use crate::replication::{Feedback, FrameReader, Progress, ReplicationConnection};
use crate::types::{Kind, TypeMap};

/// An idle log's progress is handed over (and so committed) at most this often.
const IDLE: Duration = Duration::from_secs(5);
/// The same after transactions: whoever waits for the end of the log should not wait long.
const IDLE_AFTER: Duration = Duration::from_secs(1);
/// The same when the server waits for an answer, as it does before it stops.
const IDLE_ASKED: Duration = Duration::from_millis(200);
/// How long a finished transaction may wait for more that has already arrived.
const LINGER: Duration = Duration::from_millis(5);
/// A read of fewer bytes than this is small; after so many in a row the reader pauses for a moment
/// whenever nobody waits, so that one wake-up brings many rows.
const SMALL_READ: usize = 16 << 10;
const SMALL_READS: u32 = 4;
/// A read that waited longer found a quiet log.
const QUIET: Duration = Duration::from_millis(5);
const GATHER_PAUSE: Duration = Duration::from_millis(1);
/// How much may be gathered from what has already arrived.
const GATHER: usize = 1 << 20;
/// How long saying goodbye in order may take.
const GOODBYE: Duration = Duration::from_secs(3);
/// The server's wait for us if it waits for ever.
pub(super) const DEFAULT_TIMEOUT: Duration = Duration::from_secs(60);

/// Starts streaming.
pub(super) async fn open(
    source: &PostgresSource,
    start: StreamStart,
    durable: watch::Receiver<Checkpoint>,
) -> Result<PostgresStream> {
    let slot = source.names.slot.clone();
    let sql = source.sql().await?;
    refuse_origin(source, &sql).await?;
    let binary = !source.text_only() && all_read_binary(source, &sql, &start).await?;
    let guard = Guard::new(source, &sql, &start.tables).await?;
    let publications = guard.names(source);
    let covered = match start.copying.is_empty() {
        true => None,
        false => Some(covered(&sql).await?),
    };
    let mut connection =
        ReplicationConnection::connect(&source.options, &source.names.application).await?;
    let timeout = connection.sender_timeout().await?.unwrap_or(DEFAULT_TIMEOUT);
    let (alarm, raised) = oneshot::channel();
    let with = Start {
        slot,
        publications,
        binary,
        timeout,
        start,
        durable,
        covered,
        alarm: Some(raised),
        sql: Some(sql),
    };
    let mut stream = start_on(source, connection, with).await?;
    stream.guard = Some(tokio::spawn(guard.run(source.clone(), alarm)));
    Ok(stream)
}

/// Checks that the server can tell changes by their origin, if that is asked for.
async fn refuse_origin(source: &PostgresSource, sql: &Sql) -> Result<()> {
    if source.options.origin == Origin::Any {
        return Ok(());
    }
    let query = "SELECT pg_catalog.current_setting('server_version_num')::int4";
    let version: i32 = get(&sql.row("reading the server's version", query, &[]).await?, 0)?;
    if version < FIRST_WITH_ORIGIN {
        return Err(Error::config(format!(
            "origin = \"none\": PostgreSQL {} cannot leave out what another replication wrote",
            version / 10_000
        ))
        .with_hint("it takes PostgreSQL 16 at the source; leave the option out"));
    }
    Ok(())
}

/// The first version whose log can be read by origin.
pub(super) const FIRST_WITH_ORIGIN: i32 = 160_000;

/// What any copy that begins from now on will have.
async fn covered(sql: &Sql) -> Result<XidSnapshot> {
    let doing = "reading the snapshot before copies";
    let row = sql.row(doing, "SELECT pg_catalog.pg_current_snapshot()::text", &[]).await?;
    let end = "SELECT pg_catalog.pg_current_wal_insert_lsn()::text";
    let end = parse_lsn(get(&sql.row(doing, end, &[]).await?, 0)?)?;
    XidSnapshot::parse(get(&row, 0)?, Offset(end))
}

/// Everything that is known before the stream begins.
pub(super) struct Start {
    pub(super) slot: String,
    pub(super) publications: Vec<String>,
    pub(super) binary: bool,
    pub(super) timeout: Duration,
    pub(super) start: StreamStart,
    pub(super) durable: watch::Receiver<Checkpoint>,
    /// What any copy that is still to come will have.
    pub(super) covered: Option<XidSnapshot>,
    /// Says that the stream can no longer be trusted.
    pub(super) alarm: Option<oneshot::Receiver<Error>>,
    /// To look the slot up, if the log is to be proved.
    pub(super) sql: Option<Sql>,
}

/// Starts streaming on `connection`.
pub(super) async fn start_on(
    source: &PostgresSource,
    connection: ReplicationConnection,
    with: Start,
) -> Result<PostgresStream> {
    let position = with.start.checkpoint.get(&partition()).unwrap_or_default();
    let mut history = History::of(&with.start.checkpoint, source.options.origin == Origin::None);
    let sql = with.sql.as_ref().filter(|_| history.is_marked());
    // With nothing said, the server begins where the slot stands.
    let from = if sql.is_some() { Offset(0) } else { position };
    let command = command(source, &with, from);
    let doing = format!("reading the log by the replication slot `{}`", with.slot);
    let (frames, writer) =
        connection.stream(&doing, &command).await.map_err(|error| lost(error, &with.slot))?;
    let mut begin = position.0;
    if let Some(sql) = sql {
        begin = slot::confirmed(sql, &with.slot).await?;
        history.begins_at(begin, position)?;
    }

    let progress = Arc::new(Progress::new(begin, history.is_proved()));
    let feedback = Feedback {
        writer,
        progress: Arc::clone(&progress),
        durable: with.durable,
        partition: partition(),
        start: begin,
        interval: (with.timeout / 3).min(Duration::from_secs(10)),
    };
    let feedback = tokio::spawn(feedback.run());
    let demand = Arc::new(Demand::default());
    let (sender, segments) = mpsc::channel(1);
    let policy = source.options.unrepresentable;
    let silence = (with.timeout * 2).max(Duration::from_secs(5));
    let mut decoder = Decoder::new(with.start.tables, position.0, policy)
        .in_place(with.start.fences)
        .knowing(history);
    if let Some(covered) = with.covered {
        decoder = decoder.copying(&with.start.copying, covered);
    }
    let reader = Reader {
        source: source.clone(),
        sql: None,
        frames,
        decoder,
        alarm: with.alarm,
        progress: Arc::clone(&progress),
        demand: Arc::clone(&demand),
        sender,
        buffer_bytes: with.start.buffer_bytes,
        silence,
        binary: with.binary,
        slot: with.slot,
        pending_since: None,
        last_idle: None,
        asked: false,
        busy: false,
        trusted: false,
        pace: Pace::default(),
        watch: tokio::time::interval(silence / 4),
    };
    let heartbeat = source
        .options
        .heartbeat
        .map(|every| tokio::spawn(heartbeat(source.clone(), every.duration())));
    let reader = tokio::spawn(reader.run());
    Ok(PostgresStream {
        segments,
        demand,
        progress,
        reader,
        heartbeat,
        guard: None,
        feedback: Some(feedback),
    })
}

fn command(source: &PostgresSource, with: &Start, from: Offset) -> String {
    let names = identifier_list(with.publications.iter().map(String::as_str));
    let binary = if with.binary { ", binary 'true'" } else { "" };
    let origin = match source.options.origin {
        Origin::Any => "",
        Origin::None => ", origin 'none'",
    };
    format!(
        "START_REPLICATION SLOT {} LOGICAL {from} (proto_version '1', publication_names {}{binary}{origin})",
        identifier(&with.slot),
        replication_literal(&names),
    )
}

/// A failure to start that means that the log is gone.
fn lost(error: Error, slot: &str) -> Error {
    let gone = error.kind() == ErrorKind::PositionLost
        || error.message().contains("(SQLSTATE 42704)")
        || error.message().contains("(SQLSTATE 55000)");
    if !gone {
        return error;
    }
    Error::position_lost(error.message()).with_hint(format!(
        "the slot `{slot}` can no longer be read: copy the tables again (`resync`)"
    ))
}

/// Whether every column of the followed tables can be read in binary: those the destination
/// knows, and those the tables have by now.
async fn all_read_binary(source: &PostgresSource, sql: &Sql, start: &StreamStart) -> Result<bool> {
    let known = start.tables.iter().flat_map(|table| &table.columns);
    if !known.map(Kind::of).all(|kind| kind.reads_binary()) {
        return Ok(false);
    }
    let oids: Vec<u32> =
        start.tables.iter().filter_map(|table| u32::try_from(table.id).ok()).collect();
    let tables = load_tables(sql, Some(&oids)).await?;
    let mut types = TypeMap::default();
    let used = tables
        .iter()
        .flat_map(super::super::catalog::CatalogTable::replicated)
        .map(|column| column.type_oid);
    load_types(sql, &mut types, used).await?;
    let mapping = source.options.mapping();
    let mut columns = tables.iter().flat_map(super::super::catalog::CatalogTable::replicated);
    Ok(columns.all(|column| {
        let (kind, _) =
            types.describe((column.type_oid, column.modifier, &column.printed), mapping);
        kind.reads_binary()
    }))
}

/// Writes a message into the log now and then. Best effort: the next stream tries again.
async fn heartbeat(source: PostgresSource, every: Duration) {
    const EMIT: &str = "SELECT pg_catalog.pg_logical_emit_message(true, 'rowtide', '')";
    let mut sql: Option<Sql> = None;
    let mut beat = tokio::time::interval(every.max(Duration::from_millis(100)));
    loop {
        beat.tick().await;
        if sql.is_none() {
            sql = source.sql().await.ok();
        }
        if let Some(connected) = &sql
            && let Err(error) = connected.execute("writing a heartbeat", EMIT).await
        {
            tracing::warn!(error = %error.chain(), "heartbeat failed");
            sql = None;
        }
    }
}

/// Whether somebody waits for a segment.
#[derive(Debug, Default)]
struct Demand {
    wanted: AtomicBool,
    notify: Notify,
}

impl Demand {
    fn ask(&self) {
        self.wanted.store(true, Ordering::Release);
        self.notify.notify_one();
    }

    fn is_wanted(&self) -> bool {
        self.wanted.load(Ordering::Acquire)
    }

    async fn wait(&self) {
        while !self.is_wanted() {
            self.notify.notified().await;
        }
    }
}

/// A running log reader; see [`ChangeStream`].
pub(crate) struct PostgresStream {
    segments: mpsc::Receiver<Result<Segment>>,
    demand: Arc<Demand>,
    progress: Arc<Progress>,
    reader: JoinHandle<()>,
    heartbeat: Option<JoinHandle<()>>,
    guard: Option<JoinHandle<()>>,
    feedback: Option<JoinHandle<()>>,
}

#[async_trait]
impl ChangeStream for PostgresStream {
    async fn next(&mut self) -> Result<Segment> {
        // What an earlier, cancelled call asked for comes first.
        if let Ok(segment) = self.segments.try_recv() {
            return segment;
        }
        self.demand.ask();
        match self.segments.recv().await {
            Some(segment) => segment,
            None => Err(Error::unavailable("the log reader has ended")),
        }
    }

    fn head(&self) -> u64 {
        self.progress.head()
    }

    async fn close(mut self: Box<Self>) -> Result<()> {
        self.reader.abort();
        self.progress.finish();
        if let Some(feedback) = self.feedback.take() {
            let _ = tokio::time::timeout(GOODBYE, feedback).await;
        }
        Ok(())
    }
}

impl Drop for PostgresStream {
    fn drop(&mut self) {
        self.reader.abort();
        for task in self.heartbeat.iter().chain(&self.guard) {
            task.abort();
        }
        // The feedback task sends what is durable once more and then ends by itself.
        self.progress.finish();
    }
}

/// Waits for an alarm, for ever if none can come.
async fn raised(alarm: &mut Option<oneshot::Receiver<Error>>) -> Error {
    if let Some(receiver) = alarm {
        if let Ok(error) = receiver.await {
            return error;
        }
        *alarm = None;
    }
    std::future::pending().await
}

struct Reader<R> {
    source: PostgresSource,
    /// For the catalog, once a layout is announced.
    sql: Option<Sql>,
    frames: FrameReader<R>,
    decoder: Decoder,
    alarm: Option<oneshot::Receiver<Error>>,
    progress: Arc<Progress>,
    demand: Arc<Demand>,
    sender: mpsc::Sender<Result<Segment>>,
    buffer_bytes: usize,
    /// A server that says nothing for so long is gone.
    silence: Duration,
    binary: bool,
    slot: String,
    /// Since when a finished transaction waits.
    pending_since: Option<Instant>,
    /// When an idle log's progress was last handed over.
    last_idle: Option<Instant>,
    /// The server waits for an answer.
    asked: bool,
    /// Transactions were handed over since idle progress was.
    busy: bool,
    /// The log has proved to be the one that was read before.
    trusted: bool,
    pace: Pace,
    /// When to look whether the server has fallen silent.
    watch: tokio::time::Interval,
}

/// Notices that the log arrives in many small pieces: the server sends each row by itself, and a
/// reader that is faster would wake up for each.
#[derive(Debug, Default)]
struct Pace {
    small: u32,
}

impl Pace {
    /// Takes note of a read that took `waited`.
    fn read(&mut self, bytes: usize, waited: Duration) {
        let dense = bytes < SMALL_READ && waited < QUIET;
        self.small = if dense { self.small.saturating_add(1) } else { 0 };
    }

    /// Whether to wait a moment before the next read.
    fn is_dripping(&self) -> bool {
        self.small > SMALL_READS
    }
}

impl<R: tokio::io::AsyncRead + Unpin + Send> Reader<R> {
    async fn run(mut self) {
        let Err(error) = self.read().await;
        self.progress.finish();
        // A closed channel means that nobody listens any more.
        let _ = self.sender.send(Err(error)).await;
    }

    async fn read(&mut self) -> Result<std::convert::Infallible> {
        loop {
            while let Some((tag, body)) = self.frames.take()? {
                match tag {
                    b'd' => self.payload(&body).await?,
                    b'E' => {
                        let doing = "reading the log";
                        let error =
                            crate::replication::server_error(doing, self.frames.bytes(&body));
                        return Err(lost(error, &self.slot));
                    }
                    b'c' | b'C' | b'Z' => {
                        return Err(Error::unavailable("the server ended the log stream"));
                    }
                    _ => {}
                }
            }
            self.wait().await?;
        }
    }

    /// Waits for bytes, for a consumer, or for the time to report idle progress.
    async fn wait(&mut self) -> Result<()> {
        let finished = self.decoder.open().is_none();
        if self.pace.is_dripping() && !(finished && self.demand.is_wanted()) {
            tokio::time::sleep(GATHER_PAUSE).await;
        }
        let began = Instant::now();
        let data = finished && self.decoder.has_transactions();
        let idle = finished && !data && self.decoder.has_progress();
        let rest = match (self.asked, self.busy) {
            (true, _) => IDLE_ASKED,
            (false, true) => IDLE_AFTER,
            (false, false) => IDLE,
        };
        let due = match self.last_idle {
            Some(last) if idle => rest.saturating_sub(last.elapsed()),
            _ => Duration::ZERO,
        };
        tokio::select! {
            filled = self.frames.fill() => {
                let read = filled
                    .map_err(|error| Error::unavailable("reading the log").with_source(error))?;
                self.pace.read(read, began.elapsed());
                self.progress.heard();
            }
            error = raised(&mut self.alarm) => return Err(error),
            _ = self.watch.tick() => {
                if self.progress.silence() >= self.silence {
                    return Err(Error::unavailable(format!(
                        "the server has said nothing for {} s", self.silence.as_secs()
                    )));
                }
            }
            () = self.demand.wait(), if data => self.hand_over().await?,
            () = async {
                tokio::time::sleep(due).await;
                self.demand.wait().await;
            }, if idle => {
                self.last_idle = Some(Instant::now());
                self.asked = false;
                self.busy = false;
                self.hand_over().await?;
            }
        }
        Ok(())
    }

    async fn payload(&mut self, body: &std::ops::Range<usize>) -> Result<()> {
        let event = match Frame::parse(self.frames.bytes(body))? {
            Frame::Data { start, wal_end, body } => {
                self.progress.received_to(start);
                self.progress.head_at(wal_end);
                if fault::planted("order-by-change-position") {
                    self.decoder.misplace(start);
                }
                let event = self.decoder.message(body)?;
                self.trust();
                event
            }
            Frame::Keepalive { wal_end, reply_requested } => {
                self.progress.received_to(wal_end);
                self.progress.head_at(wal_end);
                self.decoder.idle_to(wal_end)?;
                self.trust();
                if reply_requested {
                    self.asked = true;
                    self.progress.answer_now();
                }
                return Ok(());
            }
        };
        match event {
            Event::Continue => {}
            Event::Committed => self.committed().await?,
            Event::Relation(relation) => self.relation(&relation).await?,
        }
        if self.decoder.bytes() >= self.buffer_bytes {
            self.demand.wait().await;
            // Nothing was read in the meantime: that is not the server's silence.
            self.progress.heard();
            self.hand_over().await?;
        }
        Ok(())
    }

    /// What is durable may be acknowledged once the log has proved to be the right one.
    #[inline]
    fn trust(&mut self) {
        if !self.trusted && self.decoder.is_proved() {
            self.trusted = true;
            self.progress.trust();
        }
    }

    /// A transaction ended: hands over if asked, unless more has arrived already and is worth a
    /// moment.
    async fn committed(&mut self) -> Result<()> {
        if !self.demand.is_wanted() {
            return Ok(());
        }
        let since = *self.pending_since.get_or_insert_with(Instant::now);
        let gather =
            self.frames.is_ready() && self.decoder.bytes() < GATHER && since.elapsed() < LINGER;
        if gather { Ok(()) } else { self.hand_over().await }
    }

    async fn hand_over(&mut self) -> Result<()> {
        let segment = self.decoder.take()?;
        self.pending_since = None;
        let ended = segment.watermark.as_ref().map_or(0, |watermark| watermark.transaction_count);
        self.busy |= ended > 0 || !segment.items.is_empty();
        self.demand.wanted.store(false, Ordering::Release);
        let sent = self.sender.send(Ok(segment)).await;
        sent.map_err(|_| Error::unavailable("nobody reads the log any more"))
    }

    /// Compares an announced layout with what is known.
    async fn relation(&mut self, relation: &Relation) -> Result<()> {
        let Some(known) = self.decoder.schema(relation.id).cloned() else { return Ok(()) };
        let Some(commit) = self.decoder.open() else {
            return Err(Malformed("a table is announced outside of a transaction").into());
        };
        let sql = match &self.sql {
            Some(sql) if !sql.client().is_closed() => sql.clone(),
            _ => self.source.sql().await?,
        };
        self.sql = Some(sql.clone());
        // A connection that fell silent would hold up the log for ever.
        let viewing = tokio::time::timeout(self.silence, View::load(&sql, relation, &commit));
        let view = viewing.await.map_err(|_| {
            self.sql = None;
            Error::unavailable(format!(
                "looking up the layout of {}: no answer within {} s",
                known.name,
                self.silence.as_secs()
            ))
        })??;
        let changes = compare(&known, relation, &view, self.source.policies());
        if !changes.is_empty() && self.decoder.is_old(relation.id) {
            return self.decoder.older(relation.id);
        }
        let added = changes.iter().flat_map(|change| &change.table().columns);
        let readable = !self.binary || added.map(Kind::of).all(|kind| kind.reads_binary());
        self.decoder.relation(relation, changes)?;
        if !readable {
            self.source.set_text_only();
            return Err(Error::unavailable(format!(
                "a column of a type that is read as text was added to {}: reading the log again \
                 in text form",
                known.name
            )));
        }
        Ok(())
    }
}
