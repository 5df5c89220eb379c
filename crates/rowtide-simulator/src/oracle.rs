//! What must hold of the destination at each durable commit.
//!
//! With a fence F and a checkpoint P, a table that follows the log holds exactly what the
//! transactions make that F covers or that committed before P, in the log's order: no more, no
//! less, and none of them in part. A table that does not follow the log holds what it held.

mod history;
mod values;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rowtide_core::{Fence, Phase, TableState, ValuePolicy};

use crate::content::{Content, Held};
use crate::log::{Effect, Row, Transaction, WIDTH, apply, index_of, numbers};
use crate::refusing;
use crate::scenario::Kind;
use crate::world::{State, Violation};

type Outcome = Result<(), Violation>;

fn violated(class: &'static str, detail: impl Into<String>) -> Outcome {
    Err(Violation { class, detail: detail.into() })
}

/// Compares what is durable with the log, and with what was durable before.
pub(crate) fn check(state: &mut State) -> Outcome {
    let after = state.durable.content.clone();
    let before = std::mem::replace(&mut state.checked, after.clone());
    if state.tampered {
        return Ok(());
    }
    position(state, &before, &after)?;
    let nothing = Arc::new(Held::default());
    for known in &after.state.tables {
        let Some(table) = index_of(&known.schema.name) else { continue };
        let held = after.tables.get(&table).unwrap_or(&nothing);
        let held_before = before.tables.get(&table).unwrap_or(&nothing);
        let phase_before = before.state.table(&known.schema.name).map(|known| known.phase);
        state.tally.comparisons += 1;
        match known.phase {
            Phase::Streaming => {
                streaming(state, known, table, (held, held_before, &before))?;
            }
            Phase::Stopped if phase_before != Some(Phase::Stopped) => stopped(state, known, table)?,
            // What came before the change that the log does not tell is in the same commit.
            Phase::Pending if phase_before != Some(Phase::Pending) && held != held_before => {
                stopped(state, known, table)?;
            }
            Phase::Stopped | Phase::Skipped | Phase::Pending | Phase::Copying | Phase::Loaded => {
                if !Arc::ptr_eq(held, held_before) && held != held_before {
                    let phase = known.phase.as_str();
                    return violated("frozen", format!("t{table} is {phase}, and changed"));
                }
            }
        }
    }
    Ok(())
}

/// Whether any table is followed, or is to be.
pub(crate) fn follows(state: &State) -> bool {
    let tables = &state.durable.content.state.tables;
    tables.is_empty() || tables.iter().any(|known| known.phase != Phase::Stopped)
}

/// After everything has healed and a run has caught up.
pub(crate) fn check_end(state: &mut State) -> Outcome {
    check(state)?;
    let after = state.durable.content.clone();
    let position = after.state.checkpoint.as_ref().map_or(0, |at| at.position().0);
    let end = state.log.transactions.last().map_or(0, |transaction| transaction.end);
    if position < end && follows(state) {
        return violated("liveness", format!("caught up to {position} only, of {end}"));
    }
    for (index, table) in state.log.tables.iter().enumerate().filter(|(_, t)| t.exists) {
        let name = &table.versions[0].schema.name;
        match after.state.table(name).map(|known| known.phase) {
            Some(Phase::Streaming | Phase::Stopped) => {}
            phase => return violated("liveness", format!("t{index} ends {phase:?}")),
        }
    }
    Ok(())
}

fn position(state: &State, before: &Content, after: &Content) -> Outcome {
    let at = |content: &Content| content.state.checkpoint.as_ref().map_or(0, |at| at.position().0);
    let (from, to) = (at(before), at(after));
    let anew = after.state.checkpoint.is_none()
        && after.state.tables.iter().all(|known| known.phase != Phase::Streaming);
    if to < from && !anew {
        return violated("checkpoint", format!("it went back from {from} to {to}"));
    }
    let inside = |t: &&Transaction| t.commit < to && to < t.end;
    if to > state.log.end() || state.log.transactions.iter().any(|t| inside(&t)) {
        return violated("checkpoint", format!("{to} is not the end of a transaction"));
    }
    Ok(())
}

fn stopped(state: &State, known: &TableState, table: usize) -> Outcome {
    if known.reason.as_deref().unwrap_or_default().is_empty() {
        return violated("stopped", format!("t{table} stopped without a reason"));
    }
    let versions = &state.log.tables[table].versions;
    let retyped =
        |version: &crate::log::Version| matches!(version.ddl, Some(crate::log::Ddl::Retype));
    if has_cause(state, table) || state.refused.contains(&table) || versions.iter().any(retyped) {
        return Ok(());
    }
    let reason = known.reason.as_deref().unwrap_or_default();
    violated("stopped", format!("t{table} stopped without a cause: {reason}"))
}

/// Whether refused values are reason enough: for the table to stop, or to be copied again for
/// what a row that was kept out lacks.
fn has_cause(state: &State, table: usize) -> bool {
    let spec = state.log.tables[table].spec;
    let is_cause = match spec.policy {
        Some(ValuePolicy::Fail) => true,
        Some(ValuePolicy::Quarantine) => matches!(spec.kind, Kind::Keyed | Kind::Soft),
        Some(ValuePolicy::Null | ValuePolicy::Text) | None => false,
    };
    let refused = |effect: &Effect| match effect {
        Effect::Insert { row, .. } | Effect::Update { row, .. } | Effect::Move { row, .. } => {
            refusing::refuses(spec, row, 0)
        }
        _ => false,
    };
    let changes = state.log.transactions.iter().flat_map(|transaction| &transaction.changes);
    let mut changes = changes.filter(|change| change.table == table);
    is_cause && changes.any(|change| refused(&change.effect))
}

