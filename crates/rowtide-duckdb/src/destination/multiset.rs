//! Net changes of a table without a key: for each removed row, one equal row goes.
//!
//! Equal rows are numbered on both sides, and the n-th of the one takes the n-th of the other.
//! NULL equals NULL.

use arrow_array::RecordBatch;
use arrow_schema::{DataType, Field};
use rowtide_core::{DeleteMode, Error, Mode, MultisetWrite, Result, TablePlan, fault};

use super::apply::{deleted_column, marks, renamed};
use super::session::Session;
use crate::quote::{Ident, TableRef, fold, join};

/// Applies `write` to `plan.target`.
pub(super) fn apply(session: &mut Session, plan: &TablePlan, write: &MultisetWrite) -> Result<()> {
    check(plan)?;
    if let Some(removes) = write.removes.as_ref().filter(|rows| rows.num_rows() > 0) {
        remove(session, plan, removes)?;
    }
    if let Some(inserts) = &write.inserts {
        session.append(&session.target(plan), &renamed(inserts, plan.target_arrow())?)?;
    }
    Ok(())
}

/// Refuses a column called like the row number that DuckDB gives every row: it would hide it.
pub(super) fn check(plan: &TablePlan) -> Result<()> {
    let multiset = plan.mode == Mode::Merge && !plan.source.is_keyed();
    let hides = |name: &str| fold(name) == "rowid";
    if multiset && plan.target_arrow().fields().iter().any(|field| hides(field.name())) {
        return Err(Error::config(format!(
            "table {}: without a key, a column called rowid cannot be written to DuckDB",
            plan.target
        ))
        .with_hint("give the table a key, leave the column out, or use mode append"));
    }
    Ok(())
}

fn remove(session: &mut Session, plan: &TablePlan, removes: &RecordBatch) -> Result<()> {
    let target = session.target(plan);
    let wanted = removes.num_rows() as u64;
    let stage = session.stage(std::slice::from_ref(removes))?;
    fault::point("write.staged")?;
    keep_row_numbers(session, &target)?;
    let matched = pair(session, plan, &stage)?;
    session.unstage(&stage)?;
    let sql = match plan.delete {
        DeleteMode::Hard => {
            format!("DELETE FROM {target} WHERE rowid IN (SELECT id FROM {matched})")
        }
        DeleteMode::Soft => {
            let set = marks(plan, plan.source.columns.len());
            format!("UPDATE {target} AS t SET {set} FROM {matched} AS s WHERE t.rowid = s.id")
        }
    };
    let removed = session.change_once(&target, &sql)?;
    fault::point("write.removed")?;
    session.execute(&format!("DROP TABLE {matched}"), || "pairing rows".to_owned())?;
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

/// Makes this transaction one that changes the file, which keeps others from folding the log into
/// it. Until then DuckDB (1.5) may pack a table's rows anew at any commit of any connection, and
/// give them other numbers than this transaction has just read.
fn keep_row_numbers(session: &mut Session, target: &TableRef) -> Result<()> {
    session.change(target, &format!("DELETE FROM {target} WHERE false")).map(drop)
}

/// The value in a form that is equal only to itself: DuckDB takes 0 and -0 for equal, and a month
/// and 30 days. Their texts differ. The text of a struct alone would not do, as texts in it may
/// look like what is around them.
fn exact(field: &Field, value: &str) -> String {
    match is_exact(field.data_type()) {
        true => value.to_owned(),
        false if has_fields(field.data_type()) => format!("row({value}, ({value})::VARCHAR)"),
        false => format!("({value})::VARCHAR"),
    }
}

fn has_fields(data_type: &DataType) -> bool {
    match data_type {
        DataType::List(item) => has_fields(item.data_type()),
        other => matches!(other, DataType::Struct(_)),
    }
}

fn is_exact(data_type: &DataType) -> bool {
    match data_type {
        DataType::Float32 | DataType::Float64 | DataType::Interval(_) => false,
        DataType::List(item) => is_exact(item.data_type()),
        DataType::Struct(fields) => fields.iter().all(|field| is_exact(field.data_type())),
        _ => true,
    }
}

/// Finds one row of the target for each staged row. Returns a temporary table with the target
/// row's `id` beside the staged columns.
fn pair(session: &mut Session, plan: &TablePlan, stage: &TableRef) -> Result<TableRef> {
    let target = session.target(plan);
    let columns = || plan.source.columns.iter().enumerate();
    let staged =
        join(columns(), ", ", |(index, column)| exact(&column.field, &format!("c{index}")));
    let standing =
        join(columns(), ", ", |(index, column)| format!("{} AS c{index}", Ident(column.name())));
    let equal = join(columns(), " AND ", |(index, column)| {
        let [w, h] = ["w", "h"].map(|side| exact(&column.field, &format!("{side}.c{index}")));
        format!("{w} IS NOT DISTINCT FROM {h}")
    });
    let alive = match plan.delete {
        DeleteMode::Hard => "true".to_owned(),
        DeleteMode::Soft => format!("{} IS DISTINCT FROM true", Ident(deleted_column(plan)?)),
    };
    let each = if fault::planted("multiset-removes-all") { "true" } else { "w.n = h.n" };
    let matched = session.temporary("rowtide_matched");
    // Only rows equal to a staged one are numbered, not the whole table.
    let sql = format!(
        "CREATE OR REPLACE TEMP TABLE {matched} AS \
         WITH want AS (SELECT *, row_number() OVER (PARTITION BY {staged}) AS n FROM {stage}), \
         standing AS (SELECT rowid AS id, {standing} FROM {target} WHERE {alive}), \
         equals AS (SELECT * FROM standing AS h SEMI JOIN {stage} AS w ON {equal}), \
         have AS (SELECT *, row_number() OVER (PARTITION BY {staged}) AS n FROM equals) \
         SELECT h.id, w.* FROM want AS w JOIN have AS h ON {each} AND {equal}"
    );
    session.execute(&sql, || format!("finding the removed rows of {}", plan.target))?;
    Ok(matched)
}
