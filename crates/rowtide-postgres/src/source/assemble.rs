//! Puts transactions together that the server streams before they end.
//!
//! ```text
//!  S x … E   S y … E   S x … E   A x s   c x      the wire, from protocol version 2 on
//!      │         │         │         │     │
//!      └── kept ─┴── kept ─┘   drops s     └──► B … C      what the decoder reads
//! ```
//!
//! The messages of each open transaction are kept as they came, in memory up to a bound and in an
//! unnamed file beyond it. At its commit they go to the decoder in the shape of version 1, without
//! those of subtransactions that were rolled back. So a change has the same position and ordinal
//! whichever version it was read by.
//!
//! What version 1 says only by what it sends, and how it is made up for:
//!
//! - **Nothing to say.** Version 1 leaves out a transaction without a published change (from
//!   PostgreSQL 15 on), a stream does not: such a transaction is left out here. Which ones are
//!   received belongs to what a checkpoint is proved by, see [`super::history`].
//! - **Layouts.** In a stream the server announces a table anew for each transaction, and again
//!   after each subtransaction that was rolled back. Once a streamed transaction commits, the
//!   server takes what it announced in there as known, but only if no newer layout was announced
//!   in between. So layouts have numbers in the order they came in: a replay that ends with an
//!   older one than was announced outside repeats the newer one. One that repeats the last of the
//!   same replay says nothing new, and is left out: each costs a look at the catalog.

mod frames;
#[cfg(any(test, feature = "fuzzing"))]
pub(in crate::source) mod fuzzing;
mod kept;
mod replay;

use std::path::PathBuf;

use hashbrown::HashMap;
use rowtide_core::Result;

use self::kept::Kept;
use self::replay::Replay;
use crate::protocol::Malformed;
use crate::protocol::pgoutput::{Message, streamed};

/// What became of a message.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::source) enum Step {
    /// It is one of version 1: the decoder's.
    Pass,
    /// It was kept or is of no further use.
    Kept,
    /// It ended a transaction, at this position: what [`Assembler::next`] returns is the decoder's.
    Whole(u64),
}

/// Layouts by their table, each with its number and the message that announced it.
type Layouts = HashMap<u32, (u64, Box<[u8]>)>;

/// The transactions that have not ended.
#[derive(Debug)]
pub(in crate::source) struct Assembler {
    open: HashMap<u32, Kept>,
    /// The one that messages are read of.
    current: Option<u32>,
    replay: Option<Replay>,
    /// Bytes in memory.
    held: usize,
    limit: usize,
    directory: PathBuf,
    /// Version 1 has transactions without a change.
    empty_too: bool,
    /// What is in force outside of streams.
    layouts: Layouts,
    announced: u64,
}

impl Assembler {
    /// Keeps about `limit` bytes in memory, and the rest in files in `directory`; `empty_too` if
    /// the server sends transactions without a change in version 1.
    pub(in crate::source) fn new(limit: usize, directory: PathBuf, empty_too: bool) -> Self {
        Self {
            open: HashMap::new(),
            current: None,
            replay: None,
            held: 0,
            limit,
            directory,
            empty_too,
            layouts: Layouts::new(),
            announced: 0,
        }
    }

    /// Takes one message.
    #[inline]
    pub(in crate::source) fn take(&mut self, body: &[u8]) -> Result<Step> {
        match (self.current, body.first()) {
            (Some(_), Some(b'E')) => self.current = None,
            (Some(xid), _) => {
                if let Some((letter, subxid, rest)) = streamed(body)? {
                    self.keep(xid, subxid, (letter, rest))?;
                }
            }
            (None, Some(b'S' | b'E' | b'c' | b'A')) => return self.control(body),
            (None, Some(b'R')) => {
                let number = self.number();
                let id = relation(body)?;
                self.layouts.insert(id, (number, body.into()));
                return Ok(Step::Pass);
            }
            (None, _) => return Ok(Step::Pass),
        }
        Ok(Step::Kept)
    }

    fn control(&mut self, body: &[u8]) -> Result<Step> {
        match Message::parse(body)? {
            Message::StreamStart { xid, first } => {
                if first == self.open.contains_key(&xid) {
                    return Err(Malformed("a stream that does not follow what was sent").into());
                }
                self.open.entry(xid).or_insert_with(Kept::default);
                self.current = Some(xid);
            }
            Message::StreamAbort { xid, subxid } if xid == subxid => {
                if let Some(kept) = self.open.remove(&xid) {
                    self.held -= kept.held();
                }
            }
            // A stream abort without a stream start is a known slip of PostgreSQL 18: it speaks
            // of a transaction that was never sent.
            Message::StreamAbort { xid, subxid } => {
                if let Some(kept) = self.open.get_mut(&xid) {
                    kept.abort(subxid);
                }
            }
            Message::StreamCommit { xid, commit_lsn, end_lsn, .. } => {
                let unknown = Malformed("a streamed transaction ends that did not begin");
                let kept = self.open.remove(&xid).ok_or(unknown)?;
                self.held -= kept.held();
                tracing::debug!(
                    xid,
                    position = %rowtide_core::Offset(commit_lsn),
                    memory_bytes = kept.held(),
                    file_bytes = kept.file_bytes(),
                    "streamed transaction is whole"
                );
                self.replay = Some(Replay::new(xid, body, kept, self.empty_too)?);
                return Ok(Step::Whole(end_lsn));
            }
            _ => return Err(Malformed("a stream ends that did not begin").into()),
        }
        Ok(Step::Kept)
    }

    fn keep(&mut self, xid: u32, subxid: u32, (letter, rest): (u8, &[u8])) -> Result<()> {
        let number = match letter {
            b'Y' => return Ok(()),
            b'R' => Some(self.number()),
            _ => None,
        };
        let Some(kept) = self.open.get_mut(&xid) else { return Ok(()) };
        self.held -= kept.held();
        if rest.len() > self.limit / 4 {
            kept.write((subxid, letter, rest), number, &self.directory)?;
        } else {
            kept.push((subxid, letter, rest), number)?;
        }
        self.held += kept.held();
        while self.held > self.limit {
            let largest = self.open.iter_mut().max_by_key(|(_, kept)| kept.held());
            let Some((xid, kept)) = largest.filter(|(_, kept)| kept.held() > 0) else { break };
            self.held -= kept.held();
            kept.spill(*xid, &self.directory)?;
            self.held += kept.held();
        }
        Ok(())
    }

    fn number(&mut self) -> u64 {
        self.announced += 1;
        self.announced
    }

    /// The next message of the transaction that became whole; `None` at its end. One that version
    /// 1 would not have sent has none.
    pub(in crate::source) fn next(&mut self) -> Result<Option<&[u8]>> {
        let Some(replay) = &mut self.replay else { return Ok(None) };
        if replay.advance(&mut self.layouts)? {
            return Ok(self.replay.as_ref().map(Replay::message));
        }
        self.replay = None;
        Ok(None)
    }

    /// Bytes of open transactions, in memory and in files.
    #[cfg(test)]
    fn bytes(&self) -> (usize, u64) {
        (self.held, self.open.values().map(Kept::file_bytes).sum())
    }
}

/// The table a layout is of.
fn relation(message: &[u8]) -> Result<u32, Malformed> {
    let id = message.get(1..).and_then(<[u8]>::first_chunk);
    id.map(|id| u32::from_be_bytes(*id)).ok_or(Malformed("a relation message ends too early"))
}

#[cfg(test)]
mod tests;
