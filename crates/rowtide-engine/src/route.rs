//! Takes each thing that happened to where its table is: applied, kept aside, or left out.

mod repair;
mod values;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use arrow_array::{RecordBatch, new_null_array};
use rowtide_core::ledger::Occasion;
use rowtide_core::traits::{StreamItem, Writer};
use rowtide_core::{
    Capabilities, ChangeBatch, Commit, Error, Fence, Mode, Offset, Phase, Remedy, Result,
    SchemaChange, TableName, TablePlan, TableState, TableWrite, ValueTally, fault, fold, ledger,
};

use crate::conform::{can_conform, conform, same_columns};
use crate::copy::Copied;
use crate::plan::{Action, Planned, clashes};
use crate::spool::{Spool, SpoolItem, SpoolMemory};
use crate::{Environment, Monitor, RunMode, SchemaPolicy, Settings};

/// Where one table's changes go.
enum Stage {
    /// Applied, but for what the copy contains.
    Live,
    /// Kept aside until the copy is in place.
    Spooling(Spool),
    /// Left out: the table stopped, or is not followed.
    Stopped,
}

struct Route {
    plan: TablePlan,
    state: TableState,
    stage: Stage,
}

/// All followed tables, by the source's stable identifier.
pub(crate) struct Router {
    routes: HashMap<u64, Route>,
    /// Tables that are to be copied again.
    recopies: Vec<TableName>,
    /// What was known of values that cannot be represented when the attempt began.
    values: HashMap<TableName, ValueTally>,
    around: Surroundings,
}

/// What all routes share.
pub(crate) struct Surroundings {
    pub(crate) pipeline: String,
    pub(crate) monitor: Monitor,
    pub(crate) environment: Environment,
    pub(crate) spool_directory: PathBuf,
    pub(crate) capabilities: Capabilities,
    pub(crate) settings: Arc<Settings>,
}

impl Router {
    pub(crate) fn new(
        planned: &[Planned],
        remembered: &[TableState],
        around: Surroundings,
    ) -> Self {
        let memory = SpoolMemory::default();
        let values = |known: &TableState| (known.schema.name.clone(), known.values.clone());
        let values: HashMap<_, _> = remembered.iter().map(values).collect();
        let by_name: HashMap<&TableName, &TableState> =
            remembered.iter().map(|known| (&known.schema.name, known)).collect();
        let route = |planned: &Planned| {
            let (phase, stage) = match &planned.action {
                Action::Follow(_) => (Phase::Streaming, Stage::Live),
                Action::Copy | Action::Mend => {
                    (Phase::Copying, Stage::Spooling(Spool::new(&memory)))
                }
                Action::Load | Action::Leave(_) | Action::Keep | Action::Skip => {
                    (Phase::Stopped, Stage::Stopped)
                }
            };
            let mut state = planned.state(phase);
            state.values = values.get(&planned.plan.source.name).cloned().unwrap_or_default();
            let known = by_name.get(&planned.plan.source.name);
            if let (Action::Mend, Some(known)) = (&planned.action, known) {
                state.rows_copied = known.rows_copied;
                state.fence.clone_from(&known.fence);
            }
            if let Action::Follow(fence) = &planned.action {
                state.rows_copied = known.map_or(0, |known| known.rows_copied);
                state.fence = Some(fence.clone());
            }
            (planned.plan.source.id, Route { plan: planned.plan.clone(), state, stage })
        };
        let routes = planned.iter().filter(|p| p.is_followed()).map(route).collect();
        Self { routes, recopies: Vec::new(), values, around }
    }

    /// Bytes kept aside for all tables.
    pub(crate) fn spooled_bytes(&self) -> u64 {
        let size = |route: &Route| match &route.stage {
            Stage::Spooling(spool) => spool.byte_size(),
            Stage::Live | Stage::Stopped => 0,
        };
        self.routes.values().map(size).sum()
    }

    /// Applies one item of the stream to the open epoch (or keeps it aside); returns the number
    /// of changes applied.
    pub(crate) async fn apply(&mut self, writer: &mut dyn Writer, item: StreamItem) -> Result<u64> {
        match item {
            StreamItem::Changes(batch) => {
                let id = batch.table.id;
                self.one(writer, id, SpoolItem::Changes(batch)).await
            }
            StreamItem::Schema { change, position } => {
                let id = change.table().id;
                self.one(writer, id, SpoolItem::Schema { change, position }).await
            }
            StreamItem::Truncate { tables, commit, ordinal } => {
                let mut changes = 0;
                for table in tables {
                    let item = SpoolItem::Truncate { commit, ordinal };
                    changes += self.one(writer, table.id, item).await?;
                }
                Ok(changes)
            }
        }
    }

