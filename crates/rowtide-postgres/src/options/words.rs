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

/// What happens to values that Arrow cannot hold.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unrepresentable {
    /// The pipeline stops with an error that names the table and the column.
    #[default]
    Fail,
    /// The value becomes NULL.
    Null,
}

impl Unrepresentable {
    fn parse(text: &str) -> Result<Self> {
        match text {
            "fail" => Ok(Self::Fail),
            "null" => Ok(Self::Null),
            _ => Err(invalid("unrepresentable", text, "fail or null")),
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

/// Reads `postgres://…`.
pub(super) fn parse_url(text: &str) -> Result<PostgresOptions> {
    let hint = "write postgres://user:password@host:5432/database?sslmode=verify-full";
    let bad =
        |why: String| Error::config(format!("the source URL is malformed: {why}")).with_hint(hint);
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
    for (name, value) in url.query_pairs() {
        set(&mut options, &name, value.into_owned())?;
    }
    Ok(options)
}

fn set(options: &mut PostgresOptions, name: &str, value: String) -> Result<()> {
    match name {
        "host" => options.host = Some(value),
        "port" => {
            let port = value.parse().map_err(|_| invalid("port", &value, "a port number"))?;
            options.port = Some(port);
        }
        "user" => options.user = Some(value),
        "password" => options.password = Some(Secret::new(value)),
        "database" | "dbname" => options.database = Some(value),
        "sslmode" => options.sslmode = Some(SslMode::parse(&value)?),
        "sslrootcert" => options.sslrootcert = Some(value.into()),
        "slot" => options.slot = Some(value),
        "publication" => options.publication = Some(value),
        "application_name" => options.application_name = Some(value),
        "numeric_without_scale" => {
            options.numeric_without_scale = NumericWithoutScale::parse(&value)?;
        }
        "unrepresentable" => options.unrepresentable = Unrepresentable::parse(&value)?,
        "heartbeat" => options.heartbeat = Some(Interval::parse(name, &value)?),
        "connect_timeout" => options.connect_timeout = Some(Interval::parse(name, &value)?),
        "slot_timeout" => options.slot_timeout = Some(Interval::parse(name, &value)?),
        _ => {
            return Err(Error::config(format!("the source URL has an unknown parameter `{name}`"))
                .with_hint(
                    "known are host, port, user, password, dbname, sslmode, sslrootcert, slot, \
                     publication, application_name, numeric_without_scale, unrepresentable, \
                     heartbeat, connect_timeout, slot_timeout",
                ));
        }
    }
    Ok(())
}

fn percent_decoded(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        let digits = tail.get(..2).and_then(|two| std::str::from_utf8(two).ok());
        match digits.and_then(|two| u8::from_str_radix(two, 16).ok()) {
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
