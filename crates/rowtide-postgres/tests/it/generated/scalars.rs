//! Types that are not made of others, and any value of them.

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

use super::types::Form;

/// The name, how a value is made up, and in which forms it is read.
pub(super) type Scalar = (&'static str, fn(&mut StdRng) -> String, Form);

const BINARY: Form = Form::Binary;
const FOR_OTHERS: Form = Form::ForOthers;
const TEXT: Form = Form::Text;

/// All of them that every server has.
pub(super) const SCALARS: &[Scalar] = &[
    ("boolean", |dice| dice.random::<bool>().to_string(), BINARY),
    ("smallint", |dice| quoted(&dice.random::<i16>().to_string()), BINARY),
    ("integer", |dice| quoted(&dice.random::<i32>().to_string()), BINARY),
    ("bigint", |dice| quoted(&dice.random::<i64>().to_string()), BINARY),
    ("real", |dice| quoted(&single(dice)), BINARY),
    ("double precision", |dice| quoted(&double(dice)), BINARY),
    ("numeric", |dice| numeric(dice), BINARY),
    ("numeric(20,6)", |dice| decimal(dice, (14, 6)), BINARY),
    ("numeric(38,0)", |dice| decimal(dice, (38, 0)), BINARY),
    ("numeric(38,38)", |dice| decimal(dice, (0, 38)), BINARY),
    ("numeric(60,20)", |dice| decimal(dice, (40, 20)), BINARY),
    ("text", |dice| quoted(&long_text(dice)), BINARY),
    ("character varying(20)", |dice| quoted(&text(dice)), BINARY),
    ("character(15)", |dice| quoted(&text(dice)), BINARY),
    ("name", |dice| quoted(&text(dice)), BINARY),
    ("bytea", |dice| bytes(dice), BINARY),
    ("date", |dice| date(dice), BINARY),
    ("time without time zone", |dice| quoted(&time(dice)), BINARY),
    ("timestamp without time zone", |dice| moment(dice, "timestamp"), BINARY),
    ("timestamp(2) without time zone", |dice| moment(dice, "timestamp"), BINARY),
    ("timestamp with time zone", |dice| moment(dice, "timestamptz"), BINARY),
    ("uuid", |dice| quoted(&format!("{:032x}", dice.random::<u128>())), BINARY),
    ("json", |dice| quoted(&json(dice, 3)), BINARY),
    ("jsonb", |dice| quoted(&json(dice, 3)), BINARY),
    ("bit(11)", |dice| bits(dice, 11..=11), BINARY),
    ("bit(64)", |dice| bits(dice, 64..=64), BINARY),
    ("bit varying", |dice| bits(dice, 0..=40), BINARY),
    ("oid", |dice| quoted(&dice.random::<u32>().to_string()), FOR_OTHERS),
    ("xid8", |dice| quoted(&dice.random::<u64>().to_string()), FOR_OTHERS),
    ("interval", |dice| interval(dice), FOR_OTHERS),
    ("time with time zone", |dice| quoted(&format!("{}{}", time(dice), zone(dice))), FOR_OTHERS),
    (
        "money",
        |dice| format!("({}::numeric / 100)", quoted(&dice.random::<i64>().to_string())),
        TEXT,
    ),
    ("inet", |dice| quoted(&address(dice)), TEXT),
    ("cidr", |dice| format!("network({}::inet)", quoted(&address(dice))), TEXT),
    ("macaddr", |dice| quoted(&format!("{:012x}", dice.random::<u64>() >> 16)), TEXT),
    ("macaddr8", |dice| quoted(&format!("{:016x}", dice.random::<u64>())), TEXT),
    ("int4range", |dice| range(dice, "int4range", whole), TEXT),
    ("int8range", |dice| range(dice, "int8range", whole), TEXT),
    ("numrange", |dice| range(dice, "numrange", part), TEXT),
    ("daterange", |dice| range(dice, "daterange", day), TEXT),
    ("tsrange", |dice| range(dice, "tsrange", |dice| moment(dice, "timestamp")), TEXT),
    ("tstzrange", |dice| range(dice, "tstzrange", |dice| moment(dice, "timestamptz")), TEXT),
    ("int4multirange", |dice| multirange(dice, "int4", whole), TEXT),
    ("nummultirange", |dice| multirange(dice, "num", part), TEXT),
    ("datemultirange", |dice| multirange(dice, "date", day), TEXT),
    ("point", |dice| quoted(&format!("({},{})", double(dice), double(dice))), TEXT),
    (
        "circle",
        |dice| quoted(&format!("<({},{}),{}>", double(dice), double(dice), dice.random::<u32>())),
        TEXT,
    ),
    (
        "box",
        |dice| {
            quoted(&format!(
                "({},{}),({},{})",
                double(dice),
                double(dice),
                double(dice),
                double(dice)
            ))
        },
        TEXT,
    ),
    ("tsvector", |dice| format!("to_tsvector('simple', {})", quoted(&text(dice))), TEXT),
    (
        "pg_lsn",
        |dice| quoted(&format!("{:X}/{:X}", dice.random::<u32>(), dice.random::<u32>())),
        TEXT,
    ),
    ("\"char\"", |dice| quoted(["a", "", "\\", "'", ","].choose(dice).unwrap()), TEXT),
    (
        "jsonpath",
        |dice| {
            quoted(&format!("$.\"{}\"[*] ? (@ > {})", dice.random::<u16>(), dice.random::<i32>()))
        },
        TEXT,
    ),
];

/// Those of extensions, with the extension's name.
pub(super) const OF_EXTENSIONS: &[(&str, Scalar)] = &[
    ("citext", ("citext", |dice| quoted(&text(dice)), BINARY)),
    (
        "hstore",
        ("hstore", |dice| format!("hstore({}, {})", quoted(&text(dice)), nullable(dice)), TEXT),
    ),
    (
        "ltree",
        (
            "ltree",
            |dice| quoted(&format!("a{}.b_{}", dice.random::<u8>(), dice.random::<u32>())),
            TEXT,
        ),
    ),
];

pub(super) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

fn nullable(dice: &mut StdRng) -> String {
    if dice.random() { "NULL".to_owned() } else { quoted(&text(dice)) }
}

/// Any characters that a text may have.
pub(super) fn text(dice: &mut StdRng) -> String {
    let hostile = [
        '\'', '"', '\\', ',', '{', '}', '(', ')', ' ', '\n', '\t', '\r', '\u{1}', '\u{7f}', 'é',
        '🦀', 'ש', '\u{301}', '\u{feff}', '.', 'N',
    ];
    let one = |dice: &mut StdRng| match dice.random_range(0..3) {
        0 => *hostile.choose(dice).unwrap(),
        1 => dice.random_range('a'..='z'),
        _ => char::from_u32(dice.random_range(0x20..0x11_0000)).unwrap_or('\u{10ffff}'),
    };
    match dice.random_range(0..12) {
        0 => (*["NULL", "\\N", "\\.", "null", ""].choose(dice).unwrap()).to_owned(),
        most => (0..dice.random_range(0..=most)).map(|_| one(dice)).collect(),
    }
}

/// Sometimes long enough to be stored outside of its row.
fn long_text(dice: &mut StdRng) -> String {
    let times = if dice.random_ratio(1, 20) { 700 } else { 1 };
    text(dice).repeat(times)
}

fn digits(dice: &mut StdRng, most: usize) -> String {
    let count = dice.random_range(0..=most);
    // Runs of zeros and nines are what base 10,000 is sensitive to.
    let zeros = dice.random_ratio(1, 3);
    let one = |dice: &mut StdRng| match zeros && dice.random_ratio(4, 5) {
        true => *b"09".choose(dice).unwrap(),
        false => b'0' + dice.random_range(0..10_u8),
    };
    (0..count).map(|_| char::from(one(dice))).collect()
}

fn sign(dice: &mut StdRng) -> &'static str {
    if dice.random() { "-" } else { "" }
}

