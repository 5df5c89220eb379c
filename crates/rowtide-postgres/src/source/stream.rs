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

mod care;
mod layouts;
mod protocol;
mod reader;
mod start;
mod untold;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use rowtide_core::traits::{ChangeStream, Segment};
use rowtide_core::{Error, Result};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;

use crate::replication::Progress;

pub(super) use protocol::FIRST_WITH_PARALLEL;
pub(super) use start::{DEFAULT_TIMEOUT, FIRST_WITH_ORIGIN, Start, open, start_on};
pub(super) use untold::{Found, Notice};

/// How long saying goodbye in order may take.
const GOODBYE: Duration = Duration::from_secs(3);

/// Whether somebody waits for a segment.
#[derive(Debug, Default)]
struct Demand {
    wanted: AtomicBool,
    notify: Notify,
    /// Idle progress is wanted at once.
    hurried: AtomicBool,
    hurry: Notify,
    /// Nothing has arrived for a moment.
    quiet: AtomicBool,
    fell_quiet: Notify,
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

    /// Takes note of whether something arrived just now.
    fn hear(&self, quiet: bool) {
        if self.quiet.swap(quiet, Ordering::AcqRel) != quiet && quiet {
            self.fell_quiet.notify_one();
        }
    }

    fn is_quiet(&self) -> bool {
        self.quiet.load(Ordering::Acquire)
    }

    /// Waits until somebody is in a hurry.
    async fn hurried(&self) {
        while !self.hurried.load(Ordering::Acquire) {
            self.hurry.notified().await;
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

    async fn quiet(&mut self) {
        while !self.demand.is_quiet() {
            self.demand.fell_quiet.notified().await;
        }
    }

    fn hurry(&self) {
        self.demand.hurried.store(true, Ordering::Release);
        self.demand.hurry.notify_one();
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
