//! DuckDB's data chunks made of Arrow's buffers, by reference.

use std::ptr;

use arrow_array::{Array, RecordBatch, StructArray};
use arrow_data::ArrayData;
use arrow_data::ffi::FFI_ArrowArray;
use arrow_schema::Schema;
use arrow_schema::ffi::FFI_ArrowSchema;
use libduckdb_sys as sys;

use super::{Connection, Failure, Result};
use crate::types::known_here;

/// A data chunk made of Arrow's buffers, and what keeps them alive.
pub(super) struct Chunk {
    raw: sys::duckdb_data_chunk,
    _rows: ArrayData,
}

// SAFETY: a chunk is used by one thread at a time (it is reached through `&mut` or a lock).
unsafe impl Send for Chunk {}

impl Chunk {
    pub(super) fn new(
        connection: &Connection,
        converted: &Converted,
        rows: &RecordBatch,
    ) -> Result<Self> {
        let data = StructArray::from(rows.clone()).into_data();
        let mut array = FFI_ArrowArray::new(&data);
        let mut raw = ptr::null_mut();
        // SAFETY: the array has the layout of the Arrow C Data Interface. DuckDB takes it over by
        // clearing its release callback; if it does not get that far, `array` releases itself on
        // drop. The buffers live as long as the chunk.
        unsafe {
            Failure::check(sys::duckdb_data_chunk_from_arrow(
                connection.raw(),
                (&raw mut array).cast(),
                converted.0,
                &raw mut raw,
            ))?;
        }
        Ok(Self { raw, _rows: data })
    }

    pub(super) fn column_type(&self, at: u64) -> LogicalType {
        // SAFETY: the chunk is live and has that column; the type returned is ours to destroy.
        unsafe {
            LogicalType(sys::duckdb_vector_get_column_type(sys::duckdb_data_chunk_get_vector(
                self.raw, at,
            )))
        }
    }

    /// Makes `output`, of the same `columns`, refer to these rows.
    pub(super) fn lend(&self, output: sys::duckdb_data_chunk, columns: u64) {
        // SAFETY: both chunks are live and have these columns, of the same types.
        unsafe {
            for at in 0..columns {
                sys::duckdb_vector_reference_vector(
                    sys::duckdb_data_chunk_get_vector(output, at),
                    sys::duckdb_data_chunk_get_vector(self.raw, at),
                );
            }
            sys::duckdb_data_chunk_set_size(output, sys::duckdb_data_chunk_get_size(self.raw));
        }
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        // SAFETY: the handle is live, and not used again.
        unsafe { sys::duckdb_destroy_data_chunk(&raw mut self.raw) }
    }
}

pub(super) struct LogicalType(sys::duckdb_logical_type);

// SAFETY: a type is not changed once made.
unsafe impl Send for LogicalType {}
// SAFETY: as above.
unsafe impl Sync for LogicalType {}

impl LogicalType {
    pub(super) fn raw(&self) -> sys::duckdb_logical_type {
        self.0
    }
}

impl Drop for LogicalType {
    fn drop(&mut self) {
        // SAFETY: the handle is live, and not used again.
        unsafe { sys::duckdb_destroy_logical_type(&raw mut self.0) }
    }
}

/// An Arrow schema as DuckDB understood it.
#[derive(Debug)]
pub(super) struct Converted(sys::duckdb_arrow_converted_schema);

// SAFETY: it is not changed once made.
unsafe impl Send for Converted {}
// SAFETY: as above.
unsafe impl Sync for Converted {}

impl Converted {
    pub(super) fn new(connection: &Connection, schema: &Schema) -> Result<Self> {
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
