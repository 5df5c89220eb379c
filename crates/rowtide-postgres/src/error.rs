//! What the server's errors mean: the one place where an SQLSTATE becomes an [`ErrorKind`].
//!
//! The DETAIL of a server's error may carry row values, so it is never kept, nor is the driver's
//! error as a cause, which would print it.

use rowtide_core::{Error, ErrorKind, TableName};
use tokio_postgres::error::SqlState;

use crate::protocol::Malformed;

/// What to do about an SQLSTATE.
pub(crate) fn kind_of(state: &str) -> ErrorKind {
    match state {
        // The slot or another object is in use; a lock, a connection or memory is missing now.
        "55006" | "55P03" | "57014" | "57P01" | "57P02" | "57P03" | "57P04" | "57P05" | "40001"
        | "40P01" | "25P03" => ErrorKind::Unavailable,
        "53400" => ErrorKind::Config,
        "42501" => ErrorKind::Access,
        "42P01" | "42703" | "3F000" => ErrorKind::SchemaDrift,
        "58P01" => ErrorKind::PositionLost,
        _ => match state.get(..2) {
            Some("08" | "53" | "58") => ErrorKind::Unavailable,
            Some("28") => ErrorKind::Access,
            Some("22" | "23" | "54" | "XX") => ErrorKind::Data,
            _ => ErrorKind::Config,
        },
    }
}

/// Whether such a failure of a statement is about the table it names: a name or a right that is
/// missing, what depends on the table, what it is, what its triggers raise, who else holds it.
fn is_of_one_table(state: &str) -> bool {
    match state.get(..2) {
        Some("09" | "0A" | "27" | "2B" | "38" | "39" | "3F" | "42" | "44" | "P0") => true,
        _ => matches!(state, "55000" | "55P03" | "40001" | "40P01"),
    }
}

/// Whether a look at the catalog met a relation that was dropped in the same moment: the server
/// calls that an internal error, in words that it never translates.
fn is_caught_in_a_drop(state: &str, message: &str) -> bool {
    let gone = ["could not open relation with OID", "cache lookup failed for relation"];
    state == "XX000" && gone.iter().any(|words| message.contains(words))
}

/// What to do next, where the SQLSTATE alone tells.
fn hint_of(state: &str) -> Option<&'static str> {
    match state {
        "28P01" => Some("check the user and the password (URL, PGPASSWORD or ~/.pgpass)"),
        "28000" => Some("check the user, and that pg_hba.conf lets it in from this host"),
        "3D000" => Some("check the database's name"),
        "42501" => Some("run `check`: it prints the exact grants that are missing"),
        "53300" => Some("the server has no connection left: raise max_connections"),
        "53400" => Some("raise max_replication_slots (and max_wal_senders), or drop unused slots"),
        "55006" => Some("another process still reads the slot; it is tried again"),
        _ => None,
    }
}

/// Whether such a message quotes a value: all of the class do, but those about settings.
fn quotes_a_value(state: &str) -> bool {
    state.starts_with("22") && state != "22023"
}

/// An error the server reported, in its own words but without DETAIL and values.
pub(crate) fn from_server(doing: &str, state: &str, message: &str, hint: Option<&str>) -> Error {
    let message = if quotes_a_value(state) { "the server refuses a value" } else { message };
    let message = format!("{doing}: {message} (SQLSTATE {state})");
    let kind =
        if is_caught_in_a_drop(state, &message) { ErrorKind::Unavailable } else { kind_of(state) };
    let mut error = Error::new(kind, message).answered();
    if is_of_one_table(state) {
        error = error.of_one_table();
    }
    match hint_of(state).or(hint) {
        Some(hint) => error.with_hint(hint),
        None => error,
    }
}

