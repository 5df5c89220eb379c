//! The real binary as a child process.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use crate::{Result, wait_for};

/// How the binary is called.
#[derive(Debug, Clone)]
pub struct RowtideCommand {
    program: PathBuf,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    directory: PathBuf,
}

/// A run that ended.
#[derive(Debug)]
pub struct Finished {
    /// How.
    pub status: ExitStatus,
    /// All it wrote to standard output.
    pub stdout: String,
    /// All it wrote to standard error.
    pub stderr: String,
}

impl Finished {
    /// The exit code; −1 if a signal ended it.
    pub fn code(&self) -> i32 {
        self.status.code().unwrap_or(-1)
    }

    /// This run, if it exited with 0.
    ///
    /// # Errors
    /// Everything it printed.
    pub fn success(self) -> Result<Self> {
        if self.status.success() {
            Ok(self)
        } else {
            Err(format!(
                "rowtide ended with {}\n--- stdout\n{}\n--- stderr\n{}",
                self.status, self.stdout, self.stderr
            ))
        }
    }
}

impl RowtideCommand {
    /// `program` with `arguments`, run in `directory` (where its output files go too).
    pub fn new(
        program: impl Into<PathBuf>,
        directory: &Path,
        arguments: impl IntoIterator<Item = impl Into<String>>,
    ) -> Self {
        Self {
            program: program.into(),
            arguments: arguments.into_iter().map(Into::into).collect(),
            environment: Vec::new(),
            directory: directory.to_owned(),
        }
    }

    /// Adds an environment variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Adds arguments at the end.
    #[must_use]
    pub fn with(mut self, arguments: &[&str]) -> Self {
        self.arguments.extend(arguments.iter().map(|&argument| argument.to_owned()));
        self
    }

    /// Starts it.
    ///
    /// # Errors
    /// If the program cannot be started.
    pub fn spawn(&self) -> Result<Rowtide> {
        let output = |name: &str| -> Result<(File, PathBuf)> {
            let unique =
                format!("{name}-{}", NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed));
            let path = self.directory.join(unique);
            let file =
                File::create(&path).map_err(|e| format!("create {}: {e}", path.display()))?;
            Ok((file, path))
        };
        let ((out, stdout), (err, stderr)) = (output("stdout")?, output("stderr")?);
        let child = Command::new(&self.program)
            .args(&self.arguments)
            .current_dir(&self.directory)
            .env_remove("RUST_LOG")
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err)
            .spawn()
            .map_err(|e| format!("start {}: {e}", self.program.display()))?;
        Ok(Rowtide { child, stdout, stderr })
    }

    /// Runs it to its end, for at most `limit`.
    ///
    /// # Errors
    /// If it cannot be started or does not end in time.
    pub fn run(&self, limit: Duration) -> Result<Finished> {
        self.spawn()?.wait(limit)
    }
}

static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);

/// A running binary; killed when dropped.
#[derive(Debug)]
pub struct Rowtide {
    child: Child,
    stdout: PathBuf,
    stderr: PathBuf,
}

impl Rowtide {
    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// What it wrote to standard error so far.
    pub fn stderr(&self) -> String {
        std::fs::read_to_string(&self.stderr).unwrap_or_default()
    }

    /// `kill -9`, and waits for its end.
    pub fn kill9(mut self) -> Result<Finished> {
        self.child.kill().map_err(|e| format!("kill rowtide: {e}"))?;
        self.wait(Duration::from_secs(10))
    }

    /// Sends SIGTERM.
    ///
    /// # Errors
    /// If its process id is out of range.
    pub fn terminate(&self) -> Result<()> {
        self.signal("TERM")
    }

    /// Stops it in the middle of whatever it does (SIGSTOP), until [`Self::resume`].
    ///
    /// # Errors
    /// If it has ended.
    pub fn pause(&self) -> Result<()> {
        self.signal("STOP")
    }

    /// Lets it go on (SIGCONT).
    ///
    /// # Errors
    /// If it has ended.
    pub fn resume(&self) -> Result<()> {
        self.signal("CONT")
    }

    fn signal(&self, name: &str) -> Result<()> {
        let pid = self.pid().to_string();
        match Command::new("kill").args([&format!("-{name}"), &pid]).status() {
            Ok(status) if status.success() => Ok(()),
            other => Err(format!("send SIG{name}: {other:?}")),
        }
    }

    /// Waits for its end, for at most `limit`; then it is killed.
    ///
    /// # Errors
    /// With what it printed if it does not end in time.
    pub fn wait(mut self, limit: Duration) -> Result<Finished> {
        let ended = wait_for("rowtide to end", limit, || {
            self.child.try_wait().map_err(|e| format!("wait for rowtide: {e}"))
        });
        let read = |path: &Path| std::fs::read_to_string(path).unwrap_or_default();
        let (stdout, stderr) = (read(&self.stdout), read(&self.stderr));
        match ended {
            Ok(status) => Ok(Finished { status, stdout, stderr }),
            Err(error) => Err(format!("{error}\n--- stdout\n{stdout}\n--- stderr\n{stderr}")),
        }
    }
}

impl Drop for Rowtide {
    fn drop(&mut self) {
        if self.is_running() {
            drop(self.child.kill());
        }
        drop(self.child.wait());
    }
}
