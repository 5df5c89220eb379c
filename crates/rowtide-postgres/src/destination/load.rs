//! Copying a table: a staging table, filled by several connections, which then takes the target's
//! place in the writer's epoch.
//!
//! The staging table is logged from the start: one that is not would have to be written a second
//! time, whole, before it could take the place of a table that survives a crash. Its name bears
//! the writer's fencing epoch, so that loaders of an older run fill a table that nobody will use.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow_array::RecordBatch;
use async_trait::async_trait;
use rowtide_core::traits::Loader;
use rowtide_core::{Error, Mode, Result, TableName, TablePlan};
use tokio_postgres::Statement;
use tokio_postgres::error::SqlState;

use super::copy::{self, CopyIn};
use super::ddl;
use super::link::{Link, LockKey, stable_hash};
use super::session::fenced;
use super::target::{Target, check_plan};
use super::{Place, standing, state};
use crate::client::{Sql, get};
use crate::encode::RowEncoder;
use crate::error::{from_driver, is_state};
use crate::quote::{identifier, table_name};

/// How many bytes one transaction of a loader writes. Large, for each waits for the disk;
/// bounded, for the server keeps old rows of all tables while one runs.
const COMMIT_BYTES: usize = 512 << 20;

/// How staging tables' names begin.
pub(super) const STAGING: &str = "__rowtide_staging_";

/// How the names of the staging tables of `pipeline` begin.
pub(super) fn staging_prefix(pipeline: &str) -> String {
    format!("{STAGING}{:016x}_", stable_hash(pipeline))
}

/// How the names of the staging tables for `plan` begin, whoever the writer is.
fn staging_prefix_of(pipeline: &str, plan: &TablePlan) -> String {
    format!("{}{:x}_", staging_prefix(pipeline), plan.source.id)
}

/// The staging table for `plan`, beside its target, of the writer with `fencing_epoch`.
pub(super) fn staging(pipeline: &str, plan: &TablePlan, fencing_epoch: i64) -> TableName {
    let name = format!("{}{fencing_epoch:x}", staging_prefix_of(pipeline, plan));
    TableName::new(Arc::clone(&plan.target.schema), name)
}

/// The name of the primary key of `staging`.
pub(super) fn staging_key(staging: &TableName) -> String {
    format!("k{}", &staging.name[STAGING.len()..])
}

/// Makes the staging table for `plan`, empty, and opens `lanes` loaders of it.
pub(super) async fn open(
    place: &Arc<Place>,
    pipeline: &str,
    plan: &TablePlan,
    lanes: usize,
) -> Result<Vec<Box<dyn Loader>>> {
    check_plan(plan)?;
    let doing = format!("making a staging table for {}", plan.target);
    let link = Link::connect(place, pipeline).await?;
    let sql = &link.sql;
    link.register(pipeline).await?;
    let target = Target::look_up(sql, plan).await?;
    sql.execute(&doing, "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE").await?;
    let fencing_epoch = own_epoch(place, sql, (pipeline, "")).await?;
    may_take(sql, (pipeline, &plan.source.name, &plan.target)).await?;
    // Two loads that make the same schema would get in each other's way.
    let lock = "SELECT pg_catalog.pg_advisory_xact_lock($1)";
    sql.rows(&doing, lock, &[&LockKey::state().number()]).await?;
    state::ensure_schema(sql, &plan.target.schema).await?;
    let staging = staging(pipeline, plan, fencing_epoch);
    drop_older(&link, (pipeline, plan), &staging).await?;
    let create = format!("CREATE TABLE {} ({})", table_name(&staging), target.definitions(plan));
    sql.execute(&doing, &create).await?;
    // Last, for the writer's commits wait for whoever holds this.
    own_epoch(place, sql, (pipeline, "FOR SHARE")).await?;
    sql.execute(&doing, "COMMIT").await?;
    let load = Arc::new(Load {
        place: Arc::clone(place),
        pipeline: pipeline.to_owned(),
        table: table_name(&staging),
        key_name: identifier(&staging_key(&staging)),
        key: target.primary_key(plan),
        name: plan.target.clone(),
        target,
        running: AtomicUsize::new(lanes.max(1)),
    });
    let others = futures::future::try_join_all((1..lanes).map(|_| PostgresLoader::open(&load)));
    let (first, others) =
        futures::future::try_join(PostgresLoader::on(link, &load), others).await?;
    let all = std::iter::once(first).chain(others);
    Ok(all.map(|loader| Box::new(loader) as Box<dyn Loader>).collect())
}

