//! Temporary tables through which rows and keys reach the statements that apply them.
//!
//! They are made once per combination of types and kept; the end of a transaction empties them,
//! which, unlike TRUNCATE, leaves no dead rows in the catalog after every small epoch.

use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::{DataType, Field, Schema};
use rowtide_core::{
    Column, DeleteMode, Error, Identity, MetadataColumns, Mode, Result, TableName, TablePlan,
    TableSchema, fault,
};

use super::copy::{self, CopyIn};
use super::session::Session;
use super::target::{Target, list};
use crate::encode::{RowEncoder, TargetColumn, target_columns};

/// How many are kept. Beyond it all are dropped before the next write.
const READY: usize = 64;

/// One such table.
pub(super) struct Stage {
    name: String,
    /// Whether the open transaction put rows into it.
    pub(super) used: bool,
}

/// Rows in a stage, with columns `c0`, `c1` ….
pub(super) struct Staged {
    name: String,
    rows: u64,
}

impl Staged {
    /// For a FROM clause. The limit leaves nothing out: it tells the planner how many rows there
    /// are, which it cannot know of a table that was filled just now. Without it a handful of
    /// keys looks like thousands, and a large target is read whole to find them.
    pub(super) fn as_s(&self) -> String {
        self.called("s")
    }

    /// The same under another alias.
    pub(super) fn called(&self, alias: &str) -> String {
        format!("(SELECT * FROM {} LIMIT {}) AS {alias}", self.name, self.rows)
    }

    /// The table itself.
    pub(super) fn table(&self) -> &str {
        &self.name
    }
}

impl Session {
    /// Drops all stages if there are too many. Between writes nobody needs them.
    pub(super) async fn tidy_stages(&mut self) -> Result<()> {
        if self.stages.len() < READY {
            return Ok(());
        }
        let names = list(self.stages.drain().map(|(_, stage)| stage.name));
        self.sql().execute("dropping temporary tables", &format!("DROP TABLE {names}")).await
    }

    /// Puts `batches` into a stage of the shape `columns`. `purpose` keeps apart stages of the
    /// same shape that are in use at the same time.
    pub(super) async fn stage(
        &mut self,
        purpose: &str,
        columns: &[TargetColumn],
        batches: &[RecordBatch],
    ) -> Result<Staged> {
        let Some(first) = batches.first() else { return Err(Error::internal("nothing to stage")) };
        let name = self.empty_stage(purpose, columns).await?;
        let mut encoder = RowEncoder::new(columns, &first.schema())?;
        let doing = "staging rows";
        let statement = copy::statement(&name, "", &encoder);
        let statement = self.prepared(doing, &statement).await?;
        let client = self.sql().clone();
        let mut copying = CopyIn::start(client.client(), &statement, (&encoder, doing)).await?;
        for batch in batches {
            copying.send(&mut encoder, batch).await?;
        }
        let rows = copying.finish(&encoder).await?;
        fault::point("write.staged")?;
        Ok(Staged { name, rows })
    }

    /// An empty stage of the shape `columns`, by name.
    pub(super) async fn empty_stage(
        &mut self,
        purpose: &str,
        columns: &[TargetColumn],
    ) -> Result<String> {
        let doing = "making a temporary table";
        let types = list(
            columns.iter().enumerate().map(|(at, column)| format!("c{at} {}", column.staging_type)),
        );
        let key = format!("{purpose}: {types}");
        if let Some(stage) = self.stages.get_mut(&key) {
            let (name, used) = (stage.name.clone(), std::mem::replace(&mut stage.used, true));
            if used {
                self.sql().execute(doing, &format!("TRUNCATE {name}")).await?;
            }
            return Ok(name);
        }
        self.stages_made += 1;
        let name = format!("pg_temp.rowtide_stage_{}", self.stages_made);
        let create = format!("CREATE TEMPORARY TABLE {name} ({types}) ON COMMIT DELETE ROWS");
        self.sql().execute(doing, &create).await?;
        self.stages.insert(key, Stage { name: name.clone(), used: true });
        Ok(name)
    }

    /// Adds `rows` to the target.
    pub(super) async fn append(
        &mut self,
        plan: &TablePlan,
        target: &Target,
        rows: &RecordBatch,
    ) -> Result<()> {
        if rows.num_rows() == 0 {
            return Ok(());
        }
        let rows = target.named(rows)?;
        let doing = format!("adding rows to {}", plan.target);
        if !target.is_direct {
            let staged = self.stage("rows", &target.columns, &[rows]).await?;
            let values = list((0..target.columns.len()).map(|at| format!("c{at}")));
            let (name, names, stage) = (&target.name, &target.names, staged.table());
            let insert = format!("INSERT INTO {name} ({names}) SELECT {values} FROM {stage}");
            return self.change(&doing, &insert).await.map(drop);
        }
        let mut encoder = RowEncoder::new(&target.columns, &target.schema)?;
        let statement = copy::statement(&target.name, &target.names, &encoder);
        let statement = self.prepared(&doing, &statement).await?;
        let client = self.sql().clone();
        let mut copying = CopyIn::start(client.client(), &statement, (&encoder, &doing)).await?;
        copying.send(&mut encoder, &rows).await?;
        copying.finish(&encoder).await.map(drop)
    }

    /// Columns for what is Rowtide's own in a stage: name, Arrow type, and the type there.
    pub(super) async fn own_columns(
        &self,
        columns: &[(&str, DataType, &str)],
    ) -> Result<Vec<TargetColumn>> {
        let columns = (1..).zip(columns).map(|(number, (name, data_type, native))| Column {
            field: Arc::new(Field::new(*name, data_type.clone(), true)),
            native_type: (*native).to_owned(),
            number,
        });
        let (name, columns) = (TableName::new("pg_temp", "stage"), columns.collect());
        let source = TableSchema::new((0, name.clone()), 1, columns, vec![], Identity::None);
        let plan = TablePlan {
            source: Arc::new(source),
            target: name,
            mode: Mode::Append,
            delete: DeleteMode::Hard,
            metadata: MetadataColumns::default(),
        };
        target_columns(self.sql(), &plan).await
    }
}

/// The columns of `batches`, which have the same number of rows, side by side.
pub(super) fn beside(batches: &[&RecordBatch]) -> Result<RecordBatch> {
    let fields: Vec<_> =
        batches.iter().flat_map(|batch| batch.schema().fields().to_vec()).collect();
    let columns = batches.iter().flat_map(|batch| batch.columns().to_vec()).collect();
    Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?)
}
