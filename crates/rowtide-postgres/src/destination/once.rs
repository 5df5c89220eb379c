//! Events that stand more than once in a history, of which one stays.

use arrow_array::RecordBatch;
use rowtide_core::{Error, Result, TablePlan};

use super::session::Session;
use super::target::Target;
use crate::quote::identifier;

/// Leaves one of the events with the same place under each key of `rows`.
pub(super) async fn apply(
    session: &mut Session,
    (plan, target): (&TablePlan, &Target),
    rows: &RecordBatch,
) -> Result<()> {
    let metadata = &plan.metadata;
    let (Some(position), Some(seq), false) =
        (&metadata.position, &metadata.seq, target.key.is_empty())
    else {
        let said = format!("the events of {} have no key, or no place", plan.target);
        return Err(Error::internal(said));
    };
    let keys = target.keys_of(rows)?;
    let stage = session.stage("keys", &target.key_columns(), &[keys]).await?;
    let same: Vec<String> = target
        .key
        .iter()
        .map(|&at| format!("t.{}", identifier(&target.columns[at].name)))
        .chain([position, seq].map(|name| format!("t.{}", identifier(name))))
        .collect();
    let (name, from, on, same) = (&target.name, stage.as_s(), target.same_key(0), same.join(", "));
    let delete = format!(
        "DELETE FROM {name} WHERE ctid = ANY (ARRAY(SELECT e.id FROM (SELECT t.ctid AS id, \
         pg_catalog.row_number() OVER (PARTITION BY {same} ORDER BY t.ctid) AS n \
         FROM {name} AS t WHERE EXISTS (SELECT 1 FROM {from} WHERE {on})) AS e WHERE e.n > 1))"
    );
    session.change(&format!("removing rows of {}", plan.target), &delete).await.map(drop)
}
