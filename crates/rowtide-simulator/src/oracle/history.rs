//! Append tables: every event once, in order, and together they lead to the source's rows.

use std::collections::{BTreeMap, BTreeSet};

use super::{Comparison, Outcome, masked, violated};
use crate::content::{Event, Held};
use crate::log::{Change, Effect, KEY, Row, Transaction, WIDTH, numbers};
use crate::refusing;

/// An event as it must be, but for its copy.
type Expected = (String, i64, Option<i64>, Row, u8);

pub(super) fn check(
    comparison: &Comparison<'_>,
    rows: &BTreeMap<i64, Row>,
    held: &Held,
) -> Outcome {
    let table = comparison.table;
    let mut seen = BTreeSet::new();
    for event in held.history.iter().filter(|event| event.op != "snapshot") {
        if !seen.insert((event.position, event.seq)) {
            let detail = format!("t{table}: {:?} {:?} is there twice", event.position, event.seq);
            return violated("history", detail);
        }
    }
    let current = held.history.iter().filter(|event| event.generation == held.generation);
    let (copied, events): (Vec<&Event>, Vec<&Event>) =
        current.partition(|event| event.op == "snapshot");
    snapshot(comparison, held.copied, &copied)?;
    order(comparison, &events)?;
    replay(comparison, rows, copied.into_iter().chain(events).collect())
}

/// The copied rows are what the fence covers.
fn snapshot(comparison: &Comparison<'_>, version: u32, copied: &[&Event]) -> Outcome {
    let columns = columns_of(comparison, version);
    let covered = comparison.rows(|transaction| comparison.is_covered(transaction));
    let covered = comparison.representable(covered);
    let mut expected: Vec<Row> = covered.values().map(|row| masked(row, &columns)).collect();
    let mut found: Vec<Row> = copied.iter().map(|event| masked(&event.row, &columns)).collect();
    expected.sort_unstable();
    found.sort_unstable();
    if found == expected {
        return Ok(());
    }
    let (found, wanted) = (found.len(), expected.len());
    let detail = format!("t{}: {found} copied rows differ from {wanted}", comparison.table);
    violated("history", detail)
}

/// The columns that both the table's version `version` and the destination have.
fn columns_of(comparison: &Comparison<'_>, version: u32) -> Vec<usize> {
    let schema = comparison.state.log.tables[comparison.table].schema(version);
    let columns = schema.map(|schema| numbers(schema)).unwrap_or_default();
    columns.into_iter().filter(|column| comparison.columns.contains(column)).collect()
}

/// The events are those of the log, one for one.
fn order(comparison: &Comparison<'_>, events: &[&Event]) -> Outcome {
    let log = &comparison.state.log;
    let applied = log.transactions.iter();
    let applied = applied.filter(|t| comparison.is_applied(t) && !comparison.is_covered(t));
    let mut wanted = Vec::new();
    for transaction in applied {
        for change in transaction.changes.iter().filter(|c| c.table == comparison.table) {
            let columns = columns_of(comparison, change.version);
            for event in shown(comparison, transaction, change) {
                wanted.push((event, columns.clone()));
            }
        }
    }
    let table = comparison.table;
    for (found, ((op, position, seq, row, unchanged), columns)) in events.iter().zip(&wanted) {
        let mut bits = 0;
        let mut cells = masked(row, columns);
        for &column in columns {
            bits |= unchanged & 1 << column;
            if unchanged & 1 << column != 0 {
                cells[column] = None;
            }
        }
        let found_bits =
            columns.iter().fold(0, |bits, column| bits | found.unchanged & 1 << column);
        let same = found.op == *op
            && found.position == *position
            && found.seq == *seq
            && found_bits == bits
            && masked(&found.row, columns) == cells;
        if !same {
            let detail =
                format!("t{table}: {found:?} instead of {op} {position} {seq:?} {cells:?}");
            return violated("history", detail);
        }
    }
    if events.len() == wanted.len() {
        return Ok(());
    }
    let (found, wanted) = (events.len(), wanted.len());
    let position = comparison.position;
    violated("history", format!("t{table} at {position}: {found} events, not {wanted}"))
}

/// What the log shows of a change.
fn shown(comparison: &Comparison<'_>, transaction: &Transaction, change: &Change) -> Vec<Expected> {
    let spec = comparison.state.log.tables[comparison.table].spec;
    let position = i64::try_from(transaction.commit).unwrap_or(i64::MAX);
    let event = |op: &str, place: u32, row: Row, unchanged: u8| {
        let seq = Some(i64::from(change.ordinal + place));
        let row = refusing::replaced(spec, &row, unchanged).0;
        (op.to_owned(), position, seq, row, unchanged)
    };
    let key = |id: i64| {
        let mut row = [None; WIDTH];
        row[KEY] = Some(id);
        row
    };
    match change.effect {
        Effect::Insert { row, .. } => vec![event("insert", 0, row, 0)],
        Effect::Update { row, unchanged, .. } => vec![event("update", 0, row, unchanged)],
        Effect::Delete { id, .. } => vec![event("delete", 0, key(id), 0)],
        Effect::Move { from, row, unchanged, .. } => {
            vec![event("delete", 0, key(from), 0), event("insert", 1, row, unchanged)]
        }
        Effect::Truncate => vec![event("truncate", 0, [None; WIDTH], 0)],
        Effect::Add { .. } | Effect::Drop | Effect::Retype => Vec::new(),
    }
}

/// Put in order by position alone, as a reader of the history does, the events lead to the rows.
fn replay(
    comparison: &Comparison<'_>,
    rows: &BTreeMap<i64, Row>,
    mut events: Vec<&Event>,
) -> Outcome {
    events.sort_by_key(|event| (event.position, event.op != "snapshot", event.seq));
    let mut found: BTreeMap<i64, Row> = BTreeMap::new();
    let mut removed = [None; WIDTH];
    for event in events {
        let Some(key) = event.row[KEY] else {
            found.clear();
            continue;
        };
        if event.op == "delete" {
            removed = found.remove(&key).unwrap_or([None; WIDTH]);
            continue;
        }
        let base = if event.op == "update" { found.get(&key).copied() } else { Some(removed) };
        let mut row = event.row;
        for (column, cell) in row.iter_mut().enumerate() {
            if event.unchanged & 1 << column != 0 {
                *cell = base.and_then(|base| base[column]);
            }
        }
        found.insert(key, row);
    }
    let columns = &comparison.columns;
    let mask = |rows: &BTreeMap<i64, Row>| -> BTreeMap<i64, Row> {
        rows.iter().map(|(key, row)| (*key, masked(row, columns))).collect()
    };
    let (found, expected) = (mask(&found), mask(rows));
    if found == expected {
        return Ok(());
    }
    let detail = super::difference(&found, &expected);
    violated("history", format!("t{} replays wrongly: {detail}", comparison.table))
}
