//! `rowtide simulate`: random but plausible changes in tables with a key.

mod catalog;
mod change;
mod values;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use rowtide_core::{Error, Result, Source};
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use crate::cli::Simulate;
use crate::output::{self, Align, Output, Table, count};
use crate::registry::postgres;
use crate::{configuration, signals};
use catalog::Target;
use change::Kind;

/// What a steady load is made of unless counts are given: inserts, updates, deletes.
const MIX: [u64; 3] = [5, 3, 1];
/// How often a change that the database refuses is tried again, elsewhere.
const ATTEMPTS: u32 = 20;

/// Makes the changes and tells what was done.
pub(super) async fn execute(arguments: Simulate, output: &Output) -> Result<ExitCode> {
    let counts = [arguments.inserts, arguments.updates, arguments.deletes];
    if arguments.rate.is_none() && counts.iter().sum::<u64>() == 0 {
        return Err(Error::config("simulate was not told what to do").with_hint(
            "for example `rowtide simulate 5 2 1`, or `rowtide simulate --rate 10 --seconds 60`",
        ));
    }
    let configuration = configuration::load_source(&arguments.pipeline)?;
    let source = postgres::build(&configuration.source, &configuration.pipeline)?;
    let (_shutdown, asked) = signals::listen(output)?;
    let discovered = source.discover(&configuration.settings.selection).await?;
    let client = source.connect_sql().await?;
    let targets = catalog::load(&client, &discovered).await?;
    if targets.is_empty() {
        return Err(Error::config("no selected table has a primary key")
            .with_hint("simulate changes only tables whose rows it can name; see --tables"));
    }
    let seed = arguments.seed.unwrap_or_else(rand::random);
    let mut simulation = Simulation::new(client, targets, seed).await?;
    let began = Instant::now();
    let result = match arguments.rate {
        None => simulation.make(counts, &asked).await,
        Some(rate) => simulation.keep_up((rate, counts), arguments.seconds, &asked).await,
    };
    output::print(&simulation.report(began.elapsed()))?;
    result?;
    Ok(ExitCode::SUCCESS)
}

/// What was done to one table: inserts, updates, deletes, and refused attempts.
#[derive(Debug, Clone, Copy, Default)]
struct Tally {
    done: [u64; 3],
    refused: u64,
}

struct Simulation {
    client: Client,
    targets: Vec<Target>,
    tallies: Vec<Tally>,
    /// What the database said at the first refusal, and whether it was for want of rights.
    refusal: Option<(String, bool)>,
    random: StdRng,
}

impl Simulation {
    async fn new(client: Client, targets: Vec<Target>, seed: u64) -> Result<Self> {
        let mut random = StdRng::seed_from_u64(seed);
        // The server chooses rows by its own random numbers.
        let server: f64 = random.random_range(-1.0..1.0);
        let seeded = client.batch_execute(&format!("SELECT pg_catalog.setseed({server})")).await;
        seeded.map_err(|error| lost(&error))?;
        let tallies = vec![Tally::default(); targets.len()];
        Ok(Self { client, targets, tallies, refusal: None, random })
    }

    /// Makes so many changes of each kind, in random order.
    async fn make(&mut self, counts: [u64; 3], asked: &watch::Receiver<bool>) -> Result<()> {
        let mut left = counts;
        let mut missed = 0;
        while let Some(kind) = choose(&mut self.random, left) {
            if *asked.borrow() {
                return Ok(());
            }
            left[kind as usize] -= 1;
            missed += u64::from(!self.change(kind).await?);
        }
        match missed {
            0 => Ok(()),
            missed => Err(self.gave_up(missed)),
        }
    }

    /// Why changes could not be made, in the database's words.
    fn gave_up(&self, missed: u64) -> Error {
        let what = format!("{missed} of the changes could not be made");
        match &self.refusal {
            None => Error::data(format!("{what}: no table has a row for them"))
                .with_hint("insert some first, for example `rowtide simulate 10`"),
            Some((said, true)) => Error::access(format!("{what}: {said}"))
                .with_hint("simulate writes into the source: use a role that may"),
            Some((said, false)) => {
                Error::data(format!("{what}: the database refused every attempt, first: {said}"))
                    .with_hint(
                        "constraints may forbid random values; choose other tables by --tables",
                    )
            }
        }
    }

