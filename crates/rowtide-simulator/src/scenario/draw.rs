//! Draws a scenario from a seed. Each seed gets its own mix of actions and faults: a few kinds
//! often, most kinds never, so that rare combinations are met.

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rowtide_core::ValuePolicy;

use super::{
    Act, End, Ending, Fault, Flavour, Kind, Knobs, SITES, Scenario, Site, Spec, Strike, TableSpec,
    Want,
};

/// How often what is done, for one seed.
struct Swarm {
    /// Weights of the kinds of change, by the order in [`Swarm::want`].
    wants: [u32; 9],
    late: f64,
    interleave: f64,
    ddl: f64,
    unpublish: f64,
    longest_pause: u64,
    changes: usize,
    keys: i64,
}

impl Swarm {
    fn draw(rng: &mut StdRng) -> Self {
        let mut wants = [6, 3, 2, 2, 1, 1, 1, 1, 1];
        for weight in &mut wants[1..6] {
            if rng.random_bool(0.3) {
                *weight = 0;
            } else if rng.random_bool(0.2) {
                *weight *= 4;
            }
        }
        Self {
            wants,
            late: *[0.0, 0.2, 0.5].choose(rng).unwrap_or(&0.2),
            interleave: *[0.0, 0.2, 0.4].choose(rng).unwrap_or(&0.2),
            ddl: *[0.0, 0.1, 0.25].choose(rng).unwrap_or(&0.0),
            unpublish: if rng.random_bool(0.2) { 0.05 } else { 0.0 },
            longest_pause: *[500, 3_000, 12_000].choose(rng).unwrap_or(&3_000),
            changes: *[2, 4, 9].choose(rng).unwrap_or(&4),
            keys: *[3, 6, 12].choose(rng).unwrap_or(&6),
        }
    }

    fn want(&self, rng: &mut StdRng) -> Want {
        if self.ddl > 0.0 && rng.random_bool(self.ddl) {
            return match rng.random_range(0..10) {
                0..5 => Want::AddColumn { fill: rng.random_bool(0.6) },
                5..9 => Want::DropColumn,
                _ => Want::Retype,
            };
        }
        let choices = [
            Want::Put,
            Want::Touch,
            Want::Remove,
            Want::Move { to: rng.random_range(0..self.keys), keep: rng.random_bool(0.7) },
            if rng.random_bool(0.3) { Want::Truncate } else { Want::Put },
            if rng.random_bool(0.15) { Want::TruncateAll } else { Want::Put },
        ];
        let total: u32 = self.wants[..choices.len()].iter().sum();
        let mut ticket = rng.random_range(0..total.max(1));
        for (choice, weight) in choices.iter().zip(self.wants) {
            if ticket < weight {
                return *choice;
            }
            ticket -= weight;
        }
        Want::Put
    }

    fn commit(&self, rng: &mut StdRng, tables: usize) -> Act {
        let count = rng.random_range(1..=self.changes);
        let changes = (0..count)
            .map(|_| Spec {
                table: rng.random_range(0..tables),
                key: rng.random_range(0..self.keys),
                want: self.want(rng),
            })
            .collect();
        let slot = rng.random_bool(self.interleave).then(|| rng.random_range(0..3));
        let unseen_micros =
            if rng.random_bool(self.late) { rng.random_range(100..20_000) } else { 0 };
        Act::Commit { slot, changes, unseen_micros }
    }
}

impl Scenario {
    /// The scenario of `seed`.
    pub(crate) fn draw(seed: u64) -> Self {
        let rng = &mut StdRng::seed_from_u64(seed);
        let swarm = Swarm::draw(rng);
        let kinds = [Kind::Keyed, Kind::Keyed, Kind::Soft, Kind::Keyless, Kind::Append];
        let mut tables: Vec<TableSpec> = (0..rng.random_range(1..=4))
            .map(|table| TableSpec {
                kind: *kinds.choose(rng).unwrap_or(&Kind::Keyed),
                later: table > 0 && rng.random_bool(0.2),
                policy: None,
            })
            .collect();
        let acts = acts(rng, &swarm, &tables);
        let (knobs, faults) = (knobs(rng), faults(rng));
        let ending = match rng.random_range(0..10) {
            0 => Ending::SlotLost { recreated: true },
            1 => Ending::SlotLost { recreated: false },
            2 | 3 => Ending::RowLost,
            _ => Ending::Nothing,
        };
        for table in &mut tables {
            table.policy = policy(rng, table.kind);
        }
        Self { seed, tables, knobs, faults, acts, ending }
    }
}

/// Some tables have values that are refused.
fn policy(rng: &mut StdRng, kind: Kind) -> Option<ValuePolicy> {
    let policies = [
        ValuePolicy::Quarantine,
        ValuePolicy::Quarantine,
        ValuePolicy::Null,
        ValuePolicy::Text,
        ValuePolicy::Fail,
    ];
    let own = match kind {
        // History tells of rows that are kept out in words of its own.
        Kind::Append => &policies[2..],
        Kind::Keyed | Kind::Soft | Kind::Keyless => &policies[..],
    };
    rng.random_bool(0.2).then(|| own.choose(rng).copied()).flatten()
}

