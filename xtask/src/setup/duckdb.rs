//! DuckDB's prebuilt library, `build/duckdb/libduckdb.so`.
//!
//! The project that binds DuckDB to Node publishes the very library that DuckDB releases, in a
//! package per platform. Compiling DuckDB instead costs twenty minutes of two cores.

use std::env::consts::ARCH;
use std::fs;
use std::path::Path;
use std::process::Command;

use super::npm::{self, Package};
use crate::run::{self, Outcome, io_error};

const PACKAGE: Package = Package {
    name: "@duckdb/node-bindings-linux-x64",
    version: "1.5.6-r.1",
    sha256: "1b9f82478539bb9a1d1df44bd103121a12ae52142c07158dc52b97d2ec1d69ff",
};
const LIBRARY_SHA256: &str = "3f4962cdd266eab2b479a5b5a4a6d063d279b2954ae814ed00385d553b747633";

/// Puts the library in `build/duckdb` unless it is there and right.
pub(crate) fn ensure(build: &Path) -> Outcome {
    let library = build.join("duckdb/libduckdb.so");
    if library.is_file() && run::sha256(&library)? == LIBRARY_SHA256 {
        println!("setup: DuckDB's library is there ({})", PACKAGE.version);
        return Ok(());
    }
    if ARCH != "x86_64" {
        return Err(format!(
            "no DuckDB library is pinned for {ARCH}\n  next: put libduckdb.so 1.5.6 in a \
             directory, name it in DUCKDB_LIB_DIR and use cargo directly; or compile DuckDB in: \
             cargo build -p rowtide --features duckdb-bundled"
        ));
    }
    fetch(build, &library)
}

fn fetch(build: &Path, library: &Path) -> Outcome {
    let scratch = run::scratch(build)?;
    let archive = PACKAGE.fetch(&scratch.path)?;
    let members = ["package/libduckdb.so", "package/LICENSE"];
    let mut unpack = Command::new("tar");
    unpack.current_dir(&scratch.path).arg("-xzf").arg(archive).args(members);
    run::output(&mut unpack)?;
    let unpacked = scratch.path.join("package");
    npm::check(&unpacked.join("libduckdb.so"), LIBRARY_SHA256)?;

    // The directory is on the linker's path: it holds the library and nothing else.
    let directory = build.join("duckdb");
    fs::create_dir_all(&directory).map_err(io_error("make the directory", &directory))?;
    put(&unpacked.join("LICENSE"), &build.join("duckdb.LICENSE"))?;
    put(&unpacked.join("libduckdb.so"), library)
}

/// Moves within `build`, so that a half-written file is never seen and a program that has the old
/// library mapped keeps it whole.
fn put(from: &Path, to: &Path) -> Outcome {
    fs::rename(from, to).map_err(io_error("put in place", to))
}
