//! A PostgreSQL destination behind a bad network, or gone for a while.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rowtide_sandbox::testing::start_or_skip;
use rowtide_sandbox::{PostgresServer, ServerOptions, StopMode};
use rowtide_testkit::proxy::{Action, Connections, Direction, Proxy, Rule, Shape, When};
use rowtide_testkit::{Copied, Rows, Rowtide, compare};

use crate::case::{Case, DB};
use crate::faulty::{QUICK, SCHEMA, TABLES, seed, transactions};

/// A pipeline whose destination is reached through the proxy.
struct Towards {
    case: Case,
    other: PostgresServer,
    proxy: Proxy,
}

impl Towards {
    fn start() -> Option<Self> {
        let other = start_or_skip(&ServerOptions::default())?;
        let case = Case::start(SCHEMA)?;
        let proxy = Proxy::start(other.port()).unwrap();
        let text = format!(
            "version = 1\npipeline = \"case\"\n\n[source]\nurl = \"{}\"\n\n[destination]\n\
             url = \"{}\"\n\n[tables]\ninclude = [\"public.*\"]\n\n{QUICK}\n",
            case.server.url(DB),
            proxy.url(DB)
        );
        std::fs::write(case.directory.path().join("rowtide.toml"), text).unwrap();
        Some(Self { case, other, proxy })
    }

    fn following(&self) -> Rowtide {
        let mut rowtide = self.case.run(&[]).spawn().unwrap();
        self.case.wait_until_copied(&mut rowtide, 3);
        rowtide
    }

    fn write(&self, rng: &mut StdRng) {
        self.case.server.psql(DB, &transactions(rng)).unwrap();
    }

    /// Writes until the rule fires, lets the pipeline catch up, and takes the rule away.
    fn suffer(&self, rowtide: &mut Rowtide, rng: &mut StdRng, rule: Rule, what: &str) {
        let rule = self.proxy.add(rule);
        let mut rounds = 0;
        while self.proxy.fired(rule) == 0 {
            assert!(rounds < 200, "{what}: the fault never happened: {:?}", self.proxy.counters());
            assert!(rowtide.is_running(), "{what}: rowtide ended: {}", rowtide.stderr());
            self.write(rng);
            rounds += 1;
        }
        self.write(rng);
        self.case.wait_until_caught_up(rowtide);
        self.proxy.heal();
    }

    fn compare_all(&self, rowtide: Rowtide, what: &str) {
        self.case.stop(rowtide);
        let rows = |table: &str, rows| {
            let copied = Copied::Postgres(&self.other, DB);
            let found = compare((&self.case.server, DB), copied, table, rows).unwrap();
            assert!(found.is_equal(), "{what}: {found:#?}");
        };
        TABLES.into_iter().for_each(|table| rows(table, Rows::All));
        rows("public.log", Rows::Last("id"));
        let doubled = "SELECT count(*) - count(DISTINCT (_rowtide_position, _rowtide_seq)) \
             FROM public.log WHERE _rowtide_op <> 'snapshot'";
        assert_eq!(self.other.psql(DB, doubled).unwrap(), "0", "{what}: events are doubled");
    }
}

fn at_commit(nth: u64, action: Action) -> Rule {
    let when = When::Statement("commit".into(), nth);
    Rule::new(Connections::All, Direction::ToServer, when, action)
}

#[test]
fn a_commit_whose_outcome_is_unknown_happens_once() {
    let Some(towards) = Towards::start() else { return };
    let seed = seed(1);
    let mut rng = StdRng::seed_from_u64(seed);
    let mut rowtide = towards.following();
    for n in 0..9 {
        let nth = rng.random_range(1..=3);
        let (rule, words) = match n % 3 {
            0 => (at_commit(nth, Action::CutReply), "answer lost"),
            1 => (at_commit(nth, Action::Cut).before(), "never arrived"),
            _ => (at_commit(nth, Action::Cut), "arrived, then cut"),
        };
        let what = format!("ROWTIDE_SEED={seed}: commit {nth}: {words}");
        towards.suffer(&mut rowtide, &mut rng, rule, &what);
    }
    assert!(rowtide.stderr().contains("the answer to a commit was lost"), "{}", rowtide.stderr());
    towards.compare_all(rowtide, &format!("ROWTIDE_SEED={seed}"));
}

