//! `cargo xtask setup`: what a machine needs before the workspace builds and its tests run.
//!
//! Every step looks first and does nothing when there is nothing to do, so a second run takes a
//! fraction of a second. What is fetched is compared with a checksum pinned here.

mod duckdb;
mod npm;
mod packages;
mod servers;

use std::path::Path;

use crate::run::Outcome;

/// System packages and DuckDB's library: enough to build and to run the demo.
pub(crate) fn basics(root: &Path) -> Outcome {
    packages::ensure()?;
    duckdb::ensure(&root.join("build"))
}

/// The basics, and the other PostgreSQL versions that the tests run against.
pub(crate) fn with_servers(root: &Path) -> Outcome {
    basics(root)?;
    servers::ensure(&root.join("build/postgres"))
}
