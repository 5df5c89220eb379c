//! What an operator can say about a PostgreSQL source.
//!
//! Reading the words is pure; [`PostgresOptions::filled`] then adds what is left out from the
//! environment and the password file, as libpq would.

mod environment;
pub(crate) mod words;

use std::path::PathBuf;
use std::time::Duration;

use rowtide_core::{Error, Result, ValuePolicy, ValueRule};
use serde::Deserialize;

use crate::types::Mapping;

pub use rowtide_core::Secret;
pub use rowtide_core::ValuePolicy as Unrepresentable;
pub use words::{Interval, NumericWithoutScale, Origin, SslMode, Streaming};

/// Where a PostgreSQL source is, and how it is read. Everything has a default.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PostgresOptions {
    /// `postgres://user:password@host:port/database?sslmode=…`. The other fields win over it.
    pub url: Option<Secret>,
    /// The host name or address, or the directory of a Unix socket.
    pub host: Option<String>,
    /// The port; 5432 by default.
    pub port: Option<u16>,
    /// The user.
    pub user: Option<String>,
    /// The password.
    pub password: Option<Secret>,
    /// The database; named like the user by default.
    pub database: Option<String>,
    /// `disable`, `require` or `verify-full`. By default `verify-full`, and `disable` towards
    /// this machine itself.
    pub sslmode: Option<SslMode>,
    /// A file of PEM certificates to trust instead of the system's.
    pub sslrootcert: Option<PathBuf>,
    /// The replication slot; `rowtide_<pipeline>` by default.
    pub slot: Option<String>,
    /// The publication; `rowtide_<pipeline>` by default. One that exists already is used as it
    /// is and never changed; its row filters and column lists hold for the copy too.
    pub publication: Option<String>,
    /// What the server shows as the application; `rowtide:<pipeline>` by default.
    pub application_name: Option<String>,
    /// What `numeric` columns without precision become: `text` (exact, the default), or
    /// `decimal(p,s)`.
    pub numeric_without_scale: NumericWithoutScale,
    /// The destination holds PostgreSQL's own types: what Arrow's would narrow (decimals with
    /// NaN, arrays of any shape) is handed over as text. Not an operator's choice.
    #[serde(skip)]
    pub native_types: bool,
    /// What happens to values that the Arrow type cannot hold (NaN in a decimal, years beyond
    /// 294246, arrays of several dimensions), where no rule says anything: `fail` (the default),
    /// `null`, `text` or `quarantine`.
    pub unrepresentable: ValuePolicy,
    /// What is said of the values of single tables and columns.
    #[serde(skip)]
    pub value_rules: Vec<ValueRule>,
    /// Write a log message this often, to move an idle slot on servers where nothing else does.
    pub heartbeat: Option<Interval>,
    /// How long a connection may take; 10 s by default.
    pub connect_timeout: Option<Interval>,
    /// How long making the slot may wait for running transactions to end; 10 min by default.
    pub slot_timeout: Option<Interval>,
    /// Which changes are read: `any` (the default), or `none`, which leaves out what another
    /// replication wrote at the source. Needs PostgreSQL 16.
    pub origin: Origin,
    /// Whether the server sends a large transaction before it is committed: `off` (the default),
    /// `on`, or `parallel`, which needs PostgreSQL 16. Off costs the server disk (what exceeds its
    /// `logical_decoding_work_mem` is written to its `pg_replslot`) and the time to send it all
    /// after the commit. On costs us disk instead, and the network whatever is rolled back in the
    /// end; each such transaction announces its tables anew, which is a look at the catalog each.
    /// What arrives is the same, so it may be changed at any restart.
    pub streaming: Streaming,
    /// Let event triggers at the source tell of schema changes in the log, at their place: they
    /// arrive without waiting for the next row. Making them takes a superuser.
    pub ddl_events: bool,
}