/// The fencing epoch of the writer that was opened from here, which must still be the newest.
/// With `lock`, no other can raise it until the transaction ends.
async fn own_epoch(place: &Place, sql: &Sql, (pipeline, lock): (&str, &str)) -> Result<i64> {
    let stored = state::control(sql, pipeline, lock).await?;
    match (place.epoch(pipeline), stored) {
        (Some(own), Some(stored)) if own == stored.fencing_epoch => Ok(own),
        (Some(_), _) => Err(fenced(pipeline)),
        (None, stored) => Ok(stored.map_or(0, |stored| stored.fencing_epoch)),
    }
}

/// Drops what earlier loads of the same table left behind. Some of it may still be filled by a
/// run that does not know that it is over; then it is left to the next time.
async fn drop_older(
    link: &Link,
    (pipeline, plan): (&str, &TablePlan),
    own: &TableName,
) -> Result<()> {
    let doing = format!("dropping old staging tables of {}", plan.target);
    let prefix = staging_prefix_of(pipeline, plan);
    for name in staging_tables(&link.sql, &prefix).await? {
        let drop = format!("DROP TABLE IF EXISTS {}", table_name(&name));
        match ddl::attempt(&link.sql, &doing, &drop).await? {
            Ok(()) => {}
            Err(refused) if name == *own => return Err(refused.error),
            Err(refused) => {
                tracing::warn!(table = %name, error = %refused.error.chain(), "left behind");
            }
        }
    }
    Ok(())
}

/// The tables whose names begin with `prefix`, which ends in `_`: the character after it is the
/// backquote.
pub(super) async fn staging_tables(sql: &Sql, prefix: &str) -> Result<Vec<TableName>> {
    // A range of names, for which there is an index.
    let query = "SELECT n.nspname::text, c.relname::text FROM pg_catalog.pg_class c \
         JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
         WHERE c.relkind = 'r' AND c.relname >= $1::text AND c.relname < $2::text ORDER BY 1, 2";
    let beyond =
        prefix.strip_suffix('_').map_or_else(|| prefix.to_owned(), |rest| rest.to_owned() + "`");
    let rows = sql.rows("looking for staging tables", query, &[&prefix, &beyond]).await?;
    rows.iter().map(|row| Ok(TableName::new(get::<&str>(row, 0)?, get::<&str>(row, 1)?))).collect()
}

/// Checks that `target` is free, or was made by this pipeline for `source`; returns in which mode
/// it was made. A row in the state alone proves nothing: it is written before the first copy.
///
/// # Errors
/// `Config` saying who has it and what to do.
async fn may_take(
    sql: &Sql,
    (pipeline, source, target): (&str, &TableName, &TableName),
) -> Result<Option<Mode>> {
    let owners = state::owners_of(sql, target).await?;
    let stands = standing::standing(sql, target).await?.is_some();
    judge(&owners, stands, (pipeline, source, target))
}

/// The same for a target with these `owners`, where a table `stands` or not.
pub(super) fn judge(
    owners: &[state::Owner],
    stands: bool,
    (pipeline, source, target): (&str, &TableName, &TableName),
) -> Result<Option<Mode>> {
    let mut made = None;
    for owner in owners {
        if owner.pipeline != pipeline || owner.source != *source {
            return Err(Error::config(format!(
                "table {source} goes to {target}, which is that of pipeline {:?}, table {}",
                owner.pipeline, owner.source
            ))
            .with_hint("give one of them another target"));
        }
        made = owner.made;
    }
    match stands && made.is_none() {
        true => Err(stranger(source, target)),
        false => Ok(made),
    }
}

/// The target stands already, and this pipeline did not make it.
fn stranger(source: &TableName, target: &TableName) -> Error {
    Error::config(format!(
        "table {source} goes to {target}, but a table that this pipeline did not make stands there"
    ))
    .with_hint(stranger_fix(source, target))
}

/// What to do about it.
pub(super) fn stranger_fix(source: &TableName, target: &TableName) -> String {
    let fix = "drop or rename that table, or give this one another target";
    match source == target {
        true => format!(
            "{fix}; if source and destination are one database, that table is the source itself"
        ),
        false => fix.to_owned(),
    }
}

