//! Copying one table: its fence, and disjoint parts under one exported snapshot.
//!
//! A session locks the table against schema changes, opens the snapshot, notes what it sees, and
//! becomes the first part. It exports the snapshot for further parts, each with a session of its
//! own and a lock of its own. All take ranges of pages from a shared list.

#[cfg(any(test, feature = "fuzzing"))]
pub(super) mod fuzzing;
mod rows;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arrow_array::RecordBatch;
use async_trait::async_trait;
use rowtide_core::traits::{CopyExceptions, SnapshotPart, SnapshotRequest, TableSnapshot};
use rowtide_core::{Error, Fence, Offset, Result, TableSchema, ValuePolicies, XidSnapshot, fault};

use super::PostgresSource;
use super::identity::parse_lsn;
use super::policy::with_text_columns;
use super::slot::writers;
use super::spare::Spare;
use crate::catalog::{CatalogTable, load_tables, load_types};
use crate::client::{Sql, get};
use crate::quote::{identifier, literal, table_name};
use crate::types::TypeMap;
use crate::wire::{Connection, Copied};
pub(crate) use rows::RowReader;

/// Tables smaller than this are read by one part.
const SMALL: u64 = 16 << 20;
/// Ranges per part: enough that no part is left with a long tail alone.
const RANGES_PER_PART: u64 = 8;
/// A batch is closed before its text could overflow Arrow's 32-bit offsets.
const BATCH_BYTES: usize = 512 << 20;
/// How long a copy may wait for a schema change that holds the table.
pub(super) const LOCK_TIMEOUT: &str = "lock_timeout = '60s'";
/// When running transactions that are waited for are first named.
const PATIENCE: Duration = Duration::from_secs(5);

pub(super) async fn open(
    source: &PostgresSource,
    request: SnapshotRequest,
) -> Result<TableSnapshot> {
    let table = &request.table;
    let doing = format!("copying {}", table.name);
    let sql = source.sql().await?;
    // Read before settling: whatever committed below has ended by the time of the fence, so every
    // change that the stream adds to this copy lies beyond. History is in order by position.
    let query = "SELECT pg_catalog.pg_current_wal_insert_lsn()::text";
    let position = parse_lsn(get(&sql.row(&doing, query, &[]).await?, 0)?)?;
    if request.settle && !fault::planted("settle-skipped") {
        settle(&sql).await?;
    }
    let fresh = current(source, &sql, table).await?;
    let partitioned = fresh.kind == b'p';
    let only = if partitioned { "" } else { "ONLY " };
    let name = format!("{only}{}", table_name(&table.name));
    let begin = format!(
        "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL {LOCK_TIMEOUT}; \
         LOCK TABLE {name} IN ACCESS SHARE MODE"
    );
    let mut session = source.reading().await?;
    session.rows_in_time(&doing, &begin).await?;
    let seen = Seen::by(&mut session, table, &doing).await?;
    // Nobody changes the table's definition any more.
    let locked = current(source, &sql, table).await?;
    check_columns(source, &sql, table, &locked).await?;
    source.spare.keep(sql);

    let Seen { bytes, block, .. } = seen;
    let split = fresh.heap && !partitioned && bytes >= SMALL;
    let lanes = if split { request.lanes.max(1) } else { 1 };
    let ranges = if split { ranges(bytes / block, lanes) } else { VecDeque::from([None]) };
    let lanes = lanes.min(ranges.len());
    let shared = Arc::new(Shared {
        table: Arc::clone(table),
        name,
        doing,
        filter: locked.published.filter.clone(),
        ranges: Mutex::new(ranges),
        batch_bytes: request.batch_bytes.clamp(1, BATCH_BYTES),
        policies: source.value_policies(),
        spare: source.spare_reading.clone(),
    });
    let parts = open_parts(source, (session, shared), lanes).await?;
    Ok(TableSnapshot {
        fence: Fence::Xids(XidSnapshot::parse(&seen.xids, Offset(seen.wal_end))?),
        position,
        estimated_rows: locked.estimated_rows,
        estimated_bytes: (!partitioned).then_some(bytes),
        parts: parts.into_iter().map(|part| Box::new(part) as Box<dyn SnapshotPart>).collect(),
    })
}

/// What a session sees once it has its snapshot.
struct Seen {
    xids: String,
    /// The end of the log, at or after the snapshot.
    wal_end: u64,
    /// The size of the table.
    bytes: u64,
    /// The size of a page.
    block: u64,
}

