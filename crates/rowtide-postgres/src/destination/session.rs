//! The writer's session: one connection, one open transaction at most, and what is kept ready
//! between writes (statements, staging tables, the targets' types).

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use rowtide_core::{
    Checkpoint, Error, Mode, PipelineState, Result, TableName, TablePlan, TableState,
};
use tokio_postgres::Statement;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::ToSql;

use super::link::{Link, LockKey};
use super::stage::Stage;
use super::standing::{self, Standing};
use super::state::{self, Control};
use super::target::Target;
use super::{Place, load, origin};
use crate::client::Sql;
use crate::error::{from_driver, is_state};
use crate::quote::table_name;

/// How many targets, and how many statements, are kept ready. Beyond it all are let go: they are
/// quickly made anew, and memory stays bounded however many tables there are.
const READY: usize = 256;

/// How long a write waits for somebody else's lock.
pub(super) const LOCK_TIMEOUT: &str = "60s";

/// How often becoming the writer is tried while another is just becoming it.
const OPENING_TRIES: usize = 5;

/// Everything that belongs to one writer. Dropping it ends the connection, which undoes the open
/// transaction.
pub(super) struct Session {
    pub(super) place: Arc<Place>,
    pub(super) pipeline: Arc<str>,
    pub(super) link: Link,
    /// The pipeline's row as this writer last committed it.
    pub(super) control: Control,
    pub(super) checkpoint: Checkpoint,
    in_transaction: bool,
    /// Tables that the open transaction put in place, and in which mode. What the state says of
    /// them may only be remembered afterwards.
    pub(super) promoted: HashMap<TableName, Mode>,
    /// Targets whose columns were looked at in the open transaction, which keeps them as they are.
    checked: HashSet<TableName>,
    targets: HashMap<TableName, Arc<Target>>,
    statements: HashMap<String, Statement>,
    pub(super) stages: HashMap<String, Stage>,
    pub(super) stages_made: usize,
}

impl Session {
    /// Connects and becomes the writer of `pipeline`: older sessions end, and the fencing epoch
    /// is raised durably.
    pub(super) async fn open(place: Arc<Place>, pipeline: Arc<str>) -> Result<Self> {
        let link = Link::connect(&place, &pipeline).await?;
        state::prepare(&link.sql).await?;
        let control = become_writer(&link, &pipeline).await?;
        let stored = state::read(&link.sql, &pipeline).await?.unwrap_or_default();
        prepare(&place, &link, &pipeline).await?;
        place.opened(&pipeline, control.fencing_epoch);
        Ok(Self {
            place,
            pipeline,
            link,
            control,
            checkpoint: stored.checkpoint.unwrap_or_default(),
            in_transaction: false,
            promoted: HashMap::new(),
            checked: HashSet::new(),
            targets: HashMap::new(),
            statements: HashMap::new(),
            stages: HashMap::new(),
            stages_made: 0,
        })
    }

    pub(super) fn sql(&self) -> &Sql {
        &self.link.sql
    }

    /// What is stored, as of the last commit: the open transaction may have written already.
    pub(super) async fn state(&self) -> Result<PipelineState> {
        let stored = if self.in_transaction || self.sql().client().is_closed() {
            let link = Link::connect(&self.place, &self.pipeline).await?;
            state::read(&link.sql, &self.pipeline).await?
        } else {
            state::read(self.sql(), &self.pipeline).await?
        };
        stored.ok_or_else(|| fenced(&self.pipeline))
    }

    /// Begins the epoch's transaction unless it is open.
    pub(super) async fn begin(&mut self) -> Result<()> {
        if !self.in_transaction {
            let begin = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE";
            self.sql().execute("beginning an epoch", begin).await?;
            self.in_transaction = true;
        }
        Ok(())
    }

    /// The epoch's transaction has ended.
    pub(super) fn ended(&mut self) {
        self.in_transaction = false;
        self.promoted.clear();
        self.checked.clear();
        for stage in self.stages.values_mut() {
            stage.used = false;
        }
    }

