//! A small consumer: gathers what a stream says, as text that is easy to compare.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type};
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_schema::DataType;
use rowtide_core::traits::{ChangeStream, StreamItem, StreamStart};
use rowtide_core::{
    ChangeBatch, Checkpoint, Commit, ErrorKind, Fence, Op, SchemaChange, Source, TableSchema,
};
use rowtide_postgres::PostgresSource;
use tokio::sync::watch;

use crate::harness::in_time;

/// A running stream and what it has said.
pub(crate) struct Follower {
    pub(crate) stream: Box<dyn ChangeStream>,
    pub(crate) durable: watch::Sender<Checkpoint>,
    pub(crate) at: Checkpoint,
    pub(crate) batches: Vec<ChangeBatch>,
    /// One line per event, in order.
    pub(crate) log: Vec<String>,
    pub(crate) segments: Vec<bool>,
    pub(crate) schemas: BTreeMap<String, Arc<TableSchema>>,
    /// Where each row and each truncate belongs: the commit's position, the transaction, the
    /// ordinal; and the line.
    pub(crate) placed: Vec<(Commit, u32, String)>,
}

impl Follower {
    pub(crate) async fn start(
        source: &PostgresSource,
        from: &Checkpoint,
        tables: &[Arc<TableSchema>],
    ) -> Self {
        // The server lets go of a slot a moment after its last reader has gone.
        let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(60);
        loop {
            match Self::start_with(source, from, tables, 1 << 20).await {
                Err(error)
                    if error.kind() == ErrorKind::Unavailable
                        && tokio::time::Instant::now() < deadline =>
                {
                    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                }
                started => return started.unwrap(),
            }
        }
    }

    pub(crate) async fn start_with(
        source: &PostgresSource,
        from: &Checkpoint,
        tables: &[Arc<TableSchema>],
        buffer_bytes: usize,
    ) -> rowtide_core::Result<Self> {
        Self::start_copying(source, from, (tables, &[]), buffer_bytes).await
    }

    /// The second of `tables` are those whose copy is not in place yet.
    pub(crate) async fn start_copying(
        source: &PostgresSource,
        from: &Checkpoint,
        (tables, copying): (&[Arc<TableSchema>], &[u64]),
        buffer_bytes: usize,
    ) -> rowtide_core::Result<Self> {
        let start = StreamStart {
            checkpoint: from.clone(),
            tables: tables.to_vec(),
            copying: copying.to_vec(),
            fences: Vec::new(),
            buffer_bytes,
            spool_directory: std::env::temp_dir(),
        };
        Self::start_at(source, start).await
    }

    /// Starts exactly so.
    pub(crate) async fn start_at(
        source: &PostgresSource,
        start: StreamStart,
    ) -> rowtide_core::Result<Self> {
        let from = start.checkpoint.clone();
        let (durable, receiver) = watch::channel(from.clone());
        let stream = source.stream(start, receiver).await?;
        Ok(Self::over(stream, durable, from))
    }

    pub(crate) fn over(
        stream: Box<dyn ChangeStream>,
        durable: watch::Sender<Checkpoint>,
        at: Checkpoint,
    ) -> Self {
        Self {
            stream,
            durable,
            at,
            batches: Vec::new(),
            log: Vec::new(),
            segments: Vec::new(),
            schemas: BTreeMap::new(),
            placed: Vec::new(),
        }
    }

    /// Takes one segment.
    pub(crate) async fn step(&mut self) -> rowtide_core::Result<()> {
        let segment = in_time("a segment", self.stream.next()).await?;
        self.segments.push(segment.watermark.is_some());
        for item in segment.items {
            match item {
                StreamItem::Changes(batch) => {
                    batch.validate().unwrap();
                    let lines = lines(&batch);
                    let runs = batch.commit_indices();
                    for (row, line) in lines.iter().enumerate() {
                        let commit = batch.commits[runs[row] as usize].commit;
                        self.placed.push((commit, batch.ordinals[row], line.clone()));
                    }
                    self.log.extend(lines);
                    self.batches.push(batch);
                }
                StreamItem::Schema { change, .. } => self.schema(&change),
                StreamItem::Truncate { tables, commit, ordinal } => {
                    let names: Vec<_> = tables.iter().map(|t| t.name.name.to_string()).collect();
                    let line = format!("truncate {}", names.join(","));
                    self.placed.push((commit, ordinal, line.clone()));
                    self.log.push(line);
                }
            }
        }
        if let Some(watermark) = segment.watermark {
            self.at.advance(&watermark.checkpoint).unwrap();
        }
        Ok(())
    }

