//! Where and on what a report was made.

use std::fs;
use std::path::Path;
use std::process::Command;

use rowtide_sandbox::PostgresBinaries;
use rowtide_testkit::Result;
use serde::Serialize;

use crate::limits;
use crate::options::Options;

/// What figures depend on besides the program.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Machine {
    pub(crate) commit: String,
    pub(crate) date: String,
    pub(crate) cores: usize,
    pub(crate) processor: String,
    pub(crate) postgres: String,
    pub(crate) duckdb: String,
    pub(crate) command: String,
    /// Whether the servers waited for the disk.
    pub(crate) fsync: bool,
    /// Whether nothing but the program itself was to be tried.
    pub(crate) smoke: bool,
}

impl Machine {
    pub(crate) fn this(options: &Options) -> Result<Self> {
        let programs = PostgresBinaries::locate(options.major).map_err(|e| e.to_string())?;
        let version = said(&programs.program("postgres").display().to_string(), &["--version"]);
        let version = version.unwrap_or_default();
        let words: Vec<String> = std::env::args().skip(1).map(|word| shown(&word)).collect();
        Ok(Self {
            commit: commit(),
            date: jiff::Timestamp::now().strftime("%Y-%m-%d").to_string(),
            cores: std::thread::available_parallelism().map_or(0, std::num::NonZero::get),
            processor: processor(),
            postgres: version.trim_start_matches("postgres (PostgreSQL) ").to_owned(),
            duckdb: limits::duckdb_version(),
            command: format!("cargo xtask bench {}", words.join(" ")).trim_end().to_owned(),
            fsync: options.fsync,
            smoke: options.quick,
        })
    }
}

/// A word of the command line; of a path, whose beginning means nothing elsewhere, its last name.
fn shown(word: &str) -> String {
    let (option, value) = match word.split_once('=') {
        Some((option, value)) if option.starts_with("--") => (format!("{option}="), value),
        _ => (String::new(), word),
    };
    let path = Path::new(value);
    let name = path.file_name().filter(|_| path.is_absolute()).and_then(|name| name.to_str());
    option + name.unwrap_or(value)
}

/// The commit of the tree, and whether there is more in it.
fn commit() -> String {
    let Some(hash) = said("git", &["rev-parse", "--short=12", "HEAD"]) else {
        return "unknown".to_owned();
    };
    match said("git", &["status", "--porcelain", "--untracked-files=no"]).as_deref() {
        Some("") => hash,
        _ => format!("{hash} and uncommitted changes"),
    }
}

fn processor() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with("model name"));
    let model = line.and_then(|line| line.split_once(':')).map(|(_, model)| model.trim());
    model.unwrap_or("unknown").to_owned()
}

fn said(program: &str, arguments: &[&str]) -> Option<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let output = Command::new(program).args(arguments).current_dir(root).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_names_no_directory_of_its_machine() {
        for (word, expected) in [
            ("--only", "--only"),
            ("w1,w2", "w1,w2"),
            ("/opt/there/postgres_scanner.duckdb_extension", "postgres_scanner.duckdb_extension"),
            ("--scanner-library=/opt/there/", "--scanner-library=there"),
            ("target/bench", "target/bench"),
            ("?threads=2", "?threads=2"),
        ] {
            assert_eq!(shown(word), expected, "{word}");
        }
    }
}
