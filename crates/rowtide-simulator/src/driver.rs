//! Plays one scenario: acts on the database, starts and ends runs of the real pipeline, heals
//! everything, and demands that both sides are equal.

mod ending;
mod runs;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::oracle;
use crate::scenario::{Act, End, Scenario};
use crate::tally::Tally;
use crate::world::{Violation, World};
use runs::{Configuration, Run};

/// How long a healthy pipeline may take to catch up, on the paused clock.
const PATIENCE: Duration = Duration::from_secs(600);

/// How one history went.
#[derive(Debug, Clone)]
pub struct Played {
    /// The first invariant that did not hold.
    pub violation: Option<Violation>,
    /// What happened, in numbers.
    pub tally: Tally,
    /// A hash over everything that happened, with its time.
    pub hash: u64,
    /// What happened, if it was asked for.
    pub trace: Vec<String>,
}

/// Plays `scenario` on a runtime of its own.
pub(crate) fn play(scenario: &Scenario, verbose: bool) -> Result<Played, std::io::Error> {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_time().start_paused(true).build()?;
    Ok(runtime.block_on(async {
        let world = World::new(scenario, verbose);
        let driver = Driver { world: Arc::clone(&world), current: None, zombie: None, runs: 0 };
        driver.play(scenario).await;
        let (hash, trace) = world.trace();
        let state = world.lock();
        let mut tally = state.tally.clone();
        tally.seeds = 1;
        tally.transactions = state.log.transactions.len() as u64;
        for known in &state.durable.content.state.tables {
            tally.replaced += known.values.nulled + known.values.as_text;
            tally.kept_out += known.values.quarantined;
        }
        Played { violation: state.violation.clone(), tally, hash, trace }
    }))
}

struct Driver {
    world: Arc<World>,
    current: Option<Run>,
    /// A run that hangs in a commit.
    zombie: Option<Run>,
    runs: u64,
}

impl Driver {
    fn has_failed(&self) -> bool {
        self.world.lock().violation.is_some()
    }

    async fn play(mut self, scenario: &Scenario) {
        for act in &scenario.acts {
            if self.has_failed() {
                break;
            }
            self.world.tell(format_args!("act: {act}"));
            self.act(scenario, act).await;
        }
        if !self.has_failed() {
            self.finish(scenario).await;
        }
        for run in self.current.take().into_iter().chain(self.zombie.take()) {
            run.kill().await;
        }
    }

    async fn act(&mut self, scenario: &Scenario, act: &Act) {
        let now = self.world.now();
        match act {
            Act::Begin { slot } => self.world.lock().log.begin(*slot),
            Act::Commit { slot, changes, unseen_micros } => {
                let time = (now, *unseen_micros);
                self.world.lock().log.commit(changes, *slot, time);
                self.world.grown.notify_waiters();
            }
            Act::Noise => {
                self.world.lock().log.noise();
                self.world.grown.notify_waiters();
            }
            Act::Pause { micros } => self.pause(scenario, Duration::from_micros(*micros)).await,
            Act::Create { table } => self.world.lock().log.tables[*table].exists = true,
            Act::Unpublish { table } => {
                let mut state = self.world.lock();
                if state.published.remove(table).is_some() {
                    // Whoever reads the log is told so, and has to begin again.
                    state.streams += 1;
                }
                drop(state);
                self.world.grown.notify_waiters();
            }
            Act::Restart { end, once, resync } => {
                self.end(scenario, *end).await;
                let configuration =
                    Configuration { once: *once, resync: resync.clone(), repairs: false };
                self.start(scenario, configuration);
            }
        }
    }

    fn start(&mut self, scenario: &Scenario, configuration: Configuration) {
        self.runs += 1;
        self.world.lock().tally.runs += 1;
        let head = self.world.lock().log.end();
        self.world.tell(format_args!("run {} starts at {head}: {configuration:?}", self.runs));
        self.current = Some(Run::start(&self.world, scenario, self.runs, configuration));
    }

