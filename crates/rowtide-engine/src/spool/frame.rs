//! A change batch as bytes: length, CRC-32, then the parts beside the columns, then the columns
//! as an Arrow IPC stream.

use std::io::{Cursor, Read, Write};
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_buffer::BooleanBuffer;
use arrow_ipc::reader::StreamReader;
use arrow_ipc::writer::StreamWriter;
use rowtide_core::{
    ChangeBatch, Commit, CommitRun, Error, Exceptions, Offset, Op, Result, TableSchema, Unchanged,
};

/// Bytes before each frame's body: a 64-bit length and a 32-bit checksum.
pub(super) const HEADER_BYTES: u64 = 12;

pub(super) fn write(file: &mut impl Write, body: &[u8]) -> std::io::Result<()> {
    file.write_all(&(body.len() as u64).to_le_bytes())?;
    file.write_all(&crc32fast::hash(body).to_le_bytes())?;
    file.write_all(body)
}

pub(super) fn read(file: &mut dyn Read) -> Result<Vec<u8>> {
    let unreadable =
        |e: std::io::Error| Error::unavailable("could not read the spool back").with_source(e);
    let mut header = [0_u8; 12];
    file.read_exact(&mut header).map_err(unreadable)?;
    let mut at = 0;
    let length = u64::from_le_bytes(take(&header, &mut at)?);
    let checksum = u32::from_le_bytes(take(&header, &mut at)?);
    let mut body = Vec::new();
    file.take(length).read_to_end(&mut body).map_err(unreadable)?;
    if body.len() as u64 != length || crc32fast::hash(&body) != checksum {
        return Err(Error::unavailable("the spool file is damaged")
            .with_hint("check the disk; the table is copied again"));
    }
    Ok(body)
}

pub(super) fn encode(batch: &ChangeBatch) -> Result<Vec<u8>> {
    let mut out = Vec::with_capacity(batch.byte_size());
    put_count(&mut out, batch.ops.len())?;
    out.extend(batch.ops.iter().map(|op| code(*op)));
    for ordinal in &batch.ordinals {
        out.extend(ordinal.to_le_bytes());
    }
    put_count(&mut out, batch.commits.len())?;
    for run in &batch.commits {
        out.extend(run.commit.position.0.to_le_bytes());
        out.extend(run.commit.xid.to_le_bytes());
        out.extend(run.commit.committed_at.to_le_bytes());
        put_count(&mut out, run.rows)?;
    }
    put_count(&mut out, batch.unchanged.columns().count())?;
    for (column, bits) in batch.unchanged.columns() {
        put_count(&mut out, column)?;
        out.extend(bits.iter().map(u8::from));
    }
    let exceptions = match batch.exceptions.is_empty() {
        true => Vec::new(),
        false => serde_json::to_vec(&batch.exceptions).map_err(unwritable)?,
    };
    put_count(&mut out, exceptions.len())?;
    out.extend(exceptions);
    let mut writer = StreamWriter::try_new(out, &batch.rows.schema())?;
    writer.write(&batch.rows)?;
    Ok(writer.into_inner()?)
}

pub(super) fn decode(bytes: &[u8], table: Arc<TableSchema>) -> Result<ChangeBatch> {
    let at = &mut 0;
    let rows = take_count(bytes, at)?;
    let ops = slice(bytes, at, rows)?.iter().map(|byte| op(*byte)).collect::<Result<_>>()?;
    let mut ordinals = Vec::with_capacity(rows);
    for _ in 0..rows {
        ordinals.push(u32::from_le_bytes(take(bytes, at)?));
    }
    let mut commits = Vec::new();
    for _ in 0..take_count(bytes, at)? {
        let position = Offset(u64::from_le_bytes(take(bytes, at)?));
        let xid = u32::from_le_bytes(take(bytes, at)?);
        let committed_at = i64::from_le_bytes(take(bytes, at)?);
        let commit = Commit { position, xid, committed_at };
        commits.push(CommitRun { commit, rows: take_count(bytes, at)? });
    }
    let mut unchanged = Vec::new();
    for _ in 0..take_count(bytes, at)? {
        let column = take_count(bytes, at)?;
        let bits: BooleanBuffer = slice(bytes, at, rows)?.iter().map(|bit| *bit != 0).collect();
        unchanged.push((column, bits));
    }
    let exceptions = match take_count(bytes, at)? {
        0 => Exceptions::default(),
        len => serde_json::from_slice(slice(bytes, at, len)?).map_err(|_| truncated())?,
    };
    let rest = bytes.get(*at..).ok_or_else(truncated)?;
    let rows: RecordBatch =
        StreamReader::try_new(Cursor::new(rest), None)?.next().ok_or_else(truncated)??;
    let unchanged = Unchanged::new(unchanged);
    let batch = ChangeBatch { table, ops, rows, unchanged, commits, ordinals, exceptions };
    batch.validate()?;
    Ok(batch)
}

const OPS: [Op; 6] = [Op::Insert, Op::Update, Op::Delete, Op::MoveOut, Op::MoveIn, Op::Refuse];

fn code(op: Op) -> u8 {
    match op {
        Op::Insert => 0,
        Op::Update => 1,
        Op::Delete => 2,
        Op::MoveOut => 3,
        Op::MoveIn => 4,
        Op::Refuse => 5,
    }
}

fn op(code: u8) -> Result<Op> {
    OPS.get(usize::from(code)).copied().ok_or_else(truncated)
}

fn put_count(out: &mut Vec<u8>, count: usize) -> Result<()> {
    let count = u32::try_from(count)
        .map_err(|_| Error::internal("a batch is too large for the spool's 32-bit counts"))?;
    out.extend(count.to_le_bytes());
    Ok(())
}

fn take_count(bytes: &[u8], at: &mut usize) -> Result<usize> {
    Ok(u32::from_le_bytes(take(bytes, at)?) as usize)
}

fn take<const N: usize>(bytes: &[u8], at: &mut usize) -> Result<[u8; N]> {
    slice(bytes, at, N)?.try_into().map_err(|_| truncated())
}

fn slice<'a>(bytes: &'a [u8], at: &mut usize, len: usize) -> Result<&'a [u8]> {
    let end = at.checked_add(len).ok_or_else(truncated)?;
    let found = bytes.get(*at..end).ok_or_else(truncated)?;
    *at = end;
    Ok(found)
}

fn unwritable(error: serde_json::Error) -> Error {
    Error::internal("what became of a batch's values cannot be written").with_source(error)
}

fn truncated() -> Error {
    Error::internal("a spooled batch is malformed")
}