impl PostgresOptions {
    /// Reads a URL, then fills what it leaves open from the environment (`PG*`) and the password
    /// file. Parameters may be any of the fields' names.
    ///
    /// # Errors
    /// `Config` if the URL is malformed or has an unknown parameter.
    pub fn from_url(url: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<Self> {
        words::parse_url(url)?.filled(env)
    }

    /// Takes the URL apart, and fills what is left open from the environment (`PGHOST`, `PGPORT`,
    /// `PGUSER`, `PGPASSWORD`, `PGDATABASE`, `PGSSLMODE`, `PGSSLROOTCERT`, `PGAPPNAME`,
    /// `PGCONNECT_TIMEOUT`) and from the password file.
    ///
    /// # Errors
    /// `Config` if the URL or a variable is malformed.
    pub fn filled(self, env: &dyn Fn(&str) -> Option<String>) -> Result<Self> {
        let mut filled = match &self.url {
            Some(url) => self.clone().over(words::parse_url(url.reveal())?),
            None => self,
        };
        filled.url = None;
        environment::fill(&mut filled, env)?;
        Ok(filled)
    }

    /// Takes from `base` what is not said here.
    pub(crate) fn over(self, base: Self) -> Self {
        let numeric = match self.numeric_without_scale {
            NumericWithoutScale::Text => base.numeric_without_scale,
            decimal @ NumericWithoutScale::Decimal { .. } => decimal,
        };
        let unrepresentable = match self.unrepresentable {
            ValuePolicy::Fail => base.unrepresentable,
            own => own,
        };
        Self {
            url: None,
            host: self.host.or(base.host),
            port: self.port.or(base.port),
            user: self.user.or(base.user),
            password: self.password.or(base.password),
            database: self.database.or(base.database),
            sslmode: self.sslmode.or(base.sslmode),
            sslrootcert: self.sslrootcert.or(base.sslrootcert),
            slot: self.slot.or(base.slot),
            publication: self.publication.or(base.publication),
            application_name: self.application_name.or(base.application_name),
            numeric_without_scale: numeric,
            native_types: self.native_types || base.native_types,
            unrepresentable,
            value_rules: if self.value_rules.is_empty() {
                base.value_rules
            } else {
                self.value_rules
            },
            heartbeat: self.heartbeat.or(base.heartbeat),
            connect_timeout: self.connect_timeout.or(base.connect_timeout),
            slot_timeout: self.slot_timeout.or(base.slot_timeout),
            origin: if self.origin == Origin::Any { base.origin } else { self.origin },
            streaming: match self.streaming {
                Streaming::Off => base.streaming,
                streaming => streaming,
            },
            ddl_events: self.ddl_events || base.ddl_events,
        }
    }

    /// How native types become Arrow types.
    pub(crate) fn mapping(&self) -> Mapping {
        Mapping { numeric: self.numeric_without_scale, native: self.native_types }
    }

    pub(crate) fn host(&self) -> &str {
        self.host.as_deref().unwrap_or("localhost")
    }

    pub(crate) fn port(&self) -> u16 {
        self.port.unwrap_or(5432)
    }

    pub(crate) fn user(&self) -> &str {
        self.user.as_deref().unwrap_or("postgres")
    }

    pub(crate) fn database(&self) -> &str {
        self.database.as_deref().unwrap_or_else(|| self.user())
    }

    pub(crate) fn is_unix_socket(&self) -> bool {
        self.host().starts_with('/')
    }

    /// Whether the server is on this machine, as far as its name tells.
    pub(crate) fn is_loopback(&self) -> bool {
        let host = self.host();
        let address = host.parse::<std::net::IpAddr>();
        self.is_unix_socket() || host == "localhost" || address.is_ok_and(|ip| ip.is_loopback())
    }

    pub(crate) fn sslmode(&self) -> SslMode {
        match self.sslmode {
            _ if self.is_unix_socket() => SslMode::Disable,
            Some(mode) => mode,
            None if self.is_loopback() => SslMode::Disable,
            None => SslMode::VerifyFull,
        }
    }

    pub(crate) fn connect_timeout(&self) -> Duration {
        self.connect_timeout.map_or(Duration::from_secs(10), Interval::duration)
    }

    pub(crate) fn slot_timeout(&self) -> Duration {
        self.slot_timeout.map_or(Duration::from_secs(600), Interval::duration)
    }

    /// The server in words, without secrets.
    pub(crate) fn address(&self) -> String {
        format!("{}:{}/{}", self.host(), self.port(), self.database())
    }
}

pub(crate) fn invalid(what: &str, value: &str, expected: &str) -> Error {
    Error::config(format!("{what} cannot be `{value}`")).with_hint(format!("use {expected}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nothing(_: &str) -> Option<String> {
        None
    }

    #[test]
    fn a_url_is_taken_apart() {
        let url = "postgresql://me:p%40ss@db.example:6000/my%20db?sslmode=require&slot=s1\
                   &numeric_without_scale=decimal(38,9)&unrepresentable=null&heartbeat=30s";
        let options = PostgresOptions::from_url(url, &nothing).unwrap();
        assert_eq!(options.host(), "db.example");
        assert_eq!(options.port(), 6000);
        assert_eq!(options.user(), "me");
        assert_eq!(options.password.as_ref().unwrap().reveal(), "p@ss");
        assert_eq!(options.database(), "my db");
        assert_eq!(options.sslmode(), SslMode::Require);
        assert_eq!(options.slot.as_deref(), Some("s1"));
        assert_eq!(
            options.numeric_without_scale,
            NumericWithoutScale::Decimal { precision: 38, scale: 9 }
        );
        assert_eq!(options.heartbeat.unwrap().duration(), Duration::from_secs(30));
        assert!(!format!("{options:?}").contains("p@ss"));
    }

    #[test]
    fn the_environment_fills_what_is_left_open() {
        let env = |name: &str| match name {
            "PGUSER" => Some("env_user".to_owned()),
            "PGPORT" => Some("7000".to_owned()),
            "PGPASSWORD" => Some("secret".to_owned()),
            _ => None,
        };
        let options = PostgresOptions::from_url("postgres://h/db", &env).unwrap();
        assert_eq!((options.user(), options.port()), ("env_user", 7000));
        assert_eq!(options.password.unwrap().reveal(), "secret");
        let options = PostgresOptions::from_url("postgres://u@h:1/db", &env).unwrap();
        assert_eq!((options.user(), options.port()), ("u", 1));
    }

    #[test]
    fn tls_is_verified_by_default_off_this_machine() {
        let mode = |url: &str| PostgresOptions::from_url(url, &nothing).unwrap().sslmode();
        assert_eq!(mode("postgres://db.example/x"), SslMode::VerifyFull);
        assert_eq!(mode("postgres://localhost/x"), SslMode::Disable);
        assert_eq!(mode("postgres://127.0.0.1/x"), SslMode::Disable);
        assert_eq!(mode("postgres://[::1]/x"), SslMode::Disable);
    }

    #[test]
    fn mistakes_are_named() {
        let error = |url: &str| PostgresOptions::from_url(url, &nothing).unwrap_err();
        assert!(error("mysql://h/d").message().contains("postgres://"));
        assert!(error("postgres://h/d?nonsense=1").message().contains("nonsense"));
        assert!(error("postgres://h/d?sslmode=prefer").hint().unwrap().contains("verify-full"));
        assert!(!error("postgres://u:hush@h:x/d").chain().contains("hush"));
    }
}
