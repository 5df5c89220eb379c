//! Throwaway PostgreSQL servers on private ports, for the demo, the tests and the benchmarks.
//!
//! These are real servers, not imitations: [`PostgresServer::start`] runs `initdb` and `postgres`
//! in a directory of their own, listening on 127.0.0.1 alone. Three promises make them safe to
//! use freely:
//!
//! - dropping the value stops the server and removes its directory;
//! - when this process dies without dropping anything (`kill -9`), the kernel stops the server,
//!   and the next sandbox removes the directory that was left behind;
//! - nothing outside that directory is touched, and no well-known port is used.
//!
//! ```no_run
//! use rowtide_sandbox::{PostgresServer, ServerOptions};
//!
//! let server = PostgresServer::start(&ServerOptions::default())?;
//! server.psql("postgres", "create table t (id int primary key)")?;
//! println!("{}", server.url("postgres"));
//! # Ok::<(), rowtide_sandbox::Error>(())
//! ```
//!
//! The crate is synchronous and small on purpose: a test can start a server before any runtime
//! exists, and the demo does not pay for what it does not use.

mod account;
mod binaries;
mod directory;
mod error;
mod major;
mod options;
mod server;
mod sys;
pub mod testing;
mod tls;

pub use binaries::{Origin, PostgresBinaries, client_tool};
pub use error::{Error, Result};
pub use major::Major;
pub use options::{ServerOptions, StopMode};
pub use server::PostgresServer;
