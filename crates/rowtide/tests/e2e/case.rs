//! One server, one pipeline, one file.

use std::path::PathBuf;
use std::time::Duration;

use rowtide_sandbox::testing::start_or_skip;
use rowtide_sandbox::{PostgresServer, ServerOptions};
use rowtide_testkit::{Finished, Rowtide, RowtideCommand, compare_tables, duckdb_rows, wait_for};

/// The longest any single step may take.
pub(crate) const LIMIT: Duration = Duration::from_secs(90);

/// The database every case uses.
pub(crate) const DB: &str = "postgres";

pub(crate) struct Case {
    pub(crate) server: PostgresServer,
    pub(crate) directory: tempfile::TempDir,
}

impl Case {
    /// A case on the default server with `sql` run in it; `None` if there is no server here (a
    /// visible skip, and a failure in CI).
    pub(crate) fn start(sql: &str) -> Option<Self> {
        Self::start_on(&ServerOptions::default(), sql)
    }

    pub(crate) fn start_on(options: &ServerOptions, sql: &str) -> Option<Self> {
        let server = start_or_skip(options)?;
        let case = Self { server, directory: tempfile::tempdir().unwrap() };
        case.sql(sql);
        Some(case)
    }

    /// Runs `sql` at the source, each statement in a transaction of its own.
    pub(crate) fn sql(&self, sql: &str) {
        for statement in sql.split(";\n").filter(|statement| !statement.trim().is_empty()) {
            self.server.psql(DB, statement).unwrap_or_else(|e| panic!("{statement}: {e}"));
        }
    }

    /// Runs all of `sql` in one transaction.
    pub(crate) fn transaction(&self, sql: &str) {
        self.server.psql(DB, &format!("BEGIN; {sql}; COMMIT")).unwrap();
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.directory.path().join("warehouse.duckdb")
    }

    /// Writes a configuration whose rules and further sections are `extra`.
    pub(crate) fn config(&self, extra: &str) -> PathBuf {
        self.config_from(&self.server.url(DB), extra)
    }

    /// The same for a source at `url`, which need not lead straight to the server.
    pub(crate) fn config_from(&self, url: &str, extra: &str) -> PathBuf {
        let path = self.directory.path().join("rowtide.toml");
        let text = format!(
            "version = 1\npipeline = \"case\"\n\n[source]\nurl = \"{url}\"\n\n[destination]\n\
             url = \"duckdb:{}\"\n\n[tables]\ninclude = [\"public.*\"]\n\n{extra}\n",
            self.file().display()
        );
        std::fs::write(&path, text).unwrap();
        path
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> RowtideCommand {
        RowtideCommand::new(
            env!("CARGO_BIN_EXE_rowtide"),
            self.directory.path(),
            arguments.iter().copied(),
        )
    }

    /// `rowtide run --config …` with `arguments`.
    pub(crate) fn run(&self, arguments: &[&str]) -> RowtideCommand {
        let config = self.directory.path().join("rowtide.toml");
        if !config.exists() {
            self.config("");
        }
        self.command(&["run", "--config", &config.display().to_string()]).with(arguments)
    }

    /// Catches up and ends.
    pub(crate) fn once(&self) -> Finished {
        self.run(&["--once"]).run(LIMIT).and_then(Finished::success).unwrap()
    }

    /// Catches up, then compares `tables` row by row.
    pub(crate) fn settle(&self, tables: &[&str]) {
        self.once();
        self.compare(tables);
    }

    pub(crate) fn compare(&self, tables: &[&str]) {
        if let Err(difference) = compare_tables(&self.server, DB, &self.file(), tables) {
            panic!("{difference}");
        }
    }

    /// A one-column query at the destination.
    pub(crate) fn rows(&self, sql: &str) -> Vec<String> {
        duckdb_rows(&self.file(), sql).unwrap()
    }

    /// One value at the source.
    pub(crate) fn value(&self, sql: &str) -> String {
        self.server.psql(DB, sql).unwrap().trim().to_owned()
    }

    /// Waits until the pipeline's slot is in use.
    pub(crate) fn wait_until_streaming(&self, rowtide: &mut Rowtide) {
        wait_for("the slot to be active", LIMIT, || {
            if !rowtide.is_running() {
                return Err(format!("rowtide ended: {}", rowtide.stderr()));
            }
            let active = self.value("SELECT count(*) FROM pg_replication_slots WHERE active");
            Ok((active == "1").then_some(()))
        })
        .unwrap();
    }

    /// Waits until everything up to now is acknowledged: durable in the destination, or kept aside
    /// for a table that is still being copied.
    pub(crate) fn wait_until_caught_up(&self, rowtide: &mut Rowtide) {
        let head = self.value("SELECT pg_current_wal_flush_lsn()");
        wait_for("the slot to reach the head", LIMIT, || {
            if !rowtide.is_running() {
                return Err(format!("rowtide ended: {}", rowtide.stderr()));
            }
            let reached = self.value(&format!(
                "SELECT coalesce(bool_and(confirmed_flush_lsn >= '{head}'), false) \
                 FROM pg_replication_slots WHERE NOT temporary"
            ));
            Ok((reached == "t").then_some(()))
        })
        .unwrap();
    }

    /// Waits until the copies of `tables` tables are in place.
    pub(crate) fn wait_until_copied(&self, rowtide: &mut Rowtide, tables: usize) {
        wait_for("the copies to be in place", LIMIT, || {
            let log = rowtide.stderr();
            if !rowtide.is_running() {
                return Err(format!("rowtide ended: {log}"));
            }
            Ok((log.matches("copy in place").count() >= tables).then_some(()))
        })
        .unwrap();
    }

    /// Ends a running pipeline in order, which must take less than ten seconds.
    pub(crate) fn stop(&self, rowtide: Rowtide) -> Finished {
        rowtide.terminate().unwrap();
        rowtide.wait(Duration::from_secs(10)).and_then(Finished::success).unwrap()
    }
}
