//! Fold by key.

use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_buffer::BooleanBuffer;
use arrow_select::interleave::interleave;
use hashbrown::HashMap;

use super::row_bytes;
use crate::batch::take_rows;
use crate::{ChangeBatch, Error, MergeWrite, Op, Patches, Result, fault};

/// Where the value of one column comes from when it is not the row's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    /// Another row of the batch.
    Row(u32),
    /// The row that stands in the destination under the state's base key.
    Base,
}

/// What a key has come to.
#[derive(Debug)]
enum State {
    /// Nothing stands there; `row` is the change that removed it.
    Gone { row: u32 },
    /// A row stands there.
    Present(Present),
}

#[derive(Debug)]
struct Present {
    /// The change that wrote it last.
    row: u32,
    /// Columns that come from elsewhere.
    origins: Vec<(usize, Origin)>,
    /// The row of the batch whose key is the base key; meaningful if an origin is `Base`.
    base: u32,
}

impl Present {
    fn origin(&self, column: usize) -> Origin {
        let found = self.origins.iter().find(|(at, _)| *at == column);
        found.map_or(Origin::Row(self.row), |(_, origin)| *origin)
    }
}

pub(super) fn fold(batch: &ChangeBatch, full: &RecordBatch) -> Result<MergeWrite> {
    let keys = row_bytes(&batch.rows, batch.table.key.iter().copied())?;
    let mut index: HashMap<&[u8], usize> = HashMap::with_capacity(batch.len());
    let mut states: Vec<State> = Vec::with_capacity(batch.len());
    let mut moving: Option<(u32, Option<State>)> = None;

    for (row, op) in (0_u32..).zip(&batch.ops) {
        // Under a key that cannot be represented nothing can stand.
        if *op == Op::Refuse && lacks_key(batch, row) {
            continue;
        }
        let key = keys.row(row as usize).data();
        let slot = index.get(key).copied();
        let earlier = slot.map(|slot| &states[slot]);
        let next = match op {
            Op::Insert => complete(batch, row, None)?,
            Op::Update => update(batch, row, row, earlier)?,
            Op::Delete | Op::Refuse => State::Gone { row },
            Op::MoveOut => {
                let taken = match slot
                    .map(|slot| std::mem::replace(&mut states[slot], State::Gone { row }))
                {
                    Some(State::Gone { row }) if batch.ops[row as usize] != Op::Refuse => {
                        return Err(contradiction(batch));
                    }
                    earlier => earlier,
                };
                moving = Some((row, taken));
                State::Gone { row }
            }
            Op::MoveIn => {
                let (out, taken) = moving.take().ok_or_else(|| unpaired(batch))?;
                update(batch, row, out, taken.as_ref())?
            }
        };
        match slot {
            Some(_) if fault::planted("first-change-wins") => {}
            Some(slot) => states[slot] = next,
            None => {
                index.insert(key, states.len());
                states.push(next);
            }
        }
    }
    if moving.is_some() {
        return Err(unpaired(batch));
    }
    assemble(batch, full, &states)
}

/// An insert: every value is in the row.
fn complete(batch: &ChangeBatch, row: u32, base: Option<u32>) -> Result<State> {
    if batch.unchanged.any_in_row(row as usize) {
        return Err(Error::internal(format!(
            "an insert into {} misses values that only an update may leave out",
            batch.table.name
        )));
    }
    Ok(State::Present(Present { row, origins: Vec::new(), base: base.unwrap_or(row) }))
}

