//! Plays a history between a real source and a real destination.

use std::collections::BTreeMap;
use std::time::Duration;

use rowtide_testkit::{Finished, Result, Rowtide, wait_for};

use super::action::Action;
use super::session::Sessions;
use crate::stage::Stage;

/// How long the pipeline may take for what it was asked.
pub(super) const LIMIT: Duration = Duration::from_secs(90);

/// What came of the steps.
#[derive(Debug, Default, Clone)]
pub(super) struct Tally {
    /// How often each kind of step was done.
    pub(super) done: BTreeMap<String, u32>,
    /// How often the source refused one.
    pub(super) refused: BTreeMap<String, u32>,
    /// Why tables stopped that then had to be helped.
    pub(super) helped: BTreeMap<String, u32>,
    /// Tables compared.
    pub(super) compared: u32,
}

impl Tally {
    /// Takes another's figures in.
    pub(super) fn add(&mut self, other: &Self) {
        let pairs = [
            (&mut self.done, &other.done),
            (&mut self.refused, &other.refused),
            (&mut self.helped, &other.helped),
        ];
        for (mine, theirs) in pairs {
            for (what, count) in theirs {
                *mine.entry(what.clone()).or_default() += count;
            }
        }
        self.compared += other.compared;
    }
}

/// A stage with what runs on it.
pub(super) struct Play<'a> {
    pub(super) stage: &'a Stage,
    pub(super) sessions: Sessions,
    pub(super) running: Option<Rowtide>,
    pub(super) tally: Tally,
    /// The pipeline is no longer new.
    attached: bool,
}

impl<'a> Play<'a> {
    pub(super) fn begin(stage: &'a Stage, prologue: &str) -> Result<Self> {
        let sessions = Sessions::connect(&stage.source_url())?;
        sessions.run(super::session::Who::Main, prologue)??;
        Ok(Self { stage, sessions, running: None, tally: Tally::default(), attached: false })
    }

    /// Does one step.
    ///
    /// # Errors
    /// If the pipeline ends by itself, or anything differs.
    pub(super) fn act(&mut self, action: &Action) -> Result<()> {
        self.check_running()?;
        let name = match action {
            Action::Sql(_, what, _) => (*what).to_owned(),
            Action::Resync(_) => "resync".to_owned(),
            other => format!("{other:?}").to_lowercase(),
        };
        *self.tally.done.entry(name.clone()).or_default() += 1;
        match action {
            Action::Sql(who, _, sql) => {
                if self.sessions.run(*who, sql)?.is_err() {
                    *self.tally.refused.entry(name).or_default() += 1;
                }
            }
            Action::Start => {
                if self.running.is_none() {
                    self.running = Some(self.stage.follow()?);
                    self.wait_until_attached()?;
                }
            }
            Action::Stop => self.stop()?,
            Action::Kill => {
                if let Some(running) = self.running.take() {
                    running.kill9()?;
                }
            }
            Action::Once => {
                self.stop()?;
                ended_well(self.once()?)?;
                self.attached = true;
            }
            Action::Resync(table) => {
                // It may have good reasons to refuse; a crash has none.
                let said = self.stage.command("table", &["resync", table]).run(LIMIT)?;
                if !matches!(said.code(), 0 | 2 | 4) {
                    said.success()?;
                }
            }
            Action::Settle => self.settle()?,
        }
        Ok(())
    }

    pub(super) fn once(&self) -> Result<Finished> {
        self.stage.command("run", &["--once"]).run(LIMIT)
    }

    /// Ends the pipeline in order.
    pub(super) fn stop(&mut self) -> Result<()> {
        let Some(running) = self.running.take() else { return Ok(()) };
        running.terminate()?;
        let ended = running.wait(Duration::from_secs(60))?;
        // It may be too young to listen to signals.
        if ended.code() == -1 && ended.stderr.is_empty() { Ok(()) } else { ended_well(ended) }
    }

    fn check_running(&mut self) -> Result<()> {
        match self.running.as_mut().is_some_and(|running| !running.is_running()) {
            true => Err(format!("the pipeline ended by itself:\n{}", self.log())),
            false => Ok(()),
        }
    }

    /// The end of what the running pipeline said.
    fn log(&self) -> String {
        let log = self.running.as_ref().map(Rowtide::stderr).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines.get(lines.len().saturating_sub(25)..).unwrap_or_default().join("\n")
    }

    /// Waits until a new pipeline has looked at everything and remembers it.
    fn wait_until_attached(&mut self) -> Result<()> {
        if std::mem::replace(&mut self.attached, true) {
            return Ok(());
        }
        wait_for("the source to be attached", LIMIT, || {
            self.check_running()?;
            let log = self.running.as_ref().map(Rowtide::stderr).unwrap_or_default();
            Ok(log.contains("source attached").then_some(()))
        })
    }

    /// Waits until the log up to now is acknowledged.
    pub(super) fn catch_up(&mut self) -> Result<()> {
        let head = self.stage.sql("SELECT pg_current_wal_flush_lsn()")?;
        let query = format!(
            "SELECT coalesce(bool_and(confirmed_flush_lsn >= '{}'), false) \
             FROM pg_replication_slots WHERE NOT temporary",
            head.trim()
        );
        let waited = wait_for("the slot to reach the head", LIMIT, || {
            self.check_running()?;
            Ok((self.stage.sql(&query)?.trim() == "t").then_some(()))
        });
        waited.map_err(|error| format!("{error}\n{}", self.log()))
    }
}

/// Whether a run ended as it may: its work done, or all of it but for tables that need somebody.
pub(super) fn ended_well(finished: Finished) -> Result<()> {
    match finished.code() {
        5 if finished.stderr.contains("is stopped") => Ok(()),
        _ => finished.success().map(drop),
    }
}
