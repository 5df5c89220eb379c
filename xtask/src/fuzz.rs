//! `cargo xtask fuzz`: builds the targets of `fuzz/` with a nightly toolchain and runs each for a
//! while. What cargo-fuzz would do, without it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Mutex;
use std::thread;

use crate::run::{self, Outcome, io_error};

/// How long each target runs unless told otherwise.
const SECONDS: u32 = 20;

/// The flags by which the compiler watches branches and comparisons for the fuzzer, and memory.
const FLAGS: [&str; 9] = [
    "--cfg=fuzzing",
    "-Ccodegen-units=1",
    "-Zsanitizer=address",
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Cllvm-args=-simplifycfg-branch-fold-threshold=0",
];

/// Builds and runs the targets that `arguments` name, or all.
pub(crate) fn run(root: &Path, arguments: &[&str]) -> Outcome {
    let known = targets(root)?;
    let (seconds, chosen) = read(arguments, &known)?;
    let Some(host) = nightly() else {
        println!("skipped: no nightly toolchain (rustup toolchain install nightly)");
        return Ok(());
    };
    let output = root.join("target/fuzz");
    let mut build = nightly_cargo(root);
    build.args(["build", "--release", "--locked", "--manifest-path", "fuzz/Cargo.toml"]);
    build.args(["--target", &host, "--target-dir"]).arg(&output);
    build.args(chosen.iter().flat_map(|target| ["--bin", target]));
    run::shown(build.env("RUSTFLAGS", FLAGS.join(" ")))?;
    let place = Place { root, programs: output.join(host).join("release"), output, seconds };
    let broken = place.run_all(&chosen)?;
    match broken.as_slice() {
        [] => Ok(()),
        broken => Err(format!("broken: {}", broken.join(", "))),
    }
}

/// The names of the targets, in order.
fn targets(root: &Path) -> Outcome<Vec<String>> {
    let directory = root.join("fuzz/fuzz_targets");
    let entries = fs::read_dir(&directory).map_err(io_error("list", &directory))?;
    let names = entries.flatten().filter_map(|entry| {
        let name = entry.file_name().to_string_lossy().into_owned();
        name.strip_suffix(".rs").map(str::to_owned)
    });
    let mut names: Vec<_> = names.collect();
    names.sort();
    Ok(names)
}

/// Seconds and targets out of the arguments.
fn read(arguments: &[&str], known: &[String]) -> Outcome<(u32, Vec<String>)> {
    let mut seconds = SECONDS;
    let mut chosen = Vec::new();
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        if *word == "--seconds" {
            let number = words.next().and_then(|number| number.parse().ok());
            // Zero would mean no limit to the fuzzer.
            seconds = number.filter(|number| *number > 0).ok_or("--seconds takes a number")?;
        } else if known.iter().any(|name| name == word) {
            chosen.push((*word).to_owned());
        } else {
            return Err(format!("{word} is not a target; there are {}", known.join(", ")));
        }
    }
    Ok((seconds, if chosen.is_empty() { known.to_vec() } else { chosen }))
}

/// The host that a nightly toolchain builds for, if there is one.
fn nightly() -> Option<String> {
    let mut rustc = Command::new("rustup");
    let printed = run::output(rustc.args(["run", "nightly", "rustc", "-vV"])).ok()?;
    printed.lines().find_map(|line| line.strip_prefix("host: ")).map(str::to_owned)
}

fn nightly_cargo(root: &Path) -> Command {
    let mut command = Command::new("rustup");
    command.args(["run", "nightly", "cargo"]).current_dir(root);
    // Told to us by the cargo that runs us, of another toolchain.
    for variable in ["CARGO", "RUSTC", "RUSTDOC", "RUSTUP_TOOLCHAIN"] {
        command.env_remove(variable);
    }
    command
}

struct Place<'a> {
    root: &'a Path,
    programs: PathBuf,
    output: PathBuf,
    seconds: u32,
}

