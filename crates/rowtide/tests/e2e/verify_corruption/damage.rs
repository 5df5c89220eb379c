//! The tables, what is written to them, and what is done to their copies.

use std::collections::BTreeSet;

use rand::rngs::StdRng;

use super::{fresh, keys, types};

/// Rows up to here stand still.
const COLD: u64 = 2000;
/// Keyless rows up to here stand still, thrice each.
const COLD_ROWS: u64 = 200;

pub(super) const SCHEMA: &str = "\
    CREATE TABLE hard (id bigint PRIMARY KEY, small int2, big int8, re real, dbl float8,
        num numeric(12,2), raw numeric, txt text, other text, bin bytea, uid uuid, doc jsonb,
        dy date, stamp timestamptz, wall timestamp, tod time, flag bool, tags text[],
        span interval, final text);
    CREATE TABLE soft (id bigint PRIMARY KEY, txt text, num numeric(12,2));
    CREATE TABLE log (id bigint PRIMARY KEY, txt text, num numeric(12,2));
    CREATE TABLE told (id bigint PRIMARY KEY, txt text);
    CREATE TABLE bare (x int, y text);
    CREATE TABLE zero (id bigint PRIMARY KEY, f float8);
    CREATE TABLE minus (id bigint PRIMARY KEY, f float8, g real);
    INSERT INTO minus VALUES (1, '-0', 1.5), (2, 5.5, '-0'), (3, 1e300, 2.5);
    ALTER TABLE bare REPLICA IDENTITY FULL;
    INSERT INTO zero VALUES (1, 0);
    INSERT INTO hard SELECT i, i, i * 1000000007::bigint, (i % 8) / 2.0, i / 3.0, i / 100.0, (i || '.5')::numeric,
        CASE i % 3 WHEN 0 THEN NULL WHEN 1 THEN '' ELSE 'text ' || i END, 'other ' || i,
        decode(to_hex(i + 4096), 'hex'), md5(i::text)::uuid, jsonb_build_object('a', i),
        '2024-01-01'::date + i, '2024-01-01'::timestamptz + i * interval '1 h',
        '2024-01-01'::timestamp + i * interval '1 min', '01:02:03'::time + i * interval '1 s',
        i % 2 = 0, ARRAY['x', NULL, i::text], i * interval '1 day 1 hour', 'last ' || i
        FROM generate_series(1, 2000) i;
    INSERT INTO soft SELECT i, 'text ' || i, i / 100.0 FROM generate_series(1, 4000) i;
    INSERT INTO log SELECT i, 'text ' || i, i / 100.0 FROM generate_series(1, 2000) i;
    INSERT INTO told SELECT i, 'text ' || i FROM generate_series(1, 2000) i;
    INSERT INTO bare SELECT i % 200, 'y' || i % 200 FROM generate_series(0, 599) i";

/// What the log brings before anything is damaged: rows from 3000 on are marked as deleted.
pub(super) const LATER: &str = "\
    DELETE FROM soft WHERE id > 3000;\n\
    UPDATE log SET txt = txt || ' later' WHERE id % 3 = 0";

/// What writer `which` does to rows that are not damaged.
pub(super) fn traffic(which: u32) -> String {
    let mut sql = String::new();
    let from = 100_000 * (which + 1);
    for table in ["hard", "soft", "log", "told"] {
        sql.push_str(
            &format!(
                "INSERT INTO {table} (id, txt) SELECT {from} + (random() * 500)::int, 'new' \
             FROM generate_series(1, 5) ON CONFLICT (id) DO UPDATE SET txt = 'again' || random();\n\
             DELETE FROM {table} WHERE id = {from} + (random() * 500)::int;\n"
            )
            .replace("SELECT ", "SELECT DISTINCT "),
        );
    }
    sql.push_str(&format!(
        "INSERT INTO bare SELECT {from} + i, 'new' FROM generate_series(1, 3) i;\n\
         UPDATE bare SET y = 'again' WHERE x = {from} + 1;\n\
         DELETE FROM bare WHERE x = {from} + 2;\n"
    ));
    sql.push_str(&keys::traffic(from));
    sql
}

#[derive(Clone, Copy, PartialEq)]
pub(super) enum Dialect {
    Duckdb,
    Postgres,
}

