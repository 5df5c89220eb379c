//! Making or proving the source's side, and starting anew where its log is lost.

use std::collections::HashSet;
use std::sync::Arc;

use rowtide_core::traits::{AttachRequest, Progress, Setback, Writer};
use rowtide_core::{
    Awaits, Checkpoint, Error, ErrorKind, Phase, PipelineState, Remedy, Result, SourceIdentity,
    TableState, fault,
};

use super::Attempt;
use super::prepare::refuse_foreign;
use crate::plan::{Action, Planned};
use crate::{RunMode, SchemaPolicy};

impl Attempt<'_> {
    /// Makes or proves the source's side, and stores what is new about it. Tables that were not
    /// followed for a while are planned anew: the log alone no longer has all of their changes.
    pub(super) async fn attach(
        &self,
        writer: &mut dyn Writer,
        state: &PipelineState,
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
        let followed = planned.iter().filter(|p| p.is_followed());
        let tables: Vec<_> = followed.map(|p| (Arc::clone(&p.plan.source), p.plan.mode)).collect();
        let identity = state.identity.as_ref().unwrap_or(&intent);
        let known = Some((identity, state.checkpoint.as_ref()));
        let mut stored = state.checkpoint.as_ref();
        let attached = match source.attach(AttachRequest { tables: &tables, known }).await {
            Err(lost)
                if lost.kind() == ErrorKind::PositionLost
                    && planned.iter().filter(|p| p.is_followed()).all(Planned::is_copied) =>
            {
                tracing::warn!(
                    error = %lost.chain(), "starting anew: every followed table is copied again"
                );
                stored = None;
                self.give_up_log(writer, state, &intent).await?;
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

    /// Forgets the position in a log that is lost. What followed it is pending from now on, in
    /// the same commit: no later run may take it for complete.
    async fn give_up_log(
        &self,
        writer: &mut dyn Writer,
        state: &PipelineState,
        intent: &SourceIdentity,
    ) -> Result<()> {
        for known in state.tables.iter().filter(|known| known.phase == Phase::Streaming) {
            let reason = Some("the position in the source's log was lost".to_owned());
            let phase = Phase::Pending;
            writer.remember(&TableState { phase, reason, ..known.clone() }).await?;
        }
        let progress = Progress { identity: Some(intent), restart: true, ..Progress::default() };
        writer.commit(progress).await
    }
}
