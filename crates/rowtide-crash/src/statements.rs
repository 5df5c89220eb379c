//! The tables, and what is done to them.

use rand::Rng;
use rand::rngs::StdRng;

/// The tables. Money moves inside `bank`, inside `vault` and between them, and its sum never
/// changes; `ledger` and `counter` are kept as history; `soft` marks what is deleted; `bag` has no
/// key; `shape` changes its columns; `odd` is there to be stopped.
pub(crate) const SCHEMA: &str = "
CREATE SEQUENCE ids START 1000000;
CREATE TABLE bank (id bigint PRIMARY KEY, balance bigint NOT NULL, memo text);
CREATE TABLE vault (id bigint PRIMARY KEY, balance bigint NOT NULL, memo text);
ALTER TABLE bank ALTER memo SET STORAGE EXTERNAL;
ALTER TABLE vault ALTER memo SET STORAGE EXTERNAL;
CREATE TABLE item (id bigint PRIMARY KEY, v int, big text, tags text[], price numeric(12,2),
    doc jsonb, at timestamptz DEFAULT now());
ALTER TABLE item ALTER big SET STORAGE EXTERNAL;
CREATE TABLE pair (a int, b text, v int, PRIMARY KEY (b, a));
CREATE TABLE woven (id int PRIMARY KEY, v int);
CREATE TABLE soft (id int PRIMARY KEY, v int, note text);
CREATE TABLE bag (x int, y text);
ALTER TABLE bag REPLICA IDENTITY FULL;
CREATE TABLE scratch (id serial PRIMARY KEY, v text);
CREATE TABLE shape (id int PRIMARY KEY, v int);
CREATE TABLE odd (id int PRIMARY KEY, v int);
CREATE TABLE ledger (id bigserial PRIMARY KEY, what text, body text);
CREATE TABLE counter (id int PRIMARY KEY, n int NOT NULL);
INSERT INTO bank SELECT i, 1000, repeat('m', 2500) FROM generate_series(1, 100) i;
INSERT INTO vault SELECT i, 1000, repeat('w', 2500) FROM generate_series(1, 100) i;
INSERT INTO item SELECT i, i, repeat('b' || i % 10, 1250), ARRAY['a', NULL, i::text], i * 1.5,
    jsonb_build_object('n', i), '2024-01-01' FROM generate_series(1, 1500) i;
INSERT INTO pair SELECT i, 'b' || i % 7, i FROM generate_series(1, 300) i;
INSERT INTO woven SELECT i, i FROM generate_series(1, 40) i;
INSERT INTO soft SELECT i, i, 'note' FROM generate_series(1, 200) i;
INSERT INTO bag SELECT i % 20, 'y' || i % 3 FROM generate_series(1, 200) i;
INSERT INTO scratch (v) SELECT 'v' || i FROM generate_series(1, 50) i;
INSERT INTO shape SELECT i, i FROM generate_series(1, 50) i;
INSERT INTO odd SELECT i, i FROM generate_series(1, 20) i;
INSERT INTO ledger (what, body) SELECT 'before', repeat('x', i) FROM generate_series(1, 200) i;
INSERT INTO counter SELECT i, 0 FROM generate_series(1, 100) i;";

/// What all money together is.
pub(crate) const MONEY: i64 = 200_000;

/// The tables that must equal the source's, row by row.
pub(crate) const MERGED: &[&str] = &[
    "public.bank",
    "public.vault",
    "public.item",
    "public.pair",
    "public.woven",
    "public.bag",
    "public.scratch",
    "public.shape",
    "public.odd",
];

/// Which statements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mix {
    /// Changes of rows.
    Rows,
    /// Changes of the shape of a table, and of its rows.
    Shape,
}

