//! Tables that the destination refuses: a constraint that somebody added, a right that was revoked,
//! a table that was dropped or altered by hand.
//!
//! The epoch that met the refusal is undone. The table is stopped in an epoch of its own, and the
//! next attempt begins at the checkpoint without it, so that neither the others nor the source's
//! log wait for somebody to come.

use std::collections::HashMap;

use rowtide_core::traits::Progress;
use rowtide_core::{Error, ErrorKind, Phase, Result, TableName, fault};

use crate::Pipeline;

/// A refusal that may pass (a lock, a deadlock) is tried so often.
const TRIES: u32 = 3;

/// So many tables refused one after the other, with nothing applied in between, are no table's own
/// doing.
const MANY: u32 = 10;

/// What the attempts of one run were refused.
#[derive(Debug, Default)]
pub(crate) struct Refusals {
    tries: HashMap<TableName, u32>,
    in_a_row: u32,
}

impl Refusals {
    /// Something was applied.
    pub(crate) fn progressed(&mut self) {
        *self = Self::default();
    }

    /// The table to be stopped, if one alone is to blame for `error` and it was tried often enough.
    pub(crate) fn judge(&mut self, error: &Error) -> Option<TableName> {
        let table = error.table().filter(|_| error.is_of_one_table())?;
        if error.kind().is_transient() {
            let tries = self.tries.entry(table.clone()).or_default();
            *tries += 1;
            if *tries < TRIES {
                return None;
            }
        }
        self.in_a_row += 1;
        (self.in_a_row <= MANY).then(|| table.clone())
    }
}

impl Pipeline {
    /// Stops `table` durably, because of `error`.
    ///
    /// # Errors
    /// `error` itself, if the table cannot be stopped; what may pass, or a newer writer, if that is
    /// why.
    pub(crate) async fn stop_refused(&self, table: &TableName, error: Error) -> Result<()> {
        let reason = error.reason();
        let stopping = async {
            let mut writer = self.destination.open(&self.name).await?;
            let state = writer.state().await?;
            let Some(known) = state.table(table) else { return Ok(false) };
            writer.remember(&known.clone().stopped(reason.clone(), None)).await?;
            fault::point("table.stopped")?;
            writer.commit(Progress::default()).await.map(|()| true)
        };
        match stopping.await {
            Ok(true) => {}
            // A newer writer decides about the table now.
            Err(other) if other.kind().is_transient() || other.kind() == ErrorKind::Fenced => {
                return Err(other);
            }
            Ok(false) | Err(_) => return Err(error),
        }
        tracing::error!(table = %table, reason, "table stopped: the destination refuses its rows");
        self.monitor.table(table, |shown| {
            shown.phase = Phase::Stopped;
            shown.reason = Some(reason.clone());
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(table: &str, error: Error) -> Error {
        error.concerning(Some(TableName::new("public", table)))
    }

    #[test]
    fn a_refused_row_stops_its_table_at_once() {
        let mut refusals = Refusals::default();
        let stopped = refusals.judge(&of("t", Error::data("refused")));
        assert_eq!(stopped, Some(TableName::new("public", "t")));
        assert_eq!(refusals.judge(&Error::data("whose?")), None);
    }

    #[test]
    fn what_is_no_tables_own_stops_none() {
        let mut refusals = Refusals::default();
        for error in [
            Error::unavailable("connection lost"),
            Error::config("memory_limit"),
            Error::access("password"),
            Error::fenced("newer"),
            Error::internal("bug"),
        ] {
            assert_eq!(refusals.judge(&of("t", error)), None);
        }
        assert!(refusals.judge(&of("t", Error::access("denied").of_one_table())).is_some());
    }

    #[test]
    fn what_may_pass_is_tried_again_until_something_else_is_applied() {
        let mut refusals = Refusals::default();
        let locked = |refusals: &mut Refusals| {
            refusals.judge(&of("t", Error::unavailable("locked").of_one_table()))
        };
        assert_eq!(locked(&mut refusals), None);
        assert_eq!(locked(&mut refusals), None);
        refusals.progressed();
        assert_eq!(locked(&mut refusals), None);
        assert_eq!(locked(&mut refusals), None);
        assert!(locked(&mut refusals).is_some());
    }

    #[test]
    fn what_meets_every_table_is_no_tables_own() {
        let mut refusals = Refusals::default();
        let stopped = (0..20)
            .filter(|n| refusals.judge(&of(&format!("t{n}"), Error::data("refused"))).is_some());
        assert_eq!(stopped.count(), 10);
    }
}
