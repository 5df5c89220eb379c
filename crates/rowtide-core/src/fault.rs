//! Named points at which a test breaks a run off, and planted bugs that the tests must catch.
//!
//! Both exist only with the feature `fault-injection`, which no released program has: without it
//! the functions here are empty and vanish. With it, two environment variables choose:
//!
//! - `ROWTIDE_FAILPOINT=name=action[@n]`: at the n-th arrival (by default the first) at the point
//!   `name`, do `abort` (end the process as a crash would), `error` (fail as a lost connection
//!   would), or `hang` (block the thread for ever). Several are separated by `;`.
//! - `ROWTIDE_PLANTED=name`: behave wrongly in one way, see [`PLANTED`].

#[cfg(feature = "fault-injection")]
pub use active::{arm, check, planted, point};
#[cfg(not(feature = "fault-injection"))]
pub use inactive::{check, planted, point};

/// Every point, about in the order in which a run comes by.
pub const POINTS: &[&str] = &[
    // Making the source's side.
    "intent.before",
    "intent.stored",
    "publication.created",
    "slot.created",
    "attach.before",
    "attach.stored",
    "plan.stored",
    // Copying.
    "snapshot.before",
    "snapshot.fenced",
    "staging.created",
    "lane.written",
    "lane.finished",
    "spool.before",
    "spool.written",
    "promote.before",
    "promote.swapped",
    "promote.replayed",
    "promote.committed",
    // Following.
    "segment.received",
    "transaction.part",
    "write.before",
    "write.staged",
    "write.removed",
    "write.applied",
    "truncate.before",
    "truncate.applied",
    "schema.before",
    "schema.applied",
    "schema.remembered",
    "table.stopped",
    "epoch.sealed",
    "commit.before",
    "commit.done",
    "epoch.committed",
    "acknowledge.before",
    "acknowledge.sent",
    // Coming back.
    "restart.opened",
    "restart.attached",
    "publication.altered",
];

/// Every planted bug.
pub const PLANTED: &[&str] = &[
    // Engine.
    "acknowledge-early",
    "split-transaction",
    "skip-first-after-restart",
    "later-chunks-dropped",
    "promote-without-spool",
    "spool-tail-lost",
    "fence-ignored-for-second-table",
    "truncate-skipped",
    "schema-fill-lost",
    "repair-leaves-rows",
    "repair-fence-ignored",
    // Fold.
    "unchanged-as-null",
    "first-change-wins",
    "move-keeps-old-row",
    // PostgreSQL source.
    "acknowledge-keepalive",
    "settle-skipped",
    "unseen-commits-ignored",
    "order-by-change-position",
    "identity-unchecked",
    "publication-gap-accepted",
    // Destinations.
    "retry-without-reading",
    "zombie-commits",
    "checkpoint-outside-commit",
    "missing-base-as-null",
    "multiset-removes-all",
];

#[cfg(not(feature = "fault-injection"))]
mod inactive {
    use crate::Result;

    /// Does nothing in this build.
    ///
    /// # Errors
    /// None.
    #[inline(always)]
    pub const fn check() -> Result<()> {
        Ok(())
    }

    /// Does nothing in this build.
    ///
    /// # Errors
    /// None.
    #[inline(always)]
    pub const fn point(_name: &str) -> Result<()> {
        Ok(())
    }

    /// No bug is planted in this build.
    #[inline(always)]
    pub const fn planted(_name: &str) -> bool {
        false
    }
}

#[cfg(feature = "fault-injection")]
mod active {
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::sync::{OnceLock, PoisonError, RwLock};

    use super::{PLANTED, POINTS};
    use crate::{Error, Result};

    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    enum Action {
        Abort,
        Error,
        Hang,
    }

    #[derive(Debug)]
    struct Armed {
        name: String,
        action: Action,
        at: u64,
        arrivals: AtomicU64,
    }

    #[derive(Debug, Default)]
    struct Faults {
        armed: Vec<Armed>,
        planted: Option<String>,
    }

    static FAULTS: OnceLock<Result<RwLock<Faults>, String>> = OnceLock::new();

    fn faults() -> Result<&'static RwLock<Faults>, &'static str> {
        let read = || {
            let variable = |name: &str| std::env::var(name).ok().filter(|text| !text.is_empty());
            let armed =
                variable("ROWTIDE_FAILPOINT").map_or(Ok(Vec::new()), |text| parse(&text))?;
            let planted = variable("ROWTIDE_PLANTED").map(|name| known(&name)).transpose()?;
            Ok(RwLock::new(Faults { armed, planted }))
        };
        FAULTS.get_or_init(read).as_ref().map_err(String::as_str)
    }

