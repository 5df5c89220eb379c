//! The source behind a bad network: whatever breaks, the pipeline comes back and ends equal.

use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rowtide_sandbox::ServerOptions;
use rowtide_testkit::proxy::{Action, Connections, Direction, Rule, Shape, When};
use rowtide_testkit::{Finished, wait_for};

use crate::case::{DB, LIMIT};
use crate::faulty::{Faulty, SCHEMA, TABLES, impatient, seed};

/// Cases of each seeded list.
const CASES: u64 = 12;

fn cut(connections: Connections, direction: Direction, when: When) -> Rule {
    Rule::new(connections, direction, when, Action::Cut)
}

fn cut_log(when: When) -> Rule {
    cut(Connections::Replication, Direction::ToClient, when)
}

#[test]
fn a_log_cut_at_any_message_is_read_on() {
    let Some(faulty) = Faulty::start(&ServerOptions::default(), SCHEMA) else { return };
    let seed = seed(1);
    let mut rng = StdRng::seed_from_u64(seed);
    let mut rowtide = faulty.following();
    for _ in 0..CASES {
        let letter = b"BCIUDR"[rng.random_range(0..6)];
        let nth = if letter == b'R' { 1 } else { rng.random_range(1..=6) };
        let before: bool = rng.random();
        let what = format!(
            "ROWTIDE_SEED={seed}: cut {} the {nth}. {}",
            if before { "before" } else { "after" },
            char::from(letter)
        );
        if letter == b'R' {
            // Layouts are announced once in a connection.
            faulty.proxy.cut(&Connections::Replication);
        }
        let rule = cut_log(When::Change(letter, nth));
        let rule = if before { rule.before() } else { rule };
        faulty.suffer(&mut rowtide, &mut rng, rule, &what);
    }
    assert!(faulty.proxy.counters().faults >= CASES);
    faulty.compare_all(rowtide, &format!("ROWTIDE_SEED={seed}"));
}

#[test]
fn a_log_cut_after_any_byte_is_read_on() {
    let Some(faulty) = Faulty::start(&ServerOptions::default(), SCHEMA) else { return };
    let seed = seed(2);
    let mut rng = StdRng::seed_from_u64(seed);
    let mut rowtide = faulty.following();
    for n in 0..CASES {
        // From the first bytes of a connection to the middle of a later transaction.
        let order = 1 << rng.random_range(0..14);
        let bytes = rng.random_range(order..=2 * order);
        let (direction, bytes) = match n % 4 {
            3 => (Direction::ToServer, bytes % 200 + 1),
            _ => (Direction::ToClient, bytes),
        };
        let what = format!("ROWTIDE_SEED={seed}: cut {direction:?} after {bytes} bytes");
        let rule = cut(Connections::Replication, direction, When::Bytes(bytes));
        faulty.suffer(&mut rowtide, &mut rng, rule, &what);
    }
    assert_eq!(faulty.proxy.counters().faults, CASES);
    faulty.compare_all(rowtide, &format!("ROWTIDE_SEED={seed}"));
}

#[test]
fn a_start_cut_anywhere_is_started_over() {
    let Some(faulty) = Faulty::start(&ServerOptions::default(), SCHEMA) else { return };
    let seed = seed(3);
    let mut rng = StdRng::seed_from_u64(seed);
    for n in 0..CASES / 2 {
        // Each is a first start: publication, slot, identity, copies, hand-over.
        let tag = b"DDDTZCH"[rng.random_range(0..7)];
        let nth = if tag == b'H' { 1 } else { rng.random_range(1..=20) };
        let what = format!("ROWTIDE_SEED={seed}: first start {n} cut at {}{nth}", char::from(tag));
        let rule = cut(Connections::All, Direction::ToClient, When::Message(tag, nth)).before();
        let rule = faulty.proxy.add(rule);
        faulty.settle_all(&what);
        assert_eq!(faulty.proxy.fired(rule), 1, "{what}");
        faulty.proxy.heal();
        faulty
            .command(&["teardown", "--yes", "--config"])
            .with(&[&faulty.directory.path().join("rowtide.toml").display().to_string()])
            .run(LIMIT)
            .and_then(Finished::success)
            .unwrap();
        std::fs::remove_file(faulty.file()).unwrap();
    }
}