#[test]
fn a_destination_cut_off_at_any_byte_ends_equal() {
    let Some(towards) = Towards::start() else { return };
    let seed = seed(2);
    let mut rng = StdRng::seed_from_u64(seed);
    let mut rowtide = towards.following();
    for n in 0..10 {
        let order = 1 << rng.random_range(0..14);
        let bytes = rng.random_range(order..=2 * order);
        let direction = if n % 2 == 0 { Direction::ToServer } else { Direction::ToClient };
        let what = format!("ROWTIDE_SEED={seed}: cut {direction:?} after {bytes} bytes");
        let rule = Rule::new(Connections::All, direction, When::Bytes(bytes), Action::Cut);
        towards.suffer(&mut rowtide, &mut rng, rule, &what);
    }
    towards.compare_all(rowtide, &format!("ROWTIDE_SEED={seed}"));
}

#[test]
fn a_copy_cut_off_from_its_destination_is_made_again() {
    let Some(towards) = Towards::start() else { return };
    towards.case.sql(
        "INSERT INTO kept SELECT i, repeat(md5(i::text), 30) FROM generate_series(1000, 6000) i",
    );
    let rule = |direction, when| Rule::new(Connections::All, direction, when, Action::Cut);
    let rules = [
        towards.proxy.add(rule(Direction::ToServer, When::Bytes(1_500_000))),
        towards.proxy.add(rule(Direction::ToServer, When::Message(b'c', 2)).before()),
        towards.proxy.add(rule(Direction::ToClient, When::Message(b'G', 3)).before()),
    ];
    let mut rowtide = towards.following();
    for rule in rules {
        assert_eq!(towards.proxy.fired(rule), 1, "{rule:?}: {}", rowtide.stderr());
    }
    towards.case.wait_until_caught_up(&mut rowtide);
    towards.compare_all(rowtide, "a cut copy");
}

#[test]
fn a_slow_way_to_the_destination_changes_nothing() {
    let Some(towards) = Towards::start() else { return };
    let mut rng = StdRng::seed_from_u64(3);
    let mut rowtide = towards.following();
    for shape in [
        Shape { delay: Duration::from_millis(20), ..Shape::default() },
        Shape { bytes_per_second: 20_000, ..Shape::default() },
        Shape { one_byte: true, ..Shape::default() },
    ] {
        for direction in [Direction::ToClient, Direction::ToServer] {
            towards.proxy.shape(Connections::All, direction, shape);
        }
        for _ in 0..3 {
            towards.write(&mut rng);
        }
        towards.case.wait_until_caught_up(&mut rowtide);
        towards.proxy.heal();
    }
    towards.compare_all(rowtide, "a slow way");
}

#[test]
fn a_destination_that_is_gone_for_a_while_is_waited_for() {
    let Some(mut towards) = Towards::start() else { return };
    let mut rng = StdRng::seed_from_u64(4);
    let mut rowtide = towards.following();
    for how in [Some(StopMode::Fast), Some(StopMode::Immediate), None] {
        towards.write(&mut rng);
        match how {
            Some(mode) => towards.other.stop(mode).unwrap(),
            None => towards.other.kill9(),
        }
        let before = towards.proxy.counters().refused;
        towards.write(&mut rng);
        rowtide_testkit::wait_for("several attempts", crate::case::LIMIT, || {
            Ok((towards.proxy.counters().refused >= before + 3).then_some(()))
        })
        .unwrap();
        towards.other.start_again().unwrap();
        towards.write(&mut rng);
        towards.case.wait_until_caught_up(&mut rowtide);
    }
    towards.compare_all(rowtide, "after being gone");
}

#[test]
fn a_destination_that_falls_silent_does_not_hold_up_a_stop() {
    let Some(towards) = Towards::start() else { return };
    let mut rng = StdRng::seed_from_u64(5);
    let rowtide = towards.following();
    let rule = towards.proxy.add(at_commit(1, Action::BlackHole).before());
    towards.write(&mut rng);
    towards.proxy.wait_until_fired(rule, 1, crate::case::LIMIT).unwrap();
    rowtide.terminate().unwrap();
    let ended = rowtide.wait(Duration::from_secs(20)).unwrap();
    assert_eq!(ended.code(), 0, "{ended:?}");
    let mut rowtide = towards.case.run(&[]).spawn().unwrap();
    towards.case.wait_until_streaming(&mut rowtide);
    towards.case.wait_until_caught_up(&mut rowtide);
    towards.compare_all(rowtide, "after silence");
}
