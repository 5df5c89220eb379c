//! Copying a table: a staging table, filled by several connections, which then takes the
//! target's place in the writer's epoch.

use std::sync::Arc;

use arrow_array::RecordBatch;
use async_trait::async_trait;
use rowtide_core::traits::Loader;
use rowtide_core::{Error, Mode, Result, TableName, TablePlan, fault};

use super::merge::target_columns;
use super::session::{Session, appender, definitions};
use super::{schema, state};
use crate::error::During;
use crate::ffi::{Appender, Connection, Database, Filling};
use crate::file;
use crate::quote::{Ident, TableRef};

/// How many bytes of rows a loader hands to the table at once.
const FLUSH_BYTES: usize = 8 << 20;

/// How many bytes of rows one transaction of a loader holds. Large, for each costs a sync of the
/// disk; bounded, for the file's log cannot be folded in while one is open.
const COMMIT_BYTES: usize = 512 << 20;

/// How staging tables' names begin.
pub(super) const STAGING: &str = "__rowtide_staging_";

/// The staging table for `plan`, beside its target.
pub(super) fn staging(catalog: &Arc<str>, pipeline: &str, plan: &TablePlan) -> TableRef {
    let name = format!("{}{}", staging_prefix(pipeline), plan.source.id);
    TableRef::new(catalog, &plan.target).sibling(name)
}

/// How the names of the staging tables of `pipeline` begin.
pub(super) fn staging_prefix(pipeline: &str) -> String {
    // FNV-1a: stable between versions, which the standard hasher does not promise to be.
    let hash = pipeline.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{STAGING}{hash:016x}_")
}

/// Makes the tables in which Rowtide tells what it did, unless they are there.
pub(super) fn make_ledger(connection: &Connection, catalog: &Arc<str>) -> Result<()> {
    let attempt = || "making the tables of _rowtide".to_owned();
    for plan in rowtide_core::ledger::tables() {
        if state::table_like(connection, &plan.target)?.is_none() {
            let target = TableRef::new(catalog, &plan.target);
            let columns = definitions(&plan.target_arrow())?;
            let sql = format!("CREATE TABLE IF NOT EXISTS {target} ({columns})");
            file::when_free(|| connection.execute(&sql)).during(attempt)?;
            file::checkpoint(connection)?;
        }
    }
    Ok(())
}

/// Makes the staging table for `plan`, empty, and opens `lanes` loaders of it.
pub(super) fn open(
    database: &Arc<Database>,
    pipeline: &str,
    plan: &TablePlan,
    lanes: usize,
) -> Result<Vec<Box<dyn Loader>>> {
    let attempt = || format!("making a staging table for {}", plan.target);
    let connection = file::connect(database)?;
    let catalog = file::catalog(&connection)?;
    let owners = state::owners(&connection, Some(&plan.target))?;
    may_take(&connection, &owners, (pipeline, &plan.source.name, &plan.target))?;
    let staging = staging(&catalog, pipeline, plan);
    let columns = definitions(&plan.target_arrow())?;
    let sql = format!(
        "BEGIN; CREATE SCHEMA IF NOT EXISTS {}; DROP TABLE IF EXISTS {staging}; \
         CREATE TABLE {staging} ({columns}); COMMIT",
        staging.schema()
    );
    file::when_free(|| {
        let made = connection.execute(&sql);
        if made.is_err() {
            // Without an open transaction this fails in its turn, which changes nothing.
            let _ = connection.execute("ROLLBACK");
        }
        made
    })
    .during(attempt)?;
    // While other tables are being loaded this is left to the writer, after a later commit.
    file::checkpoint(&connection)?;
    (0..lanes.max(1))
        .map(|_| {
            let connection = file::connect(database)?;
            let schema = plan.target_arrow();
            let appender = appender(&connection, &staging, &schema)?;
            let lane = Lane { appender, connection, pending: 0, uncommitted: 0, filling: None };
            Ok(Box::new(DuckdbLoader { lane: Some(lane) }) as Box<dyn Loader>)
        })
        .collect()
}

/// Checks that `target`, which has these `owners`, is free, or was made by this pipeline for
/// `source`; returns in which mode it was made. A row in the state alone proves nothing: it is
/// written before the first copy.
///
/// # Errors
/// `Config` saying who has it and what to do.
pub(super) fn may_take(
    connection: &Connection,
    owners: &[state::Owner],
    (pipeline, source, target): (&str, &TableName, &TableName),
) -> Result<Option<Mode>> {
    let mut made = None;
    for owner in owners {
        if owner.pipeline != pipeline || owner.source != *source {
            return Err(Error::config(format!(
                "table {source} goes to {target}, which DuckDB takes for the same as {} of \
                 pipeline {:?}, table {}",
                owner.target, owner.pipeline, owner.source
            ))
            .with_hint("give one of them another target"));
        }
        made = owner.made;
    }
    match state::table_like(connection, target)? {
        Some(standing) if made.is_none() => Err(stranger(&standing, source, target)),
        _ => Ok(made),
    }
}

/// The target stands already, and this pipeline did not make it.
fn stranger(standing: &TableName, source: &TableName, target: &TableName) -> Error {
    Error::config(format!(
        "table {source} goes to {target}, but a table {standing} that this pipeline did not make \
         stands there"
    ))
    .with_hint("drop or rename that table, or give this one another target")
}

