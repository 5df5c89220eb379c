//! The changes of one table on their way into a batch: one builder per column, reused.

use std::sync::Arc;

use arrow_array::{RecordBatch, RecordBatchOptions};
use arrow_buffer::{BooleanBuffer, MutableBuffer, bit_util};
use rowtide_core::{
    ChangeBatch, Column, Commit, CommitRun, Error, Exceptions, Op, Result, TableSchema, Unchanged,
    ValuePolicies,
};

use super::columns::{Columns, Judged, NULL_KEY, Texts};
use crate::protocol::pgoutput::{Cell, Relation, TupleCells};
use crate::value::{NOT_UTF8, ValueError};

/// What a row costs beside its values.
const ROW_OVERHEAD: usize = 16;
/// A batch of a table is closed before its text could overflow Arrow's 32-bit offsets. A single
/// value is below 1 GiB.
const TABLE_BYTES: usize = 768 << 20;

/// What became of a row.
#[derive(Debug)]
pub(super) enum Appended {
    /// It was taken; this is about the memory it takes.
    Taken(usize),
    /// One of its values was refused, and with it the row: nothing of it was taken.
    Refused(Error),
}

/// One tuple of a message.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tuple<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) cells: &'a TupleCells,
}

impl<'a> Tuple<'a> {
    #[inline]
    fn cell(&self, index: usize) -> Result<Cell<'a>> {
        Ok(self.cells.get(self.bytes, index)?)
    }
}

/// Which values of a tuple mean something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Image {
    /// All of them.
    Whole,
    /// The key's; the others are sent as nulls that mean nothing.
    Key,
}

/// The layout of a table's rows, and the rows since the last batch.
#[derive(Debug)]
pub(super) struct TableBuffer {
    pub(super) schema: Arc<TableSchema>,
    columns: Columns,
    /// Per builder, the place of its column in the log's rows.
    source: Vec<usize>,
    ops: Vec<Op>,
    ordinals: Vec<u32>,
    commits: Vec<CommitRun>,
    /// Per builder, the rows whose value the log did not repeat.
    unchanged: Vec<Vec<usize>>,
    exceptions: Exceptions,
    bytes: usize,
}

impl TableBuffer {
    /// Prepares for rows of `schema` as `relation` lays them out.
    pub(super) fn new(
        schema: Arc<TableSchema>,
        relation: &Relation,
        policies: &ValuePolicies,
    ) -> Result<Self> {
        let columns = Columns::new(Arc::clone(&schema), policies);
        let place = |at: &usize| {
            let name = schema.columns.get(*at).map_or("", Column::name);
            relation.columns.iter().position(|column| column.name == name).ok_or_else(|| {
                Error::internal(format!("the log's rows of {} lack {name}", schema.name))
            })
        };
        let source = columns.places.iter().map(place).collect::<Result<_>>()?;
        let unchanged = vec![Vec::new(); columns.places.len()];
        Ok(Self {
            schema,
            columns,
            source,
            ops: Vec::new(),
            ordinals: Vec::new(),
            commits: Vec::new(),
            unchanged,
            exceptions: Exceptions::default(),
            bytes: 0,
        })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }

    /// Whether a batch must be closed before `next` more bytes.
    pub(super) fn is_full(&self, next: usize) -> bool {
        !self.is_empty() && self.bytes + next > TABLE_BYTES
    }

