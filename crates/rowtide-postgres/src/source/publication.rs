//! Publications: which tables the log reader sees.
//!
//! A table without identity in a publication of updates makes the server refuse the application's
//! own updates, so such tables go into a second publication of inserts and truncates alone.

mod extent;
pub(super) mod standing;

use std::collections::BTreeSet;

use rowtide_core::{Error, Identity, Mode, Result, TableName, TableSchema};

use super::identity::Names;
use super::slot::transactions;
use crate::client::{Sql, get};
use crate::quote::{identifier, literal, table_name};

use extent::FIRST_WITH_GENERATED;

/// How long a publication's change may wait for a table.
const LOCK_TIMEOUT: &str = "10s";

/// A publication as it is.
#[derive(Debug, Clone)]
pub(super) struct Publication {
    pub(super) name: String,
    /// Bears this pipeline's mark.
    pub(super) ours: bool,
    /// Publishes inserts, updates, deletes and truncates.
    pub(super) complete: bool,
    pub(super) via_root: bool,
    pub(super) tables: BTreeSet<TableName>,
    /// Tables with a row filter or a column list.
    pub(super) narrowed: BTreeSet<TableName>,
    /// The oids of those that were added by name.
    pub(super) members: Vec<u64>,
}

/// Reads those of `names` that exist.
pub(super) async fn load(sql: &Sql, names: &Names, version: i32) -> Result<Vec<Publication>> {
    let doing = "reading publications";
    let wanted: [&str; 2] = [&names.publication, &names.inserts];
    let query = "SELECT p.oid, p.pubname::text, \
         p.pubinsert AND p.pubupdate AND p.pubdelete AND p.pubtruncate, p.pubviaroot, \
         coalesce(pg_catalog.obj_description(p.oid, 'pg_publication'), '') \
         FROM pg_catalog.pg_publication p WHERE p.pubname = ANY ($1::text[]::name[]) ORDER BY 2";
    let mut found = Vec::new();
    for row in &sql.rows(doing, query, &[&wanted.as_slice()]).await? {
        let (tables, narrowed) = members(sql, get(row, 1)?, version).await?;
        found.push(Publication {
            name: get(row, 1)?,
            complete: get(row, 2)?,
            via_root: get(row, 3)?,
            ours: get::<&str>(row, 4)? == names.mark(),
            tables,
            narrowed,
            members: named(sql, get(row, 0)?).await?,
        });
    }
    Ok(found)
}

/// Whether the publication `name` bears the mark of the pipeline of `names`.
pub(super) async fn is_ours(sql: &Sql, name: &str, names: &Names) -> Result<bool> {
    let query = "SELECT EXISTS (SELECT FROM pg_catalog.pg_publication p \
         WHERE p.pubname = $1::text::name \
           AND pg_catalog.obj_description(p.oid, 'pg_publication') = $2)";
    get(&sql.row("looking for a publication", query, &[&name, &names.mark()]).await?, 0)
}

async fn named(sql: &Sql, publication: u32) -> Result<Vec<u64>> {
    let query = "SELECT r.prrelid FROM pg_catalog.pg_publication_rel r WHERE r.prpubid = $1";
    let rows = sql.rows("reading a publication's tables", query, &[&publication]).await?;
    rows.iter().map(|row| Ok(get::<u32>(row, 0)?.into())).collect()
}

type Members = (BTreeSet<TableName>, BTreeSet<TableName>);

