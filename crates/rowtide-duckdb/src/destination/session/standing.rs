//! Tables as they stand: their columns, and appending to them.

use arrow_schema::Schema;
use rowtide_core::{Error, Result, TablePlan};

use crate::error::During;
use crate::ffi::Connection;
use crate::quote::{TableRef, fold, join};
use crate::types::column_type;

/// A column that stands, with its type as the catalog spells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::destination) struct Standing {
    pub(in crate::destination) name: String,
    pub(in crate::destination) kind: String,
}

/// The column among `standing` that DuckDB takes for `name`.
pub(in crate::destination) fn column_like<'a>(
    standing: &'a [Standing],
    name: &str,
) -> Option<&'a Standing> {
    standing.iter().find(|column| fold(&column.name) == fold(name))
}

/// Somebody dropped the target of `plan`, or a column of it.
pub(super) fn gone(plan: &TablePlan, column: &str, all: bool) -> Error {
    let target = &plan.target;
    let what = match all {
        true => format!("table {target} is gone from the destination"),
        false => format!("table {target}: the column {column:?} is gone"),
    };
    Error::data(what).with_hint("it was changed by hand: copy it again (resync)")
}

/// A column of `plan`'s target does not hold what is to be written to it.
pub(in crate::destination) fn misfit(
    plan: &TablePlan,
    column: &str,
    standing: &str,
    wanted: &str,
) -> Error {
    Error::data(format!(
        "table {}: column {column:?} is {standing}, which does not hold every value of {wanted}, \
         the type that table {} has now",
        plan.target, plan.source.name
    ))
    .with_hint(
        "rename or drop the old target, or give the table a new target, then copy it again (resync)",
    )
}

/// The columns of `table`, in the table's order.
pub(in crate::destination) fn columns(
    connection: &Connection,
    table: &TableRef,
) -> Result<Vec<Standing>> {
    let reading = || format!("reading the columns of {table}");
    // By name: looking through the columns of all tables takes the longer the more there are.
    if connection.entry([&table.catalog, &table.schema, &table.name]).during(reading)?.is_none() {
        return Ok(Vec::new());
    }
    let sql = format!("SELECT column_name, column_type FROM (DESCRIBE {table})");
    let rows = connection.query(&sql, &[]).during(reading)?;
    let column = |row: &Vec<crate::ffi::Cell>| {
        Some(Standing { name: row[0].text()?.to_owned(), kind: row[1].text()?.to_owned() })
    };
    Ok(rows.iter().filter_map(column).collect())
}

/// Column definitions for a table with the fields of `schema`.
pub(in crate::destination) fn definitions(schema: &Schema) -> Result<String> {
    let columns = schema
        .fields()
        .iter()
        .map(|field| Ok((crate::quote::Ident(field.name()).to_string(), column_type(field)?)))
        .collect::<Result<Vec<_>>>()?;
    Ok(join(columns, ", ", |(name, kind)| format!("{name} {kind}")))
}
