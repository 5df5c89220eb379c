//! Histories from seeds: played, reported, and cut down when they fail.

use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use rowtide_sandbox::Major;
use rowtide_testkit::{Result, binary};

use super::action::Kinds;
use super::play::Tally;
use super::trial::{Place, compose, shrink};
use crate::stage::End;

/// How many steps before a failure are shown.
const SHOWN: usize = 30;

/// What can be chosen.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// What all choices follow from; each history has the next one.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Steps in all.
    #[arg(long, default_value_t = 400)]
    pub steps: usize,
    /// Steps of one history, on a server of its own.
    #[arg(long, default_value_t = 100)]
    pub length: usize,
    /// The major version of PostgreSQL; without it each history has another.
    #[arg(long)]
    pub major: Option<Major>,
    /// The destination; without it each history has another.
    #[arg(long)]
    pub to: Option<End>,
    /// Begin nothing new after so many minutes.
    #[arg(long)]
    pub minutes: Option<u64>,
    /// Only changes whose name has one of these words.
    #[arg(long, value_delimiter = ',')]
    pub only: Vec<String>,
    /// No changes whose name has one of these words.
    #[arg(long, value_delimiter = ',')]
    pub without: Vec<String>,
    /// Go on after a history that failed.
    #[arg(long)]
    pub keep_going: bool,
    /// Cut a failing history down for so many minutes.
    #[arg(long, default_value_t = 0)]
    pub shrink: u64,
}

/// One history: its seed, length and place.
#[derive(Debug, Clone, Copy)]
struct Case {
    seed: u64,
    steps: usize,
    major: Major,
    end: End,
}

impl Case {
    /// What plays it again.
    fn again(&self, options: &Options) -> String {
        let end = format!("{:?}", self.end).to_lowercase();
        let list = |name: &str, list: &[String]| match list.is_empty() {
            true => String::new(),
            false => format!(" --{name} '{}'", list.join(",")),
        };
        format!(
            "cargo xtask fidelity ddl --seed {} --steps {} --major {} --to {end}{}{}",
            self.seed,
            self.steps,
            self.major,
            list("only", &options.only),
            list("without", &options.without)
        )
    }
}

/// Plays histories until the steps or the minutes are used up.
///
/// # Errors
/// What differed, with what plays it again.
pub fn run(options: &Options) -> Result<()> {
    let binary = binary()?;
    let majors = options.major.map_or_else(Major::installed, |major| vec![major]);
    let deadline =
        options.minutes.map(|minutes| Instant::now() + Duration::from_secs(minutes * 60));
    let mut tally = Tally::default();
    let (mut seed, mut left, mut failures) = (options.seed, options.steps, Vec::new());
    while left > 0 && deadline.is_none_or(|deadline| Instant::now() < deadline) {
        // By the seed, so that a history is the same wherever it is played.
        let turn = usize::try_from(seed).unwrap_or(0);
        let major = majors.get(turn / 2 % majors.len().max(1)).copied();
        let case = Case {
            seed,
            steps: left.min(options.length),
            major: major.ok_or("there is no PostgreSQL for tests")?,
            end: options.to.unwrap_or(if turn % 2 == 0 { End::Postgres } else { End::Duckdb }),
        };
        match play(options, case, &binary) {
            Ok(played) => tally.add(&played),
            Err(failure) if options.keep_going => {
                say(&failure);
                failures.push(case.again(options));
            }
            Err(failure) => return Err(failure),
        }
        left -= case.steps;
        seed += 1;
    }
    report(&tally, (options.seed, seed));
    match failures.is_empty() {
        true => Ok(()),
        false => Err(format!("{} histories failed:\n{}", failures.len(), failures.join("\n"))),
    }
}

fn say(text: &str) {
    // A closed terminal is no failure.
    let _ = writeln!(std::io::stdout(), "{text}");
}

fn report(tally: &Tally, (first, last): (u64, u64)) {
    let steps: u32 = tally.done.values().sum();
    let refused: u32 = tally.refused.values().sum();
    say(&format!(
        "{} histories, {steps} steps ({refused} refused by the source), {} tables compared",
        last - first,
        tally.compared
    ));
    for (what, count) in &tally.done {
        let refused = tally.refused.get(what).copied().unwrap_or(0);
        say(&format!("  {count:6} {what} ({refused} refused)"));
    }
    for (why, count) in &tally.helped {
        say(&format!("  {count:6} helped: {why}"));
    }
}

fn play(options: &Options, case: Case, binary: &Path) -> Result<Tally> {
    let kinds = Kinds { only: &options.only, without: &options.without };
    let place = Place { major: case.major, end: case.end, binary };
    let failure = match compose(place, (case.seed, case.steps), kinds)? {
        Ok(tally) => return Ok(tally),
        Err(failure) => failure,
    };
    let budget = Duration::from_secs(options.shrink * 60);
    let (script, what) = shrink(place, &failure, budget);
    let last: Vec<String> = match options.shrink {
        0 => script.iter().rev().take(SHOWN).rev().map(ToString::to_string).collect(),
        _ => script.iter().map(ToString::to_string).collect(),
    };
    Err(format!(
        "{what}\n--- the last of {} steps\n{}\n--- again: {}",
        script.len(),
        last.join("\n"),
        case.again(options)
    ))
}