    fn parse(points: &str) -> Result<Vec<Armed>, String> {
        let one = |text: &str| {
            let (name, rest) = text
                .split_once('=')
                .ok_or_else(|| format!("ROWTIDE_FAILPOINT: `{text}` is not name=action[@n]"))?;
            let (action, at) = rest.split_once('@').unwrap_or((rest, "1"));
            if !POINTS.contains(&name) {
                return Err(format!("ROWTIDE_FAILPOINT: there is no point `{name}`"));
            }
            let action = match action {
                "abort" => Action::Abort,
                "error" => Action::Error,
                "hang" => Action::Hang,
                _ => return Err(format!("ROWTIDE_FAILPOINT: there is no action `{action}`")),
            };
            let at = at.parse().map_err(|_| format!("ROWTIDE_FAILPOINT: `{at}` is no number"))?;
            Ok(Armed { name: name.to_owned(), action, at, arrivals: AtomicU64::new(0) })
        };
        points.split(';').filter(|text| !text.is_empty()).map(one).collect()
    }

    fn known(bug: &str) -> Result<String, String> {
        match PLANTED.contains(&bug) {
            true => Ok(bug.to_owned()),
            false => Err(format!("ROWTIDE_PLANTED: there is no bug `{bug}`")),
        }
    }

    /// Reads the two variables.
    ///
    /// # Errors
    /// `Config` if they name something that does not exist.
    pub fn check() -> Result<()> {
        faults().map(drop).map_err(Error::config)
    }

    /// Arms `points` (written as in the variable) in place of those armed before, for tests that
    /// run what they test in their own process.
    ///
    /// # Errors
    /// `Config` if they name something that does not exist.
    pub fn arm(points: &str) -> Result<()> {
        let armed = parse(points).map_err(Error::config)?;
        let faults = faults().map_err(Error::config)?;
        faults.write().unwrap_or_else(PoisonError::into_inner).armed = armed;
        Ok(())
    }

    /// Arrives at a point: does there what was asked for.
    ///
    /// # Errors
    /// `Unavailable`, if an error was asked for here.
    pub fn point(name: &str) -> Result<()> {
        debug_assert!(POINTS.contains(&name), "{name} is not in the list of points");
        match arrive(name) {
            None => Ok(()),
            Some(Action::Abort) => std::process::abort(),
            Some(Action::Error) => Err(Error::unavailable(format!("injected failure at {name}"))),
            Some(Action::Hang) => loop {
                std::thread::park();
            },
        }
    }

    fn arrive(name: &str) -> Option<Action> {
        let faults = faults().ok()?.read().unwrap_or_else(PoisonError::into_inner);
        let due = |armed: &&Armed| {
            armed.name == name && armed.arrivals.fetch_add(1, Ordering::Relaxed) + 1 == armed.at
        };
        faults.armed.iter().find(due).map(|armed| armed.action)
    }

    /// Whether the bug `name` is planted.
    pub fn planted(name: &str) -> bool {
        debug_assert!(PLANTED.contains(&name), "{name} is not in the list of planted bugs");
        faults().is_ok_and(|faults| {
            let faults = faults.read().unwrap_or_else(PoisonError::into_inner);
            faults.planted.as_deref() == Some(name)
        })
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn points_are_read_with_their_action_and_count() {
            let armed = parse("slot.created=abort;lane.written=error@3").unwrap();
            let read: Vec<_> = armed.iter().map(|a| (a.name.as_str(), a.action, a.at)).collect();
            assert_eq!(
                read,
                [("slot.created", Action::Abort, 1), ("lane.written", Action::Error, 3)]
            );
        }

        #[test]
        fn a_point_acts_at_its_arrival_and_only_then() {
            arm("lane.written=error@2").unwrap();
            assert!(point("lane.written").is_ok());
            assert!(point("lane.written").is_err());
            assert!(point("lane.written").is_ok());
            arm("").unwrap();
        }

        #[test]
        fn what_does_not_exist_is_refused() {
            for points in
                ["nowhere=abort", "slot.created", "slot.created=jump", "slot.created=abort@x"]
            {
                assert!(parse(points).is_err(), "{points}");
            }
            assert!(known("gremlin").is_err());
            assert!(known("zombie-commits").is_ok());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    #[test]
    fn names_are_unique() {
        for names in [super::POINTS, super::PLANTED] {
            assert_eq!(names.iter().collect::<HashSet<_>>().len(), names.len());
        }
    }
}