fn numeric(dice: &mut StdRng) -> String {
    match dice.random_range(0..10) {
        0 => quoted("NaN"),
        1 => quoted(&format!("{}1e{}", sign(dice), dice.random_range(-16_383..131_071))),
        2 => quoted(&format!("{}0.{}", sign(dice), "0".repeat(dice.random_range(0..40)))),
        _ => quoted(&format!("{}0{}.0{}", sign(dice), digits(dice, 60), digits(dice, 60))),
    }
}

fn decimal(dice: &mut StdRng, (whole, scale): (usize, usize)) -> String {
    match dice.random_range(0..12) {
        0 => quoted("NaN"),
        1 => quoted(&format!("{}0{}.{}", sign(dice), "9".repeat(whole), "9".repeat(scale))),
        _ => quoted(&format!("{}0{}.{}", sign(dice), digits(dice, whole), digits(dice, scale))),
    }
}

fn whole(dice: &mut StdRng) -> String {
    dice.random_range(-2_000_000_000..2_000_000_000_i32).to_string()
}

fn part(dice: &mut StdRng) -> String {
    format!("{}::numeric", decimal(dice, (9, 5)))
}

/// Words that each number type has, and bits of any kind: subnormal ones too.
fn words(dice: &mut StdRng) -> Option<&'static str> {
    let words = ["NaN", "Infinity", "-Infinity", "-0", "0"];
    dice.random_ratio(1, 4).then(|| *words.choose(dice).unwrap())
}

