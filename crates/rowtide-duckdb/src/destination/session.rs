//! The blocking half of a writer: one connection, one open transaction at most, and what is kept
//! ready between writes (appenders, staging tables, prepared statements).

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::{Field, FieldRef, Schema, SchemaRef};
use rowtide_core::traits::Progress;
use rowtide_core::{Checkpoint, Error, Mode, Result, TableName, TablePlan, TableState, fault};

use super::load;
use super::owners::Owners;
use super::state::{self, Control, Owner};
use crate::error::During;
use crate::ffi::{Appender, Connection, Database, Statement, Value};
use crate::file;
use crate::quote::{TableRef, fold, join};
use crate::types::{column_type, holds};

/// How many tables' appenders and statements are kept ready. Beyond it all are let go: they are
/// quickly made anew, and memory stays bounded however many tables there are.
const READY_TABLES: usize = 64;

/// The same for staging tables, of which there is one per combination of column types.
const READY_STAGES: usize = 64;

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
    tables: HashMap<TableRef, Ready>,
    stages: HashMap<String, Stage>,
    stages_made: usize,
}

/// What is kept ready for one target.
#[derive(Default)]
struct Ready {
    /// The rows' schema that the table was last found to hold.
    fits: Option<SchemaRef>,
    appender: Option<(SchemaRef, Appender)>,
    statements: HashMap<String, Statement>,
}

