//! A small destination in memory: applies what a source says, one event after the other, and
//! checks on the way what every stream must keep to. No fold, so that nothing hides.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow_array::{Array, ArrayRef};
use rowtide_core::traits::{ChangeStream, StreamItem, StreamStart};
use rowtide_core::{
    ChangeBatch, Checkpoint, Commit, Error, Fence, Op, Result, SchemaChange, Source, TableSchema,
};
use tokio::sync::watch;

use super::Case;
use super::followed::{Followed, copy, text};
use crate::conformance::destination::assert_rows;
use crate::conformance::in_time;
use crate::conformance::oracle::TextRow;

/// A row that came over the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// The table's name.
    pub table: String,
    /// The transaction.
    pub commit: Commit,
    /// The order within it.
    pub ordinal: u32,
    /// What happened.
    pub op: Op,
    /// The values as they came, with `=` for one that the log did not repeat.
    pub values: TextRow,
}

/// A stretch of the stream.
#[derive(Debug, Clone, Copy)]
pub struct SegmentSeen {
    /// How many bytes its batches hold.
    pub bytes: usize,
    /// How many rows.
    pub rows: usize,
    /// Whether it ended where a transaction ended.
    pub whole: bool,
}

/// What a pipeline would keep, and what it has heard.
pub struct Applier {
    source: Arc<dyn Source>,
    stream: Option<Box<dyn ChangeStream>>,
    durable: watch::Sender<Checkpoint>,
    tables: BTreeMap<u64, Followed>,
    /// Up to where everything has come.
    pub at: Checkpoint,
    /// Every row that came over the stream, in order.
    pub seen: Vec<Seen>,
    /// Every segment.
    pub segments: Vec<SegmentSeen>,
    /// Schema changes and truncates, in words.
    pub notes: Vec<String>,
    /// Commit positions by table, to see each change at most once.
    once: BTreeSet<(u64, u32)>,
}

impl Applier {
    /// Follows `tables`, whose copies are still to be made, from `from`.
    pub async fn start(case: &Case, from: &Checkpoint, tables: &[Arc<TableSchema>]) -> Self {
        Self::start_with(case, from, tables, 1 << 20).await.unwrap()
    }

    /// The same with room for `buffer_bytes` of changes.
    ///
    /// # Errors
    /// Those of the source.
    pub async fn start_with(
        case: &Case,
        from: &Checkpoint,
        tables: &[Arc<TableSchema>],
        buffer_bytes: usize,
    ) -> Result<Self> {
        let mut applier = Self {
            source: case.source(),
            stream: None,
            durable: watch::channel(from.clone()).0,
            tables: tables.iter().map(|table| (table.id, Followed::new(table))).collect(),
            at: from.clone(),
            seen: Vec::new(),
            segments: Vec::new(),
            notes: Vec::new(),
            once: BTreeSet::new(),
        };
        applier.connect(buffer_bytes).await?;
        Ok(applier)
    }

    /// (Re)starts the stream from where everything has come.
    ///
    /// # Errors
    /// Those of the source.
    pub async fn connect(&mut self, buffer_bytes: usize) -> Result<()> {
        self.stream = None;
        let copying = self.tables.values().filter(|table| table.fence.is_none());
        let fence = |table: &Followed| Some((table.schema.id, table.fence.clone()?));
        let start = StreamStart {
            checkpoint: self.at.clone(),
            tables: self.tables.values().map(|table| Arc::clone(&table.schema)).collect(),
            copying: copying.map(|table| table.schema.id).collect(),
            fences: self.tables.values().filter_map(fence).collect(),
            buffer_bytes,
            spool_directory: std::env::temp_dir(),
        };
        let stream = self.source.stream(start, self.durable.subscribe());
        self.stream = Some(in_time("the stream", stream).await?);
        Ok(())
    }

    /// Adds `table`, whose copy is still to be made. Takes effect with the next [`Self::connect`].
    pub fn add(&mut self, table: &Arc<TableSchema>) {
        self.tables.insert(table.id, Followed::new(table));
    }

