//! One error shape for the crate: what was attempted, why it failed, what to do next.

use std::fmt;
use std::io;
use std::path::Path;

/// A result whose error is [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a sandbox server could not be found, started, stopped or asked.
#[derive(Debug)]
pub struct Error {
    attempt: String,
    reason: String,
    advice: String,
    missing: bool,
}

impl Error {
    pub(crate) fn new(
        attempt: impl Into<String>,
        reason: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        Self {
            attempt: attempt.into(),
            reason: reason.into(),
            advice: advice.into(),
            missing: false,
        }
    }

    /// Wraps an I/O error met while doing `attempt` on `path`.
    pub(crate) fn io(attempt: &str, path: &Path, error: &io::Error) -> Self {
        Self::new(
            format!("could not {attempt} {}", path.display()),
            error.to_string(),
            "check that the directory exists, is writable and has room; TMPDIR moves it",
        )
    }

    /// Marks the error as "the software is not on this machine".
    pub(crate) fn not_installed(mut self) -> Self {
        self.missing = true;
        self
    }

    /// Whether the cause is that a server or tool is not installed, rather than that it failed.
    #[must_use]
    pub fn is_not_installed(&self) -> bool {
        self.missing
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { attempt, reason, advice, .. } = self;
        write!(f, "{attempt}: {reason}\n  next: {advice}")
    }
}

impl std::error::Error for Error {}
