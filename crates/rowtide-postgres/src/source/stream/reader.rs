//! The task that reads the log and hands over what it has decoded.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rowtide_core::traits::Segment;
use rowtide_core::{Error, Result, SchemaChange, fault};
use tokio::sync::{mpsc, oneshot};

use super::Demand;
use super::care::Care;
use super::start::{lost, reads_binary};
use super::untold::Untold;
use crate::client::{Sql, get};
use crate::protocol::Malformed;
use crate::protocol::pgoutput::Relation;
use crate::protocol::replication::Frame;
use crate::replication::Progress;
use crate::source::PostgresSource;
use crate::source::assemble::{Assembler, Step};
use crate::source::ddl_events::Told;
use crate::source::decoder::{Decoder, Event};
use crate::source::schema_change::{View, compare};
use crate::wire::FrameReader;

/// An idle log's progress is handed over (and so committed) at most this often.
const IDLE: Duration = Duration::from_secs(5);
/// The same after transactions: whoever waits for the end of the log should not wait long.
const IDLE_AFTER: Duration = Duration::from_secs(1);
/// The same when the server waits for an answer, as it does before it stops.
const IDLE_ASKED: Duration = Duration::from_millis(200);
/// How long a finished transaction may wait for more that has already arrived.
const LINGER: Duration = Duration::from_millis(5);
/// A read of fewer bytes than this found less than there may be room for. After so many reads in a
/// busy log the reader pauses for a moment behind each small one, whenever nobody waits, so that one
/// wake-up brings many rows.
const SMALL_READ: usize = 16 << 10;
const BUSY_READS: u32 = 4;
/// A read that waited longer found a quiet log.
const QUIET: Duration = Duration::from_millis(5);
const GATHER_PAUSE: Duration = Duration::from_millis(1);
/// How much may be gathered from what has already arrived.
const GATHER: usize = 1 << 20;

/// Messages of a transaction that was put together, after which others have their turn.
const REPLAYED_AT_ONCE: u32 = 1024;

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

/// The state of the task.
pub(super) struct Reader<R> {
    pub(super) source: PostgresSource,
    /// For the catalog, once a layout is announced.
    pub(super) sql: Option<Sql>,
    pub(super) frames: FrameReader<R>,
    pub(super) decoder: Decoder,
    /// Present if the server streams transactions before they end.
    pub(super) assembler: Option<Assembler>,
    pub(super) alarm: Option<oneshot::Receiver<Error>>,
    /// What happens to tables beside the log; of a pipeline that stores it.
    pub(super) untold: Option<Untold>,
    pub(super) progress: Arc<Progress>,
    pub(super) demand: Arc<Demand>,
    pub(super) sender: mpsc::Sender<Result<Segment>>,
    pub(super) buffer_bytes: usize,
    /// A server that says nothing for so long is gone.
    pub(super) silence: Duration,
    pub(super) binary: bool,
    pub(super) slot: String,
    pub(super) turn: Turn,
    pub(super) care: Care,
    /// When to look whether the server has fallen silent.
    pub(super) watch: tokio::time::Interval,
}

/// What decides when something is handed over.
#[derive(Debug, Default)]
pub(super) struct Turn {
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
}

/// Notices that the log arrives in many small pieces: the server sends each row by itself, and a
/// reader that is faster would wake up for each.
#[derive(Debug, Default)]
struct Pace {
    /// How many reads there were since the log was quiet.
    busy: u32,
    /// The last one was small.
    small: bool,
}

impl Pace {
    /// Takes note of a read that took `waited`.
    fn read(&mut self, bytes: usize, waited: Duration) {
        self.busy = if waited < QUIET { self.busy.saturating_add(1) } else { 0 };
        self.small = bytes < SMALL_READ;
    }

    /// Whether to wait a moment before the next read.
    fn is_dripping(&self) -> bool {
        self.small && self.busy > BUSY_READS
    }
}

