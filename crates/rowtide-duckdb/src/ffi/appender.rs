//! Feeding rows from Arrow.
//!
//! Record batches are handed over in slices of at most one DuckDB vector, by reference: DuckDB
//! copies out of Arrow's buffers into its own storage when it appends a chunk.

use std::ptr;

use arrow_array::{Array, RecordBatch, StructArray};
use arrow_data::ffi::FFI_ArrowArray;
use arrow_schema::Schema;
use arrow_schema::ffi::FFI_ArrowSchema;
use libduckdb_sys as sys;

use super::{Connection, Failure, Result, c_string};
use crate::types::known_here;

/// The rows a chunk may have.
const CHUNK_ROWS: usize = 2048;

/// Appends record batches of one schema to a table. What was not flushed is lost on drop.
pub(crate) struct Appender {
    raw: sys::duckdb_appender,
    converted: Converted,
    connection: Connection,
}

// SAFETY: an appender is used by one thread at a time (its methods take `&mut self`).
unsafe impl Send for Appender {}

impl Appender {
    /// Appends to the table `table` (catalog, schema, name): `schema`'s columns by name, or, if
    /// `positional`, by position to all columns of the table.
    pub(crate) fn new(
        connection: &Connection,
        table: [&str; 3],
        schema: &Schema,
        positional: bool,
    ) -> Result<Self> {
        let [catalog, namespace, name] = table.map(c_string);
        let (catalog, namespace, name) = (catalog?, namespace?, name?);
        let converted = Converted::new(connection, schema)?;
        let mut raw = ptr::null_mut();
        // SAFETY: the connection is live and all pointers valid for the call. DuckDB sets the out
        // pointer even when it fails, to carry the error; drop destroys it.
        let state = unsafe {
            sys::duckdb_appender_create_ext(
                connection.raw(),
                catalog.as_ptr(),
                namespace.as_ptr(),
                name.as_ptr(),
                &raw mut raw,
            )
        };
        let mut appender = Self { raw, converted, connection: connection.clone() };
        appender.check(state)?;
        for field in schema.fields().iter().filter(|_| !positional) {
            let column = c_string(field.name())?;
            // SAFETY: the appender is live, and DuckDB copies the name.
            let state = unsafe { sys::duckdb_appender_add_column(appender.raw, column.as_ptr()) };
            appender.check(state)?;
        }
        Ok(appender)
    }

    /// Adds all rows of `batch`, whose columns are those of the schema given at the start.
    pub(crate) fn append(&mut self, batch: &RecordBatch) -> Result<()> {
        let mut start = 0;
        while start < batch.num_rows() {
            let rows = CHUNK_ROWS.min(batch.num_rows() - start);
            self.append_chunk(&batch.slice(start, rows))?;
            start += rows;
        }
        Ok(())
    }

    fn append_chunk(&mut self, slice: &RecordBatch) -> Result<()> {
        let data = StructArray::from(slice.clone()).into_data();
        let mut array = FFI_ArrowArray::new(&data);
        let mut chunk = ptr::null_mut();
        // SAFETY: both structs have the layout of the Arrow C Data Interface. DuckDB takes the
        // array over by clearing its release callback; if it does not get that far, `array`
        // releases itself on drop. `data` outlives the chunk, which is destroyed here, once.
        unsafe {
            Failure::check(sys::duckdb_data_chunk_from_arrow(
                self.connection.raw(),
                (&raw mut array).cast(),
                self.converted.0,
                &raw mut chunk,
            ))?;
            let state = sys::duckdb_append_data_chunk(self.raw, chunk);
            sys::duckdb_destroy_data_chunk(&raw mut chunk);
            self.check(state)
        }
    }

    /// Hands everything appended so far to the table, inside the connection's transaction.
    pub(crate) fn flush(&mut self) -> Result<()> {
        // SAFETY: the appender is live.
        let state = unsafe { sys::duckdb_appender_flush(self.raw) };
        self.check(state)
    }

    fn check(&mut self, state: sys::duckdb_state) -> Result<()> {
        if state == sys::DuckDBSuccess {
            return Ok(());
        }
        // SAFETY: the appender is live or null, both of which DuckDB accepts here; the error data
        // is taken over.
        unsafe { Failure::check(sys::duckdb_appender_error_data(self.raw))? };
        Err(Failure::invalid("an appender failed without saying why"))
    }
}

impl Drop for Appender {
    fn drop(&mut self) {
        // SAFETY: the handle is live, and not used again; the connection outlives it. Rows that
        // were not flushed are cleared first, as destroying would flush them.
        unsafe {
            sys::duckdb_appender_clear(self.raw);
            sys::duckdb_appender_destroy(&raw mut self.raw);
        }
    }
}

/// An Arrow schema as DuckDB understood it.
#[derive(Debug)]
struct Converted(sys::duckdb_arrow_converted_schema);

impl Converted {
    fn new(connection: &Connection, schema: &Schema) -> Result<Self> {
        let mut exported = FFI_ArrowSchema::try_from(&known_here(schema))
            .map_err(|_| Failure::invalid("a schema that cannot be exported"))?;
        let mut converted = ptr::null_mut();
        // SAFETY: the struct has the layout of the Arrow C Data Interface and stays ours: it
        // releases itself on drop. DuckDB reads it during the call only.
        unsafe {
            Failure::check(sys::duckdb_schema_from_arrow(
                connection.raw(),
                (&raw mut exported).cast(),
                &raw mut converted,
            ))?;
        }
        Ok(Self(converted))
    }
}

impl Drop for Converted {
    fn drop(&mut self) {
        // SAFETY: the handle is live, and not used again.
        unsafe { sys::duckdb_destroy_arrow_converted_schema(&raw mut self.0) }
    }
}
