//! Telling the server how far we are, from a task of its own.
//!
//! Neither decoding nor the destination can hold this task up, so a slow destination never looks
//! like a dead client. What counts as flushed comes from one place only: the channel on which the
//! engine publishes what is durable.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rowtide_core::{Checkpoint, Partition, fault};
use tokio::io::AsyncWriteExt;
use tokio::sync::{Notify, watch};

use crate::protocol::pgoutput::EPOCH_SHIFT;
use crate::protocol::replication::StatusUpdate;
use crate::wire::Writer;

/// After a new durable checkpoint the server is told, but not more often than this.
const PACE: Duration = Duration::from_millis(500);
/// How long saying goodbye may take.
const GOODBYE: Duration = Duration::from_secs(2);

/// What the reader and the feedback task share.
#[derive(Debug)]
pub(crate) struct Progress {
    received: AtomicU64,
    head: AtomicU64,
    /// Milliseconds after `since` at which bytes last arrived.
    heard: AtomicI64,
    since: Instant,
    reply: Notify,
    /// The log has proved to be the one that what is durable belongs to.
    trusted: AtomicBool,
    done: AtomicBool,
}

impl Progress {
    pub(crate) fn new(received: u64, trusted: bool) -> Self {
        Self {
            received: AtomicU64::new(received),
            head: AtomicU64::new(received),
            heard: AtomicI64::new(0),
            since: Instant::now(),
            reply: Notify::new(),
            trusted: AtomicBool::new(trusted),
            done: AtomicBool::new(false),
        }
    }

    /// The log has arrived up to here.
    #[inline]
    pub(crate) fn received_to(&self, position: u64) {
        self.received.fetch_max(position, Ordering::Relaxed);
    }

    fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// The server's log ends here.
    #[inline]
    pub(crate) fn head_at(&self, position: u64) {
        self.head.fetch_max(position, Ordering::Relaxed);
    }

    pub(crate) fn head(&self) -> u64 {
        self.head.load(Ordering::Relaxed)
    }

    /// Bytes arrived now.
    pub(crate) fn heard(&self) {
        let millis = i64::try_from(self.since.elapsed().as_millis()).unwrap_or(i64::MAX);
        self.heard.store(millis, Ordering::Relaxed);
    }

    /// How long nothing has arrived.
    pub(crate) fn silence(&self) -> Duration {
        let heard = u64::try_from(self.heard.load(Ordering::Relaxed)).unwrap_or(0);
        self.since.elapsed().saturating_sub(Duration::from_millis(heard))
    }

    /// The server wants to hear from us now.
    pub(crate) fn answer_now(&self) {
        self.reply.notify_one();
    }

    /// What is durable may be acknowledged from now on.
    pub(crate) fn trust(&self) {
        self.trusted.store(true, Ordering::Release);
        self.reply.notify_one();
    }

    /// Ends the feedback task, which then says goodbye.
    pub(crate) fn finish(&self) {
        self.done.store(true, Ordering::Release);
        self.reply.notify_one();
    }
}

/// The task's state.
pub(crate) struct Feedback {
    pub(crate) writer: Writer,
    pub(crate) progress: Arc<Progress>,
    pub(crate) durable: watch::Receiver<Checkpoint>,
    pub(crate) partition: Partition,
    /// What the server may take as durable from the start.
    pub(crate) start: u64,
    /// How often the server must hear from us.
    pub(crate) interval: Duration,
}

impl Feedback {
    /// Sends status updates until the stream ends or the connection breaks (which the reader
    /// notices as well).
    pub(crate) async fn run(mut self) {
        let mut flushed = self.start;
        let mut publisher_alive = true;
        loop {
            flushed = flushed.max(self.durable_position());
            if self.send(flushed).await.is_err() {
                return;
            }
            let next = tokio::time::sleep(self.interval);
            tokio::select! {
                () = next => {}
                () = self.progress.reply.notified() => {}
                changed = self.durable.changed(), if publisher_alive => {
                    publisher_alive = changed.is_ok();
                    if publisher_alive {
                        tokio::select! {
                            () = tokio::time::sleep(PACE.min(self.interval)) => {}
                            () = self.progress.reply.notified() => {}
                        }
                    }
                }
            }
            if self.progress.done.load(Ordering::Acquire) {
                flushed = flushed.max(self.durable_position());
                let _ = tokio::time::timeout(GOODBYE, self.goodbye(flushed)).await;
                return;
            }
        }
    }

    fn durable_position(&self) -> u64 {
        if fault::planted("acknowledge-keepalive") {
            return self.progress.received();
        }
        if !self.progress.trusted.load(Ordering::Acquire) {
            return 0;
        }
        self.durable.borrow().get(&self.partition).map_or(0, |offset| offset.0)
    }

    async fn send(&mut self, flushed: u64) -> std::io::Result<()> {
        fault::point("acknowledge.before").map_err(std::io::Error::other)?;
        // INVARIANT: nothing beyond the durable checkpoint is ever reported as flushed.
        let update = StatusUpdate {
            written: self.progress.received().max(flushed),
            flushed,
            now: now_since_2000(),
            reply_requested: self.progress.silence() > self.interval,
        };
        let write = async {
            self.writer.write_all(&update.encode()).await?;
            self.writer.flush().await
        };
        write.await?;
        fault::point("acknowledge.sent").map_err(std::io::Error::other)
    }

    /// The last word: what is durable, and the end, so that the slot is free at once.
    async fn goodbye(mut self, flushed: u64) -> std::io::Result<()> {
        self.send(flushed).await?;
        const COPY_DONE: [u8; 5] = [b'c', 0, 0, 0, 4];
        const TERMINATE: [u8; 5] = [b'X', 0, 0, 0, 4];
        self.writer.write_all(&COPY_DONE).await?;
        self.writer.write_all(&TERMINATE).await?;
        self.writer.shutdown().await
    }
}

fn now_since_2000() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_micros()).unwrap_or(i64::MAX).saturating_sub(EPOCH_SHIFT)
}
