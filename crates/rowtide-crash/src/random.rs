//! `kill -9` and SIGSTOP at random moments, again and again, under load.

use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rowtide_testkit::Result;

use crate::arena::Arena;
use crate::case::Case;
use crate::load::Load;
use crate::target::Target;
use crate::verify::{Damage, verify};
use crate::watch::Watch;

/// Kills of one pipeline before everything is compared and the next pipeline begins.
pub const KILLS: u32 = 12;
/// One in so many processes is stopped for a while first.
const PAUSED: u32 = 6;

/// How long a process is stopped, in seconds.
#[derive(Debug, Clone, Copy)]
pub struct Pauses {
    /// At least.
    pub shortest: u64,
    /// At most.
    pub longest: u64,
}

/// What was done to one pipeline, and came of it.
#[derive(Debug, Default)]
pub struct Torment {
    /// Processes ended by `kill -9`.
    pub kills: u32,
    /// Processes stopped and continued.
    pub pauses: u32,
    /// Transactions at the source meanwhile.
    pub transactions: u64,
    /// From a kill to the first commit of the next process, where that was waited for.
    pub recoveries: Vec<Duration>,
    /// What is wrong with the copy.
    pub damage: Damage,
}

impl Torment {
    /// Takes another's figures in.
    pub fn add(&mut self, other: Self) {
        self.kills += other.kills;
        self.pauses += other.pauses;
        self.transactions += other.transactions;
        self.recoveries.extend(other.recoveries);
        self.damage.add(other.damage);
    }
}

/// Torments one pipeline with at most `kills` kills.
///
/// # Errors
/// If a process ends by itself, or a reader sees a transaction in halves. Damage is no error here.
pub fn torment(
    arena: &Arena,
    target: Target,
    (kills, seed): (u32, u64),
    pauses: Pauses,
) -> Result<Torment> {
    let mut rng = StdRng::seed_from_u64(seed);
    let case = Case::new(arena, target)?;
    let load = Load::start(&case.source_url(), seed)?;
    let watch = Watch::start(&case)?;
    let mut done = Torment::default();
    let mut killed = None;
    for n in 0..kills.min(KILLS) {
        if n == kills.min(KILLS) / 3 {
            // The first third is torn out of the copying; from here on money is watched.
            case.once(&[])?;
            case.money_is_there()?;
            load.allow_ddl();
            killed = None;
        }
        killed = Some(one(&case, &mut rng, (&mut done, killed), pauses)?);
        case.check_money()?;
    }
    done.transactions = case.end(load)?;
    case.once(&[])?;
    watch.stop()?;
    done.damage = verify(&case)?;
    Ok(done)
}

/// One process: started, perhaps stopped for a while, killed. Returns when it was killed.
fn one(
    case: &Case<'_>,
    rng: &mut StdRng,
    (done, killed): (&mut Torment, Option<Instant>),
    pauses: Pauses,
) -> Result<Instant> {
    let mut rowtide = case.run(&[]).spawn()?;
    if rng.random_ratio(1, 2) {
        case.wait_for_commit(&mut rowtide)?;
        done.recoveries.extend(killed.map(|killed| killed.elapsed()));
    }
    // The only time that passes on purpose: how far the process came is what is random.
    std::thread::park_timeout(Duration::from_millis(rng.random_range(10..1200)));
    if rng.random_ratio(1, PAUSED) {
        rowtide.pause()?;
        let seconds = rng.random_range(pauses.shortest..=pauses.longest.max(pauses.shortest));
        std::thread::park_timeout(Duration::from_secs(seconds));
        rowtide.resume()?;
        done.pauses += 1;
        std::thread::park_timeout(Duration::from_millis(rng.random_range(10..1500)));
    }
    if !rowtide.is_running() {
        return Err(format!("rowtide ended by itself: {}", rowtide.stderr()));
    }
    let killed = Instant::now();
    rowtide.kill9()?;
    done.kills += 1;
    Ok(killed)
}
