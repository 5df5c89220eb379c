//! Net changes per key: delete, then insert.
//!
//! The rows under all keys go first, found by one join with the staged keys; then the new rows
//! are copied straight into the target. So an epoch may be applied again without harm, and a swap
//! of keys, or of values under a unique index of the user's, needs no care: constraints that are
//! checked row by row hold at every step.

use std::sync::Arc;

use arrow_array::{ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions};
use arrow_schema::{DataType, Field, Schema};
use rowtide_core::{DeleteMode, Error, MergeWrite, Patches, Result, TablePlan, fault};

use super::apply::{deleted_column, marks, metadata_of};
use super::session::Session;
use super::stage::beside;
use super::target::{Target, list};
use crate::quote::identifier;

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
    let completed = match patches {
        Some(patches) => Some(complete(session, (plan, target), patches).await?),
        None => None,
    };
    let soft = plan.delete == DeleteMode::Soft;
    let deletes = write.deletes.as_ref().filter(filled);
    let upserts = write.upserts.as_ref().filter(filled);

    let mut gone: Vec<&RecordBatch> = Vec::new();
    gone.extend(deletes.filter(|_| !soft));
    gone.extend(upserts);
    gone.extend(patches.map(|patches| &patches.rows));
    remove(session, (plan, target), &gone).await?;
    if let Some(deletes) = deletes.filter(|_| soft) {
        mark(session, (plan, target), deletes).await?;
    }
    fault::point("write.removed")?;
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

/// Fills in what the log did not repeat, from the rows that stand in the target now. Returns a
/// temporary table of complete rows.
async fn complete(
    session: &mut Session,
    (plan, target): (&TablePlan, &Target),
    patches: &Patches,
) -> Result<String> {
    let (rows, masks) = (target.named(&patches.rows)?, masks_of(patches)?);
    let base = key_named(target, &patches.base)?;
    let first_key = rows.num_columns();
    let first_mask = first_key + base.num_columns();
    let mut columns = target.columns.clone();
    columns.extend(target.key_columns());
    columns.extend(session.mask_columns(masks.num_columns()).await?);
    let stage = session.stage("patches", &columns, &[beside(&[&rows, &base, &masks])?]).await?;
    let values = list(target.columns.iter().enumerate().map(|(index, column)| {
        let masked = patches.unchanged.iter().position(|(column, _)| *column == index);
        let (name, kind) = (identifier(&column.name), &column.staging_type);
        match masked.map(|mask| first_mask + mask) {
            Some(mask) => {
                format!("CASE WHEN s.c{mask} THEN t.{name}::{kind} ELSE s.c{index} END")
            }
            None => format!("s.c{index}"),
        }
    }));
    let completed = session.empty_stage("completed", &target.columns).await?;
    let join = match fault::planted("missing-base-as-null") {
        true => "LEFT JOIN",
        false => "JOIN",
    };
    let complete = format!(
        "INSERT INTO {completed} SELECT {values} FROM {} {join} {} AS t ON {}",
        stage.as_s(),
        target.name,
        target.same_key(first_key)
    );
    let found = session.change(&format!("completing rows of {}", plan.target), &complete).await?;
    let wanted = patches.rows.num_rows() as u64;
    if found != wanted {
        return Err(Error::data(format!(
            "table {}: {wanted} updates need values that only the destination has, but {found} \
             rows stand there under their keys",
            plan.target
        ))
        .with_hint(
            "the table was changed by hand, or its copy is damaged: copy it again (resync)",
        ));
    }
    Ok(completed)
}

/// `base` under the names of the key's columns.
fn key_named(target: &Target, base: &RecordBatch) -> Result<RecordBatch> {
    let schema = Arc::new(target.schema.project(&target.key)?);
    Ok(RecordBatch::try_new(schema, base.columns().to_vec())?)
}

/// One BOOLEAN column per column with missing values: whether the row's is missing.
fn masks_of(patches: &Patches) -> Result<RecordBatch> {
    let fields: Vec<Field> = (0..patches.unchanged.len())
        .map(|index| Field::new(format!("m{index}"), DataType::Boolean, true))
        .collect();
    let masks = patches.unchanged.iter();
    let columns =
        masks.map(|(_, bits)| Arc::new(BooleanArray::new(bits.clone(), None)) as ArrayRef);
    Ok(RecordBatch::try_new_with_options(
        Arc::new(Schema::new(fields)),
        columns.collect(),
        &RecordBatchOptions::new().with_row_count(Some(patches.rows.num_rows())),
    )?)
}
