//! Sending rows by `COPY … FROM STDIN`, in pieces of bounded size.

use std::pin::Pin;

use arrow_array::RecordBatch;
use bytes::{Bytes, BytesMut};
use futures::SinkExt;
use rowtide_core::Result;
use tokio_postgres::{Client, CopyInSink, Statement};

use crate::encode::RowEncoder;
use crate::error::from_driver;

/// What is sent at once: little enough to be written, sent and written again within the
/// processor's cache.
const CHUNK: usize = 256 << 10;

/// About how many bytes of rows are encoded between two looks at how much there is.
const STEP: usize = 128 << 10;

/// What the buffer holds, as a rule: rows can be longer as text than they were in memory.
const ROOM: usize = CHUNK + 2 * STEP;

/// `COPY` into `table`, whose `columns` (quoted; empty for all of them) the encoder writes.
pub(super) fn statement(table: &str, columns: &str, encoder: &RowEncoder) -> String {
    let columns = if columns.is_empty() { String::new() } else { format!(" ({columns})") };
    let form = if encoder.is_binary() { "binary" } else { "text" };
    format!("COPY {table}{columns} FROM STDIN (FORMAT {form})")
}

/// A running copy. Dropping it breaks it off.
pub(super) struct CopyIn {
    sink: Pin<Box<CopyInSink<Bytes>>>,
    buffer: BytesMut,
    /// Bytes sent so far.
    pub(super) sent: usize,
    doing: String,
}

impl CopyIn {
    /// Starts `statement`.
    pub(super) async fn start(
        client: &Client,
        statement: &Statement,
        (encoder, doing): (&RowEncoder, &str),
    ) -> Result<Self> {
        let sink = client.copy_in(statement).await.map_err(|error| from_driver(doing, error))?;
        let mut buffer = BytesMut::with_capacity(ROOM);
        encoder.begin(&mut buffer);
        Ok(Self { sink: Box::pin(sink), buffer, sent: 0, doing: doing.to_owned() })
    }

    /// Sends `rows`.
    pub(super) async fn send(
        &mut self,
        encoder: &mut RowEncoder,
        rows: &RecordBatch,
    ) -> Result<()> {
        let total = rows.num_rows();
        let width = rows.get_array_memory_size() / total.max(1);
        let step = (STEP / width.max(1)).clamp(1, 8192);
        let mut from = 0;
        while from < total {
            let count = step.min(total - from);
            encoder.encode(&rows.slice(from, count), &mut self.buffer)?;
            from += count;
            if self.buffer.len() >= CHUNK {
                self.flush().await?;
            }
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<()> {
        let chunk = self.buffer.split().freeze();
        self.sent += chunk.len();
        let sent = self.sink.send(chunk).await;
        sent.map_err(|error| from_driver(&self.doing, error))?;
        // In one piece, and where the last chunk was if that is sent: a buffer that grows by
        // itself moves what it holds into memory that was never touched.
        self.buffer.reserve(ROOM);
        Ok(())
    }

    /// Ends the copy; returns how many rows the server took.
    pub(super) async fn finish(mut self, encoder: &RowEncoder) -> Result<u64> {
        encoder.end(&mut self.buffer);
        if !self.buffer.is_empty() {
            self.flush().await?;
        }
        self.sink.as_mut().finish().await.map_err(|error| from_driver(&self.doing, error))
    }
}
