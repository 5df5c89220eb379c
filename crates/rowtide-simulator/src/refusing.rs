//! Values that the destination's types are said not to hold: which they are, and what must become
//! of them.

use std::collections::BTreeSet;

use rowtide_core::{Refused, Replaced, ValuePolicy};

use crate::log::{Effect, KEY, LARGE, Row, VALUE, WIDTH};
use crate::scenario::{Kind, TableSpec};

/// The columns with such values; neither is ever dropped.
const COLUMNS: [usize; 2] = [VALUE, LARGE];

/// Which of the values that the log repeats of `row` are refused.
fn columns(spec: TableSpec, row: &Row, unchanged: u8) -> Vec<usize> {
    if spec.policy.is_none() {
        return Vec::new();
    }
    let is_refused = |column: usize, value: i64| match spec.kind {
        // The rows of these hold two values only.
        Kind::Keyless => column == LARGE && value == 1,
        _ => value.div_euclid(10) % 5 == if column == VALUE { 3 } else { 1 },
    };
    let logged = COLUMNS.into_iter().filter(|column| unchanged & 1 << column == 0);
    logged.filter(|&column| row[column].is_some_and(|value| is_refused(column, value))).collect()
}

/// Whether a value of `row` that the log repeats is refused.
pub(crate) fn refuses(spec: TableSpec, row: &Row, unchanged: u8) -> bool {
    !columns(spec, row, unchanged).is_empty()
}

/// Whether the policy keeps `row` out, as far as the log tells.
pub(crate) fn keeps_out(spec: TableSpec, row: &Row, unchanged: u8) -> bool {
    spec.policy == Some(ValuePolicy::Quarantine) && refuses(spec, row, unchanged)
}

/// What is told of `row`, which is kept out by the change `change`.
pub(crate) fn refused(
    spec: TableSpec,
    (row, unchanged): (&Row, u8),
    change: rowtide_core::Op,
) -> Refused {
    let columns = columns(spec, row, unchanged);
    let named = columns.first().map_or_else(String::new, |column| format!("c{column}"));
    Refused {
        change,
        columns: columns.iter().filter_map(|column| i32::try_from(*column).ok()).collect(),
        column: named,
        reason: "the model does not hold it".to_owned(),
        key: row[KEY].map(|key| format!("{{\"c1\":\"{key}\"}}")),
        values: None,
    }
}

/// `row` as it is handed over, and how many of its values were replaced.
pub(crate) fn replaced(spec: TableSpec, row: &Row, unchanged: u8) -> (Row, Replaced) {
    let columns = columns(spec, row, unchanged);
    let mut shown = *row;
    columns.iter().for_each(|column| shown[*column] = None);
    let count = u32::try_from(columns.len()).unwrap_or(u32::MAX);
    let replaced = match spec.policy {
        Some(ValuePolicy::Null) => Replaced { nulled: count, as_text: 0 },
        Some(ValuePolicy::Text) => Replaced { nulled: 0, as_text: count },
        _ => return (*row, Replaced::default()),
    };
    (shown, replaced)
}

/// A row without anything but its key.
pub(crate) fn key_of(row: &Row) -> Row {
    let mut key = [None; WIDTH];
    key[KEY] = row[KEY];
    key
}

/// How many values and rows a table counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) replaced: Replaced,
    pub(crate) quarantined: u64,
}

impl Counts {
    /// Adds what the row that `effect` leads to counts.
    pub(crate) fn add(&mut self, spec: TableSpec, effect: &Effect) {
        match effect {
            Effect::Insert { row, .. } => self.row(spec, row, 0),
            Effect::Update { row, unchanged, .. } | Effect::Move { row, unchanged, .. } => {
                self.row(spec, row, *unchanged);
            }
            Effect::Delete { .. } | Effect::Truncate => {}
            Effect::Add { .. } | Effect::Drop | Effect::Retype => {}
        }
    }

    /// Adds `row`. One that was kept out stays so until the log repeats what it was kept out for.
    pub(crate) fn row(&mut self, spec: TableSpec, row: &Row, unchanged: u8) {
        self.replaced.add(replaced(spec, row, unchanged).1);
        self.quarantined += u64::from(keeps_out(spec, row, 0));
    }
}

/// The keys of those of `rows` that are kept out.
pub(crate) fn kept_out<'a>(
    spec: TableSpec,
    rows: impl Iterator<Item = &'a Row>,
) -> (BTreeSet<i64>, u64) {
    let out: Vec<&Row> = rows.filter(|row| keeps_out(spec, row, 0)).collect();
    (out.iter().filter_map(|row| row[KEY]).collect(), out.len() as u64)
}
