//! Cuts the bytes of one direction into PostgreSQL messages, as far as a proxy needs to know them.
//!
//! Only the head of a message is held back until it has arrived; the rest of a large one passes
//! through in pieces.

use std::collections::HashMap;

/// Where the letter of a pgoutput message lies: tag and length, then `w`, three 64-bit numbers.
const CHANGE_LETTER: usize = 5 + 1 + 8 + 8 + 8;
/// What is held back of a message before anything of it is forwarded.
const HEAD: usize = CHANGE_LETTER + 1;
/// The same of a query, whose text is looked at.
const QUERY_HEAD: usize = 64 << 10;
/// A longer startup packet is no startup packet.
const LONGEST_STARTUP: usize = 10_000;

const CANCEL: u32 = 80_877_102;
const TLS: u32 = 80_877_103;
const GSS: u32 = 80_877_104;

/// What a client says first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Startup {
    /// Asks for encryption.
    Encryption,
    /// Wants another session's statement cancelled.
    Cancel,
    /// Begins a session with these parameters.
    Session(HashMap<String, String>),
}

/// What is known when a message begins.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Message {
    /// Its type; 0 for what comes before messages have types.
    pub(super) tag: u8,
    /// The letter of the pgoutput message in it.
    pub(super) change: Option<u8>,
    /// The text of a simple query.
    pub(super) query: Option<String>,
    pub(super) startup: Option<Startup>,
}

/// Bytes of one message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) bytes: Vec<u8>,
    /// Set on a message's first piece.
    pub(super) begins: Option<Message>,
    /// Whether the message ends here.
    pub(super) ends: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Startup,
    Messages,
    /// Not understood: passes through as it is.
    Opaque,
}

/// The framing of one direction.
#[derive(Debug)]
pub(super) struct Framer {
    phase: Phase,
    head: Vec<u8>,
    /// What is still to come of a message whose head has passed.
    rest: usize,
}

impl Framer {
    /// What a client sends.
    pub(super) fn of_client() -> Self {
        Self { phase: Phase::Startup, head: Vec::new(), rest: 0 }
    }

    /// What a server sends.
    pub(super) fn of_server() -> Self {
        Self { phase: Phase::Messages, head: Vec::new(), rest: 0 }
    }

    /// Takes what arrived; gives what may pass.
    pub(super) fn feed(&mut self, mut input: &[u8]) -> Vec<Piece> {
        let mut pieces = Vec::new();
        while !input.is_empty() {
            if self.phase == Phase::Opaque {
                let mut bytes = std::mem::take(&mut self.head);
                bytes.extend_from_slice(input);
                pieces.push(Piece { bytes, begins: None, ends: false });
                break;
            }
            if self.rest > 0 {
                let (now, later) = input.split_at(self.rest.min(input.len()));
                self.rest -= now.len();
                input = later;
                pieces.push(Piece { bytes: now.to_vec(), begins: None, ends: self.rest == 0 });
                continue;
            }
            let missing = self.needed().saturating_sub(self.head.len());
            let (now, later) = input.split_at(missing.min(input.len()));
            self.head.extend_from_slice(now);
            input = later;
            pieces.extend(self.complete());
        }
        pieces
    }

    /// The length of the fields at the front: tag and length, or the length alone.
    fn prefix(&self) -> usize {
        if self.phase == Phase::Startup { 4 } else { 5 }
    }

    /// The whole length of the message at the front, once its length has arrived; `None` also if
    /// that is impossible.
    fn total(&self) -> Option<usize> {
        let prefix = self.prefix();
        let length = self.head.get(prefix - 4..prefix)?;
        let length = u32::from_be_bytes(length.try_into().ok()?);
        let length = usize::try_from(length).ok()?;
        let possible = match self.phase {
            Phase::Startup => (8..=LONGEST_STARTUP).contains(&length),
            _ => (4..=usize::try_from(i32::MAX).ok()?).contains(&length),
        };
        possible.then_some(prefix - 4 + length)
    }

    /// How much of the message must be here before anything of it may pass.
    fn needed(&self) -> usize {
        let Some(total) = self.total() else { return self.prefix() };
        match (self.phase, self.head.first()) {
            (Phase::Startup, _) => total,
            (_, Some(b'Q')) => total.min(QUERY_HEAD),
            _ => total.min(HEAD),
        }
    }

    /// The piece at the front, if all that is needed has arrived.
    fn complete(&mut self) -> Option<Piece> {
        if self.head.len() < self.prefix() {
            return None;
        }
        let Some(total) = self.total() else {
            self.phase = Phase::Opaque;
            let bytes = std::mem::take(&mut self.head);
            return Some(Piece { bytes, begins: None, ends: false });
        };
        if self.head.len() < self.needed() {
            return None;
        }
        let bytes = std::mem::take(&mut self.head);
        self.rest = total - bytes.len();
        let message = match self.phase {
            Phase::Startup => self.startup(&bytes),
            _ => message(&bytes),
        };
        Some(Piece { bytes, begins: Some(message), ends: self.rest == 0 })
    }

    fn startup(&mut self, bytes: &[u8]) -> Message {
        let code = bytes.get(4..8).and_then(|code| code.try_into().ok()).map(u32::from_be_bytes);
        let startup = match code {
            Some(TLS | GSS) => Startup::Encryption,
            Some(CANCEL) => {
                self.phase = Phase::Opaque;
                Startup::Cancel
            }
            _ => {
                self.phase = Phase::Messages;
                Startup::Session(parameters(bytes.get(8..).unwrap_or_default()))
            }
        };
        Message { startup: Some(startup), ..Message::default() }
    }
}

