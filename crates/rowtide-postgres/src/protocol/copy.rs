//! Rows of `COPY … TO STDOUT`, binary and text. The server sends one row per message.
//!
//! See <https://www.postgresql.org/docs/current/sql-copy.html>, "File Formats".

use super::{Cursor, Malformed};

const SIGNATURE: &[u8] = b"PGCOPY\n\xff\r\n\0";

/// Splits the messages of a binary copy into rows.
#[derive(Debug, Default)]
pub(crate) struct BinaryRows {
    header_seen: bool,
}

impl BinaryRows {
    /// The row in `message`: a cursor before its first field. `None` for the trailer, or for a
    /// header that came without a row.
    #[inline]
    pub(crate) fn row<'a>(
        &mut self,
        message: &'a [u8],
        columns: usize,
    ) -> Result<Option<Cursor<'a>>, Malformed> {
        let mut cursor = Cursor::new(message);
        if !self.header_seen {
            self.header_seen = true;
            if cursor.take(SIGNATURE.len())? != SIGNATURE {
                return Err(Malformed("the copy has no signature"));
            }
            cursor.u32()?;
            let extension = cursor.length()?;
            cursor.take(extension)?;
            if cursor.is_empty() {
                return Ok(None);
            }
        }
        match cursor.i16()? {
            -1 => Ok(None),
            count if usize::try_from(count) == Ok(columns) => Ok(Some(cursor)),
            _ => Err(Malformed("a copied row has another number of columns")),
        }
    }
}

/// The next field of a binary row; `None` is NULL.
#[inline]
pub(crate) fn binary_field<'a>(cursor: &mut Cursor<'a>) -> Result<Option<&'a [u8]>, Malformed> {
    match cursor.i32()? {
        -1 => Ok(None),
        len => {
            let len = usize::try_from(len).map_err(|_| Malformed("a length is negative"))?;
            cursor.take(len).map(Some)
        }
    }
}

/// One line of a text copy, field by field.
#[derive(Debug)]
pub(crate) struct TextRow<'a> {
    rest: Option<&'a [u8]>,
}

impl<'a> TextRow<'a> {
    /// Takes a message: one line with its end.
    pub(crate) fn new(message: &'a [u8], columns: usize) -> Result<Self, Malformed> {
        let line = message.strip_suffix(b"\n").ok_or(Malformed("a copied line does not end"))?;
        // A row without columns and a row with one empty text are the same line.
        Ok(Self { rest: (columns > 0).then_some(line) })
    }

    /// The next field: `None` after the last, `Some(None)` for NULL. Escapes are undone in
    /// `scratch`.
    #[inline]
    pub(crate) fn field<'s>(
        &mut self,
        scratch: &'s mut Vec<u8>,
    ) -> Result<Option<Option<&'s [u8]>>, Malformed>
    where
        'a: 's,
    {
        let Some(rest) = self.rest else { return Ok(None) };
        let field = match memchr::memchr(b'\t', rest) {
            Some(tab) => {
                self.rest = rest.get(tab + 1..);
                rest.get(..tab).unwrap_or_default()
            }
            None => {
                self.rest = None;
                rest
            }
        };
        if field == b"\\N" {
            return Ok(Some(None));
        }
        if memchr::memchr(b'\\', field).is_none() {
            return Ok(Some(Some(field)));
        }
        scratch.clear();
        unescape(field, scratch)?;
        Ok(Some(Some(scratch)))
    }

    /// Whether every field has been read.
    pub(crate) fn is_done(&self) -> bool {
        self.rest.is_none()
    }
}

fn unescape(mut field: &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
    while let Some(at) = memchr::memchr(b'\\', field) {
        let (head, tail) = field.split_at(at);
        out.extend_from_slice(head);
        let (&escaped, rest) =
            tail.get(1..).and_then(<[u8]>::split_first).ok_or(Malformed("an escape is cut off"))?;
        out.push(match escaped {
            b'b' => 8,
            b'f' => 12,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'v' => 11,
            b'\\' => b'\\',
            _ => return Err(Malformed("an unknown escape in a copied line")),
        });
        field = rest;
    }
    out.extend_from_slice(field);
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn escaped(value: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        for &byte in value {
            let letter = match byte {
                8 => b'b',
                12 => b'f',
                b'\n' => b'n',
                b'\r' => b'r',
                b'\t' => b't',
                11 => b'v',
                b'\\' => b'\\',
                other => {
                    out.push(other);
                    continue;
                }
            };
            out.extend([b'\\', letter]);
        }
        out
    }

    proptest! {
        #[test]
        fn text_rows_round_trip(
            row in proptest::collection::vec(
                proptest::option::of(proptest::collection::vec(0_u8..=255, 0..20)), 1..6)
        ) {
            let fields: Vec<_> = row
                .iter()
                .map(|field| field.as_ref().map_or_else(|| b"\\N".to_vec(), |v| escaped(v)))
                .collect();
            let mut line = fields.join(&b'\t');
            line.push(b'\n');
            let mut reader = TextRow::new(&line, row.len()).unwrap();
            let mut scratch = Vec::new();
            let mut read = Vec::new();
            while let Some(field) = reader.field(&mut scratch).unwrap() {
                read.push(field.map(<[u8]>::to_vec));
            }
            prop_assert_eq!(read, row);
            prop_assert!(reader.is_done());
        }

        #[test]
        fn nothing_makes_the_binary_reader_panic(bytes in proptest::collection::vec(0_u8.., 0..64)) {
            let mut rows = BinaryRows { header_seen: true };
            if let Ok(Some(mut cursor)) = rows.row(&bytes, 2) {
                let _ = binary_field(&mut cursor).and_then(|_| binary_field(&mut cursor));
            }
        }
    }

    #[test]
    fn the_header_comes_with_the_first_row_or_alone() {
        let mut header = SIGNATURE.to_vec();
        header.extend([0; 8]);
        let mut with_row = header.clone();
        with_row.extend([0, 1, 0, 0, 0, 2, b'h', b'i']);
        let mut rows = BinaryRows::default();
        let mut cursor = rows.row(&with_row, 1).unwrap().unwrap();
        assert_eq!(binary_field(&mut cursor).unwrap(), Some(&b"hi"[..]));
        assert!(rows.row(&[0xff, 0xff], 1).unwrap().is_none());
        assert!(BinaryRows::default().row(&header, 1).unwrap().is_none());
        assert!(BinaryRows::default().row(b"GARBAGE____________", 1).is_err());
    }
}
