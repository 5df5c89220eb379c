//! Names that a destination cannot hold: told by `check`, left alone by `run`, and in nobody's way.

use std::time::Duration;

use rowtide_testkit::Result;

use crate::stage::{End, Stage};

const LIMIT: Duration = Duration::from_secs(300);

/// A table with a name, or a column, that clashes.
struct Case {
    table: &'static str,
    definition: &'static str,
    /// Whether the destination cannot hold it.
    refused: fn(End) -> bool,
}

const CASES: [Case; 7] = [
    Case { table: "fine", definition: "(id int PRIMARY KEY, \"Id\" int)", refused: only_duckdb },
    Case { table: "Twice", definition: "(id int PRIMARY KEY)", refused: only_duckdb },
    Case { table: "twice", definition: "(id int PRIMARY KEY)", refused: only_duckdb },
    Case { table: "history", definition: "(id int PRIMARY KEY, _rowtide_op text)", refused: any },
    Case { table: "numbered", definition: "(rowid int)", refused: only_duckdb },
    Case { table: "keyed", definition: "(rowid int PRIMARY KEY)", refused: none },
    Case { table: "ÄÖ", definition: "(\"Ä\" int PRIMARY KEY, \"ä\" int)", refused: none },
];

fn only_duckdb(end: End) -> bool {
    end == End::Duckdb
}

fn any(_end: End) -> bool {
    true
}

fn none(_end: End) -> bool {
    false
}

/// Tries them all in one pipeline.
///
/// # Errors
/// What was not told, not left alone, or held up by others.
pub fn refusals(stage: &Stage) -> Result<()> {
    for Case { table, definition, .. } in &CASES {
        stage.sql(&format!(
            "CREATE TABLE \"{table}\" {definition}; \
             ALTER TABLE \"{table}\" REPLICA IDENTITY {}; INSERT INTO \"{table}\" VALUES (1)",
            if definition.contains("PRIMARY KEY") { "DEFAULT" } else { "FULL" }
        ))?;
    }
    stage.select(
        "include = [\"public.*\"]",
        "[[table]]\nmatch = \"public.history\"\nmode = \"append\"",
    )?;
    let told = stage.command("check", &["--json"]).run(LIMIT)?;
    let ended = stage.command("run", &["--once"]).run(LIMIT)?;
    if ended.code() == 0 {
        return Err(format!("a run that left tables out says that all is well: {}", ended.stderr));
    }
    let standing = stage.rows(
        "SELECT cast(table_name AS varchar) FROM information_schema.tables \
         WHERE table_schema = 'public'",
    )?;
    for Case { table, refused, .. } in &CASES {
        let stands = standing.iter().any(|name| name == table);
        let is_told = told.stdout.contains(&format!("\"public.{table}\""))
            && told.stdout.contains(&format!("public.{table} "));
        let refused = refused(stage.end);
        if stands == refused {
            let what = if refused { "cannot be held, but stands" } else { "is not" };
            return Err(format!(
                "{table} {what} at the destination: {standing:?}\n{}",
                ended.stderr
            ));
        }
        if refused && !is_told {
            return Err(format!("`check` does not tell of {table}: {}", told.stdout));
        }
    }
    // Those that went on are followed.
    stage.sql("INSERT INTO keyed VALUES (2); INSERT INTO \"ÄÖ\" VALUES (2, 2)")?;
    stage.command("run", &["--once"]).run(LIMIT)?;
    stage.compare(&["public.keyed", "public.ÄÖ"])
}
