//! A transaction that became whole, message by message, as version 1 would have sent it.

use rowtide_core::Result;

use super::kept::{Kept, Record, Records};
use super::{Layouts, relation};
use crate::protocol::Malformed;

/// What was said last.
#[derive(Debug)]
enum Said {
    Nothing,
    Begin,
    Record(Record),
    /// A layout that was announced outside of the transaction, once more.
    Layout(Box<[u8]>),
    Commit,
}

/// A transaction on its way to the decoder.
#[derive(Debug)]
pub(super) struct Replay {
    begin: Vec<u8>,
    commit: Vec<u8>,
    empty_too: bool,
    records: Records,
    said: Said,
    /// The first record, which tells whether there is anything to say.
    first: Option<Record>,
    /// What was announced last, of each table.
    layouts: Layouts,
    /// What is to be said again at the end.
    again: Vec<Box<[u8]>>,
}

impl Replay {
    /// Begins with `kept`, of the transaction `xid` that the message `commit` ended.
    pub(super) fn new(xid: u32, commit: &[u8], kept: Kept, empty_too: bool) -> Result<Self> {
        // A letter, the transaction, and flags; then two positions and a time, as in version 1.
        let fields = commit.get(5..30).and_then(<[u8]>::split_first);
        let (flags, rest) = fields.ok_or(Malformed("it ends too early"))?;
        let (position, time) = (rest.get(..8), rest.get(16..));
        let (position, time) = (position.unwrap_or_default(), time.unwrap_or_default());
        Ok(Self {
            begin: [b"B", position, time, &xid.to_be_bytes()].concat(),
            commit: [b"C", std::slice::from_ref(flags), rest].concat(),
            empty_too,
            records: kept.into_records()?,
            said: Said::Nothing,
            first: None,
            layouts: Layouts::new(),
            again: Vec::new(),
        })
    }

    /// Goes on to the next message; false at the end. `outside` are the layouts in force outside
    /// of streams.
    pub(super) fn advance(&mut self, outside: &mut Layouts) -> Result<bool> {
        let record = match self.said {
            Said::Nothing => {
                self.first = self.record()?;
                if self.first.is_none() && !self.empty_too {
                    return Ok(false);
                }
                self.said = Said::Begin;
                return Ok(true);
            }
            Said::Begin => self.first.take(),
            Said::Record(_) => self.record()?,
            Said::Layout(_) => None,
            Said::Commit => return Ok(false),
        };
        if record.is_none() && !matches!(self.said, Said::Layout(_)) {
            self.end(outside);
        }
        self.said = match (record, self.again.pop()) {
            (Some(record), _) => Said::Record(record),
            (None, Some(layout)) => Said::Layout(layout),
            (None, None) => Said::Commit,
        };
        Ok(true)
    }

    /// The message that [`Self::advance`] went on to.
    #[inline]
    pub(super) fn message(&self) -> &[u8] {
        match &self.said {
            Said::Nothing => &[],
            Said::Begin => &self.begin,
            Said::Record(record) => self.records.message(*record),
            Said::Layout(layout) => layout,
            Said::Commit => &self.commit,
        }
    }

    /// The next record that says something new.
    #[inline]
    fn record(&mut self) -> Result<Option<Record>> {
        while let Some(record) = self.records.next()? {
            match record.number {
                Some(number) if !self.is_new(record, number)? => {}
                _ => return Ok(Some(record)),
            }
        }
        Ok(None)
    }

    fn is_new(&mut self, layout: Record, number: u64) -> Result<bool, Malformed> {
        let message = self.records.message(layout);
        let id = relation(message)?;
        match self.layouts.get_mut(&id) {
            Some((last, known)) if **known == *message => {
                *last = number;
                Ok(false)
            }
            _ => {
                self.layouts.insert(id, (number, message.into()));
                Ok(true)
            }
        }
    }

    /// What the transaction announced last is in force outside from now on, unless something else
    /// was announced later: that is said again.
    fn end(&mut self, outside: &mut Layouts) {
        for (id, (number, message)) in self.layouts.drain() {
            match outside.get(&id) {
                Some((later, other)) if *later > number => {
                    if *other != message {
                        self.again.push(other.clone());
                    }
                }
                _ => {
                    outside.insert(id, (number, message));
                }
            }
        }
    }
}
