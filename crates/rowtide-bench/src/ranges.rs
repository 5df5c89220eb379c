//! Comparing large tables row by row, one range of keys after another, so that both sides are
//! never in memory whole.

use rowtide_testkit::{Result, source_rows};

use crate::arena::{Arena, DB, Pipeline};

/// A table of the source's usual database, numbered by `id` from 1 on.
pub(crate) struct Numbered<'a> {
    pub(crate) table: &'a str,
    /// Its columns, in words that are the same text on both sides; none is NULL.
    pub(crate) columns: &'a str,
    /// Rows held at a time.
    pub(crate) step: u64,
}

/// Compares the whole table with its copy; the first difference is an error.
pub(crate) fn check_equal_by_ranges(
    arena: &Arena,
    pipeline: &Pipeline<'_>,
    numbered: &Numbered<'_>,
) -> Result<()> {
    let Numbered { table, columns, step } = numbered;
    let count = format!("SELECT count(*) || ' ' || max(id) FROM {table}");
    let [here, there] = both(arena, pipeline, &count)?;
    if here != there {
        return Err(format!("{table}: count and last row are {here:?} here, {there:?} there"));
    }
    let last = here.first().and_then(|text| text.split(' ').next_back()?.parse().ok());
    let last: u64 = last.ok_or_else(|| format!("{table} has no rows to compare"))?;
    for first in (0..last).step_by(usize::try_from(*step).unwrap_or(usize::MAX)) {
        let range = format!("id > {first} AND id <= {first} + {step}");
        let rows =
            format!("SELECT concat_ws('|', id, {columns}) FROM {table} WHERE {range} ORDER BY id");
        let [here, there] = both(arena, pipeline, &rows)?;
        let differing = here.iter().zip(&there).find(|(here, there)| here != there);
        if let Some((here, there)) = differing {
            return Err(format!("{table} differs:\n{here}\n{there}"));
        }
        if here.len() != there.len() {
            let (here, there) = (here.len(), there.len());
            return Err(format!("{table}, {range}: {here} rows here, {there} there"));
        }
    }
    Ok(())
}

fn both(arena: &Arena, pipeline: &Pipeline<'_>, sql: &str) -> Result<[Vec<String>; 2]> {
    Ok([source_rows(&arena.server, DB, sql)?, pipeline.with_copy(|copied| copied.rows(sql))?])
}
