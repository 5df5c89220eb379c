//! A throwaway certificate authority and a server certificate, made by `openssl`.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::account::Account;
use crate::error::{Error, Result};

/// Everything is spelled out here, so that the machine's own OpenSSL defaults add nothing: an
/// extension given twice makes strict clients refuse a certificate.
const CONFIG: &str = "\
[req]
distinguished_name = name
prompt = no
[name]
CN = localhost
[authority]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
[server]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth
subjectAltName = DNS:localhost, IP:127.0.0.1
";

const NEW_KEY: [&str; 5] = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];

/// The files of one server's certificates.
#[derive(Debug, Clone)]
pub(crate) struct Certificates {
    pub(crate) authority: PathBuf,
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

impl Certificates {
    /// Makes an authority (`root/ca.crt`, for everyone) and a server certificate with its key
    /// (`run`, for the server's account).
    pub(crate) fn create(root: &Path, run: &Path, account: &Account) -> Result<Self> {
        let made = Self {
            authority: root.join("ca.crt"),
            certificate: run.join("server.crt"),
            key: run.join("server.key"),
        };
        let work = tempfile::tempdir().map_err(|e| Error::io("make a directory in", root, &e))?;
        let file = |name: &str| work.path().join(name);
        fs::write(file("openssl.cnf"), CONFIG).map_err(|e| Error::io("write", work.path(), &e))?;

        let mut authority = openssl(work.path(), "req");
        authority.args(["-x509", "-config", "openssl.cnf", "-extensions", "authority"]);
        authority.args(["-days", "30", "-subj", "/CN=Rowtide sandbox authority"]);
        authority.args(NEW_KEY).args(["-keyout", "ca.key", "-out", "ca.crt"]);
        run_openssl(&mut authority)?;

        let mut request = openssl(work.path(), "req");
        request.args(["-new", "-config", "openssl.cnf"]);
        request.args(NEW_KEY).args(["-keyout", "server.key", "-out", "server.csr"]);
        run_openssl(&mut request)?;

        let mut sign = openssl(work.path(), "x509");
        sign.args(["-req", "-in", "server.csr", "-CA", "ca.crt", "-CAkey", "ca.key"]);
        sign.args(["-CAcreateserial", "-days", "30", "-extfile", "openssl.cnf"]);
        sign.args(["-extensions", "server", "-out", "server.crt"]);
        run_openssl(&mut sign)?;

        let targets =
            [("ca.crt", &made.authority, 0o644), ("server.crt", &made.certificate, 0o644)];
        for (name, to, mode) in targets.into_iter().chain([("server.key", &made.key, 0o600)]) {
            fs::copy(file(name), to).map_err(|e| Error::io("write", to, &e))?;
            fs::set_permissions(to, Permissions::from_mode(mode))
                .map_err(|e| Error::io("set the mode of", to, &e))?;
        }
        account.give(&made.key)?;
        Ok(made)
    }
}

fn openssl(work: &Path, subcommand: &str) -> Command {
    let mut command = Command::new("openssl");
    command.current_dir(work).arg(subcommand);
    command
}

fn run_openssl(command: &mut Command) -> Result<()> {
    let attempt = "could not make a certificate with `openssl`";
    let output = command.output().map_err(|e| {
        let error = Error::new(attempt, e.to_string(), "install openssl (`cargo xtask setup`)");
        if e.kind() == std::io::ErrorKind::NotFound { error.not_installed() } else { error }
    })?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(Error::new(attempt, said, "version 1.1.1 or newer is needed; see `openssl version`"))
}
