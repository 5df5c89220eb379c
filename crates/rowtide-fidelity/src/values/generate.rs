//! Types and values made up from a seed: of any type that is made of others, any value.

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

use super::corpus::Case;

/// How deep types lie in each other.
const DEPTH: u32 = 3;

/// What a case's name begins with if its values can be read in binary.
pub(super) const BINARY: &str = "made";

/// A type, and what must be made for it.
struct Made {
    sql: String,
    setup: String,
    sort: Sort,
    /// Some of it is read by its text.
    text: bool,
}

enum Sort {
    Scalar(fn(&mut StdRng) -> String),
    Enum(Vec<String>),
    Composite(Vec<Made>),
    Domain(Box<Made>),
    Array(Box<Made>),
}

/// `count` types with `values` values each.
pub(super) fn cases(seed: u64, (count, values): (usize, usize)) -> Vec<Case> {
    let dice = &mut StdRng::seed_from_u64(seed);
    (0..count)
        .map(|at| {
            let mut number = 0;
            let made = made(dice, DEPTH, &format!("public.m{at}"), &mut number);
            let values: Vec<String> = (0..values).map(|_| value(dice, &made)).collect();
            let values: Vec<&str> = values.iter().map(String::as_str).collect();
            let form = if made.text { "told" } else { BINARY };
            Case::new(&format!("{form}_{at}"), &made.sql, &values)
                .made_by(&made.setup)
                .told_nowhere()
        })
        .collect()
}

fn made(dice: &mut StdRng, depth: u32, prefix: &str, number: &mut u32) -> Made {
    *number += 1;
    let name = format!("{prefix}_{number}");
    match dice.random_range(0..if depth == 0 { 5 } else { 9 }) {
        0..=3 => scalar(dice),
        4 => {
            let labels: Vec<String> = (0..4).map(|at| format!("{at}{}", text(dice))).collect();
            let labels: Vec<String> = labels
                .iter()
                .map(|label| quoted(&label.chars().take(12).collect::<String>()))
                .collect();
            let setup = format!("CREATE TYPE {name} AS ENUM ({});", labels.join(", "));
            Made { sql: name, setup, sort: Sort::Enum(labels), text: false }
        }
        5 => {
            let base = made(dice, depth - 1, prefix, number);
            let setup = format!("{} CREATE DOMAIN {name} AS {};", base.setup, base.sql);
            Made { sql: name, setup, text: base.text, sort: Sort::Domain(Box::new(base)) }
        }
        6 | 7 => {
            let attributes: Vec<Made> = (0..dice.random_range(1..=4))
                .map(|_| made(dice, depth - 1, prefix, number))
                .collect();
            let mut setup: String = attributes.iter().map(|one| one.setup.as_str()).collect();
            let list: Vec<String> = attributes
                .iter()
                .enumerate()
                .map(|(at, one)| format!("\"a{at} x\" {}", one.sql))
                .collect();
            setup.push_str(&format!(" CREATE TYPE {name} AS ({});", list.join(", ")));
            let text = attributes.iter().any(|one| one.text);
            Made { sql: name, setup, sort: Sort::Composite(attributes), text }
        }
        _ => {
            let item = loop {
                let item = made(dice, depth - 1, prefix, number);
                if !matches!(item.sort, Sort::Array(_)) {
                    break item;
                }
            };
            let (sql, setup) = (format!("{}[]", item.sql), item.setup.clone());
            // PostgreSQL has no arrays of arrays, but arrays of domains over arrays.
            let text = item.text || is_array(&item);
            Made { sql, setup, text, sort: Sort::Array(Box::new(item)) }
        }
    }
}

fn is_array(made: &Made) -> bool {
    match &made.sort {
        Sort::Array(_) => true,
        Sort::Domain(base) => is_array(base),
        _ => false,
    }
}

