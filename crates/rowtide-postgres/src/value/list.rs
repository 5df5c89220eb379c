//! Arrays, in both forms. One dimension with lower bound 1 becomes an Arrow list; anything else is
//! left to the policy before a single element has been read.

use std::sync::Arc;

use arrow_array::builder::BooleanBufferBuilder;
use arrow_array::{Array, ArrayRef, ListArray};
use arrow_buffer::{NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow_schema::FieldRef;

use super::{ColumnBuilder, Decoded, ValueError};
use crate::protocol::Cursor;
use crate::protocol::copy::binary_field;

const SHAPE: ValueError = ValueError::Unrepresentable(
    "it is an array of several dimensions, or one that does not start at 1",
);
const BAD: ValueError = ValueError::Malformed("it is not an array");

/// Builds a list column.
#[derive(Debug)]
pub(super) struct ListColumn {
    field: FieldRef,
    items: ColumnBuilder,
    offsets: Vec<i32>,
    valid: BooleanBufferBuilder,
    scratch: Vec<u8>,
}

impl ListColumn {
    pub(super) fn new(field: FieldRef, items: ColumnBuilder) -> Self {
        let valid = BooleanBufferBuilder::new(0);
        Self { field, items, offsets: vec![0], valid, scratch: Vec::new() }
    }

    fn close(&mut self, valid: bool) -> Decoded<()> {
        let end = i32::try_from(self.items.len())
            .map_err(|_| ValueError::Malformed("a batch holds too many array elements"))?;
        self.offsets.push(end);
        self.valid.append(valid);
        Ok(())
    }

    pub(super) fn append_null(&mut self) {
        self.offsets.push(self.offsets.last().copied().unwrap_or(0));
        self.valid.append(false);
    }

    /// Puts the items of a value that was refused behind a NULL.
    pub(super) fn mend(&mut self) {
        self.items.mend();
        let last = self.offsets.last().copied().unwrap_or(0);
        let end = i32::try_from(self.items.len()).unwrap_or(last);
        if end > last {
            self.offsets.push(end);
            self.valid.append(false);
        }
    }

    pub(super) fn take_nulled(&mut self) -> u32 {
        self.items.take_nulled()
    }

    pub(super) fn take_growth(&mut self) -> usize {
        self.items.take_growth()
    }

    pub(super) fn len(&self) -> usize {
        self.valid.len()
    }

    #[inline]
    pub(super) fn append_binary(&mut self, bytes: &[u8]) -> Decoded<()> {
        let mut cursor = Cursor::new(bytes);
        let dimensions = cursor.i32()?;
        cursor.take(8)?;
        if dimensions == 0 {
            return self.close(true);
        }
        let count = cursor.length()?;
        if dimensions != 1 || cursor.i32()? != 1 {
            return Err(SHAPE);
        }
        if count > cursor.rest().len() / 4 {
            return Err(BAD);
        }
        for _ in 0..count {
            match binary_field(&mut cursor)? {
                None => self.items.append_null(),
                Some(item) => self.items.append_binary(item)?,
            }
        }
        if !cursor.is_empty() {
            return Err(BAD);
        }
        self.close(true)
    }

    pub(super) fn append_text(&mut self, text: &[u8]) -> Decoded<()> {
        // Bounds other than 1 are printed in front; a nested brace is a second dimension.
        let inner = match text {
            [b'[', ..] | [b'{', b'{', ..] => return Err(SHAPE),
            [b'{', inner @ .., b'}'] => inner,
            _ => return Err(BAD),
        };
        let mut rest = inner;
        while !rest.is_empty() {
            rest = self.append_item(rest)?;
            match rest {
                [] => break,
                [b',', more @ ..] if !more.is_empty() => rest = more,
                _ => return Err(BAD),
            }
        }
        self.close(true)
    }

    /// Appends the first item of `text`; returns what follows it.
    fn append_item<'a>(&mut self, text: &'a [u8]) -> Decoded<&'a [u8]> {
        let Some(quoted) = text.strip_prefix(b"\"") else {
            let end = memchr::memchr(b',', text).unwrap_or(text.len());
            let (item, rest) = text.split_at(end);
            // The server quotes whatever holds a backslash, and the text `NULL`.
            match item {
                b"NULL" => self.items.append_null(),
                _ => self.items.append_text(item)?,
            }
            return Ok(rest);
        };
        self.scratch.clear();
        let mut rest = quoted;
        loop {
            let at = memchr::memchr2(b'"', b'\\', rest).ok_or(BAD)?;
            let (plain, tail) = rest.split_at(at);
            self.scratch.extend_from_slice(plain);
            match tail {
                [b'\\', escaped, more @ ..] => {
                    self.scratch.push(*escaped);
                    rest = more;
                }
                [b'"', more @ ..] => {
                    self.items.append_text(&self.scratch)?;
                    return Ok(more);
                }
                _ => return Err(BAD),
            }
        }
    }

    pub(super) fn finish(&mut self) -> ArrayRef {
        let items = self.items.finish();
        let offsets = std::mem::replace(&mut self.offsets, vec![0]);
        let nulls = NullBuffer::new(self.valid.finish());
        let nulls = (nulls.null_count() > 0).then_some(nulls);
        // What is left of a value that was refused is cut off.
        let end = offsets.last().and_then(|end| usize::try_from(*end).ok()).unwrap_or(0);
        let items = if end < items.len() { items.slice(0, end) } else { items };
        let offsets = OffsetBuffer::new(ScalarBuffer::from(offsets));
        Arc::new(ListArray::new(Arc::clone(&self.field), offsets, items, nulls))
    }
}
