//! Changes of tables, each as the SQL of one step; many with rows before, between and behind.

mod column;
mod table;
mod whole;

use super::dice::Dice;
use super::rows;
use super::world::Table;

pub(super) use table::made;

/// What a change is made from.
pub(super) struct Scene<'a> {
    /// All tables.
    pub(super) all: &'a [Table],
    /// The one to change.
    pub(super) table: &'a Table,
    /// A number that no name has yet.
    pub(super) fresh: u32,
}

impl Scene<'_> {
    /// Whether a table of the schema has the name already.
    fn is_taken(&self, schema: &str, name: &str) -> bool {
        self.all.iter().any(|table| table.schema == schema && table.name == name)
    }
}

/// Makes a step, if it makes sense for the table.
type Maker = fn(&mut Dice, &Scene<'_>) -> Option<String>;

/// All kinds of change.
const KINDS: &[(&str, Maker)] = &[
    ("add a column", column::add),
    ("add and drop", column::add_and_drop),
    ("drop a column", column::drop),
    ("rename a column", column::rename),
    ("swap two columns", column::swap),
    ("widen", column::widen),
    ("retype", column::retype),
    ("not null", column::not_null),
    ("default", column::default),
    ("drop and add the name", column::replace),
    ("make generated plain", column::drop_expression),
    ("rename a key column", column::rename_key),
    ("identity", table::identity),
    ("drop the key", table::drop_key),
    ("add a key", table::add_key),
    ("change the key", table::change_key),
    ("rename the table", table::rename),
    ("take another's name", table::swap_names),
    ("drop and create", table::recreate),
    ("drop a table", table::drop),
    ("create a table", table::create),
    ("move to another schema", table::set_schema),
    ("truncate", whole::truncate),
    ("add a label", whole::add_label),
    ("rename a label", whole::rename_label),
    ("change a domain", whole::domain),
    ("change a composite", whole::composite),
    ("attach or detach", whole::partition),
    ("unlogged and back", table::unlogged),
];

/// How likely each kind is in one history: some not at all, some often.
#[derive(Debug)]
pub(super) struct Weights(Vec<u32>);

impl Weights {
    /// Leaves out the kinds named in `without`.
    pub(super) fn new(dice: &mut Dice, (only, without): (&[String], &[String])) -> Self {
        let named =
            |list: &[String], name: &str| list.iter().any(|part| name.contains(part.as_str()));
        let weight = |(name, _): &(&str, Maker)| {
            let weight = dice.pick(&[0, 1, 1, 2, 6]).copied().unwrap_or(1);
            let wanted = only.is_empty() || named(only, name);
            if wanted && !named(without, name) {
                weight.max(u32::from(!only.is_empty()))
            } else {
                0
            }
        };
        Self(KINDS.iter().map(weight).collect())
    }
}

/// A step of some kind; `None` if none of a few makes sense here.
pub(super) fn change(
    dice: &mut Dice,
    weights: &Weights,
    scene: &Scene<'_>,
) -> Option<(&'static str, String)> {
    for _ in 0..8 {
        let (name, make) = KINDS.get(dice.weighted(&weights.0))?;
        if let Some(sql) = make(dice, scene) {
            return Some((name, sql));
        }
    }
    None
}

/// One that a transaction may do whose rows stand already, and that leaves it open.
pub(super) fn inside(dice: &mut Dice, scene: &Scene<'_>) -> Option<String> {
    let rest = rows::insert(dice, scene.table);
    let change = column::plain(dice, scene)?;
    // The rows behind have the columns from before; the server refuses what no longer fits.
    Some(format!("{change}; SAVEPOINT s; {rest}"))
}

/// `statements` alone, in a transaction among rows, or undone.
fn dressed(dice: &mut Dice, table: &Table, statements: &str) -> String {
    let row = |dice: &mut Dice| rows::change(dice, table);
    match dice.below(9) {
        0 | 1 => format!("BEGIN; {}; {statements}; COMMIT", row(dice)),
        2 => format!("BEGIN; {}; {}; {statements}; COMMIT", row(dice), row(dice)),
        3 => format!("BEGIN; {}; {statements}; ROLLBACK", row(dice)),
        4 => format!(
            "BEGIN; {}; SAVEPOINT s; {statements}; ROLLBACK TO SAVEPOINT s; {}; COMMIT",
            row(dice),
            row(dice)
        ),
        _ => statements.to_owned(),
    }
}
