//! The real engine between a model source and a model destination, on a paused clock.
//!
//! A seed decides a whole history: what happens at the source, which calls fail, take long or
//! never return, when the process dies and when it comes back. At every durable commit an oracle
//! that applies the log directly compares; at the end everything heals, and both sides must be
//! equal. A history that fails is made smaller until nothing can be left out.
//!
//! ```text
//!  scenario ──► driver ──► log (the database) ◄── oracle ──► durable content
//!                 │            ▲                                   ▲
//!                 └─► pipeline ┴─ model source     model destination ┘
//! ```

mod chance;
mod content;
mod destination;
mod driver;
mod log;
mod oracle;
mod refusing;
mod rows;
mod scenario;
mod shrink;
mod source;
mod tally;
mod view;
mod world;

pub use driver::Played;
pub use tally::Tally;
pub use world::Violation;

use scenario::Scenario;

/// A failure, made as small as it could be.
#[derive(Debug, Clone)]
pub struct Shrunk {
    /// The history, in words.
    pub scenario: String,
    /// What it violates.
    pub violation: Violation,
    /// What happened.
    pub trace: Vec<String>,
}

/// Plays the history of `seed`.
///
/// # Errors
/// If the machine gives no runtime.
pub fn play(seed: u64, verbose: bool) -> std::io::Result<Played> {
    driver::play(&Scenario::draw(seed), verbose)
}

/// The history of `seed`, in words.
#[must_use]
pub fn describe(seed: u64) -> String {
    Scenario::draw(seed).to_string()
}

/// Makes the failing history of `seed` smaller; `None` if it does not fail.
///
/// # Errors
/// If the machine gives no runtime.
pub fn shrink(seed: u64) -> std::io::Result<Option<Shrunk>> {
    shrink::shrink(Scenario::draw(seed))
}
