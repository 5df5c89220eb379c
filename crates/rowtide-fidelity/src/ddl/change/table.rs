//! Changes of a table's name, key and identity.

use super::{Scene, dressed};
use crate::ddl::dice::Dice;
use crate::ddl::rows;
use crate::ddl::world::{Column, Table, quoted};

/// How many tables there may be.
const MOST: usize = 8;
/// How many there must be.
const FEWEST: usize = 3;

/// Definitions of new tables: their columns, and what comes behind.
const SHAPES: &[(&str, &str)] = &[
    ("id integer PRIMARY KEY, a text, b integer", ""),
    ("a text, id bigint, b numeric(8,2), PRIMARY KEY (id)", ""),
    ("x integer, y text, v varchar(10), w text, PRIMARY KEY (x, y)", ""),
    ("y text, x integer, v boolean, PRIMARY KEY (y, x)", "FULL"),
    ("id text PRIMARY KEY, m public.mood, d date", ""),
    ("a integer, b text, c timestamptz", "FULL"),
    ("id integer NOT NULL, u integer NOT NULL UNIQUE, t text", "FULL"),
];

/// Statements that make the table `name` of schema `public`, with some rows.
pub(in crate::ddl) fn made(dice: &mut Dice, name: &str) -> String {
    let (columns, identity) = dice.pick(SHAPES).copied().unwrap_or(("id integer PRIMARY KEY", ""));
    let name = format!("public.{}", quoted(name));
    let mut sql = format!("CREATE TABLE {name} ({columns})");
    if !identity.is_empty() {
        sql.push_str(&format!("; ALTER TABLE {name} REPLICA IDENTITY {identity}"));
    }
    let first =
        columns.split(',').find(|part| part.contains("PRIMARY KEY") || part.contains("id "));
    if let Some(column) = first.and_then(|part| part.split_whitespace().next()) {
        let source = format!("generate_series(1, {}) i", 1 + dice.below(40));
        if columns.starts_with("id") && !columns.contains("NOT NULL") {
            sql.push_str(&format!("; INSERT INTO {name} ({column}) SELECT i FROM {source}"));
        }
    }
    sql
}

pub(super) fn create(dice: &mut Dice, scene: &Scene<'_>) -> Option<String> {
    if scene.all.len() >= MOST {
        return None;
    }
    // A name that was used before, now and then.
    let number = if dice.once_in(2) { scene.fresh } else { u32::try_from(dice.below(4)).ok()? };
    let name = format!("t{number}");
    (!scene.is_taken("public", &name)).then(|| made(dice, &name))
}

pub(super) fn drop(_: &mut Dice, scene: &Scene<'_>) -> Option<String> {
    let followed = scene.all.iter().filter(|table| table.is_selected()).count();
    (followed > FEWEST).then(|| format!("DROP TABLE {} CASCADE", scene.table.quoted()))
}

pub(super) fn recreate(dice: &mut Dice, scene: &Scene<'_>) -> Option<String> {
    let table = scene.table;
    if table.schema != "public" || table.root.is_some() || table.is_partitioned() {
        return None;
    }
    let (drop, make) = (format!("DROP TABLE {} CASCADE", table.quoted()), made(dice, &table.name));
    Some(match dice.below(3) {
        0 => format!("BEGIN; {drop}; {make}; COMMIT"),
        1 => format!("BEGIN; {}; {drop}; {make}; COMMIT", rows::change(dice, table)),
        _ => format!("{drop}; {make}"),
    })
}

pub(super) fn rename(dice: &mut Dice, scene: &Scene<'_>) -> Option<String> {
    let table = scene.table;
    let name = format!("t{}", scene.fresh);
    let sql = format!("ALTER TABLE {} RENAME TO {name}", table.quoted());
    Some(match dice.once_in(3) {
        // There and back: nothing changed, whatever the log announced in between.
        true => {
            let there = format!("{}.{}", quoted(&table.schema), name);
            let between = rows::change(dice, &Table { name, ..table.clone() });
            format!("{sql}; {between}; ALTER TABLE {there} RENAME TO {}", quoted(&table.name))
        }
        false => dressed(dice, table, &sql),
    })
}

pub(super) fn swap_names(dice: &mut Dice, scene: &Scene<'_>) -> Option<String> {
    let table = scene.table;
    let same = |other: &&Table| other.schema == table.schema && other.name != table.name;
    let others: Vec<&Table> = scene.all.iter().filter(same).collect();
    let other = dice.pick(&others)?;
    let rename = |from: &str, to: &str| {
        format!("ALTER TABLE {}.{} RENAME TO {}", table.schema, quoted(from), quoted(to))
    };
    let away = format!("t{}", scene.fresh);
    let mut sql = vec![rename(&table.name, &away), rename(&other.name, &table.name)];
    if dice.once_in(2) {
        sql.push(rename(&away, &other.name));
    }
    Some(if dice.once_in(2) {
        format!("BEGIN; {}; COMMIT", sql.join("; "))
    } else {
        sql.join("; ")
    })
}

