//! The blocking half of a writer: one connection, one open transaction at most, and what is kept
//! ready between writes (feeds, prepared statements).

mod commit;
mod rows;
mod standing;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::{Schema, SchemaRef};
use rowtide_core::{Checkpoint, Error, Mode, Result, TableName, TablePlan, TableState};

pub(super) use self::standing::{Standing, column_like, columns, definitions, misfit};
use super::load;
use super::owners::Owners;
use super::state::{self, Control, Owner};
use crate::error::During;
use crate::ffi;
use crate::ffi::{Connection, Database, Feed, Statement, Value};
use crate::file;
use crate::long::{self, Window};
use crate::quote::TableRef;
use crate::types::{column_type, holds};

/// Of how many tables something is remembered, and how many statements stay prepared. Beyond it all
/// are let go: they are quickly made anew, and memory stays bounded however many tables there are.
const READY: usize = 64;

/// Everything that belongs to one writer. Dropping it rolls the open transaction back.
pub(super) struct Session {
    pub(super) connection: Connection,
    pub(super) catalog: Arc<str>,
    pub(super) pipeline: Arc<str>,
    database: Arc<Database>,
    /// The pipeline's row as this writer last committed it.
    control: Control,
    checkpoint: Checkpoint,
    in_transaction: bool,
    /// Tables with rows deleted or updated in the open transaction: DuckDB refuses to commit an
    /// ALTER on top.
    pub(super) changed: HashSet<TableRef>,
    /// Tables that the open transaction put in place, and in which mode. What the state says of
    /// them may only be remembered afterwards.
    pub(super) promoted: HashMap<TableRef, Mode>,
    /// Whose the targets are, as the open transaction sees it.
    pub(super) owners: Owners,
    /// Whether definitions changed since the last checkpoint of the file.
    pub(super) ddl: bool,
    /// The bytes that a vector of rows takes that were added in the open transaction, if they are
    /// long.
    long: Option<u64>,
    tables: HashMap<TableRef, Ready>,
    feeds: HashMap<Schema, Feed>,
    prepared: HashMap<String, Statement>,
    /// How often definitions had changed when those were prepared.
    defined: u64,
}

/// What is remembered of one target.
#[derive(Default)]
struct Ready {
    /// The rows' schema that the table was last found to hold.
    fits: Option<SchemaRef>,
    window: Window,
}

impl Session {
    /// Opens the file and becomes the writer of `pipeline`.
    pub(super) fn open(database: Arc<Database>, pipeline: Arc<str>) -> Result<Self> {
        let connection = file::connect(&database)?;
        let catalog = file::catalog(&connection)?;
        let control = state::raise_epoch(&connection, &pipeline)?;
        load::make_ledger(&connection, &catalog)?;
        let stored = state::read(&connection, &pipeline)?.unwrap_or_default();
        Ok(Self {
            connection,
            catalog,
            pipeline,
            database,
            control,
            checkpoint: stored.checkpoint.unwrap_or_default(),
            in_transaction: false,
            changed: HashSet::new(),
            promoted: HashMap::new(),
            owners: Owners::default(),
            ddl: false,
            long: None,
            tables: HashMap::new(),
            feeds: HashMap::new(),
            prepared: HashMap::new(),
            defined: 0,
        })
    }

    /// What is stored, as of the last commit.
    pub(super) fn state(&mut self) -> Result<rowtide_core::PipelineState> {
        let connection = file::connect(&self.database)?;
        let stored = state::read(&connection, &self.pipeline)?;
        stored.ok_or_else(|| self.fenced())
    }

    /// The table that `plan` writes to.
    pub(super) fn target(&self, plan: &TablePlan) -> TableRef {
        TableRef::new(&self.catalog, &plan.target)
    }

    /// Whether the epoch's transaction sees `table` as it stands now: it sees nothing that was
    /// committed after it began.
    pub(super) fn is_current(&self, table: &TableRef) -> Result<bool> {
        let rows = |connection: &Connection| -> Result<Option<i64>> {
            let name = TableName::new(Arc::clone(&table.schema), Arc::clone(&table.name));
            if state::table_like(connection, &name)?.is_none() {
                return Ok(None);
            }
            let rows = connection.query(&format!("SELECT count(*) FROM {table}"), &[]);
            let rows = rows.during(|| format!("counting the rows of {table}"))?;
            Ok(rows.first().and_then(|row| row[0].int()))
        };
        Ok(rows(&self.connection)? == rows(&file::connect(&self.database)?)?)
    }

    /// Begins the epoch's transaction unless it is open.
    pub(super) fn begin(&mut self) -> Result<()> {
        if !self.in_transaction {
            let defined = self.connection.defined();
            if std::mem::replace(&mut self.defined, defined) != defined {
                self.prepared.clear();
            }
            self.connection.execute("BEGIN").during(|| "beginning an epoch".to_owned())?;
            self.in_transaction = true;
        }
        Ok(())
    }

