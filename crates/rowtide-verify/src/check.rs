//! One table: summed up on both sides, and what differs followed up until it is settled.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use arrow_array::RecordBatch;
use futures::future::try_join;
use rowtide_core::canonical::{Digest, Encoder};
use rowtide_core::view::{Inspect, Moment, RowsOf, TableView, ViewRequest, ViewedRows};
use rowtide_core::{Error, Result, TableSchema};

use crate::budget::Budget;
use crate::candidates::{self, Candidates};
use crate::compare::Difference;
use crate::settle::{Round, Ruling, Trace, same_content};
use crate::sight::{Pair, Sight, Wanted, look};
use crate::{Extent, Options, details, extent};

/// The first pause between two rounds; it doubles each time.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// The longest pause between two rounds.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// How long a round waits for commits that cannot be seen yet.
const SEEN_SOON: Duration = Duration::from_secs(5);
/// How often counts are compared before a busy table is read whole instead.
const COUNTS: u32 = 3;

/// What was found out about a table.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// When the source was looked at first.
    pub(crate) moment: Moment,
    pub(crate) source_rows: u64,
    pub(crate) destination_rows: u64,
    /// How many keys differ.
    pub(crate) differing: u64,
    /// Whether there may be more.
    pub(crate) more: bool,
    /// How many keys could not be settled.
    pub(crate) unsettled: u64,
    pub(crate) rounds: u32,
    pub(crate) listed: Vec<Difference>,
    /// The keys that differ.
    pub(crate) keys: Option<RecordBatch>,
    /// Without a key: the first hashes of the rows that differ.
    pub(crate) rows: Vec<u64>,
    /// Whether everything was looked at, although less was asked for.
    pub(crate) widened: bool,
}

/// How to look at one table.
pub(crate) struct Check<'a> {
    pub(crate) ends: (&'a dyn Inspect, &'a dyn Inspect),
    pub(crate) request: ViewRequest,
    pub(crate) options: &'a Options,
    pub(crate) budget: Budget<'a>,
    /// Since when changes matter, if only they do.
    pub(crate) mark: Option<String>,
}

