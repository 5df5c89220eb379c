//! `cargo xtask crash`: the crash matrix and the random kills, for as long as is asked for.

#![expect(clippy::print_stdout, reason = "the report is what this program is for")]

use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use rowtide_crash::{
    Arena, GAPS, Pauses, Report, Target, Torment, binary, crash_at, gap, percentile, spots,
    torment, zombie,
};
use rowtide_sandbox::{Major, PostgresServer};
use rowtide_testkit::Result;

/// Ends the real binary at every named point and at random moments, under load, and compares.
#[derive(Debug, Parser)]
struct Options {
    /// Kills at random moments, for each destination.
    #[arg(long, default_value_t = 60)]
    kills: u32,
    /// What all choices follow from; each round of points and each pipeline has the next one.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The points: all, none, or names.
    #[arg(long, value_delimiter = ',', default_value = "all")]
    points: Vec<String>,
    /// Rounds of all points, each on another occasion and at another arrival.
    #[arg(long, default_value_t = 1)]
    rounds: u64,
    /// The destinations.
    #[arg(long, value_delimiter = ',', default_value = "duckdb,postgres")]
    to: Vec<Target>,
    /// The major version of PostgreSQL; without it the seed chooses among those that are here.
    #[arg(long)]
    major: Option<u32>,
    /// Begin nothing new after so many minutes.
    #[arg(long)]
    minutes: Option<u64>,
    /// The longest time in seconds for which a process is stopped (at most 120).
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=120))]
    pause: u64,
    /// Encounters of a process with its successor, for each destination.
    #[arg(long, default_value_t = 3)]
    zombies: u64,
    /// Leave out the gaps in the source's log.
    #[arg(long)]
    no_gaps: bool,
}

