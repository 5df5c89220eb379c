//! Running other programs, with errors that name the command.

use std::env;
use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;

/// What a chore ends with: nothing, or a message for the terminal.
pub(crate) type Outcome<T = ()> = Result<T, String>;

/// The workspace this program was built from; cargo tells it to a program it runs.
pub(crate) fn workspace_root() -> &'static Path {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().unwrap_or(package)
}

/// The cargo that runs us, in the workspace's root.
pub(crate) fn cargo(root: &Path) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root);
    command
}

/// Whether a program is on the search path.
pub(crate) fn is_on_path(program: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|dir| dir.join(program).is_file())
}

/// Shows the command, runs it with our terminal, and fails when it fails.
pub(crate) fn shown(command: &mut Command) -> Outcome {
    println!("$ {}", words(command));
    passing_on(command)
}

/// Runs the command with our terminal, and fails when it fails.
pub(crate) fn passing_on(command: &mut Command) -> Outcome {
    let status = command.status().map_err(|e| could_not_run(command, &e))?;
    if status.success() { Ok(()) } else { Err(format!("`{}` failed: {status}", words(command))) }
}

/// Runs the command and returns what it printed; when it fails, the message holds its complaint.
pub(crate) fn output(command: &mut Command) -> Outcome<String> {
    let output = command.output().map_err(|e| could_not_run(command, &e))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("`{}` failed: {}\n{}", words(command), output.status, said.trim()))
}

/// The message for an I/O error met while doing `verb` on `path`.
pub(crate) fn io_error(verb: &str, path: &Path) -> impl FnOnce(io::Error) -> String {
    move |error| format!("could not {verb} {}: {error}", path.display())
}

/// The SHA-256 of a file, as hexadecimal digits, by coreutils.
pub(crate) fn sha256(file: &Path) -> Outcome<String> {
    let printed = output(Command::new("sha256sum").arg("--").arg(file))?;
    // A name with a backslash in it is announced by one at the start of the line.
    Ok(printed.trim_start_matches('\\').split_whitespace().next().unwrap_or_default().to_owned())
}

/// An empty directory below `parent` for this process; what an earlier one left is removed.
pub(crate) fn scratch(parent: &Path) -> Outcome<Scratch> {
    let path = parent.join(format!(".fetching-{}", std::process::id()));
    let _ = fs::remove_dir_all(&path);
    fs::create_dir_all(&path).map_err(io_error("make the directory", &path))?;
    Ok(Scratch { path })
}

/// A directory that is removed when the value goes.
pub(crate) struct Scratch {
    pub(crate) path: std::path::PathBuf,
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}

fn could_not_run(command: &Command, error: &io::Error) -> String {
    format!("could not run `{}`: {error}", words(command))
}

fn words(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or(command.get_program());
    let all = std::iter::once(program).chain(command.get_args());
    all.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}
