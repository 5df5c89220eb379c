//! The rows behind a proved difference, read once more from the views that proved it.

use std::collections::{HashMap, HashSet};

use rowtide_core::canonical::Encoder;
use rowtide_core::view::{TableView, ViewedRows};
use rowtide_core::{DeleteMode, Mode, Result, TablePlan, TableSchema};

use crate::compare::{self, Difference, Kind, Texts};
use crate::sight::{Pair, Wanted};

/// How many rows are held at once: they may be long.
const ROWS_AT_ONCE: usize = 20;

/// The first row under each key, as text, and how many there are.
type Rows = HashMap<u64, (Texts, usize)>;

/// Tells how the first `most` of the rows `wanted` differ.
pub(crate) async fn describe(
    pair: &mut Pair,
    (wanted, plan): (&Wanted, &TablePlan),
    (most, show): (usize, bool),
) -> Result<Vec<Difference>> {
    let table = &plan.source;
    let mut differences = Vec::new();
    let mut hashes = wanted.hashes();
    hashes.truncate(most);
    for some in hashes.chunks(ROWS_AT_ONCE) {
        let wanted = wanted.among(&some.iter().copied().collect())?;
        let at_source = rows(pair.source.as_mut(), (&wanted, table)).await?;
        let at_destination = rows(pair.destination.as_mut(), (&wanted, table)).await?;
        for hash in wanted.hashes() {
            let sides = (at_source.get(&hash), at_destination.get(&hash));
            differences.push(difference((hash, plan), sides, show));
        }
    }
    Ok(differences)
}

type Side<'a> = Option<&'a (Texts, usize)>;

fn difference(
    (hash, plan): (u64, &TablePlan),
    (one, other): (Side<'_>, Side<'_>),
    show: bool,
) -> Difference {
    let table = &plan.source;
    let count = |side: Side<'_>| side.map_or(0, |(_, rows)| *rows);
    let (kind, columns) = match (one, other) {
        (Some((_, ours)), Some((_, theirs))) if ours != theirs => (Kind::Repeated, Vec::new()),
        (Some((one, _)), Some((other, _))) => {
            (Kind::Changed, compare::columns(table, (one, other), show))
        }
        (Some(_), None) if plan.mode == Mode::Merge && plan.delete == DeleteMode::Soft => {
            (Kind::MissingOrMarked, Vec::new())
        }
        (Some(_), None) => (Kind::Missing, Vec::new()),
        (None, _) => (Kind::Extra, Vec::new()),
    };
    let named: Vec<usize> = match table.is_keyed() {
        true => table.key.clone(),
        false => (0..table.columns.len()).collect(),
    };
    let texts = one.or(other).map(|(texts, _)| texts).filter(|_| show);
    Difference {
        row: format!("{hash:016x}"),
        kind,
        key: texts.map(|texts| compare::shown(table, texts, &named)).unwrap_or_default(),
        at_source: count(one),
        at_destination: count(other),
        columns,
    }
}

async fn rows(view: &mut dyn TableView, (wanted, table): (&Wanted, &TableSchema)) -> Result<Rows> {
    let encoder = Encoder::new(table)?;
    let hashes: HashSet<u64> = wanted.hashes().into_iter().collect();
    let mut found = Rows::new();
    for portion in wanted.portions(ROWS_AT_ONCE) {
        view.begin(portion).await?;
        while let Some(ViewedRows { rows, .. }) = view.next().await? {
            for (row, key) in encoder.hash(&rows)?.keys.iter().enumerate() {
                if !hashes.contains(key) {
                    continue;
                }
                match found.get_mut(key) {
                    Some((_, count)) => *count += 1,
                    None => {
                        found.insert(*key, (encoder.texts(&rows, row)?, 1));
                    }
                }
            }
        }
    }
    Ok(found)
}
