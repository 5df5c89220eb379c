//! Rows of which a value cannot be represented, and what is known of them.
//!
//! A refused row is not in the destination, so a later change of it that leaves values out has
//! nothing to take them from. That is why the keys of a merge table's refused rows are remembered
//! with the table, until the row comes back whole, is deleted, or the table is copied again.

mod identity;
#[cfg(test)]
mod tests;

use rowtide_core::ledger::{Quarantined, RESOLVED};
use rowtide_core::traits::CopyExceptions;
use rowtide_core::{
    ChangeBatch, Error, Held, MOST_HELD, Mode, Offset, Op, Refused, Replaced, Result, TablePlan,
    Unchanged, ValueTally,
};

use identity::{identities, shown};

/// What is to be done with a batch.
#[derive(Debug)]
pub(crate) enum Settled {
    /// Nothing in it or before it was refused.
    Untouched(ChangeBatch),
    /// It is written, and with it what is told of it and what is then known of the table.
    Told(ChangeBatch, Vec<Quarantined>, ValueTally),
    /// A row could come back but for values that only the source has.
    CopyAgain(String),
    /// Too many rows are refused.
    Stop(String),
}

/// Looks through `batch` for rows that are refused, and for those that come back.
///
/// # Errors
/// `Internal` if the batch contradicts itself.
pub(crate) fn settle(batch: ChangeBatch, plan: &TablePlan, known: &ValueTally) -> Result<Settled> {
    if batch.exceptions.is_empty() && known.held.is_empty() {
        return Ok(Settled::Untouched(batch));
    }
    let mut settling = Settling::new(batch, known.clone());
    settling.count(plan.mode);
    let again = match plan.mode {
        Mode::Merge if plan.source.is_keyed() => settling.by_key()?,
        mode => settling.without_key(mode),
    };
    if let Some(reason) = again {
        return Ok(Settled::CopyAgain(reason));
    }
    if settling.tally.held.len() > MOST_HELD {
        return Ok(Settled::Stop(too_many(plan)));
    }
    settling.finish()
}

/// Whether refused rows of a table are remembered by key.
fn is_by_key(plan: &TablePlan) -> bool {
    plan.mode == Mode::Merge && plan.source.is_keyed()
}

fn too_many(plan: &TablePlan) -> String {
    format!(
        "more than {MOST_HELD} rows of {} have values that cannot be represented: correct them at \
         the source, or set `unrepresentable` to \"text\" or \"null\" for their columns",
        plan.source.name
    )
}

/// What is told when rows leave the quarantine, all of them without a key.
pub(crate) fn resolved(
    (position, ordinal): (Offset, Option<u32>),
    key: Option<String>,
    reason: &str,
) -> Quarantined {
    let (op, column, values) = (RESOLVED, None, None);
    Quarantined { op, column, reason: reason.to_owned(), position, ordinal, key, values }
}

struct Settling {
    batch: ChangeBatch,
    tally: ValueTally,
    told: Vec<Quarantined>,
    /// Rows that became refused here.
    refused: Vec<(u32, Refused)>,
    /// Per row, its transaction.
    runs: Vec<u32>,
}

impl Settling {
    fn new(batch: ChangeBatch, tally: ValueTally) -> Self {
        let runs = batch.commit_indices();
        Self { batch, tally, told: Vec::new(), refused: Vec::new(), runs }
    }

    /// Counts the values that were replaced: in a copy of the source's rows only those that stand.
    fn count(&mut self, mode: Mode) {
        let removes = |row: u32| self.batch.ops.get(row as usize).is_some_and(|op| op.removes());
        let replaced = self.batch.exceptions.replaced.iter();
        for (_, replaced) in replaced.filter(|(row, _)| mode == Mode::Append || !removes(*row)) {
            self.tally.count(*replaced);
        }
    }

    /// Goes through the rows of a table that has no key, or whose every event is kept; tells why
    /// the table must be copied again, if it must.
    fn without_key(&mut self, mode: Mode) -> Option<String> {
        for (row, one) in std::mem::take(&mut self.batch.exceptions.refused) {
            self.tell(row, &one);
            if one.change != Op::Delete {
                self.tally.quarantined += 1;
                self.tally.unresolved += 1;
            } else if mode != Mode::Append {
                let Some(left) = self.tally.unresolved.checked_sub(1) else {
                    return Some(
                        "a row that was removed at the source is not in quarantine: it came in \
                         under another policy"
                            .to_owned(),
                    );
                };
                self.tally.unresolved = left;
            }
            self.refused.push((row, one));
        }
        None
    }

