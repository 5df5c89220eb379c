//! Tables that the destination cannot hold beside each other, or at all, because of their names.
//!
//! They are found before anything of them is touched, and left alone; the others go on.

use std::collections::{BTreeMap, HashMap};

use rowtide_core::{Capabilities, Mode, TableName, TablePlan, TableState};

/// Tables that are configured to go to one target: a mistake, whatever the destination.
pub(super) fn mistakes(plans: &[TablePlan]) -> Vec<String> {
    let mut seen: HashMap<&TableName, &TableName> = HashMap::new();
    let both = |plan: &TablePlan, other: &TableName| {
        format!("{other} and {} both go to {}", plan.source.name, plan.target)
    };
    let again = plans.iter().filter_map(|plan| {
        seen.insert(&plan.target, &plan.source.name).map(|other| both(plan, other))
    });
    again.collect()
}

/// The tables that the destination cannot hold, with why. Of two that have one name there, the one
/// that is known already keeps it; of two new ones neither gets it.
pub(crate) fn refusals(
    plans: &[TablePlan],
    known: &HashMap<&TableName, &TableState>,
    capabilities: Capabilities,
) -> BTreeMap<TableName, String> {
    let mut refused = BTreeMap::new();
    let mut targets: HashMap<(String, String), Vec<&TablePlan>> = HashMap::new();
    for plan in plans {
        let folded = |name: &str| fold_name(name, capabilities);
        let target = (folded(&plan.target.schema), folded(&plan.target.name));
        targets.entry(target).or_default().push(plan);
        if let Some(problem) = clashes(plan, capabilities).pop() {
            refused.insert(plan.source.name.clone(), problem);
        }
    }
    for contested in targets.values().filter(|plans| plans.len() > 1) {
        let has_it = |plan: &&&TablePlan| known.contains_key(&plan.source.name);
        let owner = contested.iter().find(has_it);
        for plan in contested.iter().filter(|plan| owner.is_none_or(|owner| !same(owner, plan))) {
            let other = owner.or_else(|| contested.iter().find(|other| !same(other, plan)));
            let Some(other) = other else { continue };
            let (name, target) = (&plan.source.name, &plan.target);
            let why = format!(
                "{name} goes to {target}, which the destination takes for {}, where {} goes; give \
                 one of them another target",
                other.target, other.source.name
            );
            refused.entry(name.clone()).or_insert(why);
        }
    }
    refused
}

fn same(one: &TablePlan, other: &TablePlan) -> bool {
    one.source.name == other.source.name
}

/// What makes a name another one there.
fn fold_name(name: &str, capabilities: Capabilities) -> String {
    if capabilities.ignores_case { name.to_ascii_lowercase() } else { name.to_owned() }
}

/// Column names that could not stand beside each other in the destination, or hide what it needs.
pub(crate) fn clashes(plan: &TablePlan, capabilities: Capabilities) -> Vec<String> {
    let folded = |name: &str| fold_name(name, capabilities);
    let name = &plan.source.name;
    let mut seen: HashMap<String, &str> = HashMap::new();
    let mut problems = Vec::new();
    for column in &plan.source.columns {
        if let Some(other) = seen.insert(folded(column.name()), column.name()) {
            let column = column.name();
            problems.push(format!(
                "{name} has columns named {other} and {column}, which differ only in case; rename \
                 one of them at the source"
            ));
        }
    }
    for field in plan.metadata.fields() {
        if seen.contains_key(&folded(field.name())) {
            problems.push(format!(
                "{name} has a column named {} like a metadata column; map the metadata column to \
                 another name",
                field.name()
            ));
        }
    }
    let merged = plan.mode == Mode::Merge && !plan.source.is_keyed();
    let hiding = capabilities.row_number.filter(|_| merged);
    if let Some(column) = hiding.filter(|hiding| seen.contains_key(&folded(hiding))) {
        problems.push(format!(
            "{name} has a column called {column} and no key, which the destination cannot merge; \
             give the table a key, leave the column out, or use mode append"
        ));
    }
    problems
}
