//! Starting servers in tests: a missing server is a visible skip here, and a failure in CI.

#![allow(clippy::panic, reason = "called from tests, where failing is panicking")]

use std::io::Write;

use crate::{PostgresServer, ServerOptions};

/// Starts a server for a test.
///
/// Returns `None` after printing a line that begins with `SKIPPED:` when the server is not
/// installed on this machine.
///
/// # Panics
///
/// When the server is installed but does not start, and when it is missing while the environment
/// variable `CI` is set: there, a test that did not run must not count as one that passed.
#[must_use]
pub fn start_or_skip(options: &ServerOptions) -> Option<PostgresServer> {
    match PostgresServer::start(options) {
        Ok(server) => Some(server),
        Err(error) if error.is_not_installed() && !in_ci() => {
            let test = std::thread::current().name().unwrap_or("a test").to_owned();
            // Not by eprintln!, whose output the test harness hides when a test passes.
            let _ = writeln!(std::io::stderr(), "SKIPPED: {test}: {error}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

/// Whether this runs in continuous integration: `CI` is set and does not say no.
#[must_use]
pub fn in_ci() -> bool {
    std::env::var("CI").is_ok_and(|value| !matches!(value.as_str(), "" | "0" | "false"))
}
