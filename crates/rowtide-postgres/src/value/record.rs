//! Values of composite types, in both forms: a struct with a field per attribute.
//!
//! The log does not tell that a type was altered, and goes on with values of another shape. The
//! binary form repeats how many attributes there are and each one's type; the text form only shows
//! their number. A value that is not of the described shape is refused, and never fitted.

use std::sync::Arc;

use arrow_array::builder::BooleanBufferBuilder;
use arrow_array::{Array, ArrayRef, StructArray};
use arrow_buffer::NullBuffer;
use arrow_schema::Fields;

use super::{ColumnBuilder, Decoded, ValueError};
use crate::options::Unrepresentable;
use crate::protocol::Cursor;
use crate::protocol::copy::binary_field;
use crate::types::Attribute;

const ALTERED: ValueError =
    ValueError::Changed("it has other attributes than its type had when it was described");
const BAD: ValueError = ValueError::Malformed("it is not a composite value");

/// Builds a struct column.
#[derive(Debug)]
pub(super) struct RecordColumn {
    fields: Fields,
    oids: Vec<u32>,
    attributes: Vec<ColumnBuilder>,
    valid: BooleanBufferBuilder,
    scratch: Vec<u8>,
    /// What a value takes at least, NULLs or not.
    width: usize,
    grown: usize,
}

impl RecordColumn {
    pub(super) fn new(attributes: &[Attribute], policy: Unrepresentable) -> Self {
        Self {
            fields: attributes.iter().map(Attribute::field).collect(),
            oids: attributes.iter().map(|one| one.oid).collect(),
            attributes: attributes
                .iter()
                .map(|one| ColumnBuilder::new(&one.kind, policy))
                .collect(),
            valid: BooleanBufferBuilder::new(0),
            scratch: Vec::new(),
            width: attributes.iter().map(|one| one.kind.width()).sum(),
            grown: 0,
        }
    }

    fn close(&mut self) {
        self.valid.append(true);
        self.grown += self.width;
    }

    pub(super) fn append_null(&mut self) {
        self.attributes.iter_mut().for_each(ColumnBuilder::append_null);
        self.valid.append(false);
    }

    /// Puts the attributes of a value that was refused behind a NULL.
    pub(super) fn mend(&mut self) {
        self.attributes.iter_mut().for_each(ColumnBuilder::mend);
        let longest = self.attributes.iter().map(ColumnBuilder::len).max().unwrap_or(0);
        if longest > self.valid.len() {
            for attribute in self.attributes.iter_mut().filter(|one| one.len() < longest) {
                attribute.append_null();
            }
            self.valid.append(false);
        }
    }

    pub(super) fn take_nulled(&mut self) -> u32 {
        let below = self.attributes.iter_mut().map(ColumnBuilder::take_nulled);
        below.fold(0, u32::saturating_add)
    }

    pub(super) fn take_growth(&mut self) -> usize {
        let below: usize = self.attributes.iter_mut().map(ColumnBuilder::take_growth).sum();
        std::mem::take(&mut self.grown) + below
    }

    pub(super) fn len(&self) -> usize {
        self.valid.len()
    }

    /// The number of attributes, then each one's type, length and bytes.
    pub(super) fn append_binary(&mut self, bytes: &[u8]) -> Decoded<()> {
        let mut cursor = Cursor::new(bytes);
        if cursor.length()? != self.attributes.len() {
            return Err(ALTERED);
        }
        for (builder, oid) in self.attributes.iter_mut().zip(&self.oids) {
            if cursor.u32()? != *oid {
                return Err(ALTERED);
            }
            match binary_field(&mut cursor)? {
                None => builder.append_null(),
                Some(value) => builder.append_binary(value)?,
            }
        }
        if !cursor.is_empty() {
            return Err(BAD);
        }
        self.close();
        Ok(())
    }

    /// `(1,"a ""b""",)`: nothing at all is NULL, and the empty string is quoted.
    pub(super) fn append_text(&mut self, text: &[u8]) -> Decoded<()> {
        let [b'(', inner @ .., b')'] = text else { return Err(BAD) };
        let mut rest = Some(inner);
        for builder in &mut self.attributes {
            let (value, after) = attribute(rest.ok_or(ALTERED)?, &mut self.scratch)?;
            rest = after;
            let appended = match value {
                Value::Null => {
                    builder.append_null();
                    Ok(())
                }
                Value::Plain(text) => builder.append_text(text),
                Value::Quoted => builder.append_text(&self.scratch),
            };
            appended.map_err(|error| match error {
                // An attribute of another type stands in its place.
                ValueError::Malformed(_) => ALTERED,
                other => other,
            })?;
        }
        if rest.is_some() {
            return Err(ALTERED);
        }
        self.close();
        Ok(())
    }

    pub(super) fn finish(&mut self) -> ArrayRef {
        let valid = NullBuffer::new(self.valid.finish());
        // What is left of a value that was refused is cut off.
        let columns: Vec<ArrayRef> = self
            .attributes
            .iter_mut()
            .map(|builder| {
                let column = builder.finish();
                if column.len() == valid.len() { column } else { column.slice(0, valid.len()) }
            })
            .collect();
        let nulls = (valid.null_count() > 0).then_some(valid);
        Arc::new(StructArray::new(self.fields.clone(), columns, nulls))
    }
}

/// An attribute in text form.
enum Value<'a> {
    Null,
    Plain(&'a [u8]),
    /// It had to be copied without its quotes.
    Quoted,
}

/// The first attribute of `text`, and what follows its comma, if there is one.
fn attribute<'a>(text: &'a [u8], unquoted: &mut Vec<u8>) -> Decoded<(Value<'a>, Option<&'a [u8]>)> {
    let Some(mut rest) = text.strip_prefix(b"\"") else {
        let end = memchr::memchr(b',', text).unwrap_or(text.len());
        let (value, rest) = text.split_at(end);
        // The server quotes whatever holds any of these.
        if value.iter().any(|byte| matches!(byte, b'"' | b'\\' | b'(' | b')')) {
            return Err(BAD);
        }
        let value = if value.is_empty() { Value::Null } else { Value::Plain(value) };
        return Ok((value, rest.get(1..)));
    };
    unquoted.clear();
    loop {
        let at = memchr::memchr2(b'"', b'\\', rest).ok_or(BAD)?;
        let (plain, tail) = rest.split_at(at);
        unquoted.extend_from_slice(plain);
        match tail {
            [b'"', b'"', more @ ..] => {
                unquoted.push(b'"');
                rest = more;
            }
            [b'\\', escaped, more @ ..] => {
                unquoted.push(*escaped);
                rest = more;
            }
            [b'"', b',', more @ ..] => return Ok((Value::Quoted, Some(more))),
            [b'"'] => return Ok((Value::Quoted, None)),
            _ => return Err(BAD),
        }
    }
}

#[cfg(test)]
mod tests;
