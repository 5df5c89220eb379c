//! From what is selected, configured and remembered to what this run does with each table.

mod refusal;

use std::collections::HashSet;
use std::sync::Arc;

use rowtide_core::{
    Awaits, Capabilities, Error, Fence, MetadataColumns, Mode, Phase, PipelineState, Result,
    TableName, TablePlan, TableSchema, TableState,
};

use crate::mend::can_mend;
use crate::{LostPosition, RunMode, SchemaPolicy, Settings};

pub(crate) use refusal::{clashes, refusals};

/// A table and what this run does with it.
#[derive(Debug, Clone)]
pub(crate) struct Planned {
    pub(crate) plan: TablePlan,
    pub(crate) action: Action,
}

/// What a run does with a table.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Action {
    /// Copies it, then follows it.
    Copy,
    /// Puts right what differs of it, then follows it.
    Mend,
    /// Copies it; it is not followed.
    Load,
    /// Follows it from the checkpoint, leaving out what its copy contains.
    Follow(Fence),
    /// Leaves it alone: it stopped, for this reason.
    Leave(String),
    /// Leaves it alone: it was loaded in this run.
    Keep,
    /// Leaves it alone: somebody decided so.
    Skip,
}

impl Planned {
    /// Whether the table is being copied before it is followed.
    pub(crate) fn is_copied(&self) -> bool {
        self.action == Action::Copy
    }

    /// Whether its changes are kept aside until its rows are those of a snapshot.
    pub(crate) fn is_prepared(&self) -> bool {
        matches!(self.action, Action::Copy | Action::Mend)
    }

    /// The log has a gap for this table, which was followed before.
    pub(crate) fn catch_up(&mut self, mode: RunMode) {
        let name = &self.plan.source.name;
        tracing::warn!(table = %name, "table was not followed for a while, so it is copied again");
        self.action = match mode {
            RunMode::Auto | RunMode::FullLoad => Action::Copy,
            RunMode::Cdc => Action::Leave(format!(
                "{name} was not followed for a while; copy it again with `rowtide run --resync \
                 '{name}'`"
            )),
        };
    }

    /// What the table's copy contains, if it is in place, by the table's identifier.
    pub(crate) fn fence(&self) -> Option<(u64, Fence)> {
        match &self.action {
            Action::Follow(fence) => Some((self.plan.source.id, fence.clone())),
            _ => None,
        }
    }

    /// Whether the stream must deliver this table.
    pub(crate) fn is_followed(&self) -> bool {
        matches!(self.action, Action::Copy | Action::Mend | Action::Follow(_))
    }

    /// What is remembered of the table in `phase`.
    pub(crate) fn state(&self, phase: Phase) -> TableState {
        self.plan.state(phase)
    }
}

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

fn action(
    plan: TablePlan,
    settings: &Settings,
    known: Option<&TableState>,
    copied: bool,
) -> Result<Planned, String> {
    let name = &plan.source.name;
    let copy = if plan.mode == Mode::Replace { Action::Load } else { Action::Copy };
    let wanted = plan.mode == Mode::Replace
        || settings.mode == RunMode::FullLoad
        || settings.resync.iter().any(|pattern| pattern.matches(name));
    let afresh = wanted && !copied;
    let Some(known) = known else {
        let follow = settings.mode == RunMode::Cdc && plan.mode != Mode::Replace;
        let action = if follow { Action::Follow(Fence::Nothing) } else { copy };
        return Ok(Planned { plan, action });
    };
    if afresh {
        return Ok(Planned { plan, action: copy });
    }
    match known.phase {
        Phase::Loaded if copied => Ok(Planned { plan, action: Action::Keep }),
        Phase::Pending | Phase::Copying if is_mended(&plan, known, settings) => {
            let plan = plan.with_source(Arc::new(known.schema.clone()));
            Ok(Planned { plan, action: Action::Mend })
        }
        Phase::Pending | Phase::Copying | Phase::Loaded => Ok(Planned { plan, action: copy }),
        Phase::Skipped => Ok(Planned { plan, action: Action::Skip }),
        Phase::Stopped if known.awaits == Some(Awaits::Table) => {
            Ok(came_again((plan, known), settings, copy))
        }
        Phase::Stopped => {
            let reason = known.reason.clone().unwrap_or_default();
            Ok(Planned { plan, action: Action::Leave(reason) })
        }
        Phase::Streaming if known.schema.id != plan.source.id => {
            Ok(came_again((plan, known), settings, copy))
        }
        Phase::Streaming => follow(&plan, known),
    }
}

