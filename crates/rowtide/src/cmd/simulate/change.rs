//! One random change as an SQL statement.

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

use super::catalog::{Column, Target};
use super::values;

/// What kind of change; the number is its place in a tally.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Insert = 0,
    Update = 1,
    Delete = 2,
}

/// A statement that changes one row of `target`; `None` if the table does not allow that.
///
/// Later attempts choose their row in a way that is less random and finds one more surely.
pub(super) fn statement(
    (kind, attempt): (Kind, u32),
    target: &Target,
    random: &mut StdRng,
) -> Option<String> {
    match kind {
        Kind::Insert => insert(target, random),
        Kind::Update => update((target, attempt), random),
        Kind::Delete => {
            let table = target.sql_name();
            Some(format!("DELETE FROM {table} WHERE {}", some_row(target, attempt)))
        }
    }
}

fn insert(target: &Target, random: &mut StdRng) -> Option<String> {
    let mut names = Vec::new();
    let mut expressions = Vec::new();
    for column in target.columns.iter().filter(|column| column.settable) {
        // The database's own defaults are the most plausible values there are.
        if column.filled && (column.in_key || random.random_bool(0.5)) {
            continue;
        }
        let value = match new_key(target, column).or_else(|| value(column, random)) {
            Some(value) => value,
            None if column.nullable || column.filled => continue,
            None => return None,
        };
        names.push(column.name.as_str());
        expressions.push(value);
    }
    let table = target.sql_name();
    if names.is_empty() {
        return Some(format!("INSERT INTO {table} DEFAULT VALUES"));
    }
    let (names, expressions) = (names.join(", "), expressions.join(", "));
    Some(format!("INSERT INTO {table} ({names}) VALUES ({expressions})"))
}

/// A whole-number key without a sequence goes on from the largest one.
fn new_key(target: &Target, column: &Column) -> Option<String> {
    let numbered = matches!(column.kind.as_str(), "smallint" | "integer" | "bigint");
    let alone = column.in_key && target.key.len() == 1 && column.refers_to.is_none();
    (alone && numbered).then(|| {
        format!("(SELECT coalesce(max({}), 0) + 1 FROM {})", column.name, target.sql_name())
    })
}

fn update((target, attempt): (&Target, u32), random: &mut StdRng) -> Option<String> {
    let free: Vec<&Column> =
        target.columns.iter().filter(|column| column.settable && !column.in_key).collect();
    let amount = random.random_range(1..=2);
    let set: Vec<String> = free
        .choose_multiple(random, amount)
        .copied()
        .collect::<Vec<_>>()
        .into_iter()
        .filter_map(|column| Some(format!("{} = {}", column.name, value(column, random)?)))
        .collect();
    if set.is_empty() {
        return None;
    }
    let (table, set) = (target.sql_name(), set.join(", "));
    Some(format!("UPDATE {table} SET {set} WHERE {}", some_row(target, attempt)))
}

/// A condition that is true for one row.
fn some_row(target: &Target, attempt: u32) -> String {
    let (key, table) = (target.key.join(", "), target.sql_name());
    let chosen = match attempt {
        0 => format!(
            "SELECT {key} FROM {table} TABLESAMPLE SYSTEM ({:.6}) ORDER BY random() LIMIT 1",
            target.sample_percent
        ),
        1..8 => format!("SELECT {key} FROM {table} OFFSET floor(random() * 100)::int LIMIT 1"),
        _ => format!("SELECT {key} FROM {table} LIMIT 1"),
    };
    format!("({key}) = ({chosen})")
}

fn value(column: &Column, random: &mut StdRng) -> Option<String> {
    if column.nullable && random.random_bool(0.1) {
        return Some("NULL".into());
    }
    if let Some((table, referred)) = &column.refers_to {
        return Some(format!(
            "(SELECT {referred} FROM {table} OFFSET floor(random() * \
             (SELECT least(count(*), 1000) FROM (SELECT 1 FROM {table} LIMIT 1000) AS few))::int LIMIT 1)"
        ));
    }
    let expression = match column.kind.strip_suffix("[]") {
        Some(item) => {
            let items: Option<Vec<_>> = (0..random.random_range(0..4))
                .map(|_| values::expression((item, -1), &[], random))
                .collect();
            format!("ARRAY[{}]", items?.join(", "))
        }
        None => values::expression((&column.kind, column.modifier), &column.labels, random)?,
    };
    Some(format!("({expression})::{}", column.cast))
}
