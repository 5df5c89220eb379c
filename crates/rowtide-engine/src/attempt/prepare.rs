//! What an attempt notes in the destination before anything moves: what begins, what is gone.

use std::collections::HashSet;
use std::sync::Arc;

use rowtide_core::traits::{Progress, Writer};
use rowtide_core::{
    Error, Phase, PipelineState, Result, Source, TableName, TablePlan, TableSchema, TableState,
};

use crate::plan::{Action, Planned};
use crate::progress::TableProgress;
use crate::{Pipeline, Settings};

/// A destination that knows nothing must not take over what another one follows with.
pub(super) async fn refuse_foreign(source: &dyn Source, pipeline: &str) -> Result<()> {
    let status = source.operations().status().await?;
    if status.acknowledged.is_none() && status.retained_bytes.is_none() {
        return Ok(());
    }
    Err(Error::config(format!(
        "the source already keeps its log for a pipeline named `{pipeline}`, of which this \
         destination knows nothing"
    ))
    .with_hint(
        "use the destination that pipeline writes to, give this one another name, or, if nothing \
         needs the old one any more, remove it with `rowtide teardown`",
    ))
}

/// Notes, within the epoch, which tables are no longer at the source. Their copies stay.
pub(super) async fn stop_dropped(
    writer: &mut dyn Writer,
    state: &PipelineState,
    settings: &Settings,
    discovered: &[Arc<TableSchema>],
) -> Result<()> {
    let mut any = false;
    let there: HashSet<&TableName> = discovered.iter().map(|table| &table.name).collect();
    for known in state.tables.iter().filter(is_alive) {
        let name = &known.schema.name;
        let is_there = there.contains(name);
        if settings.selection.contains(name) && !is_there {
            tracing::warn!(table = %name, "table is no longer at the source; its copy stays");
            let reason = Some(format!("{name} is no longer at the source; its copy stays"));
            writer.remember(&TableState { phase: Phase::Stopped, reason, ..known.clone() }).await?;
            any = true;
        }
    }
    if any { writer.commit(Progress::default()).await } else { Ok(()) }
}

fn is_alive(known: &&TableState) -> bool {
    !matches!(known.phase, Phase::Stopped | Phase::Skipped)
}

/// Remembers what begins, creates what starts empty; returns what is to be copied.
pub(super) async fn remember_plans(
    writer: &mut dyn Writer,
    planned: &[Planned],
    state: &PipelineState,
) -> Result<Vec<TablePlan>> {
    let mut copies = Vec::new();
    let mut any = false;
    let remembered = state.by_name();
    for one in planned {
        let known = remembered.get(&one.plan.source.name).copied();
        match &one.action {
            Action::Copy | Action::Load => {
                // What is remembered tells what the target is until the copy takes its place.
                let copying = known.cloned().unwrap_or_else(|| one.state(Phase::Copying));
                let (phase, reason) = (Phase::Copying, None);
                writer.remember(&TableState { phase, reason, ..copying }).await?;
                copies.push(one.plan.clone());
            }
            Action::Follow(fence) if known.is_none() => {
                writer.promote(&one.plan).await?;
                let mut streaming = one.state(Phase::Streaming);
                streaming.fence = Some(fence.clone());
                writer.remember(&streaming).await?;
            }
            Action::Leave(reason) if known.is_some_and(|known| known.phase != Phase::Stopped) => {
                let mut stopped = one.state(Phase::Stopped);
                stopped.reason = Some(reason.clone());
                stopped.values = known.map(|known| known.values.clone()).unwrap_or_default();
                writer.remember(&stopped).await?;
            }
            Action::Follow(_) | Action::Leave(_) | Action::Keep | Action::Skip => continue,
        }
        any = true;
    }
    if any {
        writer.commit(Progress::default()).await?;
    }
    Ok(copies)
}

pub(super) fn show_tables(pipeline: &Pipeline, planned: &[Planned], state: &PipelineState) {
    let show = |planned: &Planned| {
        let name = planned.plan.source.name.clone();
        let (phase, reason) = match &planned.action {
            Action::Copy | Action::Load => (Phase::Pending, None),
            Action::Follow(_) => (Phase::Streaming, None),
            Action::Keep => (Phase::Loaded, None),
            Action::Skip => (Phase::Skipped, None),
            Action::Leave(reason) => (Phase::Stopped, Some(reason.clone())),
        };
        TableProgress {
            name,
            phase,
            rows: 0,
            bytes: 0,
            estimated_rows: None,
            started: None,
            finished: None,
            reason,
        }
    };
    let position = state.checkpoint.as_ref().map_or(0, |at| at.position().0);
    pipeline.monitor.update(|snapshot| {
        snapshot.tables = planned.iter().map(show).collect();
        // The order of their names, by which each is found again.
        snapshot.tables.sort_unstable_by(|one, other| one.name.cmp(&other.name));
        snapshot.stream.position = position;
    });
}
