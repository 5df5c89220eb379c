//! A server's own directory: made, locked while we live, removed afterwards.
//!
//! ```text
//! rowtide-pg-XXXXXX/   ours, open to be entered
//!   lock               held by flock as long as this process lives
//!   server.log         what initdb and the server print
//!   data/              the cluster           (given to the server's account)
//!   run/               sockets, certificates (given to the server's account)
//! ```
//!
//! A process killed outright cannot remove its directories. The kernel does drop its locks, so
//! the next process sees which directories nobody holds any more and removes them.

use std::fs::{self, File, Permissions, TryLockError};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::account::Account;
use crate::error::{Error, Result};
use crate::sys;

const PREFIX: &str = "rowtide-pg-";

#[derive(Debug)]
pub(crate) struct ServerDirectory {
    root: TempDir,
    // Never read: the lock lasts as long as the file is open.
    _lock: File,
}

impl ServerDirectory {
    /// Makes the directory in `parent`, or in the first temporary directory that `account` can
    /// reach.
    pub(crate) fn create(parent: Option<&Path>, account: &Account) -> Result<Self> {
        let parent = choose_parent(parent, account)?;
        remove_left_behind(&parent);
        let root = tempfile::Builder::new()
            .prefix(PREFIX)
            .permissions(Permissions::from_mode(0o755))
            .tempdir_in(&parent)
            .map_err(|e| Error::io("make a directory in", &parent, &e))?;
        // The umask may have taken bits away.
        fs::set_permissions(root.path(), Permissions::from_mode(0o755))
            .map_err(|e| Error::io("open", root.path(), &e))?;
        let lock = lock(root.path())?;
        let directory = Self { root, _lock: lock };
        for own in [directory.data(), directory.run()] {
            fs::create_dir(&own).map_err(|e| Error::io("make the directory", &own, &e))?;
            fs::set_permissions(&own, Permissions::from_mode(0o700))
                .map_err(|e| Error::io("close", &own, &e))?;
            account.give(&own)?;
        }
        Ok(directory)
    }

    pub(crate) fn root(&self) -> &Path {
        self.root.path()
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.root().join("data")
    }

    pub(crate) fn run(&self) -> PathBuf {
        self.root().join("run")
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.root().join("server.log")
    }

    /// Opens the log for a program to append to.
    pub(crate) fn open_log(&self) -> Result<File> {
        let path = self.log();
        let opened = File::options().create(true).append(true).open(&path);
        opened.map_err(|e| Error::io("open", &path, &e))
    }

    /// What was logged after the first `offset` bytes.
    pub(crate) fn log_since(&self, offset: u64) -> String {
        let bytes = fs::read(self.log()).unwrap_or_default();
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
        String::from_utf8_lossy(bytes.get(start..).unwrap_or_default()).into_owned()
    }

    pub(crate) fn log_length(&self) -> u64 {
        fs::metadata(self.log()).map_or(0, |metadata| metadata.len())
    }
}

/// Writes a file that only `account` may read.
pub(crate) fn write_private(path: &Path, text: &str, account: &Account) -> Result<()> {
    fs::write(path, text).map_err(|e| Error::io("write", path, &e))?;
    fs::set_permissions(path, Permissions::from_mode(0o600))
        .map_err(|e| Error::io("close", path, &e))?;
    account.give(path)
}

fn choose_parent(asked: Option<&Path>, account: &Account) -> Result<PathBuf> {
    if let Some(asked) = asked {
        fs::create_dir_all(asked).map_err(|e| Error::io("make the directory", asked, &e))?;
        let parent = fs::canonicalize(asked).map_err(|e| Error::io("resolve", asked, &e))?;
        return match (account.first_closed(&parent), account) {
            (Some(closed), Account::Other { name, .. }) => Err(Error::new(
                format!("could not put a server in {}", parent.display()),
                format!("it runs as the user {name}, who cannot enter {}", closed.display()),
                "choose another directory, or open that one with `chmod a+x`",
            )),
            _ => Ok(parent),
        };
    }
    let candidates = [std::env::temp_dir(), PathBuf::from("/tmp"), PathBuf::from("/var/tmp")];
    let mut usable = candidates.iter().filter_map(|dir| fs::canonicalize(dir).ok());
    usable.find(|dir| account.first_closed(dir).is_none()).ok_or_else(|| {
        Error::new(
            "could not find a temporary directory for a server",
            "the user that servers run as can enter none of TMPDIR, /tmp and /var/tmp",
            "set TMPDIR to a directory that every user can enter",
        )
    })
}

/// Takes the lock under another name first: whoever sees `lock` sees it held.
fn lock(root: &Path) -> Result<File> {
    let (new, held) = (root.join("lock.new"), root.join("lock"));
    let file = File::create_new(&new).map_err(|e| Error::io("make", &new, &e))?;
    file.lock().map_err(|e| Error::io("lock", &new, &e))?;
    fs::rename(&new, &held).map_err(|e| Error::io("put in place", &held, &e))?;
    Ok(file)
}

/// Removes what processes that died without cleaning up left in `parent`. Best effort.
fn remove_left_behind(parent: &Path) {
    let entries = fs::read_dir(parent).into_iter().flatten().flatten();
    let servers = entries.filter(|e| e.file_name().to_string_lossy().starts_with(PREFIX));
    for path in servers.map(|entry| entry.path()) {
        let lock = path.join("lock");
        let ours = fs::symlink_metadata(&lock)
            .is_ok_and(|m| m.is_file() && m.uid() == sys::effective_user());
        if !ours {
            continue;
        }
        let Ok(file) = File::open(&lock) else {
            continue;
        };
        match file.try_lock() {
            Ok(()) => drop(fs::remove_dir_all(&path)),
            Err(TryLockError::WouldBlock | TryLockError::Error(_)) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn removes_what_nobody_holds_and_nothing_else() {
        let parent = tempfile::tempdir().unwrap();
        let held = ServerDirectory::create(Some(parent.path()), &Account::Ourselves).unwrap();
        let abandoned = parent.path().join("rowtide-pg-abandoned");
        let without_lock = parent.path().join("rowtide-pg-beginning");
        let unrelated = parent.path().join("other");
        for dir in [&abandoned, &without_lock, &unrelated] {
            fs::create_dir(dir).unwrap();
        }
        for dir in [&abandoned, &unrelated] {
            fs::write(dir.join("lock"), "").unwrap();
        }

        remove_left_behind(parent.path());

        assert!(!abandoned.exists());
        assert!(held.root().exists() && without_lock.exists() && unrelated.exists());
    }
}
