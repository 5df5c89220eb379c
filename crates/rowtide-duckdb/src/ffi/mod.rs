//! DuckDB's C API behind owning types: the only unsafe code of this crate.
//!
//! The API is blocking and its handles are plain pointers. Here each handle is a value that keeps
//! alive whatever it depends on (statement → connection → database) and releases itself, so that
//! the rest of the crate cannot misuse one. Nothing here knows about tables or epochs.
//!
//! Rows cross by the Arrow C Data Interface, without a copy on our side.

#![allow(unsafe_code, reason = "DuckDB is a C library; every call to it is in this module")]

mod chunk;
mod connection;
mod failure;
mod feed;
mod statement;
mod stream;
mod writeback;

pub(crate) use connection::{Connection, Database, Long};
pub(crate) use failure::{Class, Failure};
pub(crate) use feed::Feed;
pub(crate) use statement::{Cell, Statement, Value};
pub(crate) use stream::Stream;

use std::ffi::CString;

/// The result of a call into DuckDB.
pub(crate) type Result<T> = std::result::Result<T, Failure>;

/// `text` as a C string.
fn c_string(text: &str) -> Result<CString> {
    CString::new(text).map_err(|_| Failure::invalid("a NUL byte in a name or a statement"))
}