    async fn one(&mut self, writer: &mut dyn Writer, id: u64, item: SpoolItem) -> Result<u64> {
        let Some(route) = self.routes.get_mut(&id) else {
            return Ok(0);
        };
        match &mut route.stage {
            Stage::Stopped => Ok(0),
            Stage::Spooling(spool) => {
                fault::point("spool.before")?;
                spool.push(item, &self.around.spool_directory)?;
                fault::point("spool.written")?;
                Ok(0)
            }
            Stage::Live => {
                let changes = route.live(writer, item, &self.around).await?;
                self.recopies.extend(route.wants_copy());
                Ok(changes)
            }
        }
    }

    /// Puts a finished copy in place together with everything that was kept aside for it. The
    /// caller commits: copy, changes and phase become visible at once.
    pub(crate) async fn promote(&mut self, writer: &mut dyn Writer, copied: Copied) -> Result<u64> {
        fault::point("promote.before")?;
        let mut copied = copied;
        if let Some(mended) = copied.mended.take() {
            return self.put_right(writer, copied, mended).await;
        }
        writer.promote(&copied.plan).await.map_err(|error| refused(error, &copied.plan))?;
        let first = self.routes.keys().copied().min().unwrap_or_default();
        let known = self.known(&copied.plan);
        let (told, known) = copied.left_out.settle(&copied.plan, copied.position, known);
        values::write(writer, &copied.plan.source.name, &told, &self.around).await?;
        let Some(route) = self.routes.get_mut(&copied.plan.source.id) else {
            let mut state = copied.plan.state(Phase::Loaded);
            state.fence = Some(copied.fence);
            state.rows_copied = copied.rows;
            state.values = known;
            writer.remember(&state).await?;
            return Ok(0);
        };
        route.state = copied.plan.state(Phase::Streaming);
        route.state.values = known;
        route.state.fence = Some(match first != copied.plan.source.id {
            true if fault::planted("fence-ignored-for-second-table") => Fence::Nothing,
            _ => copied.fence,
        });
        route.state.rows_copied = copied.rows;
        writer.remember(&route.state).await?;
        let changes = route.replay(writer, &self.around).await?;
        self.recopies.extend(route.wants_copy());
        fault::point("promote.replayed")?;
        Ok(changes)
    }

    /// What is known of a table's values that cannot be represented.
    fn known(&self, plan: &TablePlan) -> ValueTally {
        let name = &plan.source.name;
        match self.routes.get(&plan.source.id) {
            Some(route) => route.state.values.clone(),
            None => self.values.get(name).cloned().unwrap_or_default(),
        }
    }

    /// Whether a table waits to be copied again.
    pub(crate) fn wants_copies(&self) -> bool {
        !self.recopies.is_empty()
    }

    /// Takes note of what an operator decided about a table.
    pub(crate) fn decided(&mut self, table: &TableName, state: Option<TableState>) {
        let copy = state.as_ref().is_none_or(|state| state.phase == Phase::Pending);
        if copy {
            self.recopies.push(table.clone());
        }
        let Some(state) = state else { return };
        self.around.monitor.table(table, |shown| {
            shown.phase = state.phase;
            shown.reason.clone_from(&state.reason);
        });
        if let Some(route) = self.routes.values_mut().find(|r| r.plan.source.name == *table) {
            route.stage = Stage::Stopped;
            route.state = state;
        }
    }

    /// How `table` is followed, if its changes are applied.
    pub(crate) fn live(&self, table: &TableName) -> Option<&TablePlan> {
        let live = |route: &&Route| matches!(route.stage, Stage::Live);
        let mut routes = self.routes.values().filter(live).map(|route| &route.plan);
        routes.find(|plan| plan.source.name == *table)
    }

    /// An error of a commit, which names a table at the destination if any: the same by its name at
    /// the source.
    pub(crate) fn refused_at_commit(&self, error: Error) -> Error {
        let mut plans = self.routes.values().map(|route| &route.plan);
        let source = error
            .table()
            .and_then(|target| plans.find(|plan| plan.target == *target))
            .map(|plan| plan.source.name.clone());
        error.concerning(source)
    }

    /// The tables that wait to be copied again.
    pub(crate) fn recopies(&self) -> &[TableName] {
        &self.recopies
    }

