//! Whether the corpus and the reference tell of every type that the server has.

use std::collections::HashSet;

use rowtide_testkit::Result;

use super::corpus::{Case, NO_COLUMN};
use super::facts::Facts;
use super::report::Report;
use crate::stage::Stage;

/// The built-in types that a column may have, without arrays.
const TYPES: &str = "\
SELECT format_type(oid, NULL) || E'\\t' || typname FROM pg_type \
WHERE typnamespace = 'pg_catalog'::regnamespace AND typtype IN ('b', 'r', 'm', 'e', 'd') \
AND NOT EXISTS (SELECT 1 FROM pg_type e WHERE e.typarray = pg_type.oid)";

/// Adds a line to `report` for each built-in type that nothing was tried of.
pub(super) fn check(
    stage: &Stage,
    (cases, facts): (&[Case], &Facts),
    report: &mut Report,
) -> Result<()> {
    let bare = |name: &str| name.split('(').next().unwrap_or_default().to_owned();
    let tried: HashSet<String> =
        cases.iter().map(|case| without_modifier(&case.sql_type)).collect();
    let told: HashSet<String> = facts.names().map(without_modifier).collect();
    for line in stage.sql(TYPES)?.lines() {
        let (name, short) = line.split_once('\t').unwrap_or((line, line));
        if NO_COLUMN.iter().any(|(internal, _)| *internal == short) {
            continue;
        }
        for (what, names) in [("corpus", &tried), ("reference of types", &told)] {
            if !names.contains(name) && !names.contains(&bare(short)) {
                report.silent(format!("the {what} does not tell of the built-in type {name}"));
            }
        }
    }
    Ok(())
}

/// `time(3) without time zone` → `time without time zone`.
fn without_modifier(name: &str) -> String {
    match (name.split_once('('), name.split_once(')')) {
        (Some((before, _)), Some((_, after))) => format!("{before}{after}"),
        _ => name.to_owned(),
    }
}
