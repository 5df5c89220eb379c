//! Applying one write inside the open epoch.

use arrow_array::RecordBatch;
use rowtide_core::{DeleteMode, Error, Result, TablePlan, TableWrite};
use tokio_postgres::error::SqlState;

use super::session::Session;
use super::target::{Target, list};
use super::{ddl, merge, multiset, once};
use crate::quote::identifier;

/// Applies `write` to `plan.target`.
pub(super) async fn write(
    session: &mut Session,
    plan: &TablePlan,
    write: &TableWrite,
) -> Result<()> {
    session.begin().await?;
    session.tidy_stages().await?;
    let target = session.writable(plan).await?;
    match write {
        TableWrite::Append(rows) => session.append(plan, &target, rows).await,
        TableWrite::Merge(write) => merge::apply(session, (plan, &target), write).await,
        TableWrite::Multiset(write) => multiset::apply(session, (plan, &target), write).await,
        TableWrite::Once(rows) => once::apply(session, (plan, &target), rows).await,
        TableWrite::Truncate { marker } => truncate(session, (plan, &target), marker).await,
    }
}

async fn truncate(
    session: &mut Session,
    (plan, target): (&TablePlan, &Target),
    marker: &RecordBatch,
) -> Result<()> {
    let doing = format!("emptying {}", plan.target);
    match plan.delete {
        DeleteMode::Hard => empty(session, target, &doing).await,
        DeleteMode::Soft => {
            let deleted = deleted_column(plan)?;
            let metadata = metadata_of(plan, target, marker)?;
            let columns = &target.columns[plan.source.columns.len()..];
            let stage = session.stage("marks", columns, &[metadata]).await?;
            let update = format!(
                "UPDATE {} AS t SET {} FROM {} WHERE t.{} IS DISTINCT FROM true",
                target.name,
                marks(plan, target, 0),
                stage.as_s(),
                identifier(deleted)
            );
            session.change(&doing, &update).await.map(drop)
        }
    }
}

/// Removes all rows. Where the quick way is barred (a foreign key refers to the table, or it is
/// another role's by now) they are deleted.
pub(super) async fn empty(session: &Session, target: &Target, doing: &str) -> Result<()> {
    let truncate = format!("TRUNCATE TABLE {}", target.name);
    match ddl::attempt(session.sql(), doing, &truncate).await? {
        Ok(()) => Ok(()),
        Err(refused)
            if refused.state == SqlState::FEATURE_NOT_SUPPORTED
                || refused.state == SqlState::INSUFFICIENT_PRIVILEGE
                || refused.state == SqlState::OBJECT_IN_USE =>
        {
            session.change(doing, &format!("DELETE FROM {}", target.name)).await.map(drop)
        }
        Err(refused) => Err(refused.error),
    }
}

/// Assigns the metadata columns from the staged columns that begin at `first`.
pub(super) fn marks(plan: &TablePlan, target: &Target, first: usize) -> String {
    let metadata = target.columns.iter().skip(plan.source.columns.len()).enumerate();
    list(metadata.map(|(at, column)| format!("{} = s.c{}", identifier(&column.name), first + at)))
}

/// The metadata columns of `rows`, which has the target's columns.
pub(super) fn metadata_of(
    plan: &TablePlan,
    target: &Target,
    rows: &RecordBatch,
) -> Result<RecordBatch> {
    let indices: Vec<usize> = (plan.source.columns.len()..rows.num_columns()).collect();
    Ok(target.named(rows)?.project(&indices)?)
}

/// The column that marks deleted rows.
pub(super) fn deleted_column(plan: &TablePlan) -> Result<&str> {
    plan.metadata.deleted.as_deref().ok_or_else(|| {
        Error::config(format!("table {}: soft delete needs a column for the mark", plan.target))
            .with_hint("name one in the table's metadata columns (deleted)")
    })
}
