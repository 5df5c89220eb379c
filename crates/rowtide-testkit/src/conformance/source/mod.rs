//! What every source must do.

pub mod applier;
pub mod changes;
mod followed;
pub mod following;
pub mod identity;
pub mod restart;
pub mod sizes;
pub mod tables;

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use rowtide_core::traits::{AttachRequest, Attached};
use rowtide_core::{
    Checkpoint, Identity, Mode, Source, SourceIdentity, TableName, TableSchema, TableSelection,
};

use super::model::Kind;
use super::oracle::TextRow;

/// A database of its own for one case, and how to work in it. Dropping it removes the database.
#[async_trait]
pub trait SourceSubject: Send + Sync {
    /// The source of the pipeline `pipeline`, as another process would make it.
    fn source(&self, pipeline: &str) -> Arc<dyn Source>;

    /// A session of an application.
    async fn session(&self) -> Box<dyn Session>;

    /// The rows of `select`, each value as text.
    async fn rows(&self, select: &str) -> Vec<TextRow>;

    /// Restarts the system in order.
    async fn restart(&self);

    /// Kills the system as a failure of its machine would, and starts it again.
    async fn kill(&self);

    /// Makes the source forget where `pipeline` stood (drops its slot, purges its log).
    async fn lose_position(&self, pipeline: &str);

    /// The names of what pipelines have made at the source.
    async fn leftovers(&self) -> BTreeSet<String>;

    /// How many columns a table may have at most.
    fn most_columns(&self) -> usize;

    /// How the system's SQL says what the suite needs.
    fn dialect(&self) -> &dyn Dialect;
}

/// Statements of one application, each its own transaction unless it began one.
#[async_trait]
pub trait Session: Send {
    /// Runs one statement; panics with its text if it fails.
    async fn execute(&mut self, sql: &str);
}

/// Where the dialects of SQL differ.
pub trait Dialect: Send + Sync {
    /// The schema in which the suite makes its tables.
    fn schema(&self) -> &str;

    /// A quoted identifier.
    fn quote(&self, name: &str) -> String {
        format!("\"{}\"", name.replace('"', "\"\""))
    }

    /// A text literal.
    fn literal(&self, text: &str) -> String {
        format!("'{}'", text.replace('\'', "''"))
    }

    /// The type of a column that is decoded to [`Kind::arrow`].
    fn type_of(&self, kind: Kind) -> &str;

    /// `expression` as canonical text.
    fn text(&self, expression: &str, kind: Kind) -> String;

    /// Makes `column` of `table` one whose large values the log does not repeat; `None` where the
    /// log always has every value.
    fn keep_apart(&self, table: &str, column: &str) -> Option<String>;

    /// Makes the log hold whole old rows of `table`; `None` where it always does.
    fn log_full_rows(&self, table: &str) -> Option<String>;
}

/// A case under way.
pub struct Case {
    /// The database.
    pub subject: Arc<dyn SourceSubject>,
}

/// The pipeline of every case.
pub const PIPELINE: &str = "shop";

impl Case {
    /// Begins a case.
    pub fn new(subject: impl SourceSubject + 'static) -> Self {
        Self { subject: Arc::new(subject) }
    }

    /// The source under test.
    pub fn source(&self) -> Arc<dyn Source> {
        self.subject.source(PIPELINE)
    }

    /// `name` in the suite's schema, quoted.
    pub fn table(&self, name: &str) -> String {
        let dialect = self.subject.dialect();
        format!("{}.{}", dialect.quote(dialect.schema()), dialect.quote(name))
    }

    /// Makes a table whose first `key` columns are its key.
    pub async fn create(&self, name: &str, columns: &[(&str, Kind)], key: usize) {
        let dialect = self.subject.dialect();
        let mut parts: Vec<String> = columns
            .iter()
            .map(|(name, kind)| format!("{} {}", dialect.quote(name), dialect.type_of(*kind)))
            .collect();
        if key > 0 {
            let names: Vec<String> =
                columns[..key].iter().map(|(name, _)| dialect.quote(name)).collect();
            parts.push(format!("PRIMARY KEY ({})", names.join(", ")));
        }
        self.run(&format!("CREATE TABLE {} ({})", self.table(name), parts.join(", "))).await;
    }

