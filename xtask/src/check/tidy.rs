//! `cargo xtask tidy`: the project's own rules, read from the tree in well under a second.

use std::fs;
use std::path::{Path, PathBuf};

use super::dependencies;
use crate::run::{Outcome, io_error};

/// Directories at the top of the tree that hold nothing of ours.
const NOT_OURS: [&str; 4] = ["target", "build", ".git", ".rowtide"];
/// Files that tools write.
const GENERATED: [&str; 1] = ["Cargo.lock"];
const LONGEST_SOURCE_FILE: usize = 1000;

/// A text that must not stand in any file of ours, or not in Rust sources. The texts are spelled
/// in two halves so that this file passes its own check.
struct Forbidden {
    text: &'static str,
    rust_only: bool,
    reason: &'static str,
}

const FORBIDDEN: [Forbidden; 7] = [
    Forbidden { text: concat!("/ro", "ot/"), rust_only: false, reason: A_MACHINE },
    Forbidden { text: concat!("/wo", "rk/"), rust_only: false, reason: A_MACHINE },
    Forbidden { text: concat!("/ho", "me/"), rust_only: false, reason: A_MACHINE },
    Forbidden { text: concat!("registry.", "npmjs.org"), rust_only: false, reason: A_REGISTRY },
    Forbidden { text: concat!("index.", "crates.io"), rust_only: false, reason: A_REGISTRY },
    Forbidden { text: concat!("to", "do!("), rust_only: true, reason: UNFINISHED },
    Forbidden { text: concat!("un", "implemented!("), rust_only: true, reason: UNFINISHED },
];

const A_MACHINE: &str = "a path of one machine";
const A_REGISTRY: &str = "a registry's host; name the package instead";
const UNFINISHED: &str = "unfinished code; return an error or leave it out";

/// Checks every file of the tree and the dependencies between our crates.
pub(crate) fn check(root: &Path) -> Outcome {
    let mut problems = Vec::new();
    let mut files = Vec::new();
    collect(root, &NOT_OURS, &mut files)?;
    for file in &files {
        // What is not text cannot break a rule about text.
        let Ok(text) = fs::read_to_string(file) else {
            continue;
        };
        let name = file.strip_prefix(root).unwrap_or(file).display().to_string();
        problems.extend(judge(&name, &text));
    }
    dependencies::check(root, &mut problems)?;
    if problems.is_empty() {
        println!("tidy: {} files keep the rules", files.len());
        return Ok(());
    }
    problems.sort();
    Err(format!("the tree breaks the project's rules:\n  {}", problems.join("\n  ")))
}

fn judge(name: &str, text: &str) -> Vec<String> {
    let is_rust = name.ends_with(".rs");
    let mut problems = Vec::new();
    let length = text.lines().count();
    if is_rust && length > LONGEST_SOURCE_FILE {
        problems.push(format!("{name}: {length} lines, more than {LONGEST_SOURCE_FILE}; split it"));
    }
    for (index, line) in text.lines().enumerate() {
        let rules = FORBIDDEN.iter().filter(|rule| is_rust || !rule.rust_only);
        for rule in rules.filter(|rule| line.contains(rule.text)) {
            problems.push(format!("{name}:{}: `{}` is {}", index + 1, rule.text, rule.reason));
        }
    }
    problems
}

fn collect(directory: &Path, without: &[&str], files: &mut Vec<PathBuf>) -> Outcome {
    let entries = fs::read_dir(directory).map_err(io_error("list", directory))?;
    for entry in entries.flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        match entry.file_type() {
            Ok(kind) if kind.is_dir() && !without.contains(&&*name) => {
                collect(&entry.path(), &[], files)?;
            }
            Ok(kind) if kind.is_file() && !GENERATED.contains(&&*name) => files.push(entry.path()),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_files_machine_paths_and_unfinished_code_are_found() {
        assert_eq!(judge("a.rs", &"x\n".repeat(1001)).len(), 1);
        assert_eq!(judge("a.md", &"x\n".repeat(1001)).len(), 0);
        let path = concat!("cd /ro", "ot/x");
        assert_eq!(judge("run", path), [format!("run:1: `{}` is {A_MACHINE}", &path[3..9])]);
        let unfinished = concat!("to", "do!()");
        assert_eq!(judge("a.rs", unfinished).len(), 1);
        assert_eq!(judge("a.md", unfinished).len(), 0);
    }
}