fn single(dice: &mut StdRng) -> String {
    let small = dice.random_ratio(1, 4);
    let bits = if small { dice.random_range(1..1 << 23) } else { dice.random() };
    let number = Some(f32::from_bits(bits)).filter(|number| number.is_finite());
    words(dice).map_or_else(|| format!("{:e}", number.unwrap_or(f32::MAX)), str::to_owned)
}

fn double(dice: &mut StdRng) -> String {
    let small = dice.random_ratio(1, 4);
    let bits = if small { dice.random_range(1..1 << 52) } else { dice.random() };
    let number = Some(f64::from_bits(bits)).filter(|number| number.is_finite());
    words(dice).map_or_else(|| format!("{:e}", number.unwrap_or(f64::MAX)), str::to_owned)
}

fn bytes(dice: &mut StdRng) -> String {
    let count = if dice.random_ratio(1, 20) { 5_000 } else { dice.random_range(0..20) };
    let bytes: String = (0..count).map(|_| format!("{:02x}", dice.random::<u8>())).collect();
    format!("'\\x{bytes}'")
}

fn bits(dice: &mut StdRng, counts: std::ops::RangeInclusive<usize>) -> String {
    let count = dice.random_range(counts);
    let bits: String = (0..count).map(|_| if dice.random() { '1' } else { '0' }).collect();
    format!("B'{bits}'")
}

fn date(dice: &mut StdRng) -> String {
    let (first, last) = ("4714-11-24 BC", "5874897-12-31");
    match dice.random_range(0..8) {
        0 => format!("date '{}'", ["infinity", "-infinity", first, last].choose(dice).unwrap()),
        1 => format!("date '1970-01-01' + {}", dice.random_range(-2_400_000..2_140_000_000)),
        _ => format!("date '1970-01-01' + {}", dice.random_range(-800_000..40_000)),
    }
}

/// A date that is not the last one: ranges are kept by the day behind them.
fn day(dice: &mut StdRng) -> String {
    match dice.random_ratio(1, 8) {
        true => format!("date '{}'", ["infinity", "-infinity"].choose(dice).unwrap()),
        false => format!("date '1970-01-01' + {}", dice.random_range(-800_000..40_000)),
    }
}

fn time(dice: &mut StdRng) -> String {
    if dice.random_ratio(1, 10) {
        return "24:00:00".to_owned();
    }
    format!(
        "{:02}:{:02}:{:02}.{:06}",
        dice.random_range(0..24),
        dice.random_range(0..60),
        dice.random_range(0..60),
        dice.random_range(0..1_000_000)
    )
}

fn zone(dice: &mut StdRng) -> String {
    let parts = [dice.random_range(-15..=15), dice.random_range(0..60), dice.random_range(0..60)];
    format!("{:+03}:{:02}:{:02}", parts[0], parts[1], parts[2])
}