impl Seen {
    async fn by(session: &mut Connection, table: &TableSchema, doing: &str) -> Result<Self> {
        // The statement has its snapshot before it looks at the end of the log.
        let query = format!(
            "SELECT pg_catalog.pg_current_snapshot(), pg_catalog.pg_current_wal_insert_lsn(), \
             pg_catalog.pg_relation_size({}::oid), pg_catalog.current_setting('block_size')",
            table.id
        );
        let rows = session.rows(doing, &query).await?;
        let mut fields = rows.into_iter().flatten();
        let mut field = || fields.next().flatten();
        let nothing = || Error::internal(format!("{doing}: the server does not tell its snapshot"));
        let xids = field().ok_or_else(nothing)?;
        let wal_end = parse_lsn(&field().ok_or_else(nothing)?)?;
        // NULL of a table whose name is another one's by now, which is found out later.
        let mut number = || field().and_then(|number| number.parse().ok());
        let bytes = number().unwrap_or(0);
        let block = number().unwrap_or(8192).max(1);
        Ok(Self { xids, wal_end, bytes, block })
    }
}

/// The session that has the snapshot, and as many others as are missing, as parts.
async fn open_parts(
    source: &PostgresSource,
    (mut session, shared): (Connection, Arc<Shared>),
    lanes: usize,
) -> Result<Vec<Part>> {
    if lanes <= 1 {
        return Ok(vec![Part::of(session, shared)]);
    }
    let rows = session.rows(&shared.doing, "SELECT pg_catalog.pg_export_snapshot()").await?;
    let exported = rows.into_iter().flatten().flatten().next().unwrap_or_default();
    let opening = (1..lanes).map(|_| Part::open(source, Arc::clone(&shared), &exported));
    let others = futures::future::try_join_all(opening).await?;
    Ok(std::iter::once(Part::of(session, shared)).chain(others).collect())
}

/// Waits until every transaction that runs now has ended.
pub(super) async fn settle(sql: &Sql) -> Result<()> {
    let doing = "waiting for running transactions";
    let query = "SELECT pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot())::text::int8";
    let horizon: i64 = get(&sql.row(doing, query, &[]).await?, 0)?;
    let query = "SELECT pg_catalog.pg_snapshot_xmin(pg_catalog.pg_current_snapshot())::text::int8";
    let began = Instant::now();
    let mut named = false;
    let mut pause = Duration::from_millis(50);
    loop {
        let oldest: i64 = get(&sql.row(doing, query, &[]).await?, 0)?;
        if oldest >= horizon {
            return Ok(());
        }
        if !named && began.elapsed() > PATIENCE {
            named = true;
            let blockers = writers(sql).await;
            tracing::info!(%blockers, "copy waits for transactions to end");
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(500));
    }
}

pub(super) async fn current(
    source: &PostgresSource,
    sql: &Sql,
    table: &TableSchema,
) -> Result<CatalogTable> {
    let oid = u32::try_from(table.id).unwrap_or(0);
    let mut found = load_tables(sql, Some(&[oid])).await?;
    source.narrow(sql, &mut found).await?;
    found.into_iter().next().filter(|found| found.name == table.name).ok_or_else(|| {
        Error::schema_drift(format!("the table {} was dropped or renamed", table.name))
            .with_hint("take it out of the pipeline, or copy it again under its new name")
    })
}

/// The columns to read must be those of the schema the destination was made for.
pub(super) async fn check_columns(
    source: &PostgresSource,
    sql: &Sql,
    table: &TableSchema,
    found: &CatalogTable,
) -> Result<()> {
    let mut types = TypeMap::default();
    load_types(sql, &mut types, found.replicated().map(|column| column.type_oid)).await?;
    let mapping = source.options.mapping();
    let found = found.schema(&types, mapping);
    // Without the key that it was planned with, other policies could hold.
    let found = TableSchema { key: table.key.clone(), ..Arc::unwrap_or_clone(found) };
    let found = with_text_columns(Arc::new(found), &source.value_policies())?;
    let now = &found.columns;
    let differs = table.columns.iter().find(|column| !now.contains(column));
    let differs = differs
        .or_else(|| now.iter().find(|column| !table.columns.contains(column)))
        .map(|column| column.name().to_owned());
    match differs {
        None => Ok(()),
        Some(column) => Err(Error::schema_drift(format!(
            "the columns of {} changed before its copy began (column {column})",
            table.name
        ))
        .with_hint("start again: the copy begins with the table as it is now")),
    }
}

/// A range of pages; without an upper end the rest of the table, whatever its size by now.
type Range = Option<(u64, Option<u64>)>;

fn ranges(pages: u64, lanes: usize) -> VecDeque<Range> {
    let parts = u64::try_from(lanes).unwrap_or(1).max(1) * RANGES_PER_PART;
    let step = pages.div_ceil(parts).max(SMALL / 8192 / 2);
    let mut ranges = VecDeque::new();
    let mut from = 0;
    loop {
        let to = from + step;
        if to >= pages {
            ranges.push_back(Some((from, None)));
            return ranges;
        }
        ranges.push_back(Some((from, Some(to))));
        from = to;
    }
}

