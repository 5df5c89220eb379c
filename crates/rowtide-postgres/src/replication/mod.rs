//! Connections that speak the replication protocol, which SQL drivers do not.

mod connection;
mod feedback;
mod thread;

pub(crate) use connection::ReplicationConnection;
pub(crate) use feedback::{Feedback, Progress};
