//! One server, one file, one pipeline to measure.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rowtide_sandbox::{PostgresServer, ServerOptions, client_tool};
use rowtide_testkit::{Result, RowtideCommand, compare_tables, wait_for};

use crate::Options;

/// The database of every measurement.
pub(crate) const DB: &str = "postgres";

/// The longest any single step may take.
pub(crate) const LIMIT: Duration = Duration::from_secs(1200);

pub(crate) struct Arena {
    pub(crate) server: PostgresServer,
    directory: tempfile::TempDir,
    binary: PathBuf,
    parameters: String,
}

impl Arena {
    pub(crate) fn start(options: &Options) -> Result<Self> {
        let settings = ServerOptions::default()
            .with_setting("max_wal_size", "4GB")
            .with_setting("shared_buffers", "512MB")
            .with_setting("synchronous_commit", "on");
        let server = PostgresServer::start(&settings).map_err(|e| e.to_string())?;
        let directory = tempfile::tempdir().map_err(|e| e.to_string())?;
        let binary = std::fs::canonicalize(&options.binary).map_err(|e| {
            format!(
                "{}: {e}; build it with `cargo build --release -p rowtide`",
                options.binary.display()
            )
        })?;
        Ok(Self { server, directory, binary, parameters: options.parameters.clone() })
    }

    pub(crate) fn sql(&self, sql: &str) -> Result<String> {
        Ok(self.server.psql(DB, sql).map_err(|e| e.to_string())?.trim().to_owned())
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(format!("{name}.duckdb"))
    }

    /// `rowtide run` for pipeline (and file) `name`, with `rules` in its configuration.
    pub(crate) fn rowtide(
        &self,
        name: &str,
        rules: &str,
        arguments: &[&str],
    ) -> Result<RowtideCommand> {
        let path = self.directory.path().join(format!("{name}.toml"));
        let text = format!(
            "version = 1\npipeline = \"{name}\"\n[source]\nurl = \"{}\"\n[destination]\n\
             url = \"duckdb:{}{}\"\n[tables]\ninclude = [\"public.*\"]\n{rules}\n",
            self.server.url(DB),
            self.file(name).display(),
            self.parameters
        );
        std::fs::write(&path, text).map_err(|e| format!("write {}: {e}", path.display()))?;
        let config = path.display().to_string();
        let command =
            RowtideCommand::new(&self.binary, self.directory.path(), ["run", "--config", &config]);
        Ok(command.with(arguments))
    }

    pub(crate) fn compare(&self, name: &str, tables: &[&str]) -> Result<()> {
        compare_tables(&self.server, DB, &self.file(name), tables).map(drop)
    }

    /// A client tool connected to the server.
    pub(crate) fn tool(&self, name: &str) -> Result<Command> {
        let mut command = Command::new(client_tool(name).map_err(|e| e.to_string())?);
        command.args(["-h", "127.0.0.1", "-U", "postgres", "-p", &self.server.port().to_string()]);
        command.current_dir(self.directory.path());
        Ok(command)
    }

    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Waits until the slot `name` has reached the present head.
    pub(crate) fn wait_until_caught_up(&self, name: &str) -> Result<()> {
        let head = self.sql("SELECT pg_current_wal_flush_lsn()")?;
        wait_for("the slot to reach the head", LIMIT, || {
            let reached = self.sql(&format!(
                "SELECT confirmed_flush_lsn >= '{head}' FROM pg_replication_slots WHERE slot_name = '{name}'"
            ))?;
            Ok((reached == "t").then_some(()))
        })
    }

    pub(crate) fn wait_until_active(&self, slot: &str) -> Result<()> {
        wait_for("the slot to be active", LIMIT, || {
            let active = self.sql(&format!(
                "SELECT active FROM pg_replication_slots WHERE slot_name = '{slot}'"
            ))?;
            Ok((active == "t").then_some(()))
        })
    }
}
