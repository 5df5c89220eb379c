//! Values that are refused: each is counted once, each row that is kept out is told of once, and
//! those that are kept out now are known.

use std::collections::{BTreeMap, BTreeSet};

use rowtide_core::{Phase, TableState};

use super::{Comparison, Outcome, violated};
use crate::content::{Content, Held};
use crate::log::Row;
use crate::refusing::{Counts, kept_out};
use crate::scenario::Kind;

/// Compares what is known of a table's values with the log, and with what was known before.
pub(super) fn check(
    comparison: &Comparison<'_>,
    (known, rows): (&TableState, &BTreeMap<i64, Row>),
    (held, held_before, before): (&Held, &Held, &Content),
) -> Outcome {
    let Comparison { state, table, .. } = comparison;
    let spec = state.log.tables[*table].spec;
    let (keys, out) = kept_out(spec, rows.values());
    let by_key = spec.kind != Kind::Keyless;
    let values = &known.values;
    let number = |identity: &String| identity.split_once(':').and_then(|(_, key)| key.parse().ok());
    let found: BTreeSet<i64> = values.held.keys().filter_map(number).collect();
    let unresolved = if by_key { 0 } else { out };
    if values.unresolved != unresolved || (by_key && found != keys) {
        let detail = format!(
            "t{table} knows {found:?} and {} without a key, not {keys:?} and {unresolved}",
            values.unresolved
        );
        return violated("quarantine", detail);
    }
    let told = state.durable.content.told.get(table).copied().unwrap_or_default();
    if told != values.quarantined {
        let detail = format!("t{table}: {told} rows are told of, {} counted", values.quarantined);
        return violated("quarantine", detail);
    }
    counts(comparison, known, (held, held_before, before))
}

/// What was counted since the commit before is what was applied since.
fn counts(
    comparison: &Comparison<'_>,
    known: &TableState,
    (held, held_before, before): (&Held, &Held, &Content),
) -> Outcome {
    let Comparison { state, table, .. } = comparison;
    let spec = state.log.tables[*table].spec;
    let known_before = before.state.table(&known.schema.name);
    let mut wanted = Counts::default();
    let copied = held.generation != held_before.generation;
    let applied = if copied {
        // Some that a commit put in place it did not copy: more than one copy came in between.
        if held.generation != held_before.generation + 1 {
            return Ok(());
        }
        let covered = comparison.rows(|transaction| comparison.is_covered(transaction));
        covered.values().for_each(|row| wanted.row(spec, row, 0));
        0
    } else if known_before.is_some_and(|known| known.phase == Phase::Streaming) {
        before.state.checkpoint.as_ref().map_or(0, |at| at.position().0)
    } else {
        return Ok(());
    };
    let streamed =
        state.log.transactions.iter().filter(|t| {
            t.commit >= applied && comparison.is_applied(t) && !comparison.is_covered(t)
        });
    for change in streamed.flat_map(|t| &t.changes).filter(|change| change.table == *table) {
        wanted.add(spec, &change.effect);
    }
    let from = known_before.map(|known| known.values.clone()).unwrap_or_default();
    let now = &known.values;
    let found = [now.nulled, now.as_text, now.quarantined];
    let expected = [
        from.nulled + u64::from(wanted.replaced.nulled),
        from.as_text + u64::from(wanted.replaced.as_text),
        from.quarantined + wanted.quarantined,
    ];
    if found == expected {
        return Ok(());
    }
    let detail = format!("t{table} counts {found:?} nulled, as text, kept out, not {expected:?}");
    violated("counts", detail)
}