pub(super) fn set_schema(_: &mut Dice, scene: &Scene<'_>) -> Option<String> {
    let table = scene.table;
    let followed = scene.all.iter().filter(|table| table.is_selected()).count();
    let to = if table.schema == "public" { "side" } else { "public" };
    let fits = !scene.is_taken(to, &table.name) && table.root.is_none() && !table.is_partitioned();
    (fits && (to == "public" || followed > FEWEST))
        .then(|| format!("ALTER TABLE {} SET SCHEMA {to}", table.quoted()))
}

pub(super) fn unlogged(dice: &mut Dice, scene: &Scene<'_>) -> Option<String> {
    let table = scene.table;
    if table.is_partitioned() || table.root.is_some() {
        return None;
    }
    let (name, between) = (table.quoted(), rows::change(dice, table));
    Some(format!("ALTER TABLE {name} SET UNLOGGED; {between}; ALTER TABLE {name} SET LOGGED"))
}

pub(super) fn identity(dice: &mut Dice, scene: &Scene<'_>) -> Option<String> {
    let table = scene.table;
    let name = table.quoted();
    let fresh = scene.fresh;
    let unique: Vec<&Column> =
        table.columns.iter().filter(|c| c.not_null && !c.generated).collect();
    let sql = match dice.below(5) {
        0 | 1 => format!("ALTER TABLE {name} REPLICA IDENTITY FULL"),
        2 if !table.key().is_empty() => format!("ALTER TABLE {name} REPLICA IDENTITY DEFAULT"),
        3 => {
            let column = quoted(&dice.pick(&unique)?.name);
            format!(
                "CREATE UNIQUE INDEX i{fresh} ON {name} ({column}); \
                 ALTER TABLE {name} REPLICA IDENTITY USING INDEX i{fresh}"
            )
        }
        _ => return None,
    };
    Some(dressed(dice, table, &sql))
}

fn key_name(table: &Table) -> String {
    format!(
        "(SELECT conname FROM pg_constraint WHERE contype = 'p' AND conrelid = '{}'::regclass)",
        table.quoted().replace('\'', "''")
    )
}

/// A statement that drops the key, whatever it is called.
fn without_key(table: &Table) -> String {
    let name = table.quoted().replace('\'', "''");
    format!(
        "DO $do$ BEGIN EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I CASCADE', '{name}', {}); END $do$",
        key_name(table)
    )
}

pub(super) fn drop_key(dice: &mut Dice, scene: &Scene<'_>) -> Option<String> {
    let table = scene.table;
    if table.key().is_empty() || table.is_partitioned() || table.root.is_some() {
        return None;
    }
    let sql = without_key(table);
    // Without FULL, the server refuses updates from then on, and the table cannot be followed.
    let full = format!("ALTER TABLE {} REPLICA IDENTITY FULL", table.quoted());
    let sql = if dice.once_in(3) { sql } else { format!("{sql}; {full}") };
    Some(dressed(dice, table, &sql))
}

pub(super) fn add_key(dice: &mut Dice, scene: &Scene<'_>) -> Option<String> {
    let table = scene.table;
    if !table.key().is_empty() {
        return None;
    }
    let columns = table.writable();
    let column = quoted(&dice.pick(&columns)?.name);
    let name = table.quoted();
    let unique = format!(
        "DELETE FROM {name} a USING {name} b WHERE a.{column} = b.{column} AND a.ctid < b.ctid; \
         DELETE FROM {name} WHERE {column} IS NULL"
    );
    Some(format!("BEGIN; {unique}; ALTER TABLE {name} ADD PRIMARY KEY ({column}); COMMIT"))
}

pub(super) fn change_key(dice: &mut Dice, scene: &Scene<'_>) -> Option<String> {
    let table = scene.table;
    let key = table.key();
    if key.is_empty() || table.is_partitioned() || table.root.is_some() {
        return None;
    }
    let drop = without_key(table);
    let mut names: Vec<String> = key.iter().map(|column| quoted(&column.name)).collect();
    match dice.below(3) {
        // The same columns in another order: the same key.
        0 => names.reverse(),
        1 if names.len() > 1 => names.truncate(1),
        _ => {
            let more: Vec<&Column> = table
                .plain_columns()
                .into_iter()
                .filter(|column| column.not_null && !column.generated)
                .collect();
            names.push(quoted(&dice.pick(&more)?.name));
        }
    }
    let add = format!("ALTER TABLE {} ADD PRIMARY KEY ({})", table.quoted(), names.join(", "));
    Some(format!("BEGIN; {drop}; {add}; COMMIT"))
}
