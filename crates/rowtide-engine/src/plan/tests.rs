use std::collections::BTreeMap;

use arrow_schema::{DataType, Field};
use rowtide_core::{
    Awaits, Column, DeleteMode, Fence, Identity, Offset, Phase, TableSelection, ValuePolicy,
};

use super::*;
use crate::command::PAUSED;
use crate::{LostPosition, RunMode, SchemaPolicy, TableRule};

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
fn one_that_takes_the_name_of_a_stopped_table_is_copied_unless_an_operator_paused_that() {
    let mut state = remembered(Phase::Stopped);
    state.tables[0].reason = Some("the destination refused a row".to_owned());
    let stopped = Action::Leave("the destination refused a row".to_owned());
    assert_eq!(action_of(&settings(), &state), stopped);
    state.tables[0].schema.id = 8;
    assert_eq!(action_of(&settings(), &state), Action::Copy);
    let cdc = Settings { mode: RunMode::Cdc, ..settings() };
    assert!(matches!(action_of(&cdc, &state), Action::Leave(_)));
    let mut waits = settings();
    waits.rules = vec![TableRule { schema: Some(SchemaPolicy::Pause), ..rule("public.*") }];
    assert!(matches!(action_of(&waits, &state), Action::Leave(_)));
    state.tables[0].reason = Some(PAUSED.to_owned());
    assert_eq!(action_of(&settings(), &state), Action::Leave(PAUSED.to_owned()));
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
    let state =
        PipelineState { tables: vec![plan.state(Phase::Streaming)], ..PipelineState::default() };
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
