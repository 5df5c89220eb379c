//! A lane of a copy: a connection of its own, which fills the staging table in transactions as
//! large as the length of the rows allows.
//!
//! A transaction is one statement that reads rows as they come, so that DuckDB compresses and
//! writes row groups while the next rows are on their way, and nothing is stored in between.

use std::sync::Arc;

use arrow_array::RecordBatch;
use async_trait::async_trait;
use rowtide_core::traits::Loader;
use rowtide_core::{Error, Result};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::error::During;
use crate::ffi::{Connection, Failure, Feed};
use crate::file;
use crate::long::{self, Window};

/// How many bytes of rows one transaction of a loader holds. Large, for each costs a sync of the
/// disk; bounded, for the file's log cannot be folded in while one is open.
const COMMIT_BYTES: usize = 512 << 20;

/// How many bytes of long rows it holds at most.
const LONG_COMMIT_BYTES: u64 = 64 << 20;

/// After how many bytes of rows the disk is asked to begin writing.
const WRITEBACK_BYTES: usize = 16 << 20;

/// How many batches wait while DuckDB takes one in.
const WAITING: usize = 1;

/// Fills a staging table through a connection of its own.
pub(super) struct DuckdbLoader {
    /// Taken out while a call runs: a cancelled call leaves nothing to go on with.
    lane: Option<Lane>,
}

struct Lane {
    connection: Connection,
    /// What adds the feed's rows to the staging table.
    insert: String,
    feed: Arc<Feed>,
    filling: Option<Filling>,
    window: Window,
    /// The longest vector of long rows that was seen. Once there is one, each transaction holds a
    /// few rows, and the log is folded in after it.
    longest: Option<u64>,
}

/// A transaction that takes rows in, on a thread for blocking work.
struct Filling {
    parts: mpsc::Sender<Part>,
    end: JoinHandle<Result<()>>,
    /// The bytes sent so far.
    bytes: usize,
    /// From how many on writing is to begin again.
    writeback_at: usize,
}

/// What a transaction is told. Where it is told nothing more, it is rolled back.
enum Part {
    Rows(RecordBatch),
    /// To commit.
    End {
        long: Option<u64>,
    },
}

fn loading() -> String {
    "loading rows into a staging table".to_owned()
}

impl Lane {
    async fn write(&mut self, rows: RecordBatch) -> Result<()> {
        let (bytes, share) = (rows.get_array_memory_size(), long::share(&self.connection));
        let vector = self.window.note(rows.num_rows(), bytes, share);
        if let Some(vector) = vector.filter(|vector| Some(*vector) > self.longest) {
            self.begin_long(vector).await?;
        }
        if self.longest.is_some() {
            return self.write_long(&rows, (bytes, share)).await;
        }
        self.send(rows, bytes).await?;
        self.end_beyond(COMMIT_BYTES).await
    }

    /// Commits what came before rows a vector of which takes `vector` bytes, and makes the file
    /// ready for them.
    async fn begin_long(&mut self, vector: u64) -> Result<()> {
        self.longest = Some(vector);
        self.end().await?;
        let connection = self.connection.clone();
        file::blocking(move || long::note(&connection, vector)).await
    }

    /// Adds `rows`, which take `bytes`, committing a few at a time.
    async fn write_long(&mut self, rows: &RecordBatch, (bytes, share): (usize, u64)) -> Result<()> {
        let most = LONG_COMMIT_BYTES.min(share / 2);
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        let pieces = bytes.div_ceil(most).clamp(1, rows.num_rows().max(1));
        let each = rows.num_rows().div_ceil(pieces).max(1);
        for start in (0..rows.num_rows()).step_by(each) {
            let piece = rows.slice(start, each.min(rows.num_rows() - start));
            self.send(piece, bytes / pieces).await?;
            self.end_beyond(most).await?;
        }
        Ok(())
    }

