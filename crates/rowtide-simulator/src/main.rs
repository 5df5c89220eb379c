//! Plays many histories, each decided by its seed, and stops at the first that fails.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program for the terminal")]

use std::cell::Cell;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use rowtide_simulator::{Played, Tally, describe, play, shrink};

const HELP: &str = "\
Plays histories of the real engine between a model source and a model destination.

Usage: cargo xtask sim [options]

Options:
  --seeds N      How many histories [default: 20000]
  --from M       The first seed [default: 0]
  --seed X       This one history, with everything that happens in it
  --threads N    Histories at the same time [default: 2]
  --no-shrink    Leave a failing history as it is

ROWTIDE_PLANTED=name plants a bug, which must be found.
";

struct Options {
    seeds: u64,
    from: u64,
    seed: Option<u64>,
    threads: u64,
    shrink: bool,
}

fn options() -> Result<Option<Options>, String> {
    let mut options = Options { seeds: 20_000, from: 0, seed: None, threads: 2, shrink: true };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut number = || -> Result<u64, String> {
            let text = words.next().unwrap_or_default().replace('_', "");
            text.parse().map_err(|_| format!("{word} takes a number"))
        };
        match word.as_str() {
            "--seeds" => options.seeds = number()?,
            "--from" => options.from = number()?,
            "--seed" => options.seed = Some(number()?),
            "--threads" => options.threads = number()?.max(1),
            "--no-shrink" => options.shrink = false,
            "--help" | "-h" => return Ok(None),
            _ => return Err(format!("{} is not an option\n\n{HELP}", word.escape_debug())),
        }
    }
    Ok(Some(options))
}

fn main() -> ExitCode {
    match options().map_err(|message| (2, message)).and_then(|options| match options {
        Some(options) => run(&options).map_err(|message| (1, message)),
        None => {
            print!("{HELP}");
            Ok(())
        }
    }) {
        Ok(()) => ExitCode::SUCCESS,
        Err((code, message)) => {
            eprintln!("{message}");
            ExitCode::from(code)
        }
    }
}

fn run(options: &Options) -> Result<(), String> {
    name_seeds_that_panic();
    rowtide_core::fault::check().map_err(|error| error.chain())?;
    if let Some(seed) = options.seed {
        return one(seed, options.shrink);
    }
    let began = Instant::now();
    let (tally, failed) = many(options)?;
    println!("{tally}; {:.1} s", began.elapsed().as_secs_f64());
    let Some((seed, played)) = failed else { return Ok(()) };
    if let Some(violation) = played.violation {
        println!("seed {seed} fails: {violation}");
    }
    Err(report(seed, options.shrink)?)
}

/// Plays seeds until one fails; of several failures the lowest seed counts.
fn many(options: &Options) -> Result<(Tally, Option<(u64, Played)>), String> {
    let next = AtomicU64::new(options.from);
    let end = options.from.saturating_add(options.seeds);
    let total = Mutex::new((Tally::default(), None::<(u64, Played)>));
    let lock = || total.lock().map_err(|_| "a thread died".to_owned());
    let worker = || -> Result<(), String> {
        let mut tally = Tally::default();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= end {
                break;
            }
            SEED.set(Some(seed));
            let played = play(seed, false).map_err(|error| error.to_string())?;
            tally.add(&played.tally);
            if played.violation.is_some() {
                next.store(end, Ordering::Relaxed);
                let mut total = lock()?;
                if total.1.as_ref().is_none_or(|(other, _)| seed < *other) {
                    total.1 = Some((seed, played));
                }
            }
        }
        lock()?.0.add(&tally);
        Ok(())
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..options.threads).map(|_| scope.spawn(worker)).collect();
        workers
            .into_iter()
            .try_for_each(|worker| worker.join().map_err(|_| "a thread died".to_owned())?)
    })?;
    total.into_inner().map_err(|_| "a thread died".to_owned())
}

thread_local! {
    /// What this thread plays.
    static SEED: Cell<Option<u64>> = const { Cell::new(None) };
}

/// Says which seed it was when something panics, which ends the program.
fn name_seeds_that_panic() {
    let default = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        default(info);
        if let Some(seed) = SEED.get() {
            eprintln!("seed {seed} panics; replay it with: {}", replay(seed));
        }
    }));
}

fn replay(seed: u64) -> String {
    let planted = std::env::var("ROWTIDE_PLANTED").ok().filter(|name| !name.is_empty());
    let planted = planted.map(|name| format!("ROWTIDE_PLANTED={name} ")).unwrap_or_default();
    format!("{planted}cargo xtask sim --seed {seed}")
}

fn report(seed: u64, smaller: bool) -> Result<String, String> {
    if smaller && let Some(shrunk) = shrink(seed).map_err(|error| error.to_string())? {
        println!("the smallest history that fails so:\n{}", shrunk.scenario);
        println!("{}", shrunk.violation);
    }
    Ok(format!("replay it with: {}", replay(seed)))
}

/// One history, with everything that happens in it.
fn one(seed: u64, smaller: bool) -> Result<(), String> {
    println!("{}", describe(seed));
    let played = play(seed, true).map_err(|error| error.to_string())?;
    played.trace.iter().for_each(|line| println!("{line}"));
    println!("{}", played.tally);
    let Some(violation) = played.violation else { return Ok(()) };
    if smaller && let Some(shrunk) = shrink(seed).map_err(|error| error.to_string())? {
        println!("the smallest history that fails so:\n{}", shrunk.scenario);
        shrunk.trace.iter().for_each(|line| println!("{line}"));
    }
    Err(format!("seed {seed} fails: {violation}"))
}
