//! Which of our crates may use which: the shape of the system, kept by a check.
//!
//! The core knows nobody. A connector knows the core alone, so that no connector can lean on
//! another or on how the engine happens to work. The engine knows the core alone, so that a new
//! connector needs no change in it. Only the program at the top knows them all.

use std::fs;
use std::path::Path;

use crate::run::{Outcome, io_error};

/// A crate, and those of ours it may use in what it ships.
const ALLOWED: &[(&str, &[&str])] = &[
    ("rowtide-core", &[]),
    ("rowtide-engine", &["rowtide-core"]),
    ("rowtide-postgres", &["rowtide-core"]),
    ("rowtide-duckdb", &["rowtide-core"]),
    ("rowtide-verify", &["rowtide-core"]),
    ("rowtide-server", &["rowtide-core", "rowtide-engine"]),
    ("rowtide-sandbox", &[]),
    ("rowtide-simulator", &["rowtide-core", "rowtide-engine"]),
    ("rowtide-testkit", &["rowtide-core", "rowtide-sandbox", "rowtide-duckdb"]),
    ("rowtide-bench", &["rowtide-sandbox", "rowtide-testkit"]),
    ("rowtide-crash", &["rowtide-core", "rowtide-sandbox", "rowtide-testkit"]),
    ("rowtide-fidelity", &["rowtide-sandbox", "rowtide-testkit"]),
    (
        "rowtide",
        &[
            "rowtide-core",
            "rowtide-engine",
            "rowtide-postgres",
            "rowtide-duckdb",
            "rowtide-verify",
            "rowtide-server",
            "rowtide-sandbox",
        ],
    ),
];

/// What the tests of every crate may use besides: servers, and the test kit with what every
/// connector must do.
const ALLOWED_IN_TESTS: &[&str] = &["rowtide-sandbox", "rowtide-testkit"];

/// Adds a line to `problems` for each dependency that should not be.
pub(crate) fn check(root: &Path, problems: &mut Vec<String>) -> Outcome {
    let crates = root.join("crates");
    let entries = fs::read_dir(&crates).map_err(io_error("list", &crates))?;
    for entry in entries.flatten() {
        let manifest = entry.path().join("Cargo.toml");
        if !manifest.is_file() {
            continue;
        }
        let text = fs::read_to_string(&manifest).map_err(io_error("read", &manifest))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        problems.extend(judge(&name, &text));
    }
    Ok(())
}

fn judge(name: &str, manifest: &str) -> Vec<String> {
    let Some((_, allowed)) = ALLOWED.iter().find(|(known, _)| *known == name) else {
        let table = "xtask/src/check/dependencies.rs";
        return vec![format!("crates/{name}: say in {table} which crates it may use")];
    };
    let own = own_dependencies(manifest);
    let wrong = own.into_iter().filter(|(section, used)| {
        let shipped = allowed.contains(&used.as_str());
        let tested =
            section.contains("dev-dependencies") && ALLOWED_IN_TESTS.contains(&used.as_str());
        !(shipped || tested)
    });
    wrong.map(|(section, used)| format!("crates/{name}: must not use {used} ({section})")).collect()
}

/// The dependencies of a manifest that are ours, each with its section.
fn own_dependencies(manifest: &str) -> Vec<(String, String)> {
    let is_ours = |key: &str| key == "rowtide" || key.starts_with("rowtide-");
    let mut section = String::new();
    let mut found = Vec::new();
    for line in manifest.lines().map(str::trim) {
        if let Some(header) = line.strip_prefix('[').and_then(|rest| rest.split(']').next()) {
            section = header.to_owned();
            // [dependencies.rowtide-core]
            if let Some((outer, key)) = section.rsplit_once("dependencies.")
                && is_ours(key)
            {
                found.push((format!("{outer}dependencies"), key.to_owned()));
            }
        } else if section.ends_with("dependencies") {
            let key = line.split(['.', '=', ' ']).next().unwrap_or_default().trim_matches('"');
            if is_ours(key) {
                found.push((section.clone(), key.to_owned()));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connector_may_not_use_the_engine_or_another_connector() {
        let manifest = "[package]\nname = \"x\"\n[dependencies]\nrowtide-core.workspace = true\n\
            rowtide-engine = { workspace = true }\n[dev-dependencies]\n\
            rowtide-sandbox.workspace = true\n[dev-dependencies.rowtide-duckdb]\n";
        let problems = judge("rowtide-postgres", manifest);
        assert_eq!(
            problems,
            [
                "crates/rowtide-postgres: must not use rowtide-engine (dependencies)",
                "crates/rowtide-postgres: must not use rowtide-duckdb (dev-dependencies)",
            ]
        );
    }

    #[test]
    fn a_new_crate_must_be_placed() {
        assert_eq!(judge("rowtide-mysql", "").len(), 1);
    }
}
