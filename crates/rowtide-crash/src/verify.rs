//! Both sides at rest, compared by SQL.

use rowtide_testkit::{Comparison, Result, Rows, compare};

use crate::case::Case;
use crate::statements::MERGED;

/// What is wrong with a copy.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Damage {
    /// Rows or events that the copy lacks.
    pub lost: u64,
    /// Rows or events that it has beyond the source's, or twice.
    pub doubled: u64,
    /// Rows that differ.
    pub wrong: u64,
    /// In words.
    pub notes: Vec<String>,
}

impl Damage {
    /// Whether there is none.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// Takes another's in.
    pub(crate) fn add(&mut self, other: Self) {
        self.lost += other.lost;
        self.doubled += other.doubled;
        self.wrong += other.wrong;
        self.notes.extend(other.notes);
    }

    fn of(&mut self, found: &Comparison) {
        // A row that differs is missing as it should be, and surplus as it is.
        let wrong = found.missing.min(found.surplus);
        self.wrong += wrong;
        self.lost += found.missing - wrong;
        self.doubled += found.surplus - wrong;
        if !found.is_equal() {
            self.notes.push(format!("{found:?}"));
        }
    }
}

/// Compares everything. The copy must have caught up, and nothing may run.
pub(crate) fn verify(case: &Case<'_>) -> Result<Damage> {
    let mut damage = Damage::default();
    let source = (&case.arena.server, case.name.as_str());
    let copied = case.place.copied(case.arena);
    let tables = case.sql("SELECT relname FROM pg_class WHERE relname = 'late'")?;
    let late = ["public.late"].into_iter().filter(|_| tables.trim() == "late");
    for table in MERGED.iter().copied().chain(late) {
        damage.of(&compare(source, copied, table, Rows::All)?);
    }
    let alive = Rows::Where("_rowtide_deleted IS DISTINCT FROM true");
    damage.of(&compare(source, copied, "public.soft", alive)?);
    damage.of(&compare(source, copied, "public.ledger", Rows::All)?);
    damage.of(&compare(source, copied, "public.counter", Rows::Last("id"))?);
    for table in ["ledger", "counter"] {
        let twice = number(
            case,
            &format!(
                "SELECT count(*) - count(DISTINCT (_rowtide_position, _rowtide_seq)) \
             FROM public.{table} WHERE _rowtide_op <> 'snapshot'"
            ),
        )?;
        damage.doubled += twice;
        if twice > 0 {
            damage.notes.push(format!("{table}: {twice} events twice"));
        }
    }
    // Each update counts one up, so that every event of a key has a number, without a gap.
    let uneven = number(
        case,
        "SELECT count(*) FROM (SELECT count(*) AS events, count(DISTINCT n) AS numbers, \
         max(n) - min(n) + 1 AS width FROM public.counter GROUP BY id) AS keys \
         WHERE events <> numbers OR numbers <> width",
    )?;
    damage.lost += uneven;
    if uneven > 0 {
        damage.notes.push(format!("counter: the history of {uneven} keys has gaps or repeats"));
    }
    if let Err(broken) = case.check_money() {
        damage.wrong += 1;
        damage.notes.push(broken);
    }
    Ok(damage)
}

fn number(case: &Case<'_>, sql: &str) -> Result<u64> {
    let rows = case.place.copied(case.arena).rows(sql)?;
    let row = rows.first().map_or("", String::as_str);
    row.trim().parse().map_err(|e| format!("{sql}: {row}: {e}"))
}
