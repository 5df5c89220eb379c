//! The real binary between a real PostgreSQL and a real DuckDB file.
//!
//! Equality is always judged by SQL on both sides (`rowtide_testkit::compare_tables`), never by
//! the engine's own decoders.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod bad_input;
mod case;
mod commands;
mod ddl_events;
mod disk;
mod faulty;
mod follow;
mod kill;
mod large;
mod mending;
mod metrics;
mod network;
mod network_destination;
mod newcomers;
mod poison;
mod policies;
mod position;
mod schema_change;
mod server_faults;
mod shaped;
mod shapes;
mod shapes_encoding;
mod shapes_identity;
mod shapes_partition;
mod shapes_publication;
mod streamed;
mod tables;
mod types;
mod verify;
mod verify_budget;
mod verify_columns;
mod verify_corruption;
mod verify_drift;
mod verify_unseen;
mod versions;
mod warehouse;
mod widening;
