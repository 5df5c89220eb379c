//! What every destination must do.

pub mod atomicity;
pub mod copies;
pub mod faults;
pub mod fencing;
pub mod keyed;
pub mod keyless;
pub mod ledger;
pub mod metadata;
pub mod names;
pub mod once;
pub mod ownership;
pub mod progress;
pub mod schema;
pub mod sizes;

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use rowtide_core::traits::{Progress, Writer};
use rowtide_core::{DeleteMode, Destination, MetadataColumns, Phase, PipelineState, TableName};

use super::batches;
use super::model::{Kind, Log, Table};
use super::oracle::{self, TextRow};

/// The pipeline of every case.
pub const PIPELINE: &str = "shop";

/// A store of its own for one case, and how to look into it. Dropping it removes the store.
#[async_trait]
pub trait DestinationSubject: Send + Sync {
    /// A new handle to the same store, as another process would make it.
    fn destination(&self) -> Arc<dyn Destination>;

    /// What stands in `columns` of `table` as of the last commit, each value as the text that
    /// [`Kind`] tells; `None` if there is no such table. Read by the system's own SQL, not by the
    /// connector's code.
    async fn rows(&self, table: &TableName, columns: &[(String, Kind)]) -> Option<Vec<TextRow>>;

    /// The names of everything that stands in the store: schemas, tables, and what else a
    /// connector could leave behind.
    async fn inventory(&self) -> BTreeSet<String>;

    /// Makes, as its owner would, a table with the one column `precious` and one row, 1.
    async fn make_foreign(&self, table: &TableName);

    /// How many columns a table may have at most, metadata columns included.
    fn most_columns(&self) -> usize;

    /// Whether the system itself lets only one process write. Then an older writer is one that
    /// this process is about to drop, and a newer one may be told to try again until it has.
    fn one_process_writes(&self) -> bool {
        false
    }

    /// From now on handles are to use as little memory as an operator may grant them.
    fn be_frugal(&self) {}
}

/// A case under way.
pub struct Case {
    /// The store.
    pub subject: Box<dyn DestinationSubject>,
}

impl Case {
    /// Begins a case.
    pub fn new(subject: impl DestinationSubject + 'static) -> Self {
        Self { subject: Box::new(subject) }
    }

    /// A new handle to the store.
    pub fn destination(&self) -> Arc<dyn Destination> {
        self.subject.destination()
    }

    /// Becomes the writer.
    pub async fn open(&self) -> Box<dyn Writer> {
        self.destination().open(PIPELINE).await.unwrap()
    }

    /// Becomes the writer, with `tables` made, empty, and committed.
    pub async fn prepare(&self, tables: &[&Table]) -> Box<dyn Writer> {
        let mut writer = self.open().await;
        for table in tables {
            writer.promote(&table.plan).await.unwrap();
            writer.remember(&table.plan.state(Phase::Streaming)).await.unwrap();
        }
        let first = Log::checkpoint(0);
        let fresh = writer.state().await.unwrap().checkpoint.is_none();
        let checkpoint = fresh.then_some(&first);
        writer.commit(Progress { checkpoint, ..Progress::default() }).await.unwrap();
        writer
    }

    /// What is stored, as another process sees it.
    pub async fn peek(&self) -> PipelineState {
        self.destination().peek(PIPELINE).await.unwrap().expect("the pipeline is known")
    }

    /// The live rows of `table`'s source columns, sorted; `None` without the table.
    pub async fn live(&self, table: &Table) -> Option<Vec<TextRow>> {
        let mut columns = source_columns(table);
        let deleted = table.plan.metadata.deleted.clone();
        let soft = table.plan.delete == DeleteMode::Soft;
        columns.extend(deleted.filter(|_| soft).map(|name| (name, Kind::Boolean)));
        let mut rows = self.subject.rows(table.target(), &columns).await?;
        if soft {
            rows.retain(|row| row.last() == Some(&Some("false".to_owned())));
            rows.iter_mut().for_each(|row| drop(row.pop()));
        }
        rows.sort();
        Some(rows)
    }

    /// The events of an append table as [`oracle::history`] tells them.
    pub async fn history(&self, table: &Table) -> Vec<TextRow> {
        let metadata = MetadataColumns::append();
        let mut columns = vec![
            (metadata.position.unwrap(), Kind::Integer),
            (metadata.seq.unwrap(), Kind::Integer),
            (metadata.op.unwrap(), Kind::Text),
        ];
        columns.extend(source_columns(table));
        columns.push((metadata.unchanged.unwrap(), Kind::Texts));
        let rows = self.subject.rows(table.target(), &columns).await;
        let mut rows = rows.expect("the append table stands");
        rows.sort();
        rows
    }

    /// Fails unless the store holds exactly what the first `transactions` of `log` say.
    pub async fn check(&self, tables: &[&Table], log: &Log, transactions: usize) {
        for table in tables {
            let log = log.first(transactions);
            let target = table.target();
            let (standing, expected) = match table.plan.mode {
                rowtide_core::Mode::Append => {
                    (self.history(table).await, oracle::history(log, target))
                }
                _ => {
                    let standing = self.live(table).await;
                    (standing.expect("the table stands"), oracle::live(log, target))
                }
            };
            assert_rows(&format!("{target} after {transactions}"), &standing, &expected);
        }
    }
}

/// The source columns of a table, to be read back.
pub fn source_columns(table: &Table) -> Vec<(String, Kind)> {
    let columns = table.plan.source.columns.iter();
    columns.map(|c| (c.name().to_owned(), Kind::of(c.field.data_type()))).collect()
}

