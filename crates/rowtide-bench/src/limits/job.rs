//! Limits that this program measures in a process of its own, so that CPU time and peak memory
//! are those of the limit alone.

use std::env;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use clap::Subcommand;
use rowtide_testkit::{Result, peak_rss_bytes};

use super::duckdb;
use super::ingest::Ingest;
use super::reader::{Counts, NullReader};
use super::scanner::Scanner;
use crate::stopwatch::{Taken, cpu_seconds, finish};

/// What such a process does.
#[derive(Debug, Subcommand)]
pub(crate) enum Job {
    /// Feeds DuckDB.
    Ingest(Ingest),
    /// Frames and acknowledges a backlog.
    Read(NullReader),
    /// Copies by DuckDB's own scanner of PostgreSQL.
    Scan(Scanner),
}

/// What it prints.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
pub(crate) struct Done {
    pub(crate) taken: Taken,
    pub(crate) counts: Counts,
    /// The version of the DuckDB library in its process.
    pub(crate) duckdb: String,
}

/// Does the work of `job` in this process.
pub(crate) fn run(job: &Job) -> Result<Done> {
    let (taken, counts) = match job {
        Job::Ingest(ingest) => (ingest.run()?, Counts::default()),
        Job::Read(reader) => reader.run()?,
        Job::Scan(scanner) => (scanner.run()?, Counts::default()),
    };
    Ok(Done { taken, counts, duckdb: duckdb::version() })
}

/// Does a job, given by its words on the command line, in another process.
pub(crate) fn apart(words: &[&str]) -> Result<Done> {
    apart_with(words, None)
}

/// The same with the DuckDB library in the directory `library` instead of the one that this
/// program was linked with.
pub(crate) fn apart_with(words: &[&str], library: Option<&Path>) -> Result<Done> {
    let program = env::current_exe().map_err(|e| format!("find this program: {e}"))?;
    let mut command = Command::new(program);
    command.arg("limit").args(words).stdin(Stdio::null());
    if let Some(library) = library {
        // The loader looks there before it looks where the program says.
        let others = env::var_os("LD_LIBRARY_PATH").unwrap_or_default();
        let all = [library.to_owned()].into_iter().chain(env::split_paths(&others));
        command.env("LD_LIBRARY_PATH", env::join_paths(all).map_err(|e| e.to_string())?);
    }
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().map_err(|e| format!("start {command:?}: {e}"))?;
    let printed = finish(&command, child)?;
    let printed = String::from_utf8_lossy(&printed);
    serde_json::from_str(printed.trim()).map_err(|_| printed.trim().to_owned())
}

/// Measures a part of this process's life.
pub(crate) struct Meter {
    started: Instant,
    cpu: f64,
}

impl Meter {
    pub(crate) fn start() -> Self {
        Self { started: Instant::now(), cpu: own_cpu() }
    }

    /// The peak of memory is that of the whole life.
    pub(crate) fn stop(&self) -> Taken {
        Taken {
            wall: self.started.elapsed().as_secs_f64(),
            cpu: own_cpu() - self.cpu,
            server_cpu: 0.0,
            peak_bytes: peak_rss_bytes(std::process::id()).unwrap_or_default(),
        }
    }
}

fn own_cpu() -> f64 {
    cpu_seconds(std::process::id()).unwrap_or_default()
}
