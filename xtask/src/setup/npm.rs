//! Fetching a package from the npm registry by npm itself, checked before anything of it is used.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::run::{self, Outcome};

/// A package whose archive must have this SHA-256.
pub(crate) struct Package {
    pub(crate) name: &'static str,
    pub(crate) version: &'static str,
    pub(crate) sha256: &'static str,
}

impl Package {
    /// `name@version`.
    pub(crate) fn specifier(&self) -> String {
        format!("{}@{}", self.name, self.version)
    }

    /// Downloads the archive into `directory` and checks it. No script of the package has run.
    pub(crate) fn fetch(&self, directory: &Path) -> Outcome<PathBuf> {
        let specifier = self.specifier();
        println!("setup: fetching {specifier}");
        let printed = run::output(npm(directory).args(["pack", "--silent"]).arg(&specifier))
            .map_err(|e| format!("{e}\n  next: check that npm can reach its registry"))?;
        let name = printed.lines().last().unwrap_or_default().trim();
        let archive = directory.join(name);
        check(&archive, self.sha256)?;
        Ok(archive)
    }
}

/// npm in `directory`, saying nothing but errors.
pub(crate) fn npm(directory: &Path) -> Command {
    let mut command = Command::new("npm");
    command.current_dir(directory).arg("--loglevel=error");
    command
}

/// Refuses a file that does not have the pinned checksum.
pub(crate) fn check(file: &Path, pinned: &str) -> Outcome {
    let found = run::sha256(file)?;
    if found == pinned {
        return Ok(());
    }
    Err(format!(
        "{} is not the file this project was tested with\n  its SHA-256 is {found}\n  it should \
         be {pinned}\n  next: do not use it; try again, and if it stays so, tell the project",
        file.display()
    ))
}
