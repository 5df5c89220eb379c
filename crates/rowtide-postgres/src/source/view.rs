//! Looking at a table of the source as it stands at one moment.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::future::BoxFuture;
use rowtide_core::view::{FencedView, Inspect, Moment, TableView, ViewRequest};
use rowtide_core::{
    Checkpoint, Error, Fence, Offset, Result, TableSchema, ValuePolicies, ValuePolicy, XidSnapshot,
    fault,
};

use super::identity::parse_lsn;
use super::policy::policy_of;
use super::snapshot::{LOCK_TIMEOUT, RowReader, check_columns, current, settle};
use super::{PostgresSource, partition, visible};
use crate::catalog::CatalogTable;
use crate::client::{Sql, get};
use crate::quote::identifier;
use crate::types::{Kind, parts};
use crate::view::{PostgresView, Shown, Subject, condition, find, is_made_by, parts_of, value};

/// The end of the log, with the sizes of its pages and files.
const LOG_END: &str = "\
SELECT (CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_last_wal_replay_lsn()
        ELSE pg_catalog.pg_current_wal_insert_lsn() END)::text,
       pg_catalog.current_setting('wal_block_size')::int8,
       pg_catalog.pg_size_bytes(pg_catalog.current_setting('wal_segment_size'))";

#[async_trait]
impl Inspect for PostgresSource {
    async fn view(&self, request: ViewRequest) -> Result<Box<dyn TableView>> {
        // Without a limit on answers: what reads pages is limited by their number, and a table
        // that has none takes as long as it takes.
        let sql = Sql::connect(&self.options, &self.names.application).await?;
        self.refuse_narrowed(&sql, &request.plan.source).await?;
        Ok(Box::new(open(self, sql, request).await?.0))
    }

    async fn check_condition(&self, table: &TableSchema, condition: &str) -> Result<()> {
        let sql = Sql::connect(&self.options, &self.names.application).await?;
        condition::check(&sql, &table.name, condition).await
    }

    async fn until_visible(&self, table: &TableSchema, patience: Duration) -> Result<bool> {
        if fault::planted("unseen-commits-ignored") {
            return Ok(true);
        }
        visible::wait(self, table, patience).await
    }
}

/// Opens a view that a stream can go on from; `None` if a copy could tell more.
pub(super) async fn fenced(
    source: &PostgresSource,
    request: ViewRequest,
) -> Result<Option<FencedView>> {
    let table = Arc::clone(&request.plan.source);
    if may_replace(&table, &source.value_policies()) {
        return Ok(None);
    }
    let sql = Sql::connect(&source.options, &source.names.application).await?;
    // Before settling, as for a copy.
    let position = log_end(&sql, &format!("looking at {}", table.name)).await?;
    if !fault::planted("settle-skipped") {
        settle(&sql).await?;
    }
    let (view, fence) = open(source, sql, request).await?;
    Ok(Some(FencedView { fence, position: position.0, view: Box::new(view) }))
}

/// Opens a view through `sql`; tells what it shows.
async fn open(
    source: &PostgresSource,
    sql: Sql,
    request: ViewRequest,
) -> Result<(PostgresView, Fence)> {
    let table = Arc::clone(&request.plan.source);
    let doing = format!("looking at {}", table.name);
    // The first look is at what to lock, the second at what is locked.
    let relation = find(&sql, &table.name).await?;
    current(source, &sql, &table).await?;
    let whole = relation.whole();
    let begin = format!(
        "SET {LOCK_TIMEOUT}; BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; \
         SET LOCAL jit = off; LOCK TABLE {whole} IN ACCESS SHARE MODE"
    );
    sql.execute_in_time(&doing, &begin).await?;
    let query = "SELECT pg_catalog.pg_current_snapshot()::text";
    let mark: String = get(&sql.row(&doing, query, &[]).await?, 0)?;
    let end = log_end(&sql, &doing).await?;
    let fence = Fence::Xids(XidSnapshot::parse(&mark, end)?);
    let moment = Moment { checkpoint: Checkpoint::single(partition(), end), mark: Some(mark) };
    let relation = find(&sql, &table.name).await?;
    let locked = current(source, &sql, &table).await?;
    // First: what is left out now is no change of the table that the pipeline would follow.
    check_extent(&table, &locked)?;
    check_columns(source, &sql, &table, &locked).await?;
    let policies = source.value_policies();
    let versioned = relation.names_writers();
    let reader = RowReader::new(&table, &policies);
    let faithful = is_made_by(&sql, &doing).await?;
    let parts = parts_of(&sql, &relation).await?;
    let (options, names) = (Arc::clone(&source.options), Arc::clone(&source.names));
    let connect = move || -> BoxFuture<'static, Result<Sql>> {
        let (options, names) = (Arc::clone(&options), Arc::clone(&names));
        Box::pin(async move { Sql::connect(&options, &names.application).await })
    };
    let view = PostgresView::new(Subject {
        connect: Box::new(connect),
        moment,
        reader: if versioned { reader.with_writers() } else { reader },
        columns: shown(&table, &policies, faithful),
        whole: relation.whole(),
        parts,
        // NULL is no yes, here as in the log.
        conditions: locked.published.filter.iter().map(|one| format!("({one})")).collect(),
        versioned,
        may_refuse: may_refuse(&table, &policies),
        doing,
        request,
        sql,
    })?;
    Ok((view, fence))
}

