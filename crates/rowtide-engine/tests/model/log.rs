//! The model database: tables of `(k, v)`, and a log of transactions some of which become visible
//! only after they can already be decoded.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use arrow_schema::{DataType, Field};
use rand::Rng;
use rand::rngs::StdRng;
use rowtide_core::{Column, Identity, TableName, TableSchema};
use tokio::sync::Notify;

/// The tables.
pub(crate) const TABLES: [&str; 2] = ["a", "b"];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    Put { k: i64, v: i64, fresh: bool },
    Move { from: i64, to: i64, v: i64 },
    Remove { k: i64 },
    Truncate,
}

#[derive(Debug, Clone)]
pub(crate) struct Transaction {
    pub(crate) xid: u32,
    pub(crate) commit_lsn: u64,
    pub(crate) end_lsn: u64,
    pub(crate) changes: Vec<(&'static str, Change)>,
    pub(crate) visible: bool,
}

#[derive(Debug, Default)]
struct State {
    transactions: Vec<Transaction>,
    rows: BTreeMap<&'static str, BTreeMap<i64, i64>>,
    next_xid: u32,
    next_lsn: u64,
}

/// A handle to the database.
#[derive(Debug, Clone)]
pub(crate) struct Log {
    state: Arc<Mutex<State>>,
    /// Woken at each commit.
    pub(crate) grown: Arc<Notify>,
}

/// What a snapshot sees, and what it does not.
pub(crate) struct View {
    pub(crate) rows: BTreeMap<i64, i64>,
    pub(crate) invisible: Vec<u32>,
    pub(crate) next_xid: u32,
    pub(crate) wal_end: u64,
}

pub(crate) fn schema(table: &str) -> Arc<TableSchema> {
    let column = |name: &str, number| Column {
        field: Arc::new(Field::new(name, DataType::Int64, true)),
        native_type: "int8".into(),
        number,
    };
    let id = 1 + TABLES.iter().position(|name| *name == table).unwrap() as u64;
    let columns = vec![column("k", 1), column("v", 2)];
    let name = TableName::new("public", table);
    Arc::new(TableSchema::new((id, name), 1, columns, vec![0], Identity::Key))
}

impl Log {
    pub(crate) fn new(rng: &mut StdRng) -> Self {
        let state = State { next_xid: 100, next_lsn: 1000, ..State::default() };
        let log = Self { state: Arc::new(Mutex::new(state)), grown: Arc::new(Notify::new()) };
        for _ in 0..rng.random_range(0..20) {
            log.act(rng);
        }
        log
    }

    /// One random step: a transaction, or an older one becomes visible.
    pub(crate) fn act(&self, rng: &mut StdRng) {
        let mut state = self.state.lock().unwrap();
        // A TRUNCATE keeps everybody else out until it has ended.
        let late_truncate =
            |t: &Transaction| !t.visible && t.changes.iter().any(|(_, c)| *c == Change::Truncate);
        if rng.random_bool(0.4) || state.transactions.iter().any(late_truncate) {
            if let Some(late) = state.transactions.iter_mut().find(|t| !t.visible) {
                late.visible = true;
            }
            return;
        }
        let locked: BTreeSet<(&str, i64)> = state
            .transactions
            .iter()
            .filter(|transaction| !transaction.visible)
            .flat_map(|transaction| &transaction.changes)
            .flat_map(|(table, change)| keys(change).map(|k| (*table, k)))
            .collect();
        let mut changes = Vec::new();
        for _ in 0..rng.random_range(1..6) {
            let table = TABLES[rng.random_range(0..TABLES.len())];
            let change =
                random_change(rng, state.rows.entry(table).or_default(), locked.is_empty());
            if let Some(change) = change
                && keys(&change).all(|k| !locked.contains(&(table, k)))
            {
                apply(state.rows.entry(table).or_default(), change);
                changes.push((table, change));
            }
        }
        if changes.is_empty() {
            return;
        }
        let commit_lsn = state.next_lsn + 40;
        let xid = state.next_xid;
        state.next_xid += 1;
        state.next_lsn = commit_lsn + 8;
        let visible = rng.random_bool(0.7);
        let end_lsn = commit_lsn + 8;
        state.transactions.push(Transaction { xid, commit_lsn, end_lsn, changes, visible });
        drop(state);
        self.grown.notify_waiters();
    }

    /// Everything becomes visible.
    pub(crate) fn settle(&self) {
        self.state.lock().unwrap().transactions.iter_mut().for_each(|t| t.visible = true);
    }

    pub(crate) fn end(&self) -> u64 {
        self.state.lock().unwrap().next_lsn
    }

    pub(crate) fn next_xid(&self) -> u32 {
        self.state.lock().unwrap().next_xid
    }

    /// Whether every transaction before `xid` is visible.
    pub(crate) fn is_settled(&self, xid: u32) -> bool {
        self.state.lock().unwrap().transactions.iter().all(|t| t.visible || t.xid >= xid)
    }

    /// The transaction that follows `position`.
    pub(crate) fn after(&self, position: u64) -> Option<Transaction> {
        let state = self.state.lock().unwrap();
        state.transactions.iter().find(|t| t.commit_lsn >= position).cloned()
    }

    pub(crate) fn rows(&self, table: &str) -> BTreeMap<i64, i64> {
        self.state.lock().unwrap().rows.get(table).cloned().unwrap_or_default()
    }

    pub(crate) fn view(&self, table: &str) -> View {
        let state = self.state.lock().unwrap();
        let mut rows = BTreeMap::new();
        for transaction in state.transactions.iter().filter(|t| t.visible) {
            for (_, change) in transaction.changes.iter().filter(|(name, _)| *name == table) {
                apply(&mut rows, *change);
            }
        }
        let invisible = state.transactions.iter().filter(|t| !t.visible).map(|t| t.xid).collect();
        View { rows, invisible, next_xid: state.next_xid, wal_end: state.next_lsn }
    }
}

fn keys(change: &Change) -> impl Iterator<Item = i64> + use<> {
    let keys = match *change {
        Change::Put { k, .. } | Change::Remove { k } => vec![k],
        Change::Move { from, to, .. } => vec![from, to],
        Change::Truncate => Vec::new(),
    };
    keys.into_iter()
}

fn random_change(rng: &mut StdRng, rows: &BTreeMap<i64, i64>, quiet: bool) -> Option<Change> {
    let (k, v) = (rng.random_range(0..12), rng.random_range(0..1_000_000));
    let exists = rows.contains_key(&k);
    match rng.random_range(0..10) {
        0..6 => Some(Change::Put { k, v, fresh: !exists }),
        6..8 if exists => Some(Change::Remove { k }),
        8 if exists => {
            let to = rng.random_range(0..12);
            (!rows.contains_key(&to)).then_some(Change::Move { from: k, to, v })
        }
        9 if quiet && rng.random_bool(0.2) => Some(Change::Truncate),
        _ => None,
    }
}

fn apply(rows: &mut BTreeMap<i64, i64>, change: Change) {
    match change {
        Change::Put { k, v, .. } => {
            rows.insert(k, v);
        }
        Change::Move { from, to, v } => {
            rows.remove(&from);
            rows.insert(to, v);
        }
        Change::Remove { k } => {
            rows.remove(&k);
        }
        Change::Truncate => rows.clear(),
    }
}
