//! What a connector implements: a [`Source`], a [`Destination`], or both.
//!
//! Every call moves a batch, so a boxed future costs nothing that shows. Three phases: parsing
//! options is pure; the methods here connect and own what they start; dropping a value stops its
//! tasks and closes its connections.

use std::path::PathBuf;
use std::sync::Arc;

use arrow_array::RecordBatch;
use async_trait::async_trait;
use serde::Serialize;
use tokio::sync::watch;

use crate::ledger::Told;
use crate::view::{FencedView, Inspect, ViewRequest};
use crate::{
    ChangeBatch, Checkpoint, Commit, Fence, Finding, Mode, Offset, PipelineState, Refused, Remedy,
    Replaced, Result, SchemaChange, SourceIdentity, TableName, TablePlan, TableSchema,
    TableSelection, TableState, TableWrite, Watermark,
};

/// A system whose tables are copied and followed.
#[async_trait]
pub trait Source: Send + Sync {
    /// Looks at everything that could keep `tables` from being replicated, and changes nothing.
    /// Connection failures are returned as errors, everything else as findings.
    async fn preflight(&self, tables: &TableSelection, modes: ModeOf<'_>) -> Result<Vec<Finding>>;

    /// The tables that `tables` selects, with the columns that will be replicated, by name.
    ///
    /// # Errors
    /// `Config` if a pattern without wildcard names a table that does not exist.
    async fn discover(&self, tables: &TableSelection) -> Result<Vec<Arc<TableSchema>>>;

    /// Makes what following needs (publication, slot), or proves that what `request.known`
    /// describes still stands without a gap.
    ///
    /// With a known checkpoint nothing is ever recreated: any mismatch is `PositionLost`.
    async fn attach(&self, request: AttachRequest<'_>) -> Result<Attached>;

    /// About how many bytes each of `tables` takes, in their order; 0 where that is not known. A
    /// hint for the order of copies: it waits for nobody.
    async fn sizes(&self, tables: &[&TableSchema]) -> Result<Vec<u64>> {
        Ok(vec![0; tables.len()])
    }

    /// Opens a consistent copy of one table: its fence, and independent parts to read.
    async fn snapshot(&self, request: SnapshotRequest) -> Result<TableSnapshot>;

    /// Opens a view of one table that shows what a copy taken now would hold, with the copy's fence
    /// (see [`SnapshotRequest::settle`]); `None` if it cannot, or if a copy could tell more than a
    /// view does, such as of rows that it leaves out.
    async fn fenced_view(&self, request: ViewRequest) -> Result<Option<FencedView>> {
        let _ = request;
        Ok(None)
    }

    /// Follows the log from `start.checkpoint`. Every transaction whose commit record starts at
    /// or after it is delivered exactly once and in order, for the tables in `start.tables`.
    ///
    /// `durable` tells what the destination holds; nothing beyond it is acknowledged.
    async fn stream(
        &self,
        start: StreamStart,
        durable: watch::Receiver<Checkpoint>,
    ) -> Result<Box<dyn ChangeStream>>;

    /// What an operator asks for.
    fn operations(&self) -> &dyn SourceOperations;

    /// Looks at its tables, if it can.
    fn inspect(&self) -> Option<&dyn Inspect> {
        None
    }
}

/// Tells how a table is to follow.
pub type ModeOf<'a> = &'a (dyn Fn(&TableName) -> Mode + Sync);

/// Status and removal, apart from the data path.
#[async_trait]
pub trait SourceOperations: Send + Sync {
    /// The identity that [`Source::attach`] will create, known before anything exists. Stored in
    /// the destination first, so that a crash during creation leaves nothing unowned.
    fn intent(&self) -> SourceIdentity;

    /// Whether this is the very database that `identity` tells of, whatever became of its log.
    async fn is_of(&self, identity: &SourceIdentity) -> Result<bool> {
        let _ = identity;
        Ok(true)
    }

    /// The current end of the log, as a checkpoint that a stream will reach.
    async fn head(&self) -> Result<Checkpoint>;

    /// Where the source's side of the pipeline stands.
    async fn status(&self) -> Result<SourceStatus>;

    /// Removes what `attach` made (slot, publication); tells what was removed.
    async fn release(&self) -> Result<Vec<String>>;
}

/// The tables to follow, and what the destination remembers.
#[derive(Debug, Clone, Copy)]
pub struct AttachRequest<'a> {
    /// The tables to follow, and how.
    pub tables: &'a [(Arc<TableSchema>, Mode)],
    /// The stored identity, and the checkpoint if there ever was one. An identity without a
    /// checkpoint is an intent: what it names may be half made, and is ours to make anew.
    pub known: Option<(&'a SourceIdentity, Option<&'a Checkpoint>)>,
}

/// The source is ready to be followed.
#[derive(Debug, Clone)]
pub struct Attached {
    /// What to store beside the checkpoint.
    pub identity: SourceIdentity,
    /// Where to stream from: the known checkpoint, or the start of a new slot.
    pub checkpoint: Checkpoint,
    /// Tables that began to be followed only now, after the slot existed. Their fence must wait
    /// for older transactions ([`SnapshotRequest::settle`]).
    pub added: Vec<TableName>,
    /// Tables that the log alone no longer leads to, found before it is read.
    pub setbacks: Vec<Setback>,
}

/// A table changed in a way that the log does not tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setback {
    /// The table.
    pub table: TableName,
    /// What happened to it.
    pub reason: String,
    /// What puts it right.
    pub remedy: Remedy,
}

