//! Databases and connections.

use std::ffi::c_char;
use std::path::Path;
use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use libduckdb_sys as sys;

use super::failure::text_at;
use super::feed::Feeds;
use super::writeback::Writeback;
use super::{Cell, Failure, Result, Statement, Value, c_string};

/// An open database file. It is closed with the last value that uses it.
pub(crate) struct Database {
    raw: sys::duckdb_database,
    /// When the log was last folded into the file, and how long that took.
    folded: Mutex<Option<(Instant, Duration)>>,
    /// Transactions that fill tables, and whether somebody waits for a moment without any.
    filling: Mutex<(usize, bool)>,
    filled: Condvar,
    /// What `memory_limit` says, in bytes.
    memory: u64,
    /// The bytes of long rows that were committed since the log was last folded into the file.
    long: Mutex<u64>,
    feeds: Arc<Feeds>,
    /// How often definitions changed.
    defined: AtomicU64,
    writeback: Option<Writeback>,
    on_close: Option<Box<dyn FnOnce() + Send + Sync>>,
}

// SAFETY: DuckDB's database handle may be used from any thread, and by several at once.
unsafe impl Send for Database {}
// SAFETY: as above.
unsafe impl Sync for Database {}

impl Database {
    /// Opens the file at `path`, creating it unless `settings` say `access_mode = read_only`.
    pub(crate) fn open(path: &Path, memory: u64, settings: &[(&str, String)]) -> Result<Self> {
        let name = path.to_str().ok_or_else(|| Failure::invalid("a path that is not UTF-8"))?;
        let name = c_string(name)?;
        let config = Config::new(settings)?;
        let mut database = ptr::null_mut();
        let mut error: *mut c_char = ptr::null_mut();
        // SAFETY: all pointers are valid for the call; `error` is an allocation of DuckDB's that
        // is copied and then freed once. On failure DuckDB leaves no database behind.
        unsafe {
            let state =
                sys::duckdb_open_ext(name.as_ptr(), &raw mut database, config.0, &raw mut error);
            if state == sys::DuckDBSuccess {
                let opened = Self {
                    raw: database,
                    folded: Mutex::default(),
                    filling: Mutex::default(),
                    filled: Condvar::new(),
                    memory,
                    long: Mutex::default(),
                    feeds: Arc::default(),
                    defined: AtomicU64::default(),
                    writeback: Writeback::of(path),
                    on_close: None,
                };
                opened.register_feeds()?;
                return Ok(opened);
            }
            let text = text_at(error);
            if !error.is_null() {
                sys::duckdb_free(error.cast());
            }
            Err(Failure::from_text(text))
        }
    }

    fn register_feeds(&self) -> Result<()> {
        let mut raw = ptr::null_mut();
        // SAFETY: the database is live, the out pointer valid, and the connection closed once.
        unsafe {
            if sys::duckdb_connect(self.raw, &raw mut raw) != sys::DuckDBSuccess {
                return Err(Failure::invalid("DuckDB gave no connection"));
            }
            let registered = self.feeds.register(raw);
            sys::duckdb_disconnect(&raw mut raw);
            registered
        }
    }

    /// Calls `hook` once the file is closed.
    pub(crate) fn on_close(mut self, hook: impl FnOnce() + Send + Sync + 'static) -> Self {
        self.on_close = Some(Box::new(hook));
        self
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // SAFETY: the handle is live, and not used again.
        unsafe { sys::duckdb_close(&raw mut self.raw) }
        drop(self.writeback.take());
        if let Some(hook) = self.on_close.take() {
            hook();
        }
    }
}

struct Config(sys::duckdb_config);

impl Config {
    fn new(settings: &[(&str, String)]) -> Result<Self> {
        let mut config = ptr::null_mut();
        // SAFETY: the out pointer is valid; DuckDB sets it whatever it returns.
        let state = unsafe { sys::duckdb_create_config(&raw mut config) };
        let config = Self(config);
        if state != sys::DuckDBSuccess {
            return Err(Failure::invalid("DuckDB made no configuration"));
        }
        for (name, value) in settings {
            let (name, value) = (c_string(name)?, c_string(value)?);
            // SAFETY: the handle is live, and DuckDB copies both strings.
            unsafe { sys::duckdb_set_config(config.0, name.as_ptr(), value.as_ptr()) };
        }
        Ok(config)
    }
}

impl Drop for Config {
    fn drop(&mut self) {
        // SAFETY: the handle is live or null, and not used again.
        unsafe { sys::duckdb_destroy_config(&raw mut self.0) }
    }
}