/// An update: values the log did not repeat come from what stood there `earlier`, or else from
/// the destination's row under the key of batch row `base`.
fn update(batch: &ChangeBatch, row: u32, base: u32, earlier: Option<&State>) -> Result<State> {
    let missing: Vec<usize> = batch
        .unchanged
        .columns()
        .filter(|(_, bits)| bits.value(row as usize) && !fault::planted("unchanged-as-null"))
        .map(|(column, _)| column)
        .collect();
    let (origins, base) = match earlier {
        // A row that was kept out comes in, if all of it is there.
        Some(State::Gone { row: gone })
            if batch.ops[*gone as usize] == Op::Refuse && missing.is_empty() =>
        {
            (Vec::new(), base)
        }
        Some(State::Gone { .. }) => return Err(contradiction(batch)),
        Some(State::Present(present)) => {
            let origin = |column| (column, present.origin(column));
            (missing.into_iter().map(origin).collect(), present.base)
        }
        None => (missing.into_iter().map(|column| (column, Origin::Base)).collect(), base),
    };
    Ok(State::Present(Present { row, origins, base }))
}

fn lacks_key(batch: &ChangeBatch, row: u32) -> bool {
    batch.table.key.iter().any(|&column| batch.rows.column(column).is_null(row as usize))
}

fn contradiction(batch: &ChangeBatch) -> Error {
    Error::data(format!("the log changes a row of {} after deleting it", batch.table.name))
        .with_hint("copy the table again; if it happens again, report it with the table's DDL")
}

fn unpaired(batch: &ChangeBatch) -> Error {
    Error::internal(format!("half a key change in a batch of {}", batch.table.name))
}

fn assemble(batch: &ChangeBatch, full: &RecordBatch, states: &[State]) -> Result<MergeWrite> {
    let (mut deletes, mut upserts, mut patches) = (Vec::new(), Vec::new(), Vec::new());
    for state in states {
        match state {
            State::Gone { row }
                if batch.ops[*row as usize] == Op::MoveOut
                    && fault::planted("move-keeps-old-row") => {}
            State::Gone { row } => deletes.push(*row),
            State::Present(present) => {
                let needs_base = present.origins.iter().any(|(_, origin)| *origin == Origin::Base);
                if needs_base {
                    patches.push(present);
                } else {
                    upserts.push(present);
                }
            }
        }
    }
    let some = |rows: RecordBatch| (rows.num_rows() > 0).then_some(rows);
    Ok(MergeWrite {
        deletes: some(take_rows(full, &deletes)?),
        upserts: some(gather(full, &upserts)?),
        patches: if patches.is_empty() { None } else { Some(patch(batch, full, &patches)?) },
    })
}

/// The rows of `presents`, each column taken from where its value is; cells that come from the
/// destination stay as they are in the row (null).
fn gather(full: &RecordBatch, presents: &[&Present]) -> Result<RecordBatch> {
    let own: Vec<u32> = presents.iter().map(|present| present.row).collect();
    if presents.iter().all(|present| present.origins.is_empty()) {
        return take_rows(full, &own);
    }
    let mut columns: Vec<ArrayRef> = Vec::with_capacity(full.num_columns());
    for (at, column) in full.columns().iter().enumerate() {
        let indices: Vec<(usize, usize)> = presents
            .iter()
            .map(|present| match present.origin(at) {
                Origin::Row(row) => (0, row as usize),
                Origin::Base => (0, present.row as usize),
            })
            .collect();
        columns.push(interleave(&[column.as_ref() as &dyn Array], &indices)?);
    }
    Ok(RecordBatch::try_new(full.schema(), columns)?)
}

fn patch(batch: &ChangeBatch, full: &RecordBatch, patches: &[&Present]) -> Result<Patches> {
    let mut columns: Vec<usize> = patches
        .iter()
        .flat_map(|present| &present.origins)
        .filter(|(_, origin)| *origin == Origin::Base)
        .map(|(column, _)| *column)
        .collect();
    columns.sort_unstable();
    columns.dedup();
    let unchanged = columns
        .into_iter()
        .map(|column| {
            let bits: BooleanBuffer =
                patches.iter().map(|present| present.origin(column) == Origin::Base).collect();
            (column, bits)
        })
        .collect();
    let bases: Vec<u32> = patches.iter().map(|present| present.base).collect();
    let base = take_rows(&batch.rows.project(&batch.table.key)?, &bases)?;
    Ok(Patches { rows: gather(full, patches)?, unchanged, base })
}
