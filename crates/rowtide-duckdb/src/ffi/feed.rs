//! Record batches as a table that SQL reads from: `INSERT INTO … FROM rowtide_feed(7)`.
//!
//! A feed is bound once, so that a statement which reads it can stay prepared while the rows of each
//! execution are others. Rows are handed to DuckDB's operators by reference, a vector at a time:
//! nothing is stored in between, as an appender or a temporary table would.

use std::collections::HashMap;
use std::ffi::{CString, c_void};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use arrow_array::RecordBatch;
use arrow_schema::Schema;
use libduckdb_sys as sys;

use super::chunk::{Chunk, Converted, LogicalType};
use super::{Connection, Failure, Result, c_string};

/// The rows of a vector.
const VECTOR_ROWS: usize = 2048;

/// How many rows the planner is told to expect: fewer than the tables have that they are joined to.
const EXPECTED_ROWS: u64 = 1000;

/// The rows of one execution. An error ends it.
pub(crate) type Rows = Box<dyn Iterator<Item = Result<RecordBatch>> + Send>;

/// A table of rows with one schema, read by the statements of one connection.
pub(crate) struct Feed {
    number: i64,
    shared: Arc<Shared>,
}

impl Feed {
    /// A feed of rows with `schema`, whose columns are called as there.
    pub(crate) fn new(connection: &Connection, schema: &Schema) -> Result<Self> {
        let shared = Arc::new(Shared::new(connection, schema)?);
        let feeds = connection.feeds();
        let number = feeds.next.fetch_add(1, Ordering::Relaxed);
        feeds.open().insert(number, Arc::downgrade(&shared));
        Ok(Self { number, shared })
    }

    /// The feed as SQL names it.
    pub(crate) fn name(&self) -> String {
        format!("{FUNCTION}({})", self.number)
    }

    /// What the next execution of a statement that reads this will read.
    pub(crate) fn offer(&self, rows: Rows) {
        *self.shared.offered() = Some(rows);
    }

    /// Ends an execution that failed: lets go of rows that it did not begin to read, for whose
    /// end somebody may wait. Returns why the rows came to no good end, if that was the reason, of
    /// which the statement's own failure says nothing.
    pub(crate) fn end(&self) -> Option<Failure> {
        drop(self.shared.offered().take());
        self.shared.failure().take()
    }
}

/// The name of the table function.
const FUNCTION: &str = "rowtide_feed";

/// The feeds of a database by number.
#[derive(Default)]
pub(super) struct Feeds {
    next: AtomicI64,
    open: Mutex<HashMap<i64, Weak<Shared>>>,
}

impl Feeds {
    fn open(&self) -> MutexGuard<'_, HashMap<i64, Weak<Shared>>> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|_, feed| feed.strong_count() > 0);
        open
    }

    /// Makes the table function known to the database that `connection` is of.
    pub(super) fn register(self: &Arc<Self>, connection: sys::duckdb_connection) -> Result<()> {
        let name = c_string(FUNCTION)?;
        // SAFETY: the connection is live. DuckDB copies the name and the type, takes `extra` over
        // with the function that releases it, and keeps a copy of the function of its own.
        let state = unsafe {
            let mut function = sys::duckdb_create_table_function();
            let mut number = sys::duckdb_create_logical_type(sys::DUCKDB_TYPE_DUCKDB_TYPE_BIGINT);
            sys::duckdb_table_function_set_name(function, name.as_ptr());
            sys::duckdb_table_function_add_parameter(function, number);
            sys::duckdb_destroy_logical_type(&raw mut number);
            let extra = Box::into_raw(Box::new(Arc::clone(self))).cast();
            let release = Some(release::<Arc<Self>> as unsafe extern "C" fn(*mut c_void));
            sys::duckdb_table_function_set_extra_info(function, extra, release);
            sys::duckdb_table_function_set_bind(function, Some(bind));
            sys::duckdb_table_function_set_init(function, Some(init));
            sys::duckdb_table_function_set_function(function, Some(produce));
            let state = sys::duckdb_register_table_function(connection, function);
            sys::duckdb_destroy_table_function(&raw mut function);
            state
        };
        if state == sys::DuckDBSuccess {
            return Ok(());
        }
        Err(Failure::invalid("DuckDB did not take the function that reads rows"))
    }
}

/// What a feed and the statements that read it have in common.
struct Shared {
    connection: Connection,
    columns: Vec<(CString, LogicalType)>,
    converted: Converted,
    offered: Mutex<Option<Rows>>,
    /// Why the rows being read came to no good end.
    failure: Mutex<Option<Failure>>,
}