    /// Goes on with another connection, after the old one was lost.
    pub(super) async fn go_on_with(&mut self, link: Link) -> Result<()> {
        prepare(&self.place, &link, &self.pipeline).await?;
        self.link = link;
        self.stages.clear();
        self.statements.clear();
        Ok(())
    }

    /// Remembers `state` for its table.
    ///
    /// # Errors
    /// `Config` if its target is another's: once remembered, it would be taken for this one's.
    pub(super) async fn remember(&mut self, state: &TableState) -> Result<()> {
        self.begin().await?;
        let made = self.made(&state.schema.name, &state.target).await?;
        state::remember(self, state, made).await
    }

    /// The mode in which this pipeline put the table there that stands under the name `target`;
    /// `None` if nothing stands there.
    ///
    /// # Errors
    /// `Config` if what stands there is another's.
    pub(super) async fn made(
        &mut self,
        source: &TableName,
        target: &TableName,
    ) -> Result<Option<Mode>> {
        if let Some(mode) = self.promoted.get(target) {
            return Ok(Some(*mode));
        }
        let names: [&(dyn ToSql + Sync); 2] = [&&*target.schema, &&*target.name];
        let rows = self.query_ready(state::READING, state::OWNERS_OF, &names).await?;
        let owners: Vec<_> = rows.iter().map(state::owner).collect::<Result<_>>()?;
        let looking = format!("looking at {target}");
        let stands = !self.query_ready(&looking, standing::QUERY, &names).await?.is_empty();
        load::judge(&owners, stands, (&self.pipeline, source, target))
    }

    /// What rows of `plan` are to be written as.
    pub(super) async fn target(&mut self, plan: &TablePlan) -> Result<Arc<Target>> {
        let schema = plan.target_arrow();
        if let Some(ready) = self.targets.get(&plan.target)
            && ready.planned == schema
            && ready.key == plan.source.key
        {
            return Ok(Arc::clone(ready));
        }
        let target = Arc::new(Target::look_up(self.sql(), plan).await?);
        if self.targets.len() >= READY {
            self.targets.clear();
        }
        self.targets.insert(plan.target.clone(), Arc::clone(&target));
        Ok(target)
    }

    /// The same for a target that is about to be written to, as it stands. Checked that it holds
    /// the rows as they are: the server would otherwise round them without a word.
    pub(super) async fn writable(&mut self, plan: &TablePlan) -> Result<Arc<Target>> {
        let target = self.target(plan).await?;
        if self.checked.contains(&plan.target) {
            return Ok(target);
        }
        // Writers and readers go on beside this lock, but nobody alters the table any more.
        let lock = format!("LOCK TABLE {} IN ROW EXCLUSIVE MODE", target.name);
        match self.sql().client().batch_execute(&lock).await {
            Err(error) if is_state(&error, &SqlState::UNDEFINED_TABLE) => return Err(gone(plan)),
            locked => {
                locked.map_err(|error| from_driver(&format!("locking {}", plan.target), error))?;
            }
        }
        let looking = format!("looking at {}", plan.target);
        let names: [&(dyn ToSql + Sync); 2] = [&&*plan.target.schema, &&*plan.target.name];
        let rows = self.query_ready(&looking, standing::QUERY, &names).await?;
        let standing = rows.first().map(Standing::of).transpose()?.ok_or_else(|| gone(plan))?;
        standing.check(plan, &target.columns)?;
        let target = match target.fitted(&standing) {
            None => target,
            Some(fitted) => {
                let fitted = Arc::new(fitted);
                self.targets.insert(plan.target.clone(), Arc::clone(&fitted));
                fitted
            }
        };
        self.checked.insert(plan.target.clone());
        Ok(target)
    }

    /// Lets go of everything that knew the old definition of `target`.
    pub(super) fn redefined(&mut self, target: &TableName) {
        self.targets.remove(target);
        self.checked.remove(target);
        let name = table_name(target);
        self.statements.retain(|sql, _| !sql.contains(&name));
    }

