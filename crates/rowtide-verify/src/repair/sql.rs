//! The same in SQL, for people who want to see what would be done, or have to do it.

use rowtide_core::canonical::Encoder;
use rowtide_core::{DeleteMode, Mode, Result, TablePlan};

use super::plan::{Act, Fix};
use super::rows::Rows;
use crate::compare;

/// What a fix does, as statements. Values stand as texts, which both sides take for values of the
/// column's type; a list or a struct may have to be written otherwise.
pub(crate) fn statements(
    plan: &TablePlan,
    fix: &Fix,
    (ours, theirs, encoder): (&Rows, &Rows, &Encoder),
) -> Result<Vec<String>> {
    let table = name(plan);
    let row = |rows: &Rows| -> Result<Vec<(String, String)>> {
        let texts = rows.texts(fix.hash, encoder)?.unwrap_or_default();
        let all: Vec<usize> = (0..plan.source.columns.len()).collect();
        let shown = compare::shown(&plan.source, &texts, &all).into_iter();
        Ok(shown.map(|one| (quoted(&one.column), literal(one.value.as_deref()))).collect())
    };
    let insert = |row: Vec<(String, String)>| {
        let (names, values): (Vec<String>, Vec<String>) = row.into_iter().unzip();
        let (names, values) = (names.join(", "), values.join(", "));
        format!("INSERT INTO {table} ({names}) VALUES ({values});")
    };
    let key = |row: &[(String, String)]| {
        let of_key = |at: &usize| row.get(*at).map(|(name, value)| format!("{name} = {value}"));
        plan.source.key.iter().filter_map(of_key).collect::<Vec<_>>().join(" AND ")
    };
    let delete = |row: &[(String, String)]| format!("DELETE FROM {table} WHERE {};", key(row));
    let mark = |row: &[(String, String)]| match (plan.delete, &plan.metadata.deleted) {
        (DeleteMode::Soft, Some(deleted)) => {
            format!("UPDATE {table} SET {} = true WHERE {};", quoted(deleted), key(row))
        }
        _ => delete(row),
    };
    if plan.mode == Mode::Append && fix.act != Act::Once {
        let what = if fix.act == Act::Remove { "delete" } else { "corrective" };
        return Ok(vec![format!("-- {table}: a {what} event is added for row {:016x}", fix.hash)]);
    }
    Ok(match fix.act {
        Act::Put => {
            let row = row(ours)?;
            vec![delete(&row), insert(row)]
        }
        Act::Remove => vec![mark(&row(theirs)?)],
        Act::Add(rows) => vec![insert(row(ours)?); rows],
        Act::Take(rows) => {
            let row = row(theirs)?;
            let same =
                |(name, value): &(String, String)| format!("{name} IS NOT DISTINCT FROM {value}");
            let same: Vec<String> = row.iter().map(same).collect();
            let same = same.join(" AND ");
            vec![format!("-- {rows} of the rows WHERE {same} go from {table}")]
        }
        Act::Once => vec![once(plan)],
    })
}

/// Leaves one of the events that stand more than once.
fn once(plan: &TablePlan) -> String {
    let column = |name: &Option<String>| name.as_deref().map_or_else(String::new, quoted);
    let key = plan.source.key.iter().filter_map(|&at| plan.source.columns.get(at));
    let key: Vec<String> = key.map(|column| quoted(column.name())).collect();
    let (key, table) = (key.join(", "), name(plan));
    let metadata = &plan.metadata;
    let (position, seq) = (column(&metadata.position), column(&metadata.seq));
    format!(
        "-- ctid is rowid in DuckDB\nDELETE FROM {table} WHERE ctid IN (SELECT place FROM \
         (SELECT ctid AS place, row_number() OVER (PARTITION BY {key}, {position}, {seq}) AS n FROM {table}) AS e \
         WHERE n > 1);"
    )
}

fn name(plan: &TablePlan) -> String {
    format!("{}.{}", quoted(&plan.target.schema), quoted(&plan.target.name))
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn literal(value: Option<&str>) -> String {
    value.map_or_else(|| "NULL".to_owned(), |text| format!("'{}'", text.replace('\'', "''")))
}
