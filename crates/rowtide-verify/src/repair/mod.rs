//! Making rows right that were proved to differ, while both sides go on changing.
//!
//! ```text
//!  source: the rows ──► wait for the ──► look at the ──► hold the ──► both sides ──► write ──► go on
//!  and their versions   checkpoint       destination     pipeline     once more      
//! ```
//!
//! While the pipeline is held, the destination is everything below its checkpoint, and nothing
//! else. A row of the source that still has the version it was read with has not changed since, and
//! the checkpoint lies behind its change: it is exactly what belongs there, or what belongs there
//! is nothing. A commit can be decoded long before it is visible, so the source is looked at once
//! more only when it shows everything that the destination may have; where that takes long the
//! pipeline goes on, and nothing is written. Nor may the destination's row have been touched since
//! it was looked at, some time before. What has moved on either side is left to the next round.
//!
//! The rows are written as an epoch of their own, with the checkpoint unchanged: what follows in
//! the log is applied to them as to all others. Nothing is written where both sides are equal, so
//! that a repair which is done twice does nothing the second time.

mod engine;
mod outcome;
mod plan;
mod rows;
mod sql;
mod write;

use std::collections::HashSet;
use std::time::Duration;

use futures::future::try_join;
use rowtide_core::view::TableView;
use rowtide_core::{Checkpoint, Error, Result, ledger};
use tokio::time::Instant;

use self::plan::Fix;
use self::rows::Rows;
use self::sql::Statements;
use crate::check::Check;
use crate::sight::{Pair, Wanted, look};

pub use engine::{Engine, Standstill};
pub use outcome::Repaired;

/// How many keys are made right while the pipeline is held once.
const KEYS_AT_ONCE: usize = 10_000;
/// How many bytes of rows, about.
const BYTES_AT_ONCE: usize = 64 << 20;
/// The pause before rows that had moved are tried again.
const PAUSE: Duration = Duration::from_millis(200);

/// How long commits that cannot be seen yet are waited for before the pipeline is held.
const SEEN_BEFORE: Duration = Duration::from_secs(10);
/// How long while it is held: at first, and at last, if nothing came of it.
const SEEN_MEANWHILE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(8));

/// What is to be done about rows that differ.
#[derive(Clone, Copy)]
pub enum Repair<'a> {
    /// Nothing: it is only told what would be.
    Plan,
    /// They are made right through this pipeline.
    Through(&'a dyn Engine),
}

/// Makes one table's rows right.
pub(crate) struct Repairer<'a> {
    pub(crate) check: &'a Check<'a>,
    pub(crate) how: Repair<'a>,
}

