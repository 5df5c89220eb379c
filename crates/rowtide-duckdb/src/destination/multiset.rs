//! Net changes of a table without a key: for each removed row, one equal row goes.
//!
//! Equal rows are numbered on both sides, and the n-th of the one takes the n-th of the other.
//! NULL equals NULL. Rows are paired exactly first. What is left then is paired with 0 and -0
//! taken for one: DuckDB makes them one when it packs a column, so the very row may not be there
//! any more.

use arrow_array::RecordBatch;
use arrow_schema::{DataType, FieldRef};
use rowtide_core::{Column, DeleteMode, Error, Mode, MultisetWrite, Result, TablePlan, fault};

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
    let stage = session.stage(removes)?;
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
    let removed = session.change(&target, &sql)?;
    fault::point("write.removed")?;
    session.unstage(&matched)?;
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
pub(super) fn keep_row_numbers(session: &mut Session, target: &TableRef) -> Result<()> {
    session.change(target, &format!("DELETE FROM {target} WHERE false")).map(drop)
}

/// The value in a form that is equal only to itself: DuckDB takes 0 and -0 for equal, and a month
/// and 30 days. Their texts differ. The text of a struct alone would not do, as texts in it may
/// look like what is around them.
fn exact(data_type: &DataType, value: &str) -> String {
    match is_exact(data_type) {
        true => value.to_owned(),
        false if has_fields(data_type) => format!("row({value}, ({value})::VARCHAR)"),
        false => format!("({value})::VARCHAR"),
    }
}

/// The same with 0 and -0 as one. Within lists and structs each value is looked at by itself:
/// `depth` keeps the names of nested lambdas apart.
fn by_value(data_type: &DataType, value: &str, depth: usize) -> String {
    match data_type {
        _ if is_exact(data_type) => value.to_owned(),
        DataType::Float32 | DataType::Float64 => {
            let text = exact(data_type, value);
            format!("CASE {text} WHEN '-0.0' THEN '0.0' ELSE {text} END")
        }
        DataType::List(item) => {
            let each = format!("x{depth}");
            let form = by_value(item.data_type(), &each, depth + 1);
            format!("list_transform({value}, lambda {each}: {form})")
        }
        DataType::Struct(fields) => {
            // By place: names may be anything.
            let forms = join(fields.iter().zip(1..), ", ", |(field, at): (&FieldRef, usize)| {
                by_value(field.data_type(), &format!("struct_extract_at({value}, {at})"), depth)
            });
            format!("CASE WHEN ({value}) IS NOT NULL THEN row({forms}) END")
        }
        _ => exact(data_type, value),
    }
}

fn has_floats(data_type: &DataType) -> bool {
    match data_type {
        DataType::List(item) => has_floats(item.data_type()),
        DataType::Struct(fields) => fields.iter().any(|field| has_floats(field.data_type())),
        other => matches!(other, DataType::Float32 | DataType::Float64),
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
    let matched = session.temporary("rowtide_matched");
    let pairing = || format!("finding the removed rows of {}", plan.target);
    let pairs = pairs(session, plan, (stage, "true", "true"), exact)?;
    session.execute(&format!("CREATE OR REPLACE TEMP TABLE {matched} AS {pairs}"), pairing)?;
    if plan.source.columns.iter().any(|column| has_floats(column.field.data_type())) {
        let left = |id: &str| format!("rowid NOT IN (SELECT {id} FROM {matched})");
        let unpaired = format!("SELECT count(*) FROM {stage} WHERE {}", left("staged"));
        if session.count(&unpaired)? > 0 {
            let rest = (stage, &*left("staged"), &*left("id"));
            let pairs = self::pairs(session, plan, rest, |kind, value| by_value(kind, value, 0))?;
            session.execute(&format!("INSERT INTO {matched} {pairs}"), pairing)?;
        }
    }
    Ok(matched)
}

/// The statement that pairs the rows of `stage` and of the target for which the conditions hold
/// by what `form` makes of their values.
fn pairs(
    session: &Session,
    plan: &TablePlan,
    (stage, staged, standing): (&TableRef, &str, &str),
    form: impl Fn(&DataType, &str) -> String,
) -> Result<String> {
    let target = session.target(plan);
    let columns = || plan.source.columns.iter().enumerate();
    let form = |column: &Column, value: &str| form(column.field.data_type(), value);
    let key = join(columns(), ", ", |(at, column)| form(column, &format!("c{at}")));
    let values = join(columns(), ", ", |(at, column)| format!("{} AS c{at}", Ident(column.name())));
    let equal = join(columns(), " AND ", |(at, column)| {
        let [w, h] = ["w", "h"].map(|side| form(column, &format!("{side}.c{at}")));
        format!("{w} IS NOT DISTINCT FROM {h}")
    });
    let alive = match plan.delete {
        DeleteMode::Hard => "true".to_owned(),
        DeleteMode::Soft => format!("{} IS DISTINCT FROM true", Ident(deleted_column(plan)?)),
    };
    let each = if fault::planted("multiset-removes-all") { "true" } else { "w.n = h.n" };
    // Only rows equal to a staged one are numbered, not the whole table.
    Ok(format!(
        "WITH wanted AS (SELECT rowid AS staged, * FROM {stage} WHERE {staged}), \
         want AS (SELECT *, row_number() OVER (PARTITION BY {key}) AS n FROM wanted), \
         standing AS (SELECT rowid AS id, {values} FROM {target} WHERE {alive} AND {standing}), \
         equals AS (SELECT * FROM standing AS h SEMI JOIN wanted AS w ON {equal}), \
         have AS (SELECT *, row_number() OVER (PARTITION BY {key}) AS n FROM equals) \
         SELECT h.id, w.* FROM want AS w JOIN have AS h ON {each} AND {equal}"
    ))
}
