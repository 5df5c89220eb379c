//! Prepared statements and their results.

use std::mem::MaybeUninit;
use std::ptr;

use libduckdb_sys as sys;

use super::failure::text_at;
use super::{Connection, Failure, Result, c_string};

/// A parameter's value.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Value<'a> {
    Null,
    Int(i64),
    Text(&'a str),
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(text)
    }
}

impl<'a> From<Option<&'a str>> for Value<'a> {
    fn from(text: Option<&'a str>) -> Self {
        text.map_or(Self::Null, Self::Text)
    }
}

impl From<i64> for Value<'_> {
    fn from(number: i64) -> Self {
        Self::Int(number)
    }
}

/// One value of a result. Statements here select only BIGINT and VARCHAR columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Cell {
    Null,
    Int(i64),
    Text(String),
}

impl Cell {
    /// The text, if it is one.
    pub(crate) fn text(&self) -> Option<&str> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }

    /// The number, if it is one.
    pub(crate) fn int(&self) -> Option<i64> {
        if let Self::Int(number) = self { Some(*number) } else { None }
    }
}

/// A prepared statement, which keeps its connection open.
pub(crate) struct Statement {
    raw: sys::duckdb_prepared_statement,
    _connection: Connection,
}

// SAFETY: a statement is used by one thread at a time (its methods take `&mut self`).
unsafe impl Send for Statement {}

impl Statement {
    pub(super) fn new(connection: Connection, sql: &str) -> Result<Self> {
        let sql = c_string(sql)?;
        let mut raw = ptr::null_mut();
        // SAFETY: the connection is live; DuckDB sets the out pointer even when it fails, so that
        // the error can be read before the statement is destroyed by drop.
        unsafe {
            let state = sys::duckdb_prepare(connection.raw(), sql.as_ptr(), &raw mut raw);
            let statement = Self { raw, _connection: connection };
            if state == sys::DuckDBSuccess {
                return Ok(statement);
            }
            Err(Failure::from_text(text_at(sys::duckdb_prepare_error(statement.raw))))
        }
    }

