//! What a pipeline is told to do, already validated and free of file formats.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use rowtide_core::{
    DeleteMode, MetadataColumns, Mode, Pattern, Secret, TableName, TableSelection, ValuePolicy,
    ValueRule,
};
use serde::{Deserialize, Serialize};

use crate::Schedule;

/// Which part of copy-then-follow a run does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RunMode {
    /// Copies what is not copied yet, then follows the log.
    #[default]
    Auto,
    /// Copies every selected table afresh and exits; a later `cdc` run goes on from there.
    FullLoad,
    /// Follows the log only; a table that was never copied starts empty.
    Cdc,
}

/// What happens when the position in the source's log is lost: its slot is gone, or was moved.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LostPosition {
    /// The run ends and says so; nothing is changed.
    #[default]
    Stop,
    /// The log is followed from a new place, and what differs by then is found and put right.
    Repair,
}

/// What a schema change at the source does to the destination's table.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SchemaPolicy {
    /// It is applied; where the log does not tell enough, the table is copied again beside the
    /// standing one and swapped in.
    #[default]
    Apply,
    /// The destination keeps its columns: new ones are left out, dropped ones become NULL.
    Ignore,
    /// The table stops and waits for somebody.
    Pause,
}

/// How the tables that match a pattern are treated. The last matching rule wins, field by field.
#[derive(Debug, Clone, PartialEq)]
pub struct TableRule {
    /// The tables this is about.
    pub pattern: Pattern,
    /// How they follow.
    pub mode: Option<Mode>,
    /// What a delete does.
    pub delete: Option<DeleteMode>,
    /// The columns Rowtide adds.
    pub metadata: Option<MetadataColumns>,
    /// What a schema change does.
    pub schema: Option<SchemaPolicy>,
    /// Where the table goes; only for a pattern without wildcard.
    pub target: Option<TableName>,
    /// What happens to values that their column's type cannot hold.
    pub unrepresentable: Option<ValuePolicy>,
    /// The same for single columns, by name.
    pub columns: BTreeMap<String, ValuePolicy>,
}

/// Everything the engine needs to know beside the two ends.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Which tables.
    pub selection: TableSelection,
    /// How they are treated.
    pub rules: Vec<TableRule>,
    /// Which part of the job to do.
    pub mode: RunMode,
    /// Catch up with the source's position at start, then end.
    pub once: bool,
    /// What happens when the position in the source's log is lost.
    pub on_position_lost: LostPosition,
    /// Tables to copy again although they are copied.
    pub resync: Vec<Pattern>,
    /// Decoded changes that may wait for the destination, in bytes (per stage).
    pub buffer_bytes: usize,
    /// Bytes of one copied batch.
    pub copy_batch_bytes: usize,
    /// Tables copied at the same time.
    pub parallel_tables: usize,
    /// Lanes per table being copied.
    pub lanes: usize,
    /// Changes of tables being copied that may be kept aside, in bytes on disk.
    pub spool_bytes: u64,
    /// Where they are kept; the system's temporary directory if `None`.
    pub spool_directory: Option<PathBuf>,
    /// The first wait after a transient error.
    pub retry_initial: Duration,
    /// The longest wait between two attempts.
    pub retry_max: Duration,
    /// How long a pipeline that never ran yet is retried before it gives up.
    pub retry_startup: Duration,
    /// How both sides are compared.
    pub verify: VerifySettings,
    /// Where metrics are served.
    pub metrics: MetricsSettings,
}

/// How both sides are compared. The engine only hands it on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifySettings {
    /// Connections to the source that comparing uses at once, over all tables.
    pub connections: usize,
    /// How long a statement that reads a table may take at the source.
    pub statement: Duration,
    /// Bytes of log the destination may be behind; comparing pauses beyond.
    pub max_lag_bytes: u64,
    /// How long one table may take.
    pub timeout: Duration,
    /// When a running pipeline compares its tables by itself.
    pub schedule: Option<Schedule>,
}

/// Where metrics are served. The engine only hands it on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MetricsSettings {
    /// The address; without one they are not served.
    pub listen: Option<SocketAddr>,
    /// What a request must bring, if anything.
    pub token: Option<Secret>,
}

impl Default for VerifySettings {
    fn default() -> Self {
        Self {
            connections: 3,
            statement: Duration::from_secs(1),
            max_lag_bytes: 64 << 20,
            timeout: Duration::from_secs(300),
            schedule: None,
        }
    }
}

impl Settings {
    /// Default of [`Settings::buffer_bytes`].
    pub const BUFFER_BYTES: usize = 8 << 20;
    /// Default of [`Settings::copy_batch_bytes`].
    pub const COPY_BATCH_BYTES: usize = 2 << 20;
    /// Default of [`Settings::parallel_tables`].
    pub const PARALLEL_TABLES: usize = 2;
    /// Default of [`Settings::lanes`].
    pub const LANES: usize = 2;
    /// Default of [`Settings::spool_bytes`].
    pub const SPOOL_BYTES: u64 = 4 << 30;
    /// Default of [`Settings::retry_initial`].
    pub const RETRY_INITIAL: Duration = Duration::from_millis(200);
    /// Default of [`Settings::retry_max`].
    pub const RETRY_MAX: Duration = Duration::from_secs(30);
    /// Default of [`Settings::retry_startup`].
    pub const RETRY_STARTUP: Duration = Duration::from_secs(10);

    /// The defaults, for `selection`.
    pub fn new(selection: TableSelection) -> Self {
        Self {
            selection,
            rules: Vec::new(),
            mode: RunMode::Auto,
            once: false,
            on_position_lost: LostPosition::default(),
            resync: Vec::new(),
            buffer_bytes: Self::BUFFER_BYTES,
            copy_batch_bytes: Self::COPY_BATCH_BYTES,
            parallel_tables: Self::PARALLEL_TABLES,
            lanes: Self::LANES,
            spool_bytes: Self::SPOOL_BYTES,
            spool_directory: None,
            retry_initial: Self::RETRY_INITIAL,
            retry_max: Self::RETRY_MAX,
            retry_startup: Self::RETRY_STARTUP,
            verify: VerifySettings::default(),
            metrics: MetricsSettings::default(),
        }
    }

    /// How `table` follows.
    pub fn mode_of(&self, table: &TableName) -> Mode {
        self.rules_for(table).filter_map(|rule| rule.mode).last().unwrap_or_default()
    }

    /// What a schema change does to `table`.
    pub fn schema_policy_of(&self, table: &TableName) -> SchemaPolicy {
        self.rules_for(table).filter_map(|rule| rule.schema).last().unwrap_or_default()
    }

    /// What the rules say of values that cannot be represented, for the source.
    pub fn value_rules(&self) -> Vec<ValueRule> {
        let told = self.rules.iter();
        let told = told.filter(|rule| rule.unrepresentable.is_some() || !rule.columns.is_empty());
        told.map(|rule| ValueRule {
            pattern: rule.pattern.clone(),
            all: rule.unrepresentable,
            columns: rule.columns.clone(),
        })
        .collect()
    }

    /// The rules that match `table`, in order.
    pub fn rules_for<'a>(&'a self, table: &'a TableName) -> impl Iterator<Item = &'a TableRule> {
        self.rules.iter().filter(|rule| rule.pattern.matches(table))
    }
}