/// A temporary table with columns `c0`, `c1` … that is emptied after each use.
struct Stage {
    table: TableRef,
    appender: Appender,
    truncate: Statement,
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
            tables: HashMap::new(),
            stages: HashMap::new(),
            stages_made: 0,
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
        let standing = columns(&self.connection, &target)?;
        for field in schema.fields() {
            let Some(column) = column_like(&standing, field.name()) else {
                return Err(gone(plan, field.name(), standing.is_empty()));
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
        let attempt = || format!("adding rows to {target}");
        let connection = self.connection.clone();
        let ready = self.ready(target);
        let current = ready.appender.take().filter(|(schema, _)| *schema == rows.schema());
        let (schema, mut appender) = match current {
            Some(pair) => pair,
            None => (rows.schema(), appender(&connection, target, &rows.schema())?),
        };
        appender.append(rows).and_then(|()| appender.flush()).during(attempt)?;
        ready.appender = Some((schema, appender));
        Ok(())
    }

    /// Runs `sql`, a change of the table `target`, prepared once; returns how many rows changed.
    pub(super) fn change(&mut self, target: &TableRef, sql: &str) -> Result<u64> {
        let changed =
            self.run_ready(target, sql, &[]).during(|| format!("changing rows of {target}"))?;
        self.note_change(target, changed);
        Ok(changed)
    }

    /// The same for a change whose text will not come again.
    pub(super) fn change_once(&mut self, target: &TableRef, sql: &str) -> Result<u64> {
        let changed =
            self.connection.execute(sql).during(|| format!("changing rows of {target}"))?;
        self.note_change(target, changed);
        Ok(changed)
    }

    fn note_change(&mut self, target: &TableRef, changed: u64) {
        if changed > 0 {
            self.changed.insert(target.clone());
        }
    }

    /// The table `name` of Rowtide's own.
    pub(super) fn own(&self, name: &str) -> TableRef {
        let (catalog, schema) = (Arc::clone(&self.catalog), state::SCHEMA.into());
        TableRef { catalog, schema, name: name.into() }
    }

    /// Runs `sql` with `values`, prepared once for `target`.
    pub(super) fn run_ready(
        &mut self,
        target: &TableRef,
        sql: &str,
        values: &[Value<'_>],
    ) -> crate::ffi::Result<u64> {
        let connection = self.connection.clone();
        let ready = self.ready(target);
        if let Some(statement) = ready.statements.get_mut(sql) {
            return statement.execute(values);
        }
        let mut statement = connection.prepare(sql)?;
        let changed = statement.execute(values)?;
        ready.statements.insert(sql.to_owned(), statement);
        Ok(changed)
    }

    /// Runs `sql` once.
    pub(super) fn execute(&mut self, sql: &str, attempt: impl FnOnce() -> String) -> Result<u64> {
        self.connection.execute(sql).during(attempt)
    }

    /// The one number that `sql` selects.
    pub(super) fn count(&mut self, sql: &str) -> Result<u64> {
        let rows = self.connection.query(sql, &[]).during(|| "counting rows".to_owned())?;
        let count = rows.first().and_then(|row| row[0].int());
        count
            .and_then(|count| u64::try_from(count).ok())
            .ok_or_else(|| Error::internal("a count is missing"))
    }

    /// Puts `batches`, of one schema, into a staging table with columns `c0`, `c1` ….
    pub(super) fn stage(&mut self, batches: &[RecordBatch]) -> Result<TableRef> {
        let attempt = || "staging rows".to_owned();
        let Some(first) = batches.first() else { return Err(Error::internal("nothing to stage")) };
        let schema = positional(&first.schema());
        let types = schema
            .fields()
            .iter()
            .map(|field| Ok(format!("{} {}", field.name(), column_type(field)?)))
            .collect::<Result<Vec<_>>>()?
            .join(", ");
        if self.stages.len() >= READY_STAGES && !self.stages.contains_key(&types) {
            self.drop_stages()?;
        }
        if !self.stages.contains_key(&types) {
            let stage = self.new_stage(&types, &schema)?;
            self.stages.insert(types.clone(), stage);
        }
        let Some(stage) = self.stages.get_mut(&types) else {
            return Err(Error::internal("a staging table went missing"));
        };
        for batch in batches {
            stage.appender.append(batch).during(attempt)?;
        }
        stage.appender.flush().during(attempt)?;
        Ok(stage.table.clone())
    }

    /// Empties a staging table after use.
    pub(super) fn unstage(&mut self, table: &TableRef) -> Result<()> {
        let stage = self.stages.values_mut().find(|stage| stage.table == *table);
        let Some(stage) = stage else { return Ok(()) };
        stage.truncate.execute(&[]).during(|| "emptying a staging table".to_owned())?;
        Ok(())
    }

    fn new_stage(&mut self, columns: &str, schema: &Schema) -> Result<Stage> {
        let attempt = || "making a staging table".to_owned();
        self.stages_made += 1;
        let table = self.temporary(&format!("rowtide_stage_{}", self.stages_made));
        self.connection
            .execute(&format!("CREATE TEMP TABLE {table} ({columns})"))
            .during(attempt)?;
        let names = [&*table.catalog, &*table.schema, &*table.name];
        let appender = Appender::new(&self.connection, names, schema, true).during(attempt)?;
        let truncate = self.connection.prepare(&format!("DELETE FROM {table}")).during(attempt)?;
        Ok(Stage { table, appender, truncate })
    }

    fn drop_stages(&mut self) -> Result<()> {
        for (_, stage) in self.stages.drain() {
            let table = stage.table.clone();
            drop(stage);
            self.connection
                .execute(&format!("DROP TABLE {table}"))
                .during(|| "dropping a staging table".to_owned())?;
        }
        self.tables.clear();
        Ok(())
    }

    /// The temporary table called `name`.
    pub(super) fn temporary(&self, name: &str) -> TableRef {
        TableRef { catalog: "temp".into(), schema: "main".into(), name: name.into() }
    }

    fn ready(&mut self, target: &TableRef) -> &mut Ready {
        if self.tables.len() >= READY_TABLES && !self.tables.contains_key(target) {
            self.tables.clear();
        }
        self.tables.entry(target.clone()).or_default()
    }

    /// Lets go of everything that knew the old definition of `target`.
    pub(super) fn redefined(&mut self, target: &TableRef) {
        self.tables.remove(target);
        self.ddl = true;
    }

    /// Ends the epoch: records `progress` if this is still the pipeline's writer, and commits.
    pub(super) fn commit(&mut self, progress: Progress<'_>) -> Result<()> {
        self.begin()?;
        let mut checkpoint = match progress.restart {
            true => Checkpoint::default(),
            false => self.checkpoint.clone(),
        };
        if let Some(next) = progress.checkpoint {
            checkpoint.advance(next)?;
        }
        let text = progress.checkpoint.map(state::document).transpose()?;
        let next = Control {
            commits: self.control.commits + 1,
            checkpoint: match progress.restart {
                true => text,
                false => text.or_else(|| self.control.checkpoint.clone()),
            },
            ..self.control.clone()
        };
        if fault::planted("checkpoint-outside-commit") {
            self.connection.execute("COMMIT; BEGIN").during(|| "committing".to_owned())?;
        }
        let recorded = self.record(&next, progress);
        let recorded =
            recorded.or_else(|error| if self.is_fenced() { Ok(0) } else { Err(error) })?;
        if recorded != 1 {
            return Err(self.fenced());
        }
        fault::point("commit.before")?;
        if let Err(failure) = self.connection.execute("COMMIT")
            && !self.is_committed(&next)
        {
            return Err(failure).during(|| "committing an epoch".to_owned());
        }
        fault::point("commit.done")?;
        self.in_transaction = false;
        self.changed.clear();
        self.promoted.clear();
        self.owners = Owners::default();
        self.control = next;
        self.checkpoint = checkpoint;
        self.checkpoint_file()
    }

    /// Updates the pipeline's row if it is as this writer left it; returns how many rows changed.
    fn record(&mut self, next: &Control, progress: Progress<'_>) -> Result<u64> {
        let now = state::now_us();
        let identity = progress.identity.map(state::document).transpose()?;
        let position = progress.checkpoint.map(ToString::to_string);
        let (pipeline, control) = (Arc::clone(&self.pipeline), self.control.clone());
        let values: [Value<'_>; 10] = [
            (&*pipeline).into(),
            control.fencing_epoch.into(),
            control.checkpoint.as_deref().into(),
            next.commits.into(),
            next.checkpoint.as_deref().into(),
            position.as_deref().into(),
            progress.checkpoint.map_or(Value::Null, |_| now.into()),
            progress.error.into(),
            progress.error.map_or(Value::Null, |_| now.into()),
            identity.as_deref().into(),
        ];
        // The identity tells of every table. Written at each commit, even as it is, it would fill
        // the log and the memory of thousands of tables.
        let (set, values) = match identity {
            Some(_) => (", identity = $10", &values[..]),
            None => ("", &values[..9]),
        };
        let own = self.own("pipelines");
        let sql = "UPDATE _rowtide.pipelines SET commits = $4, checkpoint = $5, \
             position = coalesce($6, position), \
             updated_at = coalesce(make_timestamp($7::BIGINT), updated_at), \
             last_error = coalesce($8, last_error), \
             last_error_at = coalesce(make_timestamp($9::BIGINT), last_error_at)";
        let only =
            "WHERE pipeline = $1 AND ((fencing_epoch = $2 AND checkpoint IS NOT DISTINCT FROM $3)";
        let anyone = if fault::planted("zombie-commits") { " OR true)" } else { ")" };
        self.run_ready(&own, &format!("{sql}{set} {only}{anyone}"), values)
            .during(|| "recording the checkpoint".to_owned())
    }

    /// Folds the log into the file directly after definitions changed: replaying such changes
    /// from the log is where DuckDB has had most of its bugs. Impossible while loaders write;
    /// then the next commit tries again.
    fn checkpoint_file(&mut self) -> Result<()> {
        self.ddl = self.ddl && !file::checkpoint(&self.connection)?;
        Ok(())
    }

    /// Whether a COMMIT of unknown outcome took place.
    fn is_committed(&self, next: &Control) -> bool {
        matches!(self.stored_control(), Ok(Some(stored)) if stored == *next)
    }

    /// Whether the pipeline's row is a newer writer's, or gone.
    fn is_fenced(&self) -> bool {
        match self.stored_control() {
            Ok(Some(stored)) => stored.fencing_epoch != self.control.fencing_epoch,
            Ok(None) => true,
            Err(_) => false,
        }
    }

    fn stored_control(&self) -> Result<Option<Control>> {
        let connection = file::connect(&self.database)?;
        if !state::exists(&connection)? {
            return Ok(None);
        }
        state::control(&connection, &self.pipeline)
    }

    fn fenced(&self) -> Error {
        Error::new(
            rowtide_core::ErrorKind::Fenced,
            format!(
                "a newer writer of pipeline {:?} took over, or it was torn down",
                self.pipeline
            ),
        )
        .with_hint("end this run; the newer one goes on")
    }
}

/// An appender of rows with `schema` to `target`.
pub(super) fn appender(
    connection: &Connection,
    target: &TableRef,
    schema: &Schema,
) -> Result<Appender> {
    let names = [&*target.catalog, &*target.schema, &*target.name];
    let standing = columns(connection, target)?;
    // An appender, unlike SQL, wants names in the very case that the table has them in.
    let field = |field: &FieldRef| match column_like(&standing, field.name()) {
        Some(column) => field.as_ref().clone().with_name(&column.name),
        None => field.as_ref().clone(),
    };
    let schema = Schema::new(schema.fields().iter().map(field).collect::<Vec<_>>());
    let own = schema.fields().iter().map(|field| field.name());
    let positional = standing.iter().map(|column| &column.name).eq(own);
    Appender::new(connection, names, &schema, positional)
        .during(|| format!("opening {target} for adding rows"))
}

/// A column that stands, with its type as the catalog spells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Standing {
    pub(super) name: String,
    pub(super) kind: String,
}

/// The column among `standing` that DuckDB takes for `name`.
pub(super) fn column_like<'a>(standing: &'a [Standing], name: &str) -> Option<&'a Standing> {
    standing.iter().find(|column| fold(&column.name) == fold(name))
}