fn message(bytes: &[u8]) -> Message {
    let tag = bytes.first().copied().unwrap_or_default();
    let change = match (tag, bytes.get(5)) {
        (b'd', Some(b'w')) => bytes.get(CHANGE_LETTER).copied(),
        _ => None,
    };
    let query = (tag == b'Q').then(|| {
        let text = bytes.get(5..).unwrap_or_default();
        String::from_utf8_lossy(text).trim_end_matches('\0').to_owned()
    });
    Message { tag, change, query, startup: None }
}

/// Name and value in turn, each ended by a zero.
fn parameters(bytes: &[u8]) -> HashMap<String, String> {
    let mut words = bytes.split(|byte| *byte == 0).map(String::from_utf8_lossy);
    let mut found = HashMap::new();
    while let (Some(name), Some(value)) = (words.next(), words.next()) {
        found.insert(name.into_owned(), value.into_owned());
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(tag: u8, body: &[u8]) -> Vec<u8> {
        let mut out = vec![tag];
        out.extend(u32::try_from(body.len() + 4).unwrap().to_be_bytes());
        out.extend(body);
        out
    }

    fn untyped(code: u32, body: &[u8]) -> Vec<u8> {
        let mut out = u32::try_from(body.len() + 8).unwrap().to_be_bytes().to_vec();
        out.extend(code.to_be_bytes());
        out.extend(body);
        out
    }

    fn change(letter: u8, size: usize) -> Vec<u8> {
        let mut body = vec![b'w'];
        body.extend([7; 24]);
        body.push(letter);
        body.extend(vec![letter; size]);
        typed(b'd', &body)
    }

    fn from_client() -> Vec<u8> {
        let words = b"user\0me\0application_name\0rowtide:x\0replication\0database\0\0";
        [
            untyped(TLS, b""),
            untyped(196_608, words),
            typed(b'Q', b"COMMIT\0"),
            typed(b'd', b"r\x01\x02\x03"),
            typed(b'X', b""),
        ]
        .concat()
    }

    fn from_server() -> Vec<u8> {
        [
            typed(b'R', &[0; 4]),
            typed(b'Z', b"I"),
            change(b'B', 20),
            change(b'I', 500),
            typed(b'd', b"k12345678123456780"),
            change(b'C', 25),
        ]
        .concat()
    }

    /// All that is forwarded, and the messages with their lengths.
    fn run(mut framer: Framer, chunks: &[&[u8]]) -> (Vec<u8>, Vec<(Message, usize)>) {
        let (mut all, mut messages, mut open) = (Vec::new(), Vec::new(), None);
        for chunk in chunks {
            for piece in framer.feed(chunk) {
                if let Some(begun) = piece.begins {
                    assert!(open.is_none(), "a message begins inside of another");
                    open = Some((begun, 0));
                }
                if let Some((_, length)) = &mut open {
                    *length += piece.bytes.len();
                }
                all.extend(piece.bytes);
                if piece.ends {
                    messages.extend(open.take());
                }
            }
        }
        (all, messages)
    }

    #[test]
    fn messages_are_the_same_however_the_bytes_are_split() {
        for (make, bytes) in [
            (Framer::of_client as fn() -> Framer, from_client()),
            (Framer::of_server as fn() -> Framer, from_server()),
        ] {
            let whole = run(make(), &[&bytes]);
            assert_eq!(whole.0, bytes);
            for at in 0..=bytes.len() {
                let (left, right) = bytes.split_at(at);
                assert_eq!(run(make(), &[left, right]), whole, "split at {at}");
            }
            let single: Vec<&[u8]> = bytes.chunks(1).collect();
            assert_eq!(run(make(), &single), whole);
        }
    }

    #[test]
    fn a_client_is_known_by_its_first_words() {
        let (_, messages) = run(Framer::of_client(), &[&from_client()]);
        let tags: Vec<u8> = messages.iter().map(|(message, _)| message.tag).collect();
        assert_eq!(tags, [0, 0, b'Q', b'd', b'X']);
        assert_eq!(messages[0].0.startup, Some(Startup::Encryption));
        let Some(Startup::Session(session)) = &messages[1].0.startup else { panic!() };
        assert_eq!(session["application_name"], "rowtide:x");
        assert_eq!(session["replication"], "database");
        assert_eq!(messages[2].0.query.as_deref(), Some("COMMIT"));
        assert_eq!(messages[3].0.change, None, "a client sends no changes");
    }

    #[test]
    fn changes_are_known_by_their_letters() {
        let (_, messages) = run(Framer::of_server(), &[&from_server()]);
        let letters: Vec<_> = messages.iter().map(|(message, _)| message.change).collect();
        assert_eq!(letters, [None, None, Some(b'B'), Some(b'I'), None, Some(b'C')]);
        assert_eq!(messages[3].1, 5 + 26 + 500);
    }

    #[test]
    fn what_is_no_message_passes_as_it_is() {
        let bytes = b"d\0\0\0\x01and so on".to_vec();
        let (all, messages) = run(Framer::of_server(), &[&bytes[..7], &bytes[7..]]);
        assert_eq!(all, bytes);
        assert!(messages.is_empty());
    }
}
