//! Net changes per key: delete, then insert.
//!
//! The rows under all keys go first, found by one join with the staged keys; then the new rows
//! are appended straight into the target. So an epoch may be applied again without harm, a swap
//! of keys needs no care, and only incomplete rows are ever stored twice.

use arrow_array::{BooleanArray, RecordBatch};
use arrow_schema::{DataType, Field, Schema};
use std::sync::Arc;

use rowtide_core::{DeleteMode, Error, MergeWrite, Patches, Result, TablePlan, fault};

use super::apply::{deleted_column, marks, metadata_of, renamed};
use super::session::Session;
use crate::quote::{Ident, TableRef, join};

/// Applies `write` to `plan.target`.
pub(super) fn apply(session: &mut Session, plan: &TablePlan, write: &MergeWrite) -> Result<()> {
    if plan.source.key.is_empty() {
        return Err(Error::internal(format!("a keyed write to {}, which has no key", plan.target)));
    }
    let target = session.target(plan);
    let completed = write
        .patches
        .as_ref()
        .filter(|patches| patches.rows.num_rows() > 0)
        .map(|patches| complete(session, plan, patches))
        .transpose()?;
    let soft = plan.delete == DeleteMode::Soft;
    let deletes = write.deletes.as_ref().filter(|rows| rows.num_rows() > 0);

    let mut gone: Vec<&RecordBatch> = Vec::new();
    gone.extend(deletes.filter(|_| !soft));
    gone.extend(&write.upserts);
    gone.extend(write.patches.as_ref().map(|patches| &patches.rows));
    remove(session, plan, &gone)?;
    if let Some(deletes) = deletes.filter(|_| soft) {
        mark(session, plan, deletes)?;
    }
    if let Some(upserts) = &write.upserts {
        session.append(&target, &renamed(upserts, plan.target_arrow())?)?;
    }
    if let Some(completed) = completed {
        let names = target_columns(plan);
        session.change(&target, &format!("INSERT INTO {target} ({names}) FROM {completed}"))?;
        session.unstage(&completed)?;
    }
    Ok(())
}

/// Deletes the rows under the keys of `batches`.
fn remove(session: &mut Session, plan: &TablePlan, batches: &[&RecordBatch]) -> Result<()> {
    let keys = batches
        .iter()
        .filter(|batch| batch.num_rows() > 0)
        .map(|batch| keys_of(plan, batch))
        .collect::<Result<Vec<_>>>()?;
    if keys.is_empty() {
        return Ok(());
    }
    let target = session.target(plan);
    let (keys, on) = (session.fed(&keys)?, same_key(plan, 0));
    fault::point("write.staged")?;
    session.change(&target, &format!("DELETE FROM {target} AS t USING {keys} AS s WHERE {on}"))?;
    fault::point("write.removed")
}

/// Marks the rows under the keys of `deletes`, setting their metadata columns and nothing else.
fn mark(session: &mut Session, plan: &TablePlan, deletes: &RecordBatch) -> Result<()> {
    deleted_column(plan)?;
    let target = session.target(plan);
    let (keys, metadata) = (keys_of(plan, deletes)?, metadata_of(plan, deletes)?);
    let first = keys.num_columns();
    let marked = session.fed(&[beside(&[&keys, &metadata])?])?;
    let (set, on) = (marks(plan, first), same_key(plan, 0));
    let sql = format!("UPDATE {target} AS t SET {set} FROM {marked} AS s WHERE {on}");
    session.change(&target, &sql).map(drop)
}

/// Fills in what the log did not repeat, from the rows that stand in the target now. Returns a
/// temporary table of complete rows in the order of [`target_columns`].
fn complete(session: &mut Session, plan: &TablePlan, patches: &Patches) -> Result<TableRef> {
    let target = session.target(plan);
    let masks = masks_of(patches)?;
    let (first_key, first_mask) = {
        let keys = patches.rows.num_columns();
        (keys, keys + patches.base.num_columns())
    };
    let patched = session.fed(&[beside(&[&patches.rows, &patches.base, &masks])?])?;
    let values =
        join(plan.target_arrow().fields().iter().enumerate(), ", ", |(index, field)| match patches
            .unchanged
            .iter()
            .position(|(column, _)| *column == index)
        {
            Some(mask) => {
                let (name, mask) = (Ident(field.name()), first_mask + mask);
                format!("CASE WHEN s.c{mask} THEN t.{name} ELSE s.c{index} END AS c{index}")
            }
            None => format!("s.c{index}"),
        });
    let completed = session.temporary("rowtide_completed");
    let on = same_key(plan, first_key);
    let lenient = fault::planted("missing-base-as-null");
    let join = if lenient { "LEFT JOIN" } else { "JOIN" };
    session.execute(
        &format!(
            "CREATE OR REPLACE TEMP TABLE {completed} AS \
             SELECT {values} FROM {patched} AS s {join} {target} AS t ON {on}"
        ),
        || format!("completing rows of {}", plan.target),
    )?;
    let found = session.count(&format!("SELECT count(*) FROM {completed}"))?;
    let wanted = patches.rows.num_rows() as u64;
    if found != wanted && !lenient {
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

/// One BOOLEAN column per column with missing values: whether the row's is missing.
fn masks_of(patches: &Patches) -> Result<RecordBatch> {
    let fields: Vec<Field> = (0..patches.unchanged.len())
        .map(|index| Field::new(format!("m{index}"), DataType::Boolean, true))
        .collect();
    let columns = patches
        .unchanged
        .iter()
        .map(|(_, bits)| Arc::new(BooleanArray::new(bits.clone(), None)) as arrow_array::ArrayRef);
    Ok(RecordBatch::try_new_with_options(
        Arc::new(Schema::new(fields)),
        columns.collect(),
        &arrow_array::RecordBatchOptions::new().with_row_count(Some(patches.rows.num_rows())),
    )?)
}

/// The columns of `batches`, which have the same number of rows, side by side.
fn beside(batches: &[&RecordBatch]) -> Result<RecordBatch> {
    let fields: Vec<_> =
        batches.iter().flat_map(|batch| batch.schema().fields().to_vec()).collect();
    let columns = batches.iter().flat_map(|batch| batch.columns().to_vec()).collect();
    Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?)
}

pub(super) fn keys_of(plan: &TablePlan, rows: &RecordBatch) -> Result<RecordBatch> {
    let keys = rows.project(&plan.source.key)?;
    renamed(&keys, plan.source.key_arrow())
}

/// That `t`'s key is the one in `s`'s columns from `first` on.
pub(super) fn same_key(plan: &TablePlan, first: usize) -> String {
    join(plan.source.key.iter().enumerate(), " AND ", |(index, &column)| {
        format!("t.{} = s.c{}", Ident(plan.source.columns[column].name()), first + index)
    })
}

/// The target's columns, quoted, in the plan's order. Where they stand in the table may differ.
pub(super) fn target_columns(plan: &TablePlan) -> String {
    join(plan.target_arrow().fields(), ", ", |field| Ident(field.name()).to_string())
}
