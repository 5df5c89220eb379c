//! The DuckDB destination against the real library: values, writes, epochs, copies, faults.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking, in its helpers too"
)]

mod apply;
mod checkpoints;
mod epochs;
mod faults;
mod keyless;
mod load;
mod long;
mod support;
mod types;
mod view;
