//! Changing a table's columns inside an epoch.

use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::Schema;
use rowtide_core::{Error, Mode, Result, SchemaChange, TablePlan};

use super::ddl;
use super::session::Session;
use super::standing::{misfit, standing};
use super::target::list;
use crate::encode::{TargetColumn, accepts};
use crate::quote::identifier;

/// Makes `plan.target`, which `plan` describes as it is to be, from what it was before `change`.
pub(super) async fn apply(
    session: &mut Session,
    plan: &TablePlan,
    change: &SchemaChange,
) -> Result<()> {
    session.begin().await?;
    session.tidy_stages().await?;
    match change {
        SchemaChange::AddColumn { column, fill, .. } => {
            add(session, plan, (*column, fill.as_ref())).await?;
        }
        SchemaChange::RenameColumn { table, column, from } => {
            rename(session, plan, (from, table.columns[*column].name())).await?;
        }
        SchemaChange::DropColumn { column, .. } => {
            let doing = format!("dropping column {column:?} of {}", plan.target);
            let (table, column) = (crate::quote::table_name(&plan.target), identifier(column));
            let drop = format!("ALTER TABLE {table} DROP COLUMN {column}");
            ddl::run(session.sql(), &doing, &drop).await?;
        }
        SchemaChange::WidenColumn { column, .. } => widen(session, plan, *column).await?,
        SchemaChange::Unsupported { .. } => {
            return Err(Error::internal(format!(
                "table {}: a change that cannot be followed was sent on",
                plan.target
            )));
        }
    }
    session.redefined(&plan.target);
    Ok(())
}

/// Adds the column at `index`, and gives it to the rows that stand.
async fn add(
    session: &mut Session,
    plan: &TablePlan,
    (index, fill): (usize, Option<&ArrayRef>),
) -> Result<()> {
    let target = session.target(plan).await?;
    let column = &target.columns[index];
    let doing = format!("adding column {:?} to {}", column.name, plan.target);
    let found = standing(session.sql(), &plan.target).await?;
    let stands = found.is_some_and(|found| found.type_of(&column.name).is_some());
    if stands && plan.mode == Mode::Append {
        // History that an earlier copy kept: the column was gone, and is back.
        return fit(session, plan, std::slice::from_ref(column)).await;
    }
    let (table, name) = (&target.name, identifier(&column.name));
    let alter = format!("ALTER TABLE {table} ADD COLUMN {name} {}", column.sql_type);
    ddl::run(session.sql(), &doing, &alter).await?;
    let Some(value) = fill else { return Ok(()) };
    let schema = Arc::new(Schema::new(vec![target.schema.field(index).clone()]));
    let rows = RecordBatch::try_new(schema, vec![Arc::clone(value)])?;
    let stage = session.stage("fill", std::slice::from_ref(column), &[rows]).await?;
    let update = format!("UPDATE {table} AS t SET {name} = s.c0 FROM {}", stage.as_s());
    session.change(&doing, &update).await.map(drop)
}

async fn rename(session: &mut Session, plan: &TablePlan, (from, to): (&str, &str)) -> Result<()> {
    let target = session.target(plan).await?;
    let found = standing(session.sql(), &plan.target).await?;
    if plan.mode == Mode::Append && found.is_some_and(|found| found.type_of(to).is_some()) {
        // History that an earlier copy kept has a column of the new name already.
        let column = target.columns.iter().find(|column| column.name == to);
        return fit(session, plan, column.map(std::slice::from_ref).unwrap_or_default()).await;
    }
    let doing = format!("renaming column {from:?} of {}", plan.target);
    let (from, to) = (identifier(from), identifier(to));
    let rename = format!("ALTER TABLE {} RENAME COLUMN {from} TO {to}", target.name);
    ddl::run(session.sql(), &doing, &rename).await
}

/// Gives the column at `index` its wider type, unless what stands is as wide already.
async fn widen(session: &mut Session, plan: &TablePlan, index: usize) -> Result<()> {
    // What is kept ready may know the narrow type: to Arrow both can be the same.
    session.redefined(&plan.target);
    let target = session.target(plan).await?;
    let column = &target.columns[index];
    let found = standing(session.sql(), &plan.target).await?;
    let stands = found.as_ref().and_then(|found| found.type_of(&column.name));
    if stands.is_some_and(|kind| accepts(kind, column)) {
        return Ok(());
    }
    let doing = format!("widening column {:?} of {}", column.name, plan.target);
    let (name, kind) = (identifier(&column.name), &column.sql_type);
    let alter = format!("ALTER TABLE {} ALTER COLUMN {name} TYPE {kind}", target.name);
    ddl::run(session.sql(), &doing, &alter).await
}

/// Makes the target of `plan` hold values of `columns` beside those that it has: adds those that
/// are missing. Nothing that stands is lost or changed.
///
/// # Errors
/// `Data` if a column that stands does not hold the new values.
pub(super) async fn fit(
    session: &mut Session,
    plan: &TablePlan,
    columns: &[TargetColumn],
) -> Result<()> {
    let Some(found) = standing(session.sql(), &plan.target).await? else { return Ok(()) };
    let mut missing = Vec::new();
    for column in columns {
        match found.type_of(&column.name) {
            Some(kind) if accepts(kind, column) => {}
            Some(kind) => return Err(misfit(plan, kind, column)),
            None => missing.push(column),
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    let changes =
        list(missing.iter().map(|column| {
            format!("ADD COLUMN {} {}", identifier(&column.name), column.staging_type)
        }));
    let doing = format!("changing the columns of {}", plan.target);
    let alter = format!("ALTER TABLE {} {changes}", crate::quote::table_name(&plan.target));
    ddl::run(session.sql(), &doing, &alter).await?;
    session.redefined(&plan.target);
    Ok(())
}
