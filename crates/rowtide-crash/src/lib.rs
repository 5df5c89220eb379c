//! Ends the real binary between real servers, at every named point and at random moments, lets
//! another go on, and proves by SQL on both sides that nothing was lost, doubled or broken.
//!
//! A case has a database, a pipeline and a copy of its own. A seeded load runs all along. The
//! binary must have been built with the feature `fault-injection`; it is told by its environment
//! where to end itself (SIGABRT, as in a crash: nothing is cleaned up).
//!
//! A developer's tool: `cargo xtask crash`. The tests of this crate are a slice of it.

mod arena;
mod case;
mod gaps;
mod load;
mod matrix;
mod points;
mod random;
mod report;
mod statements;
mod target;
mod verify;
mod watch;
mod zombie;

pub use arena::Arena;
pub use rowtide_testkit::binary;

pub use gaps::{GAPS, gap};
pub use matrix::crash_at;
pub use points::{Occasion, Spot, spots};
pub use random::{KILLS, Pauses, Torment, torment};
pub use report::{Line, Report, percentile};
pub use target::Target;
pub use verify::Damage;
pub use zombie::{Encounter, zombie};
