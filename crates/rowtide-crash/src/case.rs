//! One database, one pipeline, one copy.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rowtide_testkit::{Finished, Result, Rowtide, RowtideCommand, wait_for};

use crate::arena::Arena;
use crate::load::Load;
use crate::statements::MONEY;
use crate::target::{Place, Target};

/// The longest any single step may take.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// What a commit of the stream leaves in the log.
const COMMITTED: &str = "epoch committed";

/// How the tables are treated, with buffers so small that everything happens in many pieces.
const RULES: &str = "
[[table]]
match = \"public.odd\"
schema = \"pause\"

[[table]]
match = \"public.ledger\"
mode = \"append\"
[[table]]
match = \"public.counter\"
mode = \"append\"
[[table]]
match = \"public.soft\"
delete = \"soft\"

[stream]
buffer_bytes = \"64KiB\"
[copy]
batch_bytes = \"64KiB\"
";

/// A case; what it made at the server is removed when it is dropped.
pub(crate) struct Case<'a> {
    pub(crate) arena: &'a Arena,
    /// The name of its source database and of its pipeline.
    pub(crate) name: String,
    pub(crate) place: Place,
    /// From this position on the copy's money is all there; 0 while that is not known.
    pub(crate) money_from: Arc<AtomicU64>,
    directory: tempfile::TempDir,
}

impl<'a> Case<'a> {
    /// Makes the database and the place for the copy.
    pub(crate) fn new(arena: &'a Arena, target: Target) -> Result<Self> {
        let name = format!("crash_{}", arena.number());
        let directory = tempfile::tempdir().map_err(|e| format!("make a directory: {e}"))?;
        arena.make_source(&name)?;
        let place = Place::make(arena, target, &name, directory.path())?;
        let case = Self { arena, name, place, money_from: Arc::default(), directory };
        case.configure()?;
        Ok(case)
    }

    fn configure(&self) -> Result<()> {
        let text = format!(
            "version = 1\npipeline = \"{}\"\n[source]\nurl = \"{}\"\n[destination]\nurl = \"{}\"\n\
             [tables]\ninclude = [\"public.*\"]\n[retry]\nstartup = \"2s\"\n{RULES}",
            self.name,
            self.source_url(),
            self.place.url(self.arena)
        );
        let path = self.directory.path().join("rowtide.toml");
        std::fs::write(&path, text).map_err(|e| format!("write {}: {e}", path.display()))
    }

    pub(crate) fn source_url(&self) -> String {
        self.arena.server.url(&self.name)
    }

    /// Runs SQL at the source.
    pub(crate) fn sql(&self, sql: &str) -> Result<String> {
        self.arena.sql(&self.name, sql)
    }

    /// `rowtide run` with `arguments`.
    pub(crate) fn run(&self, arguments: &[&str]) -> RowtideCommand {
        let directory = self.directory.path();
        RowtideCommand::new(&self.arena.binary, directory, ["run"])
            .with(arguments)
            .env("ROWTIDE_LOG", "info,rowtide_engine=debug")
    }

    /// Catches up, and ends.
    pub(crate) fn once(&self, arguments: &[&str]) -> Result<Finished> {
        self.run(&["--once"]).with(arguments).run(LIMIT)?.success()
    }

    /// Ends a running process in order. Tables that stopped are for somebody else to look at.
    pub(crate) fn stop(&self, rowtide: Rowtide) -> Result<()> {
        rowtide.terminate()?;
        let finished = rowtide.wait(Duration::from_secs(15))?;
        match finished.code() {
            5 if finished.stderr.contains("is stopped") => Ok(()),
            _ => finished.success().map(drop),
        }
    }

    /// Waits until `rowtide` has committed something of the stream.
    pub(crate) fn wait_for_commit(&self, rowtide: &mut Rowtide) -> Result<()> {
        self.wait_for_log(rowtide, COMMITTED)
    }

