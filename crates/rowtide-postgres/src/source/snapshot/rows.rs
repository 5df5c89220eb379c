//! Copied rows, on their way from the server's messages into batches.

use std::sync::Arc;

use arrow_array::{BooleanArray, RecordBatch, RecordBatchOptions};
use arrow_select::filter::filter_record_batch;
use rowtide_core::traits::CopyExceptions;
use rowtide_core::{Error, Op, Result, TableSchema, ValuePolicies};

use crate::protocol::Malformed;
use crate::protocol::copy::{BinaryRows, TextRow, binary_field};
use crate::source::columns::{Columns, NULL_KEY, Texts, mask};
use crate::source::policy::needs_text;
use crate::source::table_buffer::value_error;
use crate::value::ValueError;

/// What is said of a row whose `xmin` cannot be read.
const NO_WRITER: Malformed = Malformed("a copied row does not say who wrote it");

/// Copied rows on their way into a batch.
pub(crate) struct RowReader {
    columns: Columns,
    pub(crate) binary: bool,
    header: BinaryRows,
    scratch: Vec<u8>,
    rows: usize,
    /// Rows that are left out.
    refused: Vec<u32>,
    bytes: usize,
    /// The memory that `rows` take, about.
    pub(crate) held: usize,
    /// The transaction that wrote each row, if that is read behind the columns.
    writers: Option<Vec<u64>>,
    /// What became of values of the rows that are being read, and of those taken last.
    found: CopyExceptions,
    taken: CopyExceptions,
}

impl RowReader {
    pub(crate) fn new(table: &Arc<TableSchema>, policies: &ValuePolicies) -> Self {
        Self {
            columns: Columns::new(Arc::clone(table), policies),
            binary: Columns::read_binary(table) && !needs_text(table, policies),
            header: BinaryRows::default(),
            scratch: Vec::new(),
            rows: 0,
            refused: Vec::new(),
            bytes: 0,
            held: 0,
            writers: None,
            found: CopyExceptions::default(),
            taken: CopyExceptions::default(),
        }
    }

    /// The same for rows with one more column behind all others: `xmin`.
    pub(crate) fn with_writers(self) -> Self {
        Self { writers: Some(Vec::new()), ..self }
    }

    /// A new copy begins, with a header of its own.
    pub(crate) fn begin(&mut self) {
        self.header = BinaryRows::default();
    }

    #[inline]
    pub(crate) fn row(&mut self, message: &[u8]) -> Result<()> {
        let read = if self.binary { self.binary_row(message)? } else { self.text_row(message)? };
        if read {
            let judged = self.columns.end_row();
            if !judged.refused.is_empty() {
                self.leave_out(message, &judged.refused);
            }
            self.found.replaced.add(judged.replaced);
            self.rows += 1;
            self.bytes += message.len();
            self.held += self.columns.row_bytes.max(message.len()) + self.columns.take_growth();
        }
        Ok(())
    }