    /// Leaves one table for a new copy, within the open epoch.
    pub(crate) async fn copy_again(
        &mut self,
        writer: &mut dyn Writer,
        plan: &TablePlan,
        reason: String,
    ) -> Result<()> {
        self.recopies.push(plan.source.name.clone());
        let values = self.known(plan);
        match self.routes.get_mut(&plan.source.id) {
            Some(route) => route.copy_again(writer, reason, &self.around.monitor).await,
            None => {
                let reason = Some(reason);
                let pending = plan.state(Phase::Pending);
                writer.remember(&TableState { reason, values, ..pending }).await
            }
        }
    }

    /// Stops one table, within the open epoch.
    pub(crate) async fn stop(
        &mut self,
        writer: &mut dyn Writer,
        plan: &TablePlan,
        reason: String,
    ) -> Result<()> {
        let values = self.known(plan);
        match self.routes.get_mut(&plan.source.id) {
            Some(route) => route.stop(writer, reason, &self.around.monitor).await,
            None => {
                let mut route = Route {
                    plan: plan.clone(),
                    state: TableState { values, ..plan.state(Phase::Stopped) },
                    stage: Stage::Stopped,
                };
                route.stop(writer, reason, &self.around.monitor).await
            }
        }
    }
}

/// Names the table that was being written when the destination failed.
fn refused(error: Error, plan: &TablePlan) -> Error {
    error.concerning(Some(plan.source.name.clone()))
}

/// Whether `change` adds a column for values that stand as text.
fn adds_texts(change: &SchemaChange) -> bool {
    let SchemaChange::AddColumn { table, column, .. } = change else { return false };
    table.columns.get(*column).is_some_and(|column| column.text_of().is_some())
}

impl Route {
    async fn live(
        &mut self,
        writer: &mut dyn Writer,
        item: SpoolItem,
        around: &Surroundings,
    ) -> Result<u64> {
        match item {
            SpoolItem::Changes(batch) => self.changes(writer, batch, around).await,
            SpoolItem::Schema { change, position } => {
                self.schema(writer, (change, position), around).await.map(|()| 0)
            }
            SpoolItem::Truncate { commit, ordinal } => {
                self.truncate(writer, (commit, ordinal), around).await
            }
        }
    }

    /// Applies everything that was kept aside, but for what the copy contains.
    async fn replay(&mut self, writer: &mut dyn Writer, around: &Surroundings) -> Result<u64> {
        let mut changes = 0;
        if let Stage::Spooling(spool) = std::mem::replace(&mut self.stage, Stage::Live) {
            let mut reader = spool.into_reader()?;
            while let Some(item) = reader.next()? {
                if matches!(self.stage, Stage::Live) && !fault::planted("promote-without-spool") {
                    changes += self.live(writer, item, around).await?;
                }
            }
        }
        Ok(changes)
    }

    fn fence(&self) -> &Fence {
        self.state.fence.as_ref().unwrap_or(&Fence::Nothing)
    }

    async fn changes(
        &mut self,
        writer: &mut dyn Writer,
        batch: ChangeBatch,
        around: &Surroundings,
    ) -> Result<u64> {
        let Some(batch) = batch.outside(self.fence())? else {
            return Ok(0);
        };
        // INVARIANT: one batch, one schema version, and it is the destination's.
        let batch = match same_columns(&batch.table, &self.plan.source) {
            true => batch,
            false => conform(batch, &self.plan.source)?,
        };
        let Some((batch, told)) = self.settle(writer, batch, around).await? else {
            return Ok(0);
        };
        let write = fold(&batch, &self.plan, around.environment.now_micros())?;
        fault::point("write.before")?;
        writer.write(&self.plan, write).await.map_err(|error| refused(error, &self.plan))?;
        fault::point("write.applied")?;
        self.tell(writer, told, around).await?;
        Ok(batch.len() as u64)
    }

