//! Plausible random values as SQL expressions.

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rowtide_postgres::literal;

const WORDS: [&str; 24] = [
    "amber", "birch", "cedar", "delta", "ember", "fjord", "grove", "harbour", "iris", "juniper",
    "kelp", "linden", "meadow", "north", "opal", "pebble", "quartz", "river", "saffron", "tundra",
    "umber", "violet", "willow", "zephyr",
];

/// A value of the type `kind` with `modifier`; `None` for a type that has no random values.
pub(super) fn expression(
    (kind, modifier): (&str, i32),
    labels: &[String],
    random: &mut StdRng,
) -> Option<String> {
    Some(match kind {
        "smallint" => random.random_range(0..i16::MAX).to_string(),
        "integer" => random.random_range(0..1_000_000).to_string(),
        "bigint" => random.random_range(0..10_000_000_000_u64).to_string(),
        "real" | "double precision" => format!("{:.3}", random.random_range(-1000.0..1000.0)),
        "numeric" => numeric(modifier, random),
        "boolean" => random.random_bool(0.5).to_string(),
        "text" | "character varying" | "character" | "name" | "citext" => text(modifier, random),
        "timestamp with time zone" | "timestamp without time zone" => {
            format!("now() - interval '{} seconds'", random.random_range(0..30 * 86_400))
        }
        "date" => format!("current_date - {}", random.random_range(0..3650)),
        "time without time zone" | "time with time zone" => {
            format!("time '00:00' + interval '{} seconds'", random.random_range(0..86_400))
        }
        "interval" => format!("interval '{} minutes'", random.random_range(0..100_000)),
        "uuid" => literal(&uuid(random)),
        "json" | "jsonb" => document(random),
        "bytea" => format!("decode('{}', 'hex')", hexadecimal(random, 16)),
        "inet" | "cidr" => {
            format!("'10.{}.{}.0'", random.random_range(0..256), random.random_range(0..256))
        }
        "enum" => literal(labels.choose(random)?),
        _ => return None,
    })
}

/// A number that fits the precision and scale in the modifier.
fn numeric(modifier: i32, random: &mut StdRng) -> String {
    let (precision, scale) = match modifier {
        4.. => ((modifier - 4) >> 16 & 0xFFFF, (modifier - 4) & 0x7FF),
        _ => (12, 2),
    };
    let digits = |count: i32, random: &mut StdRng| -> String {
        (0..count).map(|_| char::from(b'0' + random.random_range(0..10_u8))).collect()
    };
    let whole = digits((precision - scale).clamp(0, 6), random);
    let fraction = digits(scale.clamp(0, 12), random);
    format!("0{whole}.{fraction}0").trim_end_matches('0').to_owned() + "0"
}

fn text(modifier: i32, random: &mut StdRng) -> String {
    let count = random.random_range(1..5);
    let words: Vec<&str> = (0..count).filter_map(|_| WORDS.choose(random).copied()).collect();
    let text = format!("{} {}", words.join(" "), random.random_range(0..100_000));
    let longest = usize::try_from(modifier - 4).unwrap_or(usize::MAX);
    let text: String = match longest {
        0 => text,
        // Short codes are often unique: digits vary more than the beginnings of words.
        1..8 => text.chars().rev().take(longest).collect(),
        _ => text.chars().take(longest).collect(),
    };
    literal(&text)
}

fn document(random: &mut StdRng) -> String {
    let word = WORDS.choose(random).copied().unwrap_or_default();
    let number = random.random_range(0..1000);
    let flag = random.random_bool(0.5);
    literal(&format!("{{\"{word}\": {number}, \"tags\": [\"{word}\", null], \"on\": {flag}}}"))
}

fn uuid(random: &mut StdRng) -> String {
    let hex = hexadecimal(random, 16);
    let part = |from: usize, to: usize| hex.get(from..to).unwrap_or_default();
    // Version 4, variant 1.
    format!("{}-{}-4{}-8{}-{}", part(0, 8), part(8, 12), part(13, 16), part(17, 20), part(20, 32))
}

fn hexadecimal(random: &mut StdRng, bytes: usize) -> String {
    (0..bytes).map(|_| format!("{:02x}", random.random::<u8>())).collect()
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn values_fit_their_types() {
        let mut random = StdRng::seed_from_u64(1);
        for _ in 0..200 {
            // numeric(4,2)
            let number = expression(("numeric", (4 << 16) + 2 + 4), &[], &mut random).unwrap();
            assert!(number.parse::<f64>().unwrap() < 100.0, "{number}");
            let short = expression(("character varying", 3 + 4), &[], &mut random).unwrap();
            assert!(short.len() <= 5, "{short}");
        }
        assert_eq!(expression(("uuid", -1), &[], &mut random).unwrap().len(), 38);
        assert_eq!(expression(("enum", -1), &["a'b".into()], &mut random).unwrap(), "'a''b'");
        assert_eq!(expression(("tsvector", -1), &[], &mut random), None);
    }
}
