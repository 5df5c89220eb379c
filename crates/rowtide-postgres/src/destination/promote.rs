//! Putting a finished copy in the target's place, inside the epoch.

use rowtide_core::{Mode, Result, TableName, TablePlan, fault};

use super::apply::empty;
use super::session::Session;
use super::standing::{Standing, has_attachments, standing_pair};
use super::target::{Target, check_plan, list};
use super::{ddl, load, schema, state};
use crate::encode::accepts;
use crate::quote::{identifier, table_name};

/// Puts the staging table for `plan` in the target's place. In append mode its rows are added to
/// those of the target, if the target is of that mode: otherwise its rows are no history, and go.
///
/// A table to which users added nothing is dropped and the copy renamed, which takes a moment
/// whatever its size. One with indexes, views, grants or comments of theirs stays, and its rows
/// are replaced.
///
/// # Errors
/// `Config` if a table stands there that is another's; `SchemaDrift` if something of the users'
/// needs a column that is gone.
pub(super) async fn promote(session: &mut Session, plan: &TablePlan) -> Result<()> {
    check_plan(plan)?;
    session.begin().await?;
    let made = session.made(&plan.source.name, &plan.target).await?;
    let staging = load::staging(&session.pipeline, plan, session.control.fencing_epoch);
    let [staged, found] = standing_pair(session, [&staging, &plan.target]).await?;
    match (staged, found) {
        // Nothing was to be copied. What stands is never emptied for that.
        (None, Some(_)) => {}
        (None, None) => {
            let target = session.target(plan).await?;
            create(session, (plan, &target)).await?;
        }
        (Some(_), Some(_)) if plan.mode == Mode::Append && made == Some(Mode::Append) => {
            let target = session.target(plan).await?;
            schema::fit(session, plan, &target.columns).await?;
            add(session, (plan, &target), &staging).await?;
        }
        (Some(_), None) => rename(session, plan, &staging).await?,
        (Some(_), Some(found)) => {
            if has_attachments(session.sql(), found.oid).await? {
                let target = session.target(plan).await?;
                refill(session, (plan, &target), (&staging, &found)).await?;
            } else {
                let doing = format!("dropping the old {}", plan.target);
                let drop = format!("DROP TABLE {}", table_name(&plan.target));
                ddl::run(session.sql(), &doing, &drop).await?;
                rename(session, plan, &staging).await?;
            }
        }
    }
    fault::point("promote.swapped")?;
    session.redefined(&plan.target);
    state::note_made(session.sql(), &session.pipeline, plan).await?;
    session.promoted.insert(plan.target.clone(), plan.mode);
    Ok(())
}

async fn create(session: &Session, (plan, target): (&TablePlan, &Target)) -> Result<()> {
    let doing = format!("making {}", plan.target);
    state::ensure_schema(session.sql(), &plan.target.schema).await?;
    let key = target.primary_key(plan).map(|key| format!(", PRIMARY KEY ({key})"));
    let (columns, key) = (target.definitions(plan), key.unwrap_or_default());
    let create = format!("CREATE TABLE {} ({columns}{key})", target.name);
    session.sql().execute(&doing, &create).await
}

/// Gives the staging table, and its key, the names that they are to bear.
async fn rename(session: &mut Session, plan: &TablePlan, staging: &TableName) -> Result<()> {
    let doing = format!("putting the copy of {} in place", plan.source.name);
    let (from, to) = (table_name(staging), identifier(&plan.target.name));
    let mut rename = format!("ALTER TABLE {from} RENAME TO {to}");
    let key = TableName::new(&*plan.target.schema, load::staging_key(staging));
    let name = format!("{}_pkey", crate::quote::limited(&plan.target.name, 58));
    let wanted = TableName::new(&*plan.target.schema, name);
    if let [Some(_), None] = standing_pair(session, [&key, &wanted]).await? {
        let (key, name) = (table_name(&key), identifier(&wanted.name));
        rename.push_str(&format!("; ALTER INDEX {key} RENAME TO {name}"));
    }
    ddl::run(session.sql(), &doing, &rename).await
}

/// Adds the staged rows to those of the target.
async fn add(
    session: &Session,
    (plan, target): (&TablePlan, &Target),
    staging: &TableName,
) -> Result<()> {
    let doing = format!("adding the copied rows to {}", plan.target);
    let (name, names, from) = (&target.name, &target.names, table_name(staging));
    session
        .change(&doing, &format!("INSERT INTO {name} ({names}) SELECT {names} FROM {from}"))
        .await?;
    ddl::run(session.sql(), &doing, &format!("DROP TABLE {from}")).await
}

/// Replaces the rows of the target by the staged ones, after giving it the columns it is to have.
async fn refill(
    session: &Session,
    (plan, target): (&TablePlan, &Target),
    (staging, found): (&TableName, &Standing),
) -> Result<()> {
    let doing = format!("replacing the rows of {}", plan.target);
    empty(session, target, &doing).await?;
    if !found.is_like(&target.columns) {
        reshape(session, (plan, target), found).await?;
    }
    let key = target.primary_key(plan).map(|_| target.key_columns());
    let wanted: Option<Vec<&str>> =
        key.as_ref().map(|key| key.iter().map(|column| column.name.as_str()).collect());
    let standing: Option<Vec<&str>> =
        found.primary_key.as_ref().map(|(_, columns)| columns.iter().map(String::as_str).collect());
    if wanted != standing {
        let mut changes = Vec::new();
        if let Some((name, _)) = &found.primary_key {
            changes.push(format!("DROP CONSTRAINT {}", identifier(name)));
        }
        if let Some(key) = target.primary_key(plan) {
            changes.push(format!("ADD PRIMARY KEY ({key})"));
        }
        let alter = format!("ALTER TABLE {} {}", target.name, changes.join(", "));
        ddl::run(session.sql(), &doing, &alter).await?;
    }
    add(session, (plan, target), staging).await
}

/// Drops columns that are gone or of another type, and adds those that are missing.
async fn reshape(
    session: &Session,
    (plan, target): (&TablePlan, &Target),
    found: &Standing,
) -> Result<()> {
    let doing = format!("giving {} its new columns", plan.target);
    let wanted = |name: &str| target.columns.iter().find(|column| column.name == name);
    let stays = |name: &str, kind: &str| wanted(name).is_some_and(|column| accepts(kind, column));
    let gone = found.columns.iter().filter(|(name, kind)| !stays(name, kind));
    let missing = target
        .columns
        .iter()
        .filter(|column| !found.type_of(&column.name).is_some_and(|kind| accepts(kind, column)));
    let gone = gone.map(|(name, _)| format!("DROP COLUMN {}", identifier(name)));
    let missing = missing
        .map(|column| format!("ADD COLUMN {} {}", identifier(&column.name), column.sql_type));
    let changes = list(gone.chain(missing));
    ddl::run(session.sql(), &doing, &format!("ALTER TABLE {} {changes}", target.name)).await
}
