//! What a running pipeline shows over HTTP: its metrics, for Prometheus, and its health.
//!
//! ```text
//!  connection ──► limits ──► gate (host, token) ──► route ──► exposition (metrics)
//!                                                        └──► health
//! ```
//!
//! It only ever answers, and changes nothing. No request has a body, and each is answered from
//! memory; so a connection is one request, short and small, and whatever takes longer is cut off.

mod exposition;
mod gate;
mod health;
mod route;
mod server;

pub use exposition::rendered;
pub use server::{Serve, Server};
