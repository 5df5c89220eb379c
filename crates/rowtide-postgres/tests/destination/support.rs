//! One server per version, one database per scenario; plans and rows to write.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow_schema::{DataType, Field};
use rowtide_core::traits::{Progress, Writer};
use rowtide_core::{
    Checkpoint, Column, DeleteMode, Destination, Identity, MetadataColumns, Mode, Offset, Phase,
    Result, TableName, TablePlan, TableSchema, TableState,
};
use rowtide_postgres::{PostgresDestination, PostgresDestinationOptions};
use rowtide_sandbox::testing::start_or_skip;
use rowtide_sandbox::{Major, PostgresServer, ServerOptions};

/// How long any condition may take on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Failpoints are of the whole process, so one version is tested after the other.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extent {
    Everything,
    TheWayThrough,
}

/// A database for one scenario.
pub(crate) struct Db<'a> {
    pub(crate) server: &'a PostgresServer,
    pub(crate) name: String,
}

impl Db<'_> {
    pub(crate) fn sql(&self, sql: &str) -> String {
        self.server.psql(&self.name, sql).unwrap()
    }

    pub(crate) fn options(&self) -> PostgresDestinationOptions {
        PostgresDestinationOptions::from_url(&self.server.url(&self.name), &|_| None).unwrap()
    }

    pub(crate) fn destination(&self) -> PostgresDestination {
        PostgresDestination::new(self.options())
    }

    /// The pipeline's name; replication origins are of the whole server.
    pub(crate) fn pipeline(&self) -> &str {
        &self.name
    }

    /// A writer, and the target of `plan` made, empty.
    pub(crate) async fn begin(&self, plan: &TablePlan) -> Box<dyn Writer> {
        let mut writer = self.destination().open(self.pipeline()).await.unwrap();
        writer.promote(plan).await.unwrap();
        writer.remember(&plan.state(Phase::Streaming)).await.unwrap();
        writer.commit(Progress::default()).await.unwrap();
        writer
    }

    pub(crate) async fn wait_until(&self, what: &str, query: &str, wanted: &str) {
        let deadline = Instant::now() + PATIENCE;
        while self.sql(query) != wanted {
            assert!(Instant::now() < deadline, "waited too long for {what}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// Fails instead of hanging.
pub(crate) async fn in_time<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("waited too long for {what}"),
    }
}

pub(crate) fn schema((id, name): (u64, &str), fields: Vec<Field>, key: Vec<usize>) -> TableSchema {
    let column = |(number, field): (i32, Field)| Column {
        field: Arc::new(field),
        native_type: "test".to_owned(),
        number,
    };
    let columns = (1..).zip(fields).map(column).collect();
    let identity = if key.is_empty() { Identity::FullRow } else { Identity::Key };
    TableSchema::new((id, TableName::new("public", name)), 1, columns, key, identity)
}

pub(crate) fn plan(source: TableSchema) -> TablePlan {
    TablePlan {
        target: source.name.clone(),
        source: Arc::new(source),
        mode: Mode::Merge,
        delete: DeleteMode::Hard,
        metadata: MetadataColumns::default(),
    }
}

pub(crate) fn item_fields() -> Vec<Field> {
    vec![
        Field::new("id", DataType::Int64, true),
        Field::new("name", DataType::Utf8, true),
        Field::new("note", DataType::Utf8, true),
    ]
}

/// A keyed table `items (id, name, note)`.
pub(crate) fn items() -> TablePlan {
    plan(schema((7, "items"), item_fields(), vec![0]))
}

/// The same with soft deletes and all metadata.
pub(crate) fn soft_items() -> TablePlan {
    TablePlan { delete: DeleteMode::Soft, metadata: MetadataColumns::merge(), ..items() }
}

pub(crate) type Item<'a> = (i64, Option<&'a str>, Option<&'a str>);

pub(crate) fn item_rows(plan: &TablePlan, items: &[Item<'_>]) -> RecordBatch {
    rows_of(plan, items, "update")
}

pub(crate) fn rows_of(plan: &TablePlan, items: &[Item<'_>], op: &str) -> RecordBatch {
    let columns: Vec<ArrayRef> = vec![
        Arc::new(items.iter().map(|item| Some(item.0)).collect::<Int64Array>()),
        Arc::new(items.iter().map(|item| item.1).collect::<StringArray>()),
        Arc::new(items.iter().map(|item| item.2).collect::<StringArray>()),
    ];
    with_metadata(plan, columns, op)
}

/// `columns` and the metadata columns of `plan` as a batch.
pub(crate) fn with_metadata(plan: &TablePlan, columns: Vec<ArrayRef>, op: &str) -> RecordBatch {
    use arrow_array::{BooleanArray, TimestampMicrosecondArray};
    let rows = columns[0].len();
    let mut columns = columns;
    for field in plan.metadata.fields() {
        columns.push(match field.data_type() {
            DataType::Utf8 => Arc::new(StringArray::from(vec![op; rows])),
            DataType::Boolean => Arc::new(BooleanArray::from(vec![op == "delete"; rows])),
            DataType::Int64 => Arc::new(Int64Array::from(vec![77; rows])),
            DataType::Timestamp(..) => {
                Arc::new(TimestampMicrosecondArray::from(vec![1; rows]).with_timezone("UTC"))
            }
            other => arrow_array::new_null_array(other, rows),
        });
    }
    RecordBatch::try_new(plan.target_arrow(), columns).unwrap()
}

pub(crate) fn state_of(plan: &TablePlan, phase: Phase) -> TableState {
    plan.state(phase)
}

pub(crate) fn checkpoint(position: u64) -> Checkpoint {
    Checkpoint::single("slot".into(), Offset(position))
}

pub(crate) async fn commit_at(writer: &mut Box<dyn Writer>, position: u64) -> Result<()> {
    let checkpoint = checkpoint(position);
    let progress = Progress { checkpoint: Some(&checkpoint), ..Progress::default() };
    writer.commit(progress).await
}

/// Whether a scenario runs: all do, unless `ROWTIDE_SCENARIO` holds a part of the names of some.
fn wanted(name: &str) -> bool {
    std::env::var("ROWTIDE_SCENARIO").map_or(true, |part| name.contains(&part))
}

macro_rules! scenarios {
    ($server:ident, $failed:ident; $($module:ident::$name:ident),* $(,)?) => {
        $(if wanted(concat!(stringify!($module), "::", stringify!($name))) {
            eprintln!("{}: {}", $server.major(), stringify!($name));
            let db = Db { server: &$server, name: stringify!($name).to_owned() };
            $server.psql("postgres", &format!("create database {}", db.name)).unwrap();
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2).enable_all().build().unwrap();
            let scenario = || runtime.block_on(crate::$module::$name(&db));
            if catch_unwind(AssertUnwindSafe(scenario)).is_err() {
                $failed.push(stringify!($name));
            }
        })*
    };
}

/// What a server is told to do by default must not weaken what is promised.
fn options(major: Major) -> ServerOptions {
    ServerOptions::for_major(major)
        .with_setting("max_connections", "100")
        .with_setting("synchronous_commit", "off")
        .with_setting("max_replication_slots", "80")
        .with_setting("wal_writer_delay", "10s")
        .with_setting("default_transaction_isolation", "serializable")
        .with_setting("default_transaction_read_only", "off")
}

/// Runs scenarios on one server.
pub(crate) fn run(major: Major, extent: Extent) {
    let _one = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(server) = start_or_skip(&options(major)) else { return };
    let mut failed: Vec<&str> = Vec::new();
    scenarios! { server, failed;
        load::a_copy_is_put_in_place_and_followed,
        merge::rows_are_inserted_changed_moved_and_removed,
        multiset::equal_rows_go_one_by_one,
        view::a_view_is_of_its_checkpoint,
        view::what_stands_is_told_from_history,
        view::truncates_and_copies_make_history_void,
        writers::a_newer_writer_ends_the_older_even_inside_an_epoch,
    }
    if extent == Extent::TheWayThrough {
        assert!(failed.is_empty(), "{major}: {failed:?}");
        return;
    }
    scenarios! { server, failed;
        writers::what_is_stored_is_read_again,
        writers::a_writer_that_sleeps_while_becoming_one_is_passed,
        writers::commits_wait_for_the_disk_whatever_the_server_says,
        writers::what_is_written_bears_an_origin,
        writers::teardown_removes_what_was_made_and_nothing_else,
        writers::state_of_an_older_version_is_taken_over,
        lost::answers_to_commits_are_looked_for,
        merge::unique_values_change_places,
        merge::long_values_that_were_not_repeated_stay_where_they_are,
        merge::values_that_were_not_repeated_come_from_the_base,
        merge::a_lost_base_stops_the_table,
        merge::soft_deletes_mark_and_removals_win,
        merge::keys_of_any_type_are_matched,
        merge::a_large_epoch_is_no_loop,
        merge::tables_are_emptied,
        merge::constraints_of_users_are_named_and_rows_are_not,
        merge::a_narrowed_column_is_noticed,
        multiset::values_without_equality_are_compared,
        multiset::soft_deletes_mark_one_of_the_equals,
        wide::wide_rows_are_completed,
        wide::wide_rows_without_a_key_are_removed,
        schema::columns_come_with_their_value_and_go,
        schema::columns_get_other_names,
        schema::what_users_hang_on_a_column_is_not_dropped,
        schema::a_table_that_is_being_read_is_waited_for,
        load::leftovers_of_older_runs_are_dropped,
        load::foreign_tables_are_refused,
        load::sessions_go_from_one_load_to_the_next,
        load::a_copy_is_known_to_the_planner,
        promote::a_second_copy_keeps_what_users_added,
        promote::a_second_copy_may_have_other_columns,
        promote::history_is_added_to,
        names::hostile_names_are_names,
        view::what_was_changed_by_hand_is_told,
        view::rows_marked_deleted_do_not_stand,
        view::history_without_a_key_is_a_multiset,
        view::a_long_history_is_read_in_parts,
        view::types_of_other_systems_are_looked_at,
        preflight::findings_name_the_fix,
        preflight::many_tables_take_as_many_questions_as_one,
    }
    #[cfg(feature = "fault-injection")]
    scenarios! { server, failed;
        faults::a_failure_at_every_point_leaves_nothing_half_done,
        faults::an_answer_that_is_lost_after_the_commit_is_found,
    }
    assert!(failed.is_empty(), "{major}: {failed:?}");
}
