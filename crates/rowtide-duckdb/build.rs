//! Lets this package's tests find the DuckDB library they are linked with, and says what to do
//! when there is none.
//!
//! `$ORIGIN` comes first, for a program installed with the library beside it; the directory that
//! was linked against comes last, for everything run from the build tree. Both are written into
//! the program, so nothing needs LD_LIBRARY_PATH.

#![allow(clippy::print_stdout, reason = "this is how a build script talks to cargo")]

use std::env;
use std::path::Path;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=DUCKDB_LIB_DIR");
    if env::var_os("CARGO_FEATURE_BUNDLED").is_some() {
        return; // DuckDB is compiled in.
    }
    let directory = env::var("DUCKDB_LIB_DIR").unwrap_or_default();
    let library = Path::new(&directory).join("libduckdb.so");
    println!("cargo::rerun-if-changed={}", library.display());
    if !library.is_file() {
        let library = library.display();
        println!("cargo::error=DuckDB's library {library} is missing: run `cargo xtask setup`");
    }
    println!("cargo::rustc-link-arg=-Wl,-rpath,$ORIGIN:$ORIGIN/../lib:{directory}");
}
