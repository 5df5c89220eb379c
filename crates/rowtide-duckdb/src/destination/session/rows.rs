//! How rows reach SQL: as a feed that one statement reads, or as a temporary table where they are
//! read more than once.

use arrow_array::RecordBatch;
use arrow_schema::{Field, Schema, SchemaRef};
use rowtide_core::{Error, Result};

use super::Session;
use crate::error::During;
use crate::ffi::{self, Feed};
use crate::quote::{Ident, TableRef, join};
use crate::types::column_type;

/// How many feeds are kept, one for each combination of column types.
const READY_FEEDS: usize = 64;

impl Session {
    /// Hands `batches`, of one schema, to the next statement, which reads them once from what is
    /// returned: columns `c0`, `c1` … of the types that the schema's columns have in a table.
    pub(in crate::destination) fn fed(&mut self, batches: &[RecordBatch]) -> Result<String> {
        let Some(first) = batches.first() else { return Err(Error::internal("nothing to feed")) };
        let schema = first.schema();
        let feed = self.feed(&schema, batches.to_vec())?;
        let columns = schema.fields().iter().enumerate().map(|(at, field)| {
            let kind = column_type(field)?;
            Ok(format!("CAST(c{at} AS {kind}) AS c{at}"))
        });
        let columns = columns.collect::<Result<Vec<_>>>()?.join(", ");
        Ok(format!("(SELECT {columns} FROM {feed})"))
    }

    /// Adds `rows` to the table `target`, by column name.
    pub(in crate::destination) fn insert(
        &mut self,
        target: &TableRef,
        rows: &RecordBatch,
    ) -> Result<()> {
        let schema = rows.schema();
        let names = join(schema.fields(), ", ", |field| Ident(field.name()).to_string());
        let feed = self.feed(&schema, vec![rows.clone()])?;
        let added = self.run_prepared(&format!("INSERT INTO {target} ({names}) FROM {feed}"), &[]);
        self.settled(added).during(|| format!("adding rows to {target}")).map(drop)
    }

    /// Puts `rows` into a temporary table with columns `c0`, `c1` …, in place of the last one.
    pub(in crate::destination) fn stage(&mut self, rows: &RecordBatch) -> Result<TableRef> {
        let attempt = || "staging rows".to_owned();
        let stage = self.temporary("rowtide_stage");
        let definitions = super::definitions(&positional(&rows.schema()))?;
        let feed = self.feed(&rows.schema(), vec![rows.clone()])?;
        self.execute(&format!("CREATE OR REPLACE TEMP TABLE {stage} ({definitions})"), attempt)?;
        self.execute(&format!("INSERT INTO {stage} FROM {feed}"), attempt)?;
        Ok(stage)
    }

    /// Drops a temporary table after use.
    pub(in crate::destination) fn unstage(&mut self, stage: &TableRef) -> Result<()> {
        let attempt = || "dropping a temporary table".to_owned();
        self.execute(&format!("DROP TABLE {stage}"), attempt).map(drop)
    }

    /// What came of a statement that read a feed: where that failed, its failure.
    pub(super) fn settled<T>(&self, executed: ffi::Result<T>) -> ffi::Result<T> {
        executed.map_err(|error| self.feeds.values().filter_map(Feed::end).last().unwrap_or(error))
    }

    /// The name of a feed of `batches`.
    fn feed(&mut self, schema: &SchemaRef, batches: Vec<RecordBatch>) -> Result<String> {
        let columns = positional(schema);
        if self.feeds.len() >= READY_FEEDS && !self.feeds.contains_key(&columns) {
            self.prepared.clear();
            self.feeds.clear();
        }
        if !self.feeds.contains_key(&columns) {
            let feed = Feed::new(&self.connection, &columns)
                .during(|| "making rows known to DuckDB".to_owned())?;
            self.feeds.insert(columns.clone(), feed);
        }
        let Some(feed) = self.feeds.get(&columns) else {
            return Err(Error::internal("a feed went missing"));
        };
        feed.offer(Box::new(batches.into_iter().map(Ok)));
        Ok(feed.name())
    }
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
