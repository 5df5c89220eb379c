//! Opening the database file, at most once per process.
//!
//! DuckDB locks its file against other processes only: opening it twice in one process would
//! corrupt it. A process-wide registry therefore hands out the one open [`Database`] of a file,
//! and lets nobody open it anew before it is closed.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use rowtide_core::{Error, Result};

use crate::error::{During, is_locked};
use crate::ffi::{self, Connection, Database};
use crate::long;
use crate::options::{DuckdbOptions, default_threads};

/// How long to wait for another process to let go of the file, and how often to look.
const LOCK_ATTEMPTS: u32 = 20;
const LOCK_PAUSE: Duration = Duration::from_millis(100);

/// How often, and how soon again, to try what another transaction of this process may block for a
/// moment.
const BUSY_ATTEMPTS: u32 = 40;
const BUSY_PAUSE: Duration = Duration::from_millis(50);

/// How large the write-ahead log may grow before a commit folds it into the file. Small enough
/// for a quick restart, large enough that a stream of small epochs rarely pays for it.
const CHECKPOINT_THRESHOLD: &str = "64MiB";

static OPEN: Mutex<Option<HashMap<PathBuf, Weak<Database>>>> = Mutex::new(None);
static CLOSED: Condvar = Condvar::new();

type Registry = Option<HashMap<PathBuf, Weak<Database>>>;

/// The database of `options`, opened for writing; created if it does not exist. Blocks.
///
/// # Errors
/// `Unavailable` if another process holds the file, `Config` if it is no DuckDB database.
pub(crate) fn open(options: &DuckdbOptions) -> Result<Arc<Database>> {
    let key = canonical(&options.path);
    let mut attempt = 1;
    loop {
        let (mut registry, open) = lookup(&key);
        if let Some(database) = open {
            return Ok(database);
        }
        match Database::open(&options.path, options.memory(), &settings(options, "automatic")) {
            Ok(database) => {
                let database = Arc::new(database);
                long::spare(&connect(&database)?)?;
                let Some(database) = Arc::into_inner(database) else {
                    return Err(Error::internal("a database just opened is in use"));
                };
                let name = key.clone();
                let database = Arc::new(database.on_close(move || forget(&name)));
                registry.get_or_insert_default().insert(key, Arc::downgrade(&database));
                return Ok(database);
            }
            Err(failure) if is_locked(&failure) && attempt < LOCK_ATTEMPTS => attempt += 1,
            Err(failure) => return Err(failure).during(|| opening(&options.path)),
        }
        drop(registry);
        std::thread::sleep(LOCK_PAUSE);
    }
}

/// Calls `read` with a connection for reading; `None` if the file does not exist. Uses the open
/// database if this process has one. Blocks.
pub(crate) fn read<T>(
    options: &DuckdbOptions,
    read: impl FnOnce(&Connection) -> Result<T>,
) -> Result<Option<T>> {
    let key = canonical(&options.path);
    let (registry, open) = lookup(&key);
    if let Some(database) = open {
        drop(registry);
        return read(&connect(&database)?).map(Some);
    }
    if !options.path.exists() {
        return Ok(None);
    }
    // The registry stays locked, so that nobody opens the file for writing meanwhile.
    let database = Database::open(&options.path, options.memory(), &settings(options, "read_only"))
        .during(|| opening(&options.path))?;
    let result = read(&connect(&Arc::new(database))?).map(Some);
    drop(registry);
    result
}

/// A new session on `database`.
pub(crate) fn connect(database: &Arc<Database>) -> Result<Connection> {
    Connection::open(database).during(|| "opening a connection to DuckDB".to_owned())
}

/// Tries `work` again while other transactions stand in its way: a cancelled call that has not
/// ended yet, or an epoch that makes the same schema. Blocks.
pub(crate) fn when_free<T>(mut work: impl FnMut() -> ffi::Result<T>) -> ffi::Result<T> {
    let mut attempt = 1;
    loop {
        match work() {
            Err(failure) if failure.is_busy() && attempt < BUSY_ATTEMPTS => attempt += 1,
            result => return result,
        }
        std::thread::sleep(BUSY_PAUSE);
    }
}

/// Folds the write-ahead log into the file, unless other transactions are open, or that was done a
/// moment ago; returns whether it was done. Blocks.
pub(crate) fn checkpoint(connection: &Connection) -> Result<bool> {
    match connection.fold_log() {
        Ok(done) => Ok(done),
        Err(failure) if failure.is_busy() => Ok(false),
        Err(failure) => Err(failure).during(|| "folding the log into the file".to_owned()),
    }
}

fn lookup(key: &Path) -> (MutexGuard<'static, Registry>, Option<Arc<Database>>) {
    let mut registry = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        let known = registry.get_or_insert_default().get(key);
        match known.map(Weak::upgrade) {
            None => return (registry, None),
            Some(Some(database)) => return (registry, Some(database)),
            // It is being closed on another thread.
            Some(None) => {
                registry = CLOSED.wait(registry).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }
}

fn forget(key: &Path) {
    let mut registry = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
    registry.get_or_insert_default().remove(key);
    CLOSED.notify_all();
}

/// The same key for every spelling of a path, whether or not the file exists.
fn canonical(path: &Path) -> PathBuf {
    if let Ok(path) = path.canonicalize() {
        return path;
    }
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let parent = parent.unwrap_or(Path::new(".")).canonicalize();
    match (parent, path.file_name()) {
        (Ok(parent), Some(name)) => parent.join(name),
        _ => path.to_owned(),
    }
}

fn opening(path: &Path) -> String {
    format!("opening the DuckDB database {}", path.display())
}

fn settings(options: &DuckdbOptions, access: &str) -> Vec<(&'static str, String)> {
    let mut settings = vec![
        ("access_mode", access.to_owned()),
        ("memory_limit", options.memory_limit.clone()),
        ("threads", options.threads.unwrap_or_else(default_threads).to_string()),
        ("preserve_insertion_order", "false".to_owned()),
        // Row groups are compressed as they fill. By itself DuckDB gathers five: a lane's rows would
        // all be held in memory and compressed at its end, one lane after the other.
        ("write_buffer_row_group_count", "1".to_owned()),
        // Until it is known whether the rows are too long for it.
        ("max_vacuum_tasks", "0".to_owned()),
        ("checkpoint_threshold", CHECKPOINT_THRESHOLD.to_owned()),
        ("autoinstall_known_extensions", "false".to_owned()),
        ("autoload_known_extensions", "false".to_owned()),
    ];
    if let Some(directory) = &options.temp_directory {
        settings.push(("temp_directory", directory.to_string_lossy().into_owned()));
    }
    settings
}

/// Runs blocking work on DuckDB apart from the asynchronous tasks.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(Error::internal("work on DuckDB broke off").with_source(error)))
}

/// Drops `value`, which may close a database, without holding up asynchronous tasks.
pub(crate) fn drop_blocking<T: Send + 'static>(value: T) {
    if let Ok(runtime) = tokio::runtime::Handle::try_current() {
        runtime.spawn_blocking(move || drop(value));
    }
}

/// The name of the catalog that `connection`'s database file is.
pub(crate) fn catalog(connection: &Connection) -> Result<Arc<str>> {
    connection.catalog(|| {
        let rows: ffi::Result<_> = connection.query("SELECT current_database()", &[]);
        let rows = rows.during(|| "reading the catalog's name".to_owned())?;
        rows.first()
            .and_then(|row| row[0].text())
            .map(Into::into)
            .ok_or_else(|| Error::internal("the database has no name"))
    })
}
