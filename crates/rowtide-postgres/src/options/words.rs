//! The small vocabularies of the options, and the URL that may hold them.

use std::time::Duration;

use rowtide_core::{Error, Result};
use serde::Deserialize;
use url::{Host, Url};

use super::{PostgresOptions, Secret, invalid};

/// How the connection is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SslMode {
    /// Not at all.
    Disable,
    /// Encrypted, whoever the server is.
    Require,
    /// Encrypted, with a server whose certificate is trusted and bears the host's name.
    VerifyFull,
}

impl SslMode {
    pub(super) fn parse(text: &str) -> Result<Self> {
        match text {
            "disable" => Ok(Self::Disable),
            "require" => Ok(Self::Require),
            "verify-full" => Ok(Self::VerifyFull),
            _ => Err(invalid("sslmode", text, "disable, require or verify-full")),
        }
    }
}

/// What a `numeric` column without precision becomes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum NumericWithoutScale {
    /// The exact digits, as text.
    #[default]
    Text,
    /// A decimal; values that do not fit exactly are unrepresentable.
    Decimal {
        /// All digits, at most 38.
        precision: u8,
        /// Digits after the point.
        scale: i8,
    },
}

impl TryFrom<String> for NumericWithoutScale {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text).map_err(|error| error.message().to_owned())
    }
}

impl NumericWithoutScale {
    pub(super) fn parse(text: &str) -> Result<Self> {
        let bad = || invalid("numeric_without_scale", text, "text, or for example decimal(38,9)");
        if text == "text" {
            return Ok(Self::Text);
        }
        let inner = text.strip_prefix("decimal(").and_then(|rest| rest.strip_suffix(')'));
        let (precision, scale) = inner.and_then(|inner| inner.split_once(',')).ok_or_else(bad)?;
        let precision: u8 = precision.trim().parse().map_err(|_| bad())?;
        let scale: u8 = scale.trim().parse().map_err(|_| bad())?;
        match i8::try_from(scale) {
            Ok(scale_digits) if (1..=38).contains(&precision) && scale <= precision => {
                Ok(Self::Decimal { precision, scale: scale_digits })
            }
            _ => Err(bad()),
        }
    }
}

/// Which changes a source reads, by where they were made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// All of them.
    #[default]
    Any,
    /// Only those made at the source itself: what another replication wrote there, marked with a
    /// replication origin, is left out. Needs PostgreSQL 16.
    None,
}

impl Origin {
    fn parse(text: &str) -> Result<Self> {
        match text {
            "any" => Ok(Self::Any),
            "none" => Ok(Self::None),
            _ => Err(invalid("origin", text, "any or none")),
        }
    }
}

/// Whether the server sends large transactions before they end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Streaming {
    /// It keeps them on its own disk, and sends them when they are committed.
    #[default]
    Off,
    /// It sends what does not fit into its `logical_decoding_work_mem`; until the transaction is
    /// committed we keep it.
    On,
    /// The same in the protocol's fourth version, as between servers that apply in parallel. Needs
    /// PostgreSQL 16.
    Parallel,
}

impl Streaming {
    fn parse(text: &str) -> Result<Self> {
        match text {
            "off" => Ok(Self::Off),
            "on" => Ok(Self::On),
            "parallel" => Ok(Self::Parallel),
            _ => Err(invalid("streaming", text, "off, on or parallel")),
        }
    }
}

/// A length of time: `500ms`, `10s`, `5m`, or a number of seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "NumberOrText")]
pub struct Interval(Duration);

#[derive(Deserialize)]
#[serde(untagged)]
enum NumberOrText {
    Number(u64),
    Text(String),
}

impl TryFrom<NumberOrText> for Interval {
    type Error = String;

    fn try_from(value: NumberOrText) -> Result<Self, String> {
        match value {
            NumberOrText::Number(seconds) => Ok(Self(Duration::from_secs(seconds))),
            NumberOrText::Text(text) => {
                Self::parse("the interval", &text).map_err(|error| error.message().to_owned())
            }
        }
    }
}

impl Interval {
    /// Wraps a duration.
    #[must_use]
    pub fn new(duration: Duration) -> Self {
        Self(duration)
    }

    /// The duration.
    #[must_use]
    pub fn duration(self) -> Duration {
        self.0
    }

    pub(crate) fn parse(what: &str, text: &str) -> Result<Self> {
        let bad = || invalid(what, text, "a length of time, for example 500ms, 10s or 5m");
        let at = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at(at);
        let number: u64 = number.parse().map_err(|_| bad())?;
        let millis = match unit.trim() {
            "ms" => 1,
            "" | "s" => 1_000,
            "m" | "min" => 60_000,
            "h" => 3_600_000,
            _ => return Err(bad()),
        };
        Ok(Self(Duration::from_millis(number.checked_mul(millis).ok_or_else(bad)?)))
    }
}