    async fn truncate(
        &mut self,
        writer: &mut dyn Writer,
        (commit, ordinal): (Commit, u32),
        around: &Surroundings,
    ) -> Result<u64> {
        if self.fence().covers(&commit) || fault::planted("truncate-skipped") {
            return Ok(0);
        }
        let schema = self.plan.target_arrow();
        let source = self.plan.source.columns.iter();
        let mut columns: Vec<_> =
            source.map(|column| new_null_array(column.field.data_type(), 1)).collect();
        let now = around.environment.now_micros();
        columns.extend(self.plan.metadata.truncate_values(&commit, ordinal, now));
        // The marker's columns are all null, whatever the source says of them.
        let fields: Vec<_> = schema
            .fields()
            .iter()
            .map(|field| field.as_ref().clone().with_nullable(true))
            .collect();
        let schema = Arc::new(arrow_schema::Schema::new(fields));
        let marker = RecordBatch::try_new(schema, columns)?;
        let write = match self.plan.mode {
            Mode::Append => TableWrite::Append(marker),
            Mode::Merge | Mode::Replace => TableWrite::Truncate { marker },
        };
        fault::point("truncate.before")?;
        writer.write(&self.plan, write).await.map_err(|error| refused(error, &self.plan))?;
        fault::point("truncate.applied")?;
        self.truncated(writer, (commit.position, ordinal), around).await?;
        Ok(1)
    }

    async fn schema(
        &mut self,
        writer: &mut dyn Writer,
        (mut change, position): (SchemaChange, Offset),
        around: &Surroundings,
    ) -> Result<()> {
        let name = &self.plan.source.name;
        let policy = around.settings.schema_policy_of(name);
        if let SchemaChange::Unsupported { reason, remedy, .. } = change {
            let copied = policy == SchemaPolicy::Apply && around.settings.mode != RunMode::Cdc;
            return match remedy {
                Remedy::Copy if copied => self.copy_again(writer, reason, &around.monitor).await,
                _ => self.stop(writer, reason, &around.monitor).await,
            };
        }
        let plan = self.plan.with_source(Arc::clone(change.table()));
        match policy {
            SchemaPolicy::Apply => {}
            // What is asked for by another setting is not the source's change.
            SchemaPolicy::Ignore
                if can_conform(&plan.source, &self.plan.source) && !adds_texts(&change) =>
            {
                tracing::warn!(table = %name, change = %change, "schema change ignored");
                return Ok(());
            }
            SchemaPolicy::Ignore | SchemaPolicy::Pause => {
                let reason = format!("its schema changed ({change})");
                return self.stop(writer, reason, &around.monitor).await;
            }
        }
        if let Some(problem) = clashes(&plan, around.capabilities).pop() {
            return self.stop(writer, problem, &around.monitor).await;
        }
        tracing::info!(
            table = %plan.source.name, version = plan.source.version, change = %change,
            "schema change applied"
        );
        if let SchemaChange::AddColumn { fill, .. } = &mut change
            && fault::planted("schema-fill-lost")
        {
            *fill = None;
        }
        fault::point("schema.before")?;
        writer.apply_schema(&plan, &change).await.map_err(|error| refused(error, &plan))?;
        fault::point("schema.applied")?;
        let (pipeline, now) = (around.pipeline.as_str(), around.environment.now_micros());
        let occasion = Occasion { pipeline, position, now };
        let entry = ledger::schema_history(&plan.source, &change, occasion)?;
        writer.write(&entry.plan, TableWrite::Append(entry.row)).await?;
        self.state.schema = (*plan.source).clone();
        self.plan = plan;
        writer.remember(&self.state).await?;
        fault::point("schema.remembered")
    }

    /// Leaves the table as it stands until a new copy takes its place.
    async fn copy_again(
        &mut self,
        writer: &mut dyn Writer,
        reason: String,
        monitor: &Monitor,
    ) -> Result<()> {
        let name = &self.plan.source.name;
        tracing::warn!(table = %name, reason, "table is copied again");
        monitor.table(name, |table| table.phase = Phase::Pending);
        self.stage = Stage::Stopped;
        self.state.phase = Phase::Pending;
        self.state.awaits = None;
        self.state.reason = Some(reason);
        writer.remember(&self.state).await
    }

    /// The table, if it is to be copied again.
    fn wants_copy(&self) -> Option<TableName> {
        (self.state.phase == Phase::Pending).then(|| self.plan.source.name.clone())
    }

    async fn stop(
        &mut self,
        writer: &mut dyn Writer,
        reason: String,
        monitor: &Monitor,
    ) -> Result<()> {
        let name: &TableName = &self.plan.source.name;
        tracing::error!(table = %name, reason, "table stopped");
        monitor.table(name, |table| {
            table.phase = Phase::Stopped;
            table.reason = Some(reason.clone());
        });
        self.stage = Stage::Stopped;
        self.state = self.state.clone().stopped(reason, None);
        writer.remember(&self.state).await?;
        fault::point("table.stopped")
    }
}
