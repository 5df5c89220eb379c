//! Databases and connections.

use std::ffi::c_char;
use std::path::Path;
use std::ptr;
use std::sync::Arc;

use libduckdb_sys as sys;

use super::failure::text_at;
use super::{Cell, Failure, Result, Statement, Value, c_string};

/// An open database file. It is closed with the last value that uses it.
pub(crate) struct Database {
    raw: sys::duckdb_database,
    on_close: Option<Box<dyn FnOnce() + Send + Sync>>,
}

// SAFETY: DuckDB's database handle may be used from any thread, and by several at once.
unsafe impl Send for Database {}
// SAFETY: as above.
unsafe impl Sync for Database {}

impl Database {
    /// Opens the file at `path`, creating it unless `settings` say `access_mode = read_only`.
    pub(crate) fn open(path: &Path, settings: &[(&str, String)]) -> Result<Self> {
        let path = path.to_str().ok_or_else(|| Failure::invalid("a path that is not UTF-8"))?;
        let path = c_string(path)?;
        let config = Config::new(settings)?;
        let mut database = ptr::null_mut();
        let mut error: *mut c_char = ptr::null_mut();
        // SAFETY: all pointers are valid for the call; `error` is an allocation of DuckDB's that
        // is copied and then freed once. On failure DuckDB leaves no database behind.
        unsafe {
            let state =
                sys::duckdb_open_ext(path.as_ptr(), &raw mut database, config.0, &raw mut error);
            if state == sys::DuckDBSuccess {
                return Ok(Self { raw: database, on_close: None });
            }
            let text = text_at(error);
            if !error.is_null() {
                sys::duckdb_free(error.cast());
            }
            Err(Failure::from_text(text))
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

/// One connection: a session with at most one open transaction. When the last value that uses
/// it goes, its open transaction is rolled back.
#[derive(Clone)]
pub(crate) struct Connection(Arc<Session>);

struct Session {
    raw: sys::duckdb_connection,
    _database: Arc<Database>,
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
        Ok(Self(Arc::new(Session { raw, _database: Arc::clone(database) })))
    }

    pub(super) fn raw(&self) -> sys::duckdb_connection {
        self.0.raw
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

    /// Runs one statement with `values` for its parameters, and returns all of its rows.
    pub(crate) fn query(&self, sql: &str, values: &[Value<'_>]) -> Result<Vec<Vec<Cell>>> {
        self.prepare(sql)?.query(values)
    }

    /// Prepares one statement.
    pub(crate) fn prepare(&self, sql: &str) -> Result<Statement> {
        Statement::new(self.clone(), sql)
    }
}
