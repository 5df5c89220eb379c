//! Every point once per destination, with a small load: a slice of `cargo xtask crash`.
//!
//! The points are dealt out to several tests, which run beside each other. The seed is
//! `ROWTIDE_SEED`, or 1; a failure names the command that plays it again.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::io::Write;

use rowtide_crash::{
    Arena, GAPS, Pauses, Spot, Target, binary, crash_at, gap, spots, torment, zombie,
};
use rowtide_sandbox::Major;
use rowtide_sandbox::testing::{in_ci, start_or_skip};

/// Tests that share the points of one destination.
const HANDS: usize = 3;

fn seed() -> u64 {
    std::env::var("ROWTIDE_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1)
}

/// A server with the binary; `None` if one of them is not here (a visible skip, and a failure in
/// CI).
fn arena() -> Option<Arena> {
    arena_of(None)
}

/// The same on a server of one major version.
fn arena_of(major: Option<Major>) -> Option<Arena> {
    let binary = match binary() {
        Ok(binary) => binary,
        Err(why) if !in_ci() => {
            let test = std::thread::current().name().unwrap_or("a test").to_owned();
            let _ = writeln!(std::io::stderr(), "SKIPPED: {test}: {why}");
            return None;
        }
        Err(why) => panic!("{why}"),
    };
    let server = start_or_skip(&Arena::server_options(major, seed()))?;
    Some(Arena::new(server, &binary).unwrap())
}

fn deal(target: Target, hand: usize) {
    let Some(arena) = arena() else { return };
    let seed = seed();
    let mut problems = Vec::new();
    let hand: Vec<Spot> = spots(&[], seed).unwrap().into_iter().skip(hand).step_by(HANDS).collect();
    for spot in hand {
        let again = format!(
            "cargo xtask crash --points {} --to {target} --seed {seed} --major {} --kills 0 --zombies 0 --no-gaps",
            spot.point,
            arena.major()
        );
        match crash_at(&arena, target, (spot, seed)) {
            Ok(line) if line.damage.is_none() => {}
            Ok(line) => problems.push(format!("{spot:?}: {:#?}\n  again: {again}", line.damage)),
            Err(error) => problems.push(format!("{spot:?}: {error}\n  again: {again}")),
        }
        // A machine on which everything fails need not be told so forty times.
        assert!(problems.len() < 3, "{}", problems.join("\n"));
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn duckdb_survives_an_end_at_points_0_3_6() {
    deal(Target::Duckdb, 0);
}

#[test]
fn duckdb_survives_an_end_at_points_1_4_7() {
    deal(Target::Duckdb, 1);
}

#[test]
fn duckdb_survives_an_end_at_points_2_5_8() {
    deal(Target::Duckdb, 2);
}

#[test]
fn postgres_survives_an_end_at_points_0_3_6() {
    deal(Target::Postgres, 0);
}

#[test]
fn postgres_survives_an_end_at_points_1_4_7() {
    deal(Target::Postgres, 1);
}

#[test]
fn postgres_survives_an_end_at_points_2_5_8() {
    deal(Target::Postgres, 2);
}

#[test]
fn gaps_in_the_log_are_noticed() {
    // The newest server says the least: it passes over a publication that is not there.
    let newest = Major::installed().into_iter().max_by_key(|major| major.number());
    let Some(arena) = arena_of(newest) else { return };
    for (name, target) in GAPS.into_iter().zip(Target::ALL.into_iter().cycle()) {
        let damage = gap(&arena, target, name).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert!(damage.is_none(), "{name}: {damage:#?}");
    }
}

#[test]
fn a_file_in_use_is_left_alone() {
    let Some(arena) = arena() else { return };
    let met = zombie(&arena, Target::Duckdb, seed()).unwrap();
    assert!(met.damage.is_none(), "seed {}: {:#?}", seed(), met.damage);
}

#[test]
fn one_of_two_writers_is_fenced() {
    let Some(arena) = arena() else { return };
    let met = zombie(&arena, Target::Postgres, seed()).unwrap();
    assert!(met.damage.is_none(), "seed {}: {:#?}", seed(), met.damage);
}

#[test]
fn random_kills_and_pauses_lose_nothing() {
    let Some(arena) = arena() else { return };
    let pauses = Pauses { shortest: 1, longest: 2 };
    for target in Target::ALL {
        let done = torment(&arena, target, (8, seed()), pauses);
        let done = done.unwrap_or_else(|e| panic!("{target}, seed {}: {e}", seed()));
        assert!(done.damage.is_none(), "{target}, seed {}: {:#?}", seed(), done.damage);
    }
}
