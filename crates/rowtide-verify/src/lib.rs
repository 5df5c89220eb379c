//! Verification: whether the two sides of each table are equal, while both of them change, and
//! which rows are not.
//!
//! ```text
//!  source view ─────────────► digest ─┐                        rows that differ
//!      │ position                     ├─► buckets ─► keys ─►  ┌──────────────┐
//!      ▼                              │                       │ settle: look │─► differences
//!  wait for the ─► destination view ─► digest                 │ again, until │─► unsettled
//!  checkpoint                                                 │ it is proved │
//!                                                             └──────────────┘
//! ```
//!
//! The destination is looked at only when its checkpoint covers the moment at which the source was
//! looked at. What changed meanwhile differs without being wrong, so whatever differs is looked at
//! again until it is seen equal once, or is proved to stand still and differ ([`settle`]).
//!
//! Nothing here knows a connector: both ends are looked at through [`rowtide_core::view`].

mod arrival;
mod budget;
mod candidates;
mod check;
mod compare;
mod details;
mod drift;
mod extent;
pub mod meter;
mod options;
mod repair;
pub mod report;
mod settle;
mod sight;
#[cfg(test)]
mod tests;
mod verdict;
mod verifier;

pub use arrival::{Arrival, Polled};
pub use compare::{ColumnDifference, Difference, Kind, Nature, Shown};
pub use options::{Extent, Options};
pub use repair::{Engine, Repair, Repaired, Standstill};
pub use report::{ColumnGap, Disagreement, Report, Side, TableReport, Trouble};
pub use verdict::Verdict;
pub use verifier::{Tell, Verifier};