async fn members(sql: &Sql, name: &str, version: i32) -> Result<Members> {
    let narrowed = if version < 150_000 {
        "false"
    } else {
        "EXISTS (SELECT FROM pg_catalog.pg_publication_rel r \
         JOIN pg_catalog.pg_publication p ON p.oid = r.prpubid \
         JOIN pg_catalog.pg_class c ON c.oid = r.prrelid \
         JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
         WHERE p.pubname = t.pubname AND n.nspname = t.schemaname AND c.relname = t.tablename \
           AND (r.prqual IS NOT NULL OR r.prattrs IS NOT NULL))"
    };
    let query = format!(
        "SELECT t.schemaname::text, t.tablename::text, {narrowed} \
         FROM pg_catalog.pg_publication_tables t WHERE t.pubname = $1::text::name"
    );
    let mut members = Members::default();
    for row in &sql.rows("reading a publication's tables", &query, &[&name]).await? {
        let table = TableName::new(get::<&str>(row, 0)?, get::<&str>(row, 1)?);
        if get(row, 2)? {
            members.1.insert(table.clone());
        }
        members.0.insert(table);
    }
    Ok(members)
}

/// Which tables belong into which publication.
#[derive(Debug, Default)]
pub(super) struct Wanted<'a> {
    /// With identity: everything is published.
    pub(super) changes: Vec<&'a TableSchema>,
    /// Without: inserts and truncates.
    pub(super) inserts: Vec<&'a TableSchema>,
}

impl<'a> Wanted<'a> {
    /// Sorts the tables; refuses those that cannot be followed as asked.
    pub(super) fn of(tables: impl IntoIterator<Item = (&'a TableSchema, Mode)>) -> Result<Self> {
        let mut wanted = Self::default();
        for (table, mode) in tables {
            match (table.identity, mode) {
                (_, Mode::Replace) => {}
                (Identity::Key | Identity::FullRow, _) => wanted.changes.push(table),
                (Identity::None, Mode::Append) => wanted.inserts.push(table),
                (Identity::None, Mode::Merge) => return Err(no_identity(&table.name)),
            }
        }
        Ok(wanted)
    }

    pub(super) fn tables(&self) -> impl Iterator<Item = &'a TableSchema> {
        self.changes.iter().chain(&self.inserts).copied()
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &'a TableName> {
        self.tables().map(|table| &table.name)
    }
}

fn no_identity(table: &TableName) -> Error {
    Error::config(format!(
        "the table {table} has no usable key: its updates and deletes cannot be followed, and \
         publishing it would make the server refuse them"
    ))
    .with_hint(identity_fixes(table))
}

/// What to do about a table without identity.
pub(super) fn identity_fixes(table: &TableName) -> String {
    let table = table_name(table);
    format!(
        "ALTER TABLE {table} ADD PRIMARY KEY (…); or ALTER TABLE {table} REPLICA IDENTITY USING \
         INDEX …; or ALTER TABLE {table} REPLICA IDENTITY FULL; or set mode = \"append\" for it"
    )
}

/// The statements that make the publications. Both are made, even if one is empty for now: the
/// log is decoded with the catalog of its time, so a publication that a later start names must be
/// older than the slot.
pub(super) fn create(
    names: &Names,
    wanted: &Wanted<'_>,
    roots: &BTreeSet<u64>,
    version: i32,
) -> String {
    let generated = match version >= FIRST_WITH_GENERATED {
        true => ", publish_generated_columns = stored",
        false => "",
    };
    let inserts = format!("{generated}, publish = 'insert, truncate'");
    create_one(&names.publication, &wanted.changes, roots, names, generated)
        + &create_one(&names.inserts, &wanted.inserts, roots, names, &inserts)
}

