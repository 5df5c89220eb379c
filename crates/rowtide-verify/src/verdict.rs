//! What is said of a table in one word.

use std::fmt;

use rowtide_core::ErrorKind;
use serde::{Deserialize, Serialize};

/// What a verification found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Both sides hold the same rows.
    Equal,
    /// They do not.
    Differs,
    /// No difference was proved, but some rows never stood still long enough to be compared.
    Unsettled,
    /// The table is not followed at present (being copied, stopped, skipped): nothing was compared.
    NotCompared,
    /// It could not be verified.
    Failed,
}

impl Verdict {
    /// The verdict as a word for the ledger.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Equal => "equal",
            Self::Differs => "differs",
            Self::Unsettled => "unsettled",
            Self::NotCompared => "not_compared",
            Self::Failed => "failed",
        }
    }

    /// The exit code that says so; `kind` is that of what failed.
    pub const fn exit_code(self, kind: Option<ErrorKind>) -> u8 {
        match (self, kind) {
            (Self::Equal, _) => 0,
            (Self::Differs | Self::Unsettled | Self::NotCompared, _) => 1,
            (Self::Failed, Some(kind)) => kind.exit_code(),
            (Self::Failed, None) => ErrorKind::Internal.exit_code(),
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Equal => "equal",
            Self::Differs => "differs",
            Self::Unsettled => "could not settle",
            Self::NotCompared => "not compared",
            Self::Failed => "could not be verified",
        })
    }
}