    /// Lets time pass, and deals with runs that end or die meanwhile.
    async fn pause(&mut self, scenario: &Scenario, time: Duration) {
        let until = Instant::now() + time;
        while !self.has_failed() {
            let world = Arc::clone(&self.world);
            let stirred = world.stirred.notified();
            self.look_after(scenario).await;
            let ended = async {
                match &mut self.current {
                    Some(run) => run.ended().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = ended => {}
                () = stirred => {}
                () = tokio::time::sleep_until(until) => return,
            }
        }
    }

    /// A run that died is buried and started again; one that ended is judged.
    async fn look_after(&mut self, scenario: &Scenario) {
        let crashed = self.world.lock().crashed.take();
        if let Some(crashed) = crashed {
            self.world.tell(format_args!("run {crashed} dies"));
            if self.zombie.as_ref().is_some_and(|run| run.id == crashed) {
                self.bury_zombie().await;
            }
            if let Some(run) = self.current.take_if(|run| run.id == crashed) {
                let configuration = run.configuration.clone();
                run.kill().await;
                self.start(scenario, configuration);
            }
        }
        if let Some(run) = self.current.take_if(|run| run.has_ended()) {
            self.judge(run).await;
        }
    }

    async fn bury_zombie(&mut self) {
        if let Some(run) = self.zombie.take() {
            run.kill().await;
        }
        self.world.lock().hung = None;
    }

    /// A run that ended must have ended well.
    async fn judge(&self, run: Run) {
        let (id, once, head) = (run.id, run.configuration.once, run.head);
        let follows = oracle::follows(&self.world.lock());
        match run.outcome().await {
            Err(violation) => self.world.violate(violation.0, violation.1),
            Ok(Ok(summary)) if once && follows && !summary.interrupted => {
                let reached = summary.checkpoint.map_or(0, |at| at.position().0);
                self.world.tell(format_args!("run {id} caught up to {reached}"));
                if reached < head {
                    let detail = format!("run {id} ended at {reached}, with {head} to reach");
                    self.world.violate("liveness", detail);
                }
            }
            // Once every table has stopped there is nothing to do.
            Ok(Ok(summary)) if summary.interrupted || !follows => {}
            Ok(Ok(_)) => self.world.violate("ended", format!("run {id} ended by itself")),
            Ok(Err(error)) => {
                let class = class_of(&error);
                self.world.violate(class, format!("run {id} failed: {}", error.chain()));
            }
        }
    }

    async fn end(&mut self, scenario: &Scenario, end: End) {
        self.look_after(scenario).await;
        self.release(scenario).await;
        match end {
            End::Killed => {}
            End::Asked => self.ask(scenario).await,
            End::Zombie => self.hang(scenario).await,
        }
        if let Some(run) = self.current.take() {
            run.kill().await;
        }
        // Whoever died in the meantime is dead by now.
        self.world.lock().crashed = None;
    }

    /// Asks the current run to stop, and waits until it has.
    async fn ask(&mut self, scenario: &Scenario) {
        let deadline = Instant::now() + PATIENCE;
        while !self.has_failed() && self.current.is_some() {
            if Instant::now() > deadline {
                self.world.violate("liveness", "a run that was asked to stop does not");
                return;
            }
            if let Some(run) = &self.current {
                run.ask();
            }
            self.pause(scenario, Duration::from_millis(20)).await;
        }
    }

    /// Makes the current run hang in its next commit, if there is one soon.
    async fn hang(&mut self, scenario: &Scenario) {
        let Some(id) = self.current.as_ref().map(|run| run.id) else { return };
        self.world.lock().hang = Some(id);
        for _ in 0..10 {
            let hangs = self.world.lock().hung.is_some();
            if hangs || self.has_failed() {
                break;
            }
            self.pause(scenario, Duration::from_millis(2)).await;
        }
        let mut state = self.world.lock();
        state.hang = None;
        if state.hung.is_some_and(|(run, _)| run == id) {
            self.zombie = self.current.take_if(|run| run.id == id);
        }
        if self.zombie.is_none() {
            state.hung = None;
        }
    }

    /// The run that hung comes back. Once a newer writer exists it must find itself fenced off.
    async fn release(&mut self, scenario: &Scenario) {
        let Some((_, epoch)) = self.world.lock().hung else { return };
        if self.zombie.is_none() {
            return;
        }
        for _ in 0..100 {
            let newest = self.world.lock().durable.content.state.fencing_epoch;
            if newest > epoch || self.current.is_none() || self.has_failed() {
                break;
            }
            self.pause(scenario, Duration::from_millis(5)).await;
        }
        let newest = self.world.lock().durable.content.state.fencing_epoch;
        let Some(mut run) = self.zombie.take().filter(|_| newest > epoch) else {
            return self.bury_zombie().await;
        };
        self.world.lock().hung = None;
        self.world.released.notify_waiters();
        let id = run.id;
        let ended = tokio::time::timeout(PATIENCE, async {
            while !run.has_ended() {
                let world = Arc::clone(&self.world);
                let stirred = world.stirred.notified();
                if self.has_failed() || self.world.lock().crashed == Some(id) {
                    return;
                }
                tokio::select! {
                    biased;
                    () = run.ended() => {}
                    () = stirred => {}
                }
            }
        });
        let in_time = ended.await.is_ok();
        if !run.has_ended() {
            run.kill().await;
            if !in_time {
                self.world.violate("fenced", format!("run {id} does not notice its successor"));
            }
            return;
        }
        match run.outcome().await {
            Ok(Err(error)) if error.kind() == rowtide_core::ErrorKind::Fenced => {}
            Ok(outcome) => {
                let detail = format!("run {id} came back and ended {:?}", outcome.map(drop));
                self.world.violate("fenced", detail);
            }
            Err(violation) => self.world.violate(violation.0, violation.1),
        }
    }

    /// Heals everything, catches up, and compares.
    async fn finish(&mut self, scenario: &Scenario) {
        self.end(scenario, End::Asked).await;
        self.release(scenario).await;
        {
            let mut state = self.world.lock();
            state.healed = true;
            state.log.settle();
        }
        if !self.has_failed() {
            self.catch_up(scenario).await;
        }
        let outcome = oracle::check_end(&mut self.world.lock());
        match outcome {
            Err(violation) if !self.has_failed() => {
                self.world.violate(violation.class, violation.detail);
            }
            Err(_) => {}
            Ok(()) => self.ending(scenario).await,
        }
    }

    async fn catch_up(&mut self, scenario: &Scenario) {
        self.start(scenario, Configuration { once: true, resync: Vec::new(), repairs: false });
        let deadline = Instant::now() + PATIENCE;
        while self.current.is_some() && !self.has_failed() {
            if Instant::now() > deadline {
                self.world.violate("liveness", "a healthy pipeline does not catch up");
                return;
            }
            self.pause(scenario, Duration::from_secs(1)).await;
        }
    }
}

/// The class of a failure that nothing in the scenario asks for.
fn class_of(error: &rowtide_core::Error) -> &'static str {
    use rowtide_core::ErrorKind;
    match error.kind() {
        ErrorKind::Config => "error: config",
        ErrorKind::Access => "error: access",
        ErrorKind::Unavailable => "error: unavailable",
        ErrorKind::PositionLost => "error: position lost",
        ErrorKind::SchemaDrift => "error: schema drift",
        ErrorKind::Data => "error: data",
        ErrorKind::Fenced => "error: fenced",
        ErrorKind::Internal => "error: internal",
    }
}