    fn schema(&mut self, change: &SchemaChange) {
        let table = change.table();
        let name = table.name.name.to_string();
        self.log.push(match change {
            SchemaChange::AddColumn { column, fill, table } => {
                let fill = fill.as_ref().map_or("NULL".to_owned(), |fill| show(fill, 0));
                format!("add {name}.{} fill {fill}", table.columns[*column].name())
            }
            SchemaChange::RenameColumn { table, column, from } => {
                format!("rename {name}.{from} to {}", table.columns[*column].name())
            }
            SchemaChange::DropColumn { column, .. } => format!("drop {name}.{column}"),
            SchemaChange::WidenColumn { table, column, from } => {
                let column = &table.columns[*column];
                format!("widen {name}.{} from {from} to {}", column.name(), column.native_type)
            }
            SchemaChange::Unsupported { reason, .. } => format!("stop {name}: {reason}"),
        });
        self.schemas.insert(name, Arc::clone(table));
    }

    /// Reads until everything the server has flushed by now has arrived.
    pub(crate) async fn catch_up(&mut self, source: &PostgresSource) {
        let head = source.operations().head().await.unwrap();
        while !self.at.covers(&head) {
            self.step().await.unwrap();
        }
    }

    /// Reads until the log says `line`.
    pub(crate) async fn until(&mut self, line: &str) {
        while !self.log.iter().any(|said| said.contains(line)) {
            self.step().await.unwrap();
        }
    }

    /// What has been said since the last call.
    pub(crate) fn take_log(&mut self) -> Vec<String> {
        std::mem::take(&mut self.log)
    }

    /// Tells the source that everything taken so far is durable.
    pub(crate) fn acknowledge(&self) {
        self.durable.send_replace(self.at.clone());
    }
}

fn lines(batch: &ChangeBatch) -> Vec<String> {
    (0..batch.len())
        .map(|row| {
            let op = match batch.ops[row] {
                Op::Insert => "insert",
                Op::Update => "update",
                Op::Delete => "delete",
                Op::MoveOut => "out",
                Op::MoveIn => "in",
                Op::Refuse => "refused",
            };
            let values: Vec<_> = batch
                .rows
                .columns()
                .iter()
                .enumerate()
                .map(|(column, values)| match batch.unchanged.is_set(row, column) {
                    true => "same".to_owned(),
                    false => show(values, row),
                })
                .collect();
            format!("{op} {} {}", batch.table.name.name, values.join("|"))
        })
        .collect()
}

/// A value as text.
pub(crate) fn show(array: &ArrayRef, row: usize) -> String {
    if array.is_null(row) {
        return "NULL".to_owned();
    }
    match array.data_type() {
        DataType::Int32 => array.as_primitive::<Int32Type>().value(row).to_string(),
        DataType::Int64 => array.as_primitive::<Int64Type>().value(row).to_string(),
        DataType::Utf8 => {
            let text = array.as_string::<i32>().value(row);
            if text.len() > 100 {
                format!("{}*{}", text.chars().next().unwrap_or_default(), text.len())
            } else {
                text.to_owned()
            }
        }
        _ => format!("{:?}", array.slice(row, 1)),
    }
}

/// The rows of a copy.
pub(crate) async fn copy(
    source: &PostgresSource,
    table: &Arc<TableSchema>,
    lanes: usize,
) -> rowtide_core::Result<(Fence, Vec<RecordBatch>)> {
    let request = rowtide_core::traits::SnapshotRequest {
        table: Arc::clone(table),
        lanes,
        settle: true,
        batch_bytes: 256 << 10,
    };
    let snapshot = in_time("a snapshot", source.snapshot(request)).await?;
    let mut batches = Vec::new();
    for mut part in snapshot.parts {
        while let Some((batch, bytes)) = in_time("a part", part.next()).await? {
            assert!(bytes > 0);
            batches.push(batch);
        }
    }
    Ok((snapshot.fence, batches))
}
