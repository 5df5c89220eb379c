//! Lets the programs and tests of this package find the DuckDB library they are linked with; the
//! build script of `rowtide-duckdb` explains the order and checks that the library is there.

#![allow(clippy::print_stdout, reason = "this is how a build script talks to cargo")]

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=DUCKDB_LIB_DIR");
    let directory = std::env::var("DUCKDB_LIB_DIR").unwrap_or_default();
    println!("cargo::rustc-link-arg=-Wl,-rpath,$ORIGIN:$ORIGIN/../lib:{directory}");
}