/// A place in the log behind everything that is visible now, and that its readers come to even if
/// nothing is written any more.
///
/// Not the end of what is flushed: a transaction that does not wait for that is visible before.
async fn log_end(sql: &Sql, doing: &str) -> Result<Offset> {
    let row = sql.row(doing, LOG_END, &[]).await?;
    let end = parse_lsn(get(&row, 0)?)?;
    let size = |index| -> Result<u64> { Ok(u64::try_from(get::<i64>(&row, index)?).unwrap_or(0)) };
    Ok(Offset(before_header(end, size(1)?, size(2)?)))
}

/// `end`, or the end of the page before if nothing but a page's header lies between.
fn before_header(end: u64, page: u64, segment: u64) -> u64 {
    const SHORT: u64 = 24;
    const LONG: u64 = 40;
    let into = |size: u64| end.checked_rem(size);
    if into(segment) == Some(LONG) {
        end - LONG
    } else if into(page) == Some(SHORT) {
        end - SHORT
    } else {
        end
    }
}

/// A publication may leave columns out (those of a list, those that are generated and not sent,
/// which nobody misses). Rows that are equal in the others are not equal.
fn check_extent(table: &TableSchema, found: &CatalogTable) -> Result<()> {
    let left_out: Vec<&str> = found
        .left_out()
        .filter(|column| !column.generated)
        .map(|column| column.name.as_str())
        .collect();
    if left_out.is_empty() {
        return Ok(());
    }
    Err(Error::config(format!(
        "the publication leaves out the columns {} of {}: its rows cannot be shown to be equal",
        left_out.join(", "),
        table.name
    ))
    .of_one_table()
    .with_hint("publish all columns of the table, or leave it out of what is verified"))
}

/// How each column of `table` is read.
fn shown(table: &TableSchema, policies: &ValuePolicies, faithful: bool) -> Vec<Shown> {
    let one = |(at, column): (usize, &rowtide_core::Column)| {
        let (printed, real) = parts(&column.native_type);
        if column.text_of().is_some() {
            return Shown { name: None, form: None, sql_type: String::new() };
        }
        let kind = Kind::of(column);
        let as_it_is = !kind.can_refuse() || policy_of(table, at, policies) == ValuePolicy::Fail;
        let form = value(column.name(), &kind, real.unwrap_or(printed));
        Shown {
            name: Some(identifier(column.name())),
            form: form.filter(|_| faithful && as_it_is),
            sql_type: printed.to_owned(),
        }
    };
    table.columns.iter().enumerate().map(one).collect()
}

/// Whether rows of `table` may be kept out.
fn may_refuse(table: &TableSchema, policies: &ValuePolicies) -> bool {
    let refuses = |at: usize| policy_of(table, at, policies) == ValuePolicy::Quarantine;
    let is_key = |at: usize| table.key.contains(&at);
    (0..table.columns.len())
        .any(|at| refuses(at) && (is_key(at) || Kind::of(&table.columns[at]).can_refuse()))
}

/// Whether something may be put in the place of values of `table`, or rows be kept out.
fn may_replace(table: &TableSchema, policies: &ValuePolicies) -> bool {
    let columns = table.columns.iter().enumerate();
    let replaces = |at: usize| policy_of(table, at, policies) != ValuePolicy::Fail;
    may_refuse(table, policies)
        || columns.filter(|(at, _)| replaces(*at)).any(|(_, column)| Kind::of(column).can_refuse())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_alone_is_not_waited_for() {
        let (page, segment) = (8192, 16 << 20);
        for (end, reached) in [
            (8192 * 3 + 24, 8192 * 3),
            (segment * 2 + 40, segment * 2),
            (8192 * 3 + 40, 8192 * 3 + 40),
            (8192 * 3, 8192 * 3),
            (8192 * 3 + 32, 8192 * 3 + 32),
        ] {
            assert_eq!(before_header(end, page, segment), reached);
        }
    }
}
