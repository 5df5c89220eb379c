//! `kill -9` at random moments, restart, and nothing is lost, doubled or out of order.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rowtide_testkit::{Workload, compare_history};

use crate::case::{Case, DB};

/// Kills in a normal run of the tests.
const KILLS: u32 = 20;

fn seed() -> u64 {
    std::env::var("ROWTIDE_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(20)
}

/// Starts the pipeline and kills it after a random time, `kills` times, under load.
fn torment(case: &Case, kills: u32, seed: u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    for kill in 0..kills {
        let mut rowtide = case.run(&[]).spawn().unwrap();
        // The only time that passes on purpose: how far the process came is what is random.
        std::thread::park_timeout(Duration::from_millis(rng.random_range(20..1200)));
        assert!(rowtide.is_running(), "kill {kill}, seed {seed}: {}", rowtide.stderr());
        rowtide.kill9().unwrap();
    }
}

#[test]
fn merge_tables_survive_kills() {
    let Some(case) = Case::start(Workload::SCHEMA) else { return };
    case.config("[stream]\nbuffer_bytes = \"64KiB\"\n[copy]\nbatch_bytes = \"64KiB\"\n");
    let workload = Workload::start(&case.server.url(DB), seed(), 2).unwrap();
    torment(&case, KILLS / 2, seed());
    workload.stop().unwrap();
    case.settle(&Workload::TABLES);
}

#[test]
fn append_tables_hold_each_event_once_after_kills() {
    let Some(case) = Case::start(Workload::SCHEMA) else { return };
    case.config(
        "[[table]]\nmatch = \"public.*\"\nmode = \"append\"\n[stream]\nbuffer_bytes = \"64KiB\"\n",
    );
    case.sql("DROP TABLE bag;\nDROP TABLE scratch;\nCREATE TABLE bag (x int, y text);\nCREATE TABLE scratch (id serial PRIMARY KEY, v text);\nALTER TABLE bag REPLICA IDENTITY FULL;\nALTER TABLE account ALTER note SET STORAGE PLAIN;\nDELETE FROM account;\nALTER TABLE account REPLICA IDENTITY FULL");
    let workload = Workload::start(&case.server.url(DB), seed(), 2).unwrap();
    torment(&case, KILLS / 2, seed() + 1);
    workload.stop().unwrap();
    case.once();
    for (table, key) in [("public.account", "id"), ("public.pair", "b, a")] {
        compare_history(&case.server, DB, &case.file(), (table, key)).unwrap();
    }
    for table in Workload::TABLES {
        let doubled = case.rows(&format!(
            "SELECT count(*) - count(DISTINCT (_rowtide_position, _rowtide_seq)) FROM {table} \
             WHERE _rowtide_op <> 'snapshot'"
        ));
        assert_eq!(doubled, ["0"], "{table}");
    }
}
