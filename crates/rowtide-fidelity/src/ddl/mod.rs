//! Changes of tables at random, among changes of rows, while the pipeline runs, stops and dies.
//!
//! The tables' model is the source's own catalog, read before each step; what the source refuses
//! is skipped. So a seed always makes the same steps, and steps can be left out of a history
//! without a thought.

mod action;
mod change;
mod dice;
mod history;
mod play;
mod rows;
mod session;
mod settle;
mod trial;
mod world;

pub use history::{Options, run};