/// Runs statements that lock tables, as one transaction. Whoever waits for a lock makes everyone
/// wait who comes after, the application too: so not for long.
pub(super) async fn change(
    sql: &Sql,
    doing: &str,
    statements: &str,
    tables: impl Iterator<Item = u64>,
) -> Result<()> {
    let all = format!("BEGIN; SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'; {statements} COMMIT");
    let Err(error) = sql.execute_in_time(doing, &all).await else { return Ok(()) };
    // A table that was dropped or renamed since it was looked up, or is published already; or the
    // last statement of a run that was killed, which the server finished in the same moment.
    let moved =
        ["42P01", "42704", "42710", "3F000", "23505"].map(|code| format!("(SQLSTATE {code})"));
    if moved.iter().any(|code| error.message().contains(code.as_str())) {
        sql.execute(doing, "ROLLBACK").await?;
        return Err(Error::unavailable(error.message())
            .answered()
            .with_hint("nothing to do: the tables are looked up again"));
    }
    if !error.message().contains("(SQLSTATE 55P03)") {
        return Err(error);
    }
    sql.execute(doing, "ROLLBACK").await?;
    // What publications need of a table conflicts with these.
    let list: Vec<String> = tables.map(|oid| oid.to_string()).collect();
    let holders = format!(
        "pid IN (SELECT l.pid FROM pg_catalog.pg_locks l WHERE l.locktype = 'relation' \
         AND l.relation = ANY ('{{{}}}'::oid[]) AND l.database = (SELECT d.oid FROM pg_catalog.pg_database d \
         WHERE d.datname = pg_catalog.current_database()) AND l.mode IN \
         ('ShareUpdateExclusiveLock', 'ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', \
          'AccessExclusiveLock'))",
        list.join(",")
    );
    let blockers = transactions(sql, &holders).await;
    Err(Error::unavailable(format!(
        "{doing}: a table is still locked after {LOCK_TIMEOUT}, by {blockers}"
    ))
    .answered()
    .with_hint(
        "end what holds the lock (VACUUM, CREATE INDEX, a schema change); it is tried again",
    ))
}

fn create_one(
    name: &str,
    tables: &[&TableSchema],
    roots: &BTreeSet<u64>,
    names: &Names,
    with: &str,
) -> String {
    let members = if tables.is_empty() {
        String::new()
    } else {
        let list: Vec<_> = tables.iter().map(|table| member(table, roots)).collect();
        format!(" FOR TABLE {}", list.join(", "))
    };
    let (name, mark) = (identifier(name), literal(&names.mark()));
    format!(
        "CREATE PUBLICATION {name}{members} WITH (publish_via_partition_root = true{with}); \
         COMMENT ON PUBLICATION {name} IS {mark}; "
    )
}

/// A table as `FOR TABLE` takes it. `ONLY` keeps inheriting tables out; a partitioned table has
/// its parts in any case.
pub(super) fn member(table: &TableSchema, roots: &BTreeSet<u64>) -> String {
    let only = if roots.contains(&table.id) { "" } else { "ONLY " };
    format!("{only}{}", table_name(&table.name))
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use rowtide_core::ErrorKind;
    use rowtide_sandbox::ServerOptions;
    use rowtide_sandbox::testing::start_or_skip;

    use super::*;
    use crate::options::PostgresOptions;

    /// A run that was killed may have left a session behind that is about to commit.
    #[tokio::test(flavor = "multi_thread")]
    async fn what_another_session_makes_in_the_same_moment_is_looked_up_again() {
        let Some(server) = start_or_skip(&ServerOptions::default()) else { return };
        let options = PostgresOptions::from_url(&server.url("postgres"), &|_| None).unwrap();
        let former = Sql::connect(&options, "former").await.unwrap();
        let create = "CREATE PUBLICATION p; ";
        former.execute("making", &format!("BEGIN; {create}")).await.unwrap();
        let sql = Sql::connect(&options, "later").await.unwrap();
        let later = sql.clone();
        let changing =
            tokio::spawn(async move { change(&later, "making", create, [].into_iter()).await });
        let waits = "SELECT count(*) FROM pg_stat_activity \
                     WHERE application_name = 'later' AND wait_event_type = 'Lock'";
        let began = Instant::now();
        while server.psql("postgres", waits).unwrap().trim() != "1" {
            assert!(began.elapsed() < Duration::from_secs(60), "nobody waits");
        }
        former.execute("making", "COMMIT").await.unwrap();
        let error = changing.await.unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        assert!(error.is_answered());
        sql.rows("asking", "SELECT 1", &[]).await.unwrap();
    }
}