    /// The statement of `sql`, prepared once.
    pub(super) async fn prepared(&mut self, doing: &str, sql: &str) -> Result<Statement> {
        if let Some(statement) = self.statements.get(sql) {
            return Ok(statement.clone());
        }
        let prepared = self.link.sql.client().prepare(sql).await;
        let statement = prepared.map_err(|error| from_driver(doing, error))?;
        if self.statements.len() >= READY {
            self.statements.clear();
        }
        self.statements.insert(sql.to_owned(), statement.clone());
        Ok(statement)
    }

    /// The rows of `sql`, prepared once.
    pub(super) async fn query_ready(
        &mut self,
        doing: &str,
        sql: &str,
        values: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<tokio_postgres::Row>> {
        let statement = self.prepared(doing, sql).await?;
        let rows = self.link.sql.client().query(&statement, values).await;
        rows.map_err(|error| from_driver(doing, error))
    }

    /// Runs `sql`, planned anew, for its plan depends on how much is staged; returns how many
    /// rows it changed.
    pub(super) async fn change(&self, doing: &str, sql: &str) -> Result<u64> {
        let changed = self.link.sql.client().execute_typed(sql, &[]).await;
        changed.map_err(|error| from_driver(doing, error))
    }

    /// Makes of an error what it means: if a newer writer ended this session, that is the news.
    pub(super) async fn explain(&self, error: Error) -> Error {
        if !error.kind().is_transient() {
            return error;
        }
        let look = async {
            let link = Link::connect(&self.place, &self.pipeline).await?;
            state::control(&link.sql, &self.pipeline, "").await
        };
        match look.await {
            Ok(stored)
                if stored
                    .is_none_or(|stored| stored.fencing_epoch != self.control.fencing_epoch) =>
            {
                fenced(&self.pipeline).with_source(error)
            }
            Ok(_) | Err(_) => error,
        }
    }
}

/// What every connection of a writer has.
async fn prepare(place: &Place, link: &Link, pipeline: &str) -> Result<()> {
    origin::set_up(place, link, pipeline).await
}

/// Raises the fencing epoch. Whoever does so first ends every older session of the pipeline, so
/// that none of them can hold it up, and only then counts as one itself.
async fn become_writer(link: &Link, pipeline: &str) -> Result<Control> {
    let doing = "becoming the writer of the destination";
    let sql = &link.sql;
    for _ in 0..OPENING_TRIES {
        sql.execute(doing, "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE").await?;
        sql.execute(doing, "SET LOCAL lock_timeout = '3s'").await?;
        let lock = "SELECT pg_catalog.pg_advisory_xact_lock($1)";
        let key = LockKey::opening(pipeline).number();
        match sql.client().query(lock, &[&key]).await {
            Ok(_) => {}
            Err(error) if is_state(&error, &SqlState::LOCK_NOT_AVAILABLE) => {
                // Another is just becoming it, and sleeps.
                sql.execute(doing, "ROLLBACK").await?;
                link.end_opener(pipeline).await?;
                continue;
            }
            Err(error) => return Err(from_driver(doing, error)),
        }
        link.end_others(pipeline).await?;
        link.register(pipeline).await?;
        let control = state::raise(sql, pipeline).await?;
        sql.execute(doing, "COMMIT").await?;
        return Ok(control);
    }
    Err(Error::unavailable(format!("{doing}: another is becoming it all the time")))
}

/// Somebody dropped the target.
fn gone(plan: &TablePlan) -> Error {
    Error::data(format!("table {} is gone from the destination", plan.target))
        .with_hint("copy it again (resync)")
}

/// A newer writer exists.
pub(super) fn fenced(pipeline: &str) -> Error {
    Error::fenced(format!("a newer writer of pipeline {pipeline:?} took over, or it was torn down"))
        .with_hint("end this run; the newer one goes on")
}