fn main() -> ExitCode {
    match Run::start(Options::parse()).and_then(Run::all) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

struct Run {
    options: Options,
    arena: Arena,
    deadline: Option<Instant>,
    report: Report,
    torments: Torment,
    encounters: u64,
    older_went: u64,
    failures: Vec<String>,
}

impl Run {
    fn start(options: Options) -> Result<Self> {
        let known = |number| {
            let major = Major::ALL.into_iter().find(|major| major.number() == number);
            major.ok_or_else(|| format!("there is no PostgreSQL {number} for tests"))
        };
        let major = options.major.map(known).transpose()?;
        let server = PostgresServer::start(&Arena::server_options(major, options.seed));
        let arena = Arena::new(server.map_err(|e| e.to_string())?, &binary()?)?;
        println!("PostgreSQL {}, seed {}", arena.major(), options.seed);
        let deadline =
            options.minutes.map(|minutes| Instant::now() + Duration::from_secs(60 * minutes));
        Ok(Self {
            options,
            arena,
            deadline,
            report: Report::default(),
            torments: Torment::default(),
            encounters: 0,
            older_went: 0,
            failures: Vec::new(),
        })
    }

    fn is_over(&self) -> bool {
        self.deadline.is_some_and(|deadline| Instant::now() >= deadline)
    }

    fn all(mut self) -> Result<()> {
        for target in self.options.to.clone() {
            self.points(target)?;
            self.gaps(target);
            self.zombies(target);
            self.kills(target);
        }
        self.print();
        match self.failures.is_empty() {
            true => Ok(()),
            false => {
                Err(format!("{} cases failed:\n{}", self.failures.len(), self.failures.join("\n")))
            }
        }
    }

    fn fail(&mut self, (what, replay): (&str, &str), why: &str) {
        let (major, replay) = (self.arena.major(), format!("cargo xtask crash {replay}"));
        let text = format!("{what}: {why}\n  again: {replay} --major {major}");
        println!("FAILED {text}");
        self.failures.push(text);
    }

    fn points(&mut self, target: Target) -> Result<()> {
        let names = match self.options.points.as_slice() {
            [one] if one == "all" => Vec::new(),
            [one] if one == "none" => return Ok(()),
            names => names.to_vec(),
        };
        for seed in self.options.seed..self.options.seed + self.options.rounds {
            for spot in spots(&names, seed)? {
                if self.is_over() {
                    return Ok(());
                }
                let what = format!("{}@{} to {target}", spot.point, spot.arrival);
                let replay = format!(
                    "--points {} --to {target} --seed {seed} --kills 0 --zombies 0 --no-gaps",
                    spot.point
                );
                match crash_at(&self.arena, target, (spot, seed)) {
                    Ok(line) => {
                        let (took, recovery) = (line.took, line.recovery);
                        println!("{what} {:?}: {took:.1?}, back in {recovery:.1?}", spot.occasion);
                        if !line.damage.is_none() {
                            self.fail((&what, &replay), &format!("{:#?}", line.damage));
                        }
                        self.report.lines.push(line);
                    }
                    Err(error) => self.fail((&what, &replay), &error),
                }
            }
        }
        Ok(())
    }

    fn gaps(&mut self, target: Target) {
        if self.options.no_gaps {
            return;
        }
        for name in GAPS {
            let replay = format!("--points none --to {target} --kills 0 --zombies 0");
            match gap(&self.arena, target, name) {
                Ok(damage) if damage.is_none() => println!("{name}, {target}: noticed"),
                Ok(damage) => self.fail((name, &replay), &format!("{damage:#?}")),
                Err(error) => self.fail((name, &replay), &error),
            }
        }
    }

    fn zombies(&mut self, target: Target) {
        for seed in self.options.seed..self.options.seed + self.options.zombies {
            if self.is_over() {
                return;
            }
            let what = format!("zombie, {target}");
            let replay = format!(
                "--points none --to {target} --seed {seed} --kills 0 --zombies 1 --no-gaps"
            );
            match zombie(&self.arena, target, seed) {
                Ok(met) => {
                    self.encounters += 1;
                    self.older_went += u64::from(met.older_went);
                    println!("{what}: {:.1?}, older one went: {}", met.took, met.older_went);
                    if !met.damage.is_none() {
                        self.fail((&what, &replay), &format!("{:#?}", met.damage));
                    }
                }
                Err(error) => self.fail((&what, &replay), &error),
            }
        }
    }

    fn kills(&mut self, target: Target) {
        let pauses = Pauses { shortest: 1, longest: self.options.pause };
        let (mut left, mut seed) = (self.options.kills, self.options.seed);
        while left > 0 && !self.is_over() {
            let what = format!("kills, {target}, seed {seed}");
            let replay = format!(
                "--points none --to {target} --seed {seed} --kills {} --zombies 0 --no-gaps --pause {}",
                left.min(rowtide_crash::KILLS),
                self.options.pause
            );
            match torment(&self.arena, target, (left, seed), pauses) {
                Ok(done) => {
                    println!("{what}: {} kills, {} pauses", done.kills, done.pauses);
                    if !done.damage.is_none() {
                        self.fail((&what, &replay), &format!("{:#?}", done.damage));
                    }
                    self.torments.add(done);
                }
                Err(error) => self.fail((&what, &replay), &error),
            }
            left = left.saturating_sub(rowtide_crash::KILLS);
            seed += 1;
        }
    }

    fn print(&self) {
        println!("\n{}", self.report.table());
        let torments = &self.torments;
        println!(
            "random: {} kills, {} pauses, {} transactions; lost {}, doubled {}, wrong {}",
            torments.kills,
            torments.pauses,
            torments.transactions,
            torments.damage.lost,
            torments.damage.doubled,
            torments.damage.wrong
        );
        println!("zombies: {} encounters, {} older ones went", self.encounters, self.older_went);
        let points = self.report.lines.iter().map(|line| line.recovery);
        let looks: u64 = self.report.lines.iter().map(|line| line.looks).sum();
        let all: Vec<_> = points.chain(torments.recoveries.iter().copied()).collect();
        println!(
            "from a kill to the next commit: p50 {:.2?}, p99 {:.2?}, of {}; money looked at {looks} times",
            percentile(&all, 50),
            percentile(&all, 99),
            all.len()
        );
    }
}
