//! Arrow into PostgreSQL: the types a target's columns have there, and rows in the form that
//! `COPY … FROM STDIN` takes.
//!
//! ```text
//!  TablePlan ──► target_columns (asks the server for types) ──► TargetColumn ─┐
//!  RecordBatch ──────────────────────────────────────────────► RowEncoder ◄───┘ ──► COPY bytes
//! ```
//!
//! The binary form is used where every column of the table has one that is written here. One
//! column without it (an interval, a range, an array that came as its text) makes the whole table
//! go as text: such values came from the type's output function, and its input function reads
//! them back. The sessions' pinned settings make that exact.

mod binary;
mod fit;
mod native;
mod numeric;
mod rows;
mod target;
mod temporal;
mod text;
mod values;

#[cfg(test)]
mod server_tests;
#[cfg(test)]
mod tests;

pub(crate) use fit::accepts;
pub(crate) use rows::RowEncoder;
pub(crate) use target::{TargetColumn, columns_of, stands_as, target_columns};
pub(crate) use text::input;

/// Why a value cannot be written. Never holds the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Refusal(&'static str);

type Encoded<T> = Result<T, Refusal>;
