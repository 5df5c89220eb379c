//! One source server, one destination, one pipeline between them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rowtide_sandbox::{Major, PostgresServer, ServerOptions};
use rowtide_testkit::{Copied, Finished, Result, Rows, Rowtide, RowtideCommand, compare};

/// The source's database.
const SOURCE: &str = "fidelity";
/// The destination's, if it is PostgreSQL's.
const COPY: &str = "fidelity_copy";
/// How long a run that is to end by itself may take.
pub(crate) const LIMIT: Duration = Duration::from_secs(300);

/// A kind of destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, clap::ValueEnum)]
pub enum End {
    /// A DuckDB file.
    Duckdb,
    /// Another database of the source's server.
    Postgres,
}

impl End {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Duckdb, Self::Postgres];
}

/// A server, a pipeline and its files; gone when dropped.
pub struct Stage {
    /// The source, and the destination if that is PostgreSQL.
    pub server: PostgresServer,
    /// Where the copy goes.
    pub end: End,
    binary: PathBuf,
    directory: tempfile::TempDir,
}

impl Stage {
    /// Starts a server of `major` and makes a pipeline to `end` that follows `public.*`, with
    /// `options` in its `[source]` section and `sections` behind.
    ///
    /// # Errors
    /// If the server cannot be started.
    pub fn new(major: Major, end: End, binary: &Path, settings: (&str, &str)) -> Result<Self> {
        let options = ServerOptions { major: Some(major), ..ServerOptions::default() };
        let server = PostgresServer::start(&options).map_err(|e| e.to_string())?;
        let directory = tempfile::tempdir().map_err(|e| format!("a temporary directory: {e}"))?;
        let stage = Self { server, end, binary: binary.to_owned(), directory };
        for db in [SOURCE, COPY] {
            stage.psql("postgres", &format!("CREATE DATABASE {db}"))?;
        }
        stage.configure(settings)?;
        Ok(stage)
    }

    /// Writes the pipeline's configuration anew.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn configure(&self, (options, sections): (&str, &str)) -> Result<()> {
        let url = match self.end {
            End::Duckdb => format!("duckdb:{}", self.file().display()),
            End::Postgres => self.server.url(COPY),
        };
        let text = format!(
            "version = 1\npipeline = \"fidelity\"\n\n[source]\nurl = \"{}\"\n{options}\n\n\
             [destination]\nurl = \"{url}\"\n\n[tables]\ninclude = [\"public.*\"]\n\n{sections}\n",
            self.server.url(SOURCE),
        );
        let path = self.directory.path().join("rowtide.toml");
        std::fs::write(path, text).map_err(|e| format!("write the configuration: {e}"))
    }

    /// Where the source's database is.
    #[must_use]
    pub fn source_url(&self) -> String {
        self.server.url(SOURCE)
    }

    /// Writes the configuration anew, with other `tables` than `public.*` and `sections` behind.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn select(&self, tables: &str, sections: &str) -> Result<()> {
        let path = self.directory.path().join("rowtide.toml");
        let text = std::fs::read_to_string(&path).map_err(|e| format!("read {path:?}: {e}"))?;
        let (before, _) = text.split_once("[tables]").unwrap_or((&text, ""));
        let text = format!("{before}[tables]\n{tables}\n\n{sections}\n");
        std::fs::write(path, text).map_err(|e| format!("write the configuration: {e}"))
    }

    /// Runs SQL at the source.
    ///
    /// # Errors
    /// What the server says.
    pub fn sql(&self, sql: &str) -> Result<String> {
        self.psql(SOURCE, sql)
    }

    /// Runs SQL at the destination, if that is PostgreSQL; nothing else otherwise.
    ///
    /// # Errors
    /// What the server says.
    pub fn copy_sql(&self, sql: &str) -> Result<String> {
        match self.end {
            End::Duckdb => Ok(String::new()),
            End::Postgres => self.psql(COPY, sql),
        }
    }

    /// Rows of text at the destination, fields parted by tabs as the testkit reads them.
    ///
    /// # Errors
    /// What the destination says.
    pub fn rows(&self, sql: &str) -> Result<Vec<String>> {
        match self.end {
            End::Duckdb => rowtide_testkit::duckdb_rows(&self.file(), sql),
            End::Postgres => Ok(self.psql(COPY, sql)?.lines().map(str::to_owned).collect()),
        }
    }

    /// `rowtide` with `arguments`, on this pipeline's configuration.
    #[must_use]
    pub fn command(&self, subcommand: &str, arguments: &[&str]) -> RowtideCommand {
        let config = self.directory.path().join("rowtide.toml");
        let first = [subcommand, "--config", &config.display().to_string()].map(str::to_owned);
        let rest = arguments.iter().map(|&argument| argument.to_owned());
        RowtideCommand::new(&self.binary, self.directory.path(), first.into_iter().chain(rest))
    }

    /// Catches up and ends.
    ///
    /// # Errors
    /// If the run fails, with what it said.
    pub fn once(&self) -> Result<Finished> {
        self.command("run", &["--once"]).run(LIMIT).and_then(Finished::success)
    }

    /// Follows until it is stopped.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn follow(&self) -> Result<Rowtide> {
        self.command("run", &[]).spawn()
    }

    /// Compares `tables` row by row, each side reading its own by SQL.
    ///
    /// # Errors
    /// The first difference.
    pub fn compare(&self, tables: &[&str]) -> Result<()> {
        let file = self.file();
        let copied = match self.end {
            End::Duckdb => Copied::Duckdb(&file),
            End::Postgres => Copied::Postgres(&self.server, COPY),
        };
        for table in tables {
            let comparison = compare((&self.server, SOURCE), copied, table, Rows::All)?;
            if !comparison.is_equal() {
                return Err(format!("{table} differs: {comparison:#?}"));
            }
        }
        Ok(())
    }

    /// The DuckDB file.
    #[must_use]
    pub fn file(&self) -> PathBuf {
        self.directory.path().join("copy.duckdb")
    }

    fn psql(&self, db: &str, sql: &str) -> Result<String> {
        self.server.psql(db, sql).map_err(|e| e.to_string())
    }
}
