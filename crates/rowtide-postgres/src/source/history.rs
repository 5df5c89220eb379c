//! Whether the log that is read is still the one that the checkpoint belongs to.
//!
//! A server that is put back to an older copy of its files keeps its identifier, its timeline and
//! its slots. Once its new log is as long as the old one was, positions alone fit again, and what
//! was written in the place of what we hold would be skipped without a word. So each checkpoint
//! bears a mark: the last transaction that was received at or below it, with its id and its time.
//!
//! A stream with a mark does not begin at the checkpoint, but where the slot stands (`confirmed`),
//! so that the server sends what lies between the two again. Nothing is delivered, and nothing is
//! acknowledged, before the last transaction in there has proved to be the mark.
//!
//! - Why that is enough: a slot never stands beyond the end of its server's log. So in an older
//!   copy it stands below the place where the histories part, and everything after that place is
//!   sent again. If the last of it below the checkpoint is the mark, both histories are the same
//!   up to the mark, and between the mark and the checkpoint neither has anything for us.
//! - The mark lies below `confirmed`: nothing was received in between (the position moved on by
//!   an idle log's progress), so nothing may be sent below the checkpoint.
//! - `confirmed` is the checkpoint: what is acknowledged was sent; nothing is between the two.
//! - `confirmed` is read when the stream has begun: then the slot is ours, and only our own
//!   feedback moves it, which waits. Read earlier, the last word of an older session could move
//!   it beyond the mark in between, and a good history would be refused.
//! - After `kill -9` the slot stands behind by half a second at most; after a crash of the server,
//!   which writes slots down now and then, behind by a checkpoint of its own. It decodes all that
//!   from `restart_lsn` in any case; it only sends more. Rows that are skipped are not built.
//! - What is received is every transaction the server sends, whether it changes a followed table
//!   or not: which those are depends on the log and the catalog of its time alone, not on what a
//!   run follows. Empty ones (version 14 sends them) count as well. Which origins are sent is
//!   configured, so a mark says under which setting it was made, and under another proves nothing.
//! - Without a mark (state of an older version) the stream begins at the checkpoint, as it did.
//!
//! What this cannot tell: a copy of a table that was taken from the lost history, while the
//! checkpoint lies before the place where the histories part.

use std::fmt;

use rowtide_core::{Checkpoint, Commit, Error, Offset, Result};

use super::identity::parse_lsn;
use super::partition;

/// What the server was asked to send beside the published tables' rows: which transactions it
/// sends at all depends on that.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Asked {
    /// What came from elsewhere is left out.
    pub(super) filtered: bool,
    /// Logical messages come too.
    pub(super) messages: bool,
}

impl Asked {
    const WORDS: [(&str, Self); 4] = [
        ("any", Self { filtered: false, messages: false }),
        ("none", Self { filtered: true, messages: false }),
        ("any+messages", Self { filtered: false, messages: true }),
        ("none+messages", Self { filtered: true, messages: true }),
    ];

    fn word(self) -> &'static str {
        Self::WORDS.iter().find(|(_, asked)| *asked == self).map_or("any", |(word, _)| word)
    }
}

/// A transaction, so that no other is taken for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark {
    /// Where its commit record starts.
    position: u64,
    xid: u32,
    committed_at: i64,
    /// What else was asked for.
    asked: Asked,
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let asked = self.asked.word();
        write!(f, "{}/{}/{}/{asked}", Offset(self.position), self.xid, self.committed_at)
    }
}

impl Mark {
    /// Says that nothing has been received yet.
    pub(super) fn nothing(asked: Asked) -> Self {
        Self { position: 0, xid: 0, committed_at: 0, asked }
    }

    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.rsplitn(4, '/');
        let word = parts.next()?;
        let (_, asked) = *Asked::WORDS.iter().find(|(known, _)| *known == word)?;
        let committed_at = parts.next()?.parse().ok()?;
        let xid = parts.next()?.parse().ok()?;
        let position = parse_lsn(parts.next()?).ok()?;
        Some(Self { position, xid, committed_at, asked })
    }
}

