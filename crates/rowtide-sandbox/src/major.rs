//! The PostgreSQL major versions Rowtide is tested against.

use std::fmt;
use std::str::FromStr;

use crate::binaries::PostgresBinaries;
use crate::error::Error;

/// A supported PostgreSQL major version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "each variant is the number it carries")]
pub enum Major {
    V14,
    V15,
    V16,
    V17,
    V18,
}

impl Major {
    /// Every supported major version, oldest first.
    pub const ALL: [Self; 5] = [Self::V14, Self::V15, Self::V16, Self::V17, Self::V18];

    /// The version as PostgreSQL writes it, `15` for instance.
    #[must_use]
    pub fn number(self) -> u32 {
        match self {
            Self::V14 => 14,
            Self::V15 => 15,
            Self::V16 => 16,
            Self::V17 => 17,
            Self::V18 => 18,
        }
    }

    /// The supported major versions that can be started on this machine, oldest first.
    #[must_use]
    pub fn installed() -> Vec<Self> {
        let found = |major: &Self| PostgresBinaries::locate(Some(*major)).is_ok();
        Self::ALL.into_iter().filter(found).collect()
    }
}

impl fmt::Display for Major {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.number().fmt(f)
    }
}

impl FromStr for Major {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let known = Self::ALL.into_iter().find(|major| major.to_string() == text.trim());
        known.ok_or_else(|| {
            Error::new(
                format!("could not read {text:?} as a PostgreSQL major version"),
                "it is not one of the supported versions",
                "use 14, 15, 16, 17 or 18",
            )
        })
    }
}
