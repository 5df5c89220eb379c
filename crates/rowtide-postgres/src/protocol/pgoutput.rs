//! The messages of the `pgoutput` plugin, protocol versions 1 to 4.
//!
//! From version 2 on, transactions may be streamed before they end: between [`StreamStart`] and
//! [`StreamStop`], every message of a transaction bears the (sub)transaction it belongs to, see
//! [`streamed`]. Without that prefix it is a message of version 1.
//!
//! [`StreamStart`]: Message::StreamStart
//! [`StreamStop`]: Message::StreamStop
//!
//! Row messages stay slices of the frame they came in: [`read_tuple`] notes where each value lies
//! in a vector that is reused, so that a row costs no allocation.
//!
//! See <https://www.postgresql.org/docs/current/protocol-logicalrep-message-formats.html>.

use super::{Cursor, Malformed};

/// One message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Message<'a> {
    Begin {
        commit_lsn: u64,
        committed_at: i64,
        xid: u32,
    },
    Commit {
        commit_lsn: u64,
        end_lsn: u64,
        committed_at: i64,
    },
    Relation(Relation),
    /// `tuples` starts with the marker of the first tuple.
    Insert {
        relation: u32,
        tuples: &'a [u8],
    },
    /// `tuples` starts with the marker of the first tuple.
    Update {
        relation: u32,
        tuples: &'a [u8],
    },
    /// `tuples` starts with the marker of the first tuple.
    Delete {
        relation: u32,
        tuples: &'a [u8],
    },
    Truncate {
        relations: Vec<u32>,
    },
    /// What somebody wrote into the log with `pg_logical_emit_message`; sent only if the option
    /// `messages` asks for it.
    Logical {
        /// Part of the transaction it stands in, and gone with it; otherwise of none.
        transactional: bool,
        /// Not necessarily text: a database may hold any bytes.
        prefix: &'a [u8],
        content: &'a [u8],
    },
    /// What follows up to [`Self::StreamStop`] belongs to a transaction that has not ended.
    StreamStart {
        xid: u32,
        /// It is the first part of it.
        first: bool,
    },
    StreamStop,
    /// A streamed transaction was committed.
    StreamCommit {
        xid: u32,
        commit_lsn: u64,
        end_lsn: u64,
        committed_at: i64,
    },
    /// Of the streamed transaction `xid`, `subxid` was rolled back; all of it if they are equal.
    StreamAbort {
        xid: u32,
        subxid: u32,
    },
    /// Origins and types: nothing that changes a row.
    Other,
}

/// A table as the rows that follow are laid out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Relation {
    pub(crate) id: u32,
    pub(crate) schema: String,
    pub(crate) name: String,
    /// `d`, `n`, `f` or `i`, as in `pg_class.relreplident`.
    pub(crate) identity: u8,
    pub(crate) columns: Vec<RelationColumn>,
}

/// A column of a [`Relation`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RelationColumn {
    /// Part of what old rows are identified by.
    pub(crate) key: bool,
    pub(crate) name: String,
    pub(crate) type_oid: u32,
    pub(crate) type_modifier: i32,
}

/// Microseconds from 1970 to 2000, where PostgreSQL's clock starts.
pub(crate) const EPOCH_SHIFT: i64 = 946_684_800_000_000;

impl<'a> Message<'a> {
    /// Reads one message.
    #[inline]
    pub(crate) fn parse(body: &'a [u8]) -> Result<Self, Malformed> {
        let mut cursor = Cursor::new(body);
        match cursor.u8()? {
            b'I' => Ok(Self::Insert { relation: cursor.u32()?, tuples: cursor.rest() }),
            b'U' => Ok(Self::Update { relation: cursor.u32()?, tuples: cursor.rest() }),
            b'D' => Ok(Self::Delete { relation: cursor.u32()?, tuples: cursor.rest() }),
            b'B' => Ok(Self::Begin {
                commit_lsn: cursor.u64()?,
                committed_at: cursor.i64()?.saturating_add(EPOCH_SHIFT),
                xid: cursor.u32()?,
            }),
            b'C' => {
                cursor.u8()?;
                Ok(Self::Commit {
                    commit_lsn: cursor.u64()?,
                    end_lsn: cursor.u64()?,
                    committed_at: cursor.i64()?.saturating_add(EPOCH_SHIFT),
                })
            }
            b'R' => relation(cursor).map(Self::Relation),
            b'T' => truncate(cursor),
            b'M' => logical(cursor),
            b'S' => Ok(Self::StreamStart { xid: cursor.u32()?, first: cursor.u8()? == 1 }),
            b'E' => Ok(Self::StreamStop),
            b'c' => {
                let xid = cursor.u32()?;
                cursor.u8()?;
                Ok(Self::StreamCommit {
                    xid,
                    commit_lsn: cursor.u64()?,
                    end_lsn: cursor.u64()?,
                    committed_at: cursor.i64()?.saturating_add(EPOCH_SHIFT),
                })
            }
            // Where and when follow with `streaming 'parallel'` alone; nobody needs to know.
            b'A' => Ok(Self::StreamAbort { xid: cursor.u32()?, subxid: cursor.u32()? }),
            b'O' | b'Y' => Ok(Self::Other),
            _ => Err(Malformed("an unknown message of the output plugin")),
        }
    }
}

