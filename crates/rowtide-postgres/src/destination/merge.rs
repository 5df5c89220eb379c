//! Net changes per key: delete, then insert.
//!
//! The rows under all keys go first, found by one join with the staged keys; then the new rows
//! are copied straight into the target. So an epoch may be applied again without harm, and a swap
//! of keys, or of values under a unique index of the user's, needs no care: constraints that are
//! checked row by row hold at every step. Only rows of which the log left long values out are
//! changed where they stand, if their keys stay and nothing else is unique: what is not touched
//! need not be read, compressed and stored again.

use arrow_array::RecordBatch;
use rowtide_core::{DeleteMode, Error, MergeWrite, Result, TablePlan, fault};

use super::apply::{deleted_column, marks, metadata_of};
use super::complete::{can_patch, complete, patch};
use super::session::Session;
use super::stage::beside;
use super::target::{Target, list};

/// Applies `write` to the target.
pub(super) async fn apply(
    session: &mut Session,
    (plan, target): (&TablePlan, &Target),
    write: &MergeWrite,
) -> Result<()> {
    if target.key.is_empty() {
        return Err(Error::internal(format!("a keyed write to {}, which has no key", plan.target)));
    }
    let filled = |rows: &&RecordBatch| rows.num_rows() > 0;
    let patches = write.patches.as_ref().filter(|patches| patches.rows.num_rows() > 0);
    let in_place = patches.filter(|patches| can_patch(target, patches));
    let completed = match patches {
        Some(patches) if in_place.is_none() => {
            Some(complete(session, (plan, target), patches).await?)
        }
        _ => None,
    };
    let soft = plan.delete == DeleteMode::Soft;
    let deletes = write.deletes.as_ref().filter(filled);
    let upserts = write.upserts.as_ref().filter(filled);

    let mut gone: Vec<&RecordBatch> = Vec::new();
    gone.extend(deletes.filter(|_| !soft));
    gone.extend(upserts);
    gone.extend(patches.filter(|_| in_place.is_none()).map(|patches| &patches.rows));
    remove(session, (plan, target), &gone).await?;
    if let Some(deletes) = deletes.filter(|_| soft) {
        mark(session, (plan, target), deletes).await?;
    }
    fault::point("write.removed")?;
    if let Some(patches) = in_place {
        patch(session, (plan, target), patches).await?;
    }
    if let Some(upserts) = upserts {
        session.append(plan, target, upserts).await?;
    }
    if let Some(completed) = completed {
        let values = list((0..target.columns.len()).map(|at| format!("c{at}")));
        let (name, names) = (&target.name, &target.names);
        let insert = format!("INSERT INTO {name} ({names}) SELECT {values} FROM {completed}");
        session.change(&format!("adding rows to {}", plan.target), &insert).await?;
    }
    Ok(())
}

/// Deletes the rows under the keys of `batches`.
async fn remove(
    session: &mut Session,
    (plan, target): (&TablePlan, &Target),
    batches: &[&RecordBatch],
) -> Result<()> {
    let keys: Vec<_> = batches.iter().map(|rows| target.keys_of(rows)).collect::<Result<_>>()?;
    if keys.is_empty() {
        return Ok(());
    }
    let stage = session.stage("keys", &target.key_columns(), &keys).await?;
    let (from, on) = (stage.as_s(), target.same_key(0));
    let delete = format!("DELETE FROM {} AS t USING {from} WHERE {on}", target.name);
    session.change(&format!("removing rows of {}", plan.target), &delete).await.map(drop)
}

/// Marks the rows under the keys of `deletes`, setting their metadata columns and nothing else.
async fn mark(
    session: &mut Session,
    (plan, target): (&TablePlan, &Target),
    deletes: &RecordBatch,
) -> Result<()> {
    deleted_column(plan)?;
    let (keys, metadata) = (target.keys_of(deletes)?, metadata_of(plan, target, deletes)?);
    let first = keys.num_columns();
    let mut columns = target.key_columns();
    columns.extend_from_slice(&target.columns[plan.source.columns.len()..]);
    let stage = session.stage("marks", &columns, &[beside(&[&keys, &metadata])?]).await?;
    let (set, from, on) = (marks(plan, target, first), stage.as_s(), target.same_key(0));
    let update = format!("UPDATE {} AS t SET {set} FROM {from} WHERE {on}", target.name);
    session.change(&format!("marking rows of {}", plan.target), &update).await.map(drop)
}