/// What has been received, and what is still to be proved of it.
#[derive(Debug, Default)]
pub(super) struct History {
    asked: Asked,
    last: Option<Mark>,
    proof: Option<Proof>,
}

/// The checkpoint's mark is yet to be seen.
#[derive(Debug)]
struct Proof {
    /// What must come last below the checkpoint; `None` if nothing may come.
    expected: Option<Mark>,
    checkpoint: Offset,
    found: Option<Mark>,
}

impl History {
    /// What is known at `checkpoint`, under what is asked for now.
    pub(super) fn of(checkpoint: &Checkpoint, asked: Asked) -> Self {
        let mark = checkpoint.mark(&partition()).and_then(Mark::parse);
        Self { asked, last: mark.filter(|mark| mark.asked == asked), proof: None }
    }

    /// Whether the history can be proved: the stream must then begin where the slot stands.
    pub(super) fn is_marked(&self) -> bool {
        self.last.is_some()
    }

    /// The slot stands at `confirmed`, and the server sends everything from there.
    ///
    /// # Errors
    /// `PositionLost` if that is beyond the checkpoint.
    pub(super) fn begins_at(&mut self, confirmed: u64, checkpoint: Offset) -> Result<()> {
        if confirmed > checkpoint.0 {
            return Err(Error::position_lost(format!(
                "the replication slot stands at {}, beyond {checkpoint}, up to where the \
                 destination is",
                Offset(confirmed)
            ))
            .with_hint("copy the tables again: `resync`"));
        }
        let expected = self.last.filter(|mark| mark.position > 0 && mark.position >= confirmed);
        self.proof =
            (confirmed < checkpoint.0).then_some(Proof { expected, checkpoint, found: None });
        Ok(())
    }

    /// Whether nothing is left to be proved.
    #[inline]
    pub(super) fn is_proved(&self) -> bool {
        self.proof.is_none()
    }

    /// A transaction begins whose commit record starts at `position`.
    ///
    /// # Errors
    /// `PositionLost` if it is the first one behind the checkpoint, and the last one before it
    /// was not the mark.
    pub(super) fn begins(&mut self, position: u64, commit: &Commit) -> Result<()> {
        let mark = self.mark_of(position, commit);
        match &mut self.proof {
            Some(proof) if position < proof.checkpoint.0 => {
                proof.found = Some(mark);
                Ok(())
            }
            Some(_) => self.reached(position),
            None => Ok(()),
        }
    }

    /// A transaction that is not below the checkpoint ended.
    pub(super) fn ended(&mut self, position: u64, commit: &Commit) {
        self.last = Some(self.mark_of(position, commit));
    }

    fn mark_of(&self, position: u64, commit: &Commit) -> Mark {
        let Commit { xid, committed_at, .. } = *commit;
        Mark { position, xid, committed_at, asked: self.asked }
    }

    /// Everything below `position` has been received.
    ///
    /// # Errors
    /// `PositionLost` if that includes the checkpoint, and the last one before it was not the mark.
    pub(super) fn reached(&mut self, position: u64) -> Result<()> {
        match self.proof.take_if(|proof| position >= proof.checkpoint.0) {
            Some(proof) if proof.found != proof.expected => Err(proof.failed()),
            _ => Ok(()),
        }
    }

    /// What a checkpoint here bears.
    pub(super) fn mark(&self) -> Option<String> {
        self.last.map(|mark| mark.to_string())
    }
}

