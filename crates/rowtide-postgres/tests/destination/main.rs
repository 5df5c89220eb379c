//! The destination against real servers: every scenario on the oldest and on a recent version,
//! and the way through on the others.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test fails by panicking, in its helpers too, and says where it is"
)]

#[cfg(feature = "fault-injection")]
mod faults;
mod load;
mod lost;
mod merge;
mod multiset;
mod names;
mod preflight;
mod promote;
mod proxy;
mod schema;
mod support;
mod view;
mod wide;
mod writers;

use rowtide_sandbox::Major;
use support::{Extent, run};

#[test]
fn postgres_14() {
    run(Major::V14, Extent::Everything);
}

#[test]
fn postgres_15() {
    run(Major::V15, Extent::TheWayThrough);
}

#[test]
fn postgres_16() {
    run(Major::V16, Extent::TheWayThrough);
}

#[test]
fn postgres_17() {
    run(Major::V17, Extent::Everything);
}

#[test]
fn postgres_18() {
    run(Major::V18, Extent::TheWayThrough);
}
