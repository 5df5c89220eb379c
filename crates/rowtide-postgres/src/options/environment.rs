//! What libpq would find around the process: `PG*` variables and the password file.

use std::path::{Path, PathBuf};

use rowtide_core::Result;

use super::{Interval, PostgresOptions, Secret, SslMode, invalid};

/// Fills what `options` leaves open.
pub(super) fn fill(
    options: &mut PostgresOptions,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<()> {
    let get = |name: &str| env(name).filter(|value| !value.is_empty());
    let or = |value: &mut Option<String>, name: &str| {
        if value.is_none() {
            *value = get(name);
        }
    };
    or(&mut options.host, "PGHOST");
    or(&mut options.user, "PGUSER");
    or(&mut options.user, "USER");
    or(&mut options.database, "PGDATABASE");
    or(&mut options.application_name, "PGAPPNAME");
    if let (None, Some(port)) = (options.port, get("PGPORT")) {
        options.port = Some(port.parse().map_err(|_| invalid("PGPORT", &port, "a port number"))?);
    }
    if let (None, Some(mode)) = (options.sslmode, get("PGSSLMODE")) {
        options.sslmode = Some(SslMode::parse(&mode)?);
    }
    if let (None, Some(timeout)) = (options.connect_timeout, get("PGCONNECT_TIMEOUT")) {
        options.connect_timeout = Some(Interval::parse("PGCONNECT_TIMEOUT", &timeout)?);
    }
    if options.sslrootcert.is_none() {
        options.sslrootcert = get("PGSSLROOTCERT").map(PathBuf::from);
    }
    if options.password.is_none() {
        options.password = get("PGPASSWORD").map(Secret::new);
    }
    if options.password.is_none() {
        let home = || get("HOME").map(|home| Path::new(&home).join(".pgpass"));
        let path = get("PGPASSFILE").map(PathBuf::from).or_else(home);
        options.password = path.and_then(|path| from_file(options, &path));
    }
    Ok(())
}

fn from_file(options: &PostgresOptions, path: &Path) -> Option<Secret> {
    if !is_private(path) {
        return None;
    }
    password_in(&std::fs::read_to_string(path).ok()?, options)
}

/// As libpq does, ignores a password file that others may read.
fn is_private(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    match std::fs::metadata(path) {
        Ok(file) if file.is_file() && file.permissions().mode() & 0o077 == 0 => true,
        Ok(_) => {
            tracing::warn!(path = %path.display(), "password file is ignored: others can read it");
            false
        }
        Err(_) => false,
    }
}

/// The first line `host:port:database:user:password` that matches.
fn password_in(text: &str, options: &PostgresOptions) -> Option<Secret> {
    let port = options.port().to_string();
    let host = if options.is_unix_socket() { "localhost" } else { options.host() };
    let wanted = [host, &port, options.database(), options.user()];
    text.lines().filter(|line| !line.starts_with('#')).find_map(|line| {
        let fields = fields(line);
        let [fields @ .., password] = fields.as_slice() else { return None };
        let fits = fields.len() == wanted.len()
            && fields.iter().zip(wanted).all(|(field, wanted)| field == "*" || field == wanted);
        fits.then(|| Secret::new(password.as_str()))
    })
}

/// Splits at colons; a backslash takes the next character literally.
fn fields(line: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match (c, fields.last_mut()) {
            (':', _) => fields.push(String::new()),
            ('\\', Some(field)) => field.extend(chars.next()),
            (c, Some(field)) => field.push(c),
            (_, None) => {}
        }
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_matching_line_gives_the_password() {
        let options = PostgresOptions {
            host: Some("db".into()),
            user: Some("me".into()),
            database: Some("shop".into()),
            ..PostgresOptions::default()
        };
        let file = "# comment\nother:*:*:*:no\ndb:5432:shop:me:a\\:b\\\\c\n*:*:*:*:last\n";
        assert_eq!(password_in(file, &options).unwrap().reveal(), "a:b\\c");
        let other = PostgresOptions { port: Some(1), ..options };
        assert_eq!(password_in(file, &other).unwrap().reveal(), "last");
        assert!(password_in("db:5432:shop\n", &other).is_none());
    }
}
