//! Completing rows of which the log did not repeat every value.
//!
//! Each row travels with the key of its base and with one bit per column that may be missing. If
//! that is more columns than a table can have, the row travels in two parts. Both bear its number,
//! for the place where it stands tells nothing: COPY goes back to fill gaps in earlier pages.

use std::sync::Arc;

use arrow_array::{BinaryArray, Int64Array, RecordBatch};
use arrow_schema::{DataType, Field, Schema};
use rowtide_core::{Error, Patches, Result, TablePlan, fault};

use super::session::Session;
use super::stage::beside;
use super::target::{MOST_COLUMNS, Target, list};
use crate::quote::identifier;

/// Incomplete rows that are staged.
struct Incomplete {
    /// For a FROM clause, the base's key being `s.c0`, `s.c1` ….
    from: String,
    /// The bits that say what is missing.
    missing: String,
    /// The value of each of the target's columns.
    values: Vec<String>,
}

impl Incomplete {
    /// The value of each of the target's columns: the staged one, or the one that stands in `t`.
    fn completed(&self, target: &Target, patches: &Patches) -> Vec<String> {
        let columns = target.columns.iter().zip(&self.values).enumerate();
        let value = columns.map(|(index, (column, value))| {
            let bit = patches.unchanged.iter().position(|(column, _)| *column == index);
            let (name, kind) = (identifier(&column.name), &column.staging_type);
            let missing = &self.missing;
            match bit {
                Some(bit) => format!(
                    "CASE pg_catalog.get_bit({missing}, {bit}) WHEN 1 THEN t.{name}::{kind} \
                     ELSE {value} END"
                ),
                None => value.clone(),
            }
        });
        value.collect()
    }
}

/// Whether [`patch`] will do: no row changes its key, and the target allows it.
pub(super) fn can_patch(target: &Target, patches: &Patches) -> bool {
    let keys = target.key.iter().map(|&at| patches.rows.column(at));
    target.is_changed_in_place
        && keys.eq(patches.base.columns())
        && target.key.len() < target.columns.len()
        && !fault::planted("missing-base-as-null")
}

/// Changes the rows that stand in the target to what `patches` make of them. A long value that is
/// left as it is stays where it is stored.
pub(super) async fn patch(
    session: &mut Session,
    (plan, target): (&TablePlan, &Target),
    patches: &Patches,
) -> Result<()> {
    let staged = stage(session, target, patches).await?;
    let columns = target.columns.iter().zip(staged.completed(target, patches)).enumerate();
    let set = list(
        columns
            .filter(|(at, _)| !target.key.contains(at))
            .map(|(_, (column, value))| format!("{} = {value}", identifier(&column.name))),
    );
    let (name, from, on) = (&target.name, &staged.from, target.same_key(0));
    let update = format!("UPDATE {name} AS t SET {set} FROM {from} WHERE {on}");
    let found = session.change(&format!("changing rows of {}", plan.target), &update).await?;
    check_found(plan, patches, found)
}

/// Fills in what the log did not repeat, from the rows that stand in the target now. Returns a
/// temporary table of complete rows.
pub(super) async fn complete(
    session: &mut Session,
    (plan, target): (&TablePlan, &Target),
    patches: &Patches,
) -> Result<String> {
    let staged = stage(session, target, patches).await?;
    let values = list(staged.completed(target, patches).into_iter());
    let completed = session.empty_stage("completed", &target.columns).await?;
    let join = match fault::planted("missing-base-as-null") {
        true => "LEFT JOIN",
        false => "JOIN",
    };
    let complete = format!(
        "INSERT INTO {completed} SELECT {values} FROM {} {join} {} AS t ON {}",
        staged.from,
        target.name,
        target.same_key(0)
    );
    let found = session.change(&format!("completing rows of {}", plan.target), &complete).await?;
    check_found(plan, patches, found)?;
    Ok(completed)
}

