//! Where a server is: the URL and the variables of the environment.

use crate::PostgresOptions;

/// What a user, a password and a database are called when they are put together from the input.
const PARTS: usize = 3;

/// A URL, then the values of variables, on lines of their own. And a URL put together from a
/// user, a password and a database: they come out as they went in.
pub fn url(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let lines: Vec<&str> = text.split('\n').collect();
    let names = ["PGPORT", "PGUSER", "PGSSLMODE", "PGCONNECT_TIMEOUT", "PGHOST"];
    let variable = |name: &str| {
        let at = names.iter().position(|known| *known == name)?;
        lines.get(at + 1).map(|value| (*value).to_owned())
    };
    if let Ok(options) = PostgresOptions::from_url(lines.first().unwrap_or(&""), &variable) {
        let _ = (options.address(), options.sslmode(), options.connect_timeout());
        assert!(options.url.is_none());
    }
    put_together(&lines);
}

fn put_together(lines: &[&str]) {
    let Some([user, password, database]) = lines.first_chunk::<PARTS>() else { return };
    let parts = [user, password, database];
    // A path of dots is a way through directories, whatever it is written with.
    if parts.iter().any(|part| part.is_empty()) || matches!(*database, "." | "..") {
        return;
    }
    let [u, p, d] = parts.map(|part| encoded(part));
    let url = format!("postgres://{u}:{p}@h.example/{d}");
    let read = PostgresOptions::from_url(&url, &|_| None).ok();
    let options = read.filter(|options| {
        let secret = options.password.as_ref().map(crate::options::Secret::reveal);
        options.user() == *user && options.database() == *database && secret == Some(*password)
    });
    assert!(options.is_some(), "{url}");
}

fn encoded(text: &str) -> String {
    let byte = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(byte).collect()
}
