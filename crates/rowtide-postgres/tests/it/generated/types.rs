//! Types made of others, from a seed, and values of them.

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

use super::scalars::{SCALARS, Scalar, quoted, text};

/// How deep types lie in each other.
const DEPTH: u32 = 3;

/// In which forms a type's values are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Form {
    /// In binary, whatever the destination is.
    Binary,
    /// In binary, unless the destination takes their text.
    ForOthers,
    /// By the text the server gives them.
    Text,
}

/// A type, and what must be made for it.
pub(super) struct Made {
    pub(super) sql: String,
    pub(super) setup: String,
    pub(super) form: Form,
    sort: Sort,
}

enum Sort {
    Scalar(fn(&mut StdRng) -> String),
    Enum(Vec<String>),
    Composite(Vec<Made>),
    Domain(Box<Made>),
    Array(Box<Made>),
}

impl Made {
    pub(super) fn scalar(scalar: &Scalar) -> Self {
        let (sql, random, form) = *scalar;
        let sort = Sort::Scalar(random);
        Self { sql: sql.to_owned(), setup: String::new(), form, sort }
    }

    /// A type of the parts at hand, whose names begin with `prefix`.
    pub(super) fn draw(dice: &mut StdRng, prefix: &str) -> Self {
        let mut number = 0;
        draw(dice, DEPTH, (prefix, &mut number))
    }

    /// Any value, as an SQL expression of the type; NULL now and then.
    pub(super) fn cell(&self, dice: &mut StdRng) -> String {
        match dice.random_ratio(1, 6) {
            true => format!("NULL::{}", self.sql),
            false => self.value(dice),
        }
    }

    fn is_array(&self) -> bool {
        match &self.sort {
            Sort::Array(_) => true,
            Sort::Domain(base) => base.is_array(),
            _ => false,
        }
    }

    fn value(&self, dice: &mut StdRng) -> String {
        let sql = &self.sql;
        match &self.sort {
            Sort::Scalar(random) => format!("({})::{sql}", random(dice)),
            Sort::Enum(labels) => format!("{}::{sql}", labels.choose(dice).unwrap()),
            Sort::Domain(base) => format!("({})::{sql}", base.value(dice)),
            Sort::Composite(attributes) => {
                let values: Vec<_> = attributes.iter().map(|one| one.cell(dice)).collect();
                format!("ROW({})::{sql}", values.join(", "))
            }
            Sort::Array(item) => array(dice, item, sql),
        }
    }
}

fn draw(dice: &mut StdRng, depth: u32, (prefix, number): (&str, &mut u32)) -> Made {
    *number += 1;
    let name = format!("{prefix}_{number}");
    match dice.random_range(0..if depth == 0 { 5 } else { 10 }) {
        0..=3 => readable(dice),
        4 => {
            let label = |at| {
                let label = format!("{at}{}", text(dice));
                quoted(&label.chars().take(12).collect::<String>())
            };
            let labels: Vec<_> = (0..4).map(label).collect();
            let setup = format!("CREATE TYPE {name} AS ENUM ({});", labels.join(", "));
            Made { sql: name, setup, form: Form::Binary, sort: Sort::Enum(labels) }
        }
        5 => {
            let base = draw(dice, depth - 1, (prefix, number));
            let setup = format!("{} CREATE DOMAIN {name} AS {};", base.setup, base.sql);
            Made { sql: name, setup, form: base.form, sort: Sort::Domain(Box::new(base)) }
        }
        6 | 7 => {
            let attributes: Vec<_> = (0..dice.random_range(1..=4))
                .map(|_| draw(dice, depth - 1, (prefix, number)))
                .collect();
            composite(name, attributes)
        }
        _ => {
            let item = loop {
                let item = draw(dice, depth - 1, (prefix, number));
                if !matches!(item.sort, Sort::Array(_)) {
                    break item;
                }
            };
            let (sql, setup) = (format!("{}[]", item.sql), item.setup.clone());
            // Of a domain over an array there is no list.
            let least = if item.is_array() { Form::Text } else { Form::ForOthers };
            let form = item.form.max(least);
            Made { sql, setup, form, sort: Sort::Array(Box::new(item)) }
        }
    }
}

fn composite(name: String, attributes: Vec<Made>) -> Made {
    let mut setup: String = attributes.iter().map(|one| one.setup.as_str()).collect();
    let list: Vec<_> =
        attributes.iter().enumerate().map(|(at, one)| format!("\"a{at} x\" {}", one.sql)).collect();
    setup.push_str(&format!(" CREATE TYPE {name} AS ({});", list.join(", ")));
    let form = attributes.iter().map(|one| one.form).max().unwrap_or(Form::Text);
    let form = form.max(Form::ForOthers);
    Made { sql: name, setup, form, sort: Sort::Composite(attributes) }
}

/// Those that are read by their text are few, so that most types can be read in binary.
fn readable(dice: &mut StdRng) -> Made {
    let wanted = if dice.random_ratio(1, 12) { Form::Text } else { Form::ForOthers };
    loop {
        let found = Made::scalar(SCALARS.choose(dice).unwrap());
        if found.form <= wanted {
            return found;
        }
    }
}

/// Arrays of any shape: most are lists, some have more dimensions, some do not begin at 1.
fn array(dice: &mut StdRng, item: &Made, sql: &str) -> String {
    let list = |dice: &mut StdRng, count: usize| {
        let items: Vec<_> = (0..count).map(|_| item.cell(dice)).collect();
        format!("ARRAY[{}]::{sql}", items.join(", "))
    };
    match dice.random_range(0..10) {
        0 => {
            let (rows, columns) = (dice.random_range(1..3), dice.random_range(1..3));
            let rows: Vec<_> = (0..rows).map(|_| list(dice, columns)).collect();
            format!("ARRAY[{}]::{sql}", rows.join(", "))
        }
        1 => {
            let (count, from) = (dice.random_range(1..4_usize), dice.random_range(-3..4_i64));
            let to = from + i64::try_from(count).unwrap() - 1;
            format!("('[{from}:{to}]=' || ({})::text)::{sql}", list(dice, count))
        }
        _ => {
            let count = dice.random_range(0..4);
            list(dice, count)
        }
    }
}
