//! Under construction.
#[doc(hidden)]
pub mod scratch;
mod ffi;