    /// Goes through the rows of a table with a key; tells why the table must be copied again, if
    /// it must.
    fn by_key(&mut self) -> Result<Option<String>> {
        let mut refused = std::mem::take(&mut self.batch.exceptions.refused).into_iter();
        let identities = identities(&self.batch.rows, &self.batch.table.key)?;
        let mut moving: Option<(u32, Option<Held>)> = None;
        for (row, identity) in (0_u32..).zip(identities) {
            let held = |tally: &mut ValueTally| {
                identity.as_ref().and_then(|identity| tally.held.remove(identity))
            };
            match self.batch.ops[row as usize] {
                Op::Refuse => {
                    let (at, one) = refused.next().ok_or_else(untold)?;
                    if at != row {
                        return Err(untold());
                    }
                    self.refuse(row, identity, one);
                }
                Op::Delete => {
                    if let Some(held) = held(&mut self.tally) {
                        self.resolve(row, held, "the row was deleted at the source");
                    }
                }
                Op::MoveOut => moving = Some((row, held(&mut self.tally))),
                Op::Insert | Op::Update => {
                    if let Some(held) = held(&mut self.tally)
                        && let Some(reason) = self.comes_back((row, identity), held, None)
                    {
                        return Ok(Some(reason));
                    }
                }
                Op::MoveIn => {
                    if let Some((out, Some(held))) = moving.take()
                        && let Some(reason) = self.comes_back((row, identity), held, Some(out))
                    {
                        return Ok(Some(reason));
                    }
                }
            }
        }
        Ok(None)
    }

    /// A row whose value the source refused.
    fn refuse(&mut self, row: u32, identity: Option<String>, refused: Refused) {
        self.tell(row, &refused);
        let identity = identity.unwrap_or_else(|| unrepresentable_key(refused.key.as_deref()));
        if refused.change == Op::Delete {
            self.tally.held.remove(&identity);
        } else {
            self.tally.quarantined += 1;
            let held = Held { columns: refused.columns.clone(), key: refused.key.clone() };
            self.tally.held.insert(identity, held);
        }
        self.refused.push((row, refused));
    }

    /// A row that was refused before is changed, in a way that can be represented as far as the
    /// log tells. Tells why the table must be copied again, if it must.
    fn comes_back(
        &mut self,
        (row, identity): (u32, Option<String>),
        held: Held,
        out: Option<u32>,
    ) -> Option<String> {
        let number = |column: usize| self.batch.table.columns.get(column).map(|c| c.number);
        let missing = self.batch.unchanged.columns();
        let missing = missing.filter(|(_, bits)| bits.value(row as usize));
        let missing: Vec<i32> = missing.filter_map(|(column, _)| number(column)).collect();
        if missing.is_empty() {
            self.resolve(row, held, "a later version of the row is in the destination");
            return None;
        }
        let mut still = held.columns.iter().filter(|number| missing.contains(number));
        let columns = &self.batch.table.columns;
        let Some(column) = still.find_map(|number| columns.iter().find(|c| c.number == *number))
        else {
            return Some(
                "a row that was in quarantine was corrected at the source, and the log does not \
                 repeat all of its values"
                    .to_owned(),
            );
        };
        let column = column.name().to_owned();
        let reason = "it could not be represented before, and the log does not repeat it";
        let (change, values) = (Op::Update, None);
        let Held { columns, key } = held;
        let key = match out {
            Some(_) => Some(shown(&self.batch.rows, &self.batch.table.key, row as usize)),
            None => key,
        };
        let reason = reason.to_owned();
        self.refuse(row, identity, Refused { change, columns, column, reason, key, values });
        self.batch.ops[row as usize] = Op::Refuse;
        if let Some(out) = out {
            self.batch.ops[out as usize] = Op::Delete;
        }
        None
    }

    fn resolve(&mut self, row: u32, held: Held, reason: &str) {
        let (position, ordinal) = self.place(row);
        self.told.push(resolved((position, Some(ordinal)), held.key, reason));
    }

