//! The servers, files and pipelines of a measurement.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rowtide_sandbox::{PostgresServer, ServerOptions, client_tool};
use rowtide_testkit::{Copied, Result, Rows, Rowtide, RowtideCommand, compare};

use crate::limits::Duckdb;
use crate::options::{Options, To};
use crate::stopwatch::{ServerClock, Taken, time_command, time_rowtide};

/// The source's database, if a measurement needs one only.
pub(crate) const DB: &str = "postgres";

/// The longest any single step may take.
pub(crate) const LIMIT: Duration = Duration::from_secs(1200);

/// How often a server looks whether what is waited for has come.
const LOOK: Duration = Duration::from_millis(10);

/// A source, and a second server if there are pipelines into PostgreSQL. Everything goes with it.
pub(crate) struct Arena {
    /// The source.
    pub(crate) server: PostgresServer,
    warehouse: Option<PostgresServer>,
    directory: tempfile::TempDir,
    binary: PathBuf,
    parameters: String,
}

impl Arena {
    pub(crate) fn start(options: &Options) -> Result<Self> {
        let (major, fsync) = (options.major, options.fsync);
        let settings = ServerOptions { major, fsync, ..ServerOptions::default() }
            .with_setting("max_wal_size", "4GB")
            .with_setting("shared_buffers", "512MB")
            .with_setting("synchronous_commit", "on")
            .with_setting("max_replication_slots", "100")
            .with_setting("max_wal_senders", "100")
            .with_setting("max_worker_processes", "32")
            // A subscription enabled within five seconds of another would wait for the rest of
            // them, and its wait would count as its work.
            .with_setting("wal_retrieve_retry_interval", "10ms");
        let start = || PostgresServer::start(&settings).map_err(|e| e.to_string());
        let warehouse = options.has(To::Postgres).then(start).transpose()?;
        let directory = tempfile::tempdir().map_err(|e| e.to_string())?;
        let binary = std::fs::canonicalize(&options.binary).map_err(|e| {
            format!(
                "{}: {e}; build it with `cargo build --release -p rowtide`",
                options.binary.display()
            )
        })?;
        let parameters = options.parameters.clone();
        Ok(Self { server: start()?, warehouse, directory, binary, parameters })
    }

    /// Runs SQL in the source's usual database.
    pub(crate) fn sql(&self, sql: &str) -> Result<String> {
        self.sql_in(DB, sql)
    }

    /// Runs SQL in database `db` of the source.
    pub(crate) fn sql_in(&self, db: &str, sql: &str) -> Result<String> {
        Ok(self.server.psql(db, sql).map_err(|e| e.to_string())?.trim().to_owned())
    }

    /// The server of the destinations.
    pub(crate) fn warehouse(&self) -> Result<&PostgresServer> {
        self.warehouse.as_ref().ok_or_else(|| "pipelines into PostgreSQL were left out".to_owned())
    }

    /// Runs SQL in database `db` of the destinations' server.
    pub(crate) fn sql_there(&self, db: &str, sql: &str) -> Result<String> {
        Ok(self.warehouse()?.psql(db, sql).map_err(|e| e.to_string())?.trim().to_owned())
    }

    /// The same, to stop it and to start it again.
    pub(crate) fn warehouse_mut(&mut self) -> Result<&mut PostgresServer> {
        self.warehouse.as_mut().ok_or_else(|| "pipelines into PostgreSQL were left out".to_owned())
    }

