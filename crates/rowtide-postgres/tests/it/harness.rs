//! One server per major version, one database per scenario.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rowtide_core::traits::{AttachRequest, Attached};
use rowtide_core::{Checkpoint, Mode, Result, Source, SourceIdentity, TableSchema, TableSelection};
use rowtide_postgres::{PostgresOptions, PostgresSource};
use rowtide_sandbox::testing::start_or_skip;
use rowtide_sandbox::{Major, PostgresServer, ServerOptions};

/// How long any condition may take on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A database for one scenario.
pub(crate) struct Db<'a> {
    pub(crate) server: &'a PostgresServer,
    pub(crate) name: String,
}

impl Db<'_> {
    pub(crate) fn sql(&self, sql: &str) -> String {
        self.server.psql(&self.name, sql).unwrap()
    }

    pub(crate) fn url(&self) -> String {
        self.server.url(&self.name)
    }

    /// The source of the pipeline `pipeline`; names are unique over the server's databases.
    pub(crate) fn source(&self, pipeline: &str) -> PostgresSource {
        self.source_with(pipeline, |_| {})
    }

    pub(crate) fn source_with(
        &self,
        pipeline: &str,
        change: impl FnOnce(&mut PostgresOptions),
    ) -> PostgresSource {
        let mut options = PostgresOptions::from_url(&self.url(), &|_| None).unwrap();
        change(&mut options);
        PostgresSource::new(options, &self.pipeline(pipeline))
    }

    pub(crate) fn pipeline(&self, pipeline: &str) -> String {
        format!("{}_{pipeline}", self.name)
    }

    pub(crate) fn slot(&self, pipeline: &str) -> String {
        format!("rowtide_{}", self.pipeline(pipeline))
    }
}

/// The tables that `patterns` select.
pub(crate) async fn discover(source: &PostgresSource, patterns: &[&str]) -> Vec<Arc<TableSchema>> {
    let selection = TableSelection::parse(patterns.iter().copied()).unwrap();
    source.discover(&selection).await.unwrap()
}

/// Attaches for the first time.
pub(crate) async fn attach(source: &PostgresSource, tables: &[Arc<TableSchema>]) -> Attached {
    attach_as(source, tables, None).await.unwrap()
}

/// Attaches with what is known.
pub(crate) async fn attach_as(
    source: &PostgresSource,
    tables: &[Arc<TableSchema>],
    known: Option<(&SourceIdentity, Option<&Checkpoint>)>,
) -> Result<Attached> {
    let tables: Vec<_> = tables.iter().map(|table| (Arc::clone(table), mode_of(table))).collect();
    source.attach(AttachRequest { tables: &tables, known }).await
}

pub(crate) fn mode_of(table: &TableSchema) -> Mode {
    match table.identity {
        rowtide_core::Identity::None => Mode::Append,
        _ => Mode::Merge,
    }
}

/// Waits for a condition that is looked up by SQL.
pub(crate) async fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "waited too long for {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Fails instead of hanging.
pub(crate) async fn in_time<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("waited too long for {what}"),
    }
}

/// Whether a scenario runs: all do, unless `ROWTIDE_SCENARIO` holds a part of the names of some.
fn wanted(name: &str) -> bool {
    std::env::var("ROWTIDE_SCENARIO").map_or(true, |part| name.contains(&part))
}

macro_rules! scenarios {
    ($db:ident; $($module:ident::$name:ident),* $(,)?) => {
        $(if wanted(concat!(stringify!($module), "::", stringify!($name))) {
            eprintln!("{}: {}", $db.server.major(), stringify!($name));
            let db = Db { server: $db.server, name: stringify!($name).to_owned() };
            db.server.psql("postgres", &format!("create database {}", db.name)).unwrap();
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2).enable_all().build().unwrap();
            runtime.block_on(crate::$module::$name(&db));
        })*
    };
}