    fn tell(&mut self, row: u32, refused: &Refused) {
        let (position, ordinal) = self.place(row);
        self.told.push(Quarantined { position, ordinal: Some(ordinal), ..entry(refused) });
    }

    fn place(&self, row: u32) -> (Offset, u32) {
        let run = self.runs.get(row as usize).and_then(|run| self.batch.commits.get(*run as usize));
        let ordinal = self.batch.ordinals.get(row as usize).copied().unwrap_or_default();
        (run.map_or(Offset(0), |run| run.commit.position), ordinal)
    }

    fn finish(mut self) -> Result<Settled> {
        let ops = &self.batch.ops;
        // Nothing of a refused row means anything but its key.
        let unchanged = self.batch.unchanged.columns().map(|(column, bits)| {
            let kept = bits.iter().zip(ops).map(|(missing, op)| missing && *op != Op::Refuse);
            (column, kept.collect())
        });
        self.batch.unchanged = Unchanged::new(unchanged.collect::<Vec<_>>());
        self.batch.exceptions.refused = self.refused;
        self.batch.validate()?;
        Ok(Settled::Told(self.batch, self.told, self.tally))
    }
}

fn untold() -> Error {
    Error::internal("a refused row is not told of")
}

/// What stands for a key that has no place in the table's own types.
fn unrepresentable_key(key: Option<&str>) -> String {
    format!("unrepresentable {}", key.unwrap_or_default())
}

fn entry(refused: &Refused) -> Quarantined {
    Quarantined {
        op: refused.change.as_str(),
        column: Some(refused.column.clone()),
        reason: refused.reason.clone(),
        position: Offset(0),
        ordinal: None,
        key: refused.key.clone(),
        values: refused.values.clone(),
    }
}

/// Bytes of row texts that one copy keeps; rows beyond are told of without their values.
const TEXT_BYTES: usize = 32 << 20;

/// What the lanes of a copy left out.
#[derive(Debug, Default)]
pub(crate) struct LeftOut {
    nulled: u64,
    as_text: u64,
    rows: Vec<(Option<String>, Refused)>,
    text_bytes: usize,
}

impl LeftOut {
    /// Takes note of what a lane met.
    ///
    /// # Errors
    /// `Data` if these are too many rows.
    pub(crate) fn add(&mut self, plan: &TablePlan, found: CopyExceptions) -> Result<()> {
        let Replaced { nulled, as_text } = found.replaced;
        self.nulled += u64::from(nulled);
        self.as_text += u64::from(as_text);
        if found.refused.is_empty() {
            return Ok(());
        }
        if self.rows.len() + found.refused.len() > MOST_HELD {
            return Err(Error::data(too_many(plan)));
        }
        let key: Vec<usize> = (0..plan.source.key.len()).collect();
        let mut identities = match &found.keys {
            Some(keys) => identities(keys, &key)?,
            None => Vec::new(),
        }
        .into_iter();
        for mut refused in found.refused {
            self.text_bytes += refused.values.as_ref().map_or(0, String::len);
            if self.text_bytes > TEXT_BYTES {
                refused.values = None;
            }
            self.rows.push((identities.next().flatten(), refused));
        }
        Ok(())
    }

    /// What is told of the copy of a table which before it was in the state `tally`, and what is
    /// known of the table from then on.
    pub(crate) fn settle(
        self,
        plan: &TablePlan,
        position: Offset,
        mut tally: ValueTally,
    ) -> (Vec<Quarantined>, ValueTally) {
        let mut told = Vec::new();
        if tally.open() > 0 {
            told.push(resolved((position, None), None, "the table was copied again"));
        }
        tally.release();
        tally.nulled += self.nulled;
        tally.as_text += self.as_text;
        tally.quarantined += self.rows.len() as u64;
        for (identity, refused) in self.rows {
            told.push(Quarantined { op: "snapshot", position, ..entry(&refused) });
            if is_by_key(plan) {
                let key = refused.key.as_deref();
                let identity = identity.unwrap_or_else(|| unrepresentable_key(key));
                let held = Held { columns: refused.columns, key: refused.key };
                tally.held.insert(identity, held);
            } else {
                tally.unresolved += 1;
            }
        }
        (told, tally)
    }
}