/// An error of the SQL driver while `doing` something.
pub(crate) fn from_driver(doing: &str, error: tokio_postgres::Error) -> Error {
    if let Some(db) = error.as_db_error() {
        return match db.code().code() {
            state if state.starts_with("23") => violation(doing, db),
            state => from_server(doing, state, db.message(), db.hint()),
        };
    }
    let what = error.to_string();
    // The driver does not say more than this in its type.
    let misused = what.starts_with("invalid configuration") || what.contains("password missing");
    if misused {
        let hint = "check the user and the password (URL, PGPASSWORD or ~/.pgpass)";
        return Error::access(doing).with_hint(hint).with_source(error);
    }
    if is_certificate_problem(&error) {
        return untrusted(doing).with_source(error);
    }
    Error::unavailable(doing).with_source(error)
}

/// A row that a constraint refuses. The constraint is named, the row is not.
fn violation(doing: &str, db: &tokio_postgres::error::DbError) -> Error {
    let what = match (db.constraint(), db.column()) {
        (Some(constraint), _) => format!("the constraint {constraint:?}"),
        (None, Some(column)) => format!("the column {column:?}, which is NOT NULL,"),
        (None, None) => "a constraint".to_owned(),
    };
    let remedy = match db.code().code() {
        "23503" => {
            "make the foreign key DEFERRABLE INITIALLY DEFERRED, for rows are replaced by deleting \
             and inserting them, or drop it"
        }
        "23505" => {
            "the source has no such rule, or the table was changed by hand: drop the constraint, \
             or copy the table again (resync)"
        }
        _ => "the source has no such rule: drop the constraint at the destination",
    };
    let state = db.code().code();
    let table = db.schema().zip(db.table()).map(|(schema, table)| TableName::new(schema, table));
    Error::data(format!("{doing}: {what} refuses a row (SQLSTATE {state})"))
        .with_hint(remedy)
        .concerning(table)
}

/// A TLS handshake that failed for want of trust, wherever it was made.
pub(crate) fn untrusted(doing: &str) -> Error {
    Error::access(format!("{doing}: the server's certificate is not trusted")).with_hint(
        "set sslrootcert to the authority's certificate and use the name the certificate bears; \
         or sslmode=require to encrypt without knowing who answers",
    )
}

/// Whether a chain of causes ends in a refused certificate.
pub(crate) fn is_certificate_problem(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(rustls::Error::InvalidCertificate(_)) = error.downcast_ref::<rustls::Error>() {
            return true;
        }
        // An I/O error does not name what it wraps as its source, but what that wraps.
        let inner = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        if let Some(rustls::Error::InvalidCertificate(_)) =
            inner.and_then(|inner| inner.downcast_ref::<rustls::Error>())
        {
            return true;
        }
        cause = error.source();
    }
    false
}

/// Whether the server said `state`.
pub(crate) fn is_state(error: &tokio_postgres::Error, state: &SqlState) -> bool {
    error.code() == Some(state)
}

impl From<Malformed> for Error {
    fn from(error: Malformed) -> Self {
        Self::internal(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_say_what_to_do() {
        assert_eq!(kind_of("28P01"), ErrorKind::Access);
        assert_eq!(kind_of("55006"), ErrorKind::Unavailable);
        assert_eq!(kind_of("08006"), ErrorKind::Unavailable);
        assert_eq!(kind_of("53300"), ErrorKind::Unavailable);
        assert_eq!(kind_of("53400"), ErrorKind::Config);
        assert_eq!(kind_of("22P02"), ErrorKind::Data);
        assert_eq!(kind_of("23505"), ErrorKind::Data);
        assert_eq!(kind_of("3D000"), ErrorKind::Config);
        assert_eq!(kind_of(""), ErrorKind::Config);
    }

    #[test]
    fn values_are_not_quoted() {
        let said = |state| {
            let message = "invalid input syntax for type integer: \"4711\"";
            from_server("copying t", state, message, None).to_string()
        };
        assert!(!said("22P02").contains("4711"), "{}", said("22P02"));
        assert!(said("22023").contains("4711"), "settings are told");
    }

    #[test]
    fn a_table_dropped_while_it_is_looked_up_is_looked_up_again() {
        let said = |message| from_server("reading tables", "XX000", message, None).kind();
        assert_eq!(said("could not open relation with OID 16455"), ErrorKind::Unavailable);
        assert_eq!(said("invalid memory alloc request size 1132462083"), ErrorKind::Data);
    }
}
