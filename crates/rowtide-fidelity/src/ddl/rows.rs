//! Changes of rows, for whatever columns a table has now.

use super::dice::Dice;
use super::world::{Column, Table, literal, quoted};

/// Rows that keys are drawn from: few, so that they meet.
const KEYS: usize = 60;

/// A value for `column`, as a literal that its type reads.
pub(super) fn value(dice: &mut Dice, column: &Column) -> String {
    if !column.not_null && !column.key && dice.once_in(6) {
        return "NULL".to_owned();
    }
    if column.kind == "pair" {
        return "NULL".to_owned();
    }
    let number = dice.below(KEYS);
    let text = match column.kind.split('(').next().unwrap_or_default() {
        _ if !column.labels.is_empty() => dice.pick(&column.labels).cloned().unwrap_or_default(),
        "smallint" | "integer" | "bigint" | "positive" => number.to_string(),
        "numeric" => format!("{number}.{}", dice.below(100)),
        "double precision" => format!("{number}.5"),
        "boolean" => number.is_multiple_of(2).to_string(),
        "date" => format!("2026-01-{:02}", 1 + number % 28),
        "timestamp with time zone" | "timestamp without time zone" => {
            format!("2026-02-{:02} 12:00:{number:02}", 1 + number % 28)
        }
        "uuid" => format!("00000000-0000-4000-8000-{number:012}"),
        "jsonb" | "json" => format!("{{\"n\": {number}, \"w\": [1, null, \"é\"]}}"),
        "bytea" => format!("\\x{number:04x}"),
        "integer[]" => format!("{{{number},NULL,{}}}", dice.below(9)),
        // Stored outside of its row, so that the log does not repeat it.
        "text" if !column.key && dice.once_in(4) => {
            return format!(
                "(SELECT string_agg(md5(({number} * 1000 + i)::text), '') FROM generate_series(1, 200) i)"
            );
        }
        "character varying" => dice.word(3),
        _ if column.key => format!("k{number}"),
        _ => dice.word(12),
    };
    literal(&text)
}

/// A condition that some rows fulfil.
fn some(dice: &mut Dice, table: &Table) -> String {
    let columns = table.writable();
    let Some(column) = table.key().first().copied().or_else(|| columns.first().copied()) else {
        return "true".to_owned();
    };
    let share = 2 + dice.below(9);
    let name = quoted(&column.name);
    format!("abs(hashtext({name}::text)) % {share} = {}", dice.below(share))
}

/// Some rows, as `INSERT`.
pub(super) fn insert(dice: &mut Dice, table: &Table) -> String {
    let columns: Vec<&Column> = table
        .writable()
        .into_iter()
        .filter(|column| {
            let needed = column.key || (column.not_null && !column.has_default);
            needed || !dice.once_in(if column.has_default { 3 } else { 5 })
        })
        .collect();
    let names: Vec<String> = columns.iter().map(|column| quoted(&column.name)).collect();
    if names.is_empty() {
        return format!("INSERT INTO {} DEFAULT VALUES", table.quoted());
    }
    let count = 1 + dice.below(6);
    let rows: Vec<String> = (0..count)
        .map(|_| {
            let values: Vec<String> = columns.iter().map(|column| value(dice, column)).collect();
            format!("({})", values.join(", "))
        })
        .collect();
    format!(
        "INSERT INTO {} ({}) VALUES {} ON CONFLICT DO NOTHING",
        table.quoted(),
        names.join(", "),
        rows.join(", ")
    )
}

/// Some rows, as `UPDATE`: of one column or a few, of the key now and then.
fn update(dice: &mut Dice, table: &Table) -> Option<String> {
    let columns = table.writable();
    let key: Vec<&Column> = table.key();
    if !key.is_empty() && dice.once_in(5) {
        let first = quoted(&key.first()?.name);
        let new = match key.first()?.kind.as_str() {
            "smallint" | "integer" | "bigint" => format!("{first} + {}", 100 + dice.below(1000)),
            _ => format!("left({first}::text, 3) || 'm{}'", dice.below(1000)),
        };
        // One row's, so that keys seldom meet; where they do, the server refuses.
        let lowest =
            format!("(SELECT {first} FROM {} ORDER BY {first}::text LIMIT 1)", table.quoted());
        return Some(format!(
            "UPDATE {} SET {first} = {new} WHERE {first} = {lowest}",
            table.quoted()
        ));
    }
    let mut set: Vec<String> = Vec::new();
    for column in columns.into_iter().filter(|column| !column.key) {
        if set.is_empty() || dice.once_in(3) {
            set.push(format!("{} = {}", quoted(&column.name), value(dice, column)));
        }
    }
    let condition = some(dice, table);
    (!set.is_empty())
        .then(|| format!("UPDATE {} SET {} WHERE {condition}", table.quoted(), set.join(", ")))
}

fn delete(dice: &mut Dice, table: &Table) -> String {
    format!("DELETE FROM {} WHERE {}", table.quoted(), some(dice, table))
}

/// One statement that changes rows.
pub(super) fn change(dice: &mut Dice, table: &Table) -> String {
    match dice.below(10) {
        0..=4 => insert(dice, table),
        5..=7 => update(dice, table).unwrap_or_else(|| insert(dice, table)),
        _ => delete(dice, table),
    }
}

/// A transaction of several, perhaps with savepoints of which some are undone.
pub(super) fn transaction(dice: &mut Dice, table: &Table) -> String {
    let mut sql = vec!["BEGIN".to_owned()];
    for at in 0..1 + dice.below(5) {
        let change = change(dice, table);
        match dice.below(4) {
            0 => {
                let end = if dice.once_in(2) { "ROLLBACK TO" } else { "RELEASE" };
                sql.extend([format!("SAVEPOINT s{at}"), change, format!("{end} SAVEPOINT s{at}")]);
            }
            _ => sql.push(change),
        }
    }
    sql.push(if dice.once_in(8) { "ROLLBACK" } else { "COMMIT" }.to_owned());
    sql.join("; ")
}
