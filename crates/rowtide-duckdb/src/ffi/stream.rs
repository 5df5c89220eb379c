//! Reading rows as Arrow, chunk by chunk, while DuckDB finds them: a result is never held whole.

use std::ptr;

use arrow_array::StructArray;
use arrow_array::ffi::{FFI_ArrowArray, from_ffi_and_data_type};
use arrow_schema::DataType;
use arrow_schema::ffi::FFI_ArrowSchema;
use libduckdb_sys as sys;

use super::failure::text_at;
use super::statement::{Rows, Statement};
use super::{Failure, Result};

/// The rows of a statement that is still running. Nothing else may run on its connection before
/// it is dropped.
pub(crate) struct Stream {
    options: Options,
    /// A struct of the columns.
    row: DataType,
    rows: Rows,
    _statement: Statement,
}

// SAFETY: a stream is used by one thread at a time (its methods take `&mut self`).
unsafe impl Send for Stream {}

impl Stream {
    pub(super) fn new(mut statement: Statement) -> Result<Self> {
        let mut rows = statement.begin()?;
        // SAFETY: the result is live; the options are ours to destroy, which drop does.
        let options = Options(unsafe { sys::duckdb_result_get_arrow_options(rows.raw()) });
        let row = describe(&mut rows, &options)?;
        Ok(Self { options, row, rows, _statement: statement })
    }

    /// The next rows, at most one DuckDB vector of them; `None` at the end.
    pub(crate) fn next(&mut self) -> Result<Option<StructArray>> {
        // SAFETY: the result is live; a returned chunk is ours to destroy.
        let mut chunk = unsafe { sys::duckdb_fetch_chunk(*self.rows.raw()) };
        if chunk.is_null() {
            return self.rows.check().map(|()| None);
        }
        let mut array = FFI_ArrowArray::empty();
        // SAFETY: options and chunk are live, and the chunk is destroyed once; DuckDB copies out of
        // it into an array of its own, which releases itself, and whose layout is that of the
        // Arrow C Data Interface and of the schema it gave for the same result.
        let data = unsafe {
            let out = (&raw mut array).cast();
            let made = Failure::check(sys::duckdb_data_chunk_to_arrow(self.options.0, chunk, out));
            sys::duckdb_destroy_data_chunk(&raw mut chunk);
            made?;
            from_ffi_and_data_type(array, self.row.clone())
        };
        let data = data.map_err(|_| Failure::invalid("a chunk that is no Arrow array"))?;
        Ok(Some(StructArray::from(data)))
    }
}

/// How DuckDB shows the columns of `rows` as Arrow.
fn describe(rows: &mut Rows, options: &Options) -> Result<DataType> {
    let raw = rows.raw();
    let mut schema = FFI_ArrowSchema::empty();
    // SAFETY: the result is live, and owns the names; the types are ours, and destroyed once. The
    // schema has the layout of the Arrow C Data Interface, and releases itself.
    unsafe {
        let columns = 0..sys::duckdb_column_count(raw);
        let names = columns.clone().map(|at| sys::duckdb_column_name(raw, at));
        let mut names: Vec<_> = names.collect();
        let types = columns.clone().map(|at| sys::duckdb_column_logical_type(raw, at));
        let mut types: Vec<_> = types.collect();
        let made = Failure::check(sys::duckdb_to_arrow_schema(
            options.0,
            types.as_mut_ptr(),
            names.as_mut_ptr(),
            columns.end,
            (&raw mut schema).cast(),
        ));
        types.iter_mut().for_each(|kind| sys::duckdb_destroy_logical_type(kind));
        made?;
    }
    DataType::try_from(&schema).map_err(|_| Failure::invalid("columns that have no Arrow type"))
}

/// How values are to be shown as Arrow.
struct Options(sys::duckdb_arrow_options);

impl Drop for Options {
    fn drop(&mut self) {
        // SAFETY: the handle is live, and not used again.
        unsafe { sys::duckdb_destroy_arrow_options(&raw mut self.0) }
    }
}

impl Statement {
    /// Runs it without parameters; its rows come while it runs.
    pub(crate) fn stream(self) -> Result<Stream> {
        Stream::new(self)
    }

    fn begin(&mut self) -> Result<Rows> {
        let raw = self.raw();
        // SAFETY: the statement is live, and the result pointer valid for the call.
        super::statement::run(|result| unsafe {
            sys::duckdb_execute_prepared_streaming(raw, result)
        })
    }
}

impl Rows {
    /// What went wrong while rows were fetched.
    fn check(&mut self) -> Result<()> {
        // SAFETY: the result is live; the text is copied.
        unsafe {
            let text = sys::duckdb_result_error(self.raw());
            if ptr::eq(text, ptr::null()) || *text == 0 {
                return Ok(());
            }
            let kind = sys::duckdb_result_error_type(self.raw());
            Err(Failure::from_parts(kind, text_at(text)))
        }
    }
}
