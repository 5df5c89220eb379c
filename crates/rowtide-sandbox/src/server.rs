//! One running server: start, stop, kill, start again, ask.

use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::account::Account;
use crate::binaries::{PostgresBinaries, client_tool};
use crate::directory::{self, ServerDirectory};
use crate::error::{Error, Result};
use crate::major::Major;
use crate::options::{ServerOptions, StopMode};
use crate::sys;
use crate::tls::Certificates;

mod launch;

/// How long a start, a stop or a crash recovery may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often a condition is looked at while waiting for it.
const POLL: Duration = Duration::from_millis(5);

/// A throwaway PostgreSQL server on 127.0.0.1. Dropping it stops it and removes its directory.
#[derive(Debug)]
pub struct PostgresServer {
    binaries: PostgresBinaries,
    account: Account,
    port: u16,
    password: Option<String>,
    certificates: Option<Certificates>,
    process: Option<Child>,
    directory: ServerDirectory,
}

impl PostgresServer {
    /// Makes a new cluster and starts a server on it; returns when it accepts connections.
    pub fn start(options: &ServerOptions) -> Result<Self> {
        let account = Account::choose()?;
        let binaries = PostgresBinaries::locate(options.major)?.reachable_by(&account)?;
        let directory = ServerDirectory::create(options.directory.as_deref(), &account)?;
        let mut server = Self {
            binaries,
            account,
            port: 0,
            password: options.auth_scram_password.clone(),
            certificates: None,
            process: None,
            directory,
        };
        server.initialise()?;
        if options.tls {
            let (root, run) = (server.directory.root(), server.directory.run());
            server.certificates = Some(Certificates::create(root, &run, &server.account)?);
        }
        server.configure(options)?;
        server.launch_on_a_free_port()?;
        Ok(server)
    }

    /// The major version that runs.
    #[must_use]
    pub fn major(&self) -> Major {
        self.binaries.major
    }

    /// The programs in use. Their directory differs from the one they were found in when they had
    /// to be copied to where the server's account can reach them.
    #[must_use]
    pub fn binaries(&self) -> &PostgresBinaries {
        &self.binaries
    }

    /// The port; it stays the same over [`start_again`](Self::start_again).
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The URL for the user `postgres` and the database `db`, with the password if there is one.
    #[must_use]
    pub fn url(&self, db: &str) -> String {
        let password = self.password.as_deref();
        let password = password.map(|p| format!(":{}", percent_encoded(p))).unwrap_or_default();
        format!("postgres://postgres{password}@127.0.0.1:{}/{}", self.port, percent_encoded(db))
    }