/// Whether what differs of a table is still to be put right.
fn is_mended(plan: &TablePlan, known: &TableState, settings: &Settings) -> bool {
    known.awaits == Some(Awaits::Repair) && mends(settings) && can_mend(plan, known)
}

/// Whether tables may be put right when the position in the log is lost.
pub(crate) fn mends(settings: &Settings) -> bool {
    settings.on_position_lost == LostPosition::Repair && settings.mode == RunMode::Auto
}

/// What to do with a table that is at the source again: it is another one, or at least the log does
/// not have all of its changes.
fn came_again(
    (plan, known): (TablePlan, &TableState),
    settings: &Settings,
    copy: Action,
) -> Planned {
    let name = &plan.source.name;
    let what = match known.schema.id == plan.source.id {
        true => format!("{name} is at the source again"),
        false => format!("{name} was dropped and created again at the source"),
    };
    let apply = settings.schema_policy_of(name) == SchemaPolicy::Apply;
    let action = match apply && settings.mode == RunMode::Auto {
        true => {
            tracing::warn!(table = %name, "{what}, so it is copied again");
            copy
        }
        false => {
            Action::Leave(format!("{what}; copy it again with `rowtide run --resync '{name}'`"))
        }
    };
    Planned { plan, action }
}

/// Goes on with a table that was copied before, in the version the destination has.
fn follow(plan: &TablePlan, known: &TableState) -> Result<Planned, String> {
    let same = known.mode == plan.mode
        && known.delete == plan.delete
        && known.metadata == plan.metadata
        && known.target == plan.target;
    if !same {
        return Err(format!(
            "{} was copied with other settings (mode {:?}, delete {:?}, target {}); change them \
             back, or copy it again with `rowtide run --resync '{}'`",
            plan.source.name, known.mode, known.delete, known.target, plan.source.name
        ));
    }
    let fence = known.fence.clone().unwrap_or(Fence::Nothing);
    let plan = plan.with_source(Arc::new(known.schema.clone()));
    Ok(Planned { plan, action: Action::Follow(fence) })
}

#[cfg(test)]
mod tests {
    use arrow_schema::{DataType, Field};
    use rowtide_core::{Column, DeleteMode, Identity, Offset, TableSelection, ValuePolicy};

    use std::collections::BTreeMap;

    use super::*;
    use crate::TableRule;

    fn table(name: &str, columns: &[&str]) -> Arc<TableSchema> {
        let columns = columns.iter().zip(1..).map(|(name, number)| Column {
            field: Arc::new(Field::new(*name, DataType::Int32, true)),
            native_type: "int4".into(),
            number,
        });
        let name = TableName::new("public", name);
        Arc::new(TableSchema::new((7, name), 1, columns.collect(), vec![0], Identity::Key))
    }

    fn settings() -> Settings {
        Settings::new(TableSelection::parse(["public.*"]).unwrap())
    }

    fn rule(pattern: &str) -> TableRule {
        TableRule {
            pattern: pattern.parse().unwrap(),
            mode: None,
            delete: None,
            metadata: None,
            schema: None,
            target: None,
            unrepresentable: None,
            columns: BTreeMap::new(),
        }
    }

    fn remembered(phase: Phase) -> PipelineState {
        let plan = plan_of(&table("t", &["id"]), &settings());
        let mut state = plan.state(phase);
        state.fence = Some(Fence::Below(Offset(9)));
        PipelineState { tables: vec![state], ..PipelineState::default() }
    }

    const ANY: Capabilities =
        Capabilities { ignores_case: false, row_number: None, native_system: None };

    fn action_of(settings: &Settings, state: &PipelineState) -> Action {
        plan_tables(&[table("t", &["id"])], settings, (state, ANY), &[]).unwrap()[0].action.clone()
    }

    #[test]
    fn the_last_matching_rule_wins_field_by_field() {
        let mut settings = settings();
        settings.rules = vec![
            TableRule { mode: Some(Mode::Append), ..rule("public.*") },
            TableRule { mode: Some(Mode::Merge), ..rule("public.t") },
            TableRule { delete: Some(DeleteMode::Soft), ..rule("public.?") },
        ];
        let plan = plan_of(&table("t", &["id"]), &settings);
        assert_eq!((plan.mode, plan.delete), (Mode::Merge, DeleteMode::Soft));
        assert_eq!(plan.metadata, MetadataColumns::soft_delete());
        let other = plan_of(&table("other", &["id"]), &settings);
        assert_eq!(other.metadata, MetadataColumns::append());
    }