    /// Takes the table as copied when it was still empty: every change of it is applied.
    pub fn nothing_to_copy(&mut self) {
        let ids: Vec<u64> = self.tables.keys().copied().collect();
        for id in ids {
            self.copied(id, Fence::Nothing, Vec::new());
        }
    }

    /// Puts a copy in place and replays what happened meanwhile.
    pub fn copied(&mut self, id: u64, fence: Fence, rows: Vec<TextRow>) {
        self.tables.get_mut(&id).expect("the table is followed").copied(fence, rows);
    }

    /// Copies every table that is not copied yet, beside the running stream.
    pub async fn copy_all(&mut self, lanes: usize) {
        let waiting = self.tables.values().filter(|table| table.fence.is_none());
        let waiting: Vec<_> = waiting.map(|table| Arc::clone(&table.schema)).collect();
        for table in waiting {
            let copy = copy(Arc::clone(&self.source), Arc::clone(&table), lanes);
            let mut copy = tokio::spawn(copy);
            let (fence, rows) = loop {
                let stream = self.stream.as_mut().expect("the stream runs");
                tokio::select! {
                    copied = &mut copy => break copied.unwrap().unwrap(),
                    segment = stream.next() => self.take(segment.unwrap()),
                }
            };
            self.copied(table.id, fence, rows);
        }
    }

    /// Takes one segment.
    ///
    /// # Errors
    /// Those of the stream.
    pub async fn step(&mut self) -> Result<()> {
        let stream = self.stream.as_mut().ok_or_else(|| Error::internal("the stream is closed"))?;
        let segment = in_time("a segment", stream.next()).await?;
        self.take(segment);
        Ok(())
    }

    fn take(&mut self, segment: rowtide_core::traits::Segment) {
        let mut seen = SegmentSeen { bytes: 0, rows: 0, whole: segment.watermark.is_some() };
        for item in segment.items {
            if let StreamItem::Changes(batch) = &item {
                seen.bytes += batch.byte_size();
                seen.rows += batch.len();
                self.check(batch);
            }
            self.route(&item);
        }
        self.segments.push(seen);
        if let Some(watermark) = segment.watermark {
            self.at.advance(&watermark.checkpoint).unwrap();
        }
    }

    /// What every batch must keep to.
    fn check(&mut self, batch: &ChangeBatch) {
        batch.validate().unwrap();
        let table = &self.tables[&batch.table.id];
        if table.stopped.is_none() {
            assert_eq!(batch.table.columns, table.schema.columns, "one batch, one version");
        }
        let indices = batch.commit_indices();
        for (row, index) in indices.into_iter().enumerate() {
            let commit = batch.commits[index as usize].commit;
            let ordinal = batch.ordinals[row];
            let last = self.seen.iter().rev().find(|seen| *seen.table == *batch.table.name.name);
            if let Some(last) = last {
                let order = |commit: &Commit, ordinal| (commit.position, ordinal);
                assert!(
                    order(&last.commit, last.ordinal) < order(&commit, ordinal),
                    "out of order: {last:?}, then {commit:?} {ordinal}"
                );
            }
            assert!(commit.position >= self.at.position(), "{commit:?} is below {}", self.at);
            assert!(self.once.insert((commit.position.0, ordinal)), "{commit:?} {ordinal} twice");
            let unchanged = |column| batch.unchanged.is_set(row, column);
            let value = |(column, values): (usize, &ArrayRef)| match unchanged(column) {
                true if values.is_null(row) => Some("=".to_owned()),
                true => panic!("a value that was not repeated must be null in its column"),
                false => text(values, row),
            };
            let values = batch.rows.columns().iter().enumerate().map(value).collect();
            let table = batch.table.name.name.to_string();
            self.seen.push(Seen { table, commit, ordinal, op: batch.ops[row], values });
        }
    }

