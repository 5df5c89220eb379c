//! Every type with hostile values, by every path to every destination, looked at by SQL of both
//! sides.

#![allow(clippy::print_stdout, reason = "the report is what this is for")]

mod check;
mod complete;
mod corpus;
mod facts;
mod generate;
mod place;
mod report;
mod shape;
mod stops;

use std::path::Path;

use rowtide_sandbox::Major;
use rowtide_testkit::{Result, binary};

use self::corpus::{Case, cases};
use self::facts::Facts;
use self::place::Placed;
pub use self::report::Report;
use crate::stage::{End, Stage};

/// What can be chosen.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// The major versions of PostgreSQL; by default all that are here.
    #[arg(long, value_delimiter = ',')]
    major: Vec<Major>,
    /// The destinations.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "duckdb,postgres")]
    to: Vec<End>,
    /// Only these cases, by their names.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Types and values made up from this seed, in place of the corpus.
    #[arg(long)]
    seed: Option<u64>,
    /// Values of 256 and 540 MiB too.
    #[arg(long)]
    large: bool,
}

/// Tries every value, and prints what became of each type.
///
/// # Errors
/// If a value changed silently, or something was not as the reference of types says.
pub fn run(options: &Options) -> Result<()> {
    let majors = if options.major.is_empty() { Major::installed() } else { options.major.clone() };
    let (binary, mut report) = (binary()?, Report::default());
    for major in majors {
        for &end in &options.to {
            let started = std::time::Instant::now();
            let large = if options.large { Large::All } else { Large::Some };
            let at = (major, end, binary.as_path());
            let done = match options.seed {
                Some(seed) => made_up(at, seed, &mut report),
                None => attempt(at, (&options.only, large), &mut report),
            };
            if let Err(error) = done {
                report.silent(format!("PostgreSQL {major} to {end:?}: {error}"));
            }
            println!("PostgreSQL {major} to {end:?}: {:.1?}", started.elapsed());
        }
    }
    println!("{report}");
    match report.failures().len() {
        0 => Ok(()),
        count => Err(format!("values: {count} silent")),
    }
}

/// Tries the values that a run of all tests has time for.
///
/// # Errors
/// If something cannot be run; what changed is in the report.
pub fn slice(major: Major, end: End) -> Result<Report> {
    let mut report = Report::default();
    attempt((major, end, &binary()?), (&[], Large::None), &mut report)?;
    Ok(report)
}

/// The property: whatever a type is made of, and whatever value it has, copy and log bring the same
/// value, in binary and in text, and the destination gives it back.
///
/// # Errors
/// If something cannot be run; what changed is in the report.
pub fn property(major: Major, end: End, seed: u64) -> Result<Report> {
    let mut report = Report::default();
    made_up((major, end, &binary()?), seed, &mut report)?;
    Ok(report)
}

/// Types that are made up at a time, and values of each.
const MADE_UP: (usize, usize) = (60, 8);

fn made_up(
    (major, end, binary): (Major, End, &Path),
    seed: u64,
    report: &mut Report,
) -> Result<()> {
    let (facts, cases) = (Facts::of(binary)?, generate::cases(seed, MADE_UP));
    for form in ["binary", "text"] {
        let stage = Stage::new(major, end, binary, ("", ""))?;
        log_commands(&stage)?;
        let wanted = |case: &Case, _| form == "text" || case.name.starts_with(generate::BINARY);
        let (placed, absent) = place::place(&stage, (major, &facts), &cases, &wanted)?;
        if let Some(case) = absent.first() {
            return Err(format!("seed {seed}: the types of {case} cannot be made"));
        }
        let as_wanted = travel(&stage, form, &placed)?;
        // PostgreSQL is given what is made of others as text.
        if !as_wanted && end == End::Duckdb {
            report
                .silent(format!("PostgreSQL {major}, seed {seed}: the log was not read in {form}"));
        }
        check::check((&stage, (form, major.to_string())), &placed, report)?;
    }
    Ok(())
}

/// Catches up and ends, with memory for what is to be sent.
fn once(stage: &Stage, placed: &[Placed]) -> Result<()> {
    let large = placed.iter().any(|placed| placed.case.large) && stage.end == End::Duckdb;
    let memory: &[&str] = if large { &["--set", "destination.memory_limit=8GiB"] } else { &[] };
    let arguments = [&["--once"], memory].concat();
    stage.command("run", &arguments).run(crate::stage::LIMIT)?.success().map(drop)
}

fn log_commands(stage: &Stage) -> Result<()> {
    stage.sql("ALTER SYSTEM SET log_replication_commands = on")?;
    stage.sql("SELECT pg_reload_conf()").map(drop)
}

/// Which of the large values are tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Large {
    None,
    /// That of 64 MiB.
    Some,
    All,
}

/// The names of large cases that a run without `--large` tries.
const RATHER_LARGE: &str = "bytea_64";
/// One that is larger than its text form could be.
const ONLY_BINARY: &str = "bytea_540";

fn attempt(
    (major, end, binary): (Major, End, &Path),
    (only, large): (&[String], Large),
    report: &mut Report,
) -> Result<()> {
    let facts = Facts::of(binary)?;
    let cases = cases();
    let is_wanted = |case: &Case| {
        let named = only.is_empty() || only.contains(&case.name);
        let sized = !case.large
            || large == Large::All
            || (large == Large::Some && case.name == RATHER_LARGE);
        named && sized
    };
    for form in ["binary", "text"] {
        let stage = Stage::new(major, end, binary, ("unrepresentable = \"null\"", ""))?;
        log_commands(&stage)?;
        if form == "binary" {
            complete::check(&stage, (&cases, &facts), report)?;
        }
        let wanted = |case: &Case, reads_binary: Option<bool>| match form {
            "binary" => is_wanted(case) && reads_binary == Some(true),
            _ => is_wanted(case) && case.name != ONLY_BINARY,
        };
        let (placed, absent) = place::place(&stage, (major, &facts), &cases, &wanted)?;
        for case in absent {
            report.absent(case, &major.to_string());
        }
        let major_name = major.to_string();
        if !travel(&stage, form, &placed)? {
            report.silent(format!("PostgreSQL {major} to {end:?}: the log was not read in {form}"));
        }
        check::check((&stage, (form, major_name)), &placed, report)?;
    }
    let stage = Stage::new(major, end, binary, ("unrepresentable = \"fail\"", ""))?;
    let chosen: Vec<Case> = cases.into_iter().filter(is_wanted).collect();
    stops::check(&stage, (major, &facts), &chosen, report)
}

/// Sends everything there, by the copy and then by the log; tells whether that was read in the form
/// that is wanted.
fn travel(stage: &Stage, form: &str, placed: &[Placed]) -> Result<bool> {
    place::before(stage, placed)?;
    if form == "text" {
        // A type that nobody knows: a stream with such a column is in text.
        stage.sql("CREATE TYPE public.floats_only AS RANGE (subtype = float8)")?;
        stage.sql("CREATE TABLE public.companion (id int PRIMARY KEY, v public.floats_only)")?;
    }
    once(stage, placed)?;
    place::after(stage, placed)?;
    once(stage, placed)?;
    stage.compare(&["public.followed"])?;
    let log = stage.server.log_file();
    let log = std::fs::read_to_string(&log).map_err(|e| format!("read {}: {e}", log.display()))?;
    let started: Vec<&str> =
        log.lines().filter(|line| line.contains("received replication command: START_")).collect();
    let as_wanted = |line: &&str| line.contains("binary") == (form == "binary");
    Ok(!started.is_empty() && started.iter().all(as_wanted))
}