    #[test]
    fn a_table_goes_on_from_where_it_was() {
        let nothing = PipelineState::default();
        assert_eq!(action_of(&settings(), &nothing), Action::Copy);
        let cdc = Settings { mode: RunMode::Cdc, ..settings() };
        assert_eq!(action_of(&cdc, &nothing), Action::Follow(Fence::Nothing));
        let streaming = remembered(Phase::Streaming);
        assert_eq!(action_of(&settings(), &streaming), Action::Follow(Fence::Below(Offset(9))));
        assert_eq!(action_of(&settings(), &remembered(Phase::Copying)), Action::Copy);
        let resync = Settings { resync: vec!["public.t".parse().unwrap()], ..settings() };
        assert_eq!(action_of(&resync, &streaming), Action::Copy);
        let full = Settings { mode: RunMode::FullLoad, ..settings() };
        assert_eq!(action_of(&full, &streaming), Action::Copy);
    }

    #[test]
    fn what_was_copied_in_this_run_is_not_copied_again() {
        let done = [TableName::new("public", "t")];
        let action = |settings: &Settings, state: &PipelineState| {
            let tables = [table("t", &["id"])];
            plan_tables(&tables, settings, (state, ANY), &done).unwrap()[0].action.clone()
        };
        let resync = Settings { resync: vec!["public.t".parse().unwrap()], ..settings() };
        let full = Settings { mode: RunMode::FullLoad, ..settings() };
        for settings in [resync, full] {
            let streaming = action(&settings, &remembered(Phase::Streaming));
            assert_eq!(streaming, Action::Follow(Fence::Below(Offset(9))));
        }
        let mut replace = settings();
        replace.rules = vec![TableRule { mode: Some(Mode::Replace), ..rule("public.t") }];
        assert_eq!(action(&replace, &remembered(Phase::Loaded)), Action::Keep);
    }

    #[test]
    fn a_recreated_table_is_copied_again_unless_it_is_to_wait() {
        let mut state = remembered(Phase::Streaming);
        state.tables[0].schema.id = 8;
        assert_eq!(action_of(&settings(), &state), Action::Copy);
        let mut waits = settings();
        waits.rules = vec![TableRule { schema: Some(SchemaPolicy::Pause), ..rule("public.*") }];
        assert!(matches!(action_of(&waits, &state), Action::Leave(_)));
    }

    #[test]
    fn a_table_that_was_missed_is_copied_again_when_it_comes() {
        let mut state = remembered(Phase::Stopped);
        assert!(matches!(action_of(&settings(), &state), Action::Leave(_)));
        state.tables[0].awaits = Some(Awaits::Table);
        for id in [7, 8] {
            state.tables[0].schema.id = id;
            assert_eq!(action_of(&settings(), &state), Action::Copy);
            let cdc = Settings { mode: RunMode::Cdc, ..settings() };
            assert!(matches!(action_of(&cdc, &state), Action::Leave(_)));
            let mut waits = settings();
            waits.rules = vec![TableRule { schema: Some(SchemaPolicy::Pause), ..rule("public.*") }];
            assert!(matches!(action_of(&waits, &state), Action::Leave(_)));
        }
    }

    #[test]
    fn a_table_that_awaits_its_repair_is_repaired_while_that_is_asked_for_and_possible() {
        let repairs = Settings { on_position_lost: LostPosition::Repair, ..settings() };
        for phase in [Phase::Pending, Phase::Copying] {
            let mut state = remembered(phase);
            assert_eq!(action_of(&repairs, &state), Action::Copy);
            state.tables[0].awaits = Some(Awaits::Repair);
            assert_eq!(action_of(&repairs, &state), Action::Mend);
            assert_eq!(action_of(&settings(), &state), Action::Copy);
            state.tables[0].values.unresolved = 1;
            assert_eq!(action_of(&repairs, &state), Action::Copy);
            state.tables[0].values.unresolved = 0;
            state.tables[0].schema.columns.clear();
            assert_eq!(action_of(&repairs, &state), Action::Copy);
        }
    }

