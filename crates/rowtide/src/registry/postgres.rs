//! PostgreSQL as a source.

use rowtide_core::{Error, Result};
use rowtide_engine::config::{ConnectorSpec, Endpoint, Kind, OptionSpec as O};
use rowtide_postgres::{PostgresOptions, PostgresSource};

use crate::configuration::environment;

/// What the configuration knows of it.
pub(super) const SPEC: ConnectorSpec = ConnectorSpec {
    kind: "postgres",
    schemes: &["postgres", "postgresql"],
    url: "postgres://user@host/shop",
    about: "PostgreSQL 14 and later with `wal_level = logical`. Rowtide makes one replication \
            slot and one publication. What is given neither here nor in the URL comes from the \
            `PG*` environment variables and from `~/.pgpass`, as for libpq.",
    options: OPTIONS,
    check,
};

const OPTIONS: &[O] = &[
    O::optional(
        "host",
        Kind::Text,
        "\"db.example.com\"",
        "The host, or the directory of a Unix socket.",
    ),
    O::optional("port", Kind::Integer(1, 65_535), "5432", "The port; by default 5432."),
    O::optional(
        "user",
        Kind::Text,
        "\"rowtide\"",
        "The role. It needs LOGIN, REPLICATION, and SELECT on the tables.",
    ),
    O::optional("password", Kind::Text, "\"${env:PGPASSWORD}\"", "The role's password.").secret(),
    O::optional(
        "database",
        Kind::Text,
        "\"shop\"",
        "The database; by default named like the user.",
    ),
    O::optional(
        "sslmode",
        Kind::Choice(&["disable", "require", "verify-full"]),
        "\"verify-full\"",
        "How the connection is protected. By default `verify-full`, and `disable` towards this \
         machine itself.",
    ),
    O::optional(
        "sslrootcert",
        Kind::Path,
        "\"ca.pem\"",
        "A PEM file of certificates to trust instead of the system's.",
    ),
    O::optional(
        "slot",
        Kind::Text,
        "\"rowtide_shop\"",
        "The replication slot; by default `rowtide_` and the pipeline's name.",
    ),
    O::optional(
        "publication",
        Kind::Text,
        "\"rowtide_shop\"",
        "The publication; by default `rowtide_` and the pipeline's name. One that exists already \
         is used as it is and never changed.",
    ),
    O::optional(
        "application_name",
        Kind::Text,
        "\"rowtide:shop\"",
        "What `pg_stat_activity` shows.",
    ),
    O::new(
        "numeric_without_scale",
        Kind::Text,
        "\"text\"",
        "What `numeric` columns without precision become: `text` keeps every digit, \
         `decimal(38,9)` is a number and refuses what does not fit.",
    ),
    O::new(
        "unrepresentable",
        Kind::Choice(&["fail", "null"]),
        "\"fail\"",
        "What happens to values that the destination's type cannot hold, such as NaN in a \
         decimal: the table stops, or the value becomes NULL.",
    ),
    O::optional(
        "heartbeat",
        Kind::Duration,
        "\"30s\"",
        "Write a log message this often, so that the slot moves on where other databases of the \
         server are busy and this one is not.",
    ),
    O::new("connect_timeout", Kind::Duration, "\"10s\"", "How long a connection may take."),
    O::new(
        "slot_timeout",
        Kind::Duration,
        "\"10m\"",
        "How long making the slot may wait for transactions that run.",
    ),
];

/// The options of `end`, with what the environment adds.
///
/// # Errors
/// `Config` if they are malformed.
fn options(end: &Endpoint) -> Result<PostgresOptions> {
    if end.kind != SPEC.kind {
        return Err(Error::config(format!("this needs a PostgreSQL source, not {}", end.kind)));
    }
    super::deserialize::<PostgresOptions>(&end.options)?.filled(&environment)
}

/// The source itself, for commands that speak PostgreSQL.
///
/// # Errors
/// `Config` if the options are malformed.
pub(crate) fn build(end: &Endpoint, pipeline: &str) -> Result<PostgresSource> {
    Ok(PostgresSource::new(options(end)?, pipeline))
}

fn check(section: &toml::Table) -> Result<Option<String>> {
    let options = super::deserialize::<PostgresOptions>(section)?.filled(&environment)?;
    Ok(options.database.or(options.user))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_described_options_are_those_of_the_connector() {
        for option in OPTIONS {
            let section = format!("{} = {}", option.key, option.example);
            let section: toml::Table = toml::from_str(&section).unwrap();
            let read = super::super::deserialize::<PostgresOptions>(&section);
            assert!(read.is_ok(), "{}: {:?}", option.key, read.err());
        }
        // Every field is described: `url` and these.
        let unknown: toml::Table = toml::from_str("nonsense = 1").unwrap();
        let error = super::super::deserialize::<PostgresOptions>(&unknown).unwrap_err();
        let listed: Vec<&str> = error.message().split('`').skip(3).step_by(2).collect();
        for field in listed.iter().filter(|field| **field != "url") {
            assert!(OPTIONS.iter().any(|option| option.key == *field), "{field} is not described");
        }
        assert_eq!(listed.len(), OPTIONS.len() + 1);
    }

    #[test]
    fn the_database_names_the_pipeline() {
        let section = toml::from_str("url = \"postgres://me@h/shop\"").unwrap();
        assert_eq!(check(&section).unwrap().as_deref(), Some("shop"));
    }
}
