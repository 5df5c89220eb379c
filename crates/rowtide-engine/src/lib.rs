//! The pipeline: copies tables, hands over to the log, applies it in epochs, exactly once.
//!
//! ```text
//!  Source ──► stream ──► segment ──► route ──► fold ──► Writer.write* ──► Writer.commit
//!     │                                │                                      │
//!     │                              spool (tables still being copied)        ▼
//!     └── snapshot lanes ──► Loader (staging) ──► promote + replay      acknowledge
//! ```
//!
//! The engine knows sources and destinations only through `rowtide_core::traits`; it depends on
//! no connector.

mod attempt;
mod command;
pub mod config;
mod conform;
mod copy;
mod environment;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
mod hold;
mod latency;
mod mend;
mod meter;
mod pace;
mod pipeline;
mod plan;
mod progress;
mod quarantine;
mod refusal;
mod retry;
mod route;
mod schedule;
mod settings;
mod spool;

pub use command::{Request, Requests, TableCommand, TableRequest, operate};
pub use environment::Environment;
pub use hold::{Epoch, Held, Hold, LONGEST as LONGEST_HOLD, hold};
pub use latency::Latency;
pub use meter::observe;
pub use pipeline::{Pipeline, Summary};
pub use progress::{Activity, Monitor, Snapshot, StreamProgress, TableProgress};
pub use schedule::Schedule;
pub use settings::{
    LostPosition, MetricsSettings, RunMode, SchemaPolicy, Settings, TableRule, VerifySettings,
};
