//! PostgreSQL as a source, and as a destination.

use rowtide_core::{Error, Result, ValuePolicy};
use rowtide_engine::config::{ConnectorSpec, Endpoint, Kind, OptionSpec as O};
use rowtide_postgres::{
    PostgresDestination, PostgresDestinationOptions, PostgresOptions, PostgresSource,
};

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

/// The same server type, written to.
pub(super) const DESTINATION: ConnectorSpec = ConnectorSpec {
    kind: "postgres",
    schemes: &["postgres", "postgresql"],
    url: "postgres://user@host/copy",
    about: "PostgreSQL 14 and later. Each source schema becomes a schema, each table a table with \
            the source's own types and primary key. Data and checkpoint are written in one \
            transaction; Rowtide's state stands in the schema `_rowtide`. What is given neither \
            here nor in the URL comes from the `PG*` environment variables and from `~/.pgpass`, \
            as for the source: of two servers say at least one in full.",
    options: DESTINATION_OPTIONS,
    check: |section| destination_options_of(section).map(|_| None),
};

const HOST: O = O::optional(
    "host",
    Kind::Text,
    "\"db.example.com\"",
    "The host, or the directory of a Unix socket.",
);
const PORT: O = O::optional("port", Kind::Integer(1, 65_535), "5432", "The port; by default 5432.");
const PASSWORD: O =
    O::optional("password", Kind::Text, "\"${env:PGPASSWORD}\"", "The role's password.").secret();
const DATABASE: O = O::optional(
    "database",
    Kind::Text,
    "\"shop\"",
    "The database; by default named like the user.",
);
const SSLMODE: O = O::optional(
    "sslmode",
    Kind::Choice(&["disable", "require", "verify-full"]),
    "\"verify-full\"",
    "How the connection is protected. By default `verify-full`, and `disable` towards this \
     machine itself.",
);
const SSLROOTCERT: O = O::optional(
    "sslrootcert",
    Kind::Path,
    "\"ca.pem\"",
    "A PEM file of certificates to trust instead of the system's.",
);
const APPLICATION_NAME: O = O::optional(
    "application_name",
    Kind::Text,
    "\"rowtide:shop\"",
    "What `pg_stat_activity` shows.",
);
const CONNECT_TIMEOUT: O =
    O::new("connect_timeout", Kind::Duration, "\"10s\"", "How long a connection may take.");

const DESTINATION_OPTIONS: &[O] = &[
    HOST,
    PORT,
    O::optional(
        "user",
        Kind::Text,
        "\"rowtide\"",
        "The role. It needs LOGIN, and CREATE on the database or on the schemas to write to.",
    ),
    PASSWORD,
    DATABASE,
    SSLMODE,
    SSLROOTCERT,
    APPLICATION_NAME,
    CONNECT_TIMEOUT,
    O::new(
        "origin",
        Kind::Choice(&["auto", "off", "required"]),
        "\"auto\"",
        "Whether what is written is marked with the replication origin `rowtide_`, the pipeline's \
         name, `@` and the database's, so that a source with `origin = \"none\"` can leave it out. `auto` \
         marks where the role may use the functions for it.",
    ),
];

const OPTIONS: &[O] = &[
    HOST,
    PORT,
    O::optional(
        "user",
        Kind::Text,
        "\"rowtide\"",
        "The role. It needs LOGIN, REPLICATION, and SELECT on the tables.",
    ),
    PASSWORD,
    DATABASE,
    SSLMODE,
    SSLROOTCERT,
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
         is used as it is and never changed; its row filters and column lists hold for the copy \
         too.",
    ),
    APPLICATION_NAME,
    O::new(
        "numeric_without_scale",
        Kind::Text,
        "\"text\"",
        "What `numeric` columns without precision become: `text` keeps every digit, \
         `decimal(38,9)` is a number and refuses what does not fit.",
    ),
    O::new(
        "unrepresentable",
        Kind::Choice(ValuePolicy::WORDS),
        "\"fail\"",
        "What happens to values that the destination's type cannot hold, such as NaN in a \
         decimal, where no [[table]] rule says anything else: `fail` stops the table, `null` puts \
         NULL in their place, `text` puts their text into a column beside it, `quarantine` keeps \
         the row out. For the last two the rows of such tables are read in text form, which is \
         slower.",
    ),
    O::optional(
        "heartbeat",
        Kind::Duration,
        "\"30s\"",
        "Write a log message this often, so that the slot moves on where other databases of the \
         server are busy and this one is not.",
    ),
    CONNECT_TIMEOUT,
    O::new(
        "slot_timeout",
        Kind::Duration,
        "\"10m\"",
        "How long making the slot may wait for transactions that run.",
    ),
    O::new(
        "origin",
        Kind::Choice(&["any", "none"]),
        "\"any\"",
        "Which changes are read: all of them, or with `none` only those made at the source itself, \
         and not what another replication wrote there. `none` needs PostgreSQL 16.",
    ),
    O::new(
        "streaming",
        Kind::Choice(&["off", "on", "parallel"]),
        "\"off\"",
        "Whether the server sends a large transaction before it is committed. With `off` it keeps \
         what exceeds its `logical_decoding_work_mem` on its own disk and sends it after the \
         commit. With `on` it arrives as it happens, and waits here in `stream.spool_directory`: \
         worth it where the server's disk is short, or where huge transactions should be in the \
         destination soon after their commit; what is rolled back was then sent in vain. `parallel` \
         is the same in a later version of the protocol and needs PostgreSQL 16. The result is \
         the same, and the option may be changed at any restart.",
    ),
    O::new(
        "ddl_events",
        Kind::Boolean,
        "false",
        "Let event triggers at the source tell of schema changes in the log: they arrive at their \
         exact place and without waiting for the table's next row, a rewrite of all rows and a drop \
         as well. Making them takes a superuser; `rowtide check` prints the statements. They stand \
         in the schema `rowtide`, and `rowtide teardown` removes them.",
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

/// Builds the destination.
///
/// # Errors
/// `Config` if the options are malformed.
pub(super) fn build_destination(end: &Endpoint) -> Result<PostgresDestination> {
    Ok(PostgresDestination::new(destination_options_of(&end.options)?))
}

fn destination_options_of(section: &toml::Table) -> Result<PostgresDestinationOptions> {
    super::deserialize::<PostgresDestinationOptions>(section)?.filled(&environment)
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
        described::<PostgresOptions>(OPTIONS);
        described::<PostgresDestinationOptions>(DESTINATION_OPTIONS);
    }

    fn described<T: serde::de::DeserializeOwned + std::fmt::Debug>(options: &[O]) {
        for option in options {
            let section = format!("{} = {}", option.key, option.example);
            let section: toml::Table = toml::from_str(&section).unwrap();
            let read = super::super::deserialize::<T>(&section);
            assert!(read.is_ok(), "{}: {:?}", option.key, read.err());
        }
        // Every field is described: `url` and these.
        let unknown: toml::Table = toml::from_str("nonsense = 1").unwrap();
        let error = super::super::deserialize::<T>(&unknown).unwrap_err();
        let listed: Vec<&str> = error.message().split('`').skip(3).step_by(2).collect();
        for field in listed.iter().filter(|field| **field != "url") {
            assert!(options.iter().any(|option| option.key == *field), "{field} is not described");
        }
        assert_eq!(listed.len(), options.len() + 1);
    }

    #[test]
    fn the_database_names_the_pipeline() {
        let section = toml::from_str("url = \"postgres://me@h/shop\"").unwrap();
        assert_eq!(check(&section).unwrap().as_deref(), Some("shop"));
    }
}
