//! What the changes of a transaction come to, with the rows and columns that are there.

use super::{Ddl, Effect, KEY, LARGE, Row, Table, VALUE, Version, WIDTH, numbers, schema};
use crate::scenario::{Kind, Spec, Want};

/// The value as `column` shows it: no two columns show the same.
fn in_column(value: i64, column: usize) -> i64 {
    value * 10 + i64::try_from(column).unwrap_or(0)
}

/// A whole new row.
pub(super) fn fresh(table: &Table, key: i64, value: i64) -> Row {
    let mut row = [None; WIDTH];
    for column in table.columns() {
        // A NULL now and then.
        row[column] = (value % 7 != 0).then(|| in_column(value, column));
    }
    row[KEY] = Some(key);
    row
}

/// The row with another value, and which columns the log does not repeat.
pub(super) fn touched(table: &Table, old: Row, value: i64) -> (Row, u8) {
    let mut row = old;
    row[VALUE] = Some(in_column(value, VALUE));
    // A NULL is always repeated.
    let large = table.columns().into_iter().filter(|at| *at >= LARGE && old[*at].is_some());
    (row, large.fold(0, |bits, column| bits | 1 << column))
}

pub(super) fn keyless(
    table: &mut Table,
    spec: &Spec,
    found: Option<(i64, Row)>,
    value: i64,
) -> Option<Effect> {
    let mut row = [None; WIDTH];
    for column in table.columns() {
        row[column] = Some(value % 2);
    }
    row[KEY] = Some(spec.key);
    match (spec.want, found) {
        (Want::Put, _) | (Want::Touch, None) => {
            table.next_row += 1;
            Some(Effect::Insert { id: table.next_row, row })
        }
        (Want::Touch, Some((id, old))) => Some(Effect::Update { id, old, row, unchanged: 0 }),
        (Want::Move { to, .. }, Some((id, old))) => {
            row[KEY] = Some(to);
            Some(Effect::Update { id, old, row, unchanged: 0 })
        }
        (Want::Remove, Some((id, old))) => Some(Effect::Delete { id, old }),
        _ => None,
    }
}

pub(super) fn alter(table: &Table, want: Want, value: i64) -> Option<Ddl> {
    let columns = table.columns();
    if table.is_retyped() {
        return None;
    }
    match want {
        Want::AddColumn { fill } => {
            let used = table.versions.iter().flat_map(|version| numbers(&version.schema)).max();
            let column = used.unwrap_or(0) + 1;
            let fill = fill.then_some(if table.spec.kind == Kind::Keyless { 1 } else { -value });
            (column < WIDTH).then_some(Ddl::Add { column, fill })
        }
        Want::DropColumn => {
            // What may be refused stays.
            let first = if table.spec.policy.is_some() { LARGE + 1 } else { LARGE };
            let last = columns.into_iter().rev().find(|column| *column >= first)?;
            Some(Ddl::Drop { column: last })
        }
        _ => Some(Ddl::Retype),
    }
}

/// Gives `table` its next version.
pub(super) fn redefine(table: &mut Table, index: usize, (xid, ddl): (u32, Ddl)) -> Effect {
    let mut columns = table.columns();
    let effect = match ddl {
        Ddl::Add { column, fill } => {
            columns.push(column);
            Effect::Add { column, fill }
        }
        Ddl::Drop { column } => {
            columns.retain(|at| *at != column);
            Effect::Drop
        }
        Ddl::Retype => Effect::Retype,
    };
    let schema = schema(index, table.spec.kind, &columns, table.version() + 1);
    table.versions.push(Version { schema, xid, ddl: Some(ddl) });
    effect
}
