//! What could keep tables from being written, found without changing anything.

use std::collections::{HashMap, HashSet};

use rowtide_core::{DeleteMode, Finding, Mode, Result, Severity, TableName, TablePlan};

use super::{multiset, state};
use crate::ffi::Connection;
use crate::file;
use crate::options::DuckdbOptions;
use crate::quote::fold;
use crate::types::column_type;

/// Looks at the file, and at how `tables` would fit into it. Blocks.
pub(super) fn look(options: &DuckdbOptions, tables: &[TablePlan]) -> Vec<Finding> {
    let subject = format!("duckdb file {}", options.path.display());
    let mut findings = Vec::new();
    for plan in tables {
        findings.extend(look_at_columns(plan));
    }
    findings.extend(look_for_collisions(tables));
    match file::read(options, |connection| look_inside(connection, tables)) {
        Ok(Some(inside)) => {
            findings.push(Finding::new(Severity::Ok, subject, "the database opens"));
            findings.extend(inside);
        }
        Ok(None) => findings.push(look_at_directory(options, subject)),
        Err(error) => {
            let finding = Finding::new(Severity::Error, subject, error.chain());
            let fix = error.hint().map(str::to_owned);
            findings.push(Finding { fix, ..finding });
        }
    }
    findings
}

fn look_at_directory(options: &DuckdbOptions, subject: String) -> Finding {
    let parent = options.path.parent().filter(|parent| !parent.as_os_str().is_empty());
    match parent {
        Some(parent) if !parent.is_dir() => {
            Finding::new(Severity::Error, subject, "its directory does not exist")
                .with_fix(format!("mkdir -p '{}'", parent.display()))
        }
        _ => Finding::new(Severity::Ok, subject, "does not exist yet and will be created"),
    }
}

fn look_at_columns(plan: &TablePlan) -> Vec<Finding> {
    let subject = format!("table {}", plan.target);
    let mut findings = Vec::new();
    let mut problem = |message: String| {
        let finding = Finding::new(Severity::Error, subject.clone(), message);
        findings.push(finding.about(&plan.source.name));
    };
    let schema = plan.target_arrow();
    if schema.fields().is_empty() {
        problem("it has no columns; DuckDB has no such tables".to_owned());
    }
    let mut seen: HashMap<String, &str> = HashMap::new();
    for field in schema.fields() {
        if let Err(error) = column_type(field) {
            problem(error.message().to_owned());
        }
        if let Some(other) = seen.insert(fold(field.name()), field.name()) {
            problem(format!("columns {other:?} and {:?} have one name in DuckDB", field.name()));
        }
    }
    let soft = plan.mode == Mode::Merge && plan.delete == DeleteMode::Soft;
    if soft && plan.metadata.deleted.is_none() {
        problem("soft delete needs a metadata column for the mark (deleted)".to_owned());
    }
    if let Err(error) = multiset::check(plan) {
        problem(error.message().to_owned());
    }
    if fold(&plan.target.schema) == state::SCHEMA {
        problem("the schema _rowtide is Rowtide's own".to_owned());
    }
    findings
}

fn look_for_collisions(tables: &[TablePlan]) -> Vec<Finding> {
    let mut seen: HashMap<(String, String), &TablePlan> = HashMap::new();
    let mut findings = Vec::new();
    for plan in tables {
        let name = (fold(&plan.target.schema), fold(&plan.target.name));
        if let Some(other) = seen.insert(name, plan) {
            let message = format!(
                "{} and {} have one name in DuckDB, which does not tell case apart",
                other.target, plan.target
            );
            let finding = Finding::new(Severity::Error, format!("table {}", plan.target), message);
            findings.push(finding.about(&plan.source.name));
        }
    }
    findings
}

fn look_inside(connection: &Connection, tables: &[TablePlan]) -> Result<Vec<Finding>> {
    let names = |name: &TableName| (fold(&name.schema), fold(&name.name));
    let owners = state::owners(connection, None)?;
    let made = owners.iter().filter(|owner| owner.made.is_some());
    let owned: HashSet<_> = made.map(|owner| names(&owner.target)).collect();
    let standing = state::standing(connection)?;
    let standing: HashMap<_, _> = standing.iter().map(|name| (names(name), name)).collect();
    let mut findings = Vec::new();
    for plan in tables.iter().filter(|plan| !owned.contains(&names(&plan.target))) {
        if let Some(standing) = standing.get(&names(&plan.target)) {
            let subject = format!("table {}", plan.target);
            let message = format!("{standing} stands in the database and Rowtide did not make it");
            findings.push(
                Finding::new(Severity::Error, subject, message)
                    .about(&plan.source.name)
                    .with_fix("drop or rename that table, or give this one another target"),
            );
        }
    }
    Ok(findings)
}
