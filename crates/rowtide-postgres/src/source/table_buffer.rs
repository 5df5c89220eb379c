//! The changes of one table on their way into a batch: one builder per column, reused.

use std::sync::Arc;

use arrow_array::{RecordBatch, RecordBatchOptions};
use arrow_buffer::{BooleanBuffer, MutableBuffer, bit_util};
use rowtide_core::{ChangeBatch, Commit, CommitRun, Error, Op, Result, TableSchema, Unchanged};

use crate::options::Unrepresentable;
use crate::protocol::pgoutput::{Cell, Relation, TupleCells};
use crate::types::Kind;
use crate::value::{ColumnBuilder, ValueError};

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
    builders: Vec<ColumnBuilder>,
    /// Per column of the schema, its place in the log's rows.
    source: Vec<usize>,
    is_key: Vec<bool>,
    ops: Vec<Op>,
    ordinals: Vec<u32>,
    commits: Vec<CommitRun>,
    unchanged: Vec<Vec<usize>>,
    /// Columns whose values can take more memory than they came in.
    growing: Vec<usize>,
    /// What a row takes at least.
    row_bytes: usize,
    bytes: usize,
}

impl TableBuffer {
    /// Prepares for rows of `schema` as `relation` lays them out.
    pub(super) fn new(
        schema: Arc<TableSchema>,
        relation: &Relation,
        policy: Unrepresentable,
    ) -> Result<Self> {
        let place = |name: &str| {
            relation.columns.iter().position(|column| column.name == name).ok_or_else(|| {
                Error::internal(format!("the log's rows of {} lack {name}", schema.name))
            })
        };
        let source =
            schema.columns.iter().map(|column| place(column.name())).collect::<Result<_>>()?;
        let kinds: Vec<Kind> = schema.columns.iter().map(Kind::of).collect();
        let builders = builders(&schema, &kinds, policy);
        let row_bytes = kinds.iter().map(Kind::width).sum::<usize>() + ROW_OVERHEAD;
        let growing = (0..kinds.len()).filter(|&index| kinds[index].grows()).collect();
        let is_key = (0..schema.columns.len()).map(|index| schema.key.contains(&index)).collect();
        let unchanged = vec![Vec::new(); schema.columns.len()];
        Ok(Self {
            schema,
            builders,
            source,
            is_key,
            ops: Vec::new(),
            ordinals: Vec::new(),
            commits: Vec::new(),
            unchanged,
            growing,
            row_bytes,
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
        for (index, builder) in self.builders.iter_mut().enumerate() {
            let key = self.is_key.get(index).copied().unwrap_or(false);
            if image == Image::Key && !key {
                builder.append_null();
                continue;
            }
            let place = self.source.get(index).copied().unwrap_or(usize::MAX);
            let mut cell = tuple.cell(place)?;
            if cell == Cell::Unchanged
                && let Some((old, image)) = old
                && (image == Image::Whole || key)
            {
                cell = old.cell(place)?;
            }
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
                let error = value_error(&self.schema, index, Some(commit), error);
                self.refuse(row);
                return Ok(Appended::Refused(error));
            }
        }
        self.ops.push(op);
        self.ordinals.push(ordinal);
        match self.commits.last_mut() {
            Some(run) if run.commit.position == commit.position => run.rows += 1,
            _ => self.commits.push(CommitRun { commit, rows: 1 }),
        }
        let mut bytes = self.row_bytes.max(tuple.bytes.len() + ROW_OVERHEAD);
        for &index in &self.growing {
            bytes += self.builders.get_mut(index).map_or(0, ColumnBuilder::take_growth);
        }
        self.bytes += bytes;
        Ok(Appended::Taken(bytes))
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
        }
    }

    /// Whether an update moved the row to another key. A key value that is not repeated, or not
    /// in the old image, is the same.
    #[inline]
    pub(super) fn key_differs(&self, old: Tuple<'_>, new: Tuple<'_>) -> Result<bool> {
        for &index in &self.schema.key {
            let place = self.source.get(index).copied().unwrap_or(usize::MAX);
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
        // After a refused row some columns are longer than others.
        let columns: Vec<_> =
            self.builders.iter_mut().map(|builder| builder.finish().slice(0, rows)).collect();
        if rows == 0 {
            return Ok(None);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let batch = RecordBatch::try_new_with_options(self.schema.arrow(), columns, &options)?;
        let masks = self.unchanged.iter_mut().enumerate().filter(|(_, set)| !set.is_empty());
        let unchanged = Unchanged::new(masks.map(|(column, set)| (column, bits(rows, set))));
        self.unchanged.iter_mut().for_each(Vec::clear);
        self.bytes = 0;
        Ok(Some(ChangeBatch {
            table: Arc::clone(&self.schema),
            ops: std::mem::take(&mut self.ops),
            rows: batch,
            unchanged,
            commits: std::mem::take(&mut self.commits),
            ordinals: std::mem::take(&mut self.ordinals),
        }))
    }
}

/// NULL in a key, which would make one row of many.
pub(super) const NULL_KEY: ValueError =
    ValueError::Unrepresentable("it is NULL, and the column belongs to the key");

/// One builder per column. A key's value is never replaced by NULL.
pub(super) fn builders(
    table: &TableSchema,
    kinds: &[Kind],
    policy: Unrepresentable,
) -> Vec<ColumnBuilder> {
    let policy = |column| match table.key.contains(&column) {
        true => Unrepresentable::Fail,
        false => policy,
    };
    kinds
        .iter()
        .enumerate()
        .map(|(column, kind)| ColumnBuilder::new(kind, policy(column)))
        .collect()
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
        ValueError::Malformed(why) => Error::data(whole(why))
            .with_hint("the source sent bytes that are not of the column's type: please report it"),
        ValueError::Unrepresentable(why) if table.key.contains(&column) => Error::data(whole(why))
            .with_hint(
                "correct the value at the source: the column belongs to the key, which cannot be \
                 NULL, whatever `unrepresentable` says",
            ),
        ValueError::Unrepresentable(why) => Error::data(whole(why)).with_hint(
            "correct the value at the source, or set unrepresentable = \"null\" to take NULL for \
             such values",
        ),
    }
}