    fn route(&mut self, item: &StreamItem) {
        let ids: Vec<u64> = match item {
            StreamItem::Changes(batch) => vec![batch.table.id],
            StreamItem::Schema { change, .. } => {
                self.notes.push(words(change));
                vec![change.table().id]
            }
            StreamItem::Truncate { tables, .. } => {
                let names: Vec<&str> = tables.iter().map(|table| &*table.name.name).collect();
                self.notes.push(format!("truncate {}", names.join(",")));
                tables.iter().map(|table| table.id).collect()
            }
        };
        for id in ids {
            let table = self.tables.get_mut(&id).expect("only followed tables are told of");
            if let StreamItem::Schema { change, .. } = item {
                table.learn(change);
            }
            match table.fence {
                Some(_) => table.apply(copy_of(item)),
                None => table.spool.push(copy_of(item)),
            }
        }
    }

    /// Reads until everything that is committed at the source now has come.
    pub async fn catch_up(&mut self) {
        let head = in_time("the head", self.source.operations().head()).await.unwrap();
        while !self.at.covers(&head) {
            self.step().await.unwrap();
        }
    }

    /// Tells the source that everything up to here is durable.
    pub fn acknowledge(&self) {
        self.durable.send_replace(self.at.clone());
    }

    /// Ends the session in order.
    pub async fn close(&mut self) {
        let stream = self.stream.take().expect("the stream runs");
        in_time("the end of the stream", stream.close()).await.unwrap();
    }

    /// Drops the stream as a crash would.
    pub fn cut(&mut self) {
        self.stream = None;
    }

    /// The rows that came over the stream for `table`, as `op a|b|c`.
    pub fn lines(&self, table: &str) -> Vec<String> {
        let seen = self.seen.iter().filter(|seen| seen.table == table);
        seen.map(|seen| {
            let values = seen.values.iter().map(|value| shown(value.as_deref()));
            format!("{:?} {}", seen.op, values.collect::<Vec<_>>().join("|"))
        })
        .collect()
    }

    /// Why `table` cannot be followed any more, if so.
    pub fn stopped(&self, table: &TableSchema) -> Option<&str> {
        self.tables[&table.id].stopped.as_deref()
    }

    /// The version of `table` that the stream has come to.
    pub fn schema(&self, table: &TableSchema) -> Arc<TableSchema> {
        Arc::clone(&self.tables[&table.id].schema)
    }

    /// Fails unless every table holds what the source says.
    pub async fn check_all(&self, case: &Case) {
        for table in self.tables.values() {
            assert_eq!(table.stopped, None, "{}", table.schema.name);
            let mut rows = table.rows.clone();
            rows.sort();
            let expected = case.standing(&table.schema).await;
            assert_rows(&table.schema.name.to_string(), &rows, &expected);
        }
    }
}

fn copy_of(item: &StreamItem) -> StreamItem {
    match item {
        StreamItem::Changes(batch) => StreamItem::Changes(batch.clone()),
        StreamItem::Schema { change, position } => {
            StreamItem::Schema { change: change.clone(), position: *position }
        }
        StreamItem::Truncate { tables, commit, ordinal } => {
            StreamItem::Truncate { tables: tables.clone(), commit: *commit, ordinal: *ordinal }
        }
    }
}

fn words(change: &SchemaChange) -> String {
    let table = &change.table().name.name;
    match change {
        SchemaChange::AddColumn { table: after, column, .. } => {
            format!("add {table}.{}", after.columns[*column].name())
        }
        SchemaChange::RenameColumn { table: after, column, from } => {
            format!("rename {table}.{from} to {}", after.columns[*column].name())
        }
        SchemaChange::DropColumn { column, .. } => format!("drop {table}.{column}"),
        SchemaChange::WidenColumn { table: after, column, .. } => {
            format!("widen {table}.{}", after.columns[*column].name())
        }
        SchemaChange::Unsupported { .. } => format!("stop {table}"),
    }
}

fn shown(value: Option<&str>) -> String {
    match value {
        None => "∅".to_owned(),
        Some(long) if long.len() > 100 => {
            format!("{}×{}", long.chars().next().unwrap(), long.len())
        }
        Some(text) => text.to_owned(),
    }
}