    /// Appends a row. Values that `tuple` does not repeat are taken from `old`, where that is a
    /// whole row or the value belongs to the key; else they are marked as unchanged.
    #[inline]
    pub(super) fn append(
        &mut self,
        (op, commit, ordinal): (Op, Commit, u32),
        (tuple, image): (Tuple<'_>, Image),
        old: Option<(Tuple<'_>, Image)>,
    ) -> Result<Appended> {
        let row = self.ops.len();
        let Columns { builders, is_key, judge, .. } = &mut self.columns;
        for (index, builder) in builders.iter_mut().enumerate() {
            let key = is_key.get(index).copied().unwrap_or(false);
            if image == Image::Key && !key {
                builder.append_null();
                continue;
            }
            let place = self.source.get(index).copied().unwrap_or(usize::MAX);
            let cell = cell(tuple, old, (place, key))?;
            let appended = match cell {
                Cell::Binary(bytes) => builder.append_binary(bytes),
                Cell::Text(text) => builder.append_text(text),
                Cell::Null if key => Err(NULL_KEY),
                Cell::Null => {
                    builder.append_null();
                    Ok(())
                }
                Cell::Unchanged if key => Err(ValueError::Malformed("the log lacks a key's value")),
                Cell::Unchanged => {
                    builder.append_null();
                    if let Some(rows) = self.unchanged.get_mut(index) {
                        rows.push(row);
                    }
                    Ok(())
                }
            };
            if let Err(error) = appended {
                let text = if let Cell::Text(text) = cell { Some(text) } else { None };
                if let Err(error) = judge.value((index, builder), error, text) {
                    let place = self.columns.places.get(index).copied().unwrap_or(usize::MAX);
                    let error = value_error(&self.schema, place, Some(commit), error);
                    self.refuse(row);
                    return Ok(Appended::Refused(error));
                }
            }
        }
        let judged = self.columns.end_row();
        let mut bytes = self.columns.row_bytes.max(tuple.bytes.len()) + ROW_OVERHEAD;
        let op = match judged.refused.is_empty() && self.ops.last() != Some(&Op::Refuse) {
            true => op,
            false => self.keep_out((op, ordinal), (tuple, image, old), &judged),
        };
        if !judged.replaced.is_nothing() {
            self.exceptions.replaced.push((row_number(row), judged.replaced));
        }
        self.ops.push(op);
        self.ordinals.push(ordinal);
        match self.commits.last_mut() {
            Some(run) if run.commit.position == commit.position => run.rows += 1,
            _ => self.commits.push(CommitRun { commit, rows: 1 }),
        }
        bytes += self.columns.take_growth();
        self.bytes += bytes;
        Ok(Appended::Taken(bytes))
    }

    /// What becomes of the change `op` if its row is kept out, or if the row it moves from was.
    #[cold]
    fn keep_out(
        &mut self,
        (op, ordinal): (Op, u32),
        (tuple, image, old): (Tuple<'_>, Image, Option<(Tuple<'_>, Image)>),
        judged: &Judged,
    ) -> Op {
        let row = self.ops.len();
        let lonely = op == Op::MoveIn && self.ops.last() == Some(&Op::Refuse);
        let mut why = judged.refused.clone();
        if lonely && why.is_empty() {
            let missing = self.unchanged.iter().enumerate();
            let missing = missing.filter(|(_, rows)| rows.last() == Some(&row));
            why.extend(missing.map(|(index, _)| (index, NO_BASE)));
        }
        if why.is_empty() {
            debug_assert!(!lonely || self.ordinals.last().is_some_and(|last| last + 1 == ordinal));
            return if lonely { Op::Insert } else { op };
        }
        for rows in &mut self.unchanged {
            rows.retain(|&unchanged| unchanged < row);
        }
        let change = match op {
            Op::Insert => Op::Insert,
            Op::Delete | Op::MoveOut => Op::Delete,
            Op::Update | Op::MoveIn | Op::Refuse => Op::Update,
        };
        let texts = self.texts(tuple, image, old);
        let refused = self.columns.refused(change, &why, texts.as_ref());
        self.bytes += refused.byte_size();
        self.exceptions.refused.push((row_number(row), refused));
        if op == Op::MoveIn
            && let Some(out) = self.ops.last_mut().filter(|out| **out == Op::MoveOut)
        {
            *out = Op::Delete;
        }
        Op::Refuse
    }

    /// The texts of a row; `None` if it came in binary.
    fn texts(
        &self,
        tuple: Tuple<'_>,
        image: Image,
        old: Option<(Tuple<'_>, Image)>,
    ) -> Option<Texts> {
        let text = |(index, place): (usize, &usize)| {
            let key = self.columns.is_key.get(index).copied().unwrap_or(false);
            if image == Image::Key && !key {
                return Some(None);
            }
            match cell(tuple, old, (*place, key)).ok()? {
                Cell::Null => Some(Some(serde_json::Value::Null)),
                Cell::Unchanged => Some(None),
                Cell::Text(text) => Some(Some(String::from_utf8_lossy(text).into())),
                Cell::Binary(_) => None,
            }
        };
        self.source.iter().enumerate().map(text).collect::<Option<_>>().map(Texts)
    }

    /// Forgets the half of `row` that was taken already; [`Self::take`] cuts the columns.
    fn refuse(&mut self, row: usize) {
        for rows in &mut self.unchanged {
            rows.retain(|&unchanged| unchanged < row);
        }
        // A move whose second half is refused has come to nothing.
        if self.ops.last() == Some(&Op::MoveOut) {
            self.ops.pop();
            self.ordinals.pop();
            if let Some(run) = self.commits.last_mut() {
                run.rows -= 1;
            }
            self.commits.retain(|run| run.rows > 0);
            let rows = self.ops.len();
            self.exceptions.replaced.retain(|(row, _)| (*row as usize) < rows);
        }
    }

    /// Whether an update moved the row to another key. A key value that is not repeated, or not
    /// in the old image, is the same.
    #[inline]
    pub(super) fn key_differs(&self, old: Tuple<'_>, new: Tuple<'_>) -> Result<bool> {
        let places = self.source.iter().zip(&self.columns.is_key);
        for (&place, _) in places.filter(|(_, key)| **key) {
            let (before, after) = (old.cell(place)?, new.cell(place)?);
            if after != Cell::Unchanged && before != after {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Everything since the last call as a batch; `None` if there is nothing.
    pub(super) fn take(&mut self) -> Result<Option<ChangeBatch>> {
        let rows = self.ops.len();
        let exceptions = std::mem::take(&mut self.exceptions);
        let refused: Vec<u32> = exceptions.refused.iter().map(|(row, _)| *row).collect();
        let columns = self.columns.take(rows, &refused)?;
        if rows == 0 {
            return Ok(None);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let batch = RecordBatch::try_new_with_options(self.schema.arrow(), columns, &options)?;
        let masks = self.unchanged.iter().zip(&self.columns.places);
        let mut masks: Vec<(usize, BooleanBuffer)> = masks
            .filter(|(set, _)| !set.is_empty())
            .map(|(set, &place)| (place, bits(rows, set)))
            .collect();
        // What stands as text was not repeated either.
        for (text, of) in self.columns.texts() {
            let mask = masks.iter().find(|(place, _)| *place == of).map(|(_, bits)| bits.clone());
            masks.extend(mask.map(|bits| (text, bits)));
        }
        self.unchanged.iter_mut().for_each(Vec::clear);
        self.bytes = 0;
        Ok(Some(ChangeBatch {
            table: Arc::clone(&self.schema),
            ops: std::mem::take(&mut self.ops),
            rows: batch,
            unchanged: Unchanged::new(masks),
            commits: std::mem::take(&mut self.commits),
            ordinals: std::mem::take(&mut self.ordinals),
            exceptions,
        }))
    }
}

const NO_BASE: &str =
    "the row before it could not be represented, and the log does not repeat the value";

/// A cell of a row; one that is not repeated from the row before, where that has it.
#[inline]
fn cell<'a>(
    tuple: Tuple<'a>,
    old: Option<(Tuple<'a>, Image)>,
    (place, key): (usize, bool),
) -> Result<Cell<'a>> {
    let cell = tuple.cell(place)?;
    if cell == Cell::Unchanged
        && let Some((old, image)) = old
        && (image == Image::Whole || key)
    {
        return old.cell(place);
    }
    Ok(cell)
}

fn row_number(row: usize) -> u32 {
    u32::try_from(row).unwrap_or(u32::MAX)
}

fn bits(len: usize, set: &[usize]) -> BooleanBuffer {
    let mut bits = MutableBuffer::from_len_zeroed(bit_util::ceil(len, 8));
    for &row in set {
        bit_util::set_bit(bits.as_slice_mut(), row);
    }
    BooleanBuffer::new(bits.into(), 0, len)
}

/// Says which value was refused, and never the value.
pub(super) fn value_error(
    table: &TableSchema,
    column: usize,
    commit: Option<Commit>,
    error: ValueError,
) -> Error {
    let (name, native) = table
        .columns
        .get(column)
        .map_or(("?", ""), |column| (column.name(), column.native_type.as_str()));
    let place = commit.map_or("in its copy".to_owned(), |commit| {
        format!("in the transaction that committed at {}", commit.position)
    });
    let whole = |why| {
        format!(
            "a value of the column {name} ({native}) of {} {place} cannot be taken: {why}",
            table.name
        )
    };
    match error {
        ValueError::Malformed(why @ NOT_UTF8) => Error::data(whole(why)).with_hint(
            "correct the value at the source: the database does not check encodings (SQL_ASCII)",
        ),
        ValueError::Malformed(why) => Error::data(whole(why))
            .with_hint("the source sent bytes that are not of the column's type: please report it"),
        ValueError::Changed(why) => Error::schema_drift(whole(why))
            .with_hint("nothing to do: the table is copied again with its type as it is now"),
        ValueError::Unrepresentable(why) if table.key.contains(&column) => Error::data(whole(why))
            .with_hint(
                "correct the value at the source: the column belongs to the key, which cannot be \
                 NULL, or set unrepresentable = \"quarantine\" to keep such rows out",
            ),
        ValueError::Unrepresentable(why) => Error::data(whole(why)).with_hint(
            "correct the value at the source, or choose what becomes of such values: \
             unrepresentable = \"null\", \"text\" or \"quarantine\"",
        ),
    }
}

#[cfg(test)]
mod tests;
