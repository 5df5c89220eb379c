//! A slice of the histories, and that a seed decides everything.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use rowtide_simulator::{play, shrink};

/// Histories in a normal run of the tests, in each of the two halves.
const SEEDS: u64 = 1000;

fn all_hold(seeds: impl Iterator<Item = u64>) {
    for seed in seeds {
        let Some(violation) = play(seed, false).unwrap().violation else { continue };
        let smaller = shrink(seed).unwrap().map(|shrunk| shrunk.scenario).unwrap_or_default();
        panic!(
            "seed {seed} fails: {violation}\nthe smallest history that fails so:\n{smaller}\n\
             replay it with: cargo xtask sim --seed {seed}"
        );
    }
}

#[test]
fn even_seeds_hold() {
    all_hold((0..SEEDS).map(|seed| seed * 2));
}

#[test]
fn odd_seeds_hold() {
    all_hold((0..SEEDS).map(|seed| seed * 2 + 1));
}

#[test]
fn a_seed_decides_the_whole_history() {
    for seed in 0..200 {
        let (one, other) = (play(seed, false).unwrap(), play(seed, false).unwrap());
        if one.hash != other.hash {
            let (one, other) = (play(seed, true).unwrap(), play(seed, true).unwrap());
            let differs = one.trace.iter().zip(&other.trace).find(|(one, other)| one != other);
            panic!("seed {seed} is played in two ways: {differs:?}");
        }
    }
}
