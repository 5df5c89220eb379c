//! The project's chores, as one small program without dependencies: `cargo xtask <command>`.
//!
//! It is plain std so that it builds in seconds on a machine that has nothing yet: its first
//! chore is to fetch what the other crates need to build at all.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program for the terminal")]

mod check;
mod corruption;
mod fuzz;
mod mutants;
mod run;
mod setup;
mod testing;

use std::path::Path;
use std::process::ExitCode;

use run::{Outcome, cargo};

const HELP: &str = "\
The project's chores.

Usage: cargo xtask <command>

Commands:
  setup            Make this machine ready to build and run: system packages, DuckDB's library
  setup --servers  The same, and PostgreSQL 14, 16, 17 and 18 for the tests
  demo [args...]   Set up, then build and run `rowtide demo` with the arguments
  test [args...]   Set up with servers, build, then run every test of the workspace;
                   the arguments go to the test runner
  bench [args...]  Set up, build for release, then measure Rowtide and its limits in one run;
                   `bench --help` tells the measurements and their sizes
  sim [args...]    Play histories of the engine between a model source and a model destination;
                   `sim --seeds 1000000` before a release, `sim --seed X` to replay one
  mutants [bugs]   Plant known bugs, one at a time, and show which tests catch them
  crash [args...]  Set up, then end the real binary at every named point and at random, under load,
                   and compare; `crash --help` tells what can be chosen
  fidelity [what] [args...]
                   Set up, then send every type, name and change of table through the real binary
                   and compare; `fidelity values|ddl|names|tables --help` tells what can be chosen
  fidelity corruption [--seed N] [--rounds M]
                   Damage copies of tables under load; `rowtide verify --repair` has to find and
                   repair all of it, and nothing else
  fuzz [--seconds N] [target...]
                   Feed the decoders made-up input, each for 20 s (needs a nightly toolchain)
  ci               Everything that must pass: format, clippy, tidy, docs, test
  tidy             Check the project's own rules over the tree (seconds; builds nothing)
  docs             Write the generated documents anew
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let root = run::workspace_root();
    match dispatch(root, &words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("xtask: {message}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(root: &Path, words: &[&str]) -> Outcome {
    match words {
        [] | ["help" | "-h" | "--help", ..] => {
            print!("{HELP}");
            Ok(())
        }
        ["setup"] => setup::basics(root),
        ["setup", "--servers"] => setup::with_servers(root),
        ["demo", arguments @ ..] => demo(root, arguments),
        ["test", arguments @ ..] => testing::run(root, arguments),
        ["bench", arguments @ ..] => bench(root, arguments),
        ["sim", arguments @ ..] => simulate(root, arguments),
        ["mutants", bugs @ ..] => mutants::run(root, bugs),
        ["crash", arguments @ ..] => between_servers(root, "rowtide-crash", arguments),
        ["fidelity", "corruption", arguments @ ..] => {
            setup::with_servers(root)?;
            corruption::run(root, arguments)
        }
        ["fidelity", arguments @ ..] => between_servers(root, "rowtide-fidelity", arguments),
        ["fuzz", arguments @ ..] => fuzz::run(root, arguments),
        ["ci"] => check::everything(root),
        ["tidy"] => check::tidy::check(root),
        ["docs"] => check::docs::write(root),
        [command, ..] => Err(format!("{} is not a command\n\n{HELP}", command.escape_debug())),
    }
}

fn bench(root: &Path, arguments: &[&str]) -> Outcome {
    setup::basics(root)?;
    run::passing_on(cargo(root).args(["build", "--quiet", "--release", "-p", "rowtide"]))?;
    let program = ["run", "--quiet", "--release", "-p", "rowtide-bench", "--"];
    run::passing_on(cargo(root).args(program).args(arguments))
}

/// Runs a tool that sends the real binary, with failpoints, between real servers.
fn between_servers(root: &Path, tool: &str, arguments: &[&str]) -> Outcome {
    setup::with_servers(root)?;
    run::passing_on(
        cargo(root).args(["build", "--quiet", "-p", "rowtide"]).args(testing::FEATURES),
    )?;
    let program = ["run", "--quiet", "-p", tool, "--"];
    run::passing_on(cargo(root).args(program).args(arguments))
}

fn simulate(root: &Path, arguments: &[&str]) -> Outcome {
    let program = ["run", "--quiet", "--release", "-p", "rowtide-simulator", "--"];
    run::passing_on(cargo(root).args(program).args(arguments))
}

fn demo(root: &Path, arguments: &[&str]) -> Outcome {
    setup::basics(root)?;
    let program = ["run", "--quiet", "--release", "-p", "rowtide", "--", "demo"];
    run::passing_on(cargo(root).args(program).args(arguments))
}