/// Reads `postgres://…` with everything a source knows.
pub(super) fn parse_url(text: &str) -> Result<PostgresOptions> {
    let (mut options, rest) = parse_connection_url(text)?;
    for (name, value) in rest {
        if !set_for_source(&mut options, &name, &value)? {
            return Err(unknown_parameter(&name).with_hint(format!(
                "known are {CONNECTION_PARAMETERS}, slot, publication, numeric_without_scale, \
                 unrepresentable, heartbeat, slot_timeout, origin, streaming, ddl_events"
            )));
        }
    }
    Ok(options)
}

/// The parameters that say where a server is, and how to get in.
pub(crate) const CONNECTION_PARAMETERS: &str = "host, port, user, password, dbname, sslmode, \
     sslrootcert, application_name, connect_timeout";

/// A URL has a parameter that nobody knows.
pub(crate) fn unknown_parameter(name: &str) -> Error {
    Error::config(format!("the PostgreSQL URL has an unknown parameter `{name}`"))
}

/// Reads where the server is from `postgres://…`; returns the parameters that say anything else.
pub(crate) fn parse_connection_url(text: &str) -> Result<(PostgresOptions, Vec<(String, String)>)> {
    let hint = "write postgres://user:password@host:5432/database?sslmode=verify-full";
    let bad = |why: String| {
        Error::config(format!("the PostgreSQL URL is malformed: {why}")).with_hint(hint)
    };
    let url = Url::parse(text).map_err(|error| bad(error.to_string()))?;
    if !matches!(url.scheme(), "postgres" | "postgresql") {
        return Err(bad("it does not begin with postgres://".to_owned()));
    }
    let decoded = |part: &str| {
        let bytes = percent_decoded(part);
        String::from_utf8(bytes).map_err(|_| bad("a part is not UTF-8".to_owned()))
    };
    let filled = |part: &str| (!part.is_empty()).then(|| decoded(part)).transpose();
    let mut options = PostgresOptions {
        host: match url.host() {
            Some(Host::Ipv6(address)) => Some(address.to_string()),
            Some(host) => filled(&host.to_string())?,
            None => None,
        },
        port: url.port(),
        user: filled(url.username())?,
        password: url.password().map(decoded).transpose()?.map(Secret::new),
        database: filled(url.path().trim_start_matches('/'))?,
        ..PostgresOptions::default()
    };
    let mut rest = Vec::new();
    for (name, value) in url.query_pairs() {
        if !set_connection(&mut options, &name, &value)? {
            rest.push((name.into_owned(), value.into_owned()));
        }
    }
    Ok((options, rest))
}

/// Sets what says where the server is; tells whether `name` is such a parameter.
fn set_connection(options: &mut PostgresOptions, name: &str, value: &str) -> Result<bool> {
    let text = || Some(value.to_owned());
    match name {
        "host" => options.host = text(),
        "port" => {
            let port = value.parse().map_err(|_| invalid("port", value, "a port number"))?;
            options.port = Some(port);
        }
        "user" => options.user = text(),
        "password" => options.password = Some(Secret::new(value)),
        "database" | "dbname" => options.database = text(),
        "sslmode" => options.sslmode = Some(SslMode::parse(value)?),
        "sslrootcert" => options.sslrootcert = Some(value.into()),
        "application_name" => options.application_name = text(),
        "connect_timeout" => options.connect_timeout = Some(Interval::parse(name, value)?),
        _ => return Ok(false),
    }
    Ok(true)
}

/// Sets what says how a source is read; tells whether `name` is such a parameter.
fn set_for_source(options: &mut PostgresOptions, name: &str, value: &str) -> Result<bool> {
    match name {
        "slot" => options.slot = Some(value.to_owned()),
        "publication" => options.publication = Some(value.to_owned()),
        "numeric_without_scale" => {
            options.numeric_without_scale = NumericWithoutScale::parse(value)?;
        }
        "unrepresentable" => options.unrepresentable = value.parse()?,
        "heartbeat" => options.heartbeat = Some(Interval::parse(name, value)?),
        "slot_timeout" => options.slot_timeout = Some(Interval::parse(name, value)?),
        "origin" => options.origin = Origin::parse(value)?,
        "streaming" => options.streaming = Streaming::parse(value)?,
        "ddl_events" => {
            options.ddl_events = value.parse().map_err(|_| {
                Error::config(format!("`ddl_events` is true or false, not `{value}`"))
            })?;
        }
        _ => return Ok(false),
    }
    Ok(true)
}

fn percent_decoded(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        let digit = |at: usize| char::from(*tail.get(at)?).to_digit(16);
        let decoded =
            digit(0).zip(digit(1)).and_then(|(high, low)| u8::try_from(high * 16 + low).ok());
        match decoded {
            Some(decoded) if byte == b'%' => {
                out.push(decoded);
                rest = tail.get(2..).unwrap_or_default();
            }
            _ => {
                out.push(byte);
                rest = tail;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_two_hexadecimal_digits_are_an_escape() {
        for (text, bytes) in [("a%40b%c3%A9", "a@b\u{e9}"), ("%+1%4%", "%+1%4%"), ("%%41", "%A")] {
            assert_eq!(percent_decoded(text), bytes.as_bytes(), "{text}");
        }
    }
}