/// How many times as long as folding took the next one waits at least.
const REST: u32 = 8;

impl Database {
    /// Whether the log may be folded into the file again. That takes the longer the more tables
    /// there are, so a run of changes of definitions must not pay for it each time.
    fn has_rested(&self) -> bool {
        let folded = *self.folded.lock().unwrap_or_else(PoisonError::into_inner);
        folded.is_none_or(|(at, took)| at.elapsed() >= took * REST)
    }

    /// Waits for a moment in which nothing fills a table, and keeps it for a while.
    fn quiet(&self) -> Quiet<'_> {
        let mut filling = self.filling.lock().unwrap_or_else(PoisonError::into_inner);
        filling.1 = true;
        let waited = self.filled.wait_timeout_while(filling, PATIENCE, |(count, _)| *count > 0);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
        Quiet(self)
    }

    fn note_folded(&self, took: Duration) {
        let mut folded = self.folded.lock().unwrap_or_else(PoisonError::into_inner);
        *folded = Some((Instant::now(), took));
    }
}

/// How long one waits for the other: who fills tables and who folds the log.
const PATIENCE: Duration = Duration::from_millis(500);

/// While it lives, transactions that fill tables wait to begin.
struct Quiet<'a>(&'a Database);

impl Drop for Quiet<'_> {
    fn drop(&mut self) {
        self.0.filling.lock().unwrap_or_else(PoisonError::into_inner).1 = false;
        self.0.filled.notify_all();
    }
}

/// The right to commit long rows.
pub(crate) type Long<'a> = MutexGuard<'a, u64>;

/// A transaction that fills a table: the log cannot be folded into the file while there is one.
pub(crate) struct Filling(Arc<Database>);

impl Drop for Filling {
    fn drop(&mut self) {
        let mut filling = self.0.filling.lock().unwrap_or_else(PoisonError::into_inner);
        filling.0 = filling.0.saturating_sub(1);
        drop(filling);
        self.0.filled.notify_all();
    }
}

/// One connection: a session with at most one open transaction. When the last value that uses
/// it goes, its open transaction is rolled back.
#[derive(Clone)]
pub(crate) struct Connection(Arc<Session>);

struct Session {
    raw: sys::duckdb_connection,
    database: Arc<Database>,
    catalog: OnceLock<Arc<str>>,
}

// SAFETY: DuckDB serializes calls on one connection by a lock of its own.
unsafe impl Send for Session {}
// SAFETY: as above.
unsafe impl Sync for Session {}

impl Drop for Session {
    fn drop(&mut self) {
        // SAFETY: the handle is live, and not used again; the database outlives it.
        unsafe { sys::duckdb_disconnect(&raw mut self.raw) }
    }
}

impl Connection {
    /// Opens a session on `database`.
    pub(crate) fn open(database: &Arc<Database>) -> Result<Self> {
        let mut raw = ptr::null_mut();
        // SAFETY: the database is live, and the out pointer valid.
        let state = unsafe { sys::duckdb_connect(database.raw, &raw mut raw) };
        if state != sys::DuckDBSuccess {
            return Err(Failure::invalid("DuckDB gave no connection"));
        }
        let catalog = OnceLock::new();
        Ok(Self(Arc::new(Session { raw, database: Arc::clone(database), catalog })))
    }

    pub(super) fn raw(&self) -> sys::duckdb_connection {
        self.0.raw
    }

    pub(super) fn feeds(&self) -> &Feeds {
        &self.0.database.feeds
    }

    /// Runs `sql`, which may be several statements; returns how many rows the last one changed.
    pub(crate) fn execute(&self, sql: &str) -> Result<u64> {
        let sql = c_string(sql)?;
        super::statement::run(|result| {
            // SAFETY: the connection is live, and both pointers are valid for the call.
            unsafe { sys::duckdb_query(self.raw(), sql.as_ptr(), result) }
        })
        .map(|mut result| result.rows_changed())
    }

    /// Notes that definitions in the file changed, after that was committed or within the
    /// transaction.
    pub(crate) fn note_defined(&self) {
        self.0.database.defined.fetch_add(1, Ordering::Relaxed);
    }

    /// How often definitions changed: where that differs, DuckDB plans a prepared statement anew at
    /// each of its executions from then on.
    pub(crate) fn defined(&self) -> u64 {
        self.0.database.defined.load(Ordering::Relaxed)
    }

