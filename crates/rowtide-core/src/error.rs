//! One error type for the whole workspace.
//!
//! The kind says what the operator (or the engine) does next. It is chosen where the error is
//! made, next to the SQLSTATE or the return code, never guessed later from text. A message names
//! what was attempted and on what; the hint says what to do. Row values never appear in either.

use std::error::Error as StdError;
use std::fmt;

use crate::TableName;

/// The result of everything fallible in Rowtide.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What to do about an error. A ninth kind needs an ADR.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The configuration or the command line is wrong: change it.
    Config,
    /// Credentials or rights are missing: grant them.
    Access,
    /// The other side cannot be reached or is busy: retry with backoff.
    Unavailable,
    /// The source no longer has, or never had, the position that is needed: copy again or repair.
    PositionLost,
    /// The source's schema changed in a way that a policy must decide.
    SchemaDrift,
    /// A value or a row cannot be represented or applied.
    Data,
    /// A newer writer of the same pipeline took over.
    Fenced,
    /// A broken invariant: a bug in Rowtide.
    Internal,
}

impl ErrorKind {
    /// Whether the same operation may succeed later without anybody acting.
    pub const fn is_transient(self) -> bool {
        matches!(self, Self::Unavailable)
    }

    /// The process exit code for an error of this kind.
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Config => 2,
            Self::Access => 3,
            Self::Unavailable => 4,
            Self::PositionLost | Self::SchemaDrift | Self::Data | Self::Fenced => 5,
            Self::Internal => 70,
        }
    }

    /// The kind as a word for logs and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Config => "config",
            Self::Access => "access",
            Self::Unavailable => "unavailable",
            Self::PositionLost => "position_lost",
            Self::SchemaDrift => "schema_drift",
            Self::Data => "data",
            Self::Fenced => "fenced",
            Self::Internal => "internal",
        }
    }
}

/// What failed, why, and what to do next.
#[derive(Debug)]
pub struct Error(Box<Inner>);

#[derive(Debug)]
struct Inner {
    kind: ErrorKind,
    message: String,
    hint: Option<String>,
    source: Option<Box<dyn StdError + Send + Sync>>,
    /// The table that was being written.
    table: Option<TableName>,
    /// Nothing but that table is to blame.
    of_one_table: bool,
    /// The other side was reached, and said so itself.
    answered: bool,
}

impl Error {
    /// An error of `kind`; `message` says what was attempted, on what, and why it failed.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        let message = message.into();
        let (hint, source, table) = (None, None, None);
        let (of_one_table, answered) = (false, false);
        Self(Box::new(Inner { kind, message, hint, source, table, of_one_table, answered }))
    }

    /// Says what to do next.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// Keeps the underlying cause.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// Puts `context` before the message, keeping kind, hint and cause.
    #[must_use]
    pub fn context(mut self, context: impl fmt::Display) -> Self {
        self.0.message = format!("{context}: {}", self.0.message);
        self
    }

    /// Says that the one table that was being written is to blame (a right on it, a lock on it, what
    /// hangs on it), and neither the system that holds it nor the way there.
    #[must_use]
    pub fn of_one_table(mut self) -> Self {
        self.0.of_one_table = true;
        self
    }

    /// Says that the other side was reached and said so itself: no address is mistyped, and what may
    /// pass is worth waiting for.
    #[must_use]
    pub fn answered(mut self) -> Self {
        self.0.answered = true;
        self
    }

    /// Whether the other side was reached.
    pub fn is_answered(&self) -> bool {
        self.0.answered
    }

    /// Names the table that was being written; what was named before is forgotten.
    #[must_use]
    pub fn concerning(mut self, table: Option<TableName>) -> Self {
        self.0.table = table;
        self
    }

    /// The table that was being written.
    pub fn table(&self) -> Option<&TableName> {
        self.0.table.as_ref()
    }

    /// Whether one table alone is to blame. For a value that is refused, or a definition that does
    /// not fit, it always is.
    pub fn is_of_one_table(&self) -> bool {
        self.0.of_one_table || matches!(self.kind(), ErrorKind::Data | ErrorKind::SchemaDrift)
    }

    /// What the operator does next.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// What was attempted and why it failed, without the cause chain.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// What to do next, where there is something to say.
    pub fn hint(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }

    /// Message, causes and hint on one line: what is remembered of a table that stops.
    pub fn reason(&self) -> String {
        match self.hint() {
            Some(hint) => format!("{} ({hint})", self.chain()),
            None => self.chain(),
        }
    }

    /// Message and causes on one line, without the hint.
    pub fn chain(&self) -> String {
        let mut text = self.0.message.clone();
        let mut cause = self.source();
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        text
    }
}

macro_rules! constructors {
    ($($(#[$doc:meta])* $name:ident => $kind:ident;)*) => {
        impl Error {
            $($(#[$doc])* pub fn $name(message: impl Into<String>) -> Self {
                Self::new(ErrorKind::$kind, message)
            })*
        }
    };
}

constructors! {
    /// An [`ErrorKind::Config`] error.
    config => Config;
    /// An [`ErrorKind::Access`] error.
    access => Access;
    /// An [`ErrorKind::Unavailable`] error.
    unavailable => Unavailable;
    /// An [`ErrorKind::PositionLost`] error.
    position_lost => PositionLost;
    /// An [`ErrorKind::SchemaDrift`] error.
    schema_drift => SchemaDrift;
    /// An [`ErrorKind::Data`] error.
    data => Data;
    /// An [`ErrorKind::Fenced`] error.
    fenced => Fenced;
    /// An [`ErrorKind::Internal`] error.
    internal => Internal;
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}

impl From<arrow_schema::ArrowError> for Error {
    fn from(error: arrow_schema::ArrowError) -> Self {
        Self::internal("an Arrow operation failed").with_source(error)
    }
}
