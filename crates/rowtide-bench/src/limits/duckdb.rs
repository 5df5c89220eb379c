//! DuckDB by its C API, as any program could use it: the limit must not be measured through the
//! code that is compared with it.

#![allow(unsafe_code, reason = "DuckDB is a C library; every call of this program is here")]

use std::ffi::{CStr, CString, c_char};
use std::path::Path;
use std::ptr;
use std::sync::Arc;

use arrow_array::ffi::{FFI_ArrowArray, FFI_ArrowSchema, from_ffi};
use arrow_array::ffi_stream::FFI_ArrowArrayStream;
use arrow_array::{RecordBatch, RecordBatchIterator, StructArray};
use arrow_schema::{DataType, Schema, SchemaRef};
use libduckdb_sys as sys;
use rowtide_testkit::Result;

/// The version of the library.
pub(crate) fn version() -> String {
    // SAFETY: the library returns a text of its own that lives as long as it does.
    text(unsafe { sys::duckdb_library_version() })
}

/// An open file with one connection; closed on drop, which folds the log into the file.
pub(crate) struct Duckdb {
    database: sys::duckdb_database,
    connection: sys::duckdb_connection,
}

impl Duckdb {
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let name = c_string(&path.display().to_string())?;
        let mut opened = Self { database: ptr::null_mut(), connection: ptr::null_mut() };
        // SAFETY: all pointers are valid for the calls; what was opened is closed on drop.
        let state = unsafe {
            match sys::duckdb_open(name.as_ptr(), &raw mut opened.database) {
                sys::DuckDBSuccess => {
                    sys::duckdb_connect(opened.database, &raw mut opened.connection)
                }
                state => state,
            }
        };
        match state {
            sys::DuckDBSuccess => Ok(opened),
            _ => Err(format!("DuckDB cannot open {}", path.display())),
        }
    }

    /// Runs `sql`, which may be several statements.
    pub(crate) fn execute(&self, sql: &str) -> Result<()> {
        self.query(sql).map(drop)
    }

    fn query(&self, sql: &str) -> Result<Answer> {
        let text_of_sql = c_string(sql)?;
        // SAFETY: a result is plain data, for which zeroes are valid.
        let mut answer = Answer(unsafe { std::mem::zeroed() });
        // SAFETY: the connection is live; the result is destroyed on drop whatever the state.
        let state =
            unsafe { sys::duckdb_query(self.connection, text_of_sql.as_ptr(), &raw mut answer.0) };
        match state {
            sys::DuckDBSuccess => Ok(answer),
            // SAFETY: the result is live, and its error a text that lives as long.
            _ => Err(format!("{sql}: {}", unsafe {
                text(sys::duckdb_result_error(&raw mut answer.0))
            })),
        }
    }

    /// All rows of a query, in the pieces that DuckDB gives (about 2,000 rows each).
    pub(crate) fn rows(&self, sql: &str) -> Result<(SchemaRef, Vec<RecordBatch>)> {
        let mut answer = self.query(sql)?;
        let exported = answer.schema()?;
        let schema = Arc::new(Schema::try_from(&exported).map_err(|e| format!("{sql}: {e}"))?);
        let mut pieces = Vec::new();
        while let Some(array) = answer.next()? {
            // SAFETY: DuckDB filled the array by the schema it gave for this result.
            let data = unsafe { from_ffi(array, &exported) }.map_err(|e| e.to_string())?;
            let whole = DataType::Struct(schema.fields().clone());
            let data = data.into_builder().data_type(whole).build().map_err(|e| e.to_string())?;
            let batch = RecordBatch::from(StructArray::from(data));
            pieces.push(batch.with_schema(Arc::clone(&schema)).map_err(|e| e.to_string())?);
        }
        Ok((schema, pieces))
    }

    /// Runs `sql` while `view` is a view of `batches`.
    pub(crate) fn with_arrow(
        &self,
        view: &str,
        schema: &SchemaRef,
        batches: Vec<RecordBatch>,
        sql: &str,
    ) -> Result<()> {
        let batches = batches.into_iter().map(Ok);
        let reader = RecordBatchIterator::new(batches, Arc::clone(schema));
        let mut stream = FFI_ArrowArrayStream::new(Box::new(reader));
        let name = c_string(view)?;
        // SAFETY: the connection is live, and the stream has the layout of the Arrow C stream
        // interface; it outlives the view, which is dropped below.
        let state = unsafe {
            sys::duckdb_arrow_scan(self.connection, name.as_ptr(), (&raw mut stream).cast())
        };
        if state != sys::DuckDBSuccess {
            return Err("DuckDB does not take the Arrow stream".to_owned());
        }
        let done = self.execute(sql);
        self.execute(&format!("DROP VIEW {view}"))?;
        done
    }
}

