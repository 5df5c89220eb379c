//! `cargo xtask ci`: everything that must pass before a change is taken, cheapest first.

pub(crate) mod dependencies;
pub(crate) mod docs;
pub(crate) mod tidy;

use std::path::Path;

use crate::run::{self, Outcome, cargo};
use crate::{setup, testing};

/// Format, the project's rules, lints, documents, tests.
pub(crate) fn everything(root: &Path) -> Outcome {
    run::shown(cargo(root).args(["fmt", "--all", "--check"]))?;
    tidy::check(root)?;
    setup::with_servers(root)?;
    let lints = ["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"];
    run::shown(cargo(root).args(lints))?;
    docs::check(root)?;
    testing::run(root, &[])
}