    /// Says that a transaction that fills a table is about to begin here, after waiting for who
    /// folds the log.
    pub(crate) fn filling(&self) -> Filling {
        let database = &self.0.database;
        let filling = database.filling.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = database.filled.wait_timeout_while(filling, PATIENCE * 8, |(_, wait)| *wait);
        waited.unwrap_or_else(PoisonError::into_inner).0.0 += 1;
        Filling(Arc::clone(database))
    }

    /// Folds the log into the file, unless that was done a moment ago; returns whether it was done.
    pub(crate) fn fold_log(&self) -> Result<bool> {
        let database = &self.0.database;
        if !database.has_rested() {
            return Ok(false);
        }
        self.fold_log_now()?;
        Ok(true)
    }

    /// Folds the log into the file, however long ago that was done.
    pub(crate) fn fold_log_now(&self) -> Result<()> {
        let database = &self.0.database;
        let began = Instant::now();
        let _quiet = database.quiet();
        let folded = self.execute("CHECKPOINT");
        database.note_folded(began.elapsed());
        folded.map(drop)
    }

    /// Waits until nobody else commits long rows; the bytes of those not yet folded into the file.
    pub(crate) fn long(&self) -> Long<'_> {
        self.0.database.long.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What begins to write to the disk what the file was given. Blocks, though seldom for long.
    pub(crate) fn writeback(&self) -> impl FnOnce() + Send + 'static {
        let database = Arc::clone(&self.0.database);
        move || database.writeback.iter().for_each(Writeback::begin)
    }

    /// How much memory DuckDB may use, in bytes.
    pub(crate) fn memory(&self) -> u64 {
        self.0.database.memory
    }

    /// Runs one statement with `values` for its parameters, and returns all of its rows.
    pub(crate) fn query(&self, sql: &str, values: &[Value<'_>]) -> Result<Vec<Vec<Cell>>> {
        self.prepare(sql)?.query(values)
    }

    /// The table or view that DuckDB takes for `name` in `schema` of `catalog`, as it is spelled
    /// there. Unlike a query of the catalog's tables this takes the same time however many there
    /// are.
    pub(crate) fn entry(&self, [catalog, schema, name]: [&str; 3]) -> Result<Option<String>> {
        if let Ok(found) = self.entry_seen([catalog, schema, name]) {
            return Ok(found);
        }
        // Outside of a transaction DuckDB shows no catalog.
        self.execute("BEGIN")?;
        let found = self.entry_seen([catalog, schema, name]);
        self.execute("ROLLBACK")?;
        found
    }

    /// The same as the open transaction sees it; an error if none is open.
    fn entry_seen(&self, [catalog, schema, name]: [&str; 3]) -> Result<Option<String>> {
        let (catalog, schema, name) = (c_string(catalog)?, c_string(schema)?, c_string(name)?);
        let mut context = ptr::null_mut();
        // SAFETY: the connection is live, and used by one thread at a time; DuckDB takes null
        // handles for what is not there, and copies the strings. The entry's name is copied while
        // the transaction that keeps it is open. Each handle is destroyed once.
        unsafe {
            sys::duckdb_connection_get_client_context(self.raw(), &raw mut context);
            let mut within = sys::duckdb_client_context_get_catalog(context, catalog.as_ptr());
            let shown = !within.is_null();
            let kind = sys::duckdb_catalog_entry_type_DUCKDB_CATALOG_ENTRY_TYPE_TABLE;
            let (schema, name) = (schema.as_ptr(), name.as_ptr());
            let mut entry = sys::duckdb_catalog_get_entry(within, context, kind, schema, name);
            let found =
                (!entry.is_null()).then(|| text_at(sys::duckdb_catalog_entry_get_name(entry)));
            sys::duckdb_destroy_catalog_entry(&raw mut entry);
            sys::duckdb_destroy_catalog(&raw mut within);
            sys::duckdb_destroy_client_context(&raw mut context);
            if shown { Ok(found) } else { Err(Failure::invalid("DuckDB showed no catalog")) }
        }
    }

    /// The name of the file's catalog, found by `find` the first time.
    pub(crate) fn catalog<E>(
        &self,
        find: impl FnOnce() -> std::result::Result<Arc<str>, E>,
    ) -> std::result::Result<Arc<str>, E> {
        match self.0.catalog.get() {
            Some(name) => Ok(Arc::clone(name)),
            None => find().map(|name| Arc::clone(self.0.catalog.get_or_init(|| name))),
        }
    }

    /// Prepares one statement.
    pub(crate) fn prepare(&self, sql: &str) -> Result<Statement> {
        Statement::new(self.clone(), sql)
    }
}