/// What the loaders of one staging table share.
struct Load {
    place: Arc<Place>,
    pipeline: String,
    /// Quoted.
    table: String,
    key_name: String,
    /// The primary key's columns, quoted.
    key: Option<String>,
    name: TableName,
    target: Target,
    /// How many loaders have not finished.
    running: AtomicUsize,
}

/// Fills a staging table through a connection of its own.
struct PostgresLoader {
    load: Arc<Load>,
    link: Link,
    encoder: RowEncoder,
    statement: Statement,
    /// The running copy, which is one transaction. Gone while a call runs: one that fails or is
    /// cancelled leaves nothing to go on with.
    copying: Option<CopyIn>,
    failed: bool,
}

impl PostgresLoader {
    async fn open(load: &Arc<Load>) -> Result<Self> {
        let link = Link::connect(&load.place, &load.pipeline).await?;
        link.register(&load.pipeline).await?;
        Self::on(link, load).await
    }

    /// A loader on a session that is known as the pipeline's.
    async fn on(link: Link, load: &Arc<Load>) -> Result<Self> {
        let encoder = RowEncoder::new(&load.target.columns, &load.target.schema)?;
        let statement = copy::statement(&load.table, &load.target.names, &encoder);
        let prepared = link.sql.client().prepare(&statement).await;
        let statement = prepared.map_err(|error| from_driver(&load.doing(), error))?;
        let load = Arc::clone(load);
        Ok(Self { load, link, encoder, statement, copying: None, failed: false })
    }

    async fn send(&mut self, rows: &RecordBatch) -> Result<()> {
        if std::mem::replace(&mut self.failed, true) {
            return Err(Error::internal("a loader was used after it failed"));
        }
        let doing = self.load.doing();
        let mut copying = match self.copying.take() {
            Some(copying) => copying,
            None => {
                let with = (&self.encoder, doing.as_str());
                CopyIn::start(self.link.sql.client(), &self.statement, with).await?
            }
        };
        copying.send(&mut self.encoder, &self.load.target.named(rows)?).await?;
        if copying.sent >= COMMIT_BYTES {
            copying.finish(&self.encoder).await?;
        } else {
            self.copying = Some(copying);
        }
        self.failed = false;
        Ok(())
    }
}

impl Load {
    fn doing(&self) -> String {
        format!("loading rows for {}", self.name)
    }

    /// What remains to be done when all rows are there, and not inside an epoch: the primary key,
    /// and what the planner wants to know.
    async fn complete(&self, sql: &Sql) -> Result<()> {
        if let Some(key) = &self.key {
            let doing = format!("building the primary key of {}", self.name);
            let (table, name) = (&self.table, &self.key_name);
            let add = format!("ALTER TABLE {table} ADD CONSTRAINT {name} PRIMARY KEY ({key})");
            match sql.client().batch_execute(&add).await {
                Ok(()) => {}
                // No order, no index: rows are then found by reading the table.
                Err(error) if is_state(&error, &SqlState::UNDEFINED_OBJECT) => {
                    tracing::warn!(table = %self.name, "its key's type cannot be indexed");
                }
                Err(error) => return Err(from_driver(&doing, error)),
            }
        }
        self.sample(sql).await
    }

    /// Tells the planner about how the values are distributed, from a sample that takes a tenth of
    /// the usual time. Since it names columns, autovacuum takes the usual one soon all the same.
    async fn sample(&self, sql: &Sql) -> Result<()> {
        let columns = match self.target.names.as_str() {
            "" => String::new(),
            names => format!(" ({names})"),
        };
        let analyse = format!(
            "BEGIN; SET LOCAL default_statistics_target = 10; ANALYZE {}{columns}; COMMIT",
            self.table
        );
        sql.execute("analysing a staging table", &analyse).await
    }
}

#[async_trait]
impl Loader for PostgresLoader {
    async fn write(&mut self, rows: RecordBatch) -> Result<()> {
        self.send(&rows).await
    }

    async fn finish(mut self: Box<Self>) -> Result<()> {
        if self.failed {
            return Err(Error::internal("a loader was used after it failed"));
        }
        if let Some(copying) = self.copying.take() {
            copying.finish(&self.encoder).await?;
        }
        let Self { load, link, .. } = *self;
        if load.running.fetch_sub(1, Ordering::AcqRel) == 1 {
            load.complete(&link.sql).await?;
        }
        link.leave(&load.place, &load.pipeline).await;
        Ok(())
    }
}