    /// Makes changes at a steady rate.
    async fn keep_up(
        &mut self,
        (rate, counts): (f64, [u64; 3]),
        seconds: Option<f64>,
        asked: &watch::Receiver<bool>,
    ) -> Result<()> {
        let refused = |what: &str| Err(Error::config(format!("{what} must be a positive number")));
        let Some(period) = Duration::try_from_secs_f64(1.0 / rate).ok().filter(|p| !p.is_zero())
        else {
            return refused("--rate");
        };
        let lasts = match seconds.map(Duration::try_from_secs_f64) {
            Some(Ok(lasts)) => Some(lasts),
            Some(Err(_)) => return refused("--seconds"),
            None => None,
        };
        let mix = if counts.iter().sum::<u64>() == 0 { MIX } else { counts };
        let began = Instant::now();
        let mut ticks = tokio::time::interval(period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = signals::asked(asked) => return Ok(()),
            }
            if lasts.is_some_and(|lasts| began.elapsed() >= lasts) {
                return Ok(());
            }
            if let Some(kind) = choose(&mut self.random, mix) {
                self.change(kind).await?;
            }
        }
    }

    /// Makes one change somewhere; false if the database refused every attempt.
    async fn change(&mut self, kind: Kind) -> Result<bool> {
        let mut order: Vec<usize> = (0..self.targets.len()).collect();
        order.shuffle(&mut self.random);
        let attempts = order.iter().copied().cycle().take(order.len().max(ATTEMPTS as usize));
        for (attempt, at) in (0_u32..).zip(attempts) {
            let Some(sql) = change::statement((kind, attempt), &self.targets[at], &mut self.random)
            else {
                continue;
            };
            match self.client.execute(&sql, &[]).await {
                Ok(1..) => {
                    self.tallies[at].done[kind as usize] += 1;
                    return Ok(true);
                }
                Ok(0) => {}
                // Constraints and triggers may refuse what is random.
                Err(error) if error.as_db_error().is_some() => {
                    tracing::debug!(
                        table = %self.targets[at].name,
                        state = error.code().map(SqlState::code),
                        "change refused"
                    );
                    self.tallies[at].refused += 1;
                    if self.refusal.is_none() {
                        self.refusal = error.as_db_error().map(|db| {
                            let denied = *db.code() == SqlState::INSUFFICIENT_PRIVILEGE;
                            (format!("{}: {}", self.targets[at].name, db.message()), denied)
                        });
                    }
                }
                Err(error) => return Err(lost(&error)),
            }
        }
        Ok(false)
    }

    fn report(&self, took: Duration) -> String {
        let mut table = Table::new(&[
            ("table", Align::Left),
            ("inserts", Align::Right),
            ("updates", Align::Right),
            ("deletes", Align::Right),
            ("refused", Align::Right),
        ]);
        let mut total = 0;
        for (target, tally) in self.targets.iter().zip(&self.tallies) {
            let changes: u64 = tally.done.iter().sum();
            if changes + tally.refused > 0 {
                total += changes;
                let cells = tally.done.iter().chain([&tally.refused]).map(|number| count(*number));
                table.row([target.name.to_string()].into_iter().chain(cells));
            }
        }
        let seconds = took.as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "a rate to be looked at")]
        let rate = total as f64 / seconds.max(0.001);
        format!("{}\n  {} changes, {rate:.0} per second\n", table.render(), count(total))
    }
}

/// A kind of change, chosen by weight; `None` if nothing weighs anything.
fn choose(random: &mut StdRng, weights: [u64; 3]) -> Option<Kind> {
    let total: u64 = weights.iter().sum();
    if total == 0 {
        return None;
    }
    let mut at = random.random_range(0..total);
    for (kind, weight) in [Kind::Insert, Kind::Update, Kind::Delete].into_iter().zip(weights) {
        if at < weight {
            return Some(kind);
        }
        at -= weight;
    }
    None
}

/// The connection broke.
fn lost(error: &tokio_postgres::Error) -> Error {
    match error.as_db_error() {
        Some(refused) => Error::access(format!("the source refused: {}", refused.message())),
        None => Error::unavailable(format!("the connection to the source was lost: {error}")),
    }
}
