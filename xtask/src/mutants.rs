//! `cargo xtask mutants`: plants one bug after the other and shows which tests catch it.
//!
//! The bugs are those of `rowtide_core::fault::PLANTED`, compiled in by the feature
//! `fault-injection` and chosen by an environment variable. A bug that no test catches fails the
//! run: it tests the tests.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::run::{self, Outcome, cargo, io_error};
use crate::setup;

/// The variable that plants a bug.
const PLANT: &str = "ROWTIDE_PLANTED";
/// Where the bugs are listed.
const LIST: &str = "crates/rowtide-core/src/fault.rs";
/// Histories the simulator looks at before it gives a bug up.
const SEEDS: &str = "3000";

/// What may catch a bug.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Detector {
    /// The simulator.
    Simulator,
    /// Tests of the workspace, by a filter of the test runner.
    Tests(&'static str),
}

const SIMULATOR: &[Detector] = &[Detector::Simulator];

const SOURCE: Detector = Detector::Tests(
    "package(rowtide-postgres) & binary(source_conformance) & test(/^postgres_17/)",
);
const DUCKDB: Detector = Detector::Tests("package(rowtide-duckdb) & binary(conformance)");
const POSTGRES: Detector =
    Detector::Tests("package(rowtide-postgres) & binary(destination) & test(/postgres_17/)");
const UNSEEN: Detector = Detector::Tests("package(rowtide) & test(/commit_that_cannot_be_seen/)");
const GAPS: Detector = Detector::Tests("package(rowtide-crash) & test(/gaps/)");

/// Who is to catch what besides the simulator, which has each of these bugs in its models or in
/// the engine it runs, but for `unseen-commits-ignored`: it verifies nothing. Those that are not
/// named here are the simulator's alone; among them `identity-unchecked`, because a real source has
/// a second proof: the last transaction must come again exactly as it was noted.
const DETECTORS: &[(&str, &[Detector])] = &[
    ("unchanged-as-null", &[Detector::Simulator, DUCKDB]),
    ("first-change-wins", &[Detector::Simulator, DUCKDB]),
    ("move-keeps-old-row", &[Detector::Simulator, DUCKDB]),
    ("acknowledge-keepalive", &[Detector::Simulator, SOURCE]),
    ("settle-skipped", &[Detector::Simulator, SOURCE]),
    ("unseen-commits-ignored", &[UNSEEN]),
    ("order-by-change-position", &[Detector::Simulator, SOURCE]),
    ("publication-gap-accepted", &[Detector::Simulator, GAPS]),
    ("retry-without-reading", &[Detector::Simulator, POSTGRES]),
    ("zombie-commits", &[Detector::Simulator, DUCKDB, POSTGRES]),
    ("checkpoint-outside-commit", &[Detector::Simulator, DUCKDB, POSTGRES]),
    ("missing-base-as-null", &[Detector::Simulator, DUCKDB, POSTGRES]),
    ("multiset-removes-all", &[Detector::Simulator, DUCKDB, POSTGRES]),
];

fn detectors(bug: &str) -> &'static [Detector] {
    DETECTORS.iter().find(|(name, _)| *name == bug).map_or(SIMULATOR, |(_, detectors)| *detectors)
}

/// Plants every bug, or those of `only`, and reports who caught it.
pub(crate) fn run(root: &Path, only: &[&str]) -> Outcome {
    let list = fs::read_to_string(root.join(LIST)).map_err(io_error("read", Path::new(LIST)))?;
    let bugs = planted(&list);
    if let Some(unknown) = only.iter().find(|name| !bugs.iter().any(|bug| bug == *name)) {
        return Err(format!("there is no planted bug `{unknown}`; there are: {}", bugs.join(", ")));
    }
    let chosen: Vec<&String> =
        bugs.iter().filter(|bug| only.is_empty() || only.contains(&bug.as_str())).collect();
    setup::with_servers(root)?;
    build(root)?;
    sound(root, &chosen)?;
    let mut missed = Vec::new();
    println!("\n| planted bug | caught by | seconds |\n|---|---|---|");
    for bug in chosen {
        let began = Instant::now();
        let mut by = Vec::new();
        for detector in detectors(bug) {
            let complaints = detector.look(root, Some(bug))?;
            if complaints.is_empty() {
                missed.push(format!("{bug} ({})", detector.name()));
            }
            by.push(summary(detector.name(), &complaints));
        }
        println!("| {bug} | {} | {} |", by.join("; "), began.elapsed().as_secs());
    }
    match missed.is_empty() {
        true => Ok(()),
        false => Err(format!("not caught: {}", missed.join(", "))),
    }
}

fn build(root: &Path) -> Outcome {
    let simulator = ["build", "--quiet", "--release", "-p", "rowtide-simulator"];
    run::shown(cargo(root).args(simulator))?;
    run::shown(
        cargo(root)
            .args(["nextest", "run", "--no-run", "--workspace"])
            .args(crate::testing::FEATURES),
    )
}

