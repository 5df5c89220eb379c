//! Measures Rowtide and the limits of its surroundings on the same data, in one run.
//!
//! Absolute times drift on shared machines; what counts is the ratio of two figures of one run.
//! Every result is compared row by row before its figure is taken down.

#![expect(clippy::print_stdout, reason = "the report is what this program is for")]

mod arena;
mod catching_up;
mod copy;
mod data;
mod delays;
mod drain;
mod idle;
mod kills;
mod large;
mod latency;
mod limits;
mod options;
mod outage;
mod plot;
mod ranges;
mod report;
mod rounds;
mod series;
mod session;
mod skew;
mod start;
mod stopwatch;
mod targets;
mod toast;
mod verify;
mod watch;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use rowtide_testkit::Result;

use options::{Options, Part, Program};
use report::{Line, Machine, Outcome, Section, write};

/// A measurement: its number and its name on the command line, its title, and how it is made.
struct Measurement {
    number: &'static str,
    name: &'static str,
    title: &'static str,
    measure: fn(&Options) -> Result<Outcome>,
}

const fn measurement(
    [number, name, title]: [&'static str; 3],
    measure: fn(&Options) -> Result<Outcome>,
) -> Measurement {
    Measurement { number, name, title, measure }
}

const MEASUREMENTS: &[Measurement] = &[
    measurement(["w1", "copy", "W1: copying"], copy::measure),
    measurement(["w2", "drain", "W2: draining a backlog"], drain::measure),
    measurement(["w3", "latency", "W3: latency of small transactions"], latency::measure),
    measurement(["w4", "large", "W4: one large transaction"], large::measure),
    measurement(["w5", "toast", "W5: updates beside large values"], toast::measure),
    measurement(["w6", "skew", "W6: forty tables, skewed"], skew::measure),
    measurement(["w7", "outage", "W7: catching up after an outage"], outage::measure),
    measurement(["verify", "verify", "Verifying a copy"], verify::measure),
    measurement(["idle", "idle", "An idle pipeline"], idle::measure),
    measurement(["start", "start", "Cold start"], start::measure),
    measurement(["kills", "kills", "Under kill -9"], kills::measure),
];

/// Made only if it is asked for: it shows correctness and not speed.
const ON_DEMAND: &str = "kills";

fn main() -> ExitCode {
    let program = Program::parse();
    let done = match program.part {
        Some(Part::Limit(job)) => limits::run(&job).and_then(|done| {
            println!("{}", serde_json::to_string(&done).map_err(|e| e.to_string())?);
            Ok(())
        }),
        None => measure(&program.options.settled()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Makes the measurements that were chosen and writes the report. One that fails, or whose result
/// differs from its source, has no figures in it, and is the error in the end.
fn measure(options: &Options) -> Result<()> {
    let machine = Machine::this(options)?;
    let (mut sections, mut failures) = (Vec::new(), Vec::new());
    for Measurement { number, name, title, measure } in chosen(&options.only)? {
        println!("measuring {number} ({name})");
        let (started, stolen) = (Instant::now(), stopwatch::stolen_seconds());
        let mut outcome = measure(options).unwrap_or_else(|error| {
            println!("{name} failed: {error}");
            failures.push(*name);
            let said = Line::said("failed", error.lines().next().unwrap_or_default());
            Outcome { lines: vec![said], ..Outcome::default() }
        });
        let took = started.elapsed().as_secs_f64();
        println!("{name} took {took:.0} s");
        if let (Some(before), Some(after)) = (stolen, stopwatch::stolen_seconds()) {
            let said = format!("{:.1} s of CPU in {took:.0} s", after - before);
            outcome.lines.push(Line::said("meanwhile the host gave to others", said));
        }
        sections.push(Section { name, title, outcome });
    }
    let page = write(&directory(options), &machine, &sections)?;
    println!("{}", std::fs::read_to_string(&page).map_err(|e| e.to_string())?);
    println!("written to {}", page.display());
    match failures.is_empty() {
        true => Ok(()),
        false => Err(format!("these failed: {}", failures.join(", "))),
    }
}

/// The measurements that `only` names.
fn chosen(only: &[String]) -> Result<Vec<&'static Measurement>> {
    let is_known = |asked: &str| MEASUREMENTS.iter().any(|m| m.number == asked || m.name == asked);
    if let Some(unknown) = only.iter().find(|asked| !is_known(asked)) {
        let known: Vec<&str> = MEASUREMENTS.iter().map(|m| m.number).collect();
        return Err(format!("`{unknown}` is none of the measurements: {}", known.join(", ")));
    }
    let is_asked = |m: &&Measurement| match only.is_empty() {
        true => m.name != ON_DEMAND,
        false => only.iter().any(|asked| asked == m.number || asked == m.name),
    };
    Ok(MEASUREMENTS.iter().filter(is_asked).collect())
}

/// Where the report goes: below the workspace, unless it is said.
fn directory(options: &Options) -> PathBuf {
    if let Some(directory) = &options.into {
        return directory.clone();
    }
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let workspace = workspace.canonicalize().unwrap_or(workspace);
    workspace.join(if options.write { "docs/performance" } else { "target/bench" })
}
