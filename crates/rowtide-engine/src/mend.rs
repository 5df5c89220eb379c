//! Puts right a table that stands as of a place in a log that is lost, without copying it again.
//!
//! It is the copy's protocol, with a difference in the place of the staging table: the table's
//! changes are kept aside, so its rows stand still; the source is looked at in one snapshot, with a
//! fence; what differs is written together with what was kept aside and the fence leaves out, in
//! one commit. Nothing has to settle, and a crash before that commit leaves the table as it stood.

mod difference;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use arrow_array::{RecordBatch, RecordBatchOptions};
use rowtide_core::traits::Writer;
use rowtide_core::view::{FencedView, Fixed, ViewRequest};
use rowtide_core::{
    ChangeBatch, Commit, CommitRun, Error, Exceptions, MergeWrite, Mode, MultisetWrite, Offset, Op,
    Phase, Result, TablePlan, TableState, TableWrite, Unchanged, fault, fold,
};

use crate::conform::same_columns;
use crate::copy::{Copied, CopyContext};
use crate::quarantine::LeftOut;
use crate::spool::{Spool, SpoolItem, SpoolMemory};
pub(crate) use difference::Counts;
use difference::{Side, Sides};

/// What differs between the source and a table that stands.
#[derive(Debug)]
pub(crate) struct Mended {
    /// Rows that go, and only then those that come.
    goes: Spool,
    comes: Spool,
    pub(crate) counts: Counts,
}

/// Whether what differs of a table can be found and put right: its rows are the source's rows, and
/// `plan` is how it stands.
pub(crate) fn can_mend(plan: &TablePlan, known: &TableState) -> bool {
    plan.mode == Mode::Merge
        && known.mode == plan.mode
        && known.delete == plan.delete
        && known.metadata == plan.metadata
        && known.target == plan.target
        && known.schema.id == plan.source.id
        && known.schema.key == plan.source.key
        && known.schema.identity == plan.source.identity
        && known.schema.is_keyed() == plan.source.is_keyed()
        && same_columns(&known.schema, &plan.source)
        // A row that is kept out may come in without a change: only a copy tells of all of them.
        && known.values.open() == 0
        && known.fence.is_some()
}

/// Finds out what differs; `None` if that cannot be found, or is so much that a copy takes less.
pub(crate) async fn mend(context: &CopyContext, plan: &TablePlan) -> Result<Option<Copied>> {
    let name = &plan.source.name;
    let Some(standing) = context.destination.inspect() else { return Ok(None) };
    let request = ViewRequest {
        pipeline: context.pipeline.as_str().into(),
        plan: plan.clone(),
        condition: None,
        range: None,
        share: Fixed::of(context.settings.verify.connections),
        batch_bytes: context.settings.copy_batch_bytes,
        statement: context.settings.verify.statement,
    };
    fault::point("snapshot.before")?;
    let Some(FencedView { fence, position, view }) =
        context.source.fenced_view(request.clone()).await?
    else {
        return Ok(None);
    };
    context.monitor.table(name, |table| {
        table.phase = Phase::Copying;
        table.started = Some(context.environment.instant());
    });
    tracing::info!(table = %name, "looking for what differs");
    let standing = standing.view(request).await?;
    fault::point("snapshot.fenced")?;
    let mut sides = Sides { source: view, standing };
    let mut mended = Mended::new();
    let directory = context.settings.spool_directory.clone();
    let directory = directory.unwrap_or_else(|| context.environment.temporary_directory());
    let at = Commit {
        position: Offset(position),
        xid: 0,
        committed_at: context.environment.now_micros(),
    };
    let mut take = |side, rows| {
        let (op, spool) = match side {
            Side::Standing => (Op::Delete, &mut mended.goes),
            Side::Source => (Op::Insert, &mut mended.comes),
        };
        spool.push(SpoolItem::Changes(batch(plan, (op, at), rows)), &directory)
    };
    let found = difference::find(&mut sides, &plan.source, &mut take).await?;
    let Some(counts) = found else { return Ok(None) };
    mended.counts = counts;
    Ok(Some(Copied {
        plan: plan.clone(),
        fence,
        rows: 0,
        position: Offset(position),
        left_out: LeftOut::default(),
        mended: Some(mended),
    }))
}

impl Mended {
    fn new() -> Self {
        let memory = SpoolMemory::default();
        let (goes, comes) = (Spool::new(&memory), Spool::new(&memory));
        Self { goes, comes, counts: Counts::default() }
    }

    /// Writes what differs into the open epoch.
    pub(crate) async fn write(
        self,
        writer: &mut dyn Writer,
        plan: &TablePlan,
        now: i64,
    ) -> Result<()> {
        for spool in [self.goes, self.comes] {
            let mut reader = spool.into_reader()?;
            while let Some(item) = reader.next()? {
                let SpoolItem::Changes(batch) = item else {
                    return Err(Error::internal("what differs is no rows"));
                };
                let write = match batch.ops.first() {
                    Some(Op::Delete) if fault::planted("repair-leaves-rows") => continue,
                    Some(Op::Delete) => fold(&batch, plan, now)?,
                    _ => coming(&batch, plan, now)?,
                };
                writer.write(plan, write).await?;
                fault::point("write.applied")?;
            }
        }
        Ok(())
    }
}

fn batch(plan: &TablePlan, (op, commit): (Op, Commit), rows: RecordBatch) -> ChangeBatch {
    let count = rows.num_rows();
    ChangeBatch {
        table: Arc::clone(&plan.source),
        ops: vec![op; count],
        rows,
        unchanged: Unchanged::default(),
        commits: vec![CommitRun { commit, rows: count }],
        ordinals: vec![0; count],
        exceptions: Exceptions::default(),
    }
}

/// Rows as a copy writes them: what changed them is not known.
fn coming(batch: &ChangeBatch, plan: &TablePlan, now: i64) -> Result<TableWrite> {
    let count = batch.len();
    let position = batch.commits.first().map_or(0, |run| run.commit.position.0);
    let position = i64::try_from(position).unwrap_or(i64::MAX);
    let mut columns = batch.rows.columns().to_vec();
    columns.extend(plan.metadata.snapshot_values(count, position, now));
    let options = RecordBatchOptions::new().with_row_count(Some(count));
    let rows = Some(RecordBatch::try_new_with_options(plan.target_arrow(), columns, &options)?);
    Ok(match plan.source.is_keyed() {
        true => TableWrite::Merge(MergeWrite { upserts: rows, ..MergeWrite::default() }),
        false => TableWrite::Multiset(MultisetWrite { inserts: rows, removes: None }),
    })
}