    /// Remembers `state` for its table.
    ///
    /// # Errors
    /// `Config` if its target is another's: once remembered, it would be taken for this one's.
    pub(super) fn remember(&mut self, state: &TableState) -> Result<()> {
        self.begin()?;
        let made = self.made(&state.schema.name, &state.target)?;
        let is_new = self.owners.is_new(&self.pipeline, &state.schema.name);
        state::remember(self, state, (made, is_new))?;
        self.owners.stored(Owner {
            pipeline: self.pipeline.to_string(),
            source: state.schema.name.clone(),
            target: state.target.clone(),
            made,
        });
        Ok(())
    }

    /// The mode in which this pipeline put the table there that stands under the name `target`;
    /// `None` if nothing stands there.
    ///
    /// # Errors
    /// `Config` if what stands there is another's.
    pub(super) fn made(&mut self, source: &TableName, target: &TableName) -> Result<Option<Mode>> {
        match self.promoted.get(&TableRef::new(&self.catalog, target)) {
            Some(mode) => Ok(Some(*mode)),
            None => {
                let owners = self.owners.of(&self.connection, target)?;
                load::may_take(&self.connection, &owners, (&self.pipeline, source, target))
            }
        }
    }

    /// Checks that the columns of `plan`'s target hold its rows as they are: DuckDB would
    /// otherwise round them without a word. Looked up once per table and version.
    pub(super) fn check_fit(&mut self, plan: &TablePlan) -> Result<()> {
        let (target, schema) = (self.target(plan), plan.target_arrow());
        let known = self.tables.get(&target).and_then(|ready| ready.fits.as_ref());
        if known == Some(&schema) {
            return Ok(());
        }
        let there = columns(&self.connection, &target)?;
        for field in schema.fields() {
            let Some(column) = column_like(&there, field.name()) else {
                return Err(standing::gone(plan, field.name(), there.is_empty()));
            };
            let wanted = column_type(field)?;
            if !holds(&column.kind, &wanted) {
                return Err(misfit(plan, &column.name, &column.kind, &wanted));
            }
        }
        self.ready(&target).fits = Some(schema);
        Ok(())
    }

    /// Appends `rows` to the table `target`, by column name.
    pub(super) fn append(&mut self, target: &TableRef, rows: &RecordBatch) -> Result<()> {
        if rows.num_rows() == 0 {
            return Ok(());
        }
        let (bytes, share) = (rows.get_array_memory_size(), long::share(&self.connection));
        let vector = self.ready(target).window.note(rows.num_rows(), bytes, share);
        self.insert(target, rows)?;
        self.long = self.long.max(vector);
        Ok(())
    }

    /// Runs `sql`, a change of the table `target`; returns how many rows changed.
    pub(super) fn change(&mut self, target: &TableRef, sql: &str) -> Result<u64> {
        let changed = self.execute(sql, || format!("changing rows of {target}"))?;
        self.note_change(target, changed);
        Ok(changed)
    }

    fn note_change(&mut self, target: &TableRef, changed: u64) {
        if changed > 0 {
            self.changed.insert(target.clone());
        }
    }

    /// Runs `sql` with `values`, prepared once.
    ///
    /// Only for statements whose plan does not depend on what a table holds: DuckDB (1.5) plans by
    /// the statistics of that moment, and keeps the plan. A `SELECT … WHERE i = 500` that was
    /// prepared when there was no 500 never finds one.
    pub(super) fn run_prepared(&mut self, sql: &str, values: &[Value<'_>]) -> ffi::Result<u64> {
        if let Some(statement) = self.prepared.get_mut(sql) {
            return statement.execute(values);
        }
        let mut statement = self.connection.prepare(sql)?;
        let changed = statement.execute(values)?;
        if self.prepared.len() >= READY {
            self.prepared.clear();
        }
        self.prepared.insert(sql.to_owned(), statement);
        Ok(changed)
    }

    /// Runs `sql` once.
    pub(super) fn execute(&mut self, sql: &str, attempt: impl FnOnce() -> String) -> Result<u64> {
        let executed = self.connection.execute(sql);
        self.settled(executed).during(attempt)
    }

    /// The one number that `sql` selects.
    pub(super) fn count(&mut self, sql: &str) -> Result<u64> {
        let rows = self.connection.query(sql, &[]).during(|| "counting rows".to_owned())?;
        let count = rows.first().and_then(|row| row[0].int());
        count
            .and_then(|count| u64::try_from(count).ok())
            .ok_or_else(|| Error::internal("a count is missing"))
    }

    /// The temporary table called `name`.
    pub(super) fn temporary(&self, name: &str) -> TableRef {
        TableRef { catalog: "temp".into(), schema: "main".into(), name: name.into() }
    }

    fn ready(&mut self, target: &TableRef) -> &mut Ready {
        if self.tables.len() >= READY && !self.tables.contains_key(target) {
            self.tables.clear();
        }
        self.tables.entry(target.clone()).or_default()
    }

    /// Lets go of everything that knew the old definition of `target`.
    pub(super) fn redefined(&mut self, target: &TableRef) {
        self.tables.remove(target);
        self.connection.note_defined();
        self.ddl = true;
    }
}
