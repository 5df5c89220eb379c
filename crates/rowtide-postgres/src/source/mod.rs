//! The source: everything behind [`rowtide_core::Source`].

mod assemble;
mod attach;
mod columns;
mod composites;
mod ddl_events;
mod decoder;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod guard;
mod history;
mod identity;
mod labels;
mod layouts;
mod operations;
mod policy;
mod preflight;
mod publication;
mod rights;
mod schema_change;
mod shape;
mod slot;
mod snapshot;
pub(crate) mod spare;
mod stream;
mod table_buffer;
mod tap;
mod view;
mod visible;

use std::borrow::Cow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use rowtide_core::traits::{
    AttachRequest, Attached, ChangeStream, ModeOf, SnapshotRequest, SourceOperations, StreamStart,
    TableSnapshot,
};
use rowtide_core::view::{FencedView, Inspect, ViewRequest};
use rowtide_core::{
    Capabilities, Checkpoint, Error, Finding, Partition, Result, Source, TableSchema,
    TableSelection, ValueRule,
};
use tokio::sync::watch;

use crate::catalog::{CatalogTable, load_sizes, load_tables, load_types};
use crate::client::{self, Sql};
use crate::options::PostgresOptions;
use crate::replication::ReplicationConnection;
use crate::types::{SYSTEM, TypeMap};
use crate::wire::{Connection, Purpose};
use guard::Memory;
use identity::Names;
use policy::with_text_columns;
pub(crate) use snapshot::RowReader;
use spare::Spare;

/// The one partition of this source's checkpoints.
const PARTITION: &str = "postgres";

fn partition() -> Partition {
    PARTITION.into()
}

/// PostgreSQL as a source. Each operation opens the connections it needs, or takes one that another
/// left a moment ago; none is held.
#[derive(Debug, Clone)]
pub struct PostgresSource {
    options: Arc<PostgresOptions>,
    names: Arc<Names>,
    /// A column was met that only the text form of the log can carry.
    text_only: Arc<AtomicBool>,
    /// Up to where the log has to be read with care, after the server failed to decode it.
    stumbled: Arc<Mutex<Option<u64>>>,
    /// The publications as they were when the pipeline was last attached.
    attached: Arc<Mutex<Option<Memory>>>,
    spare: Spare<Sql>,
    spare_reading: Spare<Connection>,
    spare_replication: Spare<ReplicationConnection>,
}

impl PostgresSource {
    /// Describes the source of `pipeline`; no I/O. Give it options that are
    /// [filled](PostgresOptions::filled).
    #[must_use]
    pub fn new(options: PostgresOptions, pipeline: &str) -> Self {
        let names = Names::new(&options, pipeline);
        let text_only = Arc::new(AtomicBool::new(false));
        let (stumbled, attached) = (Arc::default(), Arc::default());
        let (options, names) = (Arc::new(options), Arc::new(names));
        let (spare, spare_reading, spare_replication) = Default::default();
        Self {
            options,
            names,
            text_only,
            stumbled,
            attached,
            spare,
            spare_reading,
            spare_replication,
        }
    }

    /// The same source, reading for a destination with `capabilities`.
    #[must_use]
    pub fn reading_for(mut self, capabilities: Capabilities) -> Self {
        Arc::make_mut(&mut self.options).native_types = capabilities.native_system == Some(SYSTEM);
        self
    }

    /// The same source, with what is said of the values of single tables and columns.
    #[must_use]
    pub fn treating(mut self, rules: Vec<ValueRule>) -> Self {
        Arc::make_mut(&mut self.options).value_rules = rules;
        self
    }

    /// What the log is asked for beside rows.
    fn asked(&self) -> history::Asked {
        let filtered = self.options.origin == crate::options::Origin::None;
        history::Asked { filtered, messages: self.options.ddl_events }
    }

    fn text_only(&self) -> bool {
        self.text_only.load(Ordering::Relaxed)
    }

    fn set_text_only(&self) {
        self.text_only.store(true, Ordering::Relaxed);
    }

    /// A plain SQL connection with the source's credentials, for administration.
    ///
    /// # Errors
    /// `Unavailable` or `Access` if the server cannot be reached.
    pub async fn connect_sql(&self) -> Result<tokio_postgres::Client> {
        client::connect(&self.options, &self.names.application).await
    }

    /// The server in words, without secrets.
    #[must_use]
    pub fn address(&self) -> String {
        self.options.address()
    }

    /// A session, kept or new. Whoever leaves it as it was hands it to `spare` in the end.
    async fn sql(&self) -> Result<Sql> {
        if let Some(kept) = self.spare.take() {
            return Ok(kept);
        }
        Sql::connect(&self.options, &self.names.application).await.map(Sql::answering)
    }

    /// The same for reading rows in bulk.
    async fn reading(&self) -> Result<Connection> {
        match self.spare_reading.take() {
            Some(kept) => Ok(kept),
            None => {
                let application = &self.names.application;
                Connection::connect(&self.options, application, Purpose::Sql).await
            }
        }
    }

