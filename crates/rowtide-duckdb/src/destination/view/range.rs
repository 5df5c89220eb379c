//! A range of keys as a condition that DuckDB understands. It compares text by its bytes.

use arrow_schema::DataType;
use rowtide_core::Result;
use rowtide_core::view::ViewRequest;

use super::relation::own_line;
use crate::quote::Ident;
use crate::types::column_type;

/// What rows are to fulfil, in the source's names: the condition and the range of `request`.
pub(super) fn with(request: &ViewRequest) -> Result<Option<String>> {
    let table = &request.plan.source;
    let Some(range) = &request.range else { return Ok(request.condition.clone()) };
    let fields: Vec<_> = table.key.iter().map(|&at| &table.columns[at].field).collect();
    let kinds = fields.iter().map(|field| column_type(field)).collect::<Result<Vec<_>>>()?;
    let literal = |at: usize, value: &str| match (fields[at].data_type(), value.strip_prefix("\\x"))
    {
        (DataType::Binary, Some(digits)) => format!("from_hex('{digits}')"),
        _ => format!("CAST('{}' AS {})", value.replace('\'', "''"), kinds[at]),
    };
    let range = range.condition(|at| Ident(fields[at].name()).to_string(), literal);
    Ok(Some(match &request.condition {
        Some(condition) => format!("{} AND {range}", own_line(condition)),
        None => range,
    }))
}