fn relation(mut cursor: Cursor<'_>) -> Result<Relation, Malformed> {
    let id = cursor.u32()?;
    let schema = match cursor.cstr()? {
        "" => "pg_catalog".to_owned(),
        name => name.to_owned(),
    };
    let name = cursor.cstr()?.to_owned();
    let identity = cursor.u8()?;
    let count = cursor.u16()?;
    // A column takes ten bytes at least: what is not there gets no memory.
    if cursor.rest().len() / 10 < usize::from(count) {
        return Err(Malformed("a relation message ends too early"));
    }
    let mut columns = Vec::with_capacity(usize::from(count));
    for _ in 0..count {
        columns.push(RelationColumn {
            key: cursor.u8()? & 1 != 0,
            name: cursor.cstr()?.to_owned(),
            type_oid: cursor.u32()?,
            type_modifier: cursor.i32()?,
        });
    }
    Ok(Relation { id, schema, name, identity, columns })
}

fn truncate(mut cursor: Cursor<'_>) -> Result<Message<'static>, Malformed> {
    let count = cursor.length()?;
    cursor.u8()?;
    if cursor.rest().len() / 4 < count {
        return Err(Malformed("a truncate message ends too early"));
    }
    let relations = (0..count).map(|_| cursor.u32()).collect::<Result<_, _>>()?;
    Ok(Message::Truncate { relations })
}

fn logical(mut cursor: Cursor<'_>) -> Result<Message<'_>, Malformed> {
    let transactional = cursor.u8()? & 1 != 0;
    // Where it stands in the log.
    cursor.u64()?;
    let end = memchr::memchr(0, cursor.rest()).ok_or(Malformed("a string does not end"))?;
    let prefix = cursor.take(end)?;
    cursor.u8()?;
    let length = cursor.length()?;
    Ok(Message::Logical { transactional, prefix, content: cursor.take(length)? })
}

/// A message's letter, the (sub)transaction it belongs to, and the rest.
pub(crate) type Streamed<'a> = (u8, u32, &'a [u8]);

/// Takes a message apart that stands between a stream start and a stream stop. The letter and the rest together are the same
/// message outside of a stream. `None` for what bears no transaction: the origin.
#[inline]
pub(crate) fn streamed(body: &[u8]) -> Result<Option<Streamed<'_>>, Malformed> {
    let mut cursor = Cursor::new(body);
    match cursor.u8()? {
        b'O' => Ok(None),
        letter @ (b'R' | b'Y' | b'I' | b'U' | b'D' | b'T' | b'M') => {
            let xid = cursor.u32()?;
            Ok(Some((letter, xid, cursor.rest())))
        }
        _ => Err(Malformed("a message that may not stand in a streamed transaction")),
    }
}

/// Where one value lies, and what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cell<'a> {
    Null,
    /// Not repeated by the log.
    Unchanged,
    Text(&'a [u8]),
    Binary(&'a [u8]),
}

/// The position of a value in its frame; see [`TupleCells::get`].
#[derive(Debug, Clone, Copy)]
struct Place {
    kind: u8,
    start: u32,
    len: u32,
}

/// The values of one tuple, as places in the bytes it was read from. Reused from row to row.
#[derive(Debug, Default)]
pub(crate) struct TupleCells(Vec<Place>);

impl TupleCells {
    /// The value at `index`, out of the same `bytes` that were given to [`read_tuple`].
    #[inline]
    pub(crate) fn get<'a>(&self, bytes: &'a [u8], index: usize) -> Result<Cell<'a>, Malformed> {
        let place = self.0.get(index).ok_or(Malformed("a row has too few columns"))?;
        let (start, len) = (place.start as usize, place.len as usize);
        let value = || bytes.get(start..start + len).ok_or(Malformed("a value lies outside"));
        Ok(match place.kind {
            b'n' => Cell::Null,
            b'u' => Cell::Unchanged,
            b't' => Cell::Text(value()?),
            _ => Cell::Binary(value()?),
        })
    }
}

