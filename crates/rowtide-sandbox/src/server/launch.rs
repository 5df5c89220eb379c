//! Making the cluster, writing its settings, and getting the server to accept connections.

use super::*;

/// A clash needs another program to take the very port within milliseconds.
const PORT_ATTEMPTS: u32 = 8;
/// Below the range from which the kernel gives out ports by itself, so that no outgoing
/// connection takes the port while the server is down between two starts.
const PORTS: std::ops::Range<u16> = 20_000..32_000;
/// The kernel refuses a Unix socket whose path is longer than 107 bytes.
const LONGEST_SOCKET_DIRECTORY: usize = 85;
/// How much of the log an error shows.
const LOG_LINES_SHOWN: usize = 15;

impl PostgresServer {
    /// Runs `initdb`.
    pub(super) fn initialise(&self) -> Result<()> {
        let mut initdb = self.program("initdb");
        initdb.arg("-D").arg(self.directory.data());
        initdb.args(["-U", "postgres", "--no-sync", "-E", "UTF8", "--locale=C.UTF-8"]);
        match &self.password {
            None => {
                initdb.arg("--auth=trust");
            }
            Some(password) => {
                let file = self.directory.run().join("password");
                directory::write_private(&file, password, &self.account)?;
                initdb.arg("--auth=scram-sha-256").arg("--pwfile").arg(file);
            }
        }
        let failed = |why: String| {
            let data = self.directory.data();
            Error::new(
                format!(
                    "could not make a PostgreSQL {} cluster in {}",
                    self.major(),
                    data.display()
                ),
                why,
                "check the room on that disk and in /dev/shm; TMPDIR moves the directory",
            )
        };
        let mut process = self.spawn_logged(initdb).map_err(|e| failed(e.to_string()))?;
        let status = process.wait().map_err(|e| failed(e.to_string()))?;
        if status.success() {
            return Ok(());
        }
        Err(failed(format!("initdb ended with {status}\n{}", tail(&self.directory.log_since(0)))))
    }

    /// Appends the sandbox's settings, then the caller's, to `postgresql.conf`.
    pub(super) fn configure(&self, options: &ServerOptions) -> Result<()> {
        let run = self.directory.run().display().to_string();
        let sockets = if run.len() <= LONGEST_SOCKET_DIRECTORY { run } else { String::new() };
        let on_off = |on: bool| if on { "on" } else { "off" };
        let mut settings: Vec<(&str, String)> = vec![
            ("listen_addresses", "127.0.0.1".to_owned()),
            ("unix_socket_directories", sockets),
            ("wal_level", "logical".to_owned()),
            ("max_replication_slots", "20".to_owned()),
            ("max_wal_senders", "20".to_owned()),
            ("fsync", on_off(options.fsync).to_owned()),
        ];
        if let Some(made) = &self.certificates {
            settings.push(("ssl", "on".to_owned()));
            settings.push(("ssl_cert_file", made.certificate.display().to_string()));
            settings.push(("ssl_key_file", made.key.display().to_string()));
        }
        settings.extend(options.settings.iter().map(|(name, value)| (&**name, value.clone())));

        let mut text = String::from("\n# The sandbox's settings, then its caller's.\n");
        for (name, value) in settings {
            text.push_str(&setting_line(name, &value)?);
        }
        let path = self.directory.data().join("postgresql.conf");
        let opened = fs::File::options().append(true).open(&path);
        let written = opened.and_then(|mut file| file.write_all(text.as_bytes()));
        written.map_err(|e| Error::io("write", &path, &e))
    }

    /// Launches on a port that looks free, and on another when someone was quicker.
    pub(super) fn launch_on_a_free_port(&mut self) -> Result<()> {
        let mut attempt = 1;
        loop {
            self.port = free_port()?;
            let before = self.directory.log_length();
            match self.launch() {
                Err(_) if attempt < PORT_ATTEMPTS && self.port_was_taken(before) => attempt += 1,
                result => return result,
            }
        }
    }

    fn port_was_taken(&self, before: u64) -> bool {
        self.directory.log_since(before).contains("Address already in use")
    }