/// The next statement.
pub(crate) fn statement(rng: &mut StdRng, mix: Mix) -> String {
    match (mix, rng.random_range(0..100)) {
        (Mix::Shape, _) => shape(rng),
        (_, 0..20) => money(rng),
        (_, 20..48) => item(rng),
        (_, 48..58) => pair(rng),
        (_, 58..68) => soft(rng),
        (_, 68..78) => bag(rng),
        (_, 78..82) => scratch(rng),
        (_, 82..86) => shape_rows(rng),
        (_, 86..93) => {
            format!("UPDATE counter SET n = n + 1 WHERE id = {}", rng.random_range(1..=90))
        }
        _ => format!(
            "INSERT INTO ledger (what, body) SELECT 'entry ' || i, repeat('l', i * 7) \
             FROM generate_series(1, {}) i",
            rng.random_range(1..=4)
        ),
    }
}

/// Money moves. A lock makes these transactions take turns, so that no money is lost between a
/// look and a change.
fn money(rng: &mut StdRng) -> String {
    let sides = if rng.random() { ("bank", "vault") } else { ("vault", "bank") };
    let (from, to) = sides;
    let mut account = |table: &str| {
        let nth = rng.random_range(0..80);
        format!("(SELECT id FROM {table} ORDER BY id OFFSET {nth} LIMIT 1)")
    };
    let (one, two, three) = (account(from), account(from), account(to));
    let amount = rng.random_range(1..50);
    let moved = match rng.random_range(0..10) {
        // An account that pays itself ends as it began.
        0..4 => format!(
            "WITH ids AS MATERIALIZED (SELECT {one} AS payer, {two} AS payee) \
             UPDATE {from} SET balance = balance + CASE id WHEN payee THEN {amount} ELSE 0 END \
             - CASE id WHEN payer THEN {amount} ELSE 0 END FROM ids WHERE id IN (payer, payee)"
        ),
        4..8 => format!(
            "UPDATE {from} SET balance = balance - {amount} WHERE id = {one}; \
             UPDATE {to} SET balance = balance + {amount} WHERE id = {three}"
        ),
        8 => format!("UPDATE {from} SET id = nextval('ids') WHERE id = {one}"),
        _ => format!(
            "WITH gone AS (DELETE FROM {from} WHERE id = {one} RETURNING *), \
             back AS (DELETE FROM {to} WHERE id = {three} RETURNING *), \
             there AS (INSERT INTO {to} SELECT nextval('ids'), balance, memo FROM gone) \
             INSERT INTO {from} SELECT nextval('ids'), balance, memo FROM back"
        ),
    };
    format!("SELECT pg_advisory_xact_lock(1); {moved}")
}

fn item(rng: &mut StdRng) -> String {
    let id = rng.random_range(1..=1600);
    let v: i32 = rng.random_range(-1000..1000);
    let digit = rng.random_range(0..10);
    match rng.random_range(0..16) {
        0..2 => format!(
            "INSERT INTO item VALUES ({id}, {v}, repeat('i{digit}', 1200), '{{x,NULL}}', {v}.25, NULL) \
             ON CONFLICT (id) DO UPDATE SET v = item.v + 1"
        ),
        2..7 => format!("UPDATE item SET v = {v}, at = now() WHERE id = {id}"),
        7 => format!("UPDATE item SET big = repeat('u{digit}', 1300) WHERE id = {id}"),
        8 => format!("UPDATE item SET id = nextval('ids'), v = {v} WHERE id = {id}"),
        9 => format!("DELETE FROM item WHERE id = {id}"),
        10 => format!(
            "INSERT INTO item (id, v, big) VALUES (-{id}, 1, repeat('t', 2100)); \
             UPDATE item SET v = 2 WHERE id = -{id}; UPDATE item SET id = -{id} - 5000 WHERE id = -{id}; \
             DELETE FROM item WHERE id = -{id} - 5000"
        ),
        11 => {
            let other = id % 1500 + 1;
            format!(
                "UPDATE item SET id = -{id} WHERE id = {id}; UPDATE item SET id = {id} WHERE id = {other}; \
                 UPDATE item SET id = {other} WHERE id = -{id}"
            )
        }
        12..15 => format!("UPDATE item SET price = {v}.5 WHERE id = {id}"),
        // More than the buffers hold.
        _ => format!(
            "UPDATE item SET v = v + 1, big = repeat('L{digit}', 1250) WHERE id BETWEEN {id} AND {id} + 60"
        ),
    }
}

