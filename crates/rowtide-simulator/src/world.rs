//! Everything that one simulated history shares: the database, what is durable, who was told
//! what, and the faults that strike.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::hash::{DefaultHasher, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rowtide_core::{Error, Result};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::chance::roll;
use crate::content::{Content, Step};
use crate::log::Log;
use crate::scenario::{Knobs, Scenario, Site, Strike};
use crate::tally::Tally;

/// An invariant that did not hold. The class is what stays the same while a failure is shrunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Which invariant.
    pub class: &'static str,
    /// What was seen.
    pub detail: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.class, self.detail)
    }
}

/// The source's reservation of its log.
#[derive(Debug, Clone)]
pub(crate) struct Slot {
    pub(crate) incarnation: u64,
    /// Where it was made.
    pub(crate) start: u64,
    pub(crate) acknowledged: u64,
}

/// From when on changes of a table are in the stream.
#[derive(Debug, Clone)]
pub(crate) struct Published {
    /// Another one each time a table is published.
    pub(crate) entry: u64,
    pub(crate) from: u64,
    /// Transactions that ran at that time: their changes are not.
    pub(crate) without: BTreeSet<u32>,
}

/// An epoch that is durable as a plan and not yet carried out in every table.
#[derive(Debug, Clone)]
pub(crate) struct Journal {
    pub(crate) number: u64,
    pub(crate) steps: Vec<(usize, Step)>,
    pub(crate) goal: Content,
}

/// What the destination holds for good.
#[derive(Debug, Default)]
pub(crate) struct Durable {
    pub(crate) content: Content,
    /// Per-table commits only: the last epoch that each table has.
    pub(crate) applied: BTreeMap<usize, u64>,
    pub(crate) journal: Option<Journal>,
    /// Per-table commits only: the last epoch.
    pub(crate) epochs: u64,
}

pub(crate) struct State {
    pub(crate) log: Log,
    pub(crate) slot: Option<Slot>,
    pub(crate) slots_made: u64,
    pub(crate) published: BTreeMap<usize, Published>,
    pub(crate) durable: Durable,
    /// What the oracle looked at last.
    pub(crate) checked: Content,
    pub(crate) violation: Option<Violation>,
    pub(crate) tally: Tally,
    /// Tables whose rows were refused, which is a reason to stop.
    pub(crate) refused: BTreeSet<usize>,
    /// The destination was tampered with: its content proves nothing any more.
    pub(crate) tampered: bool,
    /// The run whose next commit is to hang.
    pub(crate) hang: Option<u64>,
    /// The run that hangs, and its fencing number.
    pub(crate) hung: Option<(u64, u64)>,
    /// The run that dies.
    pub(crate) crashed: Option<u64>,
    pub(crate) streams: u64,
    pub(crate) healed: bool,
    arrivals: BTreeMap<Site, u64>,
    decisions: BTreeMap<u64, u64>,
    hasher: DefaultHasher,
    told: Vec<String>,
}

/// A handle to the history.
pub(crate) struct World {
    state: Mutex<State>,
    seed: u64,
    pub(crate) knobs: Knobs,
    faults: BTreeMap<(Site, u64), Strike>,
    verbose: bool,
    began: Instant,
    /// The log has grown.
    pub(crate) grown: Notify,
    /// A run dies, hangs, or did what was waited for.
    pub(crate) stirred: Notify,
    /// Who hangs may go on.
    pub(crate) released: Notify,
}