impl Repairer<'_> {
    /// Makes the rows under `wanted` right; tells what was done, and what is left.
    pub(crate) async fn run(&self, wanted: Wanted) -> Result<Repaired> {
        let mut done =
            Repaired { planned: matches!(self.how, Repair::Plan), ..Repaired::default() };
        let mut wanted = wanted;
        let (mut idle, mut patience) = (0, SEEN_MEANWHILE.0);
        while wanted.len() > 0 && idle < self.check.options.rounds && !self.check.budget.is_over() {
            let before = done.rows();
            let mut left = HashSet::new();
            for some in wanted.parts(KEYS_AT_ONCE)? {
                left.extend(self.some(&some, patience, &mut done).await?);
            }
            wanted = wanted.among(&left)?;
            if done.rows() == before && wanted.len() > 0 {
                idle += 1;
                patience = (patience * 2).min(SEEN_MEANWHILE.1);
                tokio::time::sleep(PAUSE).await;
            }
        }
        done.left = wanted.len() as u64;
        Ok(done)
    }

    /// Makes those right that stand still; tells which are to be tried again.
    async fn some(
        &self,
        wanted: &Wanted,
        patience: Duration,
        done: &mut Repaired,
    ) -> Result<HashSet<u64>> {
        let table = &*self.check.request.plan.source;
        let what = (wanted, table);
        let Pair { mut source, mut destination } = self.check.pair().await?;
        let (ours, mut left) =
            rows::read(source.as_mut(), what, (&self.check.budget, BYTES_AT_ONCE)).await?;
        drop(source);
        let wanted = &wanted.without(&left)?;
        let what = (wanted, table);
        let Repair::Through(engine) = self.how else {
            let (theirs, unread) =
                rows::read(destination.as_mut(), what, (&self.check.budget, usize::MAX)).await?;
            debug_assert!(unread.is_empty());
            self.plan((wanted, destination.as_ref()), (&ours, &theirs), done)?;
            return Ok(left);
        };
        let seen = look(destination.as_mut(), what, &self.check.budget).await?;
        drop(destination);
        tokio::time::sleep(self.check.options.still).await;
        let all = || wanted.hashes().into_iter().chain(left.iter().copied()).collect();
        // Nobody is held for what takes long.
        if !self.check.until_visible(SEEN_BEFORE).await? {
            return Ok(all());
        }
        let held = engine.hold(&table.name).await?;
        let since = Instant::now();
        if !self.is_same_table(held.as_ref()) {
            let changed = format!("table {}: it has changed since it was compared", table.name);
            return Err(Error::schema_drift(changed).of_one_table().with_hint("verify it again"));
        }
        // INVARIANT: the pipeline is held by now: nothing more is told of in the log.
        if !self.check.until_visible(patience).await? {
            return Ok(all());
        }
        let (still, theirs) = try_join(self.now(what), self.there(held.checkpoint(), what)).await?;
        let Some(theirs) = theirs else { return Ok(all()) };
        let mut fixes = Vec::new();
        for hash in wanted.hashes() {
            if ours.of(hash) != still.of(hash) || !theirs.has(hash, seen.of(hash)) {
                left.insert(hash);
                continue;
            }
            fixes.extend(plan::fix(&self.check.request.plan, hash, (&ours, &theirs)));
        }
        self.apply(held, (fixes, since), (&ours, &theirs), (done, left)).await
    }

    /// Whether the table is followed as it was when it was compared.
    fn is_same_table(&self, held: &dyn Standstill) -> bool {
        let (plan, known) = (held.plan(), &self.check.request.plan);
        plan.source == known.source
            && plan.target == known.target
            && (plan.mode, plan.delete) == (known.mode, known.delete)
            && plan.metadata == known.metadata
    }

    /// What the source holds now.
    async fn now(
        &self,
        what: (&Wanted, &rowtide_core::TableSchema),
    ) -> Result<crate::sight::Sight> {
        let budget = self.check.budget.without_pause();
        let mut view = self.check.source(&budget).await?;
        look(view.as_mut(), what, &budget).await
    }

    /// The destination's rows at `checkpoint`; `None` if it is not there.
    async fn there(
        &self,
        checkpoint: &Checkpoint,
        what: (&Wanted, &rowtide_core::TableSchema),
    ) -> Result<Option<Rows>> {
        let budget = self.check.budget.without_pause();
        let mut view = self.check.destination(&budget).await?;
        if view.moment().checkpoint != *checkpoint {
            return Ok(None);
        }
        Ok(Some(rows::read(view.as_mut(), what, (&budget, usize::MAX)).await?.0))
    }

    /// Writes what is to be written, and lets the pipeline go on.
    async fn apply(
        &self,
        held: Box<dyn Standstill>,
        (fixes, since): (Vec<Fix>, Instant),
        (ours, theirs): (&Rows, &Rows),
        (done, mut left): (&mut Repaired, HashSet<u64>),
    ) -> Result<HashSet<u64>> {
        let plan = &self.check.request.plan;
        if fixes.is_empty() {
            return Ok(left);
        }
        let position = held.checkpoint().position();
        let now = crate::verifier::now();
        let writes = write::writes(plan, &fixes, (ours, theirs), (position, now))?;
        let told = plan::told(plan, &fixes, (ours, theirs))?;
        let about = (&*self.check.request.pipeline, position, now);
        let entry = ledger::repairs(&plan.source.name, &told, about)?;
        let committed = held.commit(writes, vec![entry]).await;
        done.held(since.elapsed());
        match committed {
            Ok(()) => done.add(&fixes),
            // It may be done or not; the next round sees.
            Err(error) if error.kind().is_transient() => {
                tracing::debug!(error = %error.chain(), "a repair was not committed");
                left.extend(fixes.iter().map(|fix| fix.hash));
            }
            Err(error) => return Err(error.context("writing what makes rows right")),
        }
        Ok(left)
    }

    /// Tells what would be done.
    fn plan(
        &self,
        (wanted, destination): (&Wanted, &dyn TableView),
        (ours, theirs): (&Rows, &Rows),
        done: &mut Repaired,
    ) -> Result<()> {
        let plan = &self.check.request.plan;
        let fix = |hash: u64| plan::fix(plan, hash, (ours, theirs));
        let fixes: Vec<Fix> = wanted.hashes().into_iter().filter_map(fix).collect();
        done.add(&fixes);
        let Some(wording) = destination.wording().filter(|_| self.check.options.show_values) else {
            return Ok(());
        };
        let listed = fixes.len().min(self.check.options.listed.saturating_sub(done.listed));
        done.unlisted += (fixes.len() - listed) as u64;
        done.listed += listed;
        let at = (destination.moment().checkpoint.position(), crate::verifier::now());
        let statements = Statements::new(plan, wording);
        for write in write::writes(plan, &fixes[..listed], (ours, theirs), at)? {
            done.statements.extend(statements.of(&write)?);
        }
        Ok(())
    }
}
