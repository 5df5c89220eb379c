//! The log: text that does not tear the bars, or JSON lines.

use std::io::{self, Write};

use indicatif::MultiProgress;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::util::SubscriberInitExt;

use super::Output;
use super::harmless::harmless;
use crate::cli::Global;

/// Sends log messages to stderr from now on.
pub(super) fn start(output: &Output, global: &Global) {
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter(output, global))
        .with_target(false)
        .with_writer(BesideBars {
            bars: output.bars.clone(),
            plain: !output.colour,
            json: output.json,
        });
    // A log that is set already (in tests) stays.
    let _ = match output.json {
        true => builder.json().flatten_event(true).with_current_span(true).finish().try_init(),
        false => builder.with_ansi(output.colour).compact().finish().try_init(),
    };
}

fn filter(output: &Output, global: &Global) -> EnvFilter {
    if let Some(filter) = crate::configuration::environment("ROWTIDE_LOG") {
        return EnvFilter::new(filter);
    }
    EnvFilter::new(match (global.quiet, global.verbose) {
        (true, _) => "warn",
        // Where bars are drawn they tell what the messages would.
        (_, 0) if output.terminal => "warn,rowtide::cmd=info",
        (_, 0) => "warn,rowtide=info,rowtide_engine=info,rowtide_postgres=info,rowtide_duckdb=info",
        (_, 1) => {
            "info,rowtide=debug,rowtide_engine=debug,rowtide_postgres=debug,rowtide_duckdb=debug"
        }
        _ => "debug,rowtide=trace,rowtide_engine=trace,rowtide_postgres=trace,rowtide_duckdb=trace",
    })
}

/// Takes the bars away while a message is written.
#[derive(Clone)]
struct BesideBars {
    bars: MultiProgress,
    /// Messages have no colours. In those that have, the log itself escapes what is not one.
    plain: bool,
    json: bool,
}

struct Line {
    around: BesideBars,
    text: Vec<u8>,
}

impl<'a> MakeWriter<'a> for BesideBars {
    type Writer = Line;

    fn make_writer(&'a self) -> Line {
        Line { around: self.clone(), text: Vec::new() }
    }
}

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        // One write per message, so that messages of several threads do not mix.
        self.around.bars.suspend(|| {
            let text = String::from_utf8_lossy(&self.text);
            let text = match self.around.plain || self.around.json {
                true => harmless(&text, self.around.json),
                false => text,
            };
            let _ = io::stderr().lock().write_all(text.as_bytes());
        });
    }
}
