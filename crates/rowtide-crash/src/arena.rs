//! What the cases of a process share: one server, the binary, and numbers for names.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rowtide_sandbox::{Major, PostgresServer, ServerOptions};
use rowtide_testkit::Result;

use crate::statements::SCHEMA;

/// The database that every case's is a copy of.
const TEMPLATE: &str = "crash_template";

/// A server that notices within this time that nobody answers: a stopped process must not keep
/// its slot for a minute.
const SENDER_TIMEOUT: &str = "3s";

/// One server and the binary. The server is the source of every case, and, in databases of their
/// own, the PostgreSQL destination.
pub struct Arena {
    pub(crate) server: PostgresServer,
    pub(crate) binary: PathBuf,
    next: AtomicU64,
}

impl Arena {
    /// The options of a server for cases: of the major version that is asked for, or of one that
    /// `seed` chooses among those that are here.
    #[must_use]
    pub fn server_options(major: Option<Major>, seed: u64) -> ServerOptions {
        let installed = Major::installed();
        let at = usize::try_from(seed).unwrap_or(0) % installed.len().max(1);
        let major = major.or_else(|| installed.get(at).copied());
        ServerOptions { major, ..ServerOptions::default() }
            .with_setting("wal_sender_timeout", SENDER_TIMEOUT)
            .with_setting("max_connections", "200")
    }

    /// An arena on `server`, for the program `binary`.
    ///
    /// # Errors
    /// If the tables cannot be made.
    pub fn new(server: PostgresServer, binary: &Path) -> Result<Self> {
        let (binary, next) = (binary.to_owned(), AtomicU64::new(1));
        let arena = Self { server, binary, next };
        arena.sql("postgres", &format!("CREATE DATABASE {TEMPLATE}"))?;
        arena.sql(TEMPLATE, SCHEMA)?;
        Ok(arena)
    }

    /// The source's major version.
    pub fn major(&self) -> Major {
        self.server.major()
    }

    /// A number that no other case of this arena has.
    pub(crate) fn number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// Makes the database of a case.
    pub(crate) fn make_source(&self, db: &str) -> Result<()> {
        self.sql("postgres", &format!("CREATE DATABASE {db} TEMPLATE {TEMPLATE}")).map(drop)
    }

    /// Runs SQL by `psql`.
    pub(crate) fn sql(&self, db: &str, sql: &str) -> Result<String> {
        self.server.psql(db, sql).map_err(|e| e.to_string())
    }
}