fn check_found(plan: &TablePlan, patches: &Patches, found: u64) -> Result<()> {
    let wanted = patches.rows.num_rows() as u64;
    if found == wanted {
        return Ok(());
    }
    Err(Error::data(format!(
        "table {}: {wanted} updates need values that only the destination has, but {found} rows \
         stand there under their keys",
        plan.target
    ))
    .with_hint("the table was changed by hand, or its copy is damaged: copy it again (resync)"))
}

async fn stage(session: &mut Session, target: &Target, patches: &Patches) -> Result<Incomplete> {
    let rows = target.named(&patches.rows)?;
    let (base, missing) = (key_named(target, &patches.base)?, missing(patches)?);
    let mut columns = target.key_columns();
    let bits = columns.len();
    columns.extend(session.own_columns(&[("missing", DataType::Binary, "bytea")]).await?);
    let missing_at = format!("s.c{bits}");
    let first = columns.len();
    let total = rows.num_columns();
    if first + total <= MOST_COLUMNS {
        columns.extend_from_slice(&target.columns);
        let batch = beside(&[&base, &missing, &rows])?;
        let stage = session.stage("patches", &columns, &[batch]).await?;
        let values = (first..first + total).map(|at| format!("s.c{at}")).collect();
        return Ok(Incomplete { from: stage.as_s(), missing: missing_at, values });
    }
    let half = total / 2;
    let number = session.own_columns(&[("number", DataType::Int64, "bigint")]).await?;
    let numbers = numbers(rows.num_rows())?;
    columns.extend_from_slice(&number);
    columns.extend_from_slice(&target.columns[..half]);
    let batch = beside(&[&base, &missing, &numbers, &part(&rows, 0..half)?])?;
    let one = session.stage("patches", &columns, &[batch]).await?;
    let columns = [&number, &target.columns[half..]].concat();
    let batch = beside(&[&numbers, &part(&rows, half..total)?])?;
    let other = session.stage("rest of patches", &columns, &[batch]).await?;
    let from = format!("{} JOIN {} ON r.c0 = s.c{first}", one.as_s(), other.called("r"));
    let values = (0..total).map(|at| match at < half {
        true => format!("s.c{}", first + 1 + at),
        false => format!("r.c{}", 1 + at - half),
    });
    Ok(Incomplete { from, missing: missing_at, values: values.collect() })
}

/// Some columns of `rows`.
fn part(rows: &RecordBatch, columns: std::ops::Range<usize>) -> Result<RecordBatch> {
    Ok(rows.project(&columns.collect::<Vec<_>>())?)
}

/// `base` under the names of the key's columns.
fn key_named(target: &Target, base: &RecordBatch) -> Result<RecordBatch> {
    let schema = Arc::new(target.schema.project(&target.key)?);
    Ok(RecordBatch::try_new(schema, base.columns().to_vec())?)
}

/// For each row its bits, the first column's being the lowest of the first byte.
fn missing(patches: &Patches) -> Result<RecordBatch> {
    let bytes = patches.unchanged.len().div_ceil(8);
    let bits_of = |row: usize| {
        let mut bits = vec![0_u8; bytes];
        for (at, (_, missing)) in patches.unchanged.iter().enumerate() {
            bits[at / 8] |= u8::from(missing.value(row)) << (at % 8);
        }
        bits
    };
    let rows = (0..patches.rows.num_rows()).map(bits_of);
    let schema = Schema::new(vec![Field::new("missing", DataType::Binary, true)]);
    let column = BinaryArray::from_iter_values(rows);
    Ok(RecordBatch::try_new(Arc::new(schema), vec![Arc::new(column)])?)
}

fn numbers(rows: usize) -> Result<RecordBatch> {
    let schema = Schema::new(vec![Field::new("number", DataType::Int64, true)]);
    let column: Int64Array = (0..).take(rows).collect::<Vec<i64>>().into();
    Ok(RecordBatch::try_new(Arc::new(schema), vec![Arc::new(column)])?)
}
