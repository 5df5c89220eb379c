//! A table as it stands at one moment, on either side.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use rowtide_core::canonical::{Digest, Encoder};
use rowtide_core::view::{Moment, RowsOf, TableView, ViewedRows};
use rowtide_core::{Result, TableSchema};

use crate::log::Row;
use crate::rows::batch;

/// How long a few rows take.
const READING: Duration = Duration::from_micros(300);
/// How many rows are read at a time.
const AT_ONCE: usize = 3;

/// It gives all rows, whichever are asked for, as a view may.
pub(crate) struct ModelView {
    pub(crate) table: Arc<TableSchema>,
    pub(crate) rows: Vec<Row>,
    pub(crate) left: VecDeque<Vec<Row>>,
    pub(crate) moment: Moment,
}

impl ModelView {
    pub(crate) fn new(table: Arc<TableSchema>, rows: Vec<Row>) -> Self {
        Self { table, rows, left: VecDeque::new(), moment: Moment::default() }
    }
}

#[async_trait]
impl TableView for ModelView {
    fn moment(&self) -> &Moment {
        &self.moment
    }

    async fn digest(&mut self, bits: u32) -> Result<Option<Digest>> {
        tokio::time::sleep(READING).await;
        let mut digest = Digest::empty(bits);
        Encoder::new(&self.table)?.sum_up(&batch(&self.table, &self.rows)?, &mut digest)?;
        Ok(Some(digest))
    }

    async fn count(&mut self) -> Result<u64> {
        Ok(self.rows.len() as u64)
    }

    async fn begin(&mut self, _: RowsOf) -> Result<()> {
        self.left = self.rows.chunks(AT_ONCE).map(<[Row]>::to_vec).collect();
        Ok(())
    }

    async fn next(&mut self) -> Result<Option<ViewedRows>> {
        tokio::time::sleep(READING).await;
        let Some(rows) = self.left.pop_front() else { return Ok(None) };
        Ok(Some(ViewedRows { rows: batch(&self.table, &rows)?, versions: None }))
    }
}
