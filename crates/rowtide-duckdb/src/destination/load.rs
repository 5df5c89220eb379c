//! Copying a table: a staging table, filled by several connections, which then takes the
//! target's place in the writer's epoch.

mod lane;

use std::sync::Arc;

use rowtide_core::traits::Loader;
use rowtide_core::{Error, Mode, Result, TableName, TablePlan, fault};

use self::lane::DuckdbLoader;
use super::merge::target_columns;
use super::session::{Session, definitions};
use super::{schema, state};
use crate::error::During;
use crate::ffi::{Connection, Database, Feed};
use crate::file;
use crate::quote::{Ident, TableRef};

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
            connection.note_defined();
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
    connection.note_defined();
    // While other tables are being loaded this is left to the writer, after a later commit.
    file::checkpoint(&connection)?;
    (0..lanes.max(1))
        .map(|_| {
            let connection = file::connect(database)?;
            let feed = Feed::new(&connection, &plan.target_arrow()).during(attempt)?;
            let insert = insert_from(&staging, plan, &feed);
            Ok(Box::new(DuckdbLoader::new(connection, feed, insert)) as Box<dyn Loader>)
        })
        .collect()
}

/// Adds the rows of `feed`, which has the columns of `plan`'s target, to `table`.
pub(super) fn insert_from(table: &TableRef, plan: &TablePlan, feed: &Feed) -> String {
    format!("INSERT INTO {table} ({}) FROM {}", target_columns(plan), feed.name())
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
        session.change(&target, &copy)?;
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