fn pair(rng: &mut StdRng) -> String {
    let (a, b) = (rng.random_range(1..=300), rng.random_range(0..9));
    match rng.random_range(0..4) {
        0 => format!("UPDATE pair SET v = v + {b} WHERE a = {a}"),
        1 => format!("UPDATE pair SET b = 'b{b}', a = a + 1000 WHERE a = {a}"),
        2 => format!("INSERT INTO pair VALUES ({a}, 'b{b}', 1) ON CONFLICT DO NOTHING"),
        _ => format!("DELETE FROM pair WHERE a = {a} + 1000"),
    }
}

fn soft(rng: &mut StdRng) -> String {
    let id = rng.random_range(1..=220);
    match rng.random_range(0..5) {
        0 => format!("DELETE FROM soft WHERE id = {id}"),
        1 => format!("INSERT INTO soft VALUES ({id}, 0, 'again') ON CONFLICT DO NOTHING"),
        2 => format!("UPDATE soft SET id = id + 1000 WHERE id = {id}"),
        _ => format!("UPDATE soft SET v = v + 1 WHERE id = {id}"),
    }
}

fn bag(rng: &mut StdRng) -> String {
    let (x, y) = (rng.random_range(0..20), rng.random_range(0..4));
    match rng.random_range(0..4) {
        0 => format!("INSERT INTO bag VALUES ({x}, 'y{y}'), (NULL, NULL)"),
        1 => format!(
            "UPDATE bag SET y = 'z{y}' WHERE ctid IN (SELECT ctid FROM bag WHERE x = {x} LIMIT 3)"
        ),
        2 => format!("DELETE FROM bag WHERE ctid IN (SELECT ctid FROM bag WHERE x = {x} LIMIT 2)"),
        _ => "DELETE FROM bag WHERE ctid IN (SELECT ctid FROM bag WHERE x IS NULL LIMIT 1)"
            .to_owned(),
    }
}

fn scratch(rng: &mut StdRng) -> String {
    match rng.random_range(0..3) {
        0 => "TRUNCATE scratch; INSERT INTO scratch (v) VALUES ('after')".to_owned(),
        _ => "INSERT INTO scratch (v) SELECT 's' || i FROM generate_series(1, 20) i".to_owned(),
    }
}

fn shape_rows(rng: &mut StdRng) -> String {
    let id = rng.random_range(1..=80);
    format!(
        "INSERT INTO shape (id, v) VALUES ({id}, 1) ON CONFLICT (id) DO UPDATE SET v = shape.v + 1"
    )
}

/// Adds a column or drops one. Names are never used again: a column that is dropped and added
/// while nobody reads the log cannot be told from one that stayed, and stops the table.
fn shape(rng: &mut StdRng) -> String {
    if rng.random_ratio(1, 3) {
        return shape_rows(rng);
    }
    let value = match rng.random_range(0..3) {
        0 => "NULL".to_owned(),
        _ => rng.random_range(1..99).to_string(),
    };
    let adds = rng.random_ratio(1, 2);
    format!(
        "DO $$ DECLARE c text; BEGIN \
         SELECT attname INTO c FROM pg_attribute WHERE attrelid = 'shape'::regclass \
         AND attnum > 2 AND NOT attisdropped ORDER BY attnum LIMIT 1; \
         IF c IS NULL OR {adds} THEN EXECUTE format( \
         'ALTER TABLE shape ADD COLUMN %I int DEFAULT {value}', 'c' || nextval('ids')); \
         ELSE EXECUTE format('ALTER TABLE shape DROP COLUMN %I', c); END IF; END $$"
    )
}
