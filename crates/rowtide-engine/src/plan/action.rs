//! What a run does with one table, from what is remembered of it.

use std::sync::Arc;

use rowtide_core::{Awaits, Fence, Mode, Phase, TablePlan, TableState};

use crate::command::PAUSED;
use crate::mend::can_mend;
use crate::{LostPosition, RunMode, SchemaPolicy, Settings};

/// A table and what this run does with it.
#[derive(Debug, Clone)]
pub(crate) struct Planned {
    pub(crate) plan: TablePlan,
    pub(crate) action: Action,
}

/// What a run does with a table.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Action {
    /// Copies it, then follows it.
    Copy,
    /// Puts right what differs of it, then follows it.
    Mend,
    /// Copies it; it is not followed.
    Load,
    /// Follows it from the checkpoint, leaving out what its copy contains.
    Follow(Fence),
    /// Leaves it alone: it stopped, for this reason.
    Leave(String),
    /// Leaves it alone: it was loaded in this run.
    Keep,
    /// Leaves it alone: somebody decided so.
    Skip,
}

impl Planned {
    /// Whether the table is being copied before it is followed.
    pub(crate) fn is_copied(&self) -> bool {
        self.action == Action::Copy
    }

    /// Whether its changes are kept aside until its rows are those of a snapshot.
    pub(crate) fn is_prepared(&self) -> bool {
        matches!(self.action, Action::Copy | Action::Mend)
    }

    /// The log has a gap for this table, which was followed before.
    pub(crate) fn catch_up(&mut self, mode: RunMode) {
        let name = &self.plan.source.name;
        tracing::warn!(table = %name, "table was not followed for a while, so it is copied again");
        self.action = match mode {
            RunMode::Auto | RunMode::FullLoad => Action::Copy,
            RunMode::Cdc => Action::Leave(format!(
                "{name} was not followed for a while; copy it again with `rowtide run --resync \
                 '{name}'`"
            )),
        };
    }

    /// What the table's copy contains, if it is in place, by the table's identifier.
    pub(crate) fn fence(&self) -> Option<(u64, Fence)> {
        match &self.action {
            Action::Follow(fence) => Some((self.plan.source.id, fence.clone())),
            _ => None,
        }
    }

    /// Whether the stream must deliver this table.
    pub(crate) fn is_followed(&self) -> bool {
        matches!(self.action, Action::Copy | Action::Mend | Action::Follow(_))
    }

    /// What is remembered of the table in `phase`.
    pub(crate) fn state(&self, phase: Phase) -> TableState {
        self.plan.state(phase)
    }
}

/// What becomes of the table of `plan`, of which `known` is remembered; `copied` in this run already.
///
/// # Errors
/// A problem in words, if it was made with other settings.
pub(super) fn action(
    plan: TablePlan,
    settings: &Settings,
    known: Option<&TableState>,
    copied: bool,
) -> Result<Planned, String> {
    let name = &plan.source.name;
    let copy = if plan.mode == Mode::Replace { Action::Load } else { Action::Copy };
    let wanted = plan.mode == Mode::Replace
        || settings.mode == RunMode::FullLoad
        || settings.resync.iter().any(|pattern| pattern.matches(name));
    let afresh = wanted && !copied;
    let Some(known) = known else {
        let follow = settings.mode == RunMode::Cdc && plan.mode != Mode::Replace;
        let action = if follow { Action::Follow(Fence::Nothing) } else { copy };
        return Ok(Planned { plan, action });
    };
    if afresh {
        return Ok(Planned { plan, action: copy });
    }
    match known.phase {
        Phase::Loaded if copied => Ok(Planned { plan, action: Action::Keep }),
        Phase::Pending | Phase::Copying if is_mended(&plan, known, settings) => {
            let plan = plan.with_source(Arc::new(known.schema.clone()));
            Ok(Planned { plan, action: Action::Mend })
        }
        Phase::Pending | Phase::Copying | Phase::Loaded => Ok(Planned { plan, action: copy }),
        Phase::Skipped => Ok(Planned { plan, action: Action::Skip }),
        Phase::Stopped if known.awaits == Some(Awaits::Table) || is_another(&plan, known) => {
            Ok(came_again((plan, known), settings, copy))
        }
        Phase::Stopped => {
            let reason = known.reason.clone().unwrap_or_default();
            Ok(Planned { plan, action: Action::Leave(reason) })
        }
        Phase::Streaming if known.schema.id != plan.source.id => {
            Ok(came_again((plan, known), settings, copy))
        }
        Phase::Streaming => follow(&plan, known),
    }
}

/// Whether the table of `plan` is another one than that which stopped, so that what stopped that one
/// says nothing of it. What an operator decided holds for the name.
fn is_another(plan: &TablePlan, known: &TableState) -> bool {
    known.schema.id != plan.source.id && known.reason.as_deref() != Some(PAUSED)
}

/// Whether what differs of a table is still to be put right.
fn is_mended(plan: &TablePlan, known: &TableState, settings: &Settings) -> bool {
    known.awaits == Some(Awaits::Repair) && mends(settings) && can_mend(plan, known)
}

/// Whether tables may be put right when the position in the log is lost.
pub(crate) fn mends(settings: &Settings) -> bool {
    settings.on_position_lost == LostPosition::Repair && settings.mode == RunMode::Auto
}

/// What to do with a table that is at the source again: it is another one, or at least the log does
/// not have all of its changes.
fn came_again(
    (plan, known): (TablePlan, &TableState),
    settings: &Settings,
    copy: Action,
) -> Planned {
    let name = &plan.source.name;
    let what = match known.schema.id == plan.source.id {
        true => format!("{name} is at the source again"),
        false => format!("{name} was dropped and created again at the source"),
    };
    let apply = settings.schema_policy_of(name) == SchemaPolicy::Apply;
    let action = match apply && settings.mode == RunMode::Auto {
        true => {
            tracing::warn!(table = %name, "{what}, so it is copied again");
            copy
        }
        false => {
            Action::Leave(format!("{what}; copy it again with `rowtide run --resync '{name}'`"))
        }
    };
    Planned { plan, action }
}

/// Goes on with a table that was copied before, in the version the destination has.
fn follow(plan: &TablePlan, known: &TableState) -> Result<Planned, String> {
    let same = known.mode == plan.mode
        && known.delete == plan.delete
        && known.metadata == plan.metadata
        && known.target == plan.target;
    if !same {
        return Err(format!(
            "{} was copied with other settings (mode {:?}, delete {:?}, target {}); change them \
             back, or copy it again with `rowtide run --resync '{}'`",
            plan.source.name, known.mode, known.delete, known.target, plan.source.name
        ));
    }
    let fence = known.fence.clone().unwrap_or(Fence::Nothing);
    let plan = plan.with_source(Arc::new(known.schema.clone()));
    Ok(Planned { plan, action: Action::Follow(fence) })
}
