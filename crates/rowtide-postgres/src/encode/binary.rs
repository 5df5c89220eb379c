//! The binary form of `COPY`: each field behind its length, numbers in network order.

use bytes::{BufMut, BytesMut};

use super::values::{TextForm, Values, items_of};
use super::{Encoded, Refusal, numeric, temporal};

/// Signature, flags, length of the header's extension.
pub(super) const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
/// Stands where the next row would say how many fields it has.
pub(super) const TRAILER: i16 = -1;
const NULL: i32 = -1;
const JSONB_VERSION: u8 = 1;
const TOO_LARGE: Refusal = Refusal("it is larger than a field can be");

/// Appends the field at `row`.
#[inline]
pub(super) fn put_field(values: &Values<'_>, row: usize, out: &mut BytesMut) -> Encoded<()> {
    if values.is_null(row) {
        out.put_i32(NULL);
        return Ok(());
    }
    match values {
        Values::Bool(array) => {
            out.put_i32(1);
            out.put_u8(array.value(row).into());
        }
        Values::Int16(array) => {
            out.put_i32(2);
            out.put_i16(array.value(row));
        }
        Values::Int32(array) => {
            out.put_i32(4);
            out.put_i32(array.value(row));
        }
        Values::Int64(array) => put_i64(array.value(row), out),
        Values::Float32(array) => {
            out.put_i32(4);
            out.put_f32(array.value(row));
        }
        Values::Float64(array) => {
            out.put_i32(8);
            out.put_f64(array.value(row));
        }
        Values::Date(array) => {
            let days = temporal::date(array.value(row))?;
            out.put_i32(4);
            out.put_i32(days);
        }
        Values::Time(array) => put_i64(temporal::time(array.value(row))?, out),
        Values::Timestamp(array, _) => put_i64(temporal::timestamp(array.value(row))?, out),
        Values::Text(array, TextForm::Plain) => put_bytes(array.value(row).as_bytes(), out)?,
        Values::Bytes(array) => put_bytes(array.value(row), out)?,
        Values::Uuid(array) => put_bytes(array.value(row), out)?,
        Values::Text(array, TextForm::Jsonb) => {
            let document = array.value(row).as_bytes();
            out.put_i32(length(document.len() + 1)?);
            out.put_u8(JSONB_VERSION);
            out.extend_from_slice(document);
        }
        Values::Text(array, TextForm::Numeric) => {
            behind_length(out, |out| numeric::from_text(array.value(row), out))?;
        }
        Values::Decimal(array, scale) => {
            behind_length(out, |out| numeric::from_decimal(array.value(row), *scale, out))?;
        }
        Values::List(list, items, element) => {
            let range = items_of(list, row);
            behind_length(out, |out| put_array(items, range, *element, out))?;
        }
    }
    Ok(())
}

fn put_i64(value: i64, out: &mut BytesMut) {
    out.put_i32(8);
    out.put_i64(value);
}

fn put_bytes(bytes: &[u8], out: &mut BytesMut) -> Encoded<()> {
    out.put_i32(length(bytes.len())?);
    out.extend_from_slice(bytes);
    Ok(())
}

/// Appends what `put` does behind its length.
fn behind_length(
    out: &mut BytesMut,
    put: impl FnOnce(&mut BytesMut) -> Encoded<()>,
) -> Encoded<()> {
    let start = out.len();
    out.put_i32(0);
    put(out)?;
    let written = length(out.len() - start - 4)?;
    out[start..start + 4].copy_from_slice(&written.to_be_bytes());
    Ok(())
}

/// Dimensions, whether there are NULLs, the element's type; then the only dimension and its
/// items. An empty array has no dimension.
fn put_array(
    items: &Values<'_>,
    range: std::ops::Range<usize>,
    element: u32,
    out: &mut BytesMut,
) -> Encoded<()> {
    let nulls = range.clone().any(|item| items.is_null(item));
    out.put_i32(i32::from(!range.is_empty()));
    out.put_i32(i32::from(nulls));
    out.put_u32(element);
    if range.is_empty() {
        return Ok(());
    }
    out.put_i32(length(range.len())?);
    out.put_i32(1);
    range.into_iter().try_for_each(|item| put_field(items, item, out))
}

/// A length as the protocol counts it.
pub(super) fn length(bytes: usize) -> Encoded<i32> {
    i32::try_from(bytes).map_err(|_| TOO_LARGE)
}
