//! PostgreSQL as a destination.
//!
//! An epoch is one transaction of one connection: the changes of all tables, the schema changes,
//! the tables put in place after their copy, and the checkpoint. Rows travel as `COPY` only,
//! straight into their table or into temporary tables from which one statement applies them.
//!
//! Readers see an epoch whole or not at all, with one exception that is the server's: a transaction
//! that took its snapshot before a table was emptied by TRUNCATE or swapped for a new copy finds
//! it empty.

mod apply;
mod commit;
mod complete;
mod copy;
mod ddl;
mod link;
mod load;
mod merge;
mod multiset;
mod once;
mod options;
mod origin;
mod preflight;
mod promote;
mod schema;
mod session;
mod stage;
mod standing;
mod state;
mod target;
mod teardown;
mod told;
mod view;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use rowtide_core::ledger::Told;
use rowtide_core::traits::{Loader, Progress, Writer};
use rowtide_core::view::Inspect;
use rowtide_core::{
    Capabilities, Destination, Error, Finding, PipelineState, Result, SchemaChange, TablePlan,
    TableState, TableWrite,
};

use self::link::Link;
pub use self::options::{OriginUse, PostgresDestinationOptions};
use self::session::Session;
use crate::options::PostgresOptions;
use crate::source::spare::Spare;
use crate::types::SYSTEM;

/// Where the destination is, and which writers were opened from here.
struct Place {
    options: PostgresDestinationOptions,
    connection: PostgresOptions,
    /// By pipeline, the fencing epoch of the last writer: what loads for it must still find.
    epochs: Mutex<HashMap<String, i64>>,
    /// Sessions that nobody uses, not known as any pipeline's.
    spare: Spare<Link>,
}

impl Place {
    fn opened(&self, pipeline: &str, fencing_epoch: i64) {
        let mut epochs = self.epochs.lock().unwrap_or_else(PoisonError::into_inner);
        epochs.insert(pipeline.to_owned(), fencing_epoch);
    }

    fn epoch(&self, pipeline: &str) -> Option<i64> {
        let epochs = self.epochs.lock().unwrap_or_else(PoisonError::into_inner);
        epochs.get(pipeline).copied()
    }
}

/// A PostgreSQL database as a destination. Each operation opens the connections that it needs, or
/// takes one that another left a moment ago.
#[derive(Clone)]
pub struct PostgresDestination {
    place: Arc<Place>,
}

impl PostgresDestination {
    /// A destination with `options`, which are to be
    /// [filled](PostgresDestinationOptions::filled). Nothing is connected yet.
    #[must_use]
    pub fn new(options: PostgresDestinationOptions) -> Self {
        let connection = options.connection();
        let (epochs, spare) = (Mutex::default(), Spare::default());
        Self { place: Arc::new(Place { options, connection, epochs, spare }) }
    }

    /// The database in words, without secrets.
    #[must_use]
    pub fn address(&self) -> String {
        self.place.connection.address()
    }
}

#[async_trait]
impl Destination for PostgresDestination {
    fn capabilities(&self) -> Capabilities {
        Capabilities { native_system: Some(SYSTEM), ..Capabilities::default() }
    }

    async fn preflight(&self, tables: &[TablePlan]) -> Result<Vec<Finding>> {
        preflight::look(&self.place, tables).await
    }

    async fn open(&self, pipeline: &str) -> Result<Box<dyn Writer>> {
        let session = Session::open(Arc::clone(&self.place), Arc::from(pipeline)).await?;
        Ok(Box::new(PostgresWriter { session: Some(session) }))
    }

    async fn load(
        &self,
        pipeline: &str,
        plan: &TablePlan,
        lanes: usize,
    ) -> Result<Vec<Box<dyn Loader>>> {
        load::open(&self.place, pipeline, plan, lanes).await
    }

    async fn peek(&self, pipeline: &str) -> Result<Option<PipelineState>> {
        let link = Link::connect(&self.place, pipeline).await?;
        let state = state::read(&link.sql, pipeline).await?;
        self.place.spare.keep(link);
        Ok(state)
    }

    async fn quarantine(&self, pipeline: &str, with_values: bool) -> Result<Vec<Told>> {
        let link = Link::connect(&self.place, pipeline).await?;
        told::read(&link.sql, pipeline, with_values).await
    }

    async fn teardown(&self, pipeline: &str) -> Result<Vec<String>> {
        teardown::run(&self.place, pipeline).await
    }

    fn inspect(&self) -> Option<&dyn Inspect> {
        Some(self)
    }
}

/// The one writer of a pipeline.
struct PostgresWriter {
    /// Taken out while a call runs, and gone after one that failed or was cancelled: dropping it
    /// ends the connection, and with it the epoch.
    session: Option<Session>,
}

impl PostgresWriter {
    fn take(&mut self) -> Result<Session> {
        self.session.take().ok_or_else(|| Error::internal("a writer was used after it failed"))
    }

    async fn give_back<T>(&mut self, session: Session, outcome: Result<T>) -> Result<T> {
        match outcome {
            Ok(value) => {
                self.session = Some(session);
                Ok(value)
            }
            Err(error) => Err(session.explain(error).await),
        }
    }
}

#[async_trait]
impl Writer for PostgresWriter {
    async fn state(&mut self) -> Result<PipelineState> {
        let session = self.take()?;
        let outcome = session.state().await;
        self.give_back(session, outcome).await
    }

    async fn write(&mut self, plan: &TablePlan, write: TableWrite) -> Result<()> {
        let mut session = self.take()?;
        let outcome = apply::write(&mut session, plan, &write).await;
        self.give_back(session, outcome).await
    }

    async fn apply_schema(&mut self, plan: &TablePlan, change: &SchemaChange) -> Result<()> {
        let mut session = self.take()?;
        let outcome = schema::apply(&mut session, plan, change).await;
        self.give_back(session, outcome).await
    }

    async fn promote(&mut self, plan: &TablePlan) -> Result<()> {
        let mut session = self.take()?;
        let outcome = promote::promote(&mut session, plan).await;
        self.give_back(session, outcome).await
    }

    async fn remember(&mut self, state: &TableState) -> Result<()> {
        let mut session = self.take()?;
        let outcome = session.remember(state).await;
        self.give_back(session, outcome).await
    }

    async fn commit(&mut self, progress: Progress<'_>) -> Result<()> {
        let mut session = self.take()?;
        let outcome = session.commit(progress).await;
        self.give_back(session, outcome).await
    }
}