    /// Makes `items (id integer key, name text, note text)`.
    pub async fn create_items(&self, name: &str) {
        let columns = [("id", Kind::Integer), ("name", Kind::Text), ("note", Kind::Text)];
        self.create(name, &columns, 1).await;
    }

    /// Runs one statement in a session of its own.
    pub async fn run(&self, sql: &str) {
        self.subject.session().await.execute(sql).await;
    }

    /// Runs statements, each its own transaction, in one session.
    pub async fn run_all(&self, statements: &[&str]) {
        let mut session = self.subject.session().await;
        for sql in statements {
            session.execute(sql).await;
        }
    }

    /// The tables called `names`, as the source describes them.
    pub async fn discover(&self, names: &[&str]) -> Vec<Arc<TableSchema>> {
        let schema = self.subject.dialect().schema();
        let quoted = |text: &str| format!("\"{}\"", text.replace('"', "\"\""));
        let patterns: Vec<String> =
            names.iter().map(|name| format!("{}.{}", quoted(schema), quoted(name))).collect();
        let selection = TableSelection::parse(patterns.iter().map(String::as_str)).unwrap();
        let found = self.source().discover(&selection).await.unwrap();
        let find = |name: &&str| {
            let table = found.iter().find(|table| *table.name.name == **name);
            Arc::clone(table.expect("the table is discovered"))
        };
        names.iter().map(find).collect()
    }

    /// Attaches for the first time.
    pub async fn attach(&self, tables: &[Arc<TableSchema>]) -> Attached {
        self.attach_as(tables, None).await.unwrap()
    }

    /// Attaches with what is known.
    pub async fn attach_as(
        &self,
        tables: &[Arc<TableSchema>],
        known: Option<(&SourceIdentity, Option<&Checkpoint>)>,
    ) -> rowtide_core::Result<Attached> {
        let mode = |table: &TableSchema| match table.identity {
            Identity::None => Mode::Append,
            Identity::Key | Identity::FullRow => Mode::Merge,
        };
        let tables: Vec<_> = tables.iter().map(|table| (Arc::clone(table), mode(table))).collect();
        self.source().attach(AttachRequest { tables: &tables, known }).await
    }

    /// What the source itself says stands in `table` now, sorted.
    pub async fn standing(&self, table: &TableSchema) -> Vec<TextRow> {
        let dialect = self.subject.dialect();
        let columns: Vec<String> = table
            .columns
            .iter()
            .map(|c| dialect.text(&dialect.quote(c.name()), Kind::of(c.field.data_type())))
            .collect();
        let TableName { schema, name } = &table.name;
        let (schema, name) = (dialect.quote(schema), dialect.quote(name));
        let select = format!("SELECT {} FROM {schema}.{name}", columns.join(", "));
        let mut rows = self.subject.rows(&select).await;
        rows.sort();
        rows
    }
}

/// One test per case for the source whose subjects `$start` starts (`fn() -> Option<S>`, with
/// `None` for a visible skip).
#[macro_export]
macro_rules! source_conformance {
    ($start:expr) => {
        $crate::conformance_cases! { source, $start,
            together: following::{
                copy_and_stream_make_the_table,
                transactions_come_in_the_order_of_their_commits,
                a_large_transaction_comes_in_bounded_segments,
                what_was_rolled_back_never_comes,
                what_is_not_followed_changes_nothing,
            };
            together: changes::{
                values_that_are_not_repeated_are_marked,
                a_key_change_is_one_row_moving,
                truncate_comes_in_order_with_rows,
                rows_without_a_key_come_whole,
            };
            together: restart::{
                a_restart_delivers_what_is_not_durable,
                nothing_is_acknowledged_beyond_what_is_durable,
                a_restarted_server_loses_nothing,
                a_killed_server_loses_nothing,
                the_middle_of_a_transaction_is_no_place_to_begin,
            };
            together: identity::{
                what_was_made_is_found_again,
                a_half_made_beginning_is_made_anew,
                a_lost_position_is_noticed,
                a_missing_table_is_an_error,
                release_removes_everything,
            };
            together: tables::{
                columns_come_and_go_between_rows,
                a_table_made_anew_is_not_taken_for_the_old_one,
                a_transaction_open_while_a_table_is_added_counts_once,
                hostile_names_are_only_names,
            };
            together: sizes::{
                a_huge_value,
                as_many_columns_as_there_can_be,
            };
        }
    };
}
