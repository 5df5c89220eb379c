//! Whose turn it is to be a pipeline's writer: of a run on this machine, or of a command that
//! becomes it for a moment.
//!
//! A command that found nobody listening would otherwise take over from a run that began in
//! between, and end it. Runs share a lock, for the newest becomes the writer as ever; such a
//! command has it alone. The system lets go of it with the process, however that ends, and the
//! file stays: removed, two could hold a lock of that name.

use std::fs::{File, TryLockError};
use std::io;
use std::path::Path;
use std::time::Duration;

/// How soon to look again.
const GLANCE: Duration = Duration::from_millis(20);

/// Held as long as the turn lasts.
#[derive(Debug)]
pub(crate) struct Turn {
    _lock: File,
}

impl Turn {
    /// The turn of a run: waits while a command has it.
    pub(super) async fn of_a_run(path: &Path) -> io::Result<Self> {
        let lock = open(path)?;
        loop {
            match lock.try_lock_shared() {
                Ok(()) => return Ok(Self { _lock: lock }),
                Err(TryLockError::WouldBlock) => tokio::time::sleep(GLANCE).await,
                Err(TryLockError::Error(error)) => return Err(error),
            }
        }
    }

    /// The turn of a command; `None` while somebody else has one.
    pub(super) fn of_a_command(path: &Path) -> io::Result<Option<Self>> {
        let lock = open(path)?;
        match lock.try_lock() {
            Ok(()) => Ok(Some(Self { _lock: lock })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    File::options().create(true).truncate(false).write(true).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn runs_share_it_and_a_command_has_it_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("turn.lock");
        let first = Turn::of_a_run(&path).await.unwrap();
        let second = Turn::of_a_run(&path).await.unwrap();
        drop(first);
        assert!(Turn::of_a_command(&path).unwrap().is_none());
        drop(second);
        let command = Turn::of_a_command(&path).unwrap();
        assert!(command.is_some());
        assert!(Turn::of_a_command(&path).unwrap().is_none());
        // A run waits until the command is done.
        let run = Turn::of_a_run(&path);
        tokio::pin!(run);
        assert!(futures::poll!(&mut run).is_pending());
        drop(command);
        tokio::time::timeout(Duration::from_secs(60), run).await.unwrap().unwrap();
    }
}
