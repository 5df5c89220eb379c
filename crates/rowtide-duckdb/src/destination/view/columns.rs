//! Whether a target's columns are those that the plan says, and how each is selected.

use arrow_schema::Schema;
use rowtide_core::view::ColumnGaps;
use rowtide_core::{Error, Mode, Result, TablePlan};

use crate::destination::session::{self, Standing, column_like};
use crate::error::During;
use crate::ffi::Connection;
use crate::quote::{Ident, TableRef, fold, join};
use crate::types::{column_type, holds};

/// What is selected for one of the source's columns.
#[derive(Debug)]
pub(super) struct Selected {
    /// The value, as the type of the source's column.
    pub(super) value: String,
    /// If the target's type is wider: where the value is none of that type.
    pub(super) misfit: Option<Misfit>,
}

/// A value that the source's type does not hold.
#[derive(Debug)]
pub(super) struct Misfit {
    /// Holds where there is one.
    pub(super) condition: String,
    /// The column and its types, in words.
    pub(super) words: String,
}

/// Compares the columns of `target` with those of `plan`.
///
/// # Errors
/// `SchemaDrift` naming a column that is missing or of another type; `Access` if a view stands in the
/// table's place.
pub(super) fn check(
    connection: &Connection,
    target: &TableRef,
    plan: &TablePlan,
) -> Result<Vec<Selected>> {
    refuse_view(connection, target, plan)?;
    let standing = session::columns(connection, target)?;
    if standing.is_empty() {
        return Err(drift(format!("table {} is gone from the destination", plan.target)));
    }
    let wanted = plan.target_arrow();
    let mut selected = Vec::new();
    for (at, field) in wanted.fields().iter().enumerate() {
        let Some(column) = column_like(&standing, field.name()) else {
            let name = field.name();
            return Err(drift(format!("table {}: the column {name:?} is missing", plan.target)));
        };
        let kind = column_type(field)?;
        if !holds(&column.kind, &kind) {
            return Err(drift(format!(
                "table {}: the column {:?} is {}, not {kind}",
                plan.target, column.name, column.kind
            )));
        }
        if at < plan.source.columns.len() {
            selected.push(select(column, &kind));
        }
    }
    Ok(selected)
}

/// The columns by which `target` is not that of `plan`.
pub(super) fn gaps(
    connection: &Connection,
    target: &TableRef,
    plan: &TablePlan,
) -> Result<ColumnGaps> {
    let standing = session::columns(connection, target)?;
    if standing.is_empty() {
        return Ok(ColumnGaps::default());
    }
    let wanted = plan.target_arrow();
    let names = || wanted.fields().iter().map(|field| field.name());
    let missing = names().filter(|name| column_like(&standing, name).is_none()).cloned();
    let is_extra = |column: &&Standing| !names().any(|wanted| fold(wanted) == fold(&column.name));
    // History may have columns that an earlier copy of the table had.
    let extra = standing.iter().filter(|_| plan.mode != Mode::Append).filter(is_extra);
    let extra = extra.map(|column| column.name.clone());
    Ok(ColumnGaps { missing: missing.collect(), extra: extra.collect() })
}

fn select(column: &Standing, wanted: &str) -> Selected {
    let value = format!("t.{}", Ident(&column.name));
    if holds(wanted, &column.kind) {
        return Selected { value, misfit: None };
    }
    let converted = format!("TRY_CAST({value} AS {wanted})");
    let back = format!("TRY_CAST({converted} AS {})", column.kind);
    let condition = format!("({value} IS NOT NULL AND {back} IS DISTINCT FROM {value})");
    let words = format!("the column {:?} is {}, not {wanted}", column.name, column.kind);
    Selected { value: converted, misfit: Some(Misfit { condition, words }) }
}

fn refuse_view(connection: &Connection, target: &TableRef, plan: &TablePlan) -> Result<()> {
    let sql = "SELECT view_name FROM duckdb_views() WHERE NOT internal AND database_name = $1 \
               AND lower(schema_name) = lower($2) AND lower(view_name) = lower($3)";
    let names = [(&*target.catalog).into(), (&*target.schema).into(), (&*target.name).into()];
    let views = connection.query(sql, &names);
    if views.during(|| format!("looking at {}", plan.target))?.is_empty() {
        return Ok(());
    }
    Err(Error::access(format!("a view stands in the place of table {}", plan.target))
        .with_hint("it may show other rows than the table has: drop or rename it"))
}

pub(super) fn drift(what: String) -> Error {
    Error::schema_drift(what)
        .with_hint("it was changed by hand, or is of an older version: copy it again (resync)")
}

/// `schema` with its columns called `c0`, `c1` ….
pub(super) fn positional(schema: &Schema) -> Schema {
    let fields = schema.fields().iter().enumerate();
    let fields = fields.map(|(at, field)| field.as_ref().clone().with_name(format!("c{at}")));
    Schema::new(fields.collect::<Vec<_>>())
}

/// `c0, c1 …` for `columns`.
pub(super) fn places(columns: &[usize]) -> String {
    join(columns, ", ", |at| format!("c{at}"))
}
