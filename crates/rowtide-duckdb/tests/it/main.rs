//! The DuckDB destination against the real library: values, writes, epochs, copies, faults.

mod apply;
mod epochs;
mod faults;
mod load;
mod support;
mod types;