/// Everything that one comparison needs.
struct Comparison<'a> {
    state: &'a State,
    table: usize,
    fence: &'a Fence,
    position: u64,
    /// The columns that the destination has.
    columns: Vec<usize>,
}

impl Comparison<'_> {
    fn is_covered(&self, transaction: &Transaction) -> bool {
        self.fence.covers(&transaction.name())
    }

    fn is_applied(&self, transaction: &Transaction) -> bool {
        transaction.commit < self.position
    }

    /// What the chosen transactions make of the table.
    fn rows(&self, chosen: impl Fn(&Transaction) -> bool) -> BTreeMap<i64, Row> {
        let mut rows = BTreeMap::new();
        for transaction in self.state.log.transactions.iter().filter(|t| chosen(t)) {
            for change in transaction.changes.iter().filter(|change| change.table == self.table) {
                apply(&mut rows, &change.effect);
            }
        }
        rows
    }

    /// Those of `rows` that are not kept out, as they are handed over.
    fn representable(&self, rows: BTreeMap<i64, Row>) -> BTreeMap<i64, Row> {
        let spec = self.state.log.tables[self.table].spec;
        let shown = rows.into_iter().filter(|(_, row)| !refusing::keeps_out(spec, row, 0));
        shown.map(|(id, row)| (id, refusing::replaced(spec, &row, 0).0)).collect()
    }

    /// The newest version that the destination has heard of.
    fn version(&self, copied: u32) -> u32 {
        let streamed = self.state.log.transactions.iter();
        let streamed = streamed.filter(|t| self.is_applied(t) && !self.is_covered(t));
        let changes = streamed.flat_map(|transaction| &transaction.changes);
        let logged = changes.filter(|c| c.table == self.table && c.effect.is_logged());
        logged.map(|change| change.version).max().unwrap_or(0).max(copied)
    }
}

/// `row` without the columns that are not in `columns`.
fn masked(row: &Row, columns: &[usize]) -> Row {
    let mut masked = [None; WIDTH];
    for &column in columns {
        masked[column] = row[column];
    }
    masked
}

fn streaming(
    state: &State,
    known: &TableState,
    table: usize,
    (held, held_before, before): (&Held, &Held, &Content),
) -> Outcome {
    let Some(fence) = &known.fence else {
        return violated("content", format!("t{table} follows without a fence"));
    };
    let position = state.durable.content.state.checkpoint.as_ref();
    let position = position.map_or(0, |at| at.position().0);
    let columns = numbers(&known.schema);
    let comparison = Comparison { state, table, fence, position, columns };
    let version = comparison.version(held.copied);
    if known.schema.version != version {
        let detail = format!("t{table} is at version {}, not {version}", known.schema.version);
        return violated("schema", detail);
    }
    let rows = comparison.rows(|t| comparison.is_covered(t) || comparison.is_applied(t));
    values::check(&comparison, (known, &rows), (held, held_before, before))?;
    let rows = comparison.representable(rows);
    match state.log.tables[table].spec.kind {
        Kind::Keyed | Kind::Soft => keyed(&comparison, &rows, (held, held_before)),
        Kind::Keyless => bag(&comparison, &rows, held),
        Kind::Append => history::check(&comparison, &rows, held),
    }
}

fn keyed(
    comparison: &Comparison<'_>,
    expected: &BTreeMap<i64, Row>,
    (held, before): (&Held, &Held),
) -> Outcome {
    let Comparison { table, position, columns, .. } = comparison;
    let live = held.keyed.iter().filter(|(_, stored)| !stored.deleted);
    let found: BTreeMap<i64, Row> =
        live.map(|(key, stored)| (*key, masked(&stored.row, columns))).collect();
    let expected: BTreeMap<i64, Row> =
        expected.iter().map(|(key, row)| (*key, masked(row, columns))).collect();
    if found != expected {
        let detail = format!("t{table} at {position}: {}", difference(&found, &expected));
        return violated("content", detail);
    }
    let soft = comparison.state.log.tables[*table].spec.kind == Kind::Soft;
    if !soft && held.keyed.values().any(|stored| stored.deleted) {
        return violated("content", format!("t{table} holds a row that is marked deleted"));
    }
    if soft && held.generation == before.generation {
        let lost = before.keyed.keys().find(|key| !held.keyed.contains_key(key));
        if let Some(key) = lost {
            return violated("content", format!("t{table}: the deleted row {key} is not kept"));
        }
    }
    Ok(())
}

fn difference(found: &BTreeMap<i64, Row>, expected: &BTreeMap<i64, Row>) -> String {
    let keys: BTreeSet<&i64> = found.keys().chain(expected.keys()).collect();
    let differs = keys.into_iter().find(|key| found.get(key) != expected.get(key));
    let Some(key) = differs else { return "no difference".to_owned() };
    format!("row {key} is {:?}, not {:?}", found.get(key), expected.get(key))
}

fn bag(comparison: &Comparison<'_>, expected: &BTreeMap<i64, Row>, held: &Held) -> Outcome {
    let Comparison { table, position, columns, .. } = comparison;
    let mut wanted: BTreeMap<Row, u32> = BTreeMap::new();
    for row in expected.values() {
        *wanted.entry(masked(row, columns)).or_default() += 1;
    }
    let mut found: BTreeMap<Row, u32> = BTreeMap::new();
    for (row, count) in &held.bag {
        *found.entry(masked(row, columns)).or_default() += count;
    }
    if found == wanted {
        return Ok(());
    }
    let detail = format!("t{table} at {position}: rows are {found:?}, not {wanted:?}");
    violated("content", detail)
}
