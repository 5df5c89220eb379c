//! Changing a table's columns inside an epoch.
//!
//! DuckDB refuses to commit an ALTER of a table whose rows were deleted or updated earlier in the
//! same transaction. Then the table is built anew beside the old one and put in its place, so
//! that the epoch stays one transaction in any case.

use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{FieldRef, Schema};
use std::sync::Arc;

use rowtide_core::{Error, Mode, Result, SchemaChange, TablePlan};

use super::session::{self, Session, Standing, column_like};
use crate::quote::{Ident, TableRef, fold, join};
use crate::types::{column_type, common};

/// Makes `plan.target`, which `plan` describes as it is to be, from what it was before `change`.
pub(super) fn apply(session: &mut Session, plan: &TablePlan, change: &SchemaChange) -> Result<()> {
    session.begin()?;
    let target = session.target(plan);
    match change {
        SchemaChange::AddColumn { table, column, fill } => {
            let field = Arc::clone(&table.columns[*column].field);
            let standing = session::columns(&session.connection, &target)?;
            if plan.mode == Mode::Append && column_like(&standing, field.name()).is_some() {
                // History that an earlier copy kept: the column was gone, and is back.
                return fit(session, plan, &[field]);
            }
            let fill = fill.as_ref().map(|value| stage_fill(session, &field, value)).transpose()?;
            let value = fill.as_ref().map(|stage| format!("(SELECT c0 FROM {stage})"));
            if session.changed.contains(&target) {
                let mut columns: Vec<_> = standing.into_iter().map(Rebuilt::kept).collect();
                columns.push(Rebuilt::new(&field, value.as_deref().unwrap_or("NULL"))?);
                rebuild(session, plan, &columns)?;
            } else {
                add(session, &target, &field, value.as_deref())?;
            }
            if let Some(stage) = fill {
                session.unstage(&stage)?;
            }
        }
        SchemaChange::RenameColumn { table, column, from } => {
            let to = table.columns[*column].name();
            let standing = session::columns(&session.connection, &target)?;
            let is_new = fold(to) != fold(from);
            if is_new && plan.mode == Mode::Append && column_like(&standing, to).is_some() {
                // History that an earlier copy kept has a column of the new name already.
                return fit(session, plan, &[Arc::clone(&table.columns[*column].field)]);
            }
            if session.changed.contains(&target) {
                let mut columns: Vec<_> = standing.into_iter().map(Rebuilt::kept).collect();
                let renamed = columns.iter_mut().find(|column| fold(&column.name) == fold(from));
                if let Some(renamed) = renamed {
                    to.clone_into(&mut renamed.name);
                }
                rebuild(session, plan, &columns)?;
            } else {
                let (from, to) = (Ident(from), Ident(to));
                let sql = format!("ALTER TABLE {target} RENAME COLUMN {from} TO {to}");
                session.execute(&sql, || format!("renaming a column of {}", plan.target))?;
            }
        }
        SchemaChange::DropColumn { column, .. } => {
            if session.changed.contains(&target) {
                let standing = session::columns(&session.connection, &target)?;
                let stays = |standing: &Standing| fold(&standing.name) != fold(column);
                let columns = standing.into_iter().filter(stays).map(Rebuilt::kept);
                rebuild(session, plan, &columns.collect::<Vec<_>>())?;
            } else {
                let sql = format!("ALTER TABLE {target} DROP COLUMN {}", Ident(column));
                session
                    .execute(&sql, || format!("dropping column {column:?} of {}", plan.target))?;
            }
        }
        // Nothing to do where the type there is the same.
        SchemaChange::WidenColumn { table, column, .. } => {
            return fit(session, plan, &[Arc::clone(&table.columns[*column].field)]);
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
        session.change(target, &format!("UPDATE {target} SET {name} = {value}"))?;
    }
    Ok(())
}

fn stage_fill(
    session: &mut Session,
    field: &Arc<arrow_schema::Field>,
    value: &ArrayRef,
) -> Result<TableRef> {
    let schema = Arc::new(Schema::new(vec![Arc::clone(field)]));
    session.stage(&RecordBatch::try_new(schema, vec![Arc::clone(value)])?)
}

/// Makes the target of `plan` hold values of `fields` beside those that it has: adds columns that
/// are missing, widens those that are too narrow. Nothing that stands is lost or changed.
///
/// # Errors
/// `Data` if there is no type that holds a column's old and new values.
pub(super) fn fit(session: &mut Session, plan: &TablePlan, fields: &[FieldRef]) -> Result<()> {
    let target = session.target(plan);
    let standing = session::columns(&session.connection, &target)?;
    let mut columns: Vec<Rebuilt> = standing.iter().cloned().map(Rebuilt::kept).collect();
    let mut changes = Vec::new();
    for field in fields {
        let wanted = column_type(field)?;
        let Some(at) = standing.iter().position(|column| fold(&column.name) == fold(field.name()))
        else {
            changes.push(format!("ADD COLUMN {} {wanted}", Ident(field.name())));
            columns.push(Rebuilt::new(field, "NULL")?);
            continue;
        };
        let Standing { name, kind } = &standing[at];
        let wide =
            common(kind, &wanted).ok_or_else(|| session::misfit(plan, name, kind, &wanted))?;
        if wide != *kind {
            changes.push(format!("ALTER COLUMN {} SET DATA TYPE {wide}", Ident(name)));
            columns[at].kind = wide;
        }
    }
    if changes.is_empty() {
        return Ok(());
    }
    if session.changed.contains(&target) {
        rebuild(session, plan, &columns)?;
    } else {
        for change in changes {
            session.execute(&format!("ALTER TABLE {target} {change}"), || {
                format!("changing the columns of {}", plan.target)
            })?;
        }
    }
    session.redefined(&target);
    Ok(())
}

/// A column of a table that is built anew: its name and type, and the expression for its value.
struct Rebuilt {
    name: String,
    kind: String,
    value: String,
}

impl Rebuilt {
    fn kept(column: Standing) -> Self {
        let value = Ident(&column.name).to_string();
        Self { name: column.name, kind: column.kind, value }
    }

    fn new(field: &FieldRef, value: &str) -> Result<Self> {
        let (name, kind) = (field.name().clone(), column_type(field)?);
        Ok(Self { name, kind, value: value.to_owned() })
    }
}

/// Copies the target's rows into a new table with `columns`, which takes its place.
fn rebuild(session: &mut Session, plan: &TablePlan, columns: &[Rebuilt]) -> Result<()> {
    let target = session.target(plan);
    let attempt = || format!("building {} anew with changed columns", plan.target);
    let rebuilt = target.sibling(format!("__rowtide_rebuilt_{}", plan.source.id));
    let definitions =
        join(columns, ", ", |column| format!("{} {}", Ident(&column.name), column.kind));
    let values = join(columns, ", ", |column| column.value.clone());
    session.execute(&format!("CREATE TABLE {rebuilt} ({definitions})"), attempt)?;
    session.execute(&format!("INSERT INTO {rebuilt} SELECT {values} FROM {target}"), attempt)?;
    session.execute(&format!("DROP TABLE {target}"), attempt)?;
    let rename = format!("ALTER TABLE {rebuilt} RENAME TO {}", Ident(&target.name));
    session.execute(&rename, attempt)?;
    // The rows of the new table may be changed, and the table altered, in this transaction; only
    // the order of the two matters, and `changed` keeps remembering it.
    Ok(())
}
