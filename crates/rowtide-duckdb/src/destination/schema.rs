//! Changing a table's columns inside an epoch.
//!
//! DuckDB refuses to commit an ALTER of a table whose rows were deleted or updated earlier in the
//! same transaction. Then the table is built anew beside the old one and put in its place, so
//! that the epoch stays one transaction in any case.

use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::Schema;
use std::sync::Arc;

use rowtide_core::{Error, Result, SchemaChange, TablePlan};

use super::merge::target_columns;
use super::session::{Session, definitions};
use crate::quote::{Ident, TableRef, join};
use crate::types::column_type;

/// Makes `plan.target`, which `plan` describes as it is to be, from what it was before `change`.
pub(super) fn apply(session: &mut Session, plan: &TablePlan, change: &SchemaChange) -> Result<()> {
    session.begin()?;
    let target = session.target(plan);
    match change {
        SchemaChange::AddColumn { table, column, fill } => {
            let field = Arc::clone(&table.columns[*column].field);
            let fill = fill.as_ref().map(|value| stage_fill(session, &field, value)).transpose()?;
            let value = fill.as_ref().map(|stage| format!("(SELECT c0 FROM {stage})"));
            if session.changed.contains(&target) {
                rebuild(session, plan, Some((field.name(), value.as_deref().unwrap_or("NULL"))))?;
            } else {
                add(session, &target, &field, value.as_deref())?;
            }
            if let Some(stage) = fill {
                session.unstage(&stage)?;
            }
        }
        SchemaChange::DropColumn { column, .. } => {
            if session.changed.contains(&target) {
                rebuild(session, plan, None)?;
            } else {
                let sql = format!("ALTER TABLE {target} DROP COLUMN {}", Ident(column));
                session
                    .execute(&sql, || format!("dropping column {column:?} of {}", plan.target))?;
            }
        }
        SchemaChange::Unsupported { .. } => {
            return Err(Error::internal(format!(
                "table {}: a change that cannot be followed was sent on",
                plan.target
            )));
        }
    }
    session.redefined(&target);
    Ok(())
}

fn add(
    session: &mut Session,
    target: &TableRef,
    field: &arrow_schema::Field,
    value: Option<&str>,
) -> Result<()> {
    let (name, kind) = (Ident(field.name()), column_type(field)?);
    session.execute(&format!("ALTER TABLE {target} ADD COLUMN {name} {kind}"), || {
        format!("adding column {:?} to {target}", field.name())
    })?;
    if let Some(value) = value {
        session.change_once(target, &format!("UPDATE {target} SET {name} = {value}"))?;
    }
    Ok(())
}

fn stage_fill(
    session: &mut Session,
    field: &Arc<arrow_schema::Field>,
    value: &ArrayRef,
) -> Result<TableRef> {
    let schema = Arc::new(Schema::new(vec![Arc::clone(field)]));
    session.stage(&[RecordBatch::try_new(schema, vec![Arc::clone(value)])?])
}

/// Copies the target's rows into a new table with the plan's columns, which takes its place.
/// `added` is the column that the old table lacks, and the expression for its value.
fn rebuild(session: &mut Session, plan: &TablePlan, added: Option<(&str, &str)>) -> Result<()> {
    let target = session.target(plan);
    let attempt = || format!("building {} anew with changed columns", plan.target);
    let rebuilt = target.sibling(format!("__rowtide_rebuilt_{}", plan.source.id));
    let schema = plan.target_arrow();
    let values = join(schema.fields(), ", ", |field| match added {
        Some((name, value)) if name == field.name() => value.to_owned(),
        _ => Ident(field.name()).to_string(),
    });
    let (columns, names) = (definitions(&schema)?, target_columns(plan));
    session.execute(&format!("CREATE TABLE {rebuilt} ({columns})"), attempt)?;
    let copy = format!("INSERT INTO {rebuilt} ({names}) SELECT {values} FROM {target}");
    session.execute(&copy, attempt)?;
    session.execute(&format!("DROP TABLE {target}"), attempt)?;
    let rename = format!("ALTER TABLE {rebuilt} RENAME TO {}", Ident(&target.name));
    session.execute(&rename, attempt)?;
    // The rows of the new table may be changed, and the table altered, in this transaction; only
    // the order of the two matters, and `changed` keeps remembering it.
    Ok(())
}
