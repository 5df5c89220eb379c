//! Events that stand more than once in a history, of which one stays.

use arrow_array::RecordBatch;
use rowtide_core::{Error, Result, TablePlan};

use super::merge::{keys_of, same_key};
use super::multiset::keep_row_numbers;
use super::session::Session;
use crate::quote::{Ident, join};

/// Leaves one of the events with the same place under each key of `rows`.
pub(super) fn apply(session: &mut Session, plan: &TablePlan, rows: &RecordBatch) -> Result<()> {
    let metadata = &plan.metadata;
    let (Some(position), Some(seq), false) =
        (&metadata.position, &metadata.seq, plan.source.key.is_empty())
    else {
        let said = format!("the events of {} have no key, or no place", plan.target);
        return Err(Error::internal(said));
    };
    let target = session.target(plan);
    keep_row_numbers(session, &target)?;
    let keys = session.fed(&[keys_of(plan, rows)?])?;
    let same =
        join(&plan.source.key, "", |&at| format!("t.{}, ", Ident(plan.source.columns[at].name())));
    let (position, seq, on) = (Ident(position), Ident(seq), same_key(plan, 0));
    let sql = format!(
        "DELETE FROM {target} WHERE rowid IN (SELECT id FROM (SELECT t.rowid AS id, \
         row_number() OVER (PARTITION BY {same}t.{position}, t.{seq} ORDER BY t.rowid) AS n \
         FROM {target} AS t SEMI JOIN {keys} AS s ON {on}) WHERE n > 1)"
    );
    session.change(&target, &sql).map(drop)
}
