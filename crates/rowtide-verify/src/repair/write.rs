//! The writes that make rows right.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use arrow_array::{ArrayRef, RecordBatch, new_null_array};
use rowtide_core::{MergeWrite, Mode, MultisetWrite, Offset, Op, Result, TablePlan, TableWrite};

use super::plan::{Act, Fix};
use super::rows::Rows;
use crate::Kind;

/// What `fixes` make of the table, as of `position`.
pub(crate) fn writes(
    plan: &TablePlan,
    fixes: &[Fix],
    (ours, theirs): (&Rows, &Rows),
    at: (Offset, i64),
) -> Result<Vec<TableWrite>> {
    let came = came(fixes);
    let went = went(fixes);
    let rows = |rows: &Rows, which: &[(u64, Op)]| match which {
        [] => Ok(None),
        some => rows.pick(some.iter().map(|(hash, _)| *hash)).map(Some),
    };
    let complete = |rows: Option<RecordBatch>, which: &[(u64, Op)]| {
        rows.map(|rows| complete(plan, &rows, which, at)).transpose()
    };
    let (new, old) = (rows(ours, &came)?, rows(theirs, &went)?);
    let old = match (plan.mode, plan.source.is_keyed()) {
        // As the log tells it: a delete names the key and nothing else.
        (Mode::Append, true) => old.map(|old| keys_alone(plan, &old)).transpose()?,
        _ => old,
    };
    let twice = fixes.iter().filter(|fix| fix.act == Act::Once).map(|fix| (fix.hash, Op::Delete));
    let twice: Vec<_> = twice.collect();
    let once = complete(rows(theirs, &twice)?, &twice)?;
    // INVARIANT: what went comes first, in the order of events too.
    let (old, new) = (complete(old, &went)?, complete(new, &came)?);
    Ok(match (plan.mode, plan.source.is_keyed()) {
        (Mode::Append, _) => {
            let events = old.into_iter().chain(new).map(TableWrite::Append);
            once.into_iter().map(TableWrite::Once).chain(events).collect()
        }
        (_, true) => {
            vec![TableWrite::Merge(MergeWrite { deletes: old, upserts: new, patches: None })]
        }
        (_, false) => vec![TableWrite::Multiset(MultisetWrite { removes: old, inserts: new })],
    })
}

/// The source's rows that are written.
fn came(fixes: &[Fix]) -> Vec<(u64, Op)> {
    let rows = |fix: &Fix| match (fix.act, fix.kind) {
        (Act::Put, Kind::Missing | Kind::MissingOrMarked) => (1, Op::Insert),
        (Act::Put, _) => (1, Op::Update),
        (Act::Add(rows), _) => (rows, Op::Insert),
        (Act::Remove | Act::Take(_) | Act::Once, _) => (0, Op::Insert),
    };
    let each = |fix: &Fix| {
        let (many, op) = rows(fix);
        std::iter::repeat_n((fix.hash, op), many)
    };
    fixes.iter().flat_map(each).collect()
}

/// The destination's rows that go.
fn went(fixes: &[Fix]) -> Vec<(u64, Op)> {
    let rows = |fix: &Fix| match fix.act {
        Act::Remove => 1,
        Act::Take(rows) => rows,
        Act::Put | Act::Add(_) | Act::Once => 0,
    };
    fixes.iter().flat_map(|fix| std::iter::repeat_n((fix.hash, Op::Delete), rows(fix))).collect()
}

/// `rows` with nothing but their keys.
fn keys_alone(plan: &TablePlan, rows: &RecordBatch) -> Result<RecordBatch> {
    let column = |(at, column): (usize, &ArrayRef)| match plan.source.key.contains(&at) {
        true => Arc::clone(column),
        false => new_null_array(column.data_type(), rows.num_rows()),
    };
    let columns = rows.columns().iter().enumerate().map(column).collect();
    Ok(RecordBatch::try_new(plan.source.arrow(), columns)?)
}

/// `rows` with the metadata columns.
fn complete(
    plan: &TablePlan,
    rows: &RecordBatch,
    which: &[(u64, Op)],
    (position, now): (Offset, i64),
) -> Result<RecordBatch> {
    let ops: Vec<Op> = which.iter().map(|(_, op)| *op).collect();
    let mut columns = rows.columns().to_vec();
    let first = order(ops.len(), now);
    columns.extend(plan.metadata.repair_values(&ops, (position, first), now));
    Ok(RecordBatch::try_new(plan.target_arrow(), columns)?)
}

/// The order of the first of so many rows at their position: behind every row that was repaired
/// there before, and far below 0, where the order of changes begins.
fn order(rows: usize, now: i64) -> i64 {
    static LAST: AtomicI64 = AtomicI64::new(0);
    let rows = i64::try_from(rows).unwrap_or(i64::MAX);
    let next = |last: i64| last.max(now).saturating_add(rows);
    let last = LAST.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| Some(next(last)));
    let first = last.unwrap_or_default().max(now);
    (i64::MIN / 2).saturating_add(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_repairs_come_later_and_before_every_change() {
        let first = order(10, 1_800_000_000_000_000);
        let second = order(1, 1_800_000_000_000_003);
        assert_eq!(second, first + 10);
        assert!(order(1, 1_900_000_000_000_000) < 0);
    }
}
