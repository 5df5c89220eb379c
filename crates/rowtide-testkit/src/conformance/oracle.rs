//! What must stand in the destination after a log, in plain Rust: no Arrow, no fold, no SQL.

use std::collections::BTreeMap;

use rowtide_core::TableName;

use super::model::{Alteration, Cell, Change, Event, Row, SAME, Table, Transaction};

/// A row as canonical text.
pub type TextRow = Vec<Option<String>>;

/// The rows that the table going to `target` has at the source after `log`, sorted.
pub fn live(log: &[Transaction], target: &TableName) -> Vec<TextRow> {
    let mut rows = Rows::default();
    for event in log.iter().flat_map(|one| &one.events) {
        if event.table().target() == target {
            rows.apply(event);
        }
    }
    let mut texts: Vec<TextRow> =
        rows.0.iter().map(|row| row.iter().map(Cell::text).collect()).collect();
    texts.sort();
    texts
}

/// A table's rows. Small tables only: every change looks through all of them.
#[derive(Debug, Default)]
struct Rows(Vec<Row>);

impl Rows {
    fn apply(&mut self, event: &Event) {
        match event {
            Event::Truncate(_) => self.0.clear(),
            Event::Schema(_, Alteration::Added { fill }) => {
                self.0.iter_mut().for_each(|row| row.push(fill.clone()));
            }
            Event::Schema(_, Alteration::Dropped { at, .. }) => {
                self.0.iter_mut().for_each(|row| drop(row.remove(*at)));
            }
            Event::Schema(_, Alteration::Renamed { .. }) => {}
            Event::Change(table, change) => self.change(table, change),
        }
    }

    fn change(&mut self, table: &Table, change: &Change) {
        match change {
            Change::Insert(row) => self.0.push(row.clone()),
            Change::Update(row) => {
                let old = self.take(table, row);
                self.0.push(completed(row, &old));
            }
            Change::Delete(row) => drop(self.take(table, row)),
            Change::Move { old, new } => {
                let old = self.take(table, old);
                self.0.push(completed(new, &old));
            }
        }
    }

    fn take(&mut self, table: &Table, wanted: &Row) -> Row {
        let found = match table.plan.source.key.is_empty() {
            true => self.0.iter().position(|row| row == wanted),
            false => self.0.iter().position(|row| table.key_of(row) == table.key_of(wanted)),
        };
        self.0.swap_remove(found.expect("the test's own log changes rows that stand"))
    }
}

fn completed(new: &Row, old: &Row) -> Row {
    let pick = |(new, old): (&Cell, &Cell)| if *new == SAME { old.clone() } else { new.clone() };
    new.iter().zip(old).map(pick).collect()
}

/// Every event of an append table after `log`, sorted: position, order, op, the row's values, and
/// the names of those that the log did not repeat. The table must not change its columns.
pub fn history(log: &[Transaction], target: &TableName) -> Vec<TextRow> {
    let mut events = Vec::new();
    for transaction in log {
        let mut ordinal = 0;
        for event in &transaction.events {
            for (op, row) in halves(event) {
                if event.table().target() == target {
                    let position = transaction.commit.position.0.to_string();
                    events.push(recorded(event.table(), [position, ordinal.to_string()], op, &row));
                }
                ordinal += 1;
            }
        }
    }
    events.sort();
    events
}

/// A key change is a delete and an insert.
fn halves(event: &Event) -> Vec<(&'static str, Row)> {
    let nothing = || vec![Cell::Null; event.table().plan.source.columns.len()];
    match event {
        Event::Change(_, Change::Insert(row)) => vec![("insert", row.clone())],
        Event::Change(_, Change::Update(row)) => vec![("update", row.clone())],
        Event::Change(_, Change::Delete(row)) => vec![("delete", row.clone())],
        Event::Change(_, Change::Move { old, new }) => {
            vec![("delete", old.clone()), ("insert", new.clone())]
        }
        Event::Truncate(_) => vec![("truncate", nothing())],
        Event::Schema(..) => Vec::new(),
    }
}

fn recorded(table: &Table, [position, seq]: [String; 2], op: &str, row: &Row) -> TextRow {
    let columns = table.plan.source.columns.iter().zip(row);
    let same: Vec<&str> =
        columns.filter_map(|(column, cell)| (*cell == SAME).then_some(column.name())).collect();
    let mut text = vec![Some(position), Some(seq), Some(op.to_owned())];
    text.extend(row.iter().map(Cell::text));
    text.push((!same.is_empty()).then(|| same.join(",")));
    text
}

/// How many rows of each key there are.
pub fn counts<T: Ord>(rows: impl IntoIterator<Item = T>) -> BTreeMap<T, usize> {
    let mut counts = BTreeMap::new();
    for row in rows {
        *counts.entry(row).or_default() += 1;
    }
    counts
}
