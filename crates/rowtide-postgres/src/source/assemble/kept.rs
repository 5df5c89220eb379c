//! The messages of one transaction, in the order they came.
//!
//! A record is the subtransaction (4 bytes), the length of the message (4), and the message without
//! that transaction, as in version 1. Behind a layout stands its number (8 bytes).

use std::path::Path;

use hashbrown::HashSet;
use rowtide_core::Result;

use super::frames::Frames;
use crate::protocol::{Cursor, Malformed};

/// A message and the number of a layout, in parts.
type Parts<'a> = (u32, u8, &'a [u8]);

/// One transaction. Small or large, it is one until it ends.
#[derive(Debug, Default)]
pub(super) struct Kept {
    /// The last records.
    memory: Vec<u8>,
    /// Those before.
    file: Option<Frames>,
    /// Subtransactions that were rolled back.
    aborted: HashSet<u32>,
}

impl Kept {
    /// Bytes that its messages take in memory.
    pub(super) fn held(&self) -> usize {
        self.memory.capacity()
    }

    /// Bytes that are in its file.
    pub(super) fn file_bytes(&self) -> u64 {
        self.file.as_ref().map_or(0, Frames::bytes)
    }

    /// Adds a message at the end.
    #[inline]
    pub(super) fn push(&mut self, parts: Parts<'_>, number: Option<u64>) -> Result<()> {
        let (_, _, rest) = parts;
        self.memory.extend_from_slice(&header(parts)?);
        self.memory.extend_from_slice(rest);
        if let Some(number) = number {
            self.memory.extend_from_slice(&number.to_be_bytes());
        }
        Ok(())
    }

    /// Adds a large message at the end, straight to the file.
    pub(super) fn write(
        &mut self,
        parts: Parts<'_>,
        number: Option<u64>,
        directory: &Path,
    ) -> Result<()> {
        self.flush(directory)?;
        let (_, _, rest) = parts;
        let number = number.map(u64::to_be_bytes);
        let number = number.as_ref().map_or(&[][..], |number| number);
        self.file(directory)?.write(&[&header(parts)?, rest, number], directory)
    }

    /// Moves what is in memory to the file.
    pub(super) fn spill(&mut self, xid: u32, directory: &Path) -> Result<()> {
        let first = self.file.is_none();
        self.flush(directory)?;
        if first {
            let directory = directory.display();
            tracing::debug!(xid, bytes = self.file_bytes(), %directory, "transaction goes to a file");
        }
        Ok(())
    }

    fn flush(&mut self, directory: &Path) -> Result<()> {
        let memory = std::mem::take(&mut self.memory);
        if memory.is_empty() { Ok(()) } else { self.file(directory)?.write(&[&memory], directory) }
    }

    fn file(&mut self, directory: &Path) -> Result<&mut Frames> {
        Ok(match &mut self.file {
            Some(file) => file,
            none => none.insert(Frames::create(directory)?),
        })
    }

    /// Takes note that `subxid` was rolled back.
    pub(super) fn abort(&mut self, subxid: u32) {
        self.aborted.insert(subxid);
    }

    /// Reads the records back.
    pub(super) fn into_records(mut self) -> Result<Records> {
        if let Some(file) = &mut self.file {
            file.rewind()?;
        }
        let Self { memory, file, aborted } = self;
        Ok(Records { file, last: Some(memory), frame: Vec::new(), next: 0, aborted })
    }
}

fn header((subxid, letter, rest): Parts<'_>) -> Result<[u8; 9], Malformed> {
    let length = u32::try_from(rest.len() + 1).map_err(|_| Malformed("a message is too long"))?;
    let mut header = [letter; 9];
    let (ids, _) = header.split_at_mut(8);
    ids.copy_from_slice(&((u64::from(subxid) << 32) | u64::from(length)).to_be_bytes());
    Ok(header)
}

/// The records of a transaction that ended.
#[derive(Debug)]
pub(super) struct Records {
    file: Option<Frames>,
    last: Option<Vec<u8>>,
    frame: Vec<u8>,
    /// Where the next record starts.
    next: usize,
    aborted: HashSet<u32>,
}

/// Where a message lies, and the number of a layout.
#[derive(Debug, Clone, Copy)]
pub(super) struct Record {
    start: usize,
    length: usize,
    pub(super) number: Option<u64>,
}

impl Records {
    /// The next record that was not rolled back.
    #[inline]
    pub(super) fn next(&mut self) -> Result<Option<Record>> {
        loop {
            while self.next >= self.frame.len() {
                if !self.refill()? {
                    return Ok(None);
                }
            }
            let (subxid, record) = self.record()?;
            if !self.aborted.contains(&subxid) {
                return Ok(Some(record));
            }
        }
    }

    fn record(&mut self) -> Result<(u32, Record), Malformed> {
        let mut cursor = Cursor::new(self.frame.get(self.next..).unwrap_or_default());
        let (subxid, length) = (cursor.u32()?, cursor.u32()? as usize);
        let letter = cursor.take(length)?.first().copied();
        let number = if letter == Some(b'R') { Some(cursor.u64()?) } else { None };
        let record = Record { start: self.next + 8, length, number };
        self.next = self.frame.len() - cursor.rest().len();
        Ok((subxid, record))
    }

    fn refill(&mut self) -> Result<bool> {
        self.next = 0;
        if let Some(file) = &mut self.file {
            if file.read(&mut self.frame)? {
                return Ok(true);
            }
            self.file = None;
        }
        match self.last.take() {
            Some(last) => self.frame = last,
            None => return Ok(false),
        }
        Ok(true)
    }

    /// The message of the record that [`Self::next`] returned last.
    #[inline]
    pub(super) fn message(&self, record: Record) -> &[u8] {
        self.frame.get(record.start..record.start + record.length).unwrap_or_default()
    }
}
