//! Cuts what arrives into protocol messages, in place in one large buffer.

use std::io;
use std::ops::Range;

use tokio::io::{AsyncRead, AsyncReadExt};

use crate::protocol::Malformed;

/// What the buffer starts with and returns to.
const CAPACITY: usize = 1 << 20;
/// A buffer beyond this is given back once a huge message has been read.
const KEEP: usize = 8 << 20;

/// Reads messages from one half of a connection.
#[derive(Debug)]
pub(crate) struct FrameReader<R> {
    io: R,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    pub(crate) fn new(io: R) -> Self {
        Self { io, buffer: vec![0; CAPACITY], start: 0, end: 0 }
    }

    /// The next message that has arrived whole: its tag, and where its body lies until
    /// [`fill`](Self::fill) is called.
    #[inline]
    pub(crate) fn take(&mut self) -> Result<Option<(u8, Range<usize>)>, Malformed> {
        let Some((tag, total)) = self.head()? else { return Ok(None) };
        if self.end - self.start < total {
            return Ok(None);
        }
        let body = self.start + 5..self.start + total;
        self.start += total;
        Ok(Some((tag, body)))
    }

    /// The bytes of a message from [`take`](Self::take).
    #[inline]
    pub(crate) fn bytes(&self, body: &Range<usize>) -> &[u8] {
        self.buffer.get(body.clone()).unwrap_or_default()
    }

    /// Whether [`take`](Self::take) would return a message.
    pub(crate) fn is_ready(&self) -> bool {
        matches!(self.head(), Ok(Some((_, total))) if self.end - self.start >= total)
    }

    /// The tag and the whole length of the message at the front, if they have arrived.
    #[inline]
    fn head(&self) -> Result<Option<(u8, usize)>, Malformed> {
        let waiting = self.buffer.get(self.start..self.end).unwrap_or_default();
        let Some((&[tag, length @ ..], _)) = waiting.split_first_chunk::<5>() else {
            return Ok(None);
        };
        match usize::try_from(i32::from_be_bytes(length)) {
            Ok(length) if length >= 4 => Ok(Some((tag, length + 1))),
            _ => Err(Malformed("a message has an impossible length")),
        }
    }

    /// Reads what the socket has; waits if it has nothing. Loses nothing when cancelled.
    pub(crate) async fn fill(&mut self) -> io::Result<usize> {
        self.make_room();
        let room = self.buffer.get_mut(self.end..).unwrap_or_default();
        let read = self.io.read(room).await?;
        if read == 0 {
            let message = "the server closed the connection";
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, message));
        }
        self.end += read;
        Ok(read)
    }

    fn make_room(&mut self) {
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        let total = self.head().ok().flatten().map_or(0, |(_, total)| total);
        if self.end == self.buffer.len() {
            // The buffer at most doubles: what the header claims may never come. It may also be
            // full of whole messages that nobody took.
            let missing = total.saturating_sub(self.end);
            let room = missing.clamp(CAPACITY, self.end.max(CAPACITY));
            self.buffer.resize(self.end + room, 0);
        } else if self.buffer.len() > KEEP && total <= KEEP && self.end <= KEEP {
            self.buffer.truncate(KEEP);
            self.buffer.shrink_to_fit();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(tag: u8, body: &[u8]) -> Vec<u8> {
        let mut out = vec![tag];
        out.extend(u32::try_from(body.len() + 4).unwrap().to_be_bytes());
        out.extend(body);
        out
    }

    #[tokio::test]
    async fn messages_survive_any_fragmentation_and_size() {
        let bodies = [vec![1_u8; 3], vec![], vec![7; 3 << 20], vec![9; 100_000], vec![2; 12 << 20]];
        let stream: Vec<u8> = bodies.iter().flat_map(|body| message(b'd', body)).collect();
        let (client, mut server) = tokio::io::duplex(70_001);
        let writer = tokio::spawn(async move {
            tokio::io::AsyncWriteExt::write_all(&mut server, &stream).await.unwrap();
        });
        let mut reader = FrameReader::new(client);
        for expected in &bodies {
            let body = loop {
                match reader.take().unwrap() {
                    Some((b'd', body)) => break body,
                    Some(_) => panic!("another tag"),
                    None => reader.fill().await.unwrap(),
                };
            };
            assert!(reader.bytes(&body) == expected.as_slice());
        }
        writer.await.unwrap();
        assert!(reader.fill().await.is_err(), "the end is an error");
    }

    #[tokio::test]
    async fn a_claimed_length_takes_no_memory_before_it_comes() {
        let mut bytes = vec![b'd', 0x7f, 0xff, 0xff, 0xff];
        bytes.resize(3 << 20, 0);
        let mut reader = FrameReader::new(bytes.as_slice());
        while reader.fill().await.is_ok() {
            assert_eq!(reader.take(), Ok(None));
            assert!(reader.buffer.len() <= 2 * reader.end.max(CAPACITY));
        }
        assert_eq!(reader.end, bytes.len());
    }

    #[tokio::test]
    async fn impossible_lengths_are_refused() {
        for length in [0_i32, 3, -1, i32::MIN] {
            let mut bytes = vec![b'd'];
            bytes.extend(length.to_be_bytes());
            let mut reader = FrameReader::new(bytes.as_slice());
            reader.fill().await.unwrap();
            assert!(reader.take().is_err(), "{length}");
        }
    }
}
