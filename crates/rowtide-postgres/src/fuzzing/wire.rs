//! Framing, replication frames, and the messages of the output plugin.

use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, ReadBuf};

use super::Input;
use crate::protocol::Malformed;
use crate::protocol::pgoutput::{Cell, Message, Relation, TupleCells, read_tuple, streamed};
use crate::protocol::replication::{Frame, StatusUpdate};
use crate::wire::{FrameReader, server_error};

/// Hands bytes out in pieces of these sizes, over and over.
struct Pieces<'a> {
    bytes: &'a [u8],
    sizes: &'a [u8],
    next: usize,
}

impl AsyncRead for Pieces<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let size = self.sizes.get(self.next % self.sizes.len().max(1)).copied().unwrap_or(0);
        self.next += 1;
        let len = (usize::from(size) + 1).min(self.bytes.len()).min(out.remaining());
        let (head, rest) = self.bytes.split_at(len);
        self.bytes = rest;
        out.put_slice(head);
        Poll::Ready(Ok(()))
    }
}

/// Every message of a stream that arrives in pieces, and whether it ended in nonsense.
fn messages(bytes: &[u8], sizes: &[u8]) -> (Vec<(u8, Vec<u8>)>, Option<Malformed>) {
    let mut reader = FrameReader::new(Pieces { bytes, sizes, next: 0 });
    let mut context = Context::from_waker(Waker::noop());
    let mut found = Vec::new();
    loop {
        let ready = reader.is_ready();
        match reader.take() {
            Err(error) => return (found, Some(error)),
            Ok(Some((tag, body))) => {
                assert!(ready);
                found.push((tag, reader.bytes(&body).to_vec()));
            }
            Ok(None) => match pin!(reader.fill()).poll(&mut context) {
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(_)) => return (found, None),
                Poll::Pending => unreachable!("the pieces are always ready"),
            },
        }
    }
}

/// Up to four sizes of pieces, then a stream of messages: they are the same however they arrive,
/// and together they are the stream.
pub fn framing(bytes: &[u8]) {
    let mut input = Input(bytes);
    let count = usize::from(input.u8() % 5);
    let (sizes, stream) = (input.take(count), input.0);
    let whole = messages(stream, &[255]);
    assert_eq!(messages(stream, sizes), whole);
    let mut again = Vec::new();
    for (tag, body) in &whole.0 {
        again.push(*tag);
        again.extend(u32::try_from(body.len() + 4).unwrap_or(0).to_be_bytes());
        again.extend(body);
        if *tag == b'E' {
            let _ = server_error("fuzzing", body).chain();
        }
    }
    assert!(stream.starts_with(&again));
}

/// A frame of the replication stream: written again it is the same. And what we answer.
pub fn replication(bytes: &[u8]) {
    let _ = server_error("fuzzing", bytes).chain();
    let mut again = Vec::new();
    match Frame::parse(bytes) {
        Ok(Frame::Data { start, wal_end, body }) => {
            again.push(b'w');
            again.extend(start.to_be_bytes());
            again.extend(wal_end.to_be_bytes());
            assert_eq!(bytes.get(..17), Some(&*again));
            assert_eq!(bytes.get(25..), Some(body));
        }
        Ok(Frame::Keepalive { wal_end, reply_requested }) => {
            again.push(b'k');
            again.extend(wal_end.to_be_bytes());
            assert_eq!(bytes.get(..9), Some(&*again));
            assert_eq!(bytes.get(17).map(|byte| *byte != 0), Some(reply_requested));
        }
        Err(_) => {}
    }
    let mut input = Input(bytes);
    let (written, flushed) = (input.u64(), input.u64());
    let update = StatusUpdate { written, flushed, now: 7, reply_requested: input.u8() & 1 != 0 };
    let message = update.encode();
    assert_eq!(message.get(1..5), Some(&38_u32.to_be_bytes()[..]));
    assert_eq!(message.get(6..14), Some(&written.to_be_bytes()[..]));
    assert_eq!(message.get(14..22), Some(&flushed.to_be_bytes()[..]));
}

