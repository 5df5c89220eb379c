//! Beginning to write a file to its disk before anybody waits for that.
//!
//! Row groups of a copy go to the file as they fill, which for the system means to memory: it may
//! leave them there for half a minute. The sync of a copy's commit then had to wait for all of it,
//! while nothing else was to be done.

use std::fs::File;
use std::path::Path;

/// The file of a database, opened beside DuckDB.
///
/// Closing any descriptor of a file gives up all locks that the process holds on it, DuckDB's
/// among them. So this is made after the database was opened, and dropped after it was closed.
pub(super) struct Writeback(File);

impl Writeback {
    /// Of the file at `path`. Where it cannot be opened, writing begins when it must.
    pub(super) fn of(path: &Path) -> Option<Self> {
        File::open(path).ok().map(Self)
    }

    /// Asks the system to begin writing what it holds of the file. Blocks while the disk's queue
    /// is full.
    pub(super) fn begin(&self) {
        begin(&self.0);
    }
}

#[cfg(target_os = "linux")]
fn begin(file: &File) {
    use std::os::fd::AsRawFd;
    // SAFETY: the descriptor is open. The call moves no data and takes no pointers; whatever it
    // returns, the sync of the commit is what counts.
    unsafe { libc::sync_file_range(file.as_raw_fd(), 0, 0, libc::SYNC_FILE_RANGE_WRITE) };
}

#[cfg(not(target_os = "linux"))]
fn begin(_file: &File) {}
