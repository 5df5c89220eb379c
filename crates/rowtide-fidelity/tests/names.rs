//! Every name of the corpus on one major version, to each kind of destination.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod place;

use rowtide_fidelity::names::{attempt, refusals};
use rowtide_fidelity::stage::End;

#[test]
fn every_name_arrives_in_duckdb() {
    let Some(stage) = place::stage(End::Duckdb) else { return };
    attempt(&stage).unwrap();
}

#[test]
fn every_name_arrives_in_postgres() {
    let Some(stage) = place::stage(End::Postgres) else { return };
    attempt(&stage).unwrap();
}

#[test]
fn what_a_destination_cannot_hold_is_told_and_left_and_the_others_go_on() {
    for end in End::ALL {
        let Some(stage) = place::stage(end) else { return };
        refusals(&stage).unwrap();
    }
}
