//! What a pipeline does with a table, and what the destination remembers of it.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_schema::{Schema, SchemaRef};
use serde::{Deserialize, Serialize};

use crate::{Checkpoint, Fence, MetadataColumns, TableName, TableSchema, ValueTally};

/// How a destination table follows its source.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// The source's current rows.
    #[default]
    Merge,
    /// Every event, immutable.
    Append,
    /// A fresh full copy at each run, swapped in; not followed.
    Replace,
}

/// What a delete at the source does to a merge table.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeleteMode {
    /// The row is removed.
    #[default]
    Hard,
    /// The row stays, marked as deleted.
    Soft,
}

/// One table of a pipeline: where it comes from, where it goes, and how.
#[derive(Debug, Clone)]
pub struct TablePlan {
    /// The source's table, in the version that the destination table has (or is to get).
    pub source: Arc<TableSchema>,
    /// The destination's table.
    pub target: TableName,
    /// How it follows.
    pub mode: Mode,
    /// What a delete does, in merge mode.
    pub delete: DeleteMode,
    /// The columns Rowtide adds.
    pub metadata: MetadataColumns,
}

impl TablePlan {
    /// The destination table's Arrow schema: the source's columns, then the metadata columns.
    pub fn target_arrow(&self) -> SchemaRef {
        let mut fields: Vec<_> = self.source.arrow().fields().iter().cloned().collect();
        fields.extend(self.metadata.fields().into_iter().map(Arc::new));
        Arc::new(Schema::new(fields))
    }

    /// What is remembered of the table once it has come to `phase`.
    pub fn state(&self, phase: Phase) -> TableState {
        TableState {
            schema: (*self.source).clone(),
            target: self.target.clone(),
            mode: self.mode,
            delete: self.delete,
            metadata: self.metadata.clone(),
            phase,
            fence: None,
            rows_copied: 0,
            reason: None,
            awaits: None,
            values: ValueTally::default(),
        }
    }

    /// The same plan for another version of the source's table.
    #[must_use]
    pub fn with_source(&self, source: Arc<TableSchema>) -> Self {
        Self { source, ..self.clone() }
    }
}

/// How far a table has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Not copied yet, or to be copied again.
    Pending,
    /// Being copied into a staging table. A restart begins again with a new one.
    Copying,
    /// Copied; follows the log.
    Streaming,
    /// A full copy stands; the table is not followed (mode `replace` and full loads).
    Loaded,
    /// Stopped, and left as it is: somebody decided that this is no failure.
    Skipped,
    /// Stopped with a reason; its changes are not applied until it is copied again.
    Stopped,
}

impl Phase {
    /// The phase as a word for logs and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Copying => "copying",
            Self::Streaming => "streaming",
            Self::Loaded => "loaded",
            Self::Skipped => "skipped",
            Self::Stopped => "stopped",
        }
    }
}

/// What a table waits for. Each look at the source's tables finds out whether it came, so that
/// nobody has to ask for a new copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Awaits {
    /// It was dropped: a table of its name.
    Table,
    /// It came while the pipeline was there already, and never was taken in: that whatever keeps it
    /// from being followed is put right.
    Correction,
    /// Its rows are right as of a place in a log that is lost: that those which differ by now are
    /// put right. It has not stopped, but is pending or being copied.
    Repair,
}

/// What the destination remembers of a table. Written in the same commit as its data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableState {
    /// The schema version the destination table has.
    pub schema: TableSchema,
    /// The destination's table.
    pub target: TableName,
    /// How it follows.
    pub mode: Mode,
    /// What a delete does.
    pub delete: DeleteMode,
    /// The columns Rowtide added.
    pub metadata: MetadataColumns,
    /// How far it has come.
    pub phase: Phase,
    /// What its copy contains, once copied.
    pub fence: Option<Fence>,
    /// Rows copied, once copied.
    pub rows_copied: u64,
    /// Why it stopped.
    pub reason: Option<String>,
    /// What it waits for since it stopped; nothing if somebody has to decide.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub awaits: Option<Awaits>,
    /// What became of values that the destination's types cannot hold.
    #[serde(default, skip_serializing_if = "ValueTally::is_empty")]
    pub values: ValueTally,
}

impl TableState {
    /// The table stopped for `reason`, until somebody or what it `awaits` comes.
    #[must_use]
    pub fn stopped(self, reason: String, awaits: Option<Awaits>) -> Self {
        Self { phase: Phase::Stopped, reason: Some(reason), awaits, ..self }
    }

    /// Whether it was found, but never taken in.
    pub fn is_left_out(&self) -> bool {
        self.phase == Phase::Stopped && self.awaits == Some(Awaits::Correction)
    }
}

/// The source's identity (server, database, slot, publication …) as JSON that only the source
/// connector understands. Stored with the checkpoint and compared at each start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SourceIdentity(pub serde_json::Value);

/// Everything a restart needs, as the destination holds it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PipelineState {
    /// Up to where everything is durable; `None` before the first commit with a position.
    pub checkpoint: Option<Checkpoint>,
    /// The source this state belongs to; `None` before the source was first attached.
    pub identity: Option<SourceIdentity>,
    /// One per table the pipeline has ever known, by source name.
    pub tables: Vec<TableState>,
    /// The writer's number: raised by each run, so that an older one cannot commit.
    pub fencing_epoch: u64,
    /// When the checkpoint was last written, in microseconds since 1970 UTC.
    pub updated_at: Option<i64>,
    /// The last error that ended a run or made it retry, with when (microseconds since 1970).
    pub last_error: Option<(i64, String)>,
}

impl PipelineState {
    /// What is known of each table, by its name at the source: for whoever asks for many.
    pub fn by_name(&self) -> HashMap<&TableName, &TableState> {
        self.tables.iter().map(|state| (&state.schema.name, state)).collect()
    }

    /// What is known of the table called `name` at the source.
    pub fn table(&self, name: &TableName) -> Option<&TableState> {
        self.tables.iter().find(|state| state.schema.name == *name)
    }
}
