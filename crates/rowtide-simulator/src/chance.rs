//! Chance that is keyed by place and count.
//!
//! One stream of random numbers for everything would let one deleted action change every later
//! decision, and nothing could be shrunk. Here the n-th decision of a kind is the same whatever
//! happened elsewhere.

/// The `n`-th number of the kind `kind` under `seed`.
pub(crate) fn roll(seed: u64, kind: u64, n: u64) -> u64 {
    let mixed = seed ^ kind.wrapping_mul(0xA24B_AED4_963E_E407) ^ n.wrapping_mul(GOLDEN);
    mix(mix(mixed).wrapping_add(GOLDEN))
}

const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
