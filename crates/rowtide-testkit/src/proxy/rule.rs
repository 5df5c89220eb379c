//! What is done to which connection, and when.

use std::collections::HashMap;
use std::time::Duration;

use super::pgwire::Piece;

/// Which way bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the client to the server.
    ToServer,
    /// From the server to the client.
    ToClient,
}

/// Which connections are meant, by what they say of themselves when they begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Connections {
    /// Every one.
    All,
    /// Those that read the log (`replication` in the startup packet).
    Replication,
    /// Those that do not.
    Sql,
    /// Those with this `application_name`.
    Application(String),
}

/// What is known of one connection.
#[derive(Debug, Clone, Default)]
pub(super) struct Kind {
    replication: bool,
    application: String,
}

impl Kind {
    pub(super) fn of(session: &HashMap<String, String>) -> Self {
        let word = |name: &str| session.get(name).map(String::as_str).unwrap_or_default();
        Self {
            replication: !matches!(word("replication"), "" | "false" | "off" | "no" | "0"),
            application: word("application_name").to_owned(),
        }
    }
}

impl Connections {
    /// Whether a connection is meant; one that has not said anything yet is so by `All` alone.
    pub(super) fn contain(&self, kind: Option<&Kind>) -> bool {
        match (self, kind) {
            (Self::All, _) => true,
            (_, None) => false,
            (Self::Replication, Some(kind)) => kind.replication,
            (Self::Sql, Some(kind)) => !kind.replication,
            (Self::Application(name), Some(kind)) => kind.application == *name,
        }
    }
}

/// When a rule fires. Messages and bytes are counted over all the connections the rule is about,
/// from the moment it is added, and anew after it has fired.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum When {
    /// At the next byte.
    Now,
    /// After so many bytes.
    Bytes(u64),
    /// At the n-th message of this type.
    Message(u8, u64),
    /// At the n-th pgoutput message of this letter.
    Change(u8, u64),
    /// At the n-th simple query whose text contains this, upper or lower case.
    Query(String, u64),
    /// At the n-th simple query that is this and nothing else.
    Statement(String, u64),
}

/// What happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Both sides are closed.
    Cut,
    /// The message reaches the server; its answer, up to and with `ReadyForQuery`, is dropped, and
    /// then both sides are closed: the server has done what it was asked for. Only
    /// [`Direction::ToServer`], and only where the client waits for each answer.
    CutReply,
    /// Nothing passes any more, in either direction, and nobody is told.
    BlackHole,
    /// The receiver is told that nothing more will come; the other direction goes on.
    HalfClose,
}

/// A fault that is done a number of times.
#[derive(Debug, Clone)]
pub struct Rule {
    connections: Connections,
    direction: Direction,
    when: When,
    action: Action,
    before: bool,
    times: u64,
}

impl Rule {
    /// Does `action` to one of `connections` when, in `direction`, `when` comes true; once, and
    /// after the message has passed.
    pub fn new(connections: Connections, direction: Direction, when: When, action: Action) -> Self {
        Self { connections, direction, when, action, before: false, times: 1 }
    }

    /// Before the message instead of after it.
    #[must_use]
    pub fn before(mut self) -> Self {
        self.before = true;
        self
    }

    /// So often instead of once.
    #[must_use]
    pub fn times(mut self, times: u64) -> Self {
        self.times = times;
        self
    }
}

/// How bytes are forwarded while nothing is wrong.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Shape {
    /// A pause before each message.
    pub delay: Duration,
    /// At most so many bytes a second; 0 for no limit.
    pub bytes_per_second: u64,
    /// Each byte by itself.
    pub one_byte: bool,
}

/// A rule and what it has seen.
#[derive(Debug)]
pub(super) struct Active {
    rule: Rule,
    seen: u64,
    pub(super) fired: u64,
}

/// What a rule says about a piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) action: Action,
    /// Bytes of the piece that still pass; `None` if the whole message does.
    pub(super) passing: Option<usize>,
}

impl Active {
    pub(super) fn new(rule: Rule) -> Self {
        Self { rule, seen: 0, fired: 0 }
    }

    pub(super) fn judge(
        &mut self,
        kind: Option<&Kind>,
        direction: Direction,
        piece: &Piece,
    ) -> Option<Verdict> {
        let Self { rule, seen, fired } = self;
        let meant = rule.direction == direction && rule.connections.contain(kind);
        if !meant || *fired >= rule.times {
            return None;
        }
        let begins = piece.begins.as_ref();
        let whole = if rule.before { Some(0) } else { None };
        let passing = match &rule.when {
            When::Now => Some(0),
            When::Bytes(limit) => {
                let before = *seen;
                *seen += piece.bytes.len() as u64;
                let due = *seen >= *limit;
                due.then(|| usize::try_from(limit - before).unwrap_or(usize::MAX)).map(Some)?
            }
            When::Message(tag, nth) => {
                counted(seen, *nth, begins.is_some_and(|message| message.tag == *tag))
                    .then_some(whole)?
            }
            When::Change(letter, nth) => {
                let found = begins.is_some_and(|message| message.change == Some(*letter));
                counted(seen, *nth, found).then_some(whole)?
            }
            When::Query(words, nth) => {
                let text = begins.and_then(|message| message.query.as_ref());
                let found =
                    text.is_some_and(|text| text.to_lowercase().contains(&words.to_lowercase()));
                counted(seen, *nth, found).then_some(whole)?
            }
            When::Statement(words, nth) => {
                let text = begins.and_then(|message| message.query.as_ref());
                let found = text.is_some_and(|text| {
                    text.trim().trim_end_matches(';').eq_ignore_ascii_case(words)
                });
                counted(seen, *nth, found).then_some(whole)?
            }
        };
        *seen = 0;
        *fired += 1;
        Some(Verdict { action: rule.action, passing })
    }
}

/// Counts a message that is meant; whether it is the `nth`.
fn counted(seen: &mut u64, nth: u64, meant: bool) -> bool {
    *seen += u64::from(meant);
    meant && *seen >= nth
}
