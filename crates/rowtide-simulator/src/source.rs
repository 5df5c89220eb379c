//! The log as a source.

mod snapshot;
mod stream;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;
use rowtide_core::traits::{
    AttachRequest, Attached, ChangeStream, ModeOf, SnapshotRequest, SourceOperations, SourceStatus,
    StreamStart, TableSnapshot,
};
use rowtide_core::view::{FencedView, ViewRequest};
use rowtide_core::{
    Checkpoint, Error, Finding, Offset, Partition, Result, Source, SourceIdentity, TableSchema,
    TableSelection, XidSnapshot, fault,
};
use tokio::sync::watch;

use crate::log::{Log, index_of};
use crate::scenario::Site;
use crate::world::{Published, Slot, World};

/// The source as one run of the pipeline sees it.
pub(crate) struct ModelSource {
    world: Arc<World>,
    run: u64,
}

fn partition() -> Partition {
    "model".into()
}

fn at(position: u64) -> Checkpoint {
    Checkpoint::single(partition(), Offset(position))
}

/// What a session that asks now sees.
fn snapshot_of(log: &Log, now: u64) -> XidSnapshot {
    let unseen = log.unseen(now);
    let next = log.next_xid();
    XidSnapshot {
        xmin: unseen.first().copied().unwrap_or(next).into(),
        xmax: next.into(),
        xip: unseen.into_iter().map(u64::from).collect(),
        wal_end: Offset(log.end()),
    }
}

fn lost(why: &str) -> Error {
    Error::position_lost(why).with_hint("copy the tables again")
}

impl ModelSource {
    pub(crate) fn new(world: Arc<World>, run: u64) -> Self {
        Self { world, run }
    }

    async fn arrive(&self, site: Site) -> Result<()> {
        self.world.arrive(self.run, site).await.map(drop)
    }

    fn create(&self, tables: &BTreeSet<usize>) -> Attached {
        let mut state = self.world.lock();
        state.slots_made += 1;
        let start = state.log.end();
        let incarnation = state.slots_made;
        state.slot = Some(Slot { incarnation, start, acknowledged: start });
        let published = Published { entry: incarnation, from: start, without: BTreeSet::new() };
        state.published = tables.iter().map(|table| (*table, published.clone())).collect();
        let identity = identity(incarnation, &state.published);
        Attached { identity, checkpoint: at(start), added: Vec::new(), setbacks: Vec::new() }
    }

    fn resume(
        &self,
        request: &AttachRequest<'_>,
        (identity_known, checkpoint): (&SourceIdentity, &Checkpoint),
    ) -> Result<Attached> {
        let now = self.world.now();
        let mut state = self.world.lock();
        let slot = state.slot.clone().ok_or_else(|| lost("the slot is gone"))?;
        let position = checkpoint.position().0;
        let known = identity_known.0.get("incarnation").and_then(serde_json::Value::as_u64);
        if !fault::planted("identity-unchecked") {
            if known != Some(slot.incarnation) {
                return Err(lost("the slot is another one"));
            }
            if slot.acknowledged > position {
                return Err(lost("the slot is ahead"));
            }
        }
        let before: BTreeMap<u64, u64> = identity_known
            .0
            .get("tables")
            .and_then(|tables| serde_json::from_value(tables.clone()).ok())
            .unwrap_or_default();
        let mut added = Vec::new();
        for (table, _) in request.tables {
            let Some(index) = index_of(&table.name) else { continue };
            let entry = match state.published.get(&index) {
                Some(published) => published.entry,
                None => {
                    state.slots_made += 1;
                    let (entry, from) = (state.slots_made, state.log.end());
                    let without = state.log.unseen(now);
                    state.published.insert(index, Published { entry, from, without });
                    entry
                }
            };
            let known = before.get(&(index as u64));
            let accepted = known.is_some() && fault::planted("publication-gap-accepted");
            if known != Some(&entry) && !accepted {
                added.push(table.name.clone());
            }
        }
        let identity = identity(slot.incarnation, &state.published);
        Ok(Attached { identity, checkpoint: checkpoint.clone(), added, setbacks: Vec::new() })
    }
}

fn identity(incarnation: u64, published: &BTreeMap<usize, Published>) -> SourceIdentity {
    let tables: BTreeMap<u64, u64> =
        published.iter().map(|(table, published)| (*table as u64, published.entry)).collect();
    SourceIdentity(serde_json::json!({ "incarnation": incarnation, "tables": tables }))
}

#[async_trait]
impl Source for ModelSource {
    async fn preflight(&self, _: &TableSelection, _: ModeOf<'_>) -> Result<Vec<Finding>> {
        Ok(Vec::new())
    }

    async fn discover(&self, selection: &TableSelection) -> Result<Vec<Arc<TableSchema>>> {
        self.arrive(Site::Discover).await?;
        let now = self.world.now();
        let state = self.world.lock();
        let mut found = Vec::new();
        for (index, table) in state.log.tables.iter().enumerate().filter(|(_, t)| t.exists) {
            let schema = table.schema(state.log.visible_version(index, now));
            found.extend(schema.filter(|schema| selection.contains(&schema.name)).cloned());
        }
        Ok(found)
    }

    async fn attach(&self, request: AttachRequest<'_>) -> Result<Attached> {
        self.arrive(Site::Attach).await?;
        let tables = request.tables.iter().filter_map(|(table, _)| index_of(&table.name));
        let attached = match request.known {
            Some((identity, Some(checkpoint))) => self.resume(&request, (identity, checkpoint))?,
            _ => self.create(&tables.collect()),
        };
        self.arrive(Site::Attached).await?;
        Ok(attached)
    }

    async fn snapshot(&self, request: SnapshotRequest) -> Result<TableSnapshot> {
        snapshot::open(self, request).await
    }

    async fn fenced_view(&self, request: ViewRequest) -> Result<Option<FencedView>> {
        snapshot::fenced(self, request).await
    }

    async fn stream(
        &self,
        start: StreamStart,
        durable: watch::Receiver<Checkpoint>,
    ) -> Result<Box<dyn ChangeStream>> {
        self.arrive(Site::Stream).await?;
        let published = |id: &u64| {
            let table = usize::try_from(id.saturating_sub(1)).unwrap_or(usize::MAX);
            self.world.lock().published.contains_key(&table)
        };
        if !start.tables.iter().all(|table| published(&table.id)) {
            return Err(Error::unavailable("a table is no longer published"));
        }
        Ok(Box::new(stream::Stream::open(self, &start, durable)))
    }

    fn operations(&self) -> &dyn SourceOperations {
        self
    }
}

#[async_trait]
impl SourceOperations for ModelSource {
    fn intent(&self) -> SourceIdentity {
        SourceIdentity(serde_json::json!({ "intent": true }))
    }

    async fn head(&self) -> Result<Checkpoint> {
        self.arrive(Site::Head).await?;
        Ok(at(self.world.lock().log.end()))
    }

    async fn status(&self) -> Result<SourceStatus> {
        let acknowledged = self.world.lock().slot.as_ref().map(|slot| slot.acknowledged);
        Ok(SourceStatus { acknowledged, ..SourceStatus::default() })
    }

    async fn release(&self) -> Result<Vec<String>> {
        Ok(Vec::new())
    }
}
