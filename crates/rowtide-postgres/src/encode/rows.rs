//! Record batches as rows of a copy.

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use bytes::{BufMut, BytesMut};
use rowtide_core::{Error, Result};

use super::target::TargetColumn;
use super::values::{Form, Values};
use super::{Refusal, binary, text};

/// Writes record batches in the COPY format that all columns allow.
///
/// What it writes is for a table whose columns have exactly the types of the columns it was made
/// for ([`TargetColumn::sql_type`] or [`TargetColumn::staging_type`]): the binary form is not
/// converted by the server. An error leaves a part of a row behind in the buffer.
#[derive(Debug)]
pub(crate) struct RowEncoder {
    columns: Vec<TargetColumn>,
    forms: Vec<Form>,
    schema: SchemaRef,
    binary: bool,
    scratch: BytesMut,
}

impl RowEncoder {
    /// An encoder for batches of `schema` into `columns`, in the same order; both may be a part
    /// of the table.
    ///
    /// # Errors
    /// `Internal` if the two do not belong together; `Config` for Arrow types without a form.
    pub(crate) fn new(columns: &[TargetColumn], schema: &SchemaRef) -> Result<Self> {
        let fields = schema.fields();
        let same = |(column, field): (&TargetColumn, &arrow_schema::FieldRef)| {
            column.name == *field.name()
        };
        if columns.len() != fields.len() || !columns.iter().zip(fields).all(same) {
            return Err(Error::internal("the columns to encode are not those of the schema"));
        }
        for (column, field) in columns.iter().zip(fields) {
            column.check_type(field)?;
        }
        let pairs = columns.iter().zip(fields);
        let forms: Option<Vec<Form>> =
            pairs.map(|(column, field)| column.binary_form(field.data_type())).collect();
        Ok(Self::with(columns, schema, forms))
    }

    /// An encoder of the text form, whatever the columns allow.
    #[cfg(test)]
    pub(super) fn as_text(columns: &[TargetColumn], schema: &SchemaRef) -> Self {
        Self::with(columns, schema, None)
    }

    fn with(columns: &[TargetColumn], schema: &SchemaRef, forms: Option<Vec<Form>>) -> Self {
        let binary = forms.is_some();
        Self {
            columns: columns.to_vec(),
            forms: forms.unwrap_or_else(|| vec![Form::TEXT; columns.len()]),
            schema: SchemaRef::clone(schema),
            binary,
            scratch: BytesMut::new(),
        }
    }

    /// Whether this is for `COPY … (FORMAT binary)`; else for text.
    pub(crate) fn is_binary(&self) -> bool {
        self.binary
    }

    /// Appends what comes before the first row.
    pub(crate) fn begin(&self, out: &mut BytesMut) {
        if self.binary {
            out.extend_from_slice(binary::HEADER);
        }
    }

    /// Appends what comes after the last row.
    pub(crate) fn end(&self, out: &mut BytesMut) {
        if self.binary {
            out.put_i16(binary::TRAILER);
        }
    }

    /// Appends every row of `rows`. Slices of a batch cost nothing, and bound the buffer.
    ///
    /// # Errors
    /// `Data` naming table and column if a value cannot be written; `Internal` for a batch of
    /// another schema.
    pub(crate) fn encode(&mut self, rows: &RecordBatch, out: &mut BytesMut) -> Result<()> {
        let same = rows.num_columns() == self.forms.len()
            && (rows.columns().iter().zip(self.schema.fields()))
                .all(|(array, field)| array.data_type() == field.data_type());
        let arrays = rows.columns().iter().zip(&self.forms);
        let columns: Option<Vec<Values<'_>>> =
            arrays.map(|(array, form)| Values::of(array.as_ref(), *form)).collect();
        let Some(columns) = columns.filter(|_| same) else {
            return Err(Error::internal("a batch to encode is not of the encoder's schema"));
        };
        if self.binary {
            self.binary_rows(&columns, rows.num_rows(), out)
        } else {
            self.text_rows(&columns, rows.num_rows(), out)
        }
    }

    fn binary_rows(&self, columns: &[Values<'_>], rows: usize, out: &mut BytesMut) -> Result<()> {
        let count = i16::try_from(columns.len())
            .map_err(|_| Error::internal("a table has more columns than a copy can have"))?;
        for row in 0..rows {
            out.put_i16(count);
            for (index, values) in columns.iter().enumerate() {
                binary::put_field(values, row, out).map_err(|why| self.refused(index, why))?;
            }
        }
        Ok(())
    }

    fn text_rows(&mut self, columns: &[Values<'_>], rows: usize, out: &mut BytesMut) -> Result<()> {
        let mut scratch = std::mem::take(&mut self.scratch);
        for row in 0..rows {
            for (index, values) in columns.iter().enumerate() {
                if index > 0 {
                    out.put_u8(b'\t');
                }
                text::put_field(values, row, &mut scratch, out)
                    .map_err(|why| self.refused(index, why))?;
            }
            out.put_u8(b'\n');
        }
        self.scratch = scratch;
        Ok(())
    }

    fn refused(&self, index: usize, Refusal(why): Refusal) -> Error {
        match self.columns.get(index) {
            Some(column) => column.refused(why),
            None => Error::internal("a column to encode is missing"),
        }
    }
}
