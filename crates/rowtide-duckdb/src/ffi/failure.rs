//! What DuckDB says when a call fails.
//!
//! The text may quote values of rows (conversion and constraint errors do), so it never leaves the
//! crate as it is: `crate::error` decides what is safe to tell.

use std::ffi::CStr;

use libduckdb_sys as sys;

/// DuckDB's own class of an error, as far as it makes a difference here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    /// A file could not be opened, locked, read or written.
    Io,
    /// A conflict with another transaction, or a transaction in the wrong state.
    Transaction,
    /// No such table, column or schema, or there is one already.
    Catalog,
    /// Other objects depend on the one that was to be changed.
    Dependency,
    /// A value does not fit its type.
    Value,
    /// More memory is needed than `memory_limit` allows.
    OutOfMemory,
    /// An option is not accepted.
    Settings,
    /// The connection was asked to stop.
    Interrupted,
    /// The database gave up and must be opened again.
    Fatal,
    /// Anything else.
    Other,
}

/// A failed call: DuckDB's class and its text, which is not safe to show.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) class: Class,
    pub(crate) text: String,
}

impl Failure {
    /// A call that was not even tried.
    pub(crate) fn invalid(text: &str) -> Self {
        Self { class: Class::Other, text: text.to_owned() }
    }

    /// A failure of which DuckDB gives the text alone; the text starts with the class's name.
    pub(super) fn from_text(text: String) -> Self {
        let class = match text.split_once(" Error:").map(|(class, _)| class) {
            Some("IO") => Class::Io,
            Some("TransactionContext") => Class::Transaction,
            Some("Catalog" | "Binder") => Class::Catalog,
            Some("Dependency") => Class::Dependency,
            Some("Conversion" | "Out of Range" | "Constraint") => Class::Value,
            Some("Out of Memory") => Class::OutOfMemory,
            Some("INTERRUPT") => Class::Interrupted,
            Some("FATAL") => Class::Fatal,
            _ => Class::Other,
        };
        Self::new(class, text)
    }

    /// A failure with DuckDB's own error type.
    pub(super) fn from_parts(kind: sys::duckdb_error_type, text: String) -> Self {
        let class = match kind {
            sys::duckdb_error_type_DUCKDB_ERROR_IO => Class::Io,
            sys::duckdb_error_type_DUCKDB_ERROR_TRANSACTION => Class::Transaction,
            sys::duckdb_error_type_DUCKDB_ERROR_CATALOG
            | sys::duckdb_error_type_DUCKDB_ERROR_BINDER => Class::Catalog,
            sys::duckdb_error_type_DUCKDB_ERROR_DEPENDENCY => Class::Dependency,
            sys::duckdb_error_type_DUCKDB_ERROR_CONVERSION
            | sys::duckdb_error_type_DUCKDB_ERROR_OUT_OF_RANGE
            | sys::duckdb_error_type_DUCKDB_ERROR_CONSTRAINT => Class::Value,
            sys::duckdb_error_type_DUCKDB_ERROR_OUT_OF_MEMORY => Class::OutOfMemory,
            sys::duckdb_error_type_DUCKDB_ERROR_SETTINGS => Class::Settings,
            sys::duckdb_error_type_DUCKDB_ERROR_INTERRUPT => Class::Interrupted,
            sys::duckdb_error_type_DUCKDB_ERROR_FATAL => Class::Fatal,
            sys::duckdb_error_type_DUCKDB_ERROR_INVALID => return Self::from_text(text),
            _ => Class::Other,
        };
        Self::new(class, text)
    }

    /// A COMMIT that lacks memory, also one replayed from the log when a file is opened, comes as a
    /// failed transaction, like one that met another.
    fn new(class: Class, text: String) -> Self {
        let lacks_memory = || {
            let signs = [
                "could not allocate block",
                "failed to allocate data",
                "failed to pin block",
                "Out of Memory Error",
            ];
            signs.iter().any(|sign| text.contains(sign))
        };
        match class {
            Class::Transaction if lacks_memory() => Self { class: Class::OutOfMemory, text },
            _ => Self { class, text },
        }
    }

    /// Whether other transactions stood in the way, so that a later attempt may succeed.
    pub(crate) fn is_busy(&self) -> bool {
        self.class == Class::Transaction
    }

    /// Takes over `error`, which may be null or empty.
    ///
    /// # Safety
    /// `error` is null, or was returned by DuckDB and is not used again.
    pub(super) unsafe fn check(mut error: sys::duckdb_error_data) -> super::Result<()> {
        if error.is_null() {
            return Ok(());
        }
        // SAFETY: `error` is live until it is destroyed in the last line, once.
        unsafe {
            let failed = sys::duckdb_error_data_has_error(error).then(|| {
                let kind = sys::duckdb_error_data_error_type(error);
                Self::from_parts(kind, text_at(sys::duckdb_error_data_message(error)))
            });
            sys::duckdb_destroy_error_data(&raw mut error);
            failed.map_or(Ok(()), Err)
        }
    }
}

/// The C string at `text`, copied; empty for null.
///
/// # Safety
/// `text` is null or points to a NUL-terminated string.
pub(super) unsafe fn text_at(text: *const std::ffi::c_char) -> String {
    if text.is_null() {
        return String::new();
    }
    // SAFETY: not null, and NUL-terminated as the caller promises.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_without_memory_is_no_conflict() {
        let said = |rest: &str| {
            let text = format!("TransactionContext Error: Failed to commit: {rest}");
            let kind = sys::duckdb_error_type_DUCKDB_ERROR_TRANSACTION;
            let failure = Failure::from_parts(kind, text.clone());
            assert_eq!(failure.class, Failure::from_text(text).class);
            (failure.class, failure.is_busy())
        };
        let memory = "could not allocate block of size 256.0 KiB (511.9 MiB/512.0 MiB used)";
        assert_eq!(said(memory), (Class::OutOfMemory, false));
        let memory = "failed to pin block of size 540.0 MiB (541.8 MiB/1.0 GiB used)";
        assert_eq!(said(memory), (Class::OutOfMemory, false));
        let conflict = "write-write conflict on key: \"id: 1\"";
        assert_eq!(said(conflict), (Class::Transaction, true));
    }
}