    /// Waits until `rowtide` has written `text` into its log.
    pub(crate) fn wait_for_log(&self, rowtide: &mut Rowtide, text: &str) -> Result<()> {
        wait_for(text, LIMIT, || {
            let running = rowtide.is_running();
            let log = rowtide.stderr();
            match (log.contains(text), running) {
                (true, _) => Ok(Some(Ok(()))),
                (false, true) => Ok(None),
                (false, false) => Ok(Some(Err(format!("rowtide ended by itself: {log}")))),
            }
        })?
    }

    /// The end of the source's log.
    pub(crate) fn head(&self) -> Result<u64> {
        position(self.sql("SELECT pg_current_wal_insert_lsn()")?.trim())
    }

    /// Takes note that all copies are in place: what they were ahead of the stream ends here.
    pub(crate) fn money_is_there(&self) -> Result<()> {
        self.money_from.store(self.head()?, Ordering::Release);
        Ok(())
    }

    /// The money of a copy at rest, which may be in the middle of the stream, but never between
    /// two halves of a transaction.
    pub(crate) fn check_money(&self) -> Result<()> {
        let from = self.money_from.load(Ordering::Acquire);
        if from == 0 {
            return Ok(());
        }
        let rows = self.place.copied(self.arena).rows(&money_query(&self.name))?;
        judge_money(rows.first().map_or("", String::as_str), from)
    }

    /// Ends the load; returns how many transactions there were. The log says nothing of a new
    /// column before the table's next row: here it is.
    pub(crate) fn end(&self, load: Load) -> Result<u64> {
        let transactions = load.stop()?;
        self.sql("INSERT INTO shape (id, v) VALUES (9999, 1)")?;
        Ok(transactions)
    }

    /// The name of the pipeline's slot.
    pub(crate) fn slot(&self) -> String {
        format!("rowtide_{}", self.name)
    }
}

impl Drop for Case<'_> {
    fn drop(&mut self) {
        let slots = format!(
            "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots \
             WHERE database = '{0}' AND active; \
             SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots \
             WHERE database = '{0}'",
            self.name
        );
        // What stays is gone with the server.
        let limit = Duration::from_secs(5);
        let _ =
            wait_for("the slot to be free", limit, || self.arena.sql("postgres", &slots).map(Some));
        let _ = self.arena.sql("postgres", &format!("DROP DATABASE {} WITH (FORCE)", self.name));
        if let Place::Postgres(db) = &self.place {
            let _ = self.arena.sql("postgres", &format!("DROP DATABASE {db} WITH (FORCE)"));
        }
    }
}

/// All money and the position of the copy of `pipeline`, in one row and of one moment.
pub(crate) fn money_query(pipeline: &str) -> String {
    format!(
        "SELECT concat((SELECT sum(balance) FROM public.bank) + \
         (SELECT sum(balance) FROM public.vault), ' ', \
         (SELECT position FROM _rowtide.pipelines WHERE pipeline = '{pipeline}'))"
    )
}

/// Whether a row of [`money_query`] is as it must be from the position `from` on.
pub(crate) fn judge_money(row: &str, from: u64) -> Result<()> {
    let (money, at) = row.split_once(' ').ok_or("the copy has no position")?;
    if position(at)? < from || money == MONEY.to_string() {
        return Ok(());
    }
    Err(format!("the money at {at} is {money}, not {MONEY}: a transaction is half applied"))
}

/// Reads `16/B374D848`, or a checkpoint of one partition: `postgres@16/B374D848`.
pub(crate) fn position(text: &str) -> Result<u64> {
    let text = text.rsplit('@').next().unwrap_or(text);
    let part = |digits: &str| u64::from_str_radix(digits, 16).ok();
    text.split_once('/')
        .and_then(|(high, low)| Some(part(high)? << 32 | part(low)?))
        .ok_or_else(|| format!("`{text}` is no position"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_counts_from_a_position_on() {
        assert!(judge_money("200000 0/20", 0x10).is_ok());
        assert!(judge_money("199999 0/0F", 0x10).is_ok());
        assert!(judge_money("199999 0/10", 0x10).is_err());
        assert!(judge_money("", 0x10).is_err());
    }
}