    /// Runs it; returns how many rows it changed.
    pub(crate) fn execute(&mut self, values: &[Value<'_>]) -> Result<u64> {
        self.run(values).map(|mut result| result.rows_changed())
    }

    /// Runs it; returns all of its rows.
    pub(crate) fn query(&mut self, values: &[Value<'_>]) -> Result<Vec<Vec<Cell>>> {
        self.run(values)?.rows()
    }

    pub(super) fn raw(&self) -> sys::duckdb_prepared_statement {
        self.raw
    }

    fn run(&mut self, values: &[Value<'_>]) -> Result<Rows> {
        for (index, value) in (1_u64..).zip(values) {
            // SAFETY: the statement is live; DuckDB copies the bound text.
            let state = unsafe {
                match *value {
                    Value::Null => sys::duckdb_bind_null(self.raw, index),
                    Value::Int(number) => sys::duckdb_bind_int64(self.raw, index, number),
                    Value::Text(text) => sys::duckdb_bind_varchar_length(
                        self.raw,
                        index,
                        text.as_ptr().cast(),
                        text.len() as u64,
                    ),
                }
            };
            if state != sys::DuckDBSuccess {
                return Err(Failure::invalid("a parameter was not accepted"));
            }
        }
        // SAFETY: the statement is live, and the result pointer valid for the call.
        run(|result| unsafe { sys::duckdb_execute_prepared(self.raw, result) })
    }
}

impl Drop for Statement {
    fn drop(&mut self) {
        // SAFETY: the handle is live, and not used again; the connection outlives it.
        unsafe { sys::duckdb_destroy_prepare(&raw mut self.raw) }
    }
}

/// Calls `execute` with a place for the result.
pub(super) fn run(
    execute: impl FnOnce(*mut sys::duckdb_result) -> sys::duckdb_state,
) -> Result<Rows> {
    let mut result = MaybeUninit::<sys::duckdb_result>::zeroed();
    let state = execute(result.as_mut_ptr());
    // SAFETY: DuckDB fills the result even when it fails, and all zeroes is a valid one.
    let mut rows = Rows(unsafe { result.assume_init() });
    if state == sys::DuckDBSuccess {
        return Ok(rows);
    }
    // SAFETY: the result is live until `rows` drops; the text is copied before that.
    unsafe {
        let kind = sys::duckdb_result_error_type(&raw mut rows.0);
        Err(Failure::from_parts(kind, text_at(sys::duckdb_result_error(&raw mut rows.0))))
    }
}

/// A result, to be read once.
pub(super) struct Rows(sys::duckdb_result);

impl Rows {
    pub(super) fn raw(&mut self) -> *mut sys::duckdb_result {
        &raw mut self.0
    }

    pub(super) fn rows_changed(&mut self) -> u64 {
        // SAFETY: the result is live.
        unsafe { sys::duckdb_rows_changed(&raw mut self.0) }
    }

    fn rows(self) -> Result<Vec<Vec<Cell>>> {
        let mut rows = Vec::new();
        loop {
            // SAFETY: the result is live; a returned chunk is ours to destroy.
            let mut chunk = unsafe { sys::duckdb_fetch_chunk(self.0) };
            if chunk.is_null() {
                return Ok(rows);
            }
            // SAFETY: the chunk is live until destroyed, once, in the last line.
            unsafe {
                let read = read_chunk(chunk, &mut rows);
                sys::duckdb_destroy_data_chunk(&raw mut chunk);
                read?;
            }
        }
    }
}

impl Drop for Rows {
    fn drop(&mut self) {
        // SAFETY: the result is live, and not used again.
        unsafe { sys::duckdb_destroy_result(&raw mut self.0) }
    }
}

/// Appends the rows of `chunk` to `rows`.
///
/// # Safety
/// `chunk` is live.
unsafe fn read_chunk(chunk: sys::duckdb_data_chunk, rows: &mut Vec<Vec<Cell>>) -> Result<()> {
    // SAFETY: the chunk is live, and indices stay below the counts it gives.
    unsafe {
        let columns = sys::duckdb_data_chunk_get_column_count(chunk);
        for row in 0..sys::duckdb_data_chunk_get_size(chunk) {
            let cells = (0..columns)
                .map(|column| read_cell(sys::duckdb_data_chunk_get_vector(chunk, column), row));
            rows.push(cells.collect::<Result<_>>()?);
        }
    }
    Ok(())
}

/// Reads one value.
///
/// # Safety
/// `vector` is live and flat, and `row` lies inside of it.
unsafe fn read_cell(vector: sys::duckdb_vector, row: u64) -> Result<Cell> {
    // SAFETY: the vector is live; its data pointer is cast to what its type says it holds.
    unsafe {
        let validity = sys::duckdb_vector_get_validity(vector);
        if !validity.is_null() && !sys::duckdb_validity_row_is_valid(validity, row) {
            return Ok(Cell::Null);
        }
        let mut logical = sys::duckdb_vector_get_column_type(vector);
        let kind = sys::duckdb_get_type_id(logical);
        sys::duckdb_destroy_logical_type(&raw mut logical);
        let data = sys::duckdb_vector_get_data(vector);
        let at = usize::try_from(row).map_err(|_| Failure::invalid("a row number too large"))?;
        match kind {
            sys::DUCKDB_TYPE_DUCKDB_TYPE_BIGINT => Ok(Cell::Int(*data.cast::<i64>().add(at))),
            sys::DUCKDB_TYPE_DUCKDB_TYPE_VARCHAR => {
                let string = data.cast::<sys::duckdb_string_t>().add(at);
                let len = sys::duckdb_string_t_length(*string) as usize;
                let bytes = sys::duckdb_string_t_data(string).cast::<u8>();
                let bytes = std::slice::from_raw_parts(bytes, len);
                Ok(Cell::Text(String::from_utf8_lossy(bytes).into_owned()))
            }
            _ => Err(Failure::invalid("a result column that is neither BIGINT nor VARCHAR")),
        }
    }
}
