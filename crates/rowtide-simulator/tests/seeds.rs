//! A slice of the histories, and that a seed decides everything.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use rowtide_simulator::{play, shrink};

/// Histories in each quarter: 20,000 in all where `CI` is set, a tenth of it elsewhere.
fn quarter() -> u64 {
    if std::env::var_os("CI").is_some() { 5000 } else { 500 }
}

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
fn the_first_quarter_holds() {
    all_hold((0..quarter()).map(|seed| seed * 4));
}

#[test]
fn the_second_quarter_holds() {
    all_hold((0..quarter()).map(|seed| seed * 4 + 1));
}

#[test]
fn the_third_quarter_holds() {
    all_hold((0..quarter()).map(|seed| seed * 4 + 2));
}

#[test]
fn the_fourth_quarter_holds() {
    all_hold((0..quarter()).map(|seed| seed * 4 + 3));
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
