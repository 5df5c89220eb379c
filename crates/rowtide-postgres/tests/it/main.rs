//! The source against real servers: every scenario on every major version that is installed.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test fails by panicking, in its helpers too, and says where it is"
)]

mod changes;
mod follower;
mod generated;
mod harness;
mod identity;
mod liveness;
mod preflight;
mod schema;
mod secure;
mod snapshot;
mod streamed;
mod types;
mod view;

use harness::run_all;
use rowtide_sandbox::Major;

#[test]
fn postgres_14() {
    run_all(Major::V14);
}

#[test]
fn postgres_15() {
    run_all(Major::V15);
}

#[test]
fn postgres_16() {
    run_all(Major::V16);
}

#[test]
fn postgres_17() {
    run_all(Major::V17);
}

#[test]
fn postgres_18() {
    run_all(Major::V18);
}
