//! A value that its type there cannot hold stops its table and no other.

use rowtide_sandbox::Major;
use rowtide_testkit::Result;
use serde_json::Value;

use super::corpus::Case;
use super::facts::Facts;
use super::place::{Placed, place};
use super::report::Report;
use crate::stage::Stage;

/// A table that is to stop.
struct Doomed {
    table: String,
    value: String,
    sql_type: String,
    /// The value is there before the first run.
    copied: bool,
}

/// Each refused value of `cases` in tables of its own: one where the copy meets it, one where the
/// log does.
pub(super) fn check(
    stage: &Stage,
    (major, facts): (Major, &Facts),
    cases: &[Case],
    report: &mut Report,
) -> Result<()> {
    let (placed, _) = place(stage, (major, facts), cases, &|case, _| !case.large)?;
    let doomed: Vec<Doomed> = placed.iter().flat_map(|placed| doomed(stage, placed)).collect();
    let made: Vec<String> = doomed.iter().map(make).collect();
    for piece in made.chunks(40) {
        stage.sql(&piece.concat())?;
    }
    let first = stage.command("run", &["--once"]).run(crate::stage::LIMIT)?;
    for piece in doomed.chunks(40) {
        let late = piece.iter().filter(|doomed| !doomed.copied);
        stage.sql(&late.map(insert).collect::<String>())?;
    }
    stage.sql("INSERT INTO public.followed VALUES (2, 2)")?;
    let second = stage.command("run", &["--once"]).run(crate::stage::LIMIT)?;
    for (run, name) in [(&first, "first"), (&second, "second")] {
        let wanted = if doomed.is_empty() { 0 } else { STOPPED };
        if run.code() != wanted {
            report.silent(format!(
                "the {name} run with refused values ended with {}: {}",
                run.code(),
                run.stderr
            ));
        }
    }
    stage.compare(&["public.followed"])?;
    let of = format!("PostgreSQL {major} to {:?}", stage.end);
    let status = stage.command("status", &["--json"]).run(crate::stage::LIMIT)?.success()?;
    let status: Value = serde_json::from_str(&status.stdout).map_err(|e| format!("status: {e}"))?;
    let tables = status["destination"]["tables"].as_array().cloned().unwrap_or_default();
    for table in &tables {
        let (name, phase) = (word(table, "table"), word(table, "phase"));
        let reason = word(table, "reason");
        match doomed.iter().find(|doomed| name == format!("public.{}", doomed.table)) {
            Some(doomed) if phase != "stopped" || !reason.contains("column v") => {
                report.silent(format!(
                    "{of}: {} ({}) should have stopped {name}, which is {phase}: {reason}",
                    doomed.value, doomed.sql_type
                ));
            }
            Some(_) => report.stopped(1),
            None if phase != "streaming" => {
                report.silent(format!("{of}: {name} stopped with the others: {reason}"));
            }
            None => {}
        }
    }
    match tables.len() == doomed.len() + 1 {
        true => Ok(()),
        false => Err(format!(
            "{of}: {} tables, and the status tells of {}",
            doomed.len() + 1,
            tables.len()
        )),
    }
}

/// The exit code of a run that ends with tables stopped.
const STOPPED: i32 = 5;

fn word<'a>(table: &'a Value, key: &str) -> &'a str {
    table[key].as_str().unwrap_or_default()
}

fn doomed(stage: &Stage, placed: &Placed) -> Vec<Doomed> {
    let (_, refused) = placed.case.for_end(stage.end, &placed.fact.becomes);
    let both = |(at, value): (usize, &String)| {
        [true, false].map(|copied| Doomed {
            table: format!("{}_{at}_{}", if copied { "c" } else { "s" }, placed.case.name),
            value: value.clone(),
            sql_type: placed.case.sql_type.clone(),
            copied,
        })
    };
    refused.into_iter().enumerate().flat_map(both).collect()
}

fn make(doomed: &Doomed) -> String {
    let Doomed { table, sql_type, copied, .. } = doomed;
    let value = if *copied { insert(doomed) } else { String::new() };
    format!(
        "CREATE TABLE public.{table} (id int PRIMARY KEY, v {sql_type}); \
         INSERT INTO public.{table} VALUES (1, NULL); {value}"
    )
}

fn insert(doomed: &Doomed) -> String {
    let Doomed { table, value, sql_type, .. } = doomed;
    format!("INSERT INTO public.{table} VALUES (2, ({value})::{sql_type}); ")
}
