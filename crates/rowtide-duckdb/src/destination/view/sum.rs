//! Summing rows up on several threads while one reads them.

use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use arrow_array::RecordBatch;
use rowtide_core::canonical::{Digest, Encoder};
use rowtide_core::{Error, Result};

/// How many threads sum up: one cannot keep pace with DuckDB's reading of wide rows.
const THREADS: usize = 2;

/// Rows of more bytes are summed up where they are read, so that they never pile up.
const LARGE: usize = 8 << 20;

/// The sums of all batches that `next` gives.
pub(super) fn up(
    bits: u32,
    encoder: &Encoder,
    mut next: impl FnMut() -> Result<Option<RecordBatch>>,
) -> Result<Digest> {
    let mut digest = Digest::empty(bits);
    let (sender, receiver) = sync_channel::<RecordBatch>(THREADS);
    let receiver = Arc::new(Mutex::new(receiver));
    thread::scope(|scope| {
        let start = |rows: Arc<_>| scope.spawn(move || drain(bits, encoder, &rows));
        let threads: Vec<_> = (0..THREADS).map(|_| start(Arc::clone(&receiver))).collect();
        // With the last thread that takes rows out goes the channel, so that none wait in it.
        drop(receiver);
        let read = hand_out(&mut next, |rows| {
            if rows.get_array_memory_size() > LARGE {
                return encoder.sum_up(&rows, &mut digest).map(|()| true);
            }
            Ok(sender.send(rows).is_ok())
        });
        drop(sender);
        let parts: Vec<_> = threads.into_iter().map(thread::ScopedJoinHandle::join).collect();
        read?;
        for part in parts {
            let part = part.map_err(|_| Error::internal("summing rows up broke off"))?;
            digest.merge(&part?);
        }
        Ok(digest)
    })
}

/// Gives all rows to `take`, until it says that it needs no more.
fn hand_out(
    mut next: impl FnMut() -> Result<Option<RecordBatch>>,
    mut take: impl FnMut(RecordBatch) -> Result<bool>,
) -> Result<()> {
    while let Some(rows) = next()? {
        if !take(rows)? {
            break;
        }
    }
    Ok(())
}

fn drain(bits: u32, encoder: &Encoder, rows: &Mutex<Receiver<RecordBatch>>) -> Result<Digest> {
    let mut digest = Digest::empty(bits);
    loop {
        let next = rows.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(rows) = next else { return Ok(digest) };
        encoder.sum_up(&rows, &mut digest)?;
    }
}