    async fn send(&mut self, rows: RecordBatch, bytes: usize) -> Result<()> {
        let filling = self.filling.get_or_insert_with(|| {
            let (connection, feed) = (self.connection.clone(), Arc::clone(&self.feed));
            let (parts, received) = mpsc::channel(WAITING);
            let insert = self.insert.clone();
            let fill = move || fill(&connection, (&feed, &insert), received);
            Filling {
                parts,
                end: tokio::task::spawn_blocking(fill),
                bytes: 0,
                writeback_at: WRITEBACK_BYTES,
            }
        });
        filling.bytes += bytes;
        if filling.bytes >= filling.writeback_at {
            filling.writeback_at = filling.bytes + WRITEBACK_BYTES;
            tokio::task::spawn_blocking(self.connection.writeback());
        }
        match filling.parts.send(Part::Rows(rows)).await {
            Ok(()) => Ok(()),
            Err(_) => self.end().await,
        }
    }

    async fn end_beyond(&mut self, bytes: usize) -> Result<()> {
        match &self.filling {
            Some(filling) if filling.bytes >= bytes => self.end().await,
            _ => Ok(()),
        }
    }

    /// Commits what was sent, if anything was.
    async fn end(&mut self) -> Result<()> {
        let Some(Filling { parts, end, bytes, .. }) = self.filling.take() else { return Ok(()) };
        // Where nobody takes this, the transaction failed before, which its end tells.
        let long = self.longest.map(|_| bytes as u64);
        let told = parts.send(Part::End { long }).await;
        let ended = end.await.map_err(|error| {
            Error::internal("the thread that fills a staging table broke off").with_source(error)
        })?;
        match (ended, told) {
            (Ok(()), Err(_)) => Err(Error::internal("a staging table was filled halfway")),
            (ended, _) => ended,
        }
    }
}

/// Takes in the rows that are `received`, in one transaction. Blocks.
fn fill(
    connection: &Connection,
    (feed, insert): (&Feed, &str),
    mut received: mpsc::Receiver<Part>,
) -> Result<()> {
    let filling = connection.filling();
    connection.execute("BEGIN").during(loading)?;
    let (told, end) = std::sync::mpsc::channel();
    feed.offer(Box::new(std::iter::from_fn(move || match received.blocking_recv() {
        Some(Part::Rows(rows)) => Some(Ok(rows)),
        Some(Part::End { long }) => {
            let _ = told.send(long);
            None
        }
        None => Some(Err(Failure::invalid("the copy was given up"))),
    })));
    let inserted = connection.execute(insert);
    let inserted = inserted.map_err(|error| feed.end().unwrap_or(error)).during(loading);
    let committed = inserted.and_then(|_| {
        let long = end.try_recv().map_err(|_| Error::internal("rows ended without an end"))?;
        commit(connection, filling, long)
    });
    if committed.is_err() {
        // The failure is what counts; without an open transaction this fails in its turn.
        let _ = connection.execute("ROLLBACK");
    }
    committed
}

/// Commits; `long` bytes of long rows as nobody else does who adds such, and folds the log in.
fn commit<T>(connection: &Connection, filling: T, long: Option<u64>) -> Result<()> {
    let commit = || {
        let attempt = || "committing rows of a staging table".to_owned();
        connection.execute("COMMIT").during(attempt).map(drop)
    };
    let Some(bytes) = long else { return commit() };
    long::keep_apart(connection)?;
    let mut unfolded = connection.long();
    commit()?;
    drop(filling);
    long::fold(connection, &mut unfolded, bytes)
}

impl DuckdbLoader {
    /// Loads through `connection`, by `insert`, which reads `feed`.
    pub(super) fn new(connection: Connection, feed: Feed, insert: String) -> Self {
        let lane = Lane {
            connection,
            insert,
            feed: Arc::new(feed),
            filling: None,
            window: Window::default(),
            longest: None,
        };
        Self { lane: Some(lane) }
    }

    fn take(&mut self) -> Result<Lane> {
        self.lane.take().ok_or_else(|| Error::internal("a loader was used after it failed"))
    }
}

#[async_trait]
impl Loader for DuckdbLoader {
    async fn write(&mut self, rows: RecordBatch) -> Result<()> {
        let mut lane = self.take()?;
        lane.write(rows).await?;
        self.lane = Some(lane);
        Ok(())
    }

    async fn finish(mut self: Box<Self>) -> Result<()> {
        let mut lane = self.take()?;
        lane.end().await
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        // Not here, where the last of them would close the database.
        file::drop_blocking((self.connection.clone(), Arc::clone(&self.feed)));
    }
}
