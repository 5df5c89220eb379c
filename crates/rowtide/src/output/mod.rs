//! Everything the program says: results on stdout, messages and progress on stderr.
//!
//! Results go to stdout so that they can be piped; whatever is said on the way goes to stderr, as
//! text with bars on a terminal and as JSON lines elsewhere.

mod format;
mod harmless;
mod logs;
mod progress;
mod table;

use std::io::{self, IsTerminal, Write};
use std::panic;

use indicatif::MultiProgress;
use rowtide_core::{Error, Result};

use harmless::harmless;

use crate::cli::{Global, LogFormat};

pub(crate) use format::{bytes, count, seconds};
pub(crate) use progress::{Progress, summary};
pub(crate) use table::{Align, Table};

/// Where and how the program speaks. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Output {
    bars: MultiProgress,
    /// Whether messages are JSON lines.
    json: bool,
    /// Whether bars can be drawn.
    terminal: bool,
    quiet: bool,
    colour: bool,
}

impl Output {
    /// Decides how to speak, and starts the log.
    pub(crate) fn new(global: &Global) -> Self {
        let terminal = io::stderr().is_terminal();
        let json = match global.log {
            LogFormat::Auto => !terminal,
            LogFormat::Text => false,
            LogFormat::Json => true,
        };
        let bars = MultiProgress::new();
        let output = Self {
            json,
            terminal: terminal && !json && !global.quiet,
            quiet: global.quiet,
            colour: terminal && std::env::var_os("NO_COLOR").is_none(),
            bars,
        };
        logs::start(&output, global);
        output
    }

    /// Whether bars can be drawn.
    pub(crate) fn draws_bars(&self) -> bool {
        self.terminal
    }

    /// Whether messages are JSON lines.
    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// The place where bars are drawn.
    pub(crate) fn bars(&self) -> &MultiProgress {
        &self.bars
    }

    /// Says something on the way: a line of text or a log message.
    pub(crate) fn note(&self, text: &str) {
        if self.quiet {
            return;
        }
        match self.json {
            true => tracing::info!("{text}"),
            false => self.stderr_line(text),
        }
    }

    /// Says what went wrong and what to do next.
    pub(crate) fn error(&self, error: &Error) {
        let chain = error.chain();
        if self.json {
            let mut object = serde_json::json!({
                "timestamp": jiff::Timestamp::now().to_string(),
                "level": "ERROR",
                "kind": error.kind().as_str(),
                "message": chain,
            });
            if let Some(hint) = error.hint() {
                object["hint"] = hint.into();
            }
            self.stderr_line(&object.to_string());
            return;
        }
        self.stderr_line(&format!("{} {chain}", self.paint("1;31", "error:")));
        if let Some(hint) = error.hint() {
            self.stderr_line(&format!("{} {hint}", self.paint("1;36", "hint:")));
        }
    }

    /// Writes one line to stderr without tearing the bars.
    pub(crate) fn stderr_line(&self, text: &str) {
        let text = harmless(text, self.json);
        self.bars.suspend(|| {
            // Nobody is left to tell when stderr is gone.
            let _ = writeln!(io::stderr().lock(), "{text}");
        });
    }

    /// Text in a colour (an SGR code), where colours are wanted.
    pub(crate) fn paint(&self, code: &str, text: &str) -> String {
        match self.colour {
            true => format!("\x1b[{code}m{text}\x1b[0m"),
            false => text.to_owned(),
        }
    }
}

/// Writes a result to stdout, for people.
///
/// # Errors
/// `Unavailable` if stdout cannot be written to. A reader that has gone away is no error: the
/// process ends as it would by SIGPIPE.
pub(crate) fn print(text: &str) -> Result<()> {
    print_as_is(&harmless(text, false))
}

/// Writes data to stdout, for other programs.
///
/// # Errors
/// As [`print()`].
pub(crate) fn print_as_is(text: &str) -> Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => std::process::exit(141),
        Err(error) => {
            Err(Error::unavailable("could not write to standard output").with_source(error))
        }
    }
}

/// Writes a line of result to stdout.
///
/// # Errors
/// As [`print()`].
pub(crate) fn print_line(text: &str) -> Result<()> {
    print(&format!("{text}\n"))
}

/// Writes a JSON result to stdout, indented.
///
/// # Errors
/// As [`print()`].
pub(crate) fn print_json(value: &serde_json::Value) -> Result<()> {
    print_as_is(&harmless(&format!("{value:#}\n"), true))
}

/// A panic is a bug: says so, and leaves what is needed to report it.
pub(crate) fn install_panic_hook() {
    let default = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        default(info);
        let _ = writeln!(
            io::stderr(),
            "error: rowtide met a condition it does not expect: this is a bug in it\n\
             hint: nothing that was committed is affected, and the next run goes on from there; \
             please report the lines above"
        );
        std::process::exit(i32::from(rowtide_core::ErrorKind::Internal.exit_code()));
    }));
}