impl<R: tokio::io::AsyncRead + Unpin + Send> Reader<R> {
    /// Reads until something fails, which is the last thing that is handed over.
    pub(super) async fn run(mut self) {
        let Err(error) = self.read().await;
        self.progress.finish();
        let error = self.stumbled(error);
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
                        let error = crate::wire::server_error(doing, self.frames.bytes(&body));
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
        if self.turn.pace.is_dripping() && !(finished && self.demand.is_wanted()) {
            // INVARIANT: this task has its thread to itself. The whole thread sleeps: its driver
            // would be woken up by each piece that arrives.
            std::thread::sleep(GATHER_PAUSE);
        }
        let began = Instant::now();
        let data = finished && self.decoder.has_transactions();
        let idle = finished && !data && self.decoder.has_progress();
        let rest = match (self.turn.asked, self.turn.busy) {
            (true, _) => IDLE_ASKED,
            (false, true) => IDLE_AFTER,
            (false, false) => IDLE,
        };
        let due = match self.turn.last_idle {
            Some(last) if idle => rest.saturating_sub(last.elapsed()),
            _ => Duration::ZERO,
        };
        tokio::select! {
            filled = self.frames.fill() => {
                let read = filled
                    .map_err(|error| Error::unavailable("reading the log").with_source(error))?;
                self.turn.pace.read(read, began.elapsed());
                self.progress.heard();
                self.demand.hear(false);
            }
            () = tokio::time::sleep(QUIET), if !self.demand.is_quiet() => self.demand.hear(true),
            error = raised(&mut self.alarm) => return Err(error),
            found = Untold::notice(&mut self.untold) => {
                self.found(found)?;
                self.follow_layouts().await?;
            }
            _ = self.watch.tick() => {
                if self.progress.silence() >= self.silence {
                    return Err(Error::unavailable(format!(
                        "the server has said nothing for {} s", self.silence.as_secs()
                    )));
                }
            }
            () = self.demand.wait(), if data => self.hand_over().await?,
            () = async {
                tokio::select! {
                    () = tokio::time::sleep(due) => {}
                    () = self.demand.hurried() => {}
                }
                self.demand.wait().await;
            }, if idle => {
                self.demand.hurried.store(false, Ordering::Release);
                self.turn.last_idle = Some(Instant::now());
                self.turn.asked = false;
                self.turn.busy = false;
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
                let step = match &mut self.assembler {
                    Some(assembler) => assembler.take(body)?,
                    None => Step::Pass,
                };
                match step {
                    Step::Pass => self.decoder.message(body)?,
                    Step::Kept => return Ok(()),
                    Step::Whole(end) => return self.replay(end).await,
                }
            }
            Frame::Keepalive { wal_end, reply_requested } => {
                self.progress.received_to(wal_end);
                self.progress.head_at(wal_end);
                self.decoder.idle_to(wal_end)?;
                self.trust();
                if reply_requested {
                    self.turn.asked = true;
                    self.progress.answer_now();
                }
                return Ok(());
            }
        };
        self.after(event).await
    }

    /// Decodes the transaction that was put together, and ended at `end`.
    async fn replay(&mut self, end: u64) -> Result<()> {
        let mut count = 0_u32;
        while let Some(assembler) = &mut self.assembler
            && let Some(message) = assembler.next()?
        {
            let event = self.decoder.message(message)?;
            self.after(event).await?;
            count = count.wrapping_add(1);
            if count.is_multiple_of(REPLAYED_AT_ONCE) {
                tokio::task::yield_now().await;
            }
        }
        // Nothing was read in the meantime: that is not the server's silence.
        self.progress.heard();
        // One that held nothing for us is progress as well.
        self.decoder.idle_to(end)?;
        self.trust();
        Ok(())
    }

    /// Does what a message asks for, and hands over what is full.
    #[inline]
    async fn after(&mut self, event: Event) -> Result<()> {
        self.trust();
        match event {
            Event::Continue => {}
            Event::Committed => self.committed().await?,
            Event::Relation(relation) => self.relation(&relation).await?,
            Event::Stranger(relation) => self.stranger(&relation).await?,
            Event::Told(content) => self.told(&content).await?,
        }
        let careful = self.decoder.has_progress() && self.care.is_needed(self.decoder.settled());
        if careful || self.decoder.bytes() >= self.buffer_bytes {
            self.hand_over_when_asked().await?;
        }
        Ok(())
    }

    async fn hand_over_when_asked(&mut self) -> Result<()> {
        tokio::select! {
            () = self.demand.wait() => {}
            error = raised(&mut self.alarm) => return Err(error),
        }
        // Nothing was read in the meantime: that is not the server's silence.
        self.progress.heard();
        self.hand_over().await
    }

    /// What is durable may be acknowledged once the log has proved to be the right one.
    #[inline]
    fn trust(&mut self) {
        if !self.turn.trusted && self.decoder.is_proved() {
            self.turn.trusted = true;
            self.progress.trust();
        }
    }