    /// The server's own directory, removed on drop. It also holds the Unix socket (in `run`).
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.root()
    }

    /// The data directory (`PGDATA`).
    #[must_use]
    pub fn data_directory(&self) -> PathBuf {
        self.directory.data()
    }

    /// The file that holds what the server prints.
    #[must_use]
    pub fn log_file(&self) -> PathBuf {
        self.directory.log()
    }

    /// The certificate of the authority that signed the server's certificate, when it serves TLS.
    #[must_use]
    pub fn ca_certificate(&self) -> Option<&Path> {
        self.certificates.as_ref().map(|made| made.authority.as_path())
    }

    /// The process id of the running server (the postmaster); `None` when it is stopped.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Child::id)
    }

    /// Stops the server and waits for its end. Stopping a stopped server does nothing.
    pub fn stop(&mut self, mode: StopMode) -> Result<()> {
        let Some(mut process) = self.process.take() else {
            return Ok(());
        };
        let signal = match mode {
            StopMode::Fast => libc::SIGINT,
            StopMode::Immediate => libc::SIGQUIT,
        };
        // Failure means that it has ended by itself, which the wait below sees.
        let _ = sys::send_signal(process.id(), signal);
        if wait_for_end(&mut process) {
            return Ok(());
        }
        kill_with_children(&mut process);
        Err(Error::new(
            format!("could not stop the PostgreSQL server on port {}", self.port),
            format!("it had not ended after {} s, so it was killed", PATIENCE.as_secs()),
            format!("read its log: {}", self.log_file().display()),
        ))
    }

    /// Kills the server and all its backends with SIGKILL, as a crash of the machine would (what
    /// the operating system holds in its cache survives). Killing a stopped server does nothing.
    pub fn kill9(&mut self) {
        if let Some(mut process) = self.process.take() {
            kill_with_children(&mut process);
        }
    }

    /// Starts a stopped or killed server again, on the same data and port. On a server that still
    /// runs this is an error.
    pub fn start_again(&mut self) -> Result<()> {
        let ended = match &mut self.process {
            None => true,
            Some(process) => matches!(process.try_wait(), Ok(Some(_))),
        };
        if !ended {
            return Err(Error::new(
                format!("could not start the PostgreSQL server on port {} again", self.port),
                "it is still running",
                "stop or kill it first",
            ));
        }
        self.process = None;
        self.launch()
    }

    /// Runs SQL in the database `db` by `psql` and returns the rows, columns separated by `|`.
    /// An error in any statement is an error here.
    pub fn psql(&self, db: &str, sql: &str) -> Result<String> {
        let attempt = || format!("could not run SQL by psql in the database {db}: {sql}");
        let output = Command::new(client_tool("psql")?)
            .args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d"])
            .arg(self.url(db))
            .args(["-c", sql])
            .output()
            .map_err(|e| Error::new(attempt(), e.to_string(), "check that psql runs by itself"))?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned());
        }
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        let log = self.log_file();
        Err(Error::new(attempt(), said, format!("the server's log is {}", log.display())))
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        // Nothing is kept, so there is nothing to write down: no checkpoint, no farewell.
        let _ = self.stop(StopMode::Immediate);
        remove_shared_memory(&self.directory.data());
    }
}

/// Waits until the process has ended; false when patience has run out.
fn wait_for_end(process: &mut Child) -> bool {
    wait_until(|| !matches!(process.try_wait(), Ok(None)))
}

fn wait_until(mut done: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if done() {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        thread::sleep(POLL);
    }
}

/// Kills the postmaster first, so that it starts no more children, then those it had, and waits
/// until all are gone: a backend that lingers would refuse the next start its shared memory.
fn kill_with_children(postmaster: &mut Child) {
    let children = children_of(postmaster.id());
    let _ = postmaster.kill();
    let _ = postmaster.wait();
    for child in &children {
        let _ = sys::send_signal(*child, libc::SIGKILL);
    }
    wait_until(|| children.iter().all(|pid| has_ended(*pid)));
}

fn children_of(parent: u32) -> Vec<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| matches!(state_and_parent(*pid), Some((_, p)) if p == parent)).collect()
}

/// A zombie has ended as well: it holds no memory any more, only its parent has not looked.
fn has_ended(pid: u32) -> bool {
    state_and_parent(pid).is_none_or(|(state, _)| matches!(state, 'Z' | 'X'))
}

/// Reads `/proc/<pid>/stat`: `123 (name, perhaps with blanks) S 122 …`.
fn state_and_parent(pid: u32) -> Option<(char, u32)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    Some((fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
}

/// A killed server leaves one tiny shared memory segment that outlives every process, and the
/// kernel has few of them. The server's pid file, left too, names it on line 7: key, then id.
fn remove_shared_memory(data: &Path) {
    let Ok(text) = fs::read_to_string(data.join("postmaster.pid")) else {
        return;
    };
    let segment = text.lines().nth(6).and_then(|line| line.split_whitespace().nth(1));
    if let Some(id) = segment {
        // Best effort: without `ipcrm` the segment stays, which costs 56 bytes.
        let mut remove = Command::new("ipcrm");
        let _ = remove.args(["-m", id]).stdout(Stdio::null()).stderr(Stdio::null()).status();
    }
}

fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_and_names_are_safe_in_a_url() {
        assert_eq!(percent_encoded("p@ss/w:rd é"), "p%40ss%2Fw%3Ard%20%C3%A9");
        assert_eq!(percent_encoded("Plain-1._~"), "Plain-1._~");
    }
}
