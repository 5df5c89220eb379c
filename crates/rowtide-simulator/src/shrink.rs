//! Makes a failing history smaller: leaves parts out for as long as the same invariant breaks.

use std::io;

use crate::Shrunk;
use crate::driver::play;
use crate::scenario::{Act, Ending, Flavour, Scenario};
use crate::world::Violation;

/// How many histories are played at most.
const TRIES: usize = 1500;

pub(crate) fn shrink(scenario: Scenario) -> io::Result<Option<Shrunk>> {
    let Some(violation) = play(&scenario, false)?.violation else { return Ok(None) };
    let mut shrinking = Shrinking { best: scenario, violation, tries: TRIES };
    loop {
        let before = shrinking.tries;
        let changed =
            shrinking.acts()? | shrinking.faults()? | shrinking.changes()? | shrinking.simpler()?;
        if !changed || shrinking.tries == before {
            break;
        }
    }
    let played = play(&shrinking.best, true)?;
    let violation = played.violation.unwrap_or(shrinking.violation);
    let scenario = shrinking.best.to_string();
    Ok(Some(Shrunk { scenario, violation, trace: played.trace }))
}

struct Shrinking {
    best: Scenario,
    violation: Violation,
    tries: usize,
}

impl Shrinking {
    /// Keeps `candidate` if it fails in the same way.
    fn keep(&mut self, candidate: Scenario) -> io::Result<bool> {
        if self.tries == 0 {
            return Ok(false);
        }
        self.tries -= 1;
        let found = play(&candidate, false)?.violation;
        let same = found.filter(|found| found.class == self.violation.class);
        let fails = same.is_some();
        if let Some(violation) = same {
            self.best = candidate;
            self.violation = violation;
        }
        Ok(fails)
    }

    /// Leaves out ever smaller stretches of what `of` selects.
    fn cut<T: Clone>(&mut self, of: fn(&mut Scenario) -> &mut Vec<T>) -> io::Result<bool> {
        let mut changed = false;
        let mut width = of(&mut self.best).len().div_ceil(2);
        while width > 0 {
            let mut from = 0;
            while from < of(&mut self.best).len() {
                let mut candidate = self.best.clone();
                let list = of(&mut candidate);
                let to = (from + width).min(list.len());
                list.drain(from..to);
                if self.keep(candidate)? {
                    changed = true;
                } else {
                    from += width;
                }
            }
            width /= 2;
        }
        Ok(changed)
    }

    fn acts(&mut self) -> io::Result<bool> {
        self.cut(|scenario| &mut scenario.acts)
    }

    fn faults(&mut self) -> io::Result<bool> {
        self.cut(|scenario| &mut scenario.faults)
    }

    /// Leaves out single changes of transactions.
    fn changes(&mut self) -> io::Result<bool> {
        let mut changed = false;
        for act in 0..self.best.acts.len() {
            let mut at = 0;
            while let Act::Commit { changes, .. } = &self.best.acts[act]
                && at < changes.len()
                && changes.len() > 1
            {
                let mut candidate = self.best.clone();
                if let Act::Commit { changes, .. } = &mut candidate.acts[act] {
                    changes.remove(at);
                }
                if self.keep(candidate)? { changed = true } else { at += 1 }
            }
        }
        Ok(changed)
    }

    /// Tries the plainest setting of everything.
    fn simpler(&mut self) -> io::Result<bool> {
        let plainer: [fn(&mut Scenario); 10] = [
            |s| s.ending = Ending::Nothing,
            |s| s.knobs.flavour = Flavour::Transactional,
            |s| s.knobs.lanes = 1,
            |s| s.knobs.parallel_tables = 1,
            |s| s.knobs.latency = 0,
            |s| s.knobs.cuts = 0,
            |s| s.knobs.spool_bytes = 1 << 30,
            |s| s.knobs.segment_changes = 60,
            |s| s.tables.iter_mut().for_each(|table| table.later = false),
            |s| s.tables.iter_mut().for_each(|table| table.policy = None),
        ];
        let mut changed = false;
        for plain in plainer {
            let mut candidate = self.best.clone();
            plain(&mut candidate);
            if candidate.to_string() != self.best.to_string() {
                changed |= self.keep(candidate)?;
            }
        }
        for act in 0..self.best.acts.len() {
            let mut candidate = self.best.clone();
            if let Act::Commit { slot, unseen_micros, .. } = &mut candidate.acts[act]
                && (slot.is_some() || *unseen_micros > 0)
            {
                (*slot, *unseen_micros) = (None, 0);
                changed |= self.keep(candidate)?;
            }
        }
        Ok(changed)
    }
}