/// One message of the output plugin: a layout reads back as written, a row is its cells.
pub fn pgoutput(bytes: &[u8]) {
    match Message::parse(bytes) {
        Ok(Message::Relation(relation)) => {
            let written = layout(&relation);
            let read = Message::parse(&written);
            assert_eq!(read, Ok(Message::Relation(relation)));
            let cut = Message::parse(written.get(..written.len() - 1).unwrap_or_default());
            assert!(cut.is_err(), "a layout that is cut off is refused");
        }
        Ok(
            Message::Insert { tuples, .. }
            | Message::Update { tuples, .. }
            | Message::Delete { tuples, .. },
        ) => rows(tuples),
        Ok(Message::Truncate { relations }) => {
            let count = u32::try_from(relations.len()).unwrap_or(0).to_be_bytes();
            assert_eq!(bytes.get(1..5), Some(&count[..]));
            for (index, relation) in relations.iter().enumerate() {
                let at = 6 + index * 4;
                assert_eq!(bytes.get(at..at + 4), Some(&relation.to_be_bytes()[..]));
            }
        }
        Ok(Message::Logical { prefix, content, .. }) => {
            let (at, rest) = (10 + prefix.len() + 1, content.len());
            assert_eq!(bytes.get(10..at - 1), Some(prefix));
            assert_eq!(bytes.get(at + 4..at + 4 + rest), Some(content));
        }
        Ok(
            Message::Begin { .. }
            | Message::Commit { .. }
            | Message::StreamStart { .. }
            | Message::StreamStop
            | Message::StreamCommit { .. }
            | Message::StreamAbort { .. }
            | Message::Other,
        )
        | Err(_) => {}
    }
    // In a stream it is the same message with a transaction behind its letter.
    if let Ok(Some((letter, xid, rest))) = streamed(bytes) {
        let mut again = vec![letter];
        again.extend(xid.to_be_bytes());
        again.extend(rest);
        assert_eq!(again, bytes);
    }
}

fn layout(relation: &Relation) -> Vec<u8> {
    let mut out = vec![b'R'];
    out.extend(relation.id.to_be_bytes());
    out.extend(relation.schema.bytes().chain([0]));
    out.extend(relation.name.bytes().chain([0]));
    out.push(relation.identity);
    out.extend(u16::try_from(relation.columns.len()).unwrap_or(0).to_be_bytes());
    for column in &relation.columns {
        out.push(u8::from(column.key));
        out.extend(column.name.bytes().chain([0]));
        out.extend(column.type_oid.to_be_bytes());
        out.extend(column.type_modifier.to_be_bytes());
    }
    out
}

/// One or two rows, each behind its marker.
fn rows(tuples: &[u8]) {
    let mut cells = TupleCells::default();
    let mut at = 0;
    for _ in 0..2 {
        let Ok(end) = read_tuple(tuples, at + 1, &mut cells) else { return };
        let row = tuples.get(at + 1..end).unwrap_or_default();
        let count = row.first_chunk().map_or(0, |count| u16::from_be_bytes(*count));
        let mut again = count.to_be_bytes().to_vec();
        for index in 0..usize::from(count) {
            let (kind, value) = match cells.get(tuples, index) {
                Ok(Cell::Null) => (b'n', None),
                Ok(Cell::Unchanged) => (b'u', None),
                Ok(Cell::Text(text)) => (b't', Some(text)),
                Ok(Cell::Binary(bytes)) => (b'b', Some(bytes)),
                Err(error) => unreachable!("{error}"),
            };
            again.push(kind);
            if let Some(value) = value {
                again.extend(u32::try_from(value.len()).unwrap_or(0).to_be_bytes());
                again.extend(value);
            }
        }
        assert!(cells.get(tuples, usize::from(count)).is_err());
        assert!(again == row, "a row is its cells");
        at = end;
    }
}
