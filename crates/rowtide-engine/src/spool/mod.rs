//! Changes of a table that is still being copied, kept aside in order until its copy is in place.
//!
//! A few stay in memory; beyond that they go to an unnamed temporary file, framed and
//! checksummed. The spool need not survive a crash: the table is then copied again under a new
//! fence, which covers everything the old spool held.

mod frame;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;

use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rowtide_core::{ChangeBatch, Commit, Error, Offset, Result, SchemaChange, TableSchema, fault};

/// One thing that happened to the table.
#[derive(Debug)]
pub(crate) enum SpoolItem {
    Changes(ChangeBatch),
    Schema { change: SchemaChange, position: Offset },
    Truncate { commit: Commit, ordinal: u32 },
}

/// Bytes of changes that all spools together keep in memory before files are used.
const MEMORY_BYTES: usize = 8 << 20;
/// What is gathered before it is written to a file.
const WRITE_BYTES: usize = 64 << 10;

/// What the spools of one attempt hold in memory together.
#[derive(Debug, Clone, Default)]
pub(crate) struct SpoolMemory(Arc<AtomicUsize>);

#[derive(Debug)]
enum Entry {
    Memory(SpoolItem),
    /// A batch in the file, decoded with this table version.
    File(Arc<TableSchema>),
}

/// The changes of one table, first in, first out.
#[derive(Debug)]
pub(crate) struct Spool {
    entries: Vec<Entry>,
    memory: SpoolMemory,
    memory_bytes: usize,
    file: Option<BufWriter<File>>,
    file_bytes: u64,
}

impl Spool {
    pub(crate) fn new(memory: &SpoolMemory) -> Self {
        let memory = memory.clone();
        Self { entries: Vec::new(), memory, memory_bytes: 0, file: None, file_bytes: 0 }
    }

    /// Bytes kept, in memory and on disk.
    pub(crate) fn byte_size(&self) -> u64 {
        self.file_bytes + self.memory_bytes as u64
    }

    /// Adds `item` at the end; `directory` is where a file would be made.
    pub(crate) fn push(&mut self, item: SpoolItem, directory: &Path) -> Result<()> {
        let SpoolItem::Changes(batch) = item else {
            self.entries.push(Entry::Memory(item));
            return Ok(());
        };
        let size = batch.byte_size();
        if self.memory.0.load(Ordering::Relaxed) + size <= MEMORY_BYTES {
            self.memory.0.fetch_add(size, Ordering::Relaxed);
            self.memory_bytes += size;
            self.entries.push(Entry::Memory(SpoolItem::Changes(batch)));
            return Ok(());
        }
        let bytes = frame::encode(&batch)?;
        if self.file.is_none() {
            let file = tempfile::tempfile_in(directory).map_err(|e| io(e, "create", directory))?;
            self.file = Some(BufWriter::with_capacity(WRITE_BYTES, file));
        }
        if let Some(file) = &mut self.file {
            frame::write(file, &bytes).map_err(|e| io(e, "write to", directory))?;
        }
        self.file_bytes += bytes.len() as u64 + frame::HEADER_BYTES;
        self.entries.push(Entry::File(batch.table));
        Ok(())
    }

    /// Reads everything back, in order.
    pub(crate) fn into_reader(mut self) -> Result<SpoolReader> {
        let file = match self.file.take() {
            Some(writer) => {
                let here = Path::new("the spool file");
                let mut file =
                    writer.into_inner().map_err(|e| io(e.into_error(), "flush", here))?;
                file.flush().map_err(|e| io(e, "flush", here))?;
                file.seek(SeekFrom::Start(0)).map_err(|e| io(e, "read", here))?;
                Some(BufReader::with_capacity(1 << 20, file))
            }
            None => None,
        };
        let mut entries = std::mem::take(&mut self.entries);
        if fault::planted("spool-tail-lost") {
            entries.pop();
        }
        Ok(SpoolReader { entries: entries.into_iter(), file })
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        self.memory.0.fetch_sub(self.memory_bytes, Ordering::Relaxed);
    }
}

/// The spooled items, oldest first.
#[derive(Debug)]
pub(crate) struct SpoolReader {
    entries: std::vec::IntoIter<Entry>,
    file: Option<BufReader<File>>,
}

impl SpoolReader {
    /// The next item; `None` at the end.
    pub(crate) fn next(&mut self) -> Result<Option<SpoolItem>> {
        match self.entries.next() {
            None => Ok(None),
            Some(Entry::Memory(item)) => Ok(Some(item)),
            Some(Entry::File(table)) => {
                let file: &mut dyn Read = match &mut self.file {
                    Some(file) => file,
                    None => return Err(Error::internal("the spool lost its file")),
                };
                let bytes = frame::read(file)?;
                frame::decode(&bytes, table).map(SpoolItem::Changes).map(Some)
            }
        }
    }
}

fn io(error: std::io::Error, verb: &str, place: &Path) -> Error {
    Error::unavailable(format!("could not {verb} the spool in {}", place.display()))
        .with_hint("free disk space, or set stream.spool_directory to a larger file system")
        .with_source(error)
}

#[cfg(test)]
mod tests;
