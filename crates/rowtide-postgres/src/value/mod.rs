//! Wire values into Arrow: one builder per column, shared by copy and stream.
//!
//! The type is dispatched on once per value through one enum, nothing is boxed per row, and both
//! forms of a value, binary and text, end in the same Arrow value. A builder that refuses a value
//! has appended nothing; a list or a struct may hold a part of it, and is not gone on with before
//! what came first was taken, or NULL was put in its place.

mod bits;
mod column;
mod interval;
mod list;
mod numeric;
mod record;
mod temporal;
mod vector;

pub(crate) use column::ColumnBuilder;

use crate::protocol::Malformed;

/// Why a value was refused. Never holds the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ValueError {
    /// The bytes are not what the type promises.
    Malformed(&'static str),
    /// A valid value that the Arrow type cannot hold: the policy decides.
    Unrepresentable(&'static str),
    /// A value of a composite type that is not the described one: it was altered.
    Changed(&'static str),
}

impl From<Malformed> for ValueError {
    fn from(error: Malformed) -> Self {
        Self::Malformed(error.0)
    }
}

type Decoded<T> = Result<T, ValueError>;

/// Only a database that does not check encodings has such text.
pub(crate) const NOT_UTF8: &str = "it is not valid UTF-8";

/// Exactly `N` bytes.
#[inline]
fn fixed<const N: usize>(bytes: &[u8]) -> Decoded<[u8; N]> {
    bytes.try_into().map_err(|_| ValueError::Malformed("it has another length"))
}

#[inline]
fn utf8(bytes: &[u8]) -> Decoded<&str> {
    std::str::from_utf8(bytes).map_err(|_| ValueError::Malformed(NOT_UTF8))
}

/// Reads a number by the standard library's rules, which contain the server's.
#[inline]
fn number<T: std::str::FromStr>(bytes: &[u8]) -> Decoded<T> {
    utf8(bytes)?.parse().map_err(|_| ValueError::Malformed("it is not a number of its type"))
}

/// The hexadecimal form of bytes after `\x`, appended to `out`.
fn unhex(text: &[u8], out: &mut Vec<u8>) -> Decoded<()> {
    let (pairs, odd) = text.as_chunks::<2>();
    if !odd.is_empty() {
        return Err(ValueError::Malformed("it has an odd number of hexadecimal digits"));
    }
    out.reserve(pairs.len());
    for [high, low] in pairs {
        out.push(nibble(*high)? << 4 | nibble(*low)?);
    }
    Ok(())
}

#[inline]
fn nibble(digit: u8) -> Decoded<u8> {
    match digit {
        b'0'..=b'9' => Ok(digit - b'0'),
        b'a'..=b'f' => Ok(digit - b'a' + 10),
        b'A'..=b'F' => Ok(digit - b'A' + 10),
        _ => Err(ValueError::Malformed("it holds something else than hexadecimal digits")),
    }
}

/// A UUID's text.
fn uuid(text: &[u8]) -> Decoded<[u8; 16]> {
    let mut bytes = [0_u8; 16];
    let mut digits = text.iter().filter(|byte| **byte != b'-');
    for byte in &mut bytes {
        let mut digit = || {
            digits.next().ok_or(ValueError::Malformed("it is too short")).and_then(|d| nibble(*d))
        };
        *byte = digit()? << 4 | digit()?;
    }
    match digits.next() {
        None => Ok(bytes),
        Some(_) => Err(ValueError::Malformed("it is too long")),
    }
}
