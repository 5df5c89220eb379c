//! A consistent copy of one table, as a session that sees only what is visible reads it.

use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::sync::{Arc, Weak};
use std::time::Duration;

use arrow_array::{Array, Int64Array, RecordBatch};
use async_trait::async_trait;
use rowtide_core::traits::{CopyExceptions, SnapshotPart, SnapshotRequest, TableSnapshot};
use rowtide_core::view::{FencedView, ViewRequest};
use rowtide_core::{Error, Fence, Op, Result, TableSchema, ValuePolicy, XidSnapshot, fault};

use super::{ModelSource, snapshot_of};
use crate::log::{KEY, Row, apply, index_of};
use crate::refusing;
use crate::rows::batch;
use crate::scenario::{Site, TableSpec};
use crate::view::ModelView;
use crate::world::World;

/// How often it is looked whether others have ended.
const LOOK: Duration = Duration::from_micros(700);

pub(super) async fn open(source: &ModelSource, request: SnapshotRequest) -> Result<TableSnapshot> {
    let world = &source.world;
    let (table, position, (fence, rows)) = seen(source, &request.table, request.settle).await?;
    let spec = world.lock().log.tables[table].spec;
    source.arrive(Site::Fenced).await?;
    world.lock().tally.copies += 1;
    let lanes = rows.chunks(rows.len().div_ceil(request.lanes.max(1)).max(1));
    let part = |rows: &[Row]| {
        let chunks = rows.chunks(world.knobs.copy_rows.max(1)).map(<[Row]>::to_vec).collect();
        let table = Arc::clone(&request.table);
        let left_out = CopyExceptions::default();
        let world = Arc::clone(world);
        let part = Part { world, run: source.run, table, spec, chunks, last: None, left_out };
        Box::new(part) as Box<dyn SnapshotPart>
    };
    let mut parts: Vec<_> = lanes.map(part).collect();
    if parts.is_empty() {
        parts.push(part(&[]));
    }
    let fence = Fence::Xids(fence);
    Ok(TableSnapshot { fence, position, estimated_rows: None, estimated_bytes: None, parts })
}

/// The same as a view; none if values may be replaced, or rows kept out.
pub(super) async fn fenced(
    source: &ModelSource,
    request: ViewRequest,
) -> Result<Option<FencedView>> {
    let wanted = request.plan.source;
    let (table, position, (fence, rows)) = seen(source, &wanted, true).await?;
    if source.world.lock().log.tables[table].spec.policy.is_some() {
        return Ok(None);
    }
    source.world.lock().tally.compared += 1;
    let view = Box::new(ModelView::new(wanted, rows));
    Ok(Some(FencedView { fence: Fence::Xids(fence), position, view }))
}

/// The table, a place in the log, and what is visible, whose changes all lie below or beyond it.
async fn seen(
    source: &ModelSource,
    wanted: &TableSchema,
    settle: bool,
) -> Result<(usize, u64, (XidSnapshot, Vec<Row>))> {
    let world = &source.world;
    source.arrive(Site::Snapshot).await?;
    let table = index_of(&wanted.name).ok_or_else(|| Error::internal("no such table"))?;
    let (position, running) = {
        let state = world.lock();
        (state.log.end(), state.log.unseen(world.now()))
    };
    let settle = settle && !fault::planted("settle-skipped");
    while settle && !world.lock().log.unseen(world.now()).is_disjoint(&running) {
        tokio::time::sleep(LOOK).await;
    }
    while world.lock().log.is_locked(table, world.now()) {
        tokio::time::sleep(LOOK).await;
    }
    Ok((table, position, view(world, table, wanted)?))
}

fn view(world: &World, table: usize, wanted: &TableSchema) -> Result<(XidSnapshot, Vec<Row>)> {
    let now = world.now();
    let state = world.lock();
    if state.log.visible_version(table, now) != wanted.version {
        return Err(Error::schema_drift(format!("{} changed before its copy", wanted.name)));
    }
    let mut rows: BTreeMap<i64, Row> = BTreeMap::new();
    for transaction in state.log.transactions.iter().filter(|t| t.visible_at <= now) {
        for change in transaction.changes.iter().filter(|change| change.table == table) {
            apply(&mut rows, &change.effect);
        }
    }
    Ok((snapshot_of(&state.log, now), rows.into_values().collect()))
}

/// One lane.
struct Part {
    world: Arc<World>,
    run: u64,
    table: Arc<TableSchema>,
    spec: TableSpec,
    chunks: VecDeque<Vec<Row>>,
    /// What was handed out last.
    last: Option<Weak<dyn Array>>,
    /// What became of values since it was asked last.
    left_out: CopyExceptions,
}

impl Part {
    /// Those of `rows` that are handed over, as they are.
    fn shown(&mut self, rows: &[Row]) -> Result<Vec<Row>> {
        let mut shown = Vec::new();
        let mut keys = Vec::new();
        for row in rows {
            if self.spec.policy == Some(ValuePolicy::Fail) && refusing::refuses(self.spec, row, 0) {
                return Err(Error::data("a value in the copy is refused"));
            }
            if refusing::keeps_out(self.spec, row, 0) {
                keys.push(row[KEY]);
                let refused = refusing::refused(self.spec, (row, 0), Op::Insert);
                self.left_out.refused.push(refused);
                continue;
            }
            let (row, replaced) = refusing::replaced(self.spec, row, 0);
            self.left_out.replaced.add(replaced);
            shown.push(row);
        }
        if self.table.is_keyed() && !keys.is_empty() {
            let keys = Arc::new(keys.into_iter().collect::<Int64Array>());
            self.left_out.keys = Some(RecordBatch::try_new(self.table.key_arrow(), vec![keys])?);
        }
        Ok(shown)
    }
}

#[async_trait]
impl SnapshotPart for Part {
    async fn next(&mut self) -> Result<Option<(RecordBatch, u64)>> {
        if self.last.take().is_some_and(|last| last.strong_count() > 0) {
            self.world.violate("memory", "a lane asked for rows before it let go of the last");
        }
        self.world.arrive(self.run, Site::Lane).await?;
        let Some(rows) = self.chunks.pop_front() else { return Ok(None) };
        let rows = self.shown(&rows)?;
        let rows = batch(&self.table, &rows)?;
        self.last = rows.columns().first().map(Arc::downgrade);
        Ok(Some((rows, 1)))
    }

    fn exceptions(&mut self) -> Result<CopyExceptions> {
        Ok(std::mem::take(&mut self.left_out))
    }
}
