//! A process that everybody takes for dead, and that wakes up beside its successor.

use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rowtide_testkit::{Result, Rowtide, wait_for};

use crate::arena::Arena;
use crate::case::{Case, LIMIT};
use crate::load::Load;
use crate::target::Target;
use crate::verify::{Damage, verify};
use crate::watch::Watch;

/// The exit code of a run that could not reach something.
const UNAVAILABLE: i32 = 4;

/// How an encounter of two processes ended.
#[derive(Debug)]
pub struct Encounter {
    /// Whether the older process was the one that had to go.
    pub older_went: bool,
    /// What is wrong with the copy.
    pub damage: Damage,
    /// How long it all took.
    pub took: Duration,
}

/// Stops a process in the middle of whatever it does, starts another, lets the first go on, and
/// compares.
///
/// # Errors
/// If it does not end with one of the two refused. Damage is no error here.
pub fn zombie(arena: &Arena, target: Target, seed: u64) -> Result<Encounter> {
    let began = Instant::now();
    let case = Case::new(arena, target)?;
    let load = Load::start(&case.source_url(), seed)?;
    case.once(&[])?;
    case.money_is_there()?;
    load.allow_ddl();
    let watch = Watch::start(&case)?;
    let mut older = case.run(&[]).spawn()?;
    case.wait_for_commit(&mut older)?;
    // The only time that passes on purpose: in the middle of what it is stopped is random.
    let moment = StdRng::seed_from_u64(seed).random_range(0..400);
    std::thread::park_timeout(Duration::from_millis(moment));
    older.pause()?;
    let met = match target {
        Target::Duckdb => locked_out(&case, &older),
        Target::Postgres => succeeded(&case, &mut older),
    };
    let (older_went, newer) = match met {
        Ok(met) => met,
        Err(error) => {
            let log = older.stderr();
            return Err(format!("{error}\n--- the older process said\n{log}"));
        }
    };
    case.end(load)?;
    for survivor in [Some(older), newer].into_iter().flatten() {
        let mut survivor = survivor;
        if survivor.is_running() {
            case.stop(survivor)?;
        }
    }
    case.once(&[])?;
    watch.stop()?;
    let damage = verify(&case)?;
    Ok(Encounter { older_went, damage, took: began.elapsed() })
}

/// A file belongs to the process that has it open, awake or not: the newer one must say so.
fn locked_out(case: &Case<'_>, older: &Rowtide) -> Result<(bool, Option<Rowtide>)> {
    let newer = case.run(&["--once"]).run(LIMIT)?;
    older.resume()?;
    match newer.code() {
        UNAVAILABLE if newer.stderr.contains("opening the DuckDB database") => Ok((false, None)),
        code => Err(format!(
            "beside a process that has the file, another ended with {code} and said\n{}",
            newer.stderr
        )),
    }
}

/// The newer process takes the older one's place. Once the older one is awake, one of the two
/// must find out that it is no longer the writer.
fn succeeded(case: &Case<'_>, older: &mut Rowtide) -> Result<(bool, Option<Rowtide>)> {
    let mut newer = case.run(&[]).spawn()?;
    let took_over = case.wait_for_commit(&mut newer);
    older.resume()?;
    took_over?;
    let older_went = wait_for("one of two writers to go", LIMIT, || {
        Ok(match (older.is_running(), newer.is_running()) {
            (true, true) => None,
            (older, _) => Some(!older),
        })
    })?;
    let gone = if older_went { &*older } else { &newer };
    let said = gone.stderr();
    if !said.contains("newer writer") {
        return Err(format!("a writer went, but not because of the other: {said}"));
    }
    Ok((older_went, Some(newer)))
}
