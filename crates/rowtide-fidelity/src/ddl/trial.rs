//! One history on a server of its own, and the same with steps left out.

use std::path::Path;
use std::time::{Duration, Instant};

use rowtide_sandbox::Major;
use rowtide_testkit::Result;

use super::action::{Action, Author, Kinds};
use super::play::{Play, Tally};
use super::world;
use crate::stage::{End, Stage};

/// Where a history is played.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) major: Major,
    pub(super) end: End,
    pub(super) binary: &'a Path,
}

/// A history that did not end well.
pub(super) struct Failure {
    prologue: String,
    script: Vec<Action>,
    what: String,
}

impl Place<'_> {
    fn stage(&self) -> Result<Stage> {
        // Copies of a change are asked for again and again here, which a pipeline puts off.
        let sections = "[retry]\nmax = \"1s\"\n";
        Stage::new(self.major, self.end, self.binary, ("", sections))
    }
}

/// Plays a history that `seed` decides.
///
/// # Errors
/// If there is no server to play it on.
pub(super) fn compose(
    place: Place<'_>,
    (seed, steps): (u64, usize),
    kinds: Kinds<'_>,
) -> Result<Result<Tally, Failure>> {
    let stage = place.stage()?;
    let mut author = Author::new(seed, kinds);
    let prologue = author.prologue();
    let mut play = Play::begin(&stage, &prologue)?;
    let mut script = vec![author.first()];
    let mut failed = script.iter().find_map(|action| play.act(action).err());
    while failed.is_none() && script.len() < steps {
        let tables = world::look(&play.sessions)?;
        for action in author.next(&tables) {
            script.push(action.clone());
            failed = failed.or_else(|| play.act(&action).err());
        }
    }
    for action in author.epilogue() {
        script.push(action.clone());
        failed = failed.or_else(|| play.act(&action).err());
    }
    Ok(match failed {
        None => Ok(play.tally),
        Some(what) => Err(Failure { prologue, script, what }),
    })
}

/// Plays given steps.
fn replay(place: Place<'_>, prologue: &str, script: &[Action]) -> Result<()> {
    let stage = place.stage()?;
    let mut play = Play::begin(&stage, prologue)?;
    script.iter().try_for_each(|action| play.act(action))
}

/// Leaves out steps while what remains still fails, until `budget` is used up.
pub(super) fn shrink(
    place: Place<'_>,
    failure: &Failure,
    budget: Duration,
) -> (Vec<Action>, String) {
    let began = Instant::now();
    let (mut script, mut what) = (failure.script.clone(), failure.what.clone());
    let mut size = script.len() / 2;
    while size > 0 {
        let mut at = 0;
        while at < script.len() {
            if began.elapsed() >= budget {
                return (script, what);
            }
            let mut shorter = script.clone();
            shorter.drain(at..(at + size).min(script.len()));
            match replay(place, &failure.prologue, &shorter) {
                Err(error) => (script, what) = (shorter, error),
                Ok(()) => at += size,
            }
        }
        size /= 2;
    }
    (script, what)
}
