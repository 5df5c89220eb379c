//! Staging tables: temporary ones that rows are appended to before SQL takes them from there.

use arrow_array::RecordBatch;
use arrow_schema::{Field, Schema};
use rowtide_core::{Error, Result};

use super::Session;
use crate::error::During;
use crate::ffi::{Appender, Statement};
use crate::quote::TableRef;
use crate::types::column_type;

/// How many are kept, one per combination of column types. Beyond it all are let go, which bounds
/// the memory they take.
const READY_STAGES: usize = 64;

/// A temporary table with columns `c0`, `c1` … that is emptied after each use.
pub(super) struct Stage {
    table: TableRef,
    appender: Appender,
    truncate: Statement,
}

impl Session {
    /// Puts `batches`, of one schema, into a staging table with columns `c0`, `c1` ….
    pub(in crate::destination) fn stage(&mut self, batches: &[RecordBatch]) -> Result<TableRef> {
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
    pub(in crate::destination) fn unstage(&mut self, table: &TableRef) -> Result<()> {
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