/// Somebody dropped the target of `plan`, or a column of it.
fn gone(plan: &TablePlan, column: &str, all: bool) -> Error {
    let target = &plan.target;
    let what = match all {
        true => format!("table {target} is gone from the destination"),
        false => format!("table {target}: the column {column:?} is gone"),
    };
    Error::data(what).with_hint("it was changed by hand: copy it again (resync)")
}

/// A column of `plan`'s target does not hold what is to be written to it.
pub(super) fn misfit(plan: &TablePlan, column: &str, standing: &str, wanted: &str) -> Error {
    Error::data(format!(
        "table {}: column {column:?} is {standing}, which does not hold every value of {wanted}, \
         the type that table {} has now",
        plan.target, plan.source.name
    ))
    .with_hint(
        "rename or drop the old target, or give the table a new target, then copy it again (resync)",
    )
}

/// The columns of `table`, in the table's order.
pub(super) fn columns(connection: &Connection, table: &TableRef) -> Result<Vec<Standing>> {
    let reading = || format!("reading the columns of {table}");
    // By name: looking through the columns of all tables takes the longer the more there are.
    if connection.entry([&table.catalog, &table.schema, &table.name]).during(reading)?.is_none() {
        return Ok(Vec::new());
    }
    let sql = format!("SELECT column_name, column_type FROM (DESCRIBE {table})");
    let rows = connection.query(&sql, &[]).during(reading)?;
    let column = |row: &Vec<crate::ffi::Cell>| {
        Some(Standing { name: row[0].text()?.to_owned(), kind: row[1].text()?.to_owned() })
    };
    Ok(rows.iter().filter_map(column).collect())
}

/// Column definitions for a table with the fields of `schema`.
pub(super) fn definitions(schema: &Schema) -> Result<String> {
    let columns = schema
        .fields()
        .iter()
        .map(|field| Ok((crate::quote::Ident(field.name()).to_string(), column_type(field)?)))
        .collect::<Result<Vec<_>>>()?;
    Ok(join(columns, ", ", |(name, kind)| format!("{name} {kind}")))
}

/// `schema` with its columns called `c0`, `c1` ….
fn positional(schema: &Schema) -> Schema {
    let fields: Vec<Field> = schema
        .fields()
        .iter()
        .enumerate()
        .map(|(index, field)| field.as_ref().clone().with_name(format!("c{index}")))
        .collect();
    Schema::new(fields)
}
