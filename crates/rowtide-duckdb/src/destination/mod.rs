//! DuckDB as a destination.
//!
//! An epoch is one transaction of one file: the changes of all tables, the schema changes, the
//! tables put in place after their copy, and the checkpoint. DuckDB's calls block, so each method
//! moves what it needs to a thread for blocking work and back. A call that is cancelled finishes
//! there, and what it worked on is dropped, which rolls the epoch back.

mod apply;
mod load;
mod merge;
mod multiset;
mod once;
mod owners;
mod preflight;
mod schema;
mod session;
mod state;
mod teardown;
mod told;
mod view;

use std::sync::Arc;

use async_trait::async_trait;
use rowtide_core::ledger::Told;
use rowtide_core::traits::{Loader, Progress, Writer};
use rowtide_core::view::Inspect;
use rowtide_core::{
    Capabilities, Checkpoint, Destination, Error, Finding, PipelineState, Result, SchemaChange,
    SourceIdentity, TablePlan, TableState, TableWrite,
};

use self::session::Session;
use crate::error::During;
use crate::ffi::{Cell, Connection};
use crate::file;
use crate::options::DuckdbOptions;

/// A DuckDB file as a destination. It is opened by the first call that needs it, and closed when
/// the last writer and loader are dropped.
#[derive(Debug, Clone)]
pub struct DuckdbDestination {
    options: Arc<DuckdbOptions>,
}

impl DuckdbDestination {
    /// A destination with `options`. Nothing is opened yet.
    ///
    /// # Errors
    /// `Config` if an option is wrong.
    pub fn new(options: DuckdbOptions) -> Result<Self> {
        options.validate()?;
        Ok(Self { options: Arc::new(options) })
    }

    /// The rows that `select` gives, every value as text, as of the last commit. For looking at
    /// what was written: tests, demos, a shell.
    ///
    /// # Errors
    /// `Config` if the file does not exist or the statement is wrong.
    pub async fn select(&self, select: &str) -> Result<Vec<Vec<Option<String>>>> {
        let (options, select) = (Arc::clone(&self.options), select.to_owned());
        let missing = Error::config(format!("{} does not exist", options.path.display()));
        file::blocking(move || {
            let sql = format!("SELECT COLUMNS(*)::VARCHAR FROM ({select})");
            file::read(&options, |connection| {
                let rows = connection.query(&sql, &[]).during(|| "reading".to_owned())?;
                let text = |cell: &Cell| cell.text().map(str::to_owned);
                Ok(rows.iter().map(|row| row.iter().map(text).collect()).collect())
            })?
            .ok_or(missing)
        })
        .await
    }

    /// Runs `sql` in the file, as its owner may at any time, and commits it. For tests, which play
    /// the owner.
    #[doc(hidden)]
    pub async fn execute(&self, sql: &str) -> Result<()> {
        let (options, sql) = (Arc::clone(&self.options), sql.to_owned());
        file::blocking(move || {
            let connection = file::connect(&file::open(&options)?)?;
            connection.execute(&sql).during(|| "executing".to_owned()).map(drop)
        })
        .await
    }
}

#[async_trait]
impl Destination for DuckdbDestination {
    fn capabilities(&self) -> Capabilities {
        Capabilities { ignores_case: true, row_number: Some("rowid"), native_system: None }
    }

    async fn preflight(&self, tables: &[TablePlan]) -> Result<Vec<Finding>> {
        let (options, tables) = (Arc::clone(&self.options), tables.to_vec());
        file::blocking(move || Ok(preflight::look(&options, &tables))).await
    }

    async fn open(&self, pipeline: &str) -> Result<Box<dyn Writer>> {
        let (options, pipeline) = (Arc::clone(&self.options), Arc::from(pipeline));
        let open = move || Session::open(file::open(&options)?, pipeline);
        let session = file::blocking(open).await?;
        Ok(Box::new(DuckdbWriter { session: Some(session) }))
    }

