//! What an operator can say about a PostgreSQL destination.

use std::path::PathBuf;

use rowtide_core::Result;
use serde::Deserialize;

use crate::options::words::{CONNECTION_PARAMETERS, parse_connection_url, unknown_parameter};
use crate::options::{Interval, PostgresOptions, Secret, SslMode, invalid};

/// Whether what is written is marked with a replication origin.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OriginUse {
    /// Where the role may do so.
    #[default]
    Auto,
    /// Never.
    Off,
    /// Always: without the rights, the pipeline does not start.
    Required,
}

impl OriginUse {
    fn parse(text: &str) -> Result<Self> {
        match text {
            "auto" => Ok(Self::Auto),
            "off" => Ok(Self::Off),
            "required" => Ok(Self::Required),
            _ => Err(invalid("origin", text, "auto, off or required")),
        }
    }
}

/// Where a PostgreSQL destination is, and how it is written. Everything has a default.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PostgresDestinationOptions {
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
    /// What the server shows as the application; `rowtide:<pipeline>` by default.
    pub application_name: Option<String>,
    /// How long a connection may take; 10 s by default.
    pub connect_timeout: Option<Interval>,
    /// Whether what is written is marked with the replication origin
    /// `rowtide_<pipeline>@<database>`, so that whoever reads this server's log can leave
    /// it out.
    pub origin: OriginUse,
}

impl PostgresDestinationOptions {
    /// Reads a URL, then fills what it leaves open from the environment (`PG*`) and the password
    /// file, as for a source.
    ///
    /// # Errors
    /// `Config` if the URL is malformed or has an unknown parameter.
    pub fn from_url(url: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<Self> {
        Self { url: Some(Secret::new(url)), ..Self::default() }.filled(env)
    }

    /// Takes the URL apart, and fills what is left open from the environment and the password
    /// file.
    ///
    /// # Errors
    /// `Config` if the URL or a variable is malformed.
    pub fn filled(self, env: &dyn Fn(&str) -> Option<String>) -> Result<Self> {
        let mut origin = self.origin;
        let own = self.connection();
        let connection = match &self.url {
            None => own,
            Some(url) => {
                let (base, rest) = parse_connection_url(url.reveal())?;
                for (name, value) in rest {
                    match name.as_str() {
                        "origin" if origin == OriginUse::Auto => origin = OriginUse::parse(&value)?,
                        "origin" => {}
                        _ => {
                            return Err(unknown_parameter(&name)
                                .with_hint(format!("known are {CONNECTION_PARAMETERS}, origin")));
                        }
                    }
                }
                own.over(base)
            }
        };
        let filled = connection.filled(env)?;
        Ok(Self {
            url: None,
            host: filled.host,
            port: filled.port,
            user: filled.user,
            password: filled.password,
            database: filled.database,
            sslmode: filled.sslmode,
            sslrootcert: filled.sslrootcert,
            application_name: filled.application_name,
            connect_timeout: filled.connect_timeout,
            origin,
        })
    }

    /// How to connect, in the words of the connections.
    pub(super) fn connection(&self) -> PostgresOptions {
        PostgresOptions {
            host: self.host.clone(),
            port: self.port,
            user: self.user.clone(),
            password: self.password.clone(),
            database: self.database.clone(),
            sslmode: self.sslmode,
            sslrootcert: self.sslrootcert.clone(),
            application_name: self.application_name.clone(),
            connect_timeout: self.connect_timeout,
            ..PostgresOptions::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nothing(_: &str) -> Option<String> {
        None
    }

    #[test]
    fn the_url_is_taken_apart_and_fields_win_over_it() {
        let url = "postgres://me:hush@db.example:6000/copy?sslmode=require&origin=required";
        let options = PostgresDestinationOptions {
            url: Some(Secret::new(url)),
            database: Some("other".into()),
            ..PostgresDestinationOptions::default()
        };
        let options = options.filled(&nothing).unwrap();
        let connection = options.connection();
        assert_eq!(connection.address(), "db.example:6000/other");
        assert_eq!(connection.sslmode(), SslMode::Require);
        assert_eq!(options.origin, OriginUse::Required);
        assert!(!format!("{options:?}").contains("hush"));
    }

    #[test]
    fn what_only_a_source_knows_is_refused() {
        let error = |url: &str| PostgresDestinationOptions::from_url(url, &nothing).unwrap_err();
        assert!(error("postgres://h/d?slot=s").message().contains("`slot`"));
        assert!(error("postgres://h/d?origin=none").hint().unwrap().contains("required"));
    }
}
