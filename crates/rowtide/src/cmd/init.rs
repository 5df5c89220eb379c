//! `rowtide init`: a commented configuration file to start from.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::path::Path;
use std::process::ExitCode;

use rowtide_core::{Error, Result};
use rowtide_engine::config;

use crate::cli::Init;
use crate::output::{self, Output};
use crate::registry::CONNECTORS;

/// Writes or prints the file.
pub(super) fn execute(arguments: &Init, output: &Output) -> Result<ExitCode> {
    let from = without_password(&arguments.from);
    if from != arguments.from {
        output.note(
            "the password is left out of the file: it will be read from PGPASSWORD or ~/.pgpass",
        );
    }
    let text = config::example(CONNECTORS, (&from, &arguments.to), None);
    if arguments.file == Path::new("-") {
        output::print_as_is(&text)?;
        return Ok(ExitCode::SUCCESS);
    }
    write(&arguments.file, &text, arguments.force)?;
    let file = arguments.file.display();
    output.note(&format!("wrote {file}; next: rowtide check --config {file}"));
    Ok(ExitCode::SUCCESS)
}

/// A password in a file is read by others sooner or later. Without one in the URL, PGPASSWORD and
/// `~/.pgpass` are asked, whatever characters the password has.
fn without_password(url: &str) -> String {
    const REFERENCE: &str = "${env:PGPASSWORD}";
    let redacted = config::redacted_url(url);
    if redacted == url {
        return redacted;
    }
    redacted.replacen(":***@", "@", 1).replace("***", REFERENCE)
}

fn write(path: &Path, text: &str, force: bool) -> Result<()> {
    let name = path.display();
    let mut options = OpenOptions::new();
    options.write(true).create(force).truncate(force).create_new(!force);
    let written = options.open(path).and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => Error::config(format!("{name} exists already"))
            .with_hint("pass --force to replace it, or name another file"),
        _ => Error::config(format!("could not write {name}")).with_source(error),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_does_not_get_into_the_file() {
        let url = without_password("postgres://u:pw@h/d");
        assert_eq!(url, "postgres://u@h/d");
        assert_eq!(without_password("postgres://u@h/d"), "postgres://u@h/d");
    }
}