/// The whole span the server has, beyond what Arrow's timestamps hold too.
fn moment(dice: &mut StdRng, native: &str) -> String {
    let edges = ["infinity", "-infinity", "4714-11-24 00:00:00+00 BC", "294276-12-31 23:59:59+00"];
    let days = match dice.random_range(0..6) {
        0 => return format!("{native} '{}'", edges.choose(dice).unwrap()),
        1 => dice.random_range(-2_400_000..106_000_000),
        _ => dice.random_range(-800_000..40_000),
    };
    let (seconds, micros) = (dice.random_range(0..86_400), dice.random_range(0..1_000_000));
    format!(
        "{native} '1970-01-01 00:00:00+00' + interval '{days} days' \
         + make_interval(secs => {seconds}.{micros:06})"
    )
}

/// Months, days and microseconds of any sign, beyond what Arrow's nanoseconds hold too.
fn interval(dice: &mut StdRng) -> String {
    let hours = match dice.random_range(0..4) {
        0 => dice.random::<i32>(),
        1 => 0,
        _ => dice.random_range(-2_500_000..2_500_000),
    };
    let (months, days) = (dice.random::<i32>(), dice.random::<i32>());
    let (seconds, micros) = (dice.random_range(0..3_600), dice.random_range(0..1_000_000));
    format!(
        "make_interval(months => {months}, days => {days}, hours => {hours}, \
         secs => {}{seconds}.{micros:06})",
        sign(dice)
    )
}

fn address(dice: &mut StdRng) -> String {
    match dice.random() {
        true => {
            let [a, b, c, d] = dice.random::<u32>().to_be_bytes();
            format!("{a}.{b}.{c}.{d}/{}", dice.random_range(0..=32))
        }
        false => {
            let groups: Vec<_> = (0..8)
                .map(|_| format!("{:x}", dice.random::<u16>() & dice.random::<u16>()))
                .collect();
            format!("{}/{}", groups.join(":"), dice.random_range(0..=128))
        }
    }
}

/// Documents with keys that are there twice, and numbers of any length.
fn json(dice: &mut StdRng, depth: u32) -> String {
    let string = |dice: &mut StdRng| serde_json::to_string(&text(dice)).unwrap();
    match dice.random_range(0..if depth == 0 { 4 } else { 7 }) {
        0 => (*["null", "true", "false", "{}", "[]", "\"\""].choose(dice).unwrap()).to_owned(),
        1 => format!("{}{}.{}0", sign(dice), dice.random::<u64>(), digits(dice, 30)),
        2 => format!("{}1e{}", sign(dice), dice.random_range(-400..400)),
        3 => string(dice),
        4 | 5 => {
            let one = |dice: &mut StdRng| {
                let key = if dice.random_ratio(1, 3) { "\"a\"".to_owned() } else { string(dice) };
                format!("{key} : {}", json(dice, depth - 1))
            };
            let members: Vec<_> = (0..dice.random_range(0..4)).map(|_| one(dice)).collect();
            format!("{{{}}}", members.join(",  "))
        }
        _ => {
            let items: Vec<_> =
                (0..dice.random_range(0..4)).map(|_| json(dice, depth - 1)).collect();
            format!("[ {}]", items.join(",\n"))
        }
    }
}

/// A range between two values in their order; empty or without an end now and then.
fn range(dice: &mut StdRng, native: &str, one: fn(&mut StdRng) -> String) -> String {
    let bounds = ["[]", "[)", "(]", "()"].choose(dice).unwrap();
    let (low, high) = (one(dice), one(dice));
    match dice.random_range(0..8) {
        0 => format!("'empty'::{native}"),
        1 => format!("{native}(NULL, {high}, '{bounds}')"),
        2 => format!("{native}({low}, NULL, '{bounds}')"),
        _ => format!("{native}(least({low}, {high}), greatest({low}, {high}), '{bounds}')"),
    }
}

fn multirange(dice: &mut StdRng, stem: &str, one: fn(&mut StdRng) -> String) -> String {
    let native = format!("{stem}range");
    let ranges: Vec<_> = (0..dice.random_range(0..4)).map(|_| range(dice, &native, one)).collect();
    format!("{stem}multirange({})", ranges.join(", "))
}