impl Dialect {
    /// What stands for PostgreSQL, if anything does; else what both understand.
    pub(super) fn of(self, (duckdb, postgres): (&'static str, &'static str)) -> &'static str {
        match self {
            Self::Postgres if !postgres.is_empty() => postgres,
            _ => duckdb,
        }
    }
}

/// The damage of setting columns of a row.
pub(super) fn change((table, key): (&'static str, u64), change: &str) -> Damage {
    let mut columns: Vec<&str> =
        change.split(", ").filter_map(|set| Some(set.split_once(" = ")?.0)).collect();
    columns.sort_unstable();
    Damage {
        table,
        rows: vec![format!("{key} changed {}", columns.join(" "))],
        sql: format!("UPDATE public.{table} SET {change} WHERE id = {key}"),
    }
}

pub(super) struct Damage {
    pub(super) table: &'static str,
    /// The keys that then differ, how, and in which columns.
    pub(super) rows: Vec<String>,
    pub(super) sql: String,
}

/// What is set in a column, in DuckDB and in PostgreSQL. `%` stands in for the rest of the key
/// modulo 3 that the row must have.
const CHANGES: &[(&str, &str, Option<u64>)] = &[
    ("small = small + 1", "", None),
    ("big = big + 1", "", None),
    ("re = re + 0.5", "", None),
    ("dbl = dbl * 1.0000000000000002", "dbl = dbl * 1.0000000000000002::float8", Some(2)),
    ("num = num + 0.01", "", None),
    ("raw = raw || '0'", "raw = (raw::text || '0')::numeric", None),
    ("txt = ''", "", Some(0)),
    ("txt = NULL", "", Some(1)),
    ("txt = txt || ' '", "", Some(2)),
    ("txt = other, other = txt", "", None),
    ("bin = bin || '\\x00'::BLOB", "bin = bin || '\\x00'::bytea", None),
    ("uid = '00000000-0000-0000-0000-000000000001'", "", None),
    ("doc = '{\"a\": -1}'", "", None),
    ("dy = dy + 1", "", None),
    ("stamp = stamp + to_microseconds(1)", "stamp = stamp + interval '1 microsecond'", None),
    ("wall = wall - to_microseconds(1)", "wall = wall - interval '1 microsecond'", None),
    ("tod = tod + to_microseconds(1)", "tod = tod + interval '1 microsecond'", None),
    ("flag = NOT flag", "", None),
    ("tags = ['x', 'NULL', '1']", "tags = ARRAY['x', 'NULL', '1']", None),
    // Unlike 1 day and 1 hour, also for DuckDB, which takes equal intervals for one.
    ("span = span + INTERVAL '1 second'", "", None),
    ("final = final || 'x'", "", None),
];

/// Damage to rows that `random` chooses.
pub(super) fn plant(random: &mut StdRng, dialect: Dialect) -> Vec<Damage> {
    let mut planted = Vec::new();
    let mut taken = BTreeSet::new();
    for (duckdb, postgres, rest) in CHANGES {
        let mut key = fresh(random, &mut taken, COLD);
        while rest.is_some_and(|rest| key % 3 != rest) {
            key = fresh(random, &mut taken, COLD);
        }
        planted.push(change(("hard", key), dialect.of((duckdb, postgres))));
    }
    for table in ["hard", "soft", "told", "log"] {
        planted.extend(rows(random, table));
    }
    planted.push(Damage {
        table: "zero",
        rows: vec!["1 changed f".to_owned()],
        sql: match dialect {
            // A row of its own: beside 0, DuckDB's compression would make -0 a 0 again.
            Dialect::Duckdb => "CREATE OR REPLACE TABLE public.zero AS \
                 SELECT 1::bigint AS id, '-0'::double AS f"
                .to_owned(),
            Dialect::Postgres => "UPDATE public.zero SET f = '-0'".to_owned(),
        },
    });
    planted.extend(signs());
    planted.extend(marks(random));
    planted.extend(events(random));
    planted.extend(keyless(random, dialect));
    planted.extend(types::plant(random, dialect));
    planted.extend(keys::plant(random));
    planted
}

/// A row that is missing, one too many, and one that is another, from keys above all others so that
/// they meet no other damage.
fn rows(random: &mut StdRng, table: &'static str) -> Vec<Damage> {
    let mut taken = BTreeSet::new();
    let mut key = || fresh(random, &mut taken, 300) + if table == "hard" { 0 } else { 1000 };
    let (gone, extra, other) = (key(), 900_000 + key(), key());
    let missing = if table == "soft" { "missing_or_marked" } else { "missing" };
    let (columns, values) = match table {
        "log" => (
            ", _rowtide_op, _rowtide_position, _rowtide_seq",
            ", 'insert', (SELECT max(_rowtide_position) FROM public.log), 1000000",
        ),
        "soft" => (", _rowtide_deleted", ", false"),
        _ => ("", ""),
    };
    let damage = |row: String, sql: String| Damage { table, rows: vec![row], sql };
    let mut all = vec![damage(
        format!("{extra} extra"),
        format!("INSERT INTO public.{table} (id, txt{columns}) VALUES ({extra}, 'extra'{values})"),
    )];
    if table != "hard" {
        all.push(damage(
            format!("{gone} {missing}"),
            format!("DELETE FROM public.{table} WHERE id = {gone}"),
        ));
        all.push(damage(
            format!("{other} changed txt"),
            format!("UPDATE public.{table} SET txt = 'wrong' WHERE id = {other}"),
        ));
    }
    all
}

/// -0 that has become 0. DuckDB takes an UPDATE of one to the other for none.
fn signs() -> Vec<Damage> {
    let lost = |row: &str, values: &str| Damage {
        table: "minus",
        rows: vec![row.to_owned()],
        sql: format!(
            "DELETE FROM public.minus WHERE id = {}; INSERT INTO public.minus VALUES ({values})",
            &row[..1]
        ),
    };
    vec![lost("1 changed f", "1, 0, 1.5"), lost("2 changed g", "2, 5.5, 0")]
}

/// Marks that are wrong, both ways.
fn marks(random: &mut StdRng) -> Vec<Damage> {
    let mut taken = BTreeSet::new();
    let (marked, unmarked) =
        (fresh(random, &mut taken, 900), 3000 + fresh(random, &mut taken, 900));
    let mark = |row: String, key: u64, mark: bool| Damage {
        table: "soft",
        rows: vec![row],
        sql: format!("UPDATE public.soft SET _rowtide_deleted = {mark} WHERE id = {key}"),
    };
    vec![
        mark(format!("{marked} missing_or_marked"), marked, true),
        mark(format!("{unmarked} extra"), unmarked, false),
    ]
}

/// Events that stand twice: one that was copied, and one from the log.
fn events(random: &mut StdRng) -> Vec<Damage> {
    let mut taken = BTreeSet::new();
    let copied = 3 * fresh(random, &mut taken, 300) + 1;
    let streamed = 3 * fresh(random, &mut taken, 300);
    let twice = |key: u64, which: &str| Damage {
        table: "log",
        rows: vec![format!("{key} repeated")],
        sql: format!(
            "INSERT INTO public.log SELECT * FROM public.log WHERE id = {key} AND _rowtide_op = '{which}'"
        ),
    };
    vec![twice(copied, "snapshot"), twice(streamed, "update")]
}

/// Rows without a key: one copy too many, one too few, and one that is another row.
fn keyless(random: &mut StdRng, dialect: Dialect) -> Vec<Damage> {
    let mut taken = BTreeSet::new();
    let mut key = || fresh(random, &mut taken, COLD_ROWS);
    let (more, less, other) = (key(), key(), key());
    let place = if dialect == Dialect::Duckdb { "rowid" } else { "ctid" };
    let one =
        |key: u64| format!("{place} = (SELECT min({place}) FROM public.bare WHERE x = {key})");
    let damage = |rows: Vec<String>, sql: String| Damage { table: "bare", rows, sql };
    vec![
        damage(
            vec![format!("{more} repeated")],
            format!("INSERT INTO public.bare SELECT * FROM public.bare WHERE {}", one(more)),
        ),
        damage(
            vec![format!("{less} repeated")],
            format!("DELETE FROM public.bare WHERE {}", one(less)),
        ),
        damage(
            vec![format!("{other} repeated"), format!("{} extra", 900_000 + other)],
            format!("UPDATE public.bare SET x = {} WHERE {}", 900_000 + other, one(other)),
        ),
    ]
}
