//! A case whose source is reached through the fault proxy, and what is written to it.

use std::fmt::Write;
use std::ops::{Deref, DerefMut};

use rand::Rng;
use rand::rngs::StdRng;
use rowtide_sandbox::ServerOptions;
use rowtide_testkit::Rowtide;
use rowtide_testkit::proxy::{Proxy, Rule};

use crate::case::{Case, DB, LIMIT};

/// Tables in which a lost, doubled or reordered change shows: rows that are replaced, rows without
/// a key that are counted, and a history.
pub(crate) const SCHEMA: &str = "
CREATE TABLE kept (id int PRIMARY KEY, v text, n int NOT NULL DEFAULT 0);
CREATE TABLE bag (x int, y text);
ALTER TABLE bag REPLICA IDENTITY FULL;
CREATE TABLE log (id bigserial PRIMARY KEY, v text);
INSERT INTO kept SELECT i, repeat('x', i), 0 FROM generate_series(1, 200) i;
INSERT INTO bag SELECT i % 5, 'y' || i % 3 FROM generate_series(1, 60) i;
INSERT INTO log (v) SELECT 'v' || i FROM generate_series(1, 20) i";

pub(crate) const TABLES: [&str; 2] = ["public.kept", "public.bag"];

/// Errors are retried at once, and histories are kept of the table for it.
pub(crate) const QUICK: &str = "[[table]]\nmatch = \"public.log\"\nmode = \"append\"\n\
     [retry]\ninitial = \"20ms\"\nmax = \"200ms\"\nstartup = \"30s\"\n";

/// A server that misses its readers within seconds.
pub(crate) fn impatient() -> ServerOptions {
    ServerOptions::default().with_setting("wal_sender_timeout", "2s")
}

/// The seed of a test: its own, or the one that is to be replayed.
pub(crate) fn seed(own: u64) -> u64 {
    std::env::var("ROWTIDE_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(own)
}

/// A case with a proxy before its source.
pub(crate) struct Faulty {
    pub(crate) case: Case,
    pub(crate) proxy: Proxy,
}

impl Deref for Faulty {
    type Target = Case;

    fn deref(&self) -> &Case {
        &self.case
    }
}

impl DerefMut for Faulty {
    fn deref_mut(&mut self) -> &mut Case {
        &mut self.case
    }
}

impl Faulty {
    pub(crate) fn start(options: &ServerOptions, sql: &str) -> Option<Self> {
        let case = Case::start_on(options, sql)?;
        let proxy = Proxy::start(case.server.port()).unwrap();
        case.config_from(&proxy.url(DB), QUICK);
        Some(Self { case, proxy })
    }

    /// A pipeline that has copied and follows.
    pub(crate) fn following(&self) -> Rowtide {
        let mut rowtide = self.run(&[]).spawn().unwrap();
        self.wait_until_copied(&mut rowtide, 3);
        rowtide
    }

    /// Some transactions.
    pub(crate) fn write(&self, rng: &mut StdRng) {
        self.server.psql(DB, &transactions(rng)).unwrap();
    }

    /// Writes until the rule fires, lets the pipeline catch up, and takes the rule away.
    pub(crate) fn suffer(&self, rowtide: &mut Rowtide, rng: &mut StdRng, rule: Rule, what: &str) {
        let rule = self.proxy.add(rule);
        let mut rounds = 0;
        while self.proxy.fired(rule) == 0 {
            assert!(rounds < 200, "{what}: the fault never happened: {:?}", self.proxy.counters());
            assert!(rowtide.is_running(), "{what}: rowtide ended: {}", rowtide.stderr());
            self.write(rng);
            rounds += 1;
        }
        self.write(rng);
        self.proxy.heal();
        self.wait_until_caught_up(rowtide);
    }

    /// Ends the pipeline and compares everything.
    pub(crate) fn compare_all(&self, rowtide: Rowtide, what: &str) {
        self.stop(rowtide);
        self.compare_stopped(what);
    }

    /// Compares everything that a stopped pipeline has written.
    pub(crate) fn compare_stopped(&self, what: &str) {
        let file = self.file();
        rowtide_testkit::compare_tables(&self.server, DB, &file, &TABLES)
            .unwrap_or_else(|difference| panic!("{what}: {difference}"));
        rowtide_testkit::compare_history(&self.server, DB, &file, ("public.log", "id"))
            .unwrap_or_else(|difference| panic!("{what}: {difference}"));
        let doubled = self.rows(
            "SELECT count(*) - count(DISTINCT (_rowtide_position, _rowtide_seq)) FROM public.log \
             WHERE _rowtide_op <> 'snapshot'",
        );
        assert_eq!(doubled, ["0"], "{what}: events of the history are doubled");
    }

    /// Catches up through the proxy and compares.
    pub(crate) fn settle_all(&self, what: &str) {
        self.run(&["--once"]).run(LIMIT).and_then(rowtide_testkit::Finished::success).unwrap();
        self.compare_stopped(what);
    }
}

/// Three transactions; each touches every table.
pub(crate) fn transactions(rng: &mut StdRng) -> String {
    let mut sql = String::new();
    for _ in 0..3 {
        let (a, b) = (rng.random_range(1..=200), rng.random_range(201..=400));
        let (x, length) = (rng.random_range(0..5), rng.random_range(1..300));
        write!(
            sql,
            "BEGIN; UPDATE kept SET n = n + 1, v = v || 'u' WHERE id = {a};
             INSERT INTO kept VALUES ({b}, repeat('i', {length})) ON CONFLICT (id) DO UPDATE SET n = kept.n + 1;
             DELETE FROM kept WHERE id = {b} + 200;
             UPDATE kept SET id = {b} + 200 WHERE id = {b} AND n % 3 = 2;
             INSERT INTO bag VALUES ({x}, 'new'), (NULL, 'none');
             DELETE FROM bag WHERE ctid = (SELECT ctid FROM bag WHERE x = {x} LIMIT 1);
             INSERT INTO log (v) VALUES (repeat('l', {length}));
             UPDATE log SET v = v || 'u' WHERE id = (SELECT max(id) - 5 FROM log); COMMIT; "
        )
        .unwrap();
    }
    sql
}