    async fn load(
        &self,
        pipeline: &str,
        plan: &TablePlan,
        lanes: usize,
    ) -> Result<Vec<Box<dyn Loader>>> {
        let (options, pipeline) = (Arc::clone(&self.options), pipeline.to_owned());
        let plan = plan.clone();
        file::blocking(move || load::open(&file::open(&options)?, &pipeline, &plan, lanes)).await
    }

    async fn peek(&self, pipeline: &str) -> Result<Option<PipelineState>> {
        let (options, pipeline) = (Arc::clone(&self.options), pipeline.to_owned());
        file::blocking(move || {
            let read = file::read(&options, |connection| state::read(connection, &pipeline))?;
            Ok(read.flatten())
        })
        .await
    }

    async fn quarantine(&self, pipeline: &str, with_values: bool) -> Result<Vec<Told>> {
        let (options, pipeline) = (Arc::clone(&self.options), pipeline.to_owned());
        file::blocking(move || {
            let told = |connection: &Connection| told::read(connection, &pipeline, with_values);
            Ok(file::read(&options, told)?.unwrap_or_default())
        })
        .await
    }

    fn inspect(&self) -> Option<&dyn Inspect> {
        Some(self)
    }

    async fn teardown(&self, pipeline: &str) -> Result<Vec<String>> {
        let (options, pipeline) = (Arc::clone(&self.options), pipeline.to_owned());
        file::blocking(move || {
            if !options.path.exists() {
                return Ok(Vec::new());
            }
            teardown::run(&file::connect(&file::open(&options)?)?, &pipeline)
        })
        .await
    }
}

/// The one writer of a pipeline.
struct DuckdbWriter {
    /// Taken out while a call runs, and gone after one that failed or was cancelled.
    session: Option<Session>,
}

impl DuckdbWriter {
    async fn run<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut Session) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let mut session = self
            .session
            .take()
            .ok_or_else(|| Error::internal("a writer was used after it failed"))?;
        let work = move || work(&mut session).map(|value| (session, value));
        let (session, value) = file::blocking(work).await?;
        self.session = Some(session);
        Ok(value)
    }
}

#[async_trait]
impl Writer for DuckdbWriter {
    async fn state(&mut self) -> Result<PipelineState> {
        self.run(Session::state).await
    }

    async fn write(&mut self, plan: &TablePlan, write: TableWrite) -> Result<()> {
        let plan = plan.clone();
        self.run(move |session| apply::write(session, &plan, &write)).await
    }

    async fn apply_schema(&mut self, plan: &TablePlan, change: &SchemaChange) -> Result<()> {
        let (plan, change) = (plan.clone(), change.clone());
        self.run(move |session| schema::apply(session, &plan, &change)).await
    }

    async fn promote(&mut self, plan: &TablePlan) -> Result<()> {
        let plan = plan.clone();
        self.run(move |session| load::promote(session, &plan)).await
    }

    async fn remember(&mut self, state: &TableState) -> Result<()> {
        let state = state.clone();
        self.run(move |session| session.remember(&state)).await
    }

    async fn commit(&mut self, progress: Progress<'_>) -> Result<()> {
        let progress = OwnedProgress {
            restart: progress.restart,
            checkpoint: progress.checkpoint.cloned(),
            identity: progress.identity.cloned(),
            error: progress.error.map(str::to_owned),
        };
        self.run(move |session| session.commit(progress.borrow())).await
    }
}

impl Drop for DuckdbWriter {
    fn drop(&mut self) {
        file::drop_blocking(self.session.take());
    }
}

/// A [`Progress`] that can move to another thread.
struct OwnedProgress {
    restart: bool,
    checkpoint: Option<Checkpoint>,
    identity: Option<SourceIdentity>,
    error: Option<String>,
}

impl OwnedProgress {
    fn borrow(&self) -> Progress<'_> {
        Progress {
            restart: self.restart,
            checkpoint: self.checkpoint.as_ref(),
            identity: self.identity.as_ref(),
            error: self.error.as_deref(),
        }
    }
}
