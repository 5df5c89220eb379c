//! A lane of a copy: a connection of its own, which fills the staging table in transactions as
//! large as the length of the rows allows.

use arrow_array::RecordBatch;
use async_trait::async_trait;
use rowtide_core::traits::Loader;
use rowtide_core::{Error, Result};

use crate::error::During;
use crate::ffi::{Appender, Connection, Filling};
use crate::file;
use crate::long::{self, Window};

/// How many bytes of rows a loader hands to the table at once.
const FLUSH_BYTES: usize = 8 << 20;

/// How many bytes of rows one transaction of a loader holds. Large, for each costs a sync of the
/// disk; bounded, for the file's log cannot be folded in while one is open.
const COMMIT_BYTES: usize = 512 << 20;

/// How many bytes of long rows it holds at most.
const LONG_COMMIT_BYTES: u64 = 64 << 20;

/// Fills a staging table through a connection of its own.
pub(super) struct DuckdbLoader {
    /// Taken out while a call runs: a cancelled call leaves nothing to go on with.
    lane: Option<Lane>,
}

struct Lane {
    appender: Appender,
    connection: Connection,
    /// Bytes appended since the last flush.
    pending: usize,
    /// Bytes flushed in the open transaction.
    uncommitted: usize,
    /// That transaction, for who waits for its end. Dropped after the connection.
    filling: Option<Filling>,
    window: Window,
    /// Whether long rows were seen: then each transaction holds a few, and the log is folded in
    /// after it.
    long: bool,
}

fn loading() -> String {
    "loading rows into a staging table".to_owned()
}

impl Lane {
    fn write(&mut self, rows: &RecordBatch) -> Result<()> {
        let bytes = rows.get_array_memory_size();
        let share = long::share(&self.connection);
        let vector = self.window.note(rows.num_rows(), bytes, share);
        if let Some(vector) = vector {
            self.begin_long(vector)?;
        }
        if self.long {
            return self.write_long(rows, bytes);
        }
        self.append(rows, bytes)?;
        if self.pending >= FLUSH_BYTES {
            self.flush()?;
        }
        if self.uncommitted >= COMMIT_BYTES {
            self.commit()?;
        }
        Ok(())
    }

    fn append(&mut self, rows: &RecordBatch, bytes: usize) -> Result<()> {
        self.appender.append(rows).during(loading)?;
        self.pending += bytes;
        Ok(())
    }

    /// Commits what came before long rows, and makes the file ready for them.
    fn begin_long(&mut self, vector: u64) -> Result<()> {
        if !self.long {
            long::keep_apart(&self.connection)?;
            self.commit_long()?;
            self.long = true;
        }
        long::note(&self.connection, vector)
    }

    /// Adds `rows`, which take `bytes`, committing a few at a time.
    fn write_long(&mut self, rows: &RecordBatch, bytes: usize) -> Result<()> {
        let most = LONG_COMMIT_BYTES.min(long::share(&self.connection) / 2);
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        let pieces = bytes.div_ceil(most).clamp(1, rows.num_rows().max(1));
        let each = rows.num_rows().div_ceil(pieces).max(1);
        for start in (0..rows.num_rows()).step_by(each) {
            let piece = rows.slice(start, each.min(rows.num_rows() - start));
            self.append(&piece, bytes / pieces)?;
            if self.pending >= most {
                self.commit_long()?;
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        if self.pending > 0 {
            if self.uncommitted == 0 {
                self.filling = Some(self.connection.filling());
                self.connection.execute("BEGIN").during(loading)?;
            }
            self.appender.flush().during(loading)?;
            self.uncommitted += std::mem::take(&mut self.pending);
        }
        Ok(())
    }

    fn commit(&mut self) -> Result<()> {
        self.flush()?;
        if self.uncommitted > 0 {
            let attempt = || "committing rows of a staging table".to_owned();
            self.connection.execute("COMMIT").during(attempt)?;
            self.uncommitted = 0;
            self.filling = None;
        }
        Ok(())
    }

    /// Commits as nobody else does who adds long rows, and folds the log in.
    fn commit_long(&mut self) -> Result<()> {
        let connection = self.connection.clone();
        let mut unfolded = connection.long();
        let bytes = (self.pending + self.uncommitted) as u64;
        self.commit()?;
        long::fold(&connection, &mut unfolded, bytes)
    }

    fn finish(&mut self) -> Result<()> {
        if self.long { self.commit_long() } else { self.commit() }
    }
}

impl DuckdbLoader {
    /// Loads through `connection`, and `appender`, which belongs to it.
    pub(super) fn new(appender: Appender, connection: Connection) -> Self {
        let lane = Lane {
            appender,
            connection,
            pending: 0,
            uncommitted: 0,
            filling: None,
            window: Window::default(),
            long: false,
        };
        Self { lane: Some(lane) }
    }

    async fn run(
        &mut self,
        work: impl FnOnce(&mut Lane) -> Result<()> + Send + 'static,
    ) -> Result<()> {
        let mut lane =
            self.lane.take().ok_or_else(|| Error::internal("a loader was used after it failed"))?;
        let lane = file::blocking(move || work(&mut lane).map(|()| lane)).await?;
        self.lane = Some(lane);
        Ok(())
    }
}

#[async_trait]
impl Loader for DuckdbLoader {
    async fn write(&mut self, rows: RecordBatch) -> Result<()> {
        self.run(move |lane| lane.write(&rows)).await
    }

    async fn finish(mut self: Box<Self>) -> Result<()> {
        self.run(Lane::finish).await
    }
}

impl Drop for DuckdbLoader {
    fn drop(&mut self) {
        file::drop_blocking(self.lane.take());
    }
}