/// Which table to copy, and how.
#[derive(Debug, Clone)]
pub struct SnapshotRequest {
    /// The table, with the columns to read.
    pub table: Arc<TableSchema>,
    /// How many parts to read it in, at most.
    pub lanes: usize,
    /// Wait, before taking the fence, until every transaction that runs now has ended. Without it
    /// a transaction whose rows the stream has already passed could still be invisible to the
    /// copy, and [`TableSnapshot::position`] could lie above changes that the copy lacks.
    pub settle: bool,
    /// Close a batch at about this many bytes.
    pub batch_bytes: usize,
}

/// A consistent copy being read.
pub struct TableSnapshot {
    /// What the copy contains.
    pub fence: Fence,
    /// A position that no change outside the fence lies below: copied rows come first when a
    /// table's history is put in order by position.
    pub position: u64,
    /// The source's estimate of the table's rows, for progress only.
    pub estimated_rows: Option<u64>,
    /// The source's estimate of the table's bytes, for progress only.
    pub estimated_bytes: Option<u64>,
    /// Disjoint parts which together are the table. Each owns its connection.
    pub parts: Vec<Box<dyn SnapshotPart>>,
}

/// One lane of a copy.
#[async_trait]
pub trait SnapshotPart: Send {
    /// The next rows with the number of bytes they took on the wire; `None` at the end.
    async fn next(&mut self) -> Result<Option<(RecordBatch, u64)>>;

    /// What became of values that cannot be represented, in what was read since the last call.
    fn exceptions(&mut self) -> Result<CopyExceptions> {
        Ok(CopyExceptions::default())
    }
}

/// What became of values that cannot be represented, in a stretch of a copy.
#[derive(Debug, Default)]
pub struct CopyExceptions {
    /// How many were replaced.
    pub replaced: Replaced,
    /// Rows that were left out.
    pub refused: Vec<Refused>,
    /// Their keys ([`TableSchema::key_arrow`]), NULL where a key cannot be represented; `None`
    /// without a key, or if no row was left out.
    pub keys: Option<RecordBatch>,
}

