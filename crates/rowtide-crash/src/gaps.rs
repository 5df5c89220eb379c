//! Gaps that somebody else made in the source's log while nobody looked: a run must notice each
//! of them, and never go on as if nothing had happened.

use rowtide_testkit::{Result, wait_for};

use crate::arena::Arena;
use crate::case::{Case, LIMIT};
use crate::target::Target;
use crate::verify::{Damage, verify};

/// The exit code of a run that somebody has to look at.
const OPERATOR: i32 = 5;

/// Changes that nobody must miss.
const MISSED: &str = "UPDATE item SET v = -77 WHERE id BETWEEN 10 AND 20; \
     DELETE FROM pair WHERE a < 20; INSERT INTO ledger (what) VALUES ('missed'); \
     UPDATE counter SET n = n + 1 WHERE id < 5";

/// A gap: what it is called, and the SQL that makes it around the missed changes.
struct Gap {
    name: &'static str,
    before: &'static str,
    after: &'static str,
    /// Whether the run repairs it by itself.
    repaired: bool,
}

const ALL: &[Gap] = &[
    Gap {
        name: "slot-made-anew",
        before: "SELECT pg_drop_replication_slot('{slot}')",
        after: "SELECT pg_create_logical_replication_slot('{slot}', 'pgoutput')",
        repaired: false,
    },
    Gap {
        name: "slot-moved",
        before: "SELECT 1",
        after: "SELECT pg_replication_slot_advance('{slot}', pg_current_wal_lsn())",
        repaired: false,
    },
    Gap {
        name: "publication-made-anew",
        before: "DROP PUBLICATION {publication}",
        after: "CREATE PUBLICATION {publication} FOR TABLE {tables}; COMMENT ON PUBLICATION \
                {publication} IS 'made by rowtide for the pipeline {pipeline}'",
        repaired: false,
    },
    Gap {
        name: "table-taken-out",
        before: "ALTER PUBLICATION {publication} DROP TABLE item, pair",
        after: "ALTER PUBLICATION {publication} ADD TABLE ONLY item, ONLY pair",
        repaired: true,
    },
];

/// The gaps, by name.
pub const GAPS: [&str; 4] =
    ["slot-made-anew", "slot-moved", "publication-made-anew", "table-taken-out"];

/// Makes the gap called `name` under a pipeline, and runs the pipeline again.
///
/// # Errors
/// If the run does not notice. Damage is no error here: a run that was refused has not caught up,
/// and nothing is compared.
pub fn gap(arena: &Arena, target: Target, name: &str) -> Result<Damage> {
    let gap = ALL.iter().find(|gap| gap.name == name);
    let gap = gap.ok_or_else(|| format!("there is no gap `{name}`"))?;
    let case = Case::new(arena, target)?;
    case.once(&[])?;
    wait_for("the slot to be free", LIMIT, || {
        let active = "SELECT count(*) FROM pg_replication_slots WHERE active \
             AND database = current_database()";
        Ok((case.sql(active)?.trim() == "0").then_some(()))
    })?;
    for sql in [gap.before, MISSED, gap.after] {
        case.sql(&filled(&case, sql)?)?;
    }
    let finished = case.run(&["--once"]).run(LIMIT)?;
    match (gap.repaired, finished.code()) {
        (true, 0) => verify(&case),
        (false, OPERATOR) => Ok(Damage::default()),
        (_, code) => {
            let said = finished.stderr;
            Err(format!("gap {name}: a run that could not know ended with {code} and said\n{said}"))
        }
    }
}

fn filled(case: &Case<'_>, sql: &str) -> Result<String> {
    let publication = format!("\"rowtide_{}\"", case.name);
    let tables = "SELECT string_agg('ONLY ' || quote_ident(tablename), ', ') FROM pg_tables \
         WHERE schemaname = 'public'";
    let tables = case.sql(tables)?;
    Ok(sql
        .replace("{slot}", &case.slot())
        .replace("{publication}", &publication)
        .replace("{pipeline}", &case.name)
        .replace("{tables}", tables.trim()))
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_gap_has_its_name() {
        assert!(super::ALL.iter().map(|gap| gap.name).eq(super::GAPS));
    }
}
