//! Applying one write inside the open epoch.

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use rowtide_core::{DeleteMode, Error, Result, TablePlan, TableWrite};

use super::session::Session;
use super::{merge, multiset, once};
use crate::quote::{Ident, join};

/// Applies `write` to `plan.target`.
pub(super) fn write(session: &mut Session, plan: &TablePlan, write: &TableWrite) -> Result<()> {
    session.begin()?;
    session.check_fit(plan)?;
    match write {
        TableWrite::Append(rows) => session.append(&session.target(plan), rows),
        TableWrite::Merge(write) => merge::apply(session, plan, write),
        TableWrite::Multiset(write) => multiset::apply(session, plan, write),
        TableWrite::Once(rows) => once::apply(session, plan, rows),
        TableWrite::Truncate { marker } => truncate(session, plan, marker),
    }
}

fn truncate(session: &mut Session, plan: &TablePlan, marker: &RecordBatch) -> Result<()> {
    let target = session.target(plan);
    match plan.delete {
        DeleteMode::Hard => {
            session.change(&target, &format!("DELETE FROM {target}"))?;
        }
        DeleteMode::Soft => {
            let deleted = deleted_column(plan)?;
            let fields = plan.metadata.fields();
            let marked = session.fed(&[metadata_of(plan, marker)?])?;
            let set = marks(plan, 0);
            debug_assert_eq!(fields.len(), marker.num_columns() - plan.source.columns.len());
            let sql = format!(
                "UPDATE {target} AS t SET {set} FROM {marked} AS s \
                 WHERE t.{} IS DISTINCT FROM true",
                Ident(deleted)
            );
            session.change(&target, &sql)?;
        }
    }
    Ok(())
}

/// Assigns the metadata columns from the staged columns that begin at `first`.
pub(super) fn marks(plan: &TablePlan, first: usize) -> String {
    join(plan.metadata.fields().iter().enumerate(), ", ", |(index, field)| {
        format!("{} = s.c{}", Ident(field.name()), first + index)
    })
}

/// The metadata columns of `rows`, which has the target's columns.
pub(super) fn metadata_of(plan: &TablePlan, rows: &RecordBatch) -> Result<RecordBatch> {
    let indices: Vec<usize> = (plan.source.columns.len()..rows.num_columns()).collect();
    Ok(rows.project(&indices)?)
}

/// The column that marks deleted rows.
pub(super) fn deleted_column(plan: &TablePlan) -> Result<&str> {
    plan.metadata.deleted.as_deref().ok_or_else(|| {
        Error::config(format!("table {}: soft delete needs a column for the mark", plan.target))
            .with_hint("name one in the table's metadata columns (deleted)")
    })
}

/// `batch` under `schema`, which has the same types: the columns' names are the plan's.
pub(super) fn renamed(batch: &RecordBatch, schema: SchemaRef) -> Result<RecordBatch> {
    Ok(RecordBatch::try_new(schema, batch.columns().to_vec())?)
}