/// A value that DuckDB's types hold too, as an SQL expression of its type.
fn value(dice: &mut StdRng, made: &Made) -> String {
    let inner = |dice: &mut StdRng, made: &Made| match dice.random_ratio(1, 5) {
        true => format!("NULL::{}", made.sql),
        false => value(dice, made),
    };
    let sql = &made.sql;
    match &made.sort {
        Sort::Scalar(random) => format!("({})::{sql}", random(dice)),
        Sort::Enum(labels) => {
            let label = labels.choose(dice).map_or("NULL", String::as_str);
            format!("{label}::{sql}")
        }
        Sort::Domain(base) => format!("({})::{sql}", value(dice, base)),
        Sort::Composite(attributes) => {
            let values: Vec<String> = attributes.iter().map(|one| inner(dice, one)).collect();
            format!("ROW({})::{sql}", values.join(", "))
        }
        Sort::Array(item) => {
            let items: Vec<String> =
                (0..dice.random_range(0..4)).map(|_| inner(dice, item)).collect();
            format!("ARRAY[{}]::{sql}", items.join(", "))
        }
    }
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// Any characters that a text may have.
fn text(dice: &mut StdRng) -> String {
    let hostile = [
        '\'', '"', '\\', ',', '{', '}', '(', ')', ' ', '\n', '\t', '\r', '\u{1f}', 'é', '🦀', 'ש',
        '\u{301}', '\u{feff}',
    ];
    let one = |dice: &mut StdRng| match dice.random_range(0..3) {
        0 => hostile.choose(dice).copied().unwrap_or('x'),
        1 => dice.random_range('a'..='z'),
        _ => char::from_u32(dice.random_range(0x20..0x2_ffff)).unwrap_or('\u{10ffff}'),
    };
    (0..dice.random_range(0..12)).map(|_| one(dice)).collect()
}

fn digits(dice: &mut StdRng, most: usize) -> String {
    let count = dice.random_range(1..=most);
    (0..count).map(|_| char::from(b'0' + dice.random_range(0..10_u8))).collect()
}

fn bits(dice: &mut StdRng, count: usize) -> String {
    (0..count).map(|_| if dice.random() { '1' } else { '0' }).collect()
}

fn sign(dice: &mut StdRng) -> &'static str {
    if dice.random() { "-" } else { "" }
}

/// A moment in microseconds since 1970, from 4000 BC to 294000 AD.
fn moment(dice: &mut StdRng) -> i64 {
    match dice.random_range(0..3) {
        0 => dice.random_range(-188_000_000_000_000_000..9_200_000_000_000_000_000),
        _ => dice.random_range(-62_000_000_000_000_000..4_000_000_000_000_000),
    }
}

fn since_1970(dice: &mut StdRng, zone: &str) -> String {
    let micros = moment(dice);
    let (days, rest) = (micros.div_euclid(86_400_000_000), micros.rem_euclid(86_400_000_000));
    format!(
        "timestamp{zone} '1970-01-01 00:00:00' + interval '{days} days' + interval '{rest} microseconds'"
    )
}

type Random = fn(&mut StdRng) -> String;

