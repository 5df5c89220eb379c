//! `cargo xtask test`: the servers, a build, and every test of the workspace.

use std::path::Path;

use crate::run::{self, Outcome, cargo};
use crate::setup;

/// Everything is built with failpoints and planted bugs; both do nothing unless asked for.
pub(crate) const FEATURES: [&str; 2] = ["--features", "rowtide/fault-injection"];

/// Runs all tests, by cargo-nextest where it is installed; `arguments` go to the test runner.
pub(crate) fn run(root: &Path, arguments: &[&str]) -> Outcome {
    setup::with_servers(root)?;
    run::shown(cargo(root).args(["build", "--workspace", "--all-targets"]).args(FEATURES))?;
    if !run::is_on_path("cargo-nextest") {
        return run::shown(
            cargo(root)
                .args(["test", "--workspace", "--no-fail-fast"])
                .args(FEATURES)
                .args(arguments),
        );
    }
    // Both run even if the first fails: one report says all that is wrong.
    let runner = ["nextest", "run", "--workspace", "--no-fail-fast"];
    let tests = run::shown(cargo(root).args(runner).args(FEATURES).args(arguments));
    if !arguments.is_empty() {
        return tests; // A choice of tests; examples in comments cannot be chosen by the same words.
    }
    let examples = run::shown(cargo(root).args(["test", "--workspace", "--doc"]).args(FEATURES));
    tests.and(examples)
}