/// Runs every scenario on one server.
pub(crate) fn run_all(major: Major) {
    let options = ServerOptions::for_major(major)
        .with_setting("max_replication_slots", "60")
        .with_setting("max_wal_senders", "60")
        .with_setting("max_connections", "200")
        .with_setting("max_prepared_transactions", "10")
        .with_setting("wal_sender_timeout", "6s");
    let Some(server) = start_or_skip(&options) else { return };
    // What roles and databases say must not reach the values.
    let hostile = "alter role postgres set datestyle = 'German'; \
        alter role postgres set bytea_output = 'escape'; \
        alter role postgres set intervalstyle = 'iso_8601'; \
        alter role postgres set timezone = 'Asia/Kolkata'; \
        alter role postgres set extra_float_digits = -5; \
        alter role postgres set statement_timeout = '20s'";
    server.psql("postgres", hostile).unwrap();
    let db = Db { server: &server, name: String::new() };
    every_scenario(&db);
    look_at_tables(&db);
    drop(server);
    crate::secure::tls_and_scram(major);
    crate::preflight::a_server_that_cannot(major);
}

fn every_scenario(db: &Db<'_>) {
    scenarios! { db;
        types::copy_and_stream_agree_in_both_forms,
        types::values_that_do_not_fit_follow_the_policy,
        types::a_key_is_never_null,
        generated::any_value_is_the_same_however_it_comes,
        snapshot::a_busy_table_arrives_whole_and_once,
        snapshot::a_copy_refuses_what_would_be_wrong,
        snapshot::partitioned_tables_are_read_through_their_root,
        snapshot::parts_decide_how_rows_are_identified,
        changes::keys_that_move_and_values_that_are_not_repeated,
        changes::full_rows_without_a_key,
        changes::truncates_come_in_order,
        changes::a_large_transaction_comes_in_pieces,
        changes::an_idle_log_moves_on,
        changes::ordinals_do_not_depend_on_what_is_followed,
        changes::odd_names_survive,
        schema::columns_are_added_and_dropped_midway,
        schema::what_cannot_be_followed_stops_the_table,
        schema::changes_made_while_away_are_seen,
        schema::what_looks_the_same_stops_the_table,
        schema::log_older_than_a_copy_is_left_out,
        schema::log_older_than_a_copy_in_place_is_left_out,
        schema::a_text_column_added_to_a_binary_stream,
        streamed::a_storm_of_savepoints_is_the_same_either_way,
        streamed::long_transactions_survive_a_restart,
        streamed::a_huge_transaction_comes_in_pieces,
        streamed::layouts_of_what_is_rolled_back_go_with_it,
        streamed::truncates_cascade_in_order_with_rows,
        streamed::prepared_ones_come_when_they_are_committed,
        streamed::messages_between_rows_disturb_nothing,
        streamed::the_protocol_may_change_at_any_restart,
        streamed::a_version_that_cannot_says_so,
        liveness::neither_slowness_nor_silence_ends_a_stream,
        liveness::a_frozen_server_is_noticed,
        liveness::a_heartbeat_moves_a_quiet_log,
        identity::what_was_made_is_found_again,
        identity::tampering_is_a_lost_position,
        identity::leftovers_are_made_anew,
        identity::tables_come_and_go,
        identity::a_given_publication_is_left_alone,
        identity::a_second_reader_is_told_to_wait,
        identity::a_slot_that_has_to_wait_names_who_it_waits_for,
        identity::a_table_that_was_away_is_copied_again,
        identity::a_locked_table_names_who_holds_it,
        identity::a_publication_that_vanishes_ends_the_stream,
        identity::an_alteration_taken_back_is_a_lost_position,
        identity::only_the_same_log_is_gone_on_with,
        identity::a_gap_in_a_publication_ends_the_stream,
        preflight::findings_name_the_fix,
        preflight::what_version_14_needs_for_partitions_is_told,
        preflight::tables_without_identity_are_refused_before_anything_is_made,
        secure::wrong_credentials_are_access_errors,
    }
}

fn look_at_tables(db: &Db<'_>) {
    scenarios! { db;
        generated::the_server_makes_the_canonical_form,
        view::a_view_does_not_see_what_comes_later,
        view::what_was_open_at_a_mark_is_new,
        view::rows_are_found_by_key_and_by_bucket,
        view::what_would_lie_is_refused,
        view::policies_and_conditions_are_applied,
        view::partitions_are_looked_at_through_their_root,
    }
}
