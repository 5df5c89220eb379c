//! What makes one key right.

use rowtide_core::canonical::Encoder;
use rowtide_core::ledger::Repaired;
use rowtide_core::{DeleteMode, Mode, Result, TablePlan, TableSchema};

use super::rows::Rows;
use crate::Kind;
use crate::compare::{self, Texts};
use crate::settle::same_content;

/// What is to be done about a key.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fix {
    /// The hash of the key.
    pub(crate) hash: u64,
    pub(crate) kind: Kind,
    pub(crate) act: Act,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Act {
    /// The source's row takes the place of whatever stands under its key.
    Put,
    /// What stands under the key goes.
    Remove,
    /// So many rows equal to the source's come.
    Add(usize),
    /// So many rows go of those that are equal to the destination's.
    Take(usize),
    /// Events that stand more than once go, but for one.
    Once,
}

/// What makes the key right under which both sides hold these rows; `None` if it is.
pub(crate) fn fix(plan: &TablePlan, hash: u64, (ours, theirs): (&Rows, &Rows)) -> Option<Fix> {
    let (one, other) = (ours.of(hash), theirs.of(hash));
    if same_content(one, other) {
        return None;
    }
    let soft = plan.mode == Mode::Merge && plan.delete == DeleteMode::Soft;
    let kind = match (one.len(), other.len()) {
        (_, 0) if soft => Kind::MissingOrMarked,
        (_, 0) => Kind::Missing,
        (0, _) => Kind::Extra,
        (ours, theirs) if ours != theirs => Kind::Repeated,
        _ => Kind::Changed,
    };
    let act = match plan.source.is_keyed() {
        true if plan.mode == Mode::Append && other.len() > 1 => Act::Once,
        true if one.is_empty() => Act::Remove,
        true => Act::Put,
        false if one.len() > other.len() => Act::Add(one.len() - other.len()),
        false => Act::Take(other.len() - one.len()),
    };
    Some(Fix { hash, kind, act })
}

/// What is told of each row that is made right.
pub(crate) fn told(
    plan: &TablePlan,
    fixes: &[Fix],
    (ours, theirs): (&Rows, &Rows),
) -> Result<Vec<Repaired>> {
    let table = &plan.source;
    let encoder = Encoder::new(table)?;
    let mut told = Vec::new();
    for fix in fixes {
        let (one, other) = (ours.texts(fix.hash, &encoder)?, theirs.texts(fix.hash, &encoder)?);
        let columns = match (&one, &other, fix.kind) {
            (Some(one), Some(other), Kind::Changed) => {
                let differing = compare::columns(table, (one, other), false);
                let names: Vec<String> = differing.into_iter().map(|one| one.column).collect();
                Some(serde_json::Value::from(names).to_string())
            }
            _ => None,
        };
        let key = one.or(other).map(|texts| named(table, &texts)).unwrap_or_default();
        let rows = match fix.act {
            Act::Add(rows) | Act::Take(rows) => rows,
            Act::Put | Act::Remove | Act::Once => 1,
        };
        let row = Repaired { kind: fix.kind.as_str(), key, columns };
        told.extend(std::iter::repeat_n(row, rows));
    }
    Ok(told)
}

/// What names a row, as JSON: its key; without one all its values.
fn named(table: &TableSchema, texts: &Texts) -> String {
    let which: Vec<usize> = match table.is_keyed() {
        true => table.key.clone(),
        false => (0..table.columns.len()).collect(),
    };
    let shown = compare::shown(table, texts, &which).into_iter();
    let object: serde_json::Map<String, serde_json::Value> =
        shown.map(|one| (one.column, one.value.into())).collect();
    serde_json::Value::Object(object).to_string()
}