    /// Starts the server in the foreground as our child and waits until it accepts connections.
    pub(super) fn launch(&mut self) -> Result<()> {
        let before = self.directory.log_length();
        let failed = |why: String, log: &str| {
            let (major, port) = (self.binaries.major, self.port);
            Error::new(
                format!("could not start PostgreSQL {major} on port {port}"),
                format!("{why}\n{}", tail(log)),
                "the lines above are the server's own; a setting of the caller may be refused",
            )
        };
        let mut server = self.program("postgres");
        server.arg("-D").arg(self.directory.data()).args(["-p", &self.port.to_string()]);
        let mut process = self.spawn_logged(server).map_err(|e| failed(e.to_string(), ""))?;

        let mut ended = None;
        let ready = wait_until(|| {
            ended = process.try_wait().ok().flatten();
            ended.is_some() || self.says_ready(process.id())
        });
        let why = match ended {
            None if ready => {
                self.process = Some(process);
                return Ok(());
            }
            None => format!("it was not ready after {} s", PATIENCE.as_secs()),
            Some(status) => match status.signal() {
                Some(signal) => format!("it was ended by signal {signal}"),
                None => format!("it ended at once with {status}"),
            },
        };
        kill_with_children(&mut process);
        Err(failed(why, &self.directory.log_since(before)))
    }

    /// The server keeps its state on line 8 of its pid file, and its process id on line 1: the
    /// file of a server that was killed speaks of another process.
    fn says_ready(&self, pid: u32) -> bool {
        let text = fs::read_to_string(self.directory.data().join("postmaster.pid"));
        text.is_ok_and(|text| {
            let mut lines = text.lines().map(str::trim);
            lines.next() == Some(&pid.to_string())
                && matches!(lines.nth(6), Some("ready" | "standby"))
        })
    }

    /// A program of this installation, run by the server's account in a directory it can read,
    /// with nothing inherited that could change what it does.
    fn program(&self, name: &str) -> Command {
        let mut command = Command::new(self.binaries.program(name));
        self.account.apply(&mut command);
        command.current_dir(self.directory.run());
        command.env_clear().env("LC_ALL", "C").env("TZ", "UTC");
        command.env("PATH", "/usr/local/bin:/usr/bin:/bin");
        command
    }

    fn spawn_logged(&self, mut command: Command) -> Result<Child> {
        use std::os::unix::process::CommandExt;
        let path = self.directory.log();
        let output = self.directory.open_log()?;
        let errors = output.try_clone().map_err(|e| Error::io("open", &path, &e))?;
        command.stdin(Stdio::null()).stdout(output).stderr(errors);
        // A group of its own: Ctrl-C at a terminal is for us, and we decide how the server stops.
        command.process_group(0);
        let program = PathBuf::from(command.get_program());
        sys::spawn_tied(command).map_err(|e| Error::io("run", &program, &e))
    }
}

/// `name = 'value'`, refused when it could be read as more than one setting.
fn setting_line(name: &str, value: &str) -> Result<String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.');
    if name.is_empty() || !name.chars().all(plain) || value.contains(['\n', '\r', '\0']) {
        return Err(Error::new(
            format!("could not write the server setting {name:?} = {value:?}"),
            "a name has letters, digits, `_` and `.` only, and a value is one line",
            "correct the setting",
        ));
    }
    let quoted = value.replace('\\', "\\\\").replace('\'', "''");
    Ok(format!("{name} = '{quoted}'\n"))
}

/// A port of 127.0.0.1 that nothing listens on at this moment.
fn free_port() -> Result<u16> {
    use std::hash::{BuildHasher, RandomState};
    let mut last = None;
    for _ in 0..200 {
        let span = u64::from(PORTS.end - PORTS.start);
        // std seeds each RandomState anew, which is all the randomness that is needed here.
        let offset = RandomState::new().hash_one(std::process::id()) % span;
        let port = PORTS.start + u16::try_from(offset).unwrap_or(0);
        match TcpListener::bind(("127.0.0.1", port)) {
            Ok(_) => return Ok(port),
            Err(e) => last = Some(e),
        }
    }
    let why = last.map(|e| e.to_string()).unwrap_or_default();
    Err(Error::new(
        format!("could not find a free port from {} to {}", PORTS.start, PORTS.end - 1),
        why,
        "check that this process may listen on 127.0.0.1",
    ))
}

fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    let shown = lines.len().saturating_sub(LOG_LINES_SHOWN);
    lines.iter().skip(shown).map(|line| format!("    {line}")).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_quoted_and_cannot_smuggle_in_others() {
        assert_eq!(setting_line("a.b_1", r"it's C:\x").unwrap(), "a.b_1 = 'it''s C:\\\\x'\n");
        assert!(setting_line("a = 1 #", "x").is_err());
        assert!(setting_line("a", "x'\nssl = on").is_err());
        assert!(setting_line("", "x").is_err());
    }

    #[test]
    fn an_error_shows_the_end_of_the_log() {
        let log: String = (1..=40).map(|n| format!("line {n}\n")).collect();
        let shown = tail(&log);
        assert!(shown.starts_with("    line 26\n") && shown.ends_with("    line 40"), "{shown}");
    }
}