    #[test]
    fn every_contradiction_is_reported() {
        let mut settings = settings();
        settings.rules = vec![
            TableRule { mode: Some(Mode::Append), ..rule("public.t") },
            TableRule { target: Some(TableName::new("x", "y")), ..rule("public.*") },
        ];
        let tables = [table("t", &["id"]), table("u", &["id", "_rowtide_seq"])];
        settings.rules.push(TableRule { mode: Some(Mode::Append), ..rule("public.u") });
        let error =
            plan_tables(&tables, &settings, (&remembered(Phase::Streaming), ANY), &[]).unwrap_err();
        for part in ["both go to x.y", "other settings"] {
            assert!(error.message().contains(part), "{part}: {}", error.message());
        }
    }

    #[test]
    fn columns_that_a_rule_names_must_be_there_and_allow_it() {
        let mut settings = settings();
        let columns = [("id", ValuePolicy::Null), ("gone", ValuePolicy::Text)];
        let columns = columns.map(|(name, policy)| (name.to_owned(), policy));
        settings.rules = vec![
            TableRule { columns: columns.clone().into(), ..rule("public.t") },
            // Not every table that a pattern matches has all of them.
            TableRule { columns: columns.into(), ..rule("public.*") },
        ];
        let tables = [table("t", &["id"]), table("u", &["k"])];
        let known = PipelineState::default();
        let error = plan_tables(&tables, &settings, (&known, ANY), &[]).unwrap_err();
        let message = error.message();
        assert!(message.contains("public.t has no column gone"), "{message}");
        assert!(message.contains("column id of public.t belongs to the key"), "{message}");
        assert!(!message.contains("public.u"), "{message}");
        settings.rules[0].columns = [("id".to_owned(), ValuePolicy::Quarantine)].into();
        assert!(plan_tables(&tables, &settings, (&known, ANY), &[]).is_ok());
    }

    #[test]
    fn nothing_selected_is_an_error() {
        assert!(plan_tables(&[], &settings(), (&PipelineState::default(), ANY), &[]).is_err());
    }

    #[test]
    fn tables_that_the_destination_cannot_hold_are_left_and_the_others_go_on() {
        let tables = [
            table("t", &["id", "ID"]),
            table("u", &["id"]),
            table("U", &["id"]),
            table("ä", &["Ä", "ä"]),
            table("Ä", &["id"]),
        ];
        let insensitive = Capabilities { ignores_case: true, ..ANY };
        let left = |state: &PipelineState, capabilities: Capabilities| -> Vec<String> {
            let planned = plan_tables(&tables, &settings(), (state, capabilities), &[]).unwrap();
            let reason = |planned: &Planned| match &planned.action {
                Action::Leave(reason) => Some(reason.clone()),
                _ => None,
            };
            planned.iter().filter_map(reason).collect()
        };
        let new = PipelineState::default();
        let reasons = left(&new, insensitive);
        assert_eq!(reasons.len(), 3, "{reasons:?}");
        assert!(reasons[0].contains("columns named id and ID"), "{}", reasons[0]);
        assert!(reasons[1].contains("public.U") && reasons[2].contains("public.u"), "{reasons:?}");
        assert!(left(&new, ANY).is_empty());
        // The one that is there already stays.
        let plan = plan_of(&tables[2], &settings());
        let state = PipelineState {
            tables: vec![plan.state(Phase::Streaming)],
            ..PipelineState::default()
        };
        let reasons = left(&state, insensitive);
        assert_eq!(reasons.len(), 2, "{reasons:?}");
        assert!(reasons[1].starts_with("public.u "), "{}", reasons[1]);
        let alone = plan_tables(&tables[..1], &settings(), (&new, insensitive), &[]).unwrap_err();
        assert!(alone.message().contains("differ only in case"), "{}", alone.message());
    }

    #[test]
    fn a_column_that_hides_row_numbers_matters_to_tables_without_a_key() {
        let hiding = Capabilities { ignores_case: true, row_number: Some("rowid"), ..ANY };
        let keyed = plan_of(&table("t", &["ROWID"]), &settings());
        assert!(clashes(&keyed, hiding).is_empty());
        let columns = keyed.source.columns.clone();
        let name = keyed.source.name.clone();
        let keyless = TableSchema::new((7, name), 1, columns, vec![], Identity::FullRow);
        let keyless = plan_of(&Arc::new(keyless), &settings());
        assert_eq!(clashes(&keyless, hiding).len(), 1);
        assert!(clashes(&keyless, ANY).is_empty());
    }
}
