//! From what is selected, configured and remembered to what this run does with each table.

mod action;
mod refusal;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::sync::Arc;

use rowtide_core::{
    Capabilities, Error, MetadataColumns, Mode, PipelineState, Result, TableName, TablePlan,
    TableSchema,
};

use crate::Settings;

use action::action;
pub(crate) use action::{Action, Planned, mends};
pub(crate) use refusal::{clashes, refusals};

/// Plans every discovered table; those in `done` were copied in this run already.
///
/// # Errors
/// `Config` listing everything that contradicts: no table, none that the destination can hold, two
/// that go to one target, a table that was made with other settings. A table that the destination
/// cannot hold is left alone while there are others.
pub(crate) fn plan_tables(
    discovered: &[Arc<TableSchema>],
    settings: &Settings,
    (state, capabilities): (&PipelineState, Capabilities),
    done: &[TableName],
) -> Result<Vec<Planned>> {
    if discovered.is_empty() {
        return Err(Error::config("no table at the source matches the selection")
            .with_hint("check tables.include and tables.exclude, and that the role can see them"));
    }
    let mut problems = Vec::new();
    let mut planned: Vec<Planned> = Vec::with_capacity(discovered.len());
    let plans: Vec<TablePlan> = discovered.iter().map(|table| plan_of(table, settings)).collect();
    let known = state.by_name();
    let done: HashSet<&TableName> = done.iter().collect();
    problems.extend(refusal::mistakes(&plans));
    let refused = refusals(&plans, &known, capabilities);
    for plan in plans {
        problems.extend(misnamed(&plan.source, settings));
        let name = plan.source.name.clone();
        let copied = done.contains(&name);
        match action(plan, settings, known.get(&name).copied(), copied) {
            Ok(mut decided) => {
                if let Some(reason) = refused.get(&name) {
                    tracing::error!(table = %name, reason, "table is left out");
                    decided.action = Action::Leave(reason.clone());
                }
                planned.push(decided);
            }
            Err(problem) => problems.push(problem),
        }
    }
    if refused.len() == planned.len() {
        problems.extend(refused.into_values());
    }
    if problems.is_empty() { Ok(planned) } else { Err(Error::config(problems.join("; "))) }
}

/// The configured treatment of `table`.
pub(crate) fn plan_of(table: &Arc<TableSchema>, settings: &Settings) -> TablePlan {
    let mode = settings.mode_of(&table.name);
    let mut delete = None;
    let mut metadata = None;
    let mut target = None;
    for rule in settings.rules_for(&table.name) {
        delete = rule.delete.or(delete);
        metadata = rule.metadata.clone().or(metadata);
        target = rule.target.clone().or(target);
    }
    let delete = delete.unwrap_or_default();
    let soft = mode == Mode::Merge && delete == rowtide_core::DeleteMode::Soft;
    let mut metadata = metadata.unwrap_or_else(|| match mode {
        Mode::Append => MetadataColumns::append(),
        Mode::Merge if soft => MetadataColumns::soft_delete(),
        Mode::Merge | Mode::Replace => MetadataColumns::default(),
    });
    if soft && metadata.deleted.is_none() {
        metadata.deleted = MetadataColumns::soft_delete().deleted;
    }
    if mode == Mode::Append && metadata.unchanged.is_none() {
        metadata.unchanged = MetadataColumns::append().unchanged;
    }
    TablePlan {
        source: Arc::clone(table),
        target: target.unwrap_or_else(|| table.name.clone()),
        mode,
        delete,
        metadata,
    }
}

/// What the rules for this one table say of columns that it does not have, or that belong to its
/// key and so can never be NULL.
fn misnamed(table: &TableSchema, settings: &Settings) -> Vec<String> {
    let name = &table.name;
    let mut problems = Vec::new();
    let own = settings.rules_for(name).filter(|rule| rule.pattern.exact().is_some());
    for (column, policy) in own.flat_map(|rule| &rule.columns) {
        match table.index_of(column) {
            None => problems.push(format!(
                "{name} has no column {column} that is replicated, and a [[table]] rule for it \
                 names one in `columns`"
            )),
            Some(at) if table.key.contains(&at) && policy.of_key() != *policy => {
                problems.push(format!(
                    "the column {column} of {name} belongs to the key: `columns` can say \"fail\" \
                     or \"quarantine\" of it"
                ));
            }
            Some(_) => {}
        }
    }
    problems
}