    /// A directory that goes with the arena.
    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// A pipeline from the source's usual database. Its destination is made here, empty.
    pub(crate) fn pipeline(&self, name: &str, to: To) -> Result<Pipeline<'_>> {
        self.pipeline_from(DB, name, to)
    }

    /// A pipeline from database `db`; no other of this arena may have its name.
    pub(crate) fn pipeline_from(&self, db: &str, name: &str, to: To) -> Result<Pipeline<'_>> {
        if to == To::Postgres {
            self.sql_there(DB, &format!("CREATE DATABASE {name}"))?;
        }
        Ok(self.made_pipeline(db, name, to))
    }

    /// A pipeline whose destination is there already.
    pub(crate) fn made_pipeline(&self, db: &str, name: &str, to: To) -> Pipeline<'_> {
        let (db, name) = (db.to_owned(), name.to_owned());
        let parameters = self.parameters.clone();
        Pipeline { arena: self, db, name, to, parameters, rules: String::new() }
    }

    /// A client tool connected to the source.
    pub(crate) fn tool(&self, name: &str) -> Result<Command> {
        self.tool_of(&self.server, name)
    }

    /// A client tool connected to `server`.
    pub(crate) fn tool_of(&self, server: &PostgresServer, name: &str) -> Result<Command> {
        let mut command = Command::new(client_tool(name).map_err(|e| e.to_string())?);
        command.args(["-h", "127.0.0.1", "-U", "postgres", "-p", &server.port().to_string()]);
        command.current_dir(self.directory.path());
        Ok(command)
    }

    /// Fills the tables of pgbench in database `db` of `server`; the same rows at each place.
    pub(crate) fn fill_pgbench(&self, server: &PostgresServer, db: &str, scale: u64) -> Result<()> {
        let mut pgbench = self.tool_of(server, "pgbench")?;
        pgbench.args(["-i", "-q", "-s", &scale.to_string(), db]);
        time_command(&mut pgbench, LIMIT).map(drop)
    }

    /// Makes the steps of `pgbench -i` that `steps` names, in database `db` of `server`.
    pub(crate) fn pgbench_steps(
        &self,
        server: &PostgresServer,
        db: &str,
        steps: &str,
    ) -> Result<()> {
        let mut pgbench = self.tool_of(server, "pgbench")?;
        time_command(pgbench.args(["-i", "-q", "-I", steps, db]), LIMIT).map(drop)
    }

    /// Starts to count the CPU time of both servers.
    pub(crate) fn clock(&self) -> Clock {
        let servers = std::iter::once(&self.server).chain(&self.warehouse);
        Clock(servers.map(ServerClock::start).collect())
    }

    /// Runs `measured`, and adds what the servers took meanwhile.
    pub(crate) fn with_servers(&self, measured: impl FnOnce() -> Result<Taken>) -> Result<Taken> {
        let clock = self.clock();
        let taken = measured()?;
        Ok(Taken { server_cpu: clock.seconds(), ..taken })
    }

    /// Waits until `condition` is true in database `db` of `server`, which looks by itself: asking
    /// it again and again would take CPU time from what is measured. Each look is a transaction of
    /// its own: one that lasted would keep the server from removing old versions of rows, and who
    /// is waited for would have to pass by all of them.
    pub(crate) fn wait_in(&self, server: &PostgresServer, db: &str, condition: &str) -> Result<()> {
        let looks = LIMIT.as_millis() / LOOK.as_millis();
        let wait = format!(
            "DO $wait$ BEGIN
               FOR look IN 1..{looks} LOOP
                 IF {condition} THEN RETURN; END IF;
                 PERFORM pg_sleep({});
                 PERFORM pg_stat_clear_snapshot();
                 COMMIT;
               END LOOP;
               RAISE 'waited too long for: %', $condition${condition}$condition$;
             END $wait$",
            LOOK.as_secs_f64()
        );
        server.psql(db, &wait).map(drop).map_err(|e| e.to_string())
    }

    /// Waits until the slot `name` has reached the present head.
    pub(crate) fn wait_until_caught_up(&self, name: &str) -> Result<()> {
        let head = self.sql("SELECT pg_current_wal_flush_lsn()")?;
        let reached = format!("slot_name = '{name}' AND confirmed_flush_lsn >= '{head}'");
        self.wait_in(&self.server, DB, &a_slot(&reached))
    }

    /// Waits until somebody follows the slot `name`.
    pub(crate) fn wait_until_active(&self, slot: &str) -> Result<()> {
        self.wait_in(&self.server, DB, &a_slot(&format!("slot_name = '{slot}' AND active")))
    }
}

fn a_slot(condition: &str) -> String {
    format!("EXISTS (SELECT FROM pg_replication_slots WHERE {condition})")
}

/// Counts the CPU time of an arena's servers.
#[derive(Debug)]
pub(crate) struct Clock(Vec<ServerClock>);

impl Clock {
    /// The seconds since it was started.
    pub(crate) fn seconds(&self) -> f64 {
        self.0.iter().map(ServerClock::seconds).sum()
    }
}

/// A pipeline with a destination of its own: the file `<name>.duckdb`, or the database `<name>`
/// of the second server.
pub(crate) struct Pipeline<'a> {
    arena: &'a Arena,
    db: String,
    name: String,
    to: To,
    /// Of the DuckDB URL.
    parameters: String,
    rules: String,
}