#[test]
fn an_answer_that_is_lost_is_asked_for_again() {
    let Some(faulty) = Faulty::start(&ServerOptions::default(), SCHEMA) else { return };
    let lose = |words: &str| {
        let when = When::Query(words.into(), 1);
        let rule = Rule::new(Connections::All, Direction::ToServer, when, Action::CutReply);
        faulty.proxy.add(rule)
    };
    let rules = [lose("CREATE PUBLICATION"), lose("IDENTIFY_SYSTEM"), lose("SHOW wal_sender")];
    faulty.settle_all("answers lost at the first start");
    for rule in rules {
        assert_eq!(faulty.proxy.fired(rule), 1, "{rule:?}");
    }
    let publications = "SELECT count(*) FROM pg_publication";
    assert_eq!(faulty.value(publications), "2");
    // A table that joins: the publication is changed, but nobody hears of it.
    faulty.sql("CREATE TABLE late (id int PRIMARY KEY);\nINSERT INTO late VALUES (1)");
    let rule = lose("ALTER PUBLICATION");
    faulty.sql("INSERT INTO late VALUES (2)");
    faulty.settle_all("an answer lost at a later start");
    faulty.compare(&["public.late"]);
    assert_eq!(faulty.proxy.fired(rule), 1);
}

#[test]
fn copies_cut_in_the_middle_are_made_again() {
    // Large enough to be read in two lanes.
    let Some(faulty) = Faulty::start(
        &ServerOptions::default(),
        "CREATE TABLE big (id int PRIMARY KEY, v text);
         INSERT INTO big SELECT i, repeat(md5(i::text), 30) FROM generate_series(1, 20000) i",
    ) else {
        return;
    };
    let seed = seed(4);
    let mut rng = StdRng::seed_from_u64(seed);
    for _ in 0..3 {
        let row = rng.random_range(1..15_000);
        let bytes = rng.random_range(100_000..15_000_000);
        let lane = |when| cut(Connections::Sql, Direction::ToClient, when);
        let rules = [
            faulty.proxy.add(lane(When::Message(b'd', row)).before()),
            faulty.proxy.add(lane(When::Bytes(bytes))),
            faulty.proxy.add(lane(When::Message(b'c', 1))),
        ];
        let once = faulty.run(&["--once", "--resync", "public.big"]);
        let once = if faulty.file().exists() { once } else { faulty.run(&["--once"]) };
        once.run(LIMIT).and_then(Finished::success).unwrap();
        for rule in rules {
            let what = format!("ROWTIDE_SEED={seed}: row {row}, byte {bytes}: {rule:?}");
            assert_eq!(faulty.proxy.fired(rule), 1, "{what}");
        }
        faulty.proxy.heal();
        faulty.compare(&["public.big"]);
    }
}

#[test]
fn a_source_that_falls_silent_is_noticed() {
    let Some(faulty) = Faulty::start(&impatient(), SCHEMA) else { return };
    let mut rng = StdRng::seed_from_u64(5);
    let mut rowtide = faulty.following();
    let silence = Rule::new(
        Connections::Replication,
        Direction::ToClient,
        When::Change(b'U', 3),
        Action::BlackHole,
    );
    let began = Instant::now();
    faulty.suffer(&mut rowtide, &mut rng, silence, "silence in the middle of a transaction");
    // The server's own limit is 2 s, from which the pipeline takes its own: 5 s.
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    assert!(rowtide.stderr().contains("said nothing for 5 s"), "{}", rowtide.stderr());
    faulty.compare_all(rowtide, "after silence");
}

