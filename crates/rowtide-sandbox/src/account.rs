//! The account servers run under: PostgreSQL refuses root, so root hands over to someone else.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::error::{Error, Result};
use crate::sys;

/// Who runs the servers: we ourselves, or, when we are root, a user without rights.
#[derive(Debug, Clone)]
pub(crate) enum Account {
    Ourselves,
    Other { name: String, uid: u32, gid: u32 },
}

impl Account {
    /// Chooses the account: `postgres` or else `nobody` for root, ourselves for everyone else.
    pub(crate) fn choose() -> Result<Self> {
        if sys::effective_user() != 0 {
            return Ok(Self::Ourselves);
        }
        let path = Path::new("/etc/passwd");
        let users = fs::read_to_string(path).map_err(|e| Error::io("read", path, &e))?;
        let found = ["postgres", "nobody"].iter().find_map(|name| find_user(&users, name));
        found.ok_or_else(|| {
            Error::new(
                "could not choose a user to run PostgreSQL as",
                "PostgreSQL refuses root, and neither `postgres` nor `nobody` is in /etc/passwd",
                "create the user `postgres`, or run as an ordinary user",
            )
        })
    }

    /// Makes `command` run under this account.
    pub(crate) fn apply(&self, command: &mut Command) {
        if let Self::Other { uid, gid, .. } = self {
            command.uid(*uid).gid(*gid);
        }
    }

    /// Gives `path` to this account.
    pub(crate) fn give(&self, path: &Path) -> Result<()> {
        match self {
            Self::Ourselves => Ok(()),
            Self::Other { name, uid, gid } => chown(path, Some(*uid), Some(*gid))
                .map_err(|e| Error::io(&format!("give to the user {name}"), path, &e)),
        }
    }

    /// The first directory on the way to `path` (itself included) that this account cannot enter.
    pub(crate) fn first_closed<'a>(&self, path: &'a Path) -> Option<&'a Path> {
        match self {
            Self::Ourselves => None,
            Self::Other { uid, gid, .. } => {
                let closed = |dir: &&Path| fs::metadata(dir).is_ok_and(|m| !opens(&m, *uid, *gid));
                path.ancestors().filter(closed).last()
            }
        }
    }
}

/// Whether `uid`/`gid` may enter the directory that `metadata` describes.
fn opens(metadata: &fs::Metadata, uid: u32, gid: u32) -> bool {
    let needed = match () {
        () if metadata.uid() == uid => 0o100,
        () if metadata.gid() == gid => 0o010,
        () => 0o001,
    };
    metadata.mode() & needed != 0
}

fn find_user(users: &str, name: &str) -> Option<Account> {
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let matches = fields.next() == Some(name);
        let uid = fields.nth(1)?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        matches.then(|| Account::Other { name: name.to_owned(), uid, gid })
    })
}

/// Copies a server's tree (`native`, the parent of `bin_dir`) to where everyone may enter, and
/// returns the copy's `bin`. A copy made earlier from the same package is used again.
///
/// `label` names the package and version, so that another version never meets an old copy.
pub(crate) fn copy_for_everyone(bin_dir: &Path, label: &str) -> Result<PathBuf> {
    let tree = bin_dir.parent().unwrap_or(bin_dir);
    let target = PathBuf::from(format!("/var/tmp/rowtide-{label}"));
    if !is_our_copy(&target)? {
        let scratch = tempfile::Builder::new()
            .prefix("rowtide-copy-")
            .tempdir_in("/var/tmp")
            .map_err(|e| Error::io("make a directory in", Path::new("/var/tmp"), &e))?;
        let copy = scratch.path().join("tree");
        run_quietly(Command::new("cp").arg("-a").arg(tree).arg(&copy), "copy", tree)?;
        run_quietly(Command::new("chmod").args(["-R", "a+rX,go-w"]).arg(&copy), "open", &copy)?;
        match fs::rename(&copy, &target) {
            // Another process was quicker; its copy is as good, if it is ours.
            Err(_) if is_our_copy(&target)? => {}
            other => other.map_err(|e| Error::io("put in place", &target, &e))?,
        }
    }
    Ok(target.join("bin"))
}

/// Whether the copy exists. A tree that someone else could have planted or changed is an error:
/// we are about to run programs from it.
fn is_our_copy(target: &Path) -> Result<bool> {
    let metadata = match fs::symlink_metadata(target) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
        other => other.map_err(|e| Error::io("look at", target, &e))?,
    };
    let ours = metadata.is_dir()
        && metadata.uid() == sys::effective_user()
        && metadata.mode() & 0o022 == 0;
    if ours {
        return Ok(true);
    }
    Err(Error::new(
        format!("could not use the server copy {}", target.display()),
        "it belongs to another user or others may write to it, so it cannot be trusted",
        "remove it and try again",
    ))
}

fn run_quietly(command: &mut Command, verb: &str, path: &Path) -> Result<()> {
    let output = command.output().map_err(|e| Error::io(verb, path, &e))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(Error::io(verb, path, &io::Error::other(said)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_a_user_by_its_whole_name() {
        let users = "postgres-x:x:7:8::/:/bin/sh\npostgres:x:101:104:Admin,,,:/var:/bin/bash\n";
        let found = find_user(users, "postgres");
        assert!(matches!(found, Some(Account::Other { uid: 101, gid: 104, .. })), "{found:?}");
        assert!(find_user(users, "nobody").is_none());
    }

    #[test]
    fn names_the_outermost_directory_that_is_closed() {
        use std::os::unix::fs::PermissionsExt;
        let outer = tempfile::tempdir().unwrap();
        let inner = outer.path().join("a/b");
        fs::create_dir_all(&inner).unwrap();
        fs::set_permissions(outer.path(), fs::Permissions::from_mode(0o700)).unwrap();
        let stranger = Account::Other { name: "stranger".to_owned(), uid: 64321, gid: 64321 };
        assert_eq!(stranger.first_closed(&inner), Some(outer.path()));
        assert_eq!(Account::Ourselves.first_closed(&inner), None);
    }
}
