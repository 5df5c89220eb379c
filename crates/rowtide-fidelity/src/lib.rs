//! Tries every type, name and change of table between real servers, and shows what arrives.
//!
//! A developer's tool: `cargo xtask fidelity`. The tests of this crate are a slice of it.

pub mod ddl;
pub mod names;
pub mod stage;
pub mod tables;
pub mod values;
