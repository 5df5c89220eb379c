//! Chance that can be repeated.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// The variable that chooses the seed.
const VARIABLE: &str = "ROWTIDE_SEED";

/// A generator with a new seed, or the one that `ROWTIDE_SEED` says. The seed is printed, which a
/// test's runner shows when the test fails.
pub fn generator(case: &str) -> StdRng {
    let said = std::env::var(VARIABLE).ok().and_then(|text| text.parse().ok());
    let seed: u64 = said.unwrap_or_else(|| rand::rng().random());
    eprintln!("seed {seed}; once more: {VARIABLE}={seed} cargo nextest run {case}");
    StdRng::seed_from_u64(seed)
}