#[test]
fn a_source_that_accepts_nobody_for_a_while_is_waited_for() {
    let Some(faulty) = Faulty::start(&ServerOptions::default(), SCHEMA) else { return };
    let mut rng = StdRng::seed_from_u64(6);
    let mut rowtide = faulty.following();
    for _ in 0..2 {
        faulty.proxy.refuse(true);
        let before = faulty.proxy.counters().refused;
        assert!(faulty.proxy.cut(&Connections::All) > 0);
        faulty.write(&mut rng);
        wait_for("several attempts", LIMIT, || {
            let tried = faulty.proxy.counters().refused - before;
            Ok((tried >= 3).then_some(()))
        })
        .unwrap();
        faulty.proxy.refuse(false);
        faulty.write(&mut rng);
        faulty.wait_until_caught_up(&mut rowtide);
    }
    faulty.compare_all(rowtide, "after refusals");
}

#[test]
fn a_slow_network_changes_nothing() {
    let Some(faulty) = Faulty::start(&ServerOptions::default(), SCHEMA) else { return };
    let mut rng = StdRng::seed_from_u64(7);
    let mut rowtide = faulty.following();
    let shapes = [
        Shape { delay: Duration::from_millis(20), ..Shape::default() },
        Shape { bytes_per_second: 10_000, ..Shape::default() },
        Shape { one_byte: true, ..Shape::default() },
    ];
    for shape in shapes {
        for direction in [Direction::ToClient, Direction::ToServer] {
            faulty.proxy.shape(Connections::All, direction, shape);
        }
        let before = faulty.proxy.counters();
        for _ in 0..4 {
            faulty.write(&mut rng);
        }
        faulty.wait_until_caught_up(&mut rowtide);
        let after = faulty.proxy.counters();
        assert!(after.messages_to_client - before.messages_to_client > 60, "{shape:?}");
        faulty.proxy.heal();
    }
    faulty.compare_all(rowtide, "a slow network");
    // A first copy, byte by byte.
    let shape = Shape { one_byte: true, ..Shape::default() };
    faulty.proxy.shape(Connections::All, Direction::ToClient, shape);
    let again = faulty.run(&["--once", "--resync", "public.kept"]).run(LIMIT);
    again.and_then(Finished::success).unwrap();
    faulty.compare(&TABLES);
}

#[test]
fn a_reader_whose_farewell_is_lost_loses_nothing() {
    let Some(faulty) = Faulty::start(&impatient(), SCHEMA) else { return };
    let mut rng = StdRng::seed_from_u64(8);
    for action in [Action::HalfClose, Action::BlackHole] {
        let mut rowtide = match faulty.file().exists() {
            true => faulty.run(&[]).spawn().unwrap(),
            false => faulty.following(),
        };
        faulty.wait_until_streaming(&mut rowtide);
        faulty.write(&mut rng);
        faulty.wait_until_caught_up(&mut rowtide);
        // `c` is the reader's last word but one.
        let when = When::Message(b'c', 1);
        let rule = Rule::new(Connections::Replication, Direction::ToServer, when, action).before();
        let rule = faulty.proxy.add(rule);
        faulty.write(&mut rng);
        faulty.stop(rowtide);
        assert_eq!(faulty.proxy.fired(rule), 1);
        faulty.proxy.heal();
        // The server still thinks that somebody reads the slot, for a while.
        faulty.settle_all(&format!("{action:?} at the end"));
    }
    assert_eq!(faulty.server.psql(DB, "SELECT count(*) FROM pg_replication_slots").unwrap(), "1");
}

#[test]
fn catalog_connections_that_fall_silent_are_noticed() {
    let Some(faulty) = Faulty::start(&impatient(), SCHEMA) else { return };
    let mut rng = StdRng::seed_from_u64(9);
    let mut rowtide = faulty.following();
    // The layout is looked up, and the connection for that kept.
    faulty.sql("ALTER TABLE kept ADD COLUMN w int");
    faulty.write(&mut rng);
    faulty.wait_until_caught_up(&mut rowtide);
    assert!(faulty.proxy.black_hole(&Connections::Sql) > 0);
    faulty.sql("ALTER TABLE kept ADD COLUMN ww int");
    faulty.write(&mut rng);
    faulty.wait_until_caught_up(&mut rowtide);
    faulty.compare_all(rowtide, "after silence");
}
