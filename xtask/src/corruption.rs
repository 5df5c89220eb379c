//! `cargo xtask fidelity corruption`: damages copies of tables under load, and lets `rowtide
//! verify` find and repair all of it. The same test as in the suite, with a seed and rounds.

use std::path::Path;

use crate::run::{self, Outcome};
use crate::testing;

/// Where the test is.
const TEST: [&str; 4] = ["--test", "e2e", "verify_corruption", "--"];

const USAGE: &str = "usage: cargo xtask fidelity corruption [--seed N] [--rounds M]";

/// Runs as many rounds as `arguments` say, each with the seed after the last one's.
pub(crate) fn run(root: &Path, arguments: &[&str]) -> Outcome {
    let (mut seed, mut rounds) = (1, 10);
    for pair in arguments.chunks(2) {
        let number = |text: &str| text.parse::<u64>().map_err(|_| USAGE.to_owned());
        match pair {
            ["--seed", text] => seed = number(text)?,
            ["--rounds", text] => rounds = number(text)?,
            _ => return Err(USAGE.to_owned()),
        }
    }
    let mut test = run::cargo(root);
    test.args(["test", "--quiet", "-p", "rowtide"]).args(testing::FEATURES).args(TEST);
    test.arg("--nocapture");
    run::passing_on(
        test.env("ROWTIDE_SEED", seed.to_string()).env("ROWTIDE_ROUNDS", rounds.to_string()),
    )?;
    println!(
        "corruption: {rounds} rounds from seed {seed}: all damage found, none invented, all repaired"
    );
    Ok(())
}
