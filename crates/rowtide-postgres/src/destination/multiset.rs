//! Net changes of a table without a key: for each removed row, one equal row goes.
//!
//! Equal rows are numbered on both sides, and the n-th of the one takes the n-th of the other.
//! Rows are compared as the text of the whole row: it tells NULL from everything else, every type
//! has one (json, xml and point have no equality), and unlike `IS NOT DISTINCT FROM` it can be
//! hashed. Both sides print with the same types and settings.

use arrow_array::RecordBatch;
use rowtide_core::{DeleteMode, Error, MultisetWrite, Result, TablePlan, fault};

use super::apply::{deleted_column, marks};
use super::session::Session;
use super::target::{Target, list};
use crate::quote::identifier;

/// Applies `write` to the target.
pub(super) async fn apply(
    session: &mut Session,
    (plan, target): (&TablePlan, &Target),
    write: &MultisetWrite,
) -> Result<()> {
    if let Some(removes) = write.removes.as_ref().filter(|rows| rows.num_rows() > 0) {
        remove(session, (plan, target), removes).await?;
    }
    fault::point("write.removed")?;
    if let Some(inserts) = &write.inserts {
        session.append(plan, target, inserts).await?;
    }
    Ok(())
}

async fn remove(
    session: &mut Session,
    (plan, target): (&TablePlan, &Target),
    removes: &RecordBatch,
) -> Result<()> {
    let wanted = removes.num_rows() as u64;
    let rows = target.named(removes)?;
    let stage = session.stage("removes", &target.columns, &[rows]).await?;
    let source = || target.columns.iter().take(plan.source.columns.len()).enumerate();
    let staged = list(source().map(|(at, _)| format!("s.c{at}")));
    let standing = list(
        source()
            .map(|(_, column)| format!("t.{}::{}", identifier(&column.name), column.staging_type)),
    );
    let alive = match plan.delete {
        DeleteMode::Hard => "true".to_owned(),
        DeleteMode::Soft => {
            format!("t.{} IS DISTINCT FROM true", identifier(deleted_column(plan)?))
        }
    };
    let same_number = match fault::planted("multiset-removes-all") {
        true => "true",
        false => "s.n = h.n",
    };
    // Only rows equal to a staged one are numbered, not the whole table.
    let pairs = format!(
        "WITH want AS MATERIALIZED (\
             SELECT s.*, pg_catalog.row_number() OVER (PARTITION BY s.k) AS n FROM (\
                 SELECT s.*, ROW({staged})::text COLLATE \"C\" AS k FROM {}) AS s), \
         have AS MATERIALIZED (\
             SELECT h.id, h.k, pg_catalog.row_number() OVER (PARTITION BY h.k) AS n FROM (\
                 SELECT t.ctid AS id, ROW({standing})::text COLLATE \"C\" AS k \
                 FROM {} AS t WHERE {alive}) AS h \
             WHERE h.k IN (SELECT want.k FROM want)) ",
        stage.as_s(),
        target.name,
    );
    let on = format!("s.k = h.k AND {same_number} AND t.ctid = h.id");
    let name = &target.name;
    let sql = match plan.delete {
        DeleteMode::Hard => {
            format!("{pairs} DELETE FROM {name} AS t USING want AS s, have AS h WHERE {on}")
        }
        DeleteMode::Soft => {
            let set = marks(plan, target, plan.source.columns.len());
            format!("{pairs} UPDATE {name} AS t SET {set} FROM want AS s, have AS h WHERE {on}")
        }
    };
    let removed = session.change(&format!("removing rows of {}", plan.target), &sql).await?;
    if removed != wanted && !fault::planted("multiset-removes-all") {
        return Err(Error::data(format!(
            "table {}: {wanted} rows were removed at the source, but only {removed} equal ones \
             stand in the destination",
            plan.target
        ))
        .with_hint(
            "the table was changed by hand, or its copy is damaged: copy it again (resync)",
        ));
    }
    Ok(())
}