impl Proof {
    fn failed(self) -> Error {
        let at = |mark: Option<Mark>| match mark {
            Some(mark) => format!("transaction {} at {}", mark.xid, Offset(mark.position)),
            None => "no transaction".to_owned(),
        };
        Error::position_lost(format!(
            "the server's history is not the one the destination was copied from: before {}, \
             its log has {} last instead of {}",
            self.checkpoint,
            at(self.found),
            at(self.expected)
        ))
        .with_hint("the server was restored to an earlier state: copy the tables again (`resync`)")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rowtide_core::ErrorKind;

    use super::*;

    /// What a server sends: where a commit starts, and its xid.
    type Log = Vec<(u64, u32)>;

    fn commit((position, xid): (u64, u32)) -> Commit {
        Commit { position: Offset(position), xid, committed_at: i64::from(xid) * 1000 }
    }

    /// The checkpoint at `at` after `log`, with its mark.
    fn checkpoint(log: &Log, at: u64) -> Checkpoint {
        let start = Checkpoint::marked(
            partition(),
            Offset(0),
            &Mark::nothing(Asked::default()).to_string(),
        );
        let mut history = History::of(&start, Asked::default());
        for one in log.iter().filter(|(position, _)| *position < at) {
            history.begins(one.0, &commit(*one)).unwrap();
            history.ended(one.0, &commit(*one));
        }
        Checkpoint::marked(partition(), Offset(at), &history.mark().unwrap())
    }

    /// Reads `log` to its end from a slot that stands at `confirmed`.
    fn read(log: &Log, confirmed: u64, from: &Checkpoint) -> Result<()> {
        let at = from.position();
        let mut history = History::of(from, Asked::default());
        assert!(history.is_marked());
        history.begins_at(confirmed, at)?;
        for one in log.iter().filter(|(position, _)| *position >= confirmed) {
            history.begins(one.0, &commit(*one))?;
            assert_eq!(history.is_proved(), one.0 >= at.0 || confirmed == at.0);
        }
        history.reached(1_000)?;
        assert!(history.is_proved());
        Ok(())
    }

    fn log() -> impl Strategy<Value = Log> {
        let places = proptest::collection::btree_set(1_u64..100, 0..8);
        (places, 1_u32..50).prop_map(|(places, first)| places.into_iter().zip(first..).collect())
    }

    proptest! {
        /// The same history is never refused, wherever the slot and the checkpoint stand; of
        /// another one, nothing that is not held may lie below the checkpoint.
        #[test]
        fn a_history_is_refused_exactly_if_something_would_be_skipped(
            common in log(), lost in log(), instead in log(), parted in 0_u64..100,
            confirmed in 0_u64..100, at in 0_u64..150,
        ) {
            let branch = |own: &Log| -> Log {
                let rest = own.iter().map(|(place, xid)| (parted + place, xid + 100));
                common.iter().copied().filter(|(place, _)| *place < parted).chain(rest).collect()
            };
            let (held, new) = (branch(&lost), branch(&instead));
            let confirmed = confirmed.min(parted).min(at);
            let from = checkpoint(&held, at);
            prop_assert!(read(&held, confirmed, &from).is_ok());
            let below = |log: &Log| -> Log {
                log.iter().copied().filter(|(place, _)| *place < at).collect()
            };
            let found = read(&new, confirmed, &from);
            if below(&held) == below(&new) {
                prop_assert!(found.is_ok(), "{found:?}");
            } else if below(&held).last() != below(&new).last() {
                prop_assert_eq!(found.unwrap_err().kind(), ErrorKind::PositionLost);
            }
        }
    }

    #[test]
    fn a_mark_survives_storage() {
        for (_, asked) in Asked::WORDS {
            let mark = Mark { position: 0x16_B374_D848, xid: 7, committed_at: -5, asked };
            assert_eq!(Mark::parse(&mark.to_string()), Some(mark));
        }
        assert_eq!(Mark::parse("16/B374D848/7/5"), None);
        assert_eq!(Mark::parse(""), None);
    }

    #[test]
    fn what_other_settings_would_send_proves_nothing() {
        let from = checkpoint(&vec![(5, 1)], 10);
        for (_, asked) in Asked::WORDS {
            assert_eq!(History::of(&from, asked).is_marked(), asked == Asked::default());
        }
        let unmarked = Checkpoint::single(partition(), Offset(10));
        assert!(!History::of(&unmarked, Asked::default()).is_marked());
    }

    #[test]
    fn a_slot_beyond_the_checkpoint_is_a_lost_position() {
        let from = checkpoint(&vec![(5, 1)], 10);
        let error = History::of(&from, Asked::default()).begins_at(11, Offset(10)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PositionLost);
    }
}