/// Without a bug nobody may complain, or what they say of a bug means nothing.
fn sound(root: &Path, bugs: &[&String]) -> Outcome {
    let mut all: Vec<Detector> = bugs.iter().flat_map(|bug| detectors(bug)).copied().collect();
    all.sort();
    all.dedup();
    for detector in all {
        let complaints = detector.look(root, None)?;
        if !complaints.is_empty() {
            return Err(format!("fails without a planted bug: {}", complaints.join(", ")));
        }
    }
    println!("without a planted bug nobody complains");
    Ok(())
}

/// Who complained, in few words.
fn summary(detector: &str, complaints: &[String]) -> String {
    match complaints {
        [] => format!("{detector}: NOT CAUGHT"),
        [one] => one.clone(),
        [one, others @ ..] => format!("{one} and {} more of {detector}", others.len()),
    }
}

impl Detector {
    fn name(self) -> &'static str {
        match self {
            Self::Simulator => "the simulator",
            SOURCE => "the source's conformance (PostgreSQL 17)",
            DUCKDB => "DuckDB's conformance",
            POSTGRES => "the PostgreSQL destination's tests",
            Self::Tests(_) => "the gaps of the crash matrix",
        }
    }

    /// Who complains, with `bug` planted.
    fn look(self, root: &Path, bug: Option<&str>) -> Outcome<Vec<String>> {
        match self {
            Self::Simulator => {
                let words = ["run", "--quiet", "--release", "-p", "rowtide-simulator", "--"];
                let mut command = cargo(root);
                command.args(words).args(["--seeds", SEEDS, "--no-shrink"]);
                let (passed, said) = listen(&mut command, bug)?;
                let seed = said.lines().find_map(|line| line.split("--seed ").nth(1));
                let seed = seed.map_or(String::new(), |seed| format!(" (seed {})", seed.trim()));
                Ok(if passed { Vec::new() } else { vec![format!("the simulator{seed}")] })
            }
            Self::Tests(filter) => {
                let mut command = cargo(root);
                command.args(["nextest", "run", "--workspace", "--no-fail-fast"]);
                command.args(crate::testing::FEATURES).args(["-E", filter]);
                let (passed, said) = listen(&mut command, bug)?;
                let failed = failed_tests(&said);
                if !passed && failed.is_empty() {
                    return Err(format!("the test runner failed without a failing test:\n{said}"));
                }
                Ok(failed)
            }
        }
    }
}

/// Whether the command succeeded, and everything it said.
fn listen(command: &mut Command, bug: Option<&str>) -> Outcome<(bool, String)> {
    command.env_remove(PLANT).envs(bug.map(|bug| (PLANT, bug))).stdin(Stdio::null());
    let output = command.output().map_err(|error| format!("could not run cargo: {error}"))?;
    let said = [output.stdout, output.stderr].concat();
    Ok((output.status.success(), String::from_utf8_lossy(&said).into_owned()))
}

/// The tests that the runner's summary says failed.
fn failed_tests(said: &str) -> Vec<String> {
    let mut failed = BTreeMap::new();
    for line in said.lines().map(str::trim) {
        let ended = ["FAIL [", "TIMEOUT [", "SIGABRT [", "SIGKILL ["];
        if ended.iter().any(|word| line.starts_with(word))
            && let Some((_, name)) = line.split_once(']')
        {
            let name = name.split_whitespace().last().unwrap_or_default();
            failed.insert(name.to_owned(), ());
        }
    }
    failed.into_keys().collect()
}

/// The names in the list of planted bugs.
fn planted(source: &str) -> Vec<String> {
    let list = source.split("pub const PLANTED").nth(1).unwrap_or_default();
    let list = list.split("];").next().unwrap_or_default();
    let names = list.lines().filter_map(|line| line.trim().strip_prefix('"')?.strip_suffix("\","));
    names.map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_detector_is_for_a_bug_that_exists() {
        let list = fs::read_to_string(run::workspace_root().join(LIST)).unwrap();
        let bugs = planted(&list);
        assert!(bugs.len() >= 15, "{bugs:?}");
        for (bug, detectors) in DETECTORS {
            assert!(bugs.iter().any(|known| known == bug), "{bug} is not planted anywhere");
            assert!(!detectors.is_empty());
        }
    }

    #[test]
    fn failed_tests_are_read_from_the_runners_report() {
        let said = "        PASS [   0.1s] a b\n  FAIL [   1.2s] (3/9) rowtide::e2e kill::twice\n\
                    FAIL [   1.2s] rowtide::e2e kill::twice\n";
        assert_eq!(failed_tests(said), ["kill::twice"]);
    }
}
