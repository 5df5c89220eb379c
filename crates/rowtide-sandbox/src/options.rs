//! What a caller chooses about a sandbox server.

use std::path::PathBuf;

use crate::major::Major;

/// How to start a server. The default suits tests: any major version, no TLS, no passwords, and
/// no waiting for the disk.
#[derive(Debug, Clone, Default)]
pub struct ServerOptions {
    /// The major version; `None` takes the newest that the system has installed, else the newest
    /// that the project fetched.
    pub major: Option<Major>,
    /// Lines for `postgresql.conf`. They come last, so they win over the sandbox's own settings.
    pub settings: Vec<(String, String)>,
    /// Serve TLS with a certificate for `localhost` and 127.0.0.1, signed by a throwaway authority
    /// ([`PostgresServer::ca_certificate`](crate::PostgresServer::ca_certificate)). Connections
    /// without TLS stay allowed.
    pub tls: bool,
    /// Demand SCRAM-SHA-256 with this password for the user `postgres`; `None` trusts everyone.
    pub auth_scram_password: Option<String>,
    /// The directory in which the server's own throwaway directory is made, for instance on a
    /// faster disk; `None` takes the system's temporary directory.
    pub directory: Option<PathBuf>,
    /// Wait for the disk at each commit, as a production server does. Benchmarks want this.
    pub fsync: bool,
}

impl ServerOptions {
    /// The default options for one major version.
    #[must_use]
    pub fn for_major(major: Major) -> Self {
        Self { major: Some(major), ..Self::default() }
    }

    /// Adds one line to `postgresql.conf`.
    #[must_use]
    pub fn with_setting(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.settings.push((name.into(), value.into()));
        self
    }
}

/// How a running server is asked to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopMode {
    /// Roll back open transactions, disconnect clients, let WAL senders finish, write a checkpoint.
    Fast,
    /// Abort at once without a checkpoint; the next start runs crash recovery.
    Immediate,
}