/// What the parts of one copy have in common.
struct Shared {
    table: Arc<TableSchema>,
    /// Quoted, with ONLY where it belongs.
    name: String,
    /// What is done, for errors.
    doing: String,
    /// The condition that copied rows fulfil.
    filter: Option<String>,
    ranges: Mutex<VecDeque<Range>>,
    batch_bytes: usize,
    policies: ValuePolicies,
    /// Takes the sessions that are done.
    spare: Spare<Connection>,
}

impl Shared {
    /// What a range's rows are selected by.
    fn condition(&self, range: Range) -> String {
        let pages = range.map(|(from, to)| match to {
            None => format!("ctid >= '({from},0)'"),
            Some(to) => format!("ctid >= '({from},0)' AND ctid < '({to},0)'"),
        });
        // NULL is no yes, here as in the log.
        let filter = self.filter.as_ref().map(|filter| format!("({filter})"));
        let all: Vec<String> = pages.into_iter().chain(filter).collect();
        if all.is_empty() { String::new() } else { format!(" WHERE {}", all.join(" AND ")) }
    }

    fn next_range(&self) -> Option<Range> {
        self.ranges.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }
}

/// One lane.
struct Part {
    /// In a transaction that keeps the snapshot and the lock, until all is read.
    session: Option<Connection>,
    shared: Arc<Shared>,
    rows: RowReader,
    /// A range is being read.
    copying: bool,
}

impl Part {
    async fn open(source: &PostgresSource, shared: Arc<Shared>, exported: &str) -> Result<Self> {
        let mut session = source.reading().await?;
        // Never wait for this lock: who waits for the first one's would be waited for here, and
        // the server cannot see that the two connections belong together. The copy starts again.
        let begin = format!(
            "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET TRANSACTION SNAPSHOT {}; \
             LOCK TABLE {} IN ACCESS SHARE MODE NOWAIT",
            literal(exported),
            shared.name
        );
        session.rows(&shared.doing, &begin).await?;
        Ok(Self::of(session, shared))
    }

    /// The part that reads on a session with the snapshot and the lock.
    fn of(session: Connection, shared: Arc<Shared>) -> Self {
        let rows = RowReader::new(&shared.table, &shared.policies);
        Self { session: Some(session), shared, rows, copying: false }
    }

    /// Begins the next range; false when none is left.
    async fn begin(&mut self) -> Result<bool> {
        let Some(session) = &mut self.session else { return Ok(false) };
        let Some(range) = self.shared.next_range() else { return Ok(false) };
        let condition = self.shared.condition(range);
        let columns = self.shared.table.columns.iter();
        let columns = columns.filter(|column| column.text_of().is_none());
        let columns: Vec<_> = columns.map(|column| identifier(column.name())).collect();
        let statement = format!(
            "COPY (SELECT {} FROM {}{condition}) TO STDOUT (FORMAT {})",
            columns.join(", "),
            self.shared.name,
            if self.rows.binary { "binary" } else { "text" }
        );
        session.copy_out(&self.shared.doing, &statement).await?;
        self.copying = true;
        self.rows.begin();
        Ok(true)
    }

    /// Everything is read: another copy may have the session.
    async fn end(&mut self) {
        let Some(mut session) = self.session.take() else { return };
        if session.rows(&self.shared.doing, "COMMIT").await.is_ok() {
            self.shared.spare.keep(session);
        }
    }
}

#[async_trait]
impl SnapshotPart for Part {
    async fn next(&mut self) -> Result<Option<(RecordBatch, u64)>> {
        loop {
            if !self.copying && !self.begin().await? {
                self.end().await;
                return self.rows.take();
            }
            let Some(session) = &mut self.session else { continue };
            match session.copied(&self.shared.doing)? {
                Copied::Row(row) => {
                    self.rows.row(row)?;
                    if self.rows.held >= self.shared.batch_bytes {
                        return self.rows.take();
                    }
                }
                Copied::Wait => session.fill(&self.shared.doing).await?,
                Copied::End => self.copying = false,
            }
        }
    }

    fn exceptions(&mut self) -> Result<CopyExceptions> {
        Ok(self.rows.take_exceptions())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_cover_the_table_once_and_are_open_at_the_end() {
        for (pages, lanes) in [(0, 1), (1, 4), (5000, 2), (1_000_000, 8), (8193, 3)] {
            let ranges = ranges(pages, lanes);
            let mut next = 0;
            for (index, range) in ranges.iter().enumerate() {
                let (from, to) = range.unwrap();
                assert_eq!(from, next);
                assert_eq!(to.is_none(), index + 1 == ranges.len());
                next = to.unwrap_or(from);
            }
        }
    }
}
