//! One canonical form of a row, the same from whichever side it was read, and how rows are summed
//! up so that two tables can be compared without comparing them row by row.
//!
//! A row's canonical form is text, written as PostgreSQL writes a row (`(1,"a b",,t)`): values
//! separated by commas between parentheses; nothing for NULL; a value in double quotes if it is
//! empty or holds a comma, parenthesis, quote, backslash or white space, with quotes and
//! backslashes doubled. PostgreSQL makes that text itself, so a table of common types can be summed
//! up there, by the server. The form of each type stands in one place here.
//!
//! Two independent 64-bit hashes of that text are summed (wrapping) over the rows of a bucket: the
//! order of rows does not matter, and repeated rows count. The bucket is chosen by the hash of the
//! key's canonical form (of the whole row without a key), so rows fall in the same bucket on both
//! sides, in no order that a collation could change.

mod digest;
mod encoder;
mod form;
mod hash;
mod instant;
mod number;
mod quote;
#[cfg(test)]
mod tests;

pub use digest::{BucketSet, BucketSum, Digest};
pub use encoder::{Encoder, Hashes, text};
