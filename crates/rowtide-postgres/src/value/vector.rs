//! Vectors of the extension `vector`: a list of floats without NULLs.

use std::sync::Arc;

use arrow_array::builder::{BooleanBufferBuilder, Float32Builder};
use arrow_array::{ArrayRef, ListArray};
use arrow_buffer::{NullBuffer, OffsetBuffer, ScalarBuffer};

use super::{Decoded, ValueError, number};
use crate::protocol::Cursor;
use crate::types::{Kind, item_field};

const BAD: ValueError = ValueError::Malformed("it is not a vector");

/// Builds a column of vectors.
#[derive(Debug)]
pub(super) struct VectorColumn {
    values: Float32Builder,
    offsets: Vec<i32>,
    valid: BooleanBufferBuilder,
    scratch: Vec<f32>,
}

impl VectorColumn {
    pub(super) fn new() -> Self {
        let (values, valid) = (Float32Builder::new(), BooleanBufferBuilder::new(0));
        Self { values, offsets: vec![0], valid, scratch: Vec::new() }
    }

    pub(super) fn append_null(&mut self) {
        self.offsets.push(self.offsets.last().copied().unwrap_or(0));
        self.valid.append(false);
    }

    pub(super) fn len(&self) -> usize {
        self.valid.len()
    }

    /// The number of dimensions, a field that is not used, then the values.
    pub(super) fn append_binary(&mut self, bytes: &[u8]) -> Decoded<()> {
        let mut cursor = Cursor::new(bytes);
        let count = usize::try_from(cursor.i16()?).map_err(|_| BAD)?;
        cursor.take(2)?;
        let (values, rest) = cursor.rest().as_chunks::<4>();
        if values.len() != count || !rest.is_empty() {
            return Err(BAD);
        }
        self.scratch.clear();
        self.scratch.extend(values.iter().map(|value| f32::from_be_bytes(*value)));
        self.close()
    }

    /// `[1,2.5,3]`
    pub(super) fn append_text(&mut self, text: &[u8]) -> Decoded<()> {
        let [b'[', inner @ .., b']'] = text else { return Err(BAD) };
        self.scratch.clear();
        if !inner.is_empty() {
            for value in inner.split(|byte| *byte == b',') {
                self.scratch.push(number(value)?);
            }
        }
        self.close()
    }

    fn close(&mut self) -> Decoded<()> {
        let end = i32::try_from(self.values.values_slice().len() + self.scratch.len())
            .map_err(|_| ValueError::Malformed("a batch holds too many values of vectors"))?;
        self.values.append_slice(&self.scratch);
        self.offsets.push(end);
        self.valid.append(true);
        Ok(())
    }

    pub(super) fn finish(&mut self) -> ArrayRef {
        let values = Arc::new(self.values.finish());
        let offsets = std::mem::replace(&mut self.offsets, vec![0]);
        let nulls = NullBuffer::new(self.valid.finish());
        let nulls = (nulls.null_count() > 0).then_some(nulls);
        let offsets = OffsetBuffer::new(ScalarBuffer::from(offsets));
        Arc::new(ListArray::new(Arc::new(item_field(&Kind::Float32)), offsets, values, nulls))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `vector_send` makes of it.
    fn sent(values: &[f32]) -> Vec<u8> {
        let mut bytes = i16::try_from(values.len()).unwrap().to_be_bytes().to_vec();
        bytes.extend([0, 0]);
        bytes.extend(values.iter().flat_map(|value| value.to_be_bytes()));
        bytes
    }

    #[test]
    fn both_forms_are_the_same_list() {
        let (mut binary, mut text) = (VectorColumn::new(), VectorColumn::new());
        for (values, printed) in [
            (&[1.0, 2.5, -3.0][..], "[1,2.5,-3]"),
            (&[-0.0, 1e-10, 3.402_823_5e38], "[-0,1e-10,3.4028235e+38]"),
            (&[0.1], "[0.1]"),
        ] {
            binary.append_binary(&sent(values)).unwrap();
            text.append_text(printed.as_bytes()).unwrap();
            binary.append_null();
            text.append_null();
        }
        let (binary, text) = (binary.finish(), text.finish());
        assert_eq!(&binary, &text);
        assert_eq!(binary.len(), 6);
        assert_eq!(*binary.data_type(), Kind::Vector.data_type());
    }

    #[test]
    fn broken_ones_are_refused_and_leave_nothing() {
        let mut column = VectorColumn::new();
        for bytes in [&[][..], &[0], &[0, 1, 0, 0], &[0, 1, 0, 0, 1, 2, 3], &[255, 255, 0, 0]] {
            assert!(matches!(column.append_binary(bytes), Err(ValueError::Malformed(_))));
        }
        for text in ["", "[", "1,2", "[1,]", "[1,x]", "[1;2]"] {
            assert!(matches!(column.append_text(text.as_bytes()), Err(ValueError::Malformed(_))));
        }
        assert_eq!((column.len(), column.finish().len()), (0, 0));
    }
}