/// Where to follow from.
#[derive(Debug, Clone)]
pub struct StreamStart {
    /// Everything below is durable in the destination.
    pub checkpoint: Checkpoint,
    /// The tables to deliver, in the version the destination has; others are skipped.
    pub tables: Vec<Arc<TableSchema>>,
    /// Identifiers of those tables whose copy is not in place yet. Their copies begin only after
    /// [`Source::stream`] has returned, so what the log holds of them from before that moment, in
    /// another layout than planned, is in the copy already and is left out.
    pub copying: Vec<u64>,
    /// What the copies in place contain, by the identifier of their table. What the log still
    /// holds of it, in another layout than the copy's, is left out as well.
    pub fences: Vec<(u64, Fence)>,
    /// How many bytes of decoded changes may wait before the next [`ChangeStream::next`].
    pub buffer_bytes: usize,
    /// Where files may be made for what does not fit.
    pub spool_directory: PathBuf,
}

/// A running log reader. Dropping it stops its tasks.
#[async_trait]
pub trait ChangeStream: Send {
    /// Everything that has arrived since the last call, up to the end of a transaction where one
    /// was reached; waits if there is nothing. Batches grow while the caller is busy: this is what
    /// makes epochs small when idle and large under backlog. Cancel safe: a call that is dropped
    /// before it returns has taken nothing.
    async fn next(&mut self) -> Result<Segment>;

    /// The end of the source's log as last heard of, as a bare position, for lag.
    fn head(&self) -> u64;

    /// Returns once nothing has arrived for a moment, so that waiting longer would gather nothing.
    /// Never returns where that is not known.
    async fn quiet(&mut self) {
        std::future::pending::<()>().await;
    }

    /// Somebody waits for the end of the log: what the next segment tells of an idle log's progress
    /// is told at once.
    fn hurry(&self) {}

    /// Acknowledges what is durable once more and ends the session in order. Dropping the stream
    /// instead is safe: the source then only learns later what is durable.
    async fn close(self: Box<Self>) -> Result<()>;
}

/// A stretch of the log.
#[derive(Debug, Default)]
pub struct Segment {
    /// What happened, in order per table.
    pub items: Vec<StreamItem>,
    /// Set if the segment ends where a transaction ends; otherwise the transaction goes on in
    /// the next segment.
    pub watermark: Option<Watermark>,
    /// What is to be stored as the source's identity from the next commit on, if that changed.
    pub identity: Option<SourceIdentity>,
}

/// One thing that happened.
#[derive(Debug)]
pub enum StreamItem {
    /// Rows changed.
    Changes(ChangeBatch),
    /// A table's schema changed; later batches of it carry the new version.
    Schema {
        /// What changed.
        change: SchemaChange,
        /// The position of the transaction that shows it, or of the log's end.
        position: Offset,
    },
    /// Tables were emptied.
    Truncate {
        /// The tables, all of one statement.
        tables: Vec<Arc<TableSchema>>,
        /// The transaction.
        commit: Commit,
        /// The order of the statement within it.
        ordinal: u32,
    },
}

/// Where the source's side of a pipeline stands.
#[derive(Debug, Clone, Default, Serialize)]
pub struct SourceStatus {
    /// The source in words: product, version, database.
    pub server: String,
    /// The end of the log.
    pub head: u64,
    /// Up to where the source knows that changes are durable here.
    pub acknowledged: Option<u64>,
    /// Bytes of log between the acknowledged position and the end.
    pub lag_bytes: Option<u64>,
    /// Bytes of log that the source keeps for this pipeline.
    pub retained_bytes: Option<u64>,
    /// Whether something reads the log now.
    pub active: bool,
    /// The state of the reader's reservation in the source's own words (`reserved`, `lost` …).
    pub retention: Option<String>,
}

/// What a destination can and cannot hold, for those who plan and those who read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// Names that differ only in the case of ASCII letters are one name there.
    pub ignores_case: bool,
    /// A column of this name hides what rows of tables without a key are told apart by: such a
    /// table cannot be merged there if it has one.
    pub row_number: Option<&'static str>,
    /// The system whose types, in their own text form, it holds exactly
    /// ([`TableSchema::system`]): a source of that system hands over as text what Arrow's types
    /// would narrow.
    pub native_system: Option<&'static str>,
}