/// Puts the staging table for `plan` in the target's place, inside the epoch. In append mode its
/// rows are added to those of the target, if the target is of that mode: otherwise its rows are no
/// history, and go.
///
/// # Errors
/// `Config` if a table stands there that is another's; `Data` if the target is history that cannot
/// take the rows up without loss; `Internal` if rows were loaded after the epoch's first call: its transaction does not see them.
pub(super) fn promote(session: &mut Session, plan: &TablePlan) -> Result<()> {
    session.begin()?;
    let attempt = || format!("putting the copy of {} in place", plan.source.name);
    let made = session.made(&plan.source.name, &plan.target)?;
    let target = session.target(plan);
    let staging = staging(&session.catalog, &session.pipeline, plan);
    let exists = |session: &Session, table: &TableRef| {
        let name = TableName::new(Arc::clone(&table.schema), Arc::clone(&table.name));
        Ok::<_, Error>(state::table_like(&session.connection, &name)?.is_some())
    };
    if !session.is_current(&staging)? {
        return Err(Error::internal(format!(
            "the copy of {} was finished after the epoch began, which cannot see it: the epoch \
             must be committed first",
            plan.source.name
        )));
    }
    let (staged, standing) = (exists(session, &staging)?, exists(session, &target)?);
    if !staged {
        // Nothing was to be copied. What stands is never emptied for that.
        let columns = definitions(&plan.target_arrow())?;
        session.execute(&format!("CREATE SCHEMA IF NOT EXISTS {}", target.schema()), attempt)?;
        session.execute(&format!("CREATE TABLE IF NOT EXISTS {target} ({columns})"), attempt)?;
    } else if standing && plan.mode == Mode::Append && made == Some(Mode::Append) {
        schema::fit(session, plan, plan.target_arrow().fields())?;
        let names = target_columns(plan);
        let copy = format!("INSERT INTO {target} ({names}) SELECT {names} FROM {staging}");
        session.change_once(&target, &copy)?;
        session.execute(&format!("DROP TABLE {staging}"), attempt)?;
    } else {
        session.execute(&format!("DROP TABLE IF EXISTS {target}"), attempt)?;
        let rename = format!("ALTER TABLE {staging} RENAME TO {}", Ident(&target.name));
        session.execute(&rename, attempt)?;
    }
    session.redefined(&target);
    fault::point("promote.swapped")?;
    let names = (&plan.source.name, &plan.target);
    state::note_made(&session.connection, &session.pipeline, names, plan.mode)?;
    session.owners.made(&session.pipeline, &plan.source.name, plan.mode);
    session.promoted.insert(target, plan.mode);
    Ok(())
}

/// Fills a staging table through a connection of its own.
struct DuckdbLoader {
    /// Taken out while a call runs: a cancelled call leaves nothing to go on with.
    lane: Option<Lane>,
}

struct Lane {
    appender: Appender,
    connection: Connection,
    /// Bytes appended since the last flush.
    pending: usize,
    /// Bytes flushed in the open transaction.
    uncommitted: usize,
    /// That transaction, for who waits for its end. Dropped after the connection.
    filling: Option<Filling>,
}

impl Lane {
    fn write(&mut self, rows: &RecordBatch) -> Result<()> {
        let attempt = || "loading rows into a staging table".to_owned();
        self.appender.append(rows).during(attempt)?;
        self.pending += rows.get_array_memory_size();
        if self.pending >= FLUSH_BYTES {
            self.flush()?;
        }
        if self.uncommitted >= COMMIT_BYTES {
            self.commit()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        let attempt = || "loading rows into a staging table".to_owned();
        if self.pending > 0 {
            if self.uncommitted == 0 {
                self.filling = Some(self.connection.filling());
                self.connection.execute("BEGIN").during(attempt)?;
            }
            self.appender.flush().during(attempt)?;
            self.uncommitted += std::mem::take(&mut self.pending);
        }
        Ok(())
    }

    fn commit(&mut self) -> Result<()> {
        self.flush()?;
        if self.uncommitted > 0 {
            let attempt = || "committing rows of a staging table".to_owned();
            self.connection.execute("COMMIT").during(attempt)?;
            self.uncommitted = 0;
            self.filling = None;
        }
        Ok(())
    }
}

impl DuckdbLoader {
    async fn run(
        &mut self,
        work: impl FnOnce(&mut Lane) -> Result<()> + Send + 'static,
    ) -> Result<()> {
        let mut lane =
            self.lane.take().ok_or_else(|| Error::internal("a loader was used after it failed"))?;
        let lane = file::blocking(move || work(&mut lane).map(|()| lane)).await?;
        self.lane = Some(lane);
        Ok(())
    }
}

#[async_trait]
impl Loader for DuckdbLoader {
    async fn write(&mut self, rows: RecordBatch) -> Result<()> {
        self.run(move |lane| lane.write(&rows)).await
    }

    async fn finish(mut self: Box<Self>) -> Result<()> {
        self.run(Lane::commit).await
    }
}

impl Drop for DuckdbLoader {
    fn drop(&mut self) {
        file::drop_blocking(self.lane.take());
    }
}