impl Shared {
    fn new(connection: &Connection, schema: &Schema) -> Result<Self> {
        let converted = Converted::new(connection, schema)?;
        let none =
            Chunk::new(connection, &converted, &RecordBatch::new_empty(Arc::new(schema.clone())))?;
        let columns = schema
            .fields()
            .iter()
            .enumerate()
            .map(|(at, field)| Ok((c_string(field.name())?, none.column_type(at as u64))));
        let columns = columns.collect::<Result<_>>()?;
        Ok(Self {
            connection: connection.clone(),
            columns,
            converted,
            offered: Mutex::default(),
            failure: Mutex::default(),
        })
    }

    fn offered(&self) -> MutexGuard<'_, Option<Rows>> {
        self.offered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failure(&self) -> MutexGuard<'_, Option<Failure>> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One execution: what it still has to read.
struct Reading {
    shared: Arc<Shared>,
    rows: Rows,
    batch: Option<(RecordBatch, usize)>,
    /// The chunk handed out last, which DuckDB uses until it asks for the next.
    lent: Option<Chunk>,
}

impl Reading {
    /// Puts the next vector of rows into `output`; leaves it empty at the end.
    fn fill(&mut self, output: sys::duckdb_data_chunk) -> Result<()> {
        self.lent = None;
        let Some(slice) = self.next_slice()? else { return Ok(()) };
        let chunk = Chunk::new(&self.shared.connection, &self.shared.converted, &slice)?;
        chunk.lend(output, self.shared.columns.len() as u64);
        self.lent = Some(chunk);
        Ok(())
    }

    fn next_slice(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            if let Some((batch, start)) = &mut self.batch {
                let rows = VECTOR_ROWS.min(batch.num_rows() - *start);
                if rows > 0 {
                    let slice = batch.slice(*start, rows);
                    *start += rows;
                    return Ok(Some(slice));
                }
            }
            match self.rows.next().transpose()? {
                Some(batch) => self.batch = Some((batch, 0)),
                None => return Ok(None),
            }
        }
    }
}

unsafe extern "C" fn bind(info: sys::duckdb_bind_info) {
    // SAFETY: DuckDB calls this with a live `info`, whose extra info is the one registered. It
    // copies names, types and texts, and takes the bind data over with what releases it.
    unsafe {
        let feeds = &*sys::duckdb_bind_get_extra_info(info).cast::<Arc<Feeds>>();
        let mut value = sys::duckdb_bind_get_parameter(info, 0);
        let number = sys::duckdb_get_int64(value);
        sys::duckdb_destroy_value(&raw mut value);
        let Some(shared) = feeds.open().get(&number).and_then(Weak::upgrade) else {
            return sys::duckdb_bind_set_error(info, c"no such feed".as_ptr());
        };
        for (name, kind) in &shared.columns {
            sys::duckdb_bind_add_result_column(info, name.as_ptr(), kind.raw());
        }
        sys::duckdb_bind_set_cardinality(info, EXPECTED_ROWS, false);
        let data = Box::into_raw(Box::new(Arc::downgrade(&shared))).cast();
        sys::duckdb_bind_set_bind_data(info, data, Some(release::<Weak<Shared>>));
    }
}

unsafe extern "C" fn init(info: sys::duckdb_init_info) {
    // SAFETY: as above; the bind data is what `bind` set.
    unsafe {
        let bound = &*sys::duckdb_init_get_bind_data(info).cast::<Weak<Shared>>();
        let shared = bound.upgrade();
        let Some((rows, shared)) =
            shared.and_then(|shared| Some((shared.offered().take()?, Arc::clone(&shared))))
        else {
            return sys::duckdb_init_set_error(info, c"a feed without rows".as_ptr());
        };
        let reading = Mutex::new(Reading { shared, rows, batch: None, lent: None });
        let data = Box::into_raw(Box::new(reading)).cast();
        sys::duckdb_init_set_init_data(info, data, Some(release::<Mutex<Reading>>));
        sys::duckdb_init_set_max_threads(info, 1);
    }
}

unsafe extern "C" fn produce(info: sys::duckdb_function_info, output: sys::duckdb_data_chunk) {
    // SAFETY: as above; the init data is what `init` set, and `output` is live during the call.
    unsafe {
        let reading = &*sys::duckdb_function_get_init_data(info).cast::<Mutex<Reading>>();
        let mut reading = reading.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(failure) = reading.fill(output) {
            *reading.shared.failure() = Some(failure);
            sys::duckdb_function_set_error(info, c"a feed broke off".as_ptr());
        }
    }
}

/// Releases what `Box::into_raw` gave to DuckDB.
unsafe extern "C" fn release<T>(data: *mut c_void) {
    // SAFETY: DuckDB calls this once for each pointer that it was given with this function.
    drop(unsafe { Box::from_raw(data.cast::<T>()) });
}
