//! What an attempt notes in the destination before anything moves: what begins, what is gone.

use std::collections::HashSet;
use std::sync::Arc;

use rowtide_core::traits::{Progress, Writer};
use rowtide_core::{
    Awaits, Destination, Error, Finding, Phase, PipelineState, Result, Severity, Source, TableName,
    TablePlan, TableSchema, TableState,
};

use crate::copy::Job;
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

/// Takes the tables that never could be taken in out of `state`: they are looked at as if they had
/// come only now.
pub(super) fn left_out(state: &mut PipelineState) -> Vec<TableState> {
    state.tables.extract_if(.., |known| known.is_left_out()).collect()
}

/// Leaves out new tables that the destination has no place for, such as one under whose name
/// somebody else's table stands there. A new pipeline is not begun with such a table; an
/// established one goes on with the others. Nothing is remembered of them, for the target is
/// another's.
pub(super) async fn leave_misfits(
    destination: &dyn Destination,
    state: &PipelineState,
    planned: &mut [Planned],
) -> Result<()> {
    let known = state.by_name();
    let mut new: Vec<&mut Planned> = planned
        .iter_mut()
        .filter(|one| one.action != Action::Skip && !matches!(one.action, Action::Leave(_)))
        .filter(|one| !known.contains_key(&one.plan.source.name))
        .collect();
    if state.checkpoint.is_none() || new.is_empty() {
        return Ok(());
    }
    let plans: Vec<TablePlan> = new.iter().map(|one| one.plan.clone()).collect();
    let findings = destination.preflight(&plans).await?;
    for one in &mut new {
        let table = &one.plan.source.name;
        let is_about = |finding: &&Finding| {
            finding.severity == Severity::Error && finding.table.as_ref() == Some(table)
        };
        if let Some(finding) = findings.iter().find(is_about) {
            let fix = finding.fix.as_ref().map(|fix| format!(" (fix: {fix})")).unwrap_or_default();
            let reason = format!("{}: {}{fix}", finding.subject, finding.message);
            tracing::error!(%table, reason, "table is left out");
            one.action = Action::Leave(reason);
        }
    }
    Ok(())
}

/// Notes, within the epoch, which tables are no longer at the source. Their copies stay.
pub(super) async fn stop_dropped(
    writer: &mut dyn Writer,
    known: impl Iterator<Item = &TableState>,
    settings: &Settings,
    discovered: &[Arc<TableSchema>],
) -> Result<()> {
    let mut any = false;
    let there: HashSet<&TableName> = discovered.iter().map(|table| &table.name).collect();
    for known in known.filter(is_alive) {
        let name = &known.schema.name;
        let is_there = there.contains(name);
        if settings.selection.contains(name) && !is_there {
            tracing::warn!(table = %name, "table is no longer at the source; its copy stays");
            let reason = format!("{name} is no longer at the source; its copy stays");
            writer.remember(&known.clone().stopped(reason, Some(Awaits::Table))).await?;
            any = true;
        }
    }
    if any { writer.commit(Progress::default()).await } else { Ok(()) }
}

fn is_alive(known: &&TableState) -> bool {
    known.is_left_out() || !matches!(known.phase, Phase::Stopped | Phase::Skipped)
}

/// Remembers what begins, creates what starts empty; returns what is to be copied.
pub(super) async fn remember_plans(
    writer: &mut dyn Writer,
    planned: &[Planned],
    state: &PipelineState,
) -> Result<Vec<Job>> {
    let mut copies = Vec::new();
    let mut any = false;
    let remembered = state.by_name();
    for one in planned {
        let known = remembered.get(&one.plan.source.name).copied();
        match &one.action {
            Action::Copy | Action::Load => {
                // What is remembered tells what the target is until the copy takes its place.
                let mut copying = known.cloned().unwrap_or_else(|| one.state(Phase::Copying));
                // If the copy stops, it is this table's, not that of one it took the name of.
                copying.schema.id = one.plan.source.id;
                let (phase, reason) = (Phase::Copying, None);
                writer.remember(&TableState { phase, reason, awaits: None, ..copying }).await?;
                copies.push(Job { plan: one.plan.clone(), mends: false });
            }
            Action::Mend => {
                let Some(known) = known.cloned() else { continue };
                // Until it is put right, a run that is cut off begins with it again.
                let (phase, awaits) = (Phase::Copying, Some(Awaits::Repair));
                writer.remember(&TableState { phase, reason: None, awaits, ..known }).await?;
                copies.push(Job { plan: one.plan.clone(), mends: true });
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
            // Stopped before, for what is no longer all there is to say.
            Action::Leave(reason) if known.is_some_and(|known| is_news(known, reason)) => {
                let Some(known) = known.cloned() else { continue };
                let awaits = known.awaits;
                writer.remember(&known.stopped(reason.clone(), awaits)).await?;
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

/// Puts the largest tables first: one that began last would be copied alone in the end.
pub(super) async fn largest_first(source: &dyn Source, copies: Vec<Job>) -> Vec<Job> {
    if copies.len() < 2 {
        return copies;
    }
    let tables: Vec<&TableSchema> = copies.iter().map(|job| job.plan.source.as_ref()).collect();
    match source.sizes(&tables).await {
        Ok(sizes) => {
            let sizes = sizes.into_iter().chain(std::iter::repeat(0));
            let mut sized: Vec<(u64, Job)> = sizes.zip(copies).collect();
            sized.sort_by_key(|(size, _)| std::cmp::Reverse(*size));
            sized.into_iter().map(|(_, job)| job).collect()
        }
        Err(error) => {
            tracing::debug!(error = %error.chain(), "copying in the order of names");
            copies
        }
    }
}

fn is_news(known: &TableState, reason: &str) -> bool {
    known.awaits.is_some() && known.reason.as_deref() != Some(reason)
}

pub(super) fn show_tables(pipeline: &Pipeline, planned: &[Planned], state: &PipelineState) {
    let show = |planned: &Planned| {
        let name = planned.plan.source.name.clone();
        let (phase, reason) = match &planned.action {
            Action::Copy | Action::Mend | Action::Load => (Phase::Pending, None),
            Action::Follow(_) => (Phase::Streaming, None),
            Action::Keep => (Phase::Loaded, None),
            Action::Skip => (Phase::Skipped, None),
            Action::Leave(reason) => (Phase::Stopped, Some(reason.clone())),
        };
        TableProgress::new(name, phase, reason)
    };
    let position = state.checkpoint.as_ref().map_or(0, |at| at.position().0);
    pipeline.monitor.update(|snapshot| {
        snapshot.tables = planned.iter().map(show).collect();
        // The order of their names, by which each is found again.
        snapshot.tables.sort_unstable_by(|one, other| one.name.cmp(&other.name));
        snapshot.stream.position = position;
    });
}