/// Types that are not made of others, how a value of each is made up, and whether it is read by
/// its text.
const SCALARS: &[(&str, Random, bool)] = &[
    ("boolean", |dice| dice.random::<bool>().to_string(), false),
    ("smallint", |dice| quoted(&dice.random::<i16>().to_string()), false),
    ("integer", |dice| quoted(&dice.random::<i32>().to_string()), false),
    ("bigint", |dice| quoted(&dice.random::<i64>().to_string()), false),
    ("oid", |dice| quoted(&dice.random::<u32>().to_string()), false),
    ("xid8", |dice| quoted(&dice.random::<u64>().to_string()), false),
    (
        "real",
        |dice| quoted(&finite(f32::from_bits(dice.random()).into(), f64::from(f32::MAX))),
        false,
    ),
    ("double precision", |dice| quoted(&finite(f64::from_bits(dice.random()), f64::MAX)), false),
    (
        "numeric",
        |dice| quoted(&format!("{}{}.{}", sign(dice), digits(dice, 60), digits(dice, 60))),
        false,
    ),
    (
        "numeric(20,6)",
        |dice| quoted(&format!("{}{}.{}", sign(dice), digits(dice, 14), digits(dice, 6))),
        false,
    ),
    ("numeric(38,0)", |dice| quoted(&format!("{}{}", sign(dice), digits(dice, 38))), false),
    ("text", |dice| quoted(&text(dice)), false),
    ("character varying(20)", |dice| quoted(&text(dice)), false),
    ("character(15)", |dice| quoted(&text(dice)), false),
    (
        "bytea",
        |dice| {
            format!(
                "'\\x{}'",
                (0..dice.random_range(0..20))
                    .map(|_| format!("{:02x}", dice.random::<u8>()))
                    .collect::<String>()
            )
        },
        false,
    ),
    (
        "date",
        |dice| format!("date '1970-01-01' + {}", dice.random_range(-2_000_000..2_100_000_000)),
        false,
    ),
    (
        "time without time zone",
        |dice| {
            format!(
                "time '00:00' + interval '{} microseconds'",
                dice.random_range(0..86_400_000_000_i64)
            )
        },
        false,
    ),
    (
        "time with time zone",
        |dice| {
            format!(
                "'{:02}:{:02}:{:02}.{:06}{:+03}:{:02}'",
                dice.random_range(0..24),
                dice.random_range(0..60),
                dice.random_range(0..60),
                dice.random_range(0..1_000_000),
                dice.random_range(-15..=15),
                dice.random_range(0..60)
            )
        },
        false,
    ),
    ("timestamp without time zone", |dice| since_1970(dice, ""), false),
    ("timestamp with time zone", |dice| since_1970(dice, "tz"), false),
    (
        "interval",
        |dice| {
            format!(
                "'{} months {} days {} microseconds'",
                dice.random::<i32>(),
                dice.random::<i32>(),
                dice.random_range(-9_000_000_000_000_000..9_000_000_000_000_000_i64)
            )
        },
        false,
    ),
    ("uuid", |dice| quoted(&format!("{:032x}", dice.random::<u128>())), false),
    (
        "json",
        |dice| {
            format!(
                "json_build_object({}, {}, 'n', {})",
                quoted(&text(dice)),
                quoted(&text(dice)),
                dice.random::<i64>()
            )
        },
        false,
    ),
    (
        "jsonb",
        |dice| {
            format!("jsonb_build_array({}, {}, NULL)", quoted(&text(dice)), dice.random::<i64>())
        },
        false,
    ),
    ("bit(11)", |dice| quoted(&bits(dice, 11)), false),
    (
        "bit varying",
        |dice| {
            let count = dice.random_range(0..40);
            quoted(&bits(dice, count))
        },
        false,
    ),
    (
        "inet",
        |dice| {
            format!(
                "'{}.{}.0.1/{}'",
                dice.random::<u8>(),
                dice.random::<u8>(),
                dice.random_range(0..=32)
            )
        },
        true,
    ),
    (
        "int8range",
        |dice| {
            let low: i32 = dice.random();
            format!("int8range({low}, {low} + {})", dice.random_range(0..1000))
        },
        true,
    ),
    ("point", |dice| format!("point({}, {})", dice.random::<i32>(), dice.random::<f32>()), true),
];

/// A number's text, or that of one which is none.
fn finite(number: f64, most: f64) -> String {
    match number.is_nan() {
        true => "NaN".to_owned(),
        false if number.abs() > most => "Infinity".to_owned(),
        false => format!("{number:e}"),
    }
}

fn scalar(dice: &mut StdRng) -> Made {
    // Those that are read by their text are few, so that most types can be read in binary.
    let (sql, random, text) = match SCALARS.choose(dice) {
        Some((sql, _, true)) if dice.random() => ("integer", SCALARS[2].1, sql.is_empty()),
        Some(&(sql, random, text)) => (sql, random, text),
        None => ("integer", SCALARS[2].1, false),
    };
    Made { sql: sql.to_owned(), setup: String::new(), sort: Sort::Scalar(random), text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrays_of_arrays_are_read_by_their_text() {
        // The thirteenth is an array of a domain over integer[].
        let cases = cases(3_278_885_749_723_874_867, (13, 8));
        assert_eq!(cases[12].name, "told_12");
        assert!(cases.iter().any(|case| case.name.starts_with(BINARY)));
    }
}
