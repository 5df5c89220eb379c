//! The text form of `COPY`: one line a row, what the types' input functions read between tabs.

use arrow_array::Array;
use bytes::{BufMut, BytesMut};
use rowtide_core::{Error, Result};

use super::temporal::print;
use super::values::{Form, Values, items_of};
use super::{Encoded, binary, numeric, temporal};

const HEX: &[u8; 16] = b"0123456789abcdef";

/// Appends the field at `row`, escaped. `scratch` is overwritten.
#[inline]
pub(super) fn put_field(
    values: &Values<'_>,
    row: usize,
    scratch: &mut BytesMut,
    out: &mut BytesMut,
) -> Encoded<()> {
    if values.is_null(row) {
        out.extend_from_slice(b"\\N");
        return Ok(());
    }
    let start = out.len();
    match values {
        Values::Text(array, _) => put_escaped(array.value(row).as_bytes(), out),
        Values::Bytes(array) => {
            out.extend_from_slice(b"\\\\x");
            put_hex(array.value(row), out);
        }
        Values::List(list, items, _) => {
            scratch.clear();
            print_array(items, items_of(list, row), scratch)?;
            put_escaped(scratch, out);
        }
        plain => print_plain(plain, row, out)?,
    }
    binary::length(out.len() - start).map(|_| ())
}

/// What the type's input function reads for the value in `row`; `None` for NULL.
///
/// # Errors
/// `Data` for what cannot be written.
pub(crate) fn input(values: &dyn Array, row: usize) -> Result<Option<String>> {
    let unknown = || Error::data(format!("no text stands for Arrow's {}", values.data_type()));
    let values = Values::of(values, Form::TEXT).ok_or_else(unknown)?;
    if values.is_null(row) {
        return Ok(None);
    }
    let mut out = BytesMut::new();
    let printed = match &values {
        Values::Text(array, _) => return Ok(Some(array.value(row).to_owned())),
        Values::Bytes(array) => {
            out.extend_from_slice(b"\\x");
            put_hex(array.value(row), &mut out);
            Ok(())
        }
        Values::List(list, items, _) => print_array(items, items_of(list, row), &mut out),
        plain => print_plain(plain, row, &mut out),
    };
    printed.map_err(|super::Refusal(why)| Error::data(format!("a value has no text: {why}")))?;
    Ok(Some(String::from_utf8_lossy(&out).into_owned()))
}

/// Prints a value whose text holds nothing that any context would have to escape.
fn print_plain(values: &Values<'_>, row: usize, out: &mut BytesMut) -> Encoded<()> {
    match values {
        Values::Bool(array) => out.put_u8(if array.value(row) { b't' } else { b'f' }),
        Values::Int16(array) => print(out, format_args!("{}", array.value(row))),
        Values::Int32(array) => print(out, format_args!("{}", array.value(row))),
        Values::Int64(array) => print(out, format_args!("{}", array.value(row))),
        Values::Float32(array) => match array.value(row) {
            finite if finite.is_finite() => print(out, format_args!("{finite:e}")),
            special => print_special(special.into(), out),
        },
        Values::Float64(array) => match array.value(row) {
            finite if finite.is_finite() => print(out, format_args!("{finite:e}")),
            special => print_special(special, out),
        },
        Values::Decimal(array, scale) => numeric::print(array.value(row), *scale, out),
        Values::Date(array) => temporal::print_date(array.value(row), out)?,
        Values::Time(array) => temporal::print_time(array.value(row), out)?,
        Values::Timestamp(array, zoned) => {
            temporal::print_timestamp(array.value(row), *zoned, out)?;
        }
        Values::Uuid(array) => put_hex(array.value(row), out),
        Values::Text(..) | Values::Bytes(_) | Values::List(..) => {
            return Err(super::Refusal("it is in a place where its type cannot be"));
        }
    }
    Ok(())
}

fn print_special(value: f64, out: &mut BytesMut) {
    out.extend_from_slice(match value {
        f64::INFINITY => b"Infinity",
        f64::NEG_INFINITY => b"-Infinity",
        _ => b"NaN",
    });
}

/// Prints an array in braces. Texts are always quoted, so that none is taken for a NULL.
fn print_array(
    items: &Values<'_>,
    range: std::ops::Range<usize>,
    out: &mut BytesMut,
) -> Encoded<()> {
    out.put_u8(b'{');
    for item in range.clone() {
        if item > range.start {
            out.put_u8(b',');
        }
        match items {
            _ if items.is_null(item) => out.extend_from_slice(b"NULL"),
            Values::Text(array, _) => put_quoted(array.value(item).as_bytes(), out),
            Values::Bytes(array) => {
                out.extend_from_slice(b"\"\\\\x");
                put_hex(array.value(item), out);
                out.put_u8(b'"');
            }
            plain => print_plain(plain, item, out)?,
        }
    }
    out.put_u8(b'}');
    Ok(())
}

/// Appends `text` as one field of a line.
fn put_escaped(mut text: &[u8], out: &mut BytesMut) {
    while let Some(at) = text.iter().position(|byte| escape(*byte).is_some()) {
        let (plain, rest) = text.split_at(at);
        out.extend_from_slice(plain);
        let Some((special, rest)) = rest.split_first() else { break };
        out.extend_from_slice(&[b'\\', escape(*special).unwrap_or(*special)]);
        text = rest;
    }
    out.extend_from_slice(text);
}

/// What stands behind the backslash for a byte that cannot stand for itself.
#[inline]
const fn escape(byte: u8) -> Option<u8> {
    match byte {
        b'\\' => Some(b'\\'),
        b'\t' => Some(b't'),
        b'\n' => Some(b'n'),
        b'\r' => Some(b'r'),
        8 => Some(b'b'),
        11 => Some(b'v'),
        12 => Some(b'f'),
        _ => None,
    }
}

/// Appends `text` as a quoted item of an array.
fn put_quoted(mut text: &[u8], out: &mut BytesMut) {
    out.put_u8(b'"');
    while let Some(at) = memchr::memchr2(b'"', b'\\', text) {
        let (plain, rest) = text.split_at(at);
        out.extend_from_slice(plain);
        let Some((special, rest)) = rest.split_first() else { break };
        out.extend_from_slice(&[b'\\', *special]);
        text = rest;
    }
    out.extend_from_slice(text);
    out.put_u8(b'"');
}

fn put_hex(bytes: &[u8], out: &mut BytesMut) {
    out.reserve(bytes.len() * 2);
    for byte in bytes {
        let digit = |nibble: u8| HEX[usize::from(nibble)];
        out.extend_from_slice(&[digit(byte >> 4), digit(byte & 15)]);
    }
}