fn knobs(rng: &mut StdRng) -> Knobs {
    Knobs {
        flavour: match rng.random_bool(0.7) {
            true => Flavour::Transactional,
            false => Flavour::PerTable,
        },
        lanes: rng.random_range(1..=3),
        parallel_tables: rng.random_range(1..=2),
        spool_bytes: *[1, 3_000, 1 << 30].choose(rng).unwrap_or(&1),
        segment_changes: *[1, 3, 10, 60].choose(rng).unwrap_or(&10),
        cuts: *[0, 10, 40].choose(rng).unwrap_or(&10),
        copy_rows: rng.random_range(1..=4),
        latency: *[0, 100, 300, 1_500].choose(rng).unwrap_or(&100),
    }
}

fn acts(rng: &mut StdRng, swarm: &Swarm, tables: &[TableSpec]) -> Vec<Act> {
    let mut acts = Vec::new();
    for _ in 0..rng.random_range(0..12) {
        acts.push(swarm.commit(rng, tables.len()));
    }
    let start = Act::Restart { end: End::Killed, once: rng.random_bool(0.1), resync: Vec::new() };
    acts.push(start);
    for _ in 0..rng.random_range(1..=5) {
        if rng.random_bool(0.6) {
            // Long enough to get to know both ends, and to copy.
            acts.push(Act::Pause { micros: rng.random_range(5_000..60_000) });
        }
        for _ in 0..rng.random_range(1..30) {
            if rng.random_bool(swarm.interleave / 2.0) {
                acts.push(Act::Begin { slot: rng.random_range(0..3) });
            }
            acts.push(match rng.random_bool(0.06) {
                true => Act::Noise,
                false => swarm.commit(rng, tables.len()),
            });
            if rng.random_bool(swarm.unpublish) {
                acts.push(Act::Unpublish { table: rng.random_range(0..tables.len()) });
            }
            if rng.random_bool(0.7) {
                acts.push(Act::Pause { micros: rng.random_range(0..swarm.longest_pause) });
            }
        }
        acts.push(restart(rng, tables.len()));
    }
    for (table, _) in tables.iter().enumerate().filter(|(_, spec)| spec.later) {
        let at = rng.random_range(0..=acts.len());
        acts.insert(at, Act::Create { table });
    }
    acts
}

fn restart(rng: &mut StdRng, tables: usize) -> Act {
    let ends = [End::Asked, End::Killed, End::Killed, End::Zombie];
    let resync = (0..tables).filter(|_| rng.random_bool(0.08)).collect();
    Act::Restart {
        end: *ends.choose(rng).unwrap_or(&End::Killed),
        once: rng.random_bool(0.2),
        resync,
    }
}

/// Where the destination can refuse a single table.
const REFUSING: [Site; 4] = [Site::Write, Site::Write, Site::Schema, Site::Promote];

fn faults(rng: &mut StdRng) -> Vec<Fault> {
    let mut faults = Vec::new();
    if rng.random_bool(0.15) {
        return faults;
    }
    for site in SITES {
        for strike in [Strike::Fail, Strike::Slow] {
            if !rng.random_bool(0.3) {
                continue;
            }
            let rate = *[0.03, 0.1, 0.3].choose(rng).unwrap_or(&0.1);
            let struck = (0..120).filter(|_| rng.random_bool(rate));
            faults.extend(struck.map(|nth| Fault { site, nth, strike }));
        }
    }
    for _ in 0..rng.random_range(0..4) {
        let site = *SITES.choose(rng).unwrap_or(&Site::Commit);
        faults.push(Fault { site, nth: rng.random_range(0..40), strike: Strike::Crash });
    }
    if rng.random_bool(0.5) {
        let rate = *[0.05, 0.2].choose(rng).unwrap_or(&0.05);
        let struck = (0..150).filter(|_| rng.random_bool(rate));
        let site = Site::Reply;
        faults.extend(struck.map(|nth| Fault { site, nth, strike: Strike::Lost }));
    }
    if rng.random_bool(0.05) {
        let nth = rng.random_range(0..6);
        faults.push(Fault { site: Site::LoadRows, nth, strike: Strike::Refuse });
    }
    if rng.random_bool(0.15) {
        let site = *REFUSING.choose(rng).unwrap_or(&Site::Write);
        let nth = rng.random_range(0..40);
        faults.push(Fault { site, nth, strike: Strike::Refuse });
    }
    if rng.random_bool(0.1) {
        let site = *REFUSING.choose(rng).unwrap_or(&Site::Write);
        let from = rng.random_range(0..20);
        let until = from + rng.random_range(1..6);
        faults.extend((from..until).map(|nth| Fault { site, nth, strike: Strike::Hold }));
    }
    faults
}