/// Compares without showing more than a person can read.
pub fn assert_rows(what: &str, standing: &[TextRow], expected: &[TextRow]) {
    if standing == expected {
        return;
    }
    let (standing, expected) = (oracle::counts(standing), oracle::counts(expected));
    let more = |a: &std::collections::BTreeMap<&TextRow, usize>,
                b: &std::collections::BTreeMap<&TextRow, usize>| {
        let more = a.iter().filter(|(row, count)| b.get(*row) < Some(*count));
        let rows: Vec<String> = more.take(5).map(|(row, n)| format!("{n} × {row:.60?}")).collect();
        rows.join("\n  ")
    };
    panic!(
        "{what}:\n only there:\n  {}\n missing:\n  {}",
        more(&standing, &expected),
        more(&expected, &standing)
    );
}

/// Commits with the checkpoint behind the first `transactions`.
pub async fn commit(writer: &mut Box<dyn Writer>, transactions: usize) -> rowtide_core::Result<()> {
    let checkpoint = Log::checkpoint(transactions);
    let progress = Progress { checkpoint: Some(&checkpoint), ..Progress::default() };
    writer.commit(progress).await
}

/// Applies transactions `from..to` of `log` as one epoch, folded as one piece.
pub async fn epoch(
    writer: &mut Box<dyn Writer>,
    log: &Log,
    (from, to): (usize, usize),
) -> rowtide_core::Result<()> {
    batches::apply(writer.as_mut(), &log.transactions[from..to]).await?;
    commit(writer, to).await
}

/// Applies everything of `log` that `writer` does not have yet.
pub async fn catch_up(writer: &mut Box<dyn Writer>, log: &Log) {
    let stored = writer.state().await.unwrap().checkpoint.unwrap_or_default();
    epoch(writer, log, (log.applied(&stored), log.len())).await.unwrap();
}

/// One test per case for the destination whose subjects `$start` starts (`fn() -> Option<S>`,
/// with `None` for a visible skip).
#[macro_export]
macro_rules! destination_conformance {
    ($start:expr) => {
        $crate::conformance_cases! { destination, $start,
            together: atomicity::{
                an_epoch_appears_at_once,
                a_dropped_writer_leaves_nothing,
                a_transaction_begun_anew_is_applied_once,
                an_empty_epoch_moves_the_checkpoint,
            };
            together: progress::{
                a_checkpoint_never_goes_back,
                identity_and_error_are_kept,
                peeking_disturbs_nobody,
                pipelines_do_not_disturb_each_other,
            };
            together: fencing::{
                an_older_writer_with_an_open_epoch_is_fenced,
                an_older_writer_that_commits_first_is_fenced,
                an_older_writer_that_begins_late_is_fenced,
                an_older_writers_epoch_holds_no_rows,
                a_torn_down_pipeline_cannot_commit,
            };
            together: keyed::{
                several_changes_of_one_key_in_an_epoch,
                keys_are_swapped_through_a_third,
                a_moved_row_takes_along_what_was_not_repeated,
                null_is_not_unchanged,
                a_missing_base_row_is_an_error,
                composite_keys_are_compared_exactly,
                random_changes_of_keyed_rows,
            };
            together: keyless::{
                equal_rows_are_counted,
                removing_a_missing_row_is_an_error,
                soft_removal_marks_one_row_for_one,
                random_changes_of_a_multiset,
            };
            together: metadata::{
                soft_delete_marks_and_keeps_the_values,
                a_deleted_row_comes_back,
                a_moved_row_is_marked_under_its_old_key,
                truncate_among_rows,
                truncate_marks_soft_deleted_rows,
                metadata_columns_tell_the_change,
                append_keeps_every_event,
            };
            together: once::{
                an_event_that_stands_twice_is_left_once,
                a_copied_row_that_stands_twice_is_left_once,
                what_is_left_once_keeps_its_place_in_the_epoch,
                an_older_writer_leaves_nothing_once,
            };
            together: schema::{
                a_column_is_added_with_a_fill,
                a_column_is_added_without_a_fill,
                a_column_is_dropped,
                a_column_comes_back_with_another_type,
                a_column_is_renamed,
                a_key_column_is_renamed,
                a_column_is_renamed_in_case_only,
                a_column_is_renamed_among_other_changes,
                a_schema_change_goes_with_its_epoch,
                history_outlives_schema_changes,
                history_outlives_a_rename,
                history_outlives_a_rename_to_a_name_that_it_has,
            };
            together: ledger::{
                what_was_done_is_told_with_the_data,
            };
            together: copies::{
                lanes_fill_one_table,
                a_copy_takes_the_place_of_the_old_one,
                an_abandoned_copy_leaves_nothing,
                nothing_to_copy_makes_an_empty_table,
                a_copy_is_added_to_history,
                readers_never_see_half_a_copy,
            };
            together: ownership::{
                a_foreign_table_is_refused_and_untouched,
                teardown_removes_everything_and_only_that,
            };
            together: names::{
                hostile_names_are_only_names,
                names_that_differ_in_case_only,
                names_of_system_columns,
            };
            alone: faults::{
                a_lost_commit_leaves_nothing,
                a_lost_reply_to_a_commit_is_found_out,
                a_lost_commit_of_a_copy_can_be_repeated,
                history_has_each_event_once_after_every_fault,
                tables_are_exact_after_every_fault,
            };
            alone: sizes::{
                a_huge_value,
                an_epoch_larger_than_memory,
                as_many_columns_as_there_can_be,
                more_columns_than_there_can_be,
            };
        }
    };
}
