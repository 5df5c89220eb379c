//! Damage to a value of each type that the other tables do not have.

use std::collections::BTreeSet;

use rand::rngs::StdRng;

use super::damage::{Damage, Dialect, change};
use super::fresh;

pub(super) const SCHEMA: &str = "\
    CREATE TYPE mood AS ENUM ('ok', 'sad');
    CREATE TYPE spot AS (n int, t text);
    CREATE TABLE wide (id int PRIMARY KEY, bits bit(8), varb varbit, tz timetz, js json, net inet,
        en mood, comp spot, rng int4range, ints int[], reals float8[], cash money, ch char(5),
        o oid, dec numeric(38,10), huge numeric(50,5), ms timestamp(3), inf date, bc timestamptz,
        days date[], uids uuid[], bins bytea[], spans interval[], words text[], f4 real, xid xid8,
        final text);
    INSERT INTO wide SELECT i, i::bit(8), B'101', '12:00:00+01', '{\"a\": 1}', '10.0.0.1/24', 'ok',
        ROW(1, ''::text)::spot, '[1,5)', ARRAY[1, 0], ARRAY[0.5, 1.5], '12.34', 'ab', i, i / 3.0, 1.5,
        '2024-01-01 00:00:00.123', 'infinity', '0044-03-15 12:00:00+00 BC', ARRAY['2024-01-01'::date],
        ARRAY[md5(i::text)::uuid], ARRAY['\\x00ff'::bytea], ARRAY['1 mon'::interval],
        ARRAY['it''s', 'a \"b\" \\ {c}', NULL], 0.1, i::text::xid8, 'last'
        FROM generate_series(1, 100) i";

/// What is set in a column, in DuckDB and in PostgreSQL.
const CHANGES: &[(&str, &str)] = &[
    ("bits = '11111111'::BIT", "bits = B'11111111'"),
    ("varb = varb || '0'", "varb = varb || B'0'"),
    // The same instant.
    ("tz = '11:00:00+00'::TIMETZ", "tz = '11:00:00+00'"),
    ("js = '{\"a\":  1}'", ""),
    ("net = '10.0.0.1/25'", ""),
    ("en = 'sad'", ""),
    ("comp = {'n': 1,'t': NULL}", "comp = '(1,)'"),
    ("rng = '[1,6)'", ""),
    ("ints = [1,NULL]", "ints = ARRAY[1,NULL]"),
    ("reals = [0.5,1.5000000000000002]", "reals = ARRAY[0.5,1.5000000000000002]"),
    ("cash = '$12.35'", "cash = '12.35'"),
    ("ch = 'ab'", "ch = 'b'"),
    ("o = o + 1", "o = (o::bigint + 1)::oid"),
    ("dec = dec + 0.0000000001", ""),
    ("huge = huge || '0'", "huge = huge + 0.00001"),
    ("ms = ms + INTERVAL '1 millisecond'", ""),
    ("inf = '-infinity'", ""),
    ("bc = bc + INTERVAL '1 microsecond'", ""),
    ("days = [NULL]", "days = ARRAY[NULL]::date[]"),
    ("uids = []", "uids = '{}'"),
    ("bins = ['\\x00\\xFE'::BLOB]", "bins = ARRAY['\\x00fe'::bytea]"),
    ("spans = [INTERVAL '31 days']", "spans = ARRAY['31 days'::interval]"),
    ("words = ['NULL']", "words = ARRAY['NULL']"),
    ("f4 = 0.10000001", ""),
    ("xid = 18446744073709551615", "xid = '18446744073709551615'"),
    ("final = NULL", ""),
];

/// Damages a row per type.
pub(super) fn plant(random: &mut StdRng, dialect: Dialect) -> Vec<Damage> {
    let mut taken = BTreeSet::new();
    let damage = |change_to: &(&'static str, &'static str)| {
        change(("wide", fresh(random, &mut taken, 100)), dialect.of(*change_to))
    };
    CHANGES.iter().map(damage).collect()
}
