//! Changes that concern several tables: TRUNCATE, types, partitions.

use super::Scene;
use crate::ddl::dice::Dice;
use crate::ddl::rows;
use crate::ddl::world::{Table, quoted};

/// Labels that the enum may have.
const LABELS: usize = 12;

pub(super) fn truncate(dice: &mut Dice, scene: &Scene<'_>) -> Option<String> {
    let table = scene.table;
    let mut names = vec![table.quoted()];
    for other in scene.all.iter().filter(|other| other.name != table.name && other.root.is_none()) {
        if dice.once_in(3) {
            names.push(other.quoted());
        }
    }
    let how = if dice.once_in(2) { " CASCADE" } else { "" };
    let sql = format!("TRUNCATE {}{how}", names.join(", "));
    let (before, after) = (rows::change(dice, table), rows::insert(dice, table));
    Some(match dice.below(4) {
        0 => sql,
        1 => format!("BEGIN; {before}; {sql}; {after}; COMMIT"),
        2 => format!("BEGIN; {sql}; {after}; {sql}; {after}; COMMIT"),
        _ => format!("BEGIN; SAVEPOINT s; {sql}; ROLLBACK TO SAVEPOINT s; {after}; COMMIT"),
    })
}

fn labels(scene: &Scene<'_>) -> Option<Vec<String>> {
    let columns = scene.all.iter().flat_map(|table| &table.columns);
    columns.map(|column| column.labels.clone()).find(|labels| !labels.is_empty())
}

pub(super) fn add_label(dice: &mut Dice, scene: &Scene<'_>) -> Option<String> {
    let labels = labels(scene)?;
    if labels.len() >= LABELS {
        return None;
    }
    let place = if dice.once_in(2) { " BEFORE 'ok'" } else { "" };
    let new = format!("new {}", scene.fresh);
    Some(format!("ALTER TYPE public.mood ADD VALUE '{new}'{place}"))
}

pub(super) fn rename_label(dice: &mut Dice, scene: &Scene<'_>) -> Option<String> {
    let labels: Vec<String> = labels(scene)?.into_iter().filter(|label| label != "ok").collect();
    let label = dice.pick(&labels)?;
    Some(format!("ALTER TYPE public.mood RENAME VALUE '{label}' TO 'label {}'", scene.fresh))
}

pub(super) fn domain(dice: &mut Dice, _: &Scene<'_>) -> Option<String> {
    let sql = match dice.below(4) {
        0 => "ALTER DOMAIN public.positive DROP CONSTRAINT IF EXISTS at_least",
        1 => {
            "ALTER DOMAIN public.positive DROP CONSTRAINT IF EXISTS at_least; \
              ALTER DOMAIN public.positive ADD CONSTRAINT at_least CHECK (VALUE >= 0) NOT VALID"
        }
        2 => "ALTER DOMAIN public.positive SET DEFAULT 7",
        _ => "ALTER DOMAIN public.positive DROP DEFAULT",
    };
    Some(sql.to_owned())
}

pub(super) fn composite(dice: &mut Dice, scene: &Scene<'_>) -> Option<String> {
    let used = |table: &Table| table.columns.iter().any(|column| column.kind == "pair");
    if !scene.all.iter().any(used) {
        let table = scene.table;
        let column = quoted(&format!("p{}", scene.fresh));
        return Some(format!(
            "ALTER TABLE {} ADD COLUMN {column} public.pair; UPDATE {} SET {column} = ROW(1, 'x')",
            table.quoted(),
            table.quoted()
        ));
    }
    let fresh = scene.fresh;
    Some(match dice.below(2) {
        0 => format!("ALTER TYPE public.pair ADD ATTRIBUTE a{fresh} integer"),
        _ => "DO $do$ DECLARE a name; BEGIN SELECT attname INTO a FROM pg_attribute WHERE attrelid = \
              'public.pair'::regclass AND attnum > 2 AND NOT attisdropped LIMIT 1; IF a IS NOT NULL THEN \
              EXECUTE format('ALTER TYPE public.pair DROP ATTRIBUTE %I', a); END IF; END $do$"
            .to_owned(),
    })
}

/// Parts come and go, with the rows that are in them.
pub(super) fn partition(dice: &mut Dice, scene: &Scene<'_>) -> Option<String> {
    let root = scene.all.iter().find(|table| table.is_partitioned() && table.schema == "public")?;
    let parts: Vec<&Table> =
        scene.all.iter().filter(|table| table.root.as_ref() == Some(&root.name)).collect();
    let detached: Vec<&Table> = scene
        .all
        .iter()
        .filter(|table| {
            table.root.is_none() && table.name.starts_with("part") && !table.is_partitioned()
        })
        .collect();
    let root_name = root.quoted();
    if let Some(part) = detached.first()
        && dice.once_in(2)
    {
        let number: u32 = part.name.trim_start_matches("part").parse().ok()?;
        return Some(format!(
            "ALTER TABLE {root_name} ATTACH PARTITION {} FOR VALUES FROM ({}) TO ({})",
            part.quoted(),
            number * 10,
            number * 10 + 10
        ));
    }
    let part = dice.pick(&parts)?;
    Some(format!("ALTER TABLE {root_name} DETACH PARTITION {}", part.quoted()))
}