impl Drop for Duckdb {
    fn drop(&mut self) {
        // SAFETY: the handles are live or null, both of which DuckDB accepts, and not used again.
        unsafe {
            sys::duckdb_disconnect(&raw mut self.connection);
            sys::duckdb_close(&raw mut self.database);
        }
    }
}

/// The result of a query.
struct Answer(sys::duckdb_result);

impl Answer {
    fn schema(&mut self) -> Result<FFI_ArrowSchema> {
        let mut exported = FFI_ArrowSchema::empty();
        // SAFETY: the result is live; types and names are given as many as there are columns, and
        // the types are destroyed here, once. DuckDB fills the schema, which releases itself.
        unsafe {
            let count = sys::duckdb_column_count(&raw mut self.0);
            let mut types: Vec<_> =
                (0..count).map(|at| sys::duckdb_column_logical_type(&raw mut self.0, at)).collect();
            let mut names: Vec<_> =
                (0..count).map(|at| sys::duckdb_column_name(&raw mut self.0, at)).collect();
            let mut options = sys::duckdb_result_get_arrow_options(&raw mut self.0);
            let error = sys::duckdb_to_arrow_schema(
                options,
                types.as_mut_ptr(),
                names.as_mut_ptr(),
                count,
                (&raw mut exported).cast(),
            );
            sys::duckdb_destroy_arrow_options(&raw mut options);
            types.iter_mut().for_each(|kind| sys::duckdb_destroy_logical_type(kind));
            check(error)?;
        }
        Ok(exported)
    }

    fn next(&mut self) -> Result<Option<FFI_ArrowArray>> {
        let mut array = FFI_ArrowArray::empty();
        // SAFETY: the result is live; the chunk is destroyed here, once, after its rows were
        // copied into the array, which releases itself.
        unsafe {
            let mut chunk = sys::duckdb_fetch_chunk(self.0);
            if chunk.is_null() {
                return Ok(None);
            }
            let mut options = sys::duckdb_result_get_arrow_options(&raw mut self.0);
            let error = sys::duckdb_data_chunk_to_arrow(options, chunk, (&raw mut array).cast());
            sys::duckdb_destroy_arrow_options(&raw mut options);
            sys::duckdb_destroy_data_chunk(&raw mut chunk);
            check(error)?;
        }
        Ok(Some(array))
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        // SAFETY: the result is live, and not used again.
        unsafe { sys::duckdb_destroy_result(&raw mut self.0) }
    }
}

/// Takes over what a call returned as its error, if it is one.
///
/// # Safety
/// `error` must be live or null, and must not be used again.
unsafe fn check(mut error: sys::duckdb_error_data) -> Result<()> {
    // SAFETY: as the caller promises; DuckDB takes null for no error.
    unsafe {
        let failed = !error.is_null() && sys::duckdb_error_data_has_error(error);
        let said = failed.then(|| text(sys::duckdb_error_data_message(error)));
        sys::duckdb_destroy_error_data(&raw mut error);
        said.map_or(Ok(()), Err)
    }
}

fn text(given: *const c_char) -> String {
    if given.is_null() {
        return String::new();
    }
    // SAFETY: not null, and DuckDB's texts end with a NUL.
    unsafe { CStr::from_ptr(given) }.to_string_lossy().into_owned()
}

fn c_string(text: &str) -> Result<CString> {
    CString::new(text).map_err(|e| e.to_string())
}
