//! Histories that once failed, and that the simulator notices what it must.

mod held;

use super::play;
use crate::scenario::{
    Act, End, Ending, Fault, Flavour, Kind, Knobs, Scenario, Site, Spec, Strike, TableSpec, Want,
};

fn scenario(acts: Vec<Act>, faults: Vec<Fault>) -> Scenario {
    Scenario {
        seed: 1,
        tables: vec![TableSpec { kind: Kind::Keyed, later: false, policy: None }],
        knobs: Knobs {
            flavour: Flavour::Transactional,
            lanes: 1,
            parallel_tables: 1,
            spool_bytes: 1 << 30,
            segment_changes: 60,
            cuts: 0,
            copy_rows: 4,
            latency: 0,
        },
        faults,
        acts,
        ending: Ending::Nothing,
    }
}

fn restart(resync: &[usize]) -> Act {
    Act::Restart { end: End::Killed, once: false, resync: resync.to_vec() }
}

fn put(key: i64) -> Act {
    let changes = vec![Spec { table: 0, key, want: Want::Put }];
    Act::Commit { slot: None, changes, unseen_micros: 0 }
}

/// A table had a gap in the log, and the run that was told to copy it again dies before it
/// remembers so: the next run, which is not told, must know of the gap all the same.
#[test]
fn a_gap_is_remembered_by_a_run_that_copies_again_anyway() {
    let acts = vec![
        put(1),
        restart(&[]),
        Act::Pause { micros: 50_000 },
        Act::Unpublish { table: 0 },
        put(2),
        restart(&[0]),
        Act::Pause { micros: 2_000 },
        restart(&[]),
        Act::Pause { micros: 50_000 },
    ];
    // The run hangs where it is about to remember what it copies.
    let faults = vec![Fault { site: Site::Remember, nth: 2, strike: Strike::Slow }];
    let played = play(&scenario(acts, faults), false).unwrap();
    assert_eq!(played.violation, None);
}
