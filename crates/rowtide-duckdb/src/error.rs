//! What a DuckDB failure means for the operator.
//!
//! DuckDB's texts may quote values of rows (conversion and constraint errors do). Only texts of
//! classes that speak of files, names and settings are passed on; of the others the class alone.

use rowtide_core::{Error, ErrorKind, Result};

use crate::ffi::{Class, Failure};

/// Says what was attempted when a call into DuckDB failed.
pub(crate) trait During<T> {
    /// Turns a failure into an error whose message begins with `attempt`.
    fn during(self, attempt: impl FnOnce() -> String) -> Result<T>;
}

impl<T> During<T> for crate::ffi::Result<T> {
    fn during(self, attempt: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|failure| explain(&failure).context(attempt()))
    }
}

/// The pid of the process that holds the file, if that is why opening it failed.
pub(crate) fn is_locked(failure: &Failure) -> bool {
    failure.class == Class::Io && failure.text.contains("Could not set lock")
}

fn explain(failure: &Failure) -> Error {
    let text = failure.text.as_str();
    // A fatal error wraps what caused it; a full disk is told apart in whatever class it comes.
    if is_disk_full(text) {
        return Error::unavailable("the disk is full, or a size limit was reached")
            .with_hint("free space on the file system of the database, then run again");
    }
    match failure.class {
        Class::Io => explain_io(failure),
        Class::Transaction => {
            Error::unavailable("another transaction changed the same rows").of_one_table()
        }
        Class::Catalog => Error::config(first_line(text))
            .of_one_table()
            .with_hint("was a table of the pipeline changed by hand? Copy it again (resync)"),
        Class::Dependency => Error::config("something depends on the table")
            .of_one_table()
            .with_hint("drop indexes and views that were made on it by hand"),
        Class::Value => Error::data("a value does not fit the type of its column"),
        Class::OutOfMemory => Error::config("more memory is needed than memory_limit allows")
            .with_hint("raise memory_limit, or lower the number of threads or lanes"),
        Class::Settings => Error::config(first_line(text)),
        Class::Interrupted => Error::unavailable("the statement was interrupted"),
        Class::Fatal => Error::unavailable("DuckDB closed the database after a fatal error")
            .with_hint("the file is opened again on the next attempt; nothing committed is lost"),
        Class::Other => Error::internal(format!("DuckDB failed ({})", class_word(text))),
    }
}

fn explain_io(failure: &Failure) -> Error {
    let text = failure.text.as_str();
    if is_locked(failure) {
        let holder = between(text, "(PID ", ")")
            .map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"));
        return Error::unavailable(format!("{holder} holds the file")).with_hint(
            "a DuckDB file has one writing process, and none that reads beside it: \
                        end the other one, or let it read a copy",
        );
    }
    let kind = if text.contains("not a valid DuckDB database file")
        || text.contains("database file with version number")
        || text.contains("No such file or directory")
        || text.contains("Is a directory")
    {
        ErrorKind::Config
    } else if text.contains("Permission denied") || text.contains("Read-only file system") {
        ErrorKind::Access
    } else {
        ErrorKind::Unavailable
    };
    Error::new(kind, first_line(text))
}

fn is_disk_full(text: &str) -> bool {
    ["No space left on device", "File too large", "Disk quota exceeded", "disk is full"]
        .iter()
        .any(|sign| text.contains(sign))
}

/// The first line, without the class DuckDB puts in front.
fn first_line(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    line.split_once(" Error: ").map_or(line, |(_, rest)| rest).to_owned()
}

/// The class DuckDB puts in front, and nothing else.
fn class_word(text: &str) -> &str {
    text.split_once(" Error:")
        .map(|(class, _)| class)
        .filter(|class| {
            class.len() < 40 && class.chars().all(|c| c.is_ascii_alphabetic() || c == ' ')
        })
        .unwrap_or("without a class")
}

fn between<'a>(text: &'a str, start: &str, end: &str) -> Option<&'a str> {
    text.split_once(start)?.1.split_once(end).map(|(inner, _)| inner)
}