impl Check<'_> {
    pub(crate) async fn run(&self) -> Result<Outcome> {
        if self.options.extent == Extent::Since
            && let Some(mark) = self.mark.as_deref().filter(|_| self.table().is_keyed())
            && let Some(outcome) = self.since(mark).await?
        {
            return Ok(outcome);
        }
        let mut pair = self.pair().await?;
        let (ours, theirs) = self.digests(&mut pair).await?;
        let mut outcome = Outcome {
            moment: pair.source.moment().clone(),
            source_rows: ours.rows(),
            destination_rows: theirs.rows(),
            widened: self.options.extent == Extent::Since,
            ..Outcome::default()
        };
        if ours == theirs {
            return Ok(outcome);
        }
        let limits = (self.table(), self.options.candidates);
        let found = candidates::find(&mut pair, (&ours, &theirs), limits, &self.budget).await?;
        drop(pair);
        self.settle(found, &mut outcome).await?;
        Ok(outcome)
    }

    /// Looks at these keys alone.
    pub(crate) async fn again(&self, wanted: Wanted) -> Result<Outcome> {
        let moment = self.pair().await?.source.moment().clone();
        let mut outcome = Outcome { moment, ..Outcome::default() };
        self.settle(Candidates { wanted, more: false }, &mut outcome).await?;
        Ok(outcome)
    }

    fn table(&self) -> &TableSchema {
        &self.request.plan.source
    }

    /// A view of the source, and one of the destination that has everything from before it.
    pub(crate) async fn pair(&self) -> Result<Pair> {
        self.budget.breathe().await;
        let source = self.source(&self.budget).await?;
        let destination = self.following(source.moment()).await?;
        Ok(Pair { source, destination })
    }

    /// A view of the source, under `budget`.
    pub(crate) async fn source(&self, budget: &Budget<'_>) -> Result<Box<dyn TableView>> {
        let request = ViewRequest { share: budget.at_source(), ..self.request.clone() };
        self.ends.0.view(request).await.map_err(|error| error.context("at the source"))
    }

    /// A view of the destination, under `budget`.
    pub(crate) async fn destination(&self, budget: &Budget<'_>) -> Result<Box<dyn TableView>> {
        let request = ViewRequest { share: budget.at_destination(), ..self.request.clone() };
        self.ends.1.view(request).await.map_err(|error| error.context("at the destination"))
    }

    /// Waits until the source shows everything that the destination may have by now; false if that
    /// takes longer than `patience`.
    pub(crate) async fn until_visible(&self, patience: Duration) -> Result<bool> {
        self.ends.0.until_visible(self.table(), self.budget.at_most(patience)).await
    }

    /// A view of the destination that has everything from before `moment`.
    async fn following(&self, moment: &Moment) -> Result<Box<dyn TableView>> {
        loop {
            self.budget.arrived(&moment.checkpoint).await?;
            let view = self.destination(&self.budget).await?;
            if view.moment().checkpoint.covers(&moment.checkpoint) {
                return Ok(view);
            }
            if self.budget.is_over() {
                let said = "the destination's view is older than its checkpoint";
                return Err(Error::unavailable(said));
            }
            tokio::time::sleep(FIRST_PAUSE).await;
        }
    }

    async fn digests(&self, pair: &mut Pair) -> Result<(Digest, Digest)> {
        let (source, destination) = (pair.source.as_mut(), pair.destination.as_mut());
        let bits = self.options.bucket_bits;
        match self.options.extent {
            Extent::Full | Extent::Since => {
                let what = (self.table(), bits);
                let ours = extent::whole(source, what, &self.budget);
                try_join(ours, extent::whole(destination, what, &self.budget)).await
            }
            Extent::Sample { percent, seed } => {
                let chosen = extent::sample(bits, percent, seed);
                let what = (self.table(), &chosen);
                let ours = extent::part(source, what, &self.budget);
                try_join(ours, extent::part(destination, what, &self.budget)).await
            }
        }
    }

    /// Looks at what changed since `mark` alone; `None` if that proves nothing, because the sides
    /// do not count the same rows (something was removed, or is being written just now).
    async fn since(&self, mark: &str) -> Result<Option<Outcome>> {
        let mut pair = self.pair().await?;
        let moment = pair.source.moment().clone();
        let mut outcome = Outcome { moment, ..Outcome::default() };
        let Some(found) = self.changed_since(&mut pair, mark).await? else {
            return Ok(None);
        };
        let mut counts = (pair.source.count().await?, pair.destination.count().await?);
        drop(pair);
        for _ in 1..COUNTS {
            if counts.0 == counts.1 {
                break;
            }
            let mut pair = self.pair().await?;
            counts = (pair.source.count().await?, pair.destination.count().await?);
        }
        if counts.0 != counts.1 {
            return Ok(None);
        }
        (outcome.source_rows, outcome.destination_rows) = counts;
        self.settle(found, &mut outcome).await?;
        Ok(Some(outcome))
    }

    /// The keys of rows that changed since `mark` and differ; `None` if there are too many.
    async fn changed_since(&self, pair: &mut Pair, mark: &str) -> Result<Option<Candidates>> {
        let Pair { source, destination } = pair;
        let table = self.table();
        let encoder = Encoder::new(table)?;
        let (mut keys, mut hashes) = (Vec::new(), Vec::new());
        source.begin(RowsOf::Since(mark.to_owned())).await?;
        while let Some(ViewedRows { rows, .. }) = source.next().await? {
            let hashed = encoder.hash(&rows)?;
            let these = rows.project(&table.key)?;
            let wanted = Wanted::Keys(these.clone(), hashed.keys.clone());
            let sight = look(destination.as_mut(), (&wanted, table), &self.budget).await?;
            let is_same = |row: usize| {
                let content = (hashed.first[row], hashed.second[row]);
                matches!(sight.of(hashed.keys[row]), [seen] if seen.content == content)
            };
            let differing: HashSet<u64> = (0..hashed.keys.len())
                .filter(|&row| !is_same(row))
                .map(|row| hashed.keys[row])
                .collect();
            if let Wanted::Keys(some, of_them) = wanted.among(&differing)? {
                keys.push(some);
                hashes.extend(of_them);
            }
            if hashes.len() > self.options.candidates {
                return Ok(None);
            }
        }
        let keys = arrow_select::concat::concat_batches(&table.key_arrow(), &keys)?;
        Ok(Some(Candidates { wanted: Wanted::Keys(keys, hashes), more: false }))
    }

    /// Looks at what differed again until each key is settled, or time is over.
    async fn settle(&self, found: Candidates, outcome: &mut Outcome) -> Result<()> {
        outcome.more = found.more;
        let mut wanted = found.wanted;
        let mut traces: HashMap<u64, Trace> = HashMap::new();
        let mut proved: Vec<Wanted> = Vec::new();
        let mut pause = FIRST_PAUSE;
        while wanted.len() > 0 && outcome.rounds < self.options.rounds && !self.budget.is_over() {
            if outcome.rounds > 0 {
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
            let open = match self.round(&wanted, &mut traces, outcome).await {
                Ok((open, different)) => {
                    proved.extend(different);
                    open
                }
                // What is left has not settled in time.
                Err(error) if error.kind().is_transient() && self.budget.is_over() => break,
                Err(error) => return Err(error),
            };
            outcome.rounds += 1;
            wanted = wanted.among(&open)?;
        }
        outcome.unsettled = wanted.len() as u64;
        self.gather(proved, outcome)
    }

    /// One round: tells which keys stay open, and which are proved to differ.
    async fn round(
        &self,
        wanted: &Wanted,
        traces: &mut HashMap<u64, Trace>,
        outcome: &mut Outcome,
    ) -> Result<(HashSet<u64>, Option<Wanted>)> {
        let what = (wanted, self.table());
        let mut pair = self.pair().await?;
        let before = look(pair.source.as_mut(), what, &self.budget);
        let theirs = look(pair.destination.as_mut(), what, &self.budget);
        let (before, theirs) = try_join(before, theirs).await?;
        // INVARIANT: the second look at the source begins after that at the destination did.
        // One connection at a time.
        let Pair { source, destination } = pair;
        drop(source);
        let complete = self.until_visible(SEEN_SOON).await?;
        let mut again = self.source(&self.budget).await?;
        let after = look(again.as_mut(), what, &self.budget).await?;
        let mut pair = Pair { source: again, destination };
        let (open, different) =
            judge(wanted, (before, theirs, after), complete, (traces, self.options.still));
        if different.is_empty() {
            return Ok((open, None));
        }
        let different = wanted.among(&different)?;
        let what = (&different, &self.request.plan);
        let room = self.options.listed.saturating_sub(outcome.listed.len());
        let how = (room, self.options.show_values);
        outcome.listed.extend(details::describe(&mut pair, what, how).await?);
        outcome.differing += different.len() as u64;
        Ok((open, Some(different)))
    }

    /// Keeps what differs for whoever makes it right.
    fn gather(&self, proved: Vec<Wanted>, outcome: &mut Outcome) -> Result<()> {
        let mut keys = Vec::new();
        for wanted in proved {
            match wanted {
                Wanted::Keys(some, _) => keys.push(some),
                Wanted::Rows(..) => outcome.rows.extend(wanted.hashes()),
            }
        }
        if !keys.is_empty() {
            let schema = self.table().key_arrow();
            outcome.keys = Some(arrow_select::concat::concat_batches(&schema, &keys)?);
        }
        Ok(())
    }
}

/// Judges every key by what was seen of it: those that stay open, and those that differ.
fn judge(
    wanted: &Wanted,
    (mut before, mut destination, mut after): (Sight, Sight, Sight),
    complete: bool,
    (traces, still): (&mut HashMap<u64, Trace>, Duration),
) -> (HashSet<u64>, HashSet<u64>) {
    let (mut open, mut different) = (HashSet::new(), HashSet::new());
    for hash in wanted.hashes() {
        let (before, destination, after) =
            (before.remove(hash), destination.remove(hash), after.remove(hash));
        let (before, destination, after) = (&*before, &*destination, &*after);
        let round = Round { before, destination, after, complete };
        debug_assert!(before.is_sorted() && destination.is_sorted() && after.is_sorted());
        match traces.entry(hash).or_default().judge(round, still) {
            Ruling::Equal => {
                debug_assert!(same_content(before, destination));
                traces.remove(&hash);
            }
            Ruling::Different => {
                different.insert(hash);
                traces.remove(&hash);
            }
            Ruling::Open => {
                open.insert(hash);
            }
        }
    }
    (open, different)
}