    /// A transaction ended: hands over if asked, unless more has arrived already and is worth a
    /// moment.
    async fn committed(&mut self) -> Result<()> {
        if !self.demand.is_wanted() {
            return Ok(());
        }
        let since = *self.turn.pending_since.get_or_insert_with(Instant::now);
        let gather =
            self.frames.is_ready() && self.decoder.bytes() < GATHER && since.elapsed() < LINGER;
        if gather { Ok(()) } else { self.hand_over().await }
    }

    async fn hand_over(&mut self) -> Result<()> {
        self.follow_layouts().await?;
        let segment = self.decoder.take()?;
        self.turn.pending_since = None;
        let ended = segment.watermark.as_ref().map_or(0, |watermark| watermark.transaction_count);
        self.care.progressed |= segment.watermark.is_some();
        self.turn.busy |= ended > 0 || !segment.items.is_empty();
        self.demand.wanted.store(false, Ordering::Release);
        let sent = self.sender.send(Ok(segment)).await;
        sent.map_err(|_| Error::unavailable("nobody reads the log any more"))
    }

    /// A connection to ask the catalog on.
    pub(super) async fn catalog(&mut self) -> Result<Sql> {
        let sql = match &self.sql {
            Some(sql) if !sql.client().is_closed() => sql.clone(),
            _ => self.source.sql().await?,
        };
        self.sql = Some(sql.clone());
        Ok(sql)
    }

    /// Takes note of what an event trigger said of a table.
    async fn told(&mut self, content: &[u8]) -> Result<()> {
        let Some(told) = Told::read(content, &self.slot) else { return Ok(()) };
        if !self.decoder.reads(told.oid) || self.decoder.is_old(told.oid) {
            return Ok(());
        }
        if let Some((why, remedy)) = told.untold() {
            return self.decoder.cut(told.oid, why, remedy);
        }
        let known = self.decoder.schema(told.oid).cloned();
        match known.and_then(|known| told.relation(&known)) {
            Some(relation) => self.layout(&relation, Some(&told)).await,
            None => Ok(()),
        }
    }

    /// Whether a publication leaves columns of the table out, of which the triggers know nothing.
    async fn is_narrowed(&self, sql: &Sql, table: u32) -> Result<bool> {
        // Before version 15 there is no such column.
        let query = "SELECT EXISTS (SELECT FROM pg_catalog.pg_publication_rel r \
             WHERE r.prrelid = $1 AND pg_catalog.to_jsonb(r) ->> 'prattrs' IS NOT NULL)";
        let row = sql.row("looking for column lists", query, &[&table]).await?;
        get(&row, 0)
    }

    async fn relation(&mut self, relation: &Relation) -> Result<()> {
        self.layout(relation, None).await
    }

    /// Compares an announced layout with what is known. One that was `told` ahead of the rows only
    /// counts if it changes something: the log itself announces it again before the next row.
    async fn layout(&mut self, relation: &Relation, told: Option<&Told>) -> Result<()> {
        let Some(known) = self.decoder.schema(relation.id).cloned() else { return Ok(()) };
        let Some(commit) = self.decoder.open() else {
            return Err(Malformed("a table is announced outside of a transaction").into());
        };
        let sql = self.catalog().await?;
        // A connection that fell silent would hold up the log for ever.
        let viewing = tokio::time::timeout(self.silence, View::load(&sql, relation, &commit));
        let mut view = viewing.await.map_err(|_| {
            self.sql = None;
            Error::unavailable(format!(
                "looking up the layout of {}: no answer within {} s",
                known.name,
                self.silence.as_secs()
            ))
        })??;
        if let (Some(told), Some(catalog)) = (told, &mut view.catalog) {
            told.correct(catalog);
        }
        let changes = compare(&known, relation, &view, &self.source.policies());
        if told.is_some() && (changes.is_empty() || self.is_narrowed(&sql, relation.id).await?) {
            return Ok(());
        }
        if !changes.is_empty() && self.decoder.is_old(relation.id) {
            return self.decoder.older(relation.id);
        }
        let mut tables = changes.iter().map(SchemaChange::table);
        let readable = !self.binary || tables.all(|table| reads_binary(&self.source, table));
        self.decoder.relation(relation, changes)?;
        if !readable {
            self.source.set_text_only();
            return Err(Error::unavailable(format!(
                "a column whose values are read as text was added to {}: reading the log again \
                 in text form",
                known.name
            )));
        }
        Ok(())
    }
}