impl Place<'_> {
    /// Runs the targets, as many at once as there are processors; returns those that are broken.
    fn run_all(&self, chosen: &[String]) -> Outcome<Vec<String>> {
        let waiting = Mutex::new(chosen.iter());
        let ended = Mutex::new(Vec::new());
        let next = || waiting.lock().ok().and_then(|mut names| names.next());
        let work = || {
            while let Some(name) = next() {
                let outcome = self.run_one(name);
                if let Ok(mut ended) = ended.lock() {
                    ended.push((name.clone(), outcome));
                }
            }
        };
        let lanes = thread::available_parallelism().map_or(1, usize::from).min(chosen.len());
        thread::scope(|scope| {
            for _ in 0..lanes {
                scope.spawn(work);
            }
        });
        let ended = ended.into_inner().map_err(|_| "a lane of the fuzzer panicked".to_owned())?;
        let mut broken = Vec::new();
        for (name, outcome) in ended {
            if !outcome? {
                broken.push(name);
            }
        }
        Ok(broken)
    }

    /// Runs one target from its corpus; true if nothing broke it. New inputs that reach further
    /// are kept below `target/`, for the next run.
    fn run_one(&self, name: &str) -> Outcome<bool> {
        let found = self.output.join("corpus").join(name);
        let artifacts = self.output.join("artifacts").join(name);
        for directory in [&found, &artifacts] {
            fs::create_dir_all(directory).map_err(io_error("make the directory", directory))?;
        }
        let program = self.programs.join(name);
        let mut command = Command::new(&program);
        command.arg(&found).arg(self.root.join("fuzz/corpus").join(name));
        command.arg(format!("-artifact_prefix={}/", artifacts.display()));
        command.arg(format!("-max_total_time={}", self.seconds));
        command.args(["-timeout=10", "-rss_limit_mb=2048", "-print_final_stats=1"]);
        // What is not freed at the end is no concern of ours; the checks for it take long.
        command.args(["-detect_leaks=0", "-max_len=8192"]).current_dir(self.root);
        let output = command.output().map_err(io_error("run", &program))?;
        let said = String::from_utf8_lossy(&output.stderr);
        println!("{name:<16} {}", summary(&said));
        if !output.status.success() {
            println!("{}", failure(&output, &program));
        }
        Ok(output.status.success())
    }
}

/// Executions and coverage, as the fuzzer's last lines tell them.
fn summary(said: &str) -> String {
    let runs = said.lines().find_map(|line| line.strip_prefix("stat::number_of_executed_units:"));
    let covered = said.lines().rev().find_map(|line| {
        let mut words = line.split_whitespace().skip_while(|word| *word != "cov:");
        words.nth(1)
    });
    let (runs, covered) = (runs.map_or("?", str::trim), covered.unwrap_or("?"));
    format!("{runs:>10} executions, {covered:>5} edges covered")
}

/// What broke, with the end of what the fuzzer said, and how to see it again.
fn failure(output: &Output, program: &Path) -> String {
    let said = String::from_utf8_lossy(&output.stderr);
    let telling = |line: &&str| {
        let words = ["panicked at", "ERROR:", "SUMMARY:", "Test unit written to"];
        words.iter().any(|word| line.contains(word))
    };
    let mut shown: Vec<&str> = Vec::new();
    let mut lines = said.lines();
    while let Some(line) = lines.next() {
        if telling(&line) {
            shown.push(line);
            if line.contains("panicked at") {
                shown.extend(lines.next());
            }
        }
    }
    let shown = shown.join("\n  ");
    format!("  {shown}\n  replay: {} <the test unit>", program.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_name_seconds_and_targets() {
        let known = ["copy".to_owned(), "list".to_owned()];
        assert_eq!(read(&[], &known), Ok((SECONDS, known.to_vec())));
        let chosen = Ok((5, vec!["list".to_owned()]));
        assert_eq!(read(&["list", "--seconds", "5"], &known), chosen);
        for wrong in [&["nothing"][..], &["--seconds"], &["--seconds", "0"]] {
            assert!(read(wrong, &known).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn every_target_has_a_program_a_corpus_and_a_line_in_the_manifest() {
        let root = run::workspace_root();
        let manifest = fs::read_to_string(root.join("fuzz/Cargo.toml")).unwrap();
        let page = fs::read_to_string(root.join("fuzz/README.md")).unwrap();
        let names = targets(root).unwrap();
        assert!(names.len() > 15, "{names:?}");
        for name in names {
            assert!(manifest.contains(&format!("name = \"{name}\"")), "{name}");
            assert!(page.contains(&format!("| `{name}` |")), "{name}");
            let corpus = fs::read_dir(root.join("fuzz/corpus").join(&name)).unwrap();
            assert!(corpus.count() > 0, "{name}");
        }
    }

    #[test]
    fn the_fuzzers_lines_are_summed_up() {
        let said = "#4\tDONE   cov: 305 ft: 12\nstat::number_of_executed_units: 4\n";
        assert_eq!(summary(said).split_whitespace().next(), Some("4"));
        assert!(summary(said).ends_with("305 edges covered"));
    }
}