impl World {
    pub(crate) fn new(scenario: &Scenario, verbose: bool) -> Arc<Self> {
        let strikes = scenario.faults.iter().map(|fault| ((fault.site, fault.nth), fault.strike));
        Arc::new(Self {
            state: Mutex::new(State {
                log: Log::new(&scenario.tables),
                slot: None,
                slots_made: 0,
                published: BTreeMap::new(),
                durable: Durable::default(),
                checked: Content::default(),
                violation: None,
                tally: Tally::default(),
                refused: BTreeSet::new(),
                tampered: false,
                hang: None,
                hung: None,
                crashed: None,
                streams: 0,
                healed: false,
                arrivals: BTreeMap::new(),
                decisions: BTreeMap::new(),
                hasher: DefaultHasher::new(),
                told: Vec::new(),
            }),
            seed: scenario.seed,
            knobs: scenario.knobs.clone(),
            faults: strikes.collect(),
            verbose,
            began: Instant::now(),
            grown: Notify::new(),
            stirred: Notify::new(),
            released: Notify::new(),
        })
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Microseconds since the beginning.
    pub(crate) fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// The next decision of the kind `kind`.
    pub(crate) fn decide(&self, kind: u64) -> u64 {
        let mut state = self.lock();
        let count = state.decisions.entry(kind).or_default();
        *count += 1;
        roll(self.seed, kind, *count)
    }

    /// Notes what happened, for the trace.
    pub(crate) fn tell(&self, what: fmt::Arguments<'_>) {
        let now = self.now();
        self.lock().tell(now, what, self.verbose);
    }

    /// An invariant does not hold. The first one counts.
    pub(crate) fn violate(&self, class: &'static str, detail: impl Into<String>) {
        let violation = Violation { class, detail: detail.into() };
        self.tell(format_args!("VIOLATION {violation}"));
        self.lock().violation.get_or_insert(violation);
        self.stirred.notify_waiters();
    }

    pub(crate) fn trace(&self) -> (u64, Vec<String>) {
        let state = self.lock();
        (state.hasher.finish(), state.told.clone())
    }

    /// `run` arrives at `site`: time passes, and what is to strike here strikes.
    pub(crate) async fn arrive(&self, run: u64, site: Site) -> Result<Option<Strike>> {
        let (nth, strike) = {
            let mut state = self.lock();
            if state.violation.is_some() {
                return Err(Error::internal("the history has failed already"));
            }
            let count = state.arrivals.entry(site).or_default();
            let nth = *count;
            *count += 1;
            let strike = self.faults.get(&(site, nth)).copied().filter(|_| !state.healed);
            if let Some(strike) = strike {
                *state.tally.faults.entry(strike).or_default() += 1;
            }
            (nth, strike)
        };
        self.tell(format_args!("run {run} at {site:?} #{nth} {strike:?}"));
        let mut micros = match self.knobs.latency {
            0 => 0,
            latency => roll(self.seed, 1_000 + site as u64, nth) % latency,
        };
        if strike == Some(Strike::Slow) {
            micros += 5_000 + roll(self.seed, 2_000 + site as u64, nth) % 80_000;
        }
        if micros > 0 {
            tokio::time::sleep(Duration::from_micros(micros)).await;
        }
        match strike {
            Some(Strike::Fail) => {
                Err(Error::unavailable(format!("injected failure at {site:?} #{nth}")))
            }
            Some(Strike::Crash) => self.crash(run).await,
            _ => Ok(strike),
        }
    }

    /// The process of `run` dies here.
    pub(crate) async fn crash<T>(&self, run: u64) -> T {
        self.lock().crashed = Some(run);
        self.stirred.notify_waiters();
        std::future::pending().await
    }

    /// The source learns that everything below `position` is durable, and may forget it.
    pub(crate) fn acknowledge(&self, position: u64) {
        let durable = {
            let mut state = self.lock();
            let durable = state.durable.content.state.checkpoint.as_ref();
            let durable = durable.map_or(0, |at| at.position().0);
            if let Some(slot) = &mut state.slot {
                slot.acknowledged = slot.acknowledged.max(position);
            }
            durable
        };
        if position > durable {
            let detail = format!("{position} was acknowledged when only {durable} was durable");
            self.violate("acknowledged before durable", detail);
        }
    }
}

impl State {
    fn tell(&mut self, now: u64, what: fmt::Arguments<'_>, verbose: bool) {
        // A formatter writes no error of its own, and neither does the hasher.
        let _ = fmt::Write::write_fmt(&mut Hashing(&mut self.hasher), format_args!("{now} {what}"));
        if verbose {
            self.told.push(format!("{now:>9} {what}"));
        }
    }
}

/// Text on its way into a hash.
struct Hashing<'a>(&'a mut DefaultHasher);

impl fmt::Write for Hashing<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.write(text.as_bytes());
        Ok(())
    }
}