    #[cold]
    fn leave_out(&mut self, message: &[u8], why: &[(usize, &'static str)]) {
        let texts = if self.binary { None } else { texts(message, self.columns.places.len()) };
        let refused = self.columns.refused(Op::Insert, why, texts.as_ref());
        self.held += refused.byte_size();
        self.found.refused.push(refused);
        self.refused.push(u32::try_from(self.rows).unwrap_or(u32::MAX));
    }

    #[inline]
    fn binary_row(&mut self, message: &[u8]) -> Result<bool> {
        let Columns { builders, is_key, judge, places, table, .. } = &mut self.columns;
        let fields = builders.len() + usize::from(self.writers.is_some());
        let Some(mut cursor) = self.header.row(message, fields)? else {
            return Ok(false);
        };
        for (index, builder) in builders.iter_mut().enumerate() {
            let appended = match binary_field(&mut cursor)? {
                None if is_key.get(index).copied().unwrap_or(false) => Err(NULL_KEY),
                None => {
                    builder.append_null();
                    Ok(())
                }
                Some(value) => builder.append_binary(value),
            };
            if let Err(error) = appended {
                judge.value((index, builder), error, None).map_err(|error| {
                    let place = places.get(index).copied().unwrap_or(usize::MAX);
                    value_error(table, place, None, error)
                })?;
            }
        }
        if let Some(writers) = &mut self.writers {
            let xid = binary_field(&mut cursor)?.and_then(|xid| <[u8; 4]>::try_from(xid).ok());
            writers.push(u32::from_be_bytes(xid.ok_or(NO_WRITER)?).into());
        }
        Ok(true)
    }

    fn text_row(&mut self, message: &[u8]) -> Result<bool> {
        let Columns { builders, is_key, judge, places, table, .. } = &mut self.columns;
        let fields = builders.len() + usize::from(self.writers.is_some());
        let mut row = TextRow::new(message, fields)?;
        for (index, builder) in builders.iter_mut().enumerate() {
            let field = row.field(&mut self.scratch)?;
            let appended = match field {
                Some(Some(text)) => builder.append_text(text),
                Some(None) if is_key.get(index).copied().unwrap_or(false) => Err(NULL_KEY),
                Some(None) => {
                    builder.append_null();
                    Ok(())
                }
                None => Err(ValueError::Malformed("the copied line ends before it")),
            };
            if let Err(error) = appended {
                judge.value((index, builder), error, field.flatten()).map_err(|error| {
                    let place = places.get(index).copied().unwrap_or(usize::MAX);
                    value_error(table, place, None, error)
                })?;
            }
        }
        if let Some(writers) = &mut self.writers {
            let xid = row.field(&mut self.scratch)?.flatten();
            let xid = xid.and_then(|xid| std::str::from_utf8(xid).ok()?.parse::<u64>().ok());
            writers.push(xid.ok_or(NO_WRITER)?);
        }
        if !row.is_done() {
            let name = &table.name;
            return Err(Error::internal(format!("a copied line of {name} is too long")));
        }
        Ok(true)
    }

    /// Who wrote each of the rows that [`Self::take`] is going to give.
    pub(crate) fn take_writers(&mut self) -> Option<Vec<u64>> {
        let writers = std::mem::take(self.writers.as_mut()?);
        let mut refused = self.refused.iter().peekable();
        let is_kept = |row: &usize| refused.next_if(|next| **next as usize == *row).is_none();
        Some((0..writers.len()).filter(is_kept).map(|row| writers[row]).collect())
    }

    /// What became of values of the rows that were taken last.
    pub(crate) fn take_exceptions(&mut self) -> CopyExceptions {
        std::mem::take(&mut self.taken)
    }

    pub(crate) fn take(&mut self) -> Result<Option<(RecordBatch, u64)>> {
        if self.rows == 0 {
            return Ok(None);
        }
        let columns = self.columns.take(self.rows, &self.refused)?;
        self.columns.reserve_like(&columns);
        let options = RecordBatchOptions::new().with_row_count(Some(self.rows));
        let schema = self.columns.table.arrow();
        let mut batch = RecordBatch::try_new_with_options(schema, columns, &options)?;
        self.taken = std::mem::take(&mut self.found);
        if !self.refused.is_empty() {
            let out = mask(self.rows, &self.refused);
            let key = &self.columns.table.key;
            if !key.is_empty() {
                self.taken.keys = Some(filter_record_batch(&batch.project(key)?, &out)?);
            }
            let kept: BooleanArray = out.iter().map(|out| out.map(|out| !out)).collect();
            batch = filter_record_batch(&batch, &kept)?;
            self.refused.clear();
        }
        let bytes = std::mem::take(&mut self.bytes);
        self.rows = 0;
        self.held = 0;
        Ok(Some((batch, u64::try_from(bytes).unwrap_or(u64::MAX))))
    }
}

/// The texts of a copied line.
fn texts(message: &[u8], columns: usize) -> Option<Texts> {
    let mut row = TextRow::new(message, columns).ok()?;
    let mut scratch = Vec::new();
    let mut cells = Vec::with_capacity(columns);
    for _ in 0..columns {
        let cell = row.field(&mut scratch).ok()??;
        let text = cell.map(|text| serde_json::Value::from(String::from_utf8_lossy(text)));
        cells.push(Some(text.unwrap_or_default()));
    }
    Some(Texts(cells))
}
