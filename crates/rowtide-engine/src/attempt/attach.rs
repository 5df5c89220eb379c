//! Making or proving the source's side, and starting anew where its log is lost.

use std::collections::HashSet;
use std::sync::Arc;

use rowtide_core::traits::{AttachRequest, Progress, Setback, Writer};
use rowtide_core::{
    Awaits, Checkpoint, Error, ErrorKind, Mode, Phase, PipelineState, Remedy, Result,
    SourceIdentity, TableSchema, TableState, fault,
};

use super::Attempt;
use super::prepare::refuse_foreign;
use crate::mend::can_mend;
use crate::plan::{Action, Planned, mends, plan_of};
use crate::{RunMode, SchemaPolicy, Settings};

impl Attempt<'_> {
    /// Makes or proves the source's side, and stores what is new about it. Tables that were not
    /// followed for a while are planned anew: the log alone no longer has all of their changes.
    pub(super) async fn attach(
        &self,
        writer: &mut dyn Writer,
        (state, discovered): (&PipelineState, &[Arc<TableSchema>]),
        planned: &mut [Planned],
    ) -> Result<Checkpoint> {
        let source = &self.pipeline.source;
        let intent = source.operations().intent();
        if state.identity.is_none() {
            refuse_foreign(source.as_ref(), &self.pipeline.name).await?;
            // The intent is durable before anything is made at the source, so that a crash in
            // between leaves nothing that nobody owns.
            fault::point("intent.before")?;
            writer.commit(Progress { identity: Some(&intent), ..Progress::default() }).await?;
            fault::point("intent.stored")?;
        }
        let tables = followed(planned);
        let identity = state.identity.as_ref().unwrap_or(&intent);
        let known = Some((identity, state.checkpoint.as_ref()));
        let mut stored = state.checkpoint.as_ref();
        let attached = match source.attach(AttachRequest { tables: &tables, known }).await {
            Err(lost) if lost.kind() == ErrorKind::PositionLost => {
                self.start_anew(lost, (state, discovered), planned).await?;
                let tables = followed(planned);
                stored = None;
                self.give_up_log(writer, (state, planned), &intent).await?;
                source
                    .attach(AttachRequest { tables: &tables, known: Some((&intent, None)) })
                    .await?
            }
            attached => attached?,
        };
        if let Some(stored) = stored
            && !attached.checkpoint.covers(stored)
        {
            return Err(Error::internal(format!(
                "the source would start at {} although {stored} is durable",
                attached.checkpoint
            )));
        }
        let remembered = state.by_name();
        let added: HashSet<_> = attached.added.iter().collect();
        for one in planned.iter_mut() {
            let source = Arc::clone(&one.plan.source);
            let name = &source.name;
            let remembered = remembered.get(name).copied();
            let known = remembered.filter(|known| known.phase == Phase::Streaming);
            if let Some(known) = known.filter(|_| added.contains(name)) {
                if matches!(one.action, Action::Follow(_)) {
                    one.catch_up(self.settings.mode);
                }
                // With the identity, or a crash would forget that the log has a gap for it. Also
                // if it is to be copied again anyway: a later run may not be told so.
                let phase = Phase::Pending;
                writer.remember(&TableState { phase, ..known.clone() }).await?;
            }
            let setback = attached.setbacks.iter().find(|setback| setback.table == *name);
            let next = setback.and_then(|setback| self.set_back(one, remembered, setback));
            if let Some(next) = next {
                writer.remember(&next).await?;
            }
        }
        let progress = Progress {
            checkpoint: Some(&attached.checkpoint),
            identity: Some(&attached.identity),
            ..Progress::default()
        };
        fault::point("attach.before")?;
        writer.commit(progress).await?;
        fault::point("attach.stored")?;
        tracing::info!(checkpoint = %attached.checkpoint, "source attached");
        Ok(attached.checkpoint)
    }

    /// Plans a table that the log alone no longer leads to: to be copied again, where that is
    /// allowed and enough. Returns what is to be remembered of it.
    fn set_back(
        &self,
        one: &mut Planned,
        known: Option<&TableState>,
        setback: &Setback,
    ) -> Option<TableState> {
        let Setback { table, reason, remedy } = setback;
        if *remedy == Remedy::Copy && one.is_copied() {
            return None;
        }
        let copied = *remedy == Remedy::Copy
            && self.settings.mode != RunMode::Cdc
            && self.settings.schema_policy_of(table) == SchemaPolicy::Apply;
        let standing = known.cloned().unwrap_or_else(|| one.state(Phase::Pending));
        if copied {
            tracing::warn!(%table, reason, "table is copied again");
            one.action = Action::Copy;
            let reason = Some(reason.clone());
            return Some(TableState { phase: Phase::Pending, reason, awaits: None, ..standing });
        }
        tracing::error!(%table, reason, "table stopped");
        one.action = Action::Leave(reason.clone());
        // One that never was in place is taken in as soon as it is put right, without being asked.
        let awaits = match &standing.fence {
            Some(_) => standing.awaits,
            None => Some(Awaits::Correction),
        };
        Some(standing.stopped(reason.clone(), awaits))
    }

    /// Decides what becomes of each followed table now that the position in the log is lost: it is
    /// to be copied again anyway, or what differs of it may be put right.
    ///
    /// # Errors
    /// `lost`, if one of them can be neither, or if this is not the database it was.
    async fn start_anew(
        &self,
        lost: Error,
        (state, discovered): (&PipelineState, &[Arc<TableSchema>]),
        planned: &mut [Planned],
    ) -> Result<()> {
        let asked = |one: &Planned| {
            let name = &one.plan.source.name;
            self.settings.resync.iter().any(|pattern| pattern.matches(name))
        };
        // Another database's tables are others too, which would be copied without being asked.
        let is_asked = planned.iter().filter(|one| one.is_followed()).all(asked);
        if let Some(identity) = state.identity.as_ref().filter(|_| !is_asked)
            && !self.pipeline.source.operations().is_of(identity).await?
        {
            return Err(lost);
        }
        let mut following: Vec<&mut Planned> =
            planned.iter_mut().filter(|p| p.is_followed() && !p.is_copied()).collect();
        if following.is_empty() {
            tracing::warn!(
                error = %lost.chain(), "starting anew: every followed table is copied again"
            );
            return Ok(());
        }
        if !mends(&self.settings) {
            return Err(offered(lost, &self.settings));
        }
        let known = state.by_name();
        let mut left = Vec::new();
        for one in &mut following {
            let name = one.plan.source.name.clone();
            // Planned as it stands; what it is now, the lost log would have told.
            let Some(now) = discovered.iter().find(|table| table.name == name) else { continue };
            let now = plan_of(now, &self.settings);
            if known.get(&name).is_some_and(|known| can_mend(&now, known)) {
                one.action = Action::Mend;
            } else if now.mode == Mode::Merge
                && self.settings.schema_policy_of(&name) == SchemaPolicy::Apply
            {
                **one = Planned { plan: now, action: Action::Copy };
            } else {
                left.push(name.to_string());
            }
        }
        if left.is_empty() {
            tracing::warn!(error = %lost.chain(), "starting anew: what differs is put right");
            return Ok(());
        }
        let tables = left.join("' '");
        let patterns = left.join(", ");
        Err(lost.with_hint(format!(
            "what {patterns} missed cannot be found by comparing (its events are kept, or it keeps \
             its columns); to go on with a new copy of it, and repair the others: rowtide run \
             --resync '{tables}'"
        )))
    }

    /// Forgets the position in a log that is lost. What followed it is pending from now on, in
    /// the same commit: no later run may take it for complete.
    async fn give_up_log(
        &self,
        writer: &mut dyn Writer,
        (state, planned): (&PipelineState, &[Planned]),
        intent: &SourceIdentity,
    ) -> Result<()> {
        let mended: HashSet<_> = planned
            .iter()
            .filter(|one| one.action == Action::Mend)
            .map(|one| &one.plan.source.name)
            .collect();
        for known in state.tables.iter().filter(|known| known.phase == Phase::Streaming) {
            let reason = Some("the position in the source's log was lost".to_owned());
            let phase = Phase::Pending;
            let awaits = mended.contains(&known.schema.name).then_some(Awaits::Repair);
            writer.remember(&TableState { phase, reason, awaits, ..known.clone() }).await?;
        }
        let progress = Progress { identity: Some(intent), restart: true, ..Progress::default() };
        writer.commit(progress).await
    }
}

/// The tables to follow, and how.
fn followed(planned: &[Planned]) -> Vec<(Arc<TableSchema>, Mode)> {
    let followed = planned.iter().filter(|p| p.is_followed());
    followed.map(|p| (Arc::clone(&p.plan.source), p.plan.mode)).collect()
}

/// An error that tells of a lost position, and what else than new copies there is to do about it.
pub(crate) fn offered(lost: Error, settings: &Settings) -> Error {
    if mends(settings) || settings.mode != RunMode::Auto || lost.kind() != ErrorKind::PositionLost {
        return lost;
    }
    const OFFER: &str = "if it is the same database, only what differs need be copied: rowtide run \
                         --set run.on_position_lost=repair";
    let hint = lost.hint().map_or_else(|| OFFER.to_owned(), |hint| format!("{hint}; {OFFER}"));
    lost.with_hint(hint)
}
