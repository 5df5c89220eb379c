//! What a repair has done.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::plan::Fix;
use crate::Kind;

/// What a repair has done to a table, or would do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Repaired {
    /// Nothing was done: this is the plan.
    pub planned: bool,
    /// Rows that were missing at the destination, or marked as deleted there.
    pub missing: u64,
    /// Rows that the source does not have.
    pub extra: u64,
    /// Rows of which columns differed.
    pub changed: u64,
    /// Rows that did not stand equally often at both sides.
    pub repeated: u64,
    /// Rows that kept moving until the end.
    pub left: u64,
    /// How often the pipeline was held.
    pub holds: u64,
    /// How long it was held at most, in microseconds, with the writing.
    pub longest_hold: u64,
    /// What would be done as SQL for the destination, if values are shown.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub statements: Vec<String>,
    /// Rows for which no statement is listed, because there are too many.
    #[serde(default, skip_serializing_if = "is_none")]
    pub unlisted: u64,
    /// Rows for which there is one.
    #[serde(skip)]
    pub(super) listed: usize,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants it so")]
const fn is_none(rows: &u64) -> bool {
    *rows == 0
}

impl Repaired {
    /// How many rows were made right, or would be.
    pub fn rows(&self) -> u64 {
        self.missing + self.extra + self.changed + self.repeated
    }

    pub(super) fn add(&mut self, fixes: &[Fix]) {
        for fix in fixes {
            *match fix.kind {
                Kind::Missing | Kind::MissingOrMarked => &mut self.missing,
                Kind::Extra => &mut self.extra,
                Kind::Changed => &mut self.changed,
                Kind::Repeated => &mut self.repeated,
            } += 1;
        }
    }

    pub(super) fn held(&mut self, time: Duration) {
        self.holds += 1;
        let time = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.longest_hold = self.longest_hold.max(time);
    }
}
