//! What `fuzz/` feeds: each function takes any bytes and panics if a property is broken. Not part
//! of the interface.

#![allow(clippy::missing_panics_doc, reason = "a broken property is a panic")]

use std::path::Path;
use std::time::Duration;

use crate::config::{
    ConnectorSpec, Connectors, Draft, Kind, OptionSpec, Substitution, format_duration, format_size,
    parse_duration, parse_size,
};

pub use crate::spool::fuzzing::spool;

/// The name of a target, and what it is fed to.
pub type Target = (&'static str, fn(&[u8]));

/// Every target.
pub const TARGETS: &[Target] = &[("config", config), ("quantity", quantity), ("spool", spool)];

const CONNECTORS: Connectors = Connectors {
    sources: &[ConnectorSpec {
        kind: "postgres",
        schemes: &["postgres", "postgresql"],
        url: "postgres://user@host/shop",
        about: "PostgreSQL.",
        options: &[
            OptionSpec::optional("slot", Kind::Text, "\"rowtide_shop\"", "The slot."),
            OptionSpec::optional("port", Kind::Integer(1, 65_535), "5432", "The port."),
            OptionSpec::optional("password", Kind::Text, "\"…\"", "The password.").secret(),
        ],
        check: |_| Ok(Some("shop".to_owned())),
    }],
    destinations: &[ConnectorSpec {
        kind: "duckdb",
        schemes: &["duckdb"],
        url: "duckdb:warehouse.duckdb",
        about: "DuckDB.",
        options: &[
            OptionSpec::optional("memory_limit", Kind::Size(0), "\"1GiB\"", "Memory."),
            OptionSpec::optional("settings", Kind::TextMap, "{}", "Settings."),
        ],
        check: |_| Ok(None),
    }],
};

/// What every environment variable holds.
const SECRET: &str = "hunter2hunter2";

/// A configuration file; behind a zero byte the path and the value of a `--set`. What comes from
/// the environment is shown neither in an error nor in the effective configuration, which is
/// TOML.
pub fn config(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    // No file of the machine is read: what is in it would decide what happens.
    if text.contains("file:") || text.contains(SECRET) {
        return;
    }
    let mut parts = text.splitn(3, '\0');
    let mut next = || parts.next().unwrap_or_default();
    let (text, path, value) = (next(), next(), next());
    let environment = |_: &str| Some(SECRET.to_owned());
    let from = Substitution { environment: &environment, directory: Path::new("") };
    let draft = || {
        let mut draft = Draft::parse(text);
        if !path.is_empty() {
            draft.set_value(path, value, "--set");
        }
        draft
    };
    let finished = draft().finish(CONNECTORS, from);
    let shown = draft().show(CONNECTORS, from);
    assert_eq!(finished.is_ok(), shown.is_ok());
    let said = match (&finished, shown) {
        (Err(error), _) => error.chain(),
        (Ok(_), Ok(shown)) => {
            let again = toml::from_str::<toml::Table>(&shown);
            assert!(again.is_ok(), "{:?}\n{shown}", again.err());
            shown
        }
        (Ok(_), Err(error)) => error.chain(),
    };
    assert!(!said.contains(SECRET), "{said}");
}

/// Sizes and durations: what is written reads back.
pub fn quantity(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let number = bytes.iter().take(8).fold(0_u64, |n, byte| n << 8 | u64::from(*byte));
    for size in parse_size(text).ok().into_iter().chain([number]) {
        assert_eq!(parse_size(&format_size(size)), Ok(size));
    }
    let durations = [parse_duration(text).ok(), Some(Duration::from_millis(number))];
    for duration in durations.into_iter().flatten() {
        let written = format_duration(duration);
        let read = parse_duration(&written);
        // What is shorter than a millisecond is not written.
        if let Ok(millis) = u64::try_from(duration.as_millis()) {
            assert_eq!(read, Ok(Duration::from_millis(millis)), "{written}");
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_corpus_holds() {
        let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus");
        for (name, target) in super::TARGETS {
            let directory = std::path::Path::new(corpus).join(name);
            let entries = std::fs::read_dir(&directory).unwrap();
            let mut inputs: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
            assert!(!inputs.is_empty(), "{name} has no corpus");
            inputs.sort();
            for input in inputs {
                let bytes = std::fs::read(&input).unwrap();
                let held = std::panic::catch_unwind(|| target(&bytes));
                assert!(held.is_ok(), "broken by {}", input.display());
            }
        }
    }
}