/// Reads one tuple that starts `at` bytes into `bytes` (after its marker) into `cells`; returns
/// where it ends.
#[inline]
pub(crate) fn read_tuple(
    bytes: &[u8],
    at: usize,
    cells: &mut TupleCells,
) -> Result<usize, Malformed> {
    let mut cursor = Cursor::new(bytes.get(at..).ok_or(Malformed("a row ends too early"))?);
    let count = cursor.u16()?;
    cells.0.clear();
    let place = |offset: usize| u32::try_from(offset).map_err(|_| Malformed("a row is too long"));
    for _ in 0..count {
        let kind = cursor.u8()?;
        let (start, len) = match kind {
            b'n' | b'u' => (0, 0),
            b't' | b'b' => {
                let len = cursor.length()?;
                let start = bytes.len() - cursor.rest().len();
                cursor.take(len)?;
                (place(start)?, place(len)?)
            }
            _ => return Err(Malformed("an unknown kind of value")),
        };
        cells.0.push(Place { kind, start, len });
    }
    Ok(bytes.len() - cursor.rest().len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layout_with_fewer_columns_than_it_claims_is_refused() {
        let mut message = b"R\0\0@\0public\0t\0d".to_vec();
        message.extend(2_u16.to_be_bytes());
        message.extend(b"\x01a\0\0\0\0\x17\xff\xff\xff\xff");
        let claimed_too_many = Message::parse(&message);
        assert_eq!(claimed_too_many, Err(Malformed("a relation message ends too early")));
        // A column whose name is empty is the shortest there can be.
        message.extend(b"\0\0\0\0\0\x17\xff\xff\xff\xff");
        let Ok(Message::Relation(relation)) = Message::parse(&message) else { panic!() };
        assert_eq!(relation.columns.iter().map(|c| &*c.name).collect::<Vec<_>>(), ["a", ""]);
    }

    #[test]
    fn streams_are_read_and_what_is_cut_off_is_refused() {
        let start = b"S\0\0\0\x07\x01".to_vec();
        let again = b"S\0\0\0\x07\0".to_vec();
        let abort = b"A\0\0\0\x07\0\0\0\x08".to_vec();
        let mut commit = b"c\0\0\0\x07\0".to_vec();
        commit.extend([5_u64.to_be_bytes(), 6_u64.to_be_bytes(), [0; 8]].concat());
        let mut logical = b"M\x01".to_vec();
        logical.extend(9_u64.to_be_bytes());
        logical.extend(b"\xff app\0\0\0\0\x03a\0b");
        let (commit_lsn, end_lsn, committed_at) = (5, 6, EPOCH_SHIFT);
        let expected = [
            (&start, Message::StreamStart { xid: 7, first: true }),
            (&again, Message::StreamStart { xid: 7, first: false }),
            (&abort, Message::StreamAbort { xid: 7, subxid: 8 }),
            (&commit, Message::StreamCommit { xid: 7, commit_lsn, end_lsn, committed_at }),
            (
                &logical,
                Message::Logical { transactional: true, prefix: b"\xff app", content: b"a\0b" },
            ),
        ];
        for (message, expected) in expected {
            for cut in 0..message.len() {
                assert!(Message::parse(&message[..cut]).is_err(), "{message:?} cut to {cut}");
            }
            assert_eq!(Message::parse(message), Ok(expected));
        }
        assert_eq!(Message::parse(b"E"), Ok(Message::StreamStop));
        // As `streaming 'parallel'` says it.
        let parallel = [abort, vec![1; 16]].concat();
        assert_eq!(Message::parse(&parallel), Ok(Message::StreamAbort { xid: 7, subxid: 8 }));
    }

    #[test]
    fn in_a_stream_a_message_bears_its_transaction() {
        assert_eq!(streamed(b"I\0\0\0\x07rest"), Ok(Some((b'I', 7, &b"rest"[..]))));
        assert_eq!(streamed(b"O\0\0"), Ok(None));
        assert!(streamed(b"I\0\0\0").is_err());
        for letter in [b'B', b'C', b'S', b'E', b'c', b'A', b'?'] {
            assert!(streamed(&[letter, 0, 0, 0, 7, 0, 0]).is_err());
        }
        assert!(streamed(b"").is_err());
    }
}