/// A system that holds the copies.
#[async_trait]
pub trait Destination: Send + Sync {
    /// What it can and cannot hold.
    fn capabilities(&self) -> Capabilities;

    /// Looks at everything that could keep `tables` from being written, and changes nothing.
    async fn preflight(&self, tables: &[TablePlan]) -> Result<Vec<Finding>>;

    /// Becomes the one writer of `pipeline`: raises its fencing epoch durably, so that every
    /// older writer's commit fails with `Fenced`.
    async fn open(&self, pipeline: &str) -> Result<Box<dyn Writer>>;

    /// Opens a new, empty staging table for `plan` and returns a loader per lane. Staging left
    /// behind by an earlier run is dropped first. Loaders run beside the writer.
    ///
    /// # Errors
    /// `Config` if the target exists and was not made by this pipeline.
    async fn load(
        &self,
        pipeline: &str,
        plan: &TablePlan,
        lanes: usize,
    ) -> Result<Vec<Box<dyn Loader>>>;

    /// What is stored of `pipeline`, read without becoming its writer; `None` if nothing is.
    async fn peek(&self, pipeline: &str) -> Result<Option<PipelineState>>;

    /// What `_rowtide.quarantine` tells of the rows of `pipeline`, see [`ledger::told`](crate::ledger::told); with the
    /// rows' values only if they are asked for. Read without becoming its writer.
    async fn quarantine(&self, pipeline: &str, with_values: bool) -> Result<Vec<Told>> {
        let _ = (pipeline, with_values);
        Ok(Vec::new())
    }

    /// Removes the pipeline's state, staging and target tables; tells what was removed.
    async fn teardown(&self, pipeline: &str) -> Result<Vec<String>>;

    /// Looks at its tables, if it can.
    fn inspect(&self) -> Option<&dyn Inspect> {
        None
    }
}

/// Fills a staging table.
#[async_trait]
pub trait Loader: Send {
    /// Adds rows with the target's columns.
    async fn write(&mut self, rows: RecordBatch) -> Result<()>;

    /// Everything written through this loader is in the staging table, to be promoted.
    async fn finish(self: Box<Self>) -> Result<()>;
}

/// The one writer of a pipeline. Its calls form epochs: everything between two commits becomes
/// visible and durable together, or not at all. After an error it must be dropped; dropping it
/// undoes the open epoch.
#[async_trait]
pub trait Writer: Send {
    /// What is stored, as of the last commit.
    async fn state(&mut self) -> Result<PipelineState>;

    /// Applies one write to `plan.target`.
    async fn write(&mut self, plan: &TablePlan, write: TableWrite) -> Result<()>;

    /// Changes the table `plan.target` (already planned for the new version).
    async fn apply_schema(&mut self, plan: &TablePlan, change: &SchemaChange) -> Result<()>;

    /// Puts the staging table in the place of `plan.target` (mode append: adds its rows). The
    /// target is created empty if there is no staging table (nothing was to be copied).
    async fn promote(&mut self, plan: &TablePlan) -> Result<()>;

    /// Remembers `state` for its table.
    async fn remember(&mut self, state: &TableState) -> Result<()>;

    /// Makes the epoch durable with `progress`. On an unknown outcome the destination itself
    /// finds out whether the epoch was committed before it returns.
    ///
    /// # Errors
    /// `Fenced` if a newer writer exists.
    async fn commit(&mut self, progress: Progress<'_>) -> Result<()>;
}

/// What one commit records beside the data. `None` keeps what is stored.
#[derive(Debug, Clone, Copy, Default)]
pub struct Progress<'a> {
    /// Everything up to here is in this commit or an earlier one.
    pub checkpoint: Option<&'a Checkpoint>,
    /// The source's identity.
    pub identity: Option<&'a SourceIdentity>,
    /// The log of before is given up, and every followed table copied again: the stored
    /// checkpoint goes, and `checkpoint` may lie anywhere.
    pub restart: bool,
    /// An error that ended a run (stored for `status`).
    pub error: Option<&'a str>,
}