impl Pipeline<'_> {
    /// Adds to its configuration.
    pub(crate) fn with_rules(mut self, rules: &str) -> Self {
        self.rules.push_str(rules);
        self.rules.push('\n');
        self
    }

    /// Adds to the parameters of its DuckDB URL; the last word on each counts.
    pub(crate) fn with_parameters(mut self, parameters: &str) -> Self {
        self.parameters.push(if self.parameters.is_empty() { '?' } else { '&' });
        self.parameters.push_str(parameters);
        self
    }

    /// The slot that it reads.
    pub(crate) fn slot(&self) -> String {
        format!("rowtide_{}", self.name)
    }

    /// The file, if it goes into DuckDB.
    pub(crate) fn file(&self) -> PathBuf {
        self.arena.directory().join(format!("{}.duckdb", self.name))
    }

    /// `rowtide <command> --config … <arguments>`, not started yet.
    pub(crate) fn command(&self, command: &str, arguments: &[&str]) -> Result<RowtideCommand> {
        let directory = self.arena.directory();
        let path = directory.join(format!("{}.toml", self.name));
        let url = match self.to {
            To::Duckdb => format!("duckdb:{}{}", self.file().display(), self.parameters),
            To::Postgres => self.arena.warehouse()?.url(&self.name),
        };
        let text = format!(
            "version = 1\npipeline = \"{}\"\n[source]\nurl = \"{}\"\n[destination]\nurl = \"{url}\"\n\
             [tables]\ninclude = [\"public.*\"]\n{}\n",
            self.name,
            self.arena.server.url(&self.db),
            self.rules
        );
        std::fs::write(&path, text).map_err(|e| format!("write {}: {e}", path.display()))?;
        let config = path.display().to_string();
        let words = [command, "--config", &config];
        Ok(RowtideCommand::new(&self.arena.binary, directory, words).with(arguments))
    }

    /// `rowtide run`, not started yet.
    pub(crate) fn run(&self, arguments: &[&str]) -> Result<RowtideCommand> {
        self.command("run", arguments)
    }

    /// `rowtide run`, started.
    pub(crate) fn spawn(&self, arguments: &[&str]) -> Result<Rowtide> {
        self.run(arguments)?.spawn()
    }

    /// Runs it until it has caught up.
    pub(crate) fn once(&self) -> Result<()> {
        self.run(&["--once"])?.run(LIMIT)?.success().map(drop)
    }

    /// The same, measured.
    pub(crate) fn timed_once(&self) -> Result<Taken> {
        let run = self.run(&["--once"])?;
        self.arena.with_servers(|| Ok(time_rowtide(run.spawn()?, LIMIT)?.0))
    }

    /// Compares `tables` with the copy that it makes.
    pub(crate) fn compare(&self, tables: &[&str]) -> Result<()> {
        self.with_copy(|copied| check_equal((&self.arena.server, &self.db), copied, tables))
    }

    /// Looks at the copy that it makes.
    pub(crate) fn with_copy<T>(&self, look: impl FnOnce(Copied<'_>) -> Result<T>) -> Result<T> {
        let file = self.file();
        look(match self.to {
            To::Duckdb => Copied::Duckdb(&file),
            To::Postgres => Copied::Postgres(self.arena.warehouse()?, &self.name),
        })
    }

    /// Runs statements at its destination, behind its back. It must not be running.
    pub(crate) fn execute_there(&self, statements: &[&str]) -> Result<()> {
        match self.to {
            To::Duckdb => {
                let file = Duckdb::open(&self.file())?;
                statements.iter().try_for_each(|sql| file.execute(sql))
            }
            To::Postgres => {
                let run = |sql: &&str| self.arena.sql_there(&self.name, sql).map(drop);
                statements.iter().try_for_each(run)
            }
        }
    }

    /// Removes its slot, which would keep the log, and its copy.
    pub(crate) fn discard(self) -> Result<()> {
        let drop_slot = format!("SELECT pg_drop_replication_slot('{}')", self.slot());
        self.arena.sql_in(&self.db, &drop_slot)?;
        match self.to {
            To::Postgres => {
                self.arena.sql_there(DB, &format!("DROP DATABASE {}", self.name)).map(drop)
            }
            To::Duckdb => {
                let file = self.file();
                drop(std::fs::remove_file(file.with_extension("duckdb.wal")));
                std::fs::remove_file(&file).map_err(|e| format!("remove {}: {e}", file.display()))
            }
        }
    }
}

/// Compares `tables` of a source's database with their copy, row by row; a difference is an error.
pub(crate) fn check_equal(
    source: (&PostgresServer, &str),
    copied: Copied<'_>,
    tables: &[&str],
) -> Result<()> {
    for table in tables {
        let found = compare(source, copied, table, Rows::All)?;
        if !found.is_equal() {
            return Err(format!("the copy differs: {found:#?}"));
        }
    }
    Ok(())
}
