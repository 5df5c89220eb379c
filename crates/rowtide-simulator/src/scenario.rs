//! What happens in one simulated history: tables, a script of actions, faults. Data only, so that
//! a failing one can be made smaller and run again.

mod draw;
mod show;

use rowtide_core::ValuePolicy;

/// How a table follows, and how its rows are identified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Merge by key, deletes are hard.
    Keyed,
    /// Merge by key, deletes are soft.
    Soft,
    /// Merge without a key: a multiset of whole rows.
    Keyless,
    /// Every event.
    Append,
}

/// One table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TableSpec {
    pub(crate) kind: Kind,
    /// It exists only after an [`Act::Create`].
    pub(crate) later: bool,
    /// What becomes of values that are refused; without it none are.
    pub(crate) policy: Option<ValuePolicy>,
}

/// How the destination commits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flavour {
    /// Everything in one atomic commit.
    Transactional,
    /// A journal, then table after table, then a watermark.
    PerTable,
}

/// Sizes and delays.
#[derive(Debug, Clone)]
pub(crate) struct Knobs {
    pub(crate) flavour: Flavour,
    pub(crate) lanes: usize,
    pub(crate) parallel_tables: usize,
    pub(crate) spool_bytes: u64,
    /// Changes that one segment holds at most.
    pub(crate) segment_changes: usize,
    /// In percent: how often a segment is cut short somewhere.
    pub(crate) cuts: u64,
    /// Rows of one copied batch.
    pub(crate) copy_rows: usize,
    /// The longest delay of a call, in microseconds.
    pub(crate) latency: u64,
}

/// What a change tries to do; what it comes to depends on the rows that are there by then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Want {
    /// Inserts the row, or updates it.
    Put,
    /// Updates the row and leaves its large values alone.
    Touch,
    Remove,
    /// Changes the row's key, and leaves its large values alone or not.
    Move {
        to: i64,
        keep: bool,
    },
    Truncate,
    TruncateAll,
    AddColumn {
        fill: bool,
    },
    DropColumn,
    Retype,
}

/// One change of a transaction.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spec {
    pub(crate) table: usize,
    pub(crate) key: i64,
    pub(crate) want: Want,
}

/// How a run ends before another one starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// It is asked to stop.
    Asked,
    /// It is killed.
    Killed,
    /// It hangs in a commit, is taken for dead, and comes back later.
    Zombie,
}

/// One step of the script.
#[derive(Debug, Clone)]
pub(crate) enum Act {
    /// A transaction begins (takes its id) and does nothing yet.
    Begin { slot: usize },
    /// A transaction commits: the one in the slot if there is one, else a new one. Others see it
    /// only after a while.
    Commit { slot: Option<usize>, changes: Vec<Spec>, unseen_micros: u64 },
    /// The log grows by something nobody follows.
    Noise,
    /// Time passes.
    Pause { micros: u64 },
    /// A table comes into being.
    Create { table: usize },
    /// Somebody takes a table out of what the log is read for.
    Unpublish { table: usize },
    /// The run ends and another one starts.
    Restart { end: End, once: bool, resync: Vec<usize> },
}

/// Where a fault can strike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Site {
    Discover,
    Attach,
    Attached,
    Head,
    Snapshot,
    Fenced,
    Lane,
    Stream,
    Next,
    MidTransaction,
    Open,
    Opened,
    Load,
    LoadRows,
    LoadEnd,
    Write,
    Schema,
    Promote,
    Remember,
    Commit,
    CommitNow,
    TableCommit,
    Watermark,
    Reply,
}

/// Every site, in order.
pub(crate) const SITES: [Site; 24] = [
    Site::Discover,
    Site::Attach,
    Site::Attached,
    Site::Head,
    Site::Snapshot,
    Site::Fenced,
    Site::Lane,
    Site::Stream,
    Site::Next,
    Site::MidTransaction,
    Site::Open,
    Site::Opened,
    Site::Load,
    Site::LoadRows,
    Site::LoadEnd,
    Site::Write,
    Site::Schema,
    Site::Promote,
    Site::Remember,
    Site::Commit,
    Site::CommitNow,
    Site::TableCommit,
    Site::Watermark,
    Site::Reply,
];

/// What strikes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Strike {
    /// The call fails as a lost connection would.
    Fail,
    /// The call takes long.
    Slow,
    /// The process dies here.
    Crash,
    /// The reply of a commit is lost; the destination finds out that it was done.
    Lost,
    /// The destination refuses one table's rows for good.
    Refuse,
    /// Somebody holds the table in the destination, until it is tried again.
    Hold,
}

/// The `nth` arrival at `site` is struck.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fault {
    pub(crate) site: Site,
    pub(crate) nth: u64,
    pub(crate) strike: Strike,
}

/// What is done to a healthy pipeline after everything else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    Nothing,
    /// The slot is dropped, or dropped and made anew.
    SlotLost {
        recreated: bool,
    },
    /// Somebody deletes a row in the destination which the log then changes.
    RowLost,
}

/// One history.
#[derive(Debug, Clone)]
pub(crate) struct Scenario {
    pub(crate) seed: u64,
    pub(crate) tables: Vec<TableSpec>,
    pub(crate) knobs: Knobs,
    pub(crate) faults: Vec<Fault>,
    pub(crate) acts: Vec<Act>,
    pub(crate) ending: Ending,
}