    /// The same for the commands of replication.
    async fn replication(&self) -> Result<ReplicationConnection> {
        match self.spare_replication.take() {
            Some(kept) => Ok(kept),
            None => ReplicationConnection::connect(&self.options, &self.names.application).await,
        }
    }

    /// The same source with the names that are in use at the server: a publication that was made
    /// when long names were cut off keeps its name.
    async fn settled(&self) -> Result<Cow<'_, Self>> {
        let Some(former) = &self.names.former_publication else { return Ok(Cow::Borrowed(self)) };
        let sql = self.sql().await?;
        let ours = publication::is_ours(&sql, former, &self.names).await?;
        self.spare.keep(sql);
        if !ours {
            return Ok(Cow::Borrowed(self));
        }
        Ok(Cow::Owned(Self { names: Arc::new(self.names.formerly()), ..self.clone() }))
    }

    /// The selected tables with their columns and types.
    async fn selected(
        &self,
        sql: &Sql,
        tables: &TableSelection,
    ) -> Result<(Vec<CatalogTable>, TypeMap)> {
        let all = load_tables(sql, None).await?;
        let oids: Vec<u32> = all
            .iter()
            .filter(|table| tables.contains(&table.name))
            .map(|table| table.oid)
            .collect();
        let mut found = load_tables(sql, Some(&oids)).await?;
        self.narrow(sql, &mut found).await?;
        let mut types = TypeMap::default();
        let used = found.iter().flat_map(|table| &table.columns).map(|column| column.type_oid);
        load_types(sql, &mut types, used).await?;
        Ok((found, types))
    }
}

#[async_trait]
impl Source for PostgresSource {
    async fn preflight(&self, tables: &TableSelection, modes: ModeOf<'_>) -> Result<Vec<Finding>> {
        preflight::preflight(self.settled().await?.as_ref(), tables, modes).await
    }

    async fn discover(&self, tables: &TableSelection) -> Result<Vec<Arc<TableSchema>>> {
        let settled = self.settled().await?;
        let sql = self.sql().await?;
        let (found, types) = settled.selected(&sql, tables).await?;
        self.spare.keep(sql);
        let (mapping, policies) = (self.options.mapping(), self.value_policies());
        let schemas: Vec<_> = found
            .iter()
            .filter(|table| table.is_candidate())
            .map(|table| with_text_columns(table.schema(&types, mapping), &policies))
            .collect::<Result<_>>()?;
        for name in tables.include.iter().filter_map(rowtide_core::Pattern::exact) {
            if tables.contains(&name) && !schemas.iter().any(|schema| schema.name == name) {
                let why = found.iter().find(|table| table.name == name);
                let why = why.map_or("does not exist (or the user may not see it)", unfit);
                return Err(Error::config(format!("the table {name} {why}"))
                    .with_hint("correct the list of tables"));
            }
        }
        Ok(schemas)
    }

    async fn attach(&self, request: AttachRequest<'_>) -> Result<Attached> {
        attach::attach(self.settled().await?.as_ref(), request).await
    }

    async fn sizes(&self, tables: &[&TableSchema]) -> Result<Vec<u64>> {
        let sql = self.sql().await?;
        let oids: Vec<u32> =
            tables.iter().map(|table| u32::try_from(table.id).unwrap_or(0)).collect();
        let sizes = load_sizes(&sql, &oids).await?;
        self.spare.keep(sql);
        Ok(sizes)
    }

    async fn snapshot(&self, request: SnapshotRequest) -> Result<TableSnapshot> {
        snapshot::open(self.settled().await?.as_ref(), request).await
    }

    async fn fenced_view(&self, request: ViewRequest) -> Result<Option<FencedView>> {
        view::fenced(self.settled().await?.as_ref(), request).await
    }

    async fn stream(
        &self,
        start: StreamStart,
        durable: watch::Receiver<Checkpoint>,
    ) -> Result<Box<dyn ChangeStream>> {
        let stream = stream::open(self.settled().await?.as_ref(), start, durable).await?;
        Ok(Box::new(stream))
    }

    fn operations(&self) -> &dyn SourceOperations {
        self
    }

    fn inspect(&self) -> Option<&dyn Inspect> {
        Some(self)
    }
}

/// Why a table that exists cannot be replicated.
fn unfit(table: &CatalogTable) -> &'static str {
    match (table.kind, table.persistence) {
        (b'f', _) => "is a foreign table: its changes are not in this server's log",
        (b'v', _) => "is a view: it has no rows of its own",
        (b'm', _) => "is a materialized view: its rows are not in the log",
        (b'S', _) => "is a sequence: its values are not in the log",
        (_, b'u') => "is unlogged: its changes are not in the log",
        (_, b't') => "is temporary: its changes are not in the log",
        _ if table.is_partition => "is a partition: name the partitioned table instead",
        _ if table.replicated().next().is_none() => "has no columns to replicate",
        _ => "cannot be replicated",
    }
}
