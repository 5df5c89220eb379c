//! Rows as DuckDB gives them in Arrow, made into rows of the source's Arrow types. The values are
//! the same; some types come under other names.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int8Type, TimestampMicrosecondType};
use arrow_array::{
    Array, ArrayRef, BooleanArray, ListArray, RecordBatch, RecordBatchOptions, StructArray,
};
use arrow_schema::{DataType, Field, SchemaRef, TimeUnit};
use rowtide_core::{Error, Result};

/// `rows` with the columns of `schema`.
pub(super) fn rows(rows: &StructArray, schema: &SchemaRef) -> Result<RecordBatch> {
    // A table may have no columns; the rows were selected with one then.
    let columns = schema.fields().iter().zip(rows.columns());
    let columns = columns.map(|(field, column)| adopted(column, field));
    let count = RecordBatchOptions::new().with_row_count(Some(rows.len()));
    let columns = columns.collect::<Result<_>>()?;
    Ok(RecordBatch::try_new_with_options(Arc::clone(schema), columns, &count)?)
}

fn adopted(array: &ArrayRef, field: &Field) -> Result<ArrayRef> {
    use DataType::{Boolean, Int8, List, Struct, Timestamp};
    let micros = TimeUnit::Microsecond;
    Ok(match (array.data_type(), field.data_type()) {
        // One byte each.
        (Int8, Boolean) => {
            let bytes = array.as_primitive::<Int8Type>();
            Arc::new(BooleanArray::from_unary(bytes, |byte| byte != 0))
        }
        // The zone is the session's, and changes nothing.
        (Timestamp(unit, Some(_)), Timestamp(_, Some(zone))) if *unit == micros => {
            let instants = array.as_primitive::<TimestampMicrosecondType>();
            Arc::new(instants.clone().with_timezone(Arc::clone(zone)))
        }
        (List(_), List(item)) => {
            let list: &ListArray = array.as_list();
            let (offsets, nulls) = (list.offsets().clone(), list.nulls().cloned());
            let items = adopted(list.values(), item)?;
            Arc::new(ListArray::try_new(Arc::clone(item), offsets, items, nulls)?)
        }
        (Struct(_), Struct(fields)) => {
            let parts = array.as_struct();
            let columns = fields.iter().zip(parts.columns());
            let columns = columns.map(|(field, column)| adopted(column, field));
            let columns = columns.collect::<Result<_>>()?;
            Arc::new(StructArray::try_new(fields.clone(), columns, parts.nulls().cloned())?)
        }
        (given, wanted) if given == wanted => Arc::clone(array),
        (given, wanted) => {
            return Err(Error::internal(format!(
                "column {:?}: DuckDB gives {given} where {wanted} is expected",
                field.name()
            )));
        }
    })
}
