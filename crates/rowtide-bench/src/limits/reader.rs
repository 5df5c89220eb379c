//! A reader of the log that only frames what arrives, counts it and acknowledges it: what the
//! server can send to anybody who does nothing with it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use clap::Args;
use rowtide_testkit::Result;
use serde::{Deserialize, Serialize};

use super::job::Meter;
use crate::stopwatch::Taken;

/// What is read at once.
const BUFFER: usize = 1 << 20;
/// After a read of fewer bytes the reader waits a moment: the server sends each row by itself, and
/// waking up for each costs both of them more than the reading does. (A reader that does not wait
/// was slower than Rowtide itself, which does: no limit at all.)
const SMALL_READ: usize = 16 << 10;
const GATHER_PAUSE: Duration = Duration::from_millis(1);
/// How often the server is told how far we are.
const ACKNOWLEDGE: Duration = Duration::from_secs(1);
/// Version 3.0 of the protocol.
const PROTOCOL: u32 = 196_608;

/// What is read.
#[derive(Debug, Clone, Args)]
pub(crate) struct NullReader {
    #[arg(long)]
    pub(crate) port: u16,
    #[arg(long)]
    pub(crate) db: String,
    #[arg(long)]
    pub(crate) slot: String,
    #[arg(long)]
    pub(crate) publication: String,
    /// The first commit at or after this position is the last that is read.
    #[arg(long)]
    pub(crate) until: String,
}

/// The messages that were read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Counts {
    pub(crate) transactions: u64,
    pub(crate) inserts: u64,
    pub(crate) updates: u64,
    pub(crate) deletes: u64,
    pub(crate) bytes: u64,
}

impl Counts {
    /// Changes of rows.
    pub(crate) fn changes(&self) -> u64 {
        self.inserts + self.updates + self.deletes
    }
}

impl NullReader {
    pub(crate) fn run(&self) -> Result<(Taken, Counts)> {
        let until = position(&self.until)?;
        let mut link = Link::connect(self.port, &self.db)?;
        let meter = Meter::start();
        link.start(&format!(
            "START_REPLICATION SLOT {} LOGICAL 0/0 (proto_version '1', publication_names '{}', \
             binary 'true')",
            self.slot, self.publication
        ))?;
        let counts = link.read_until(until)?;
        Ok((meter.stop(), counts))
    }
}

/// Reads a position such as `0/1A2B3C`.
fn position(text: &str) -> Result<u64> {
    let read = |digits: &str| u64::from_str_radix(digits, 16).ok();
    let parts = text.split_once('/').and_then(|(high, low)| Some((read(high)?, read(low)?)));
    parts.map(|(high, low)| high << 32 | low).ok_or_else(|| format!("{text} is no position"))
}

/// A replication connection, and what has arrived on it.
struct Link {
    socket: TcpStream,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

impl Link {
    fn connect(port: u16, db: &str) -> Result<Self> {
        let socket = TcpStream::connect(("127.0.0.1", port)).map_err(|e| e.to_string())?;
        socket.set_nodelay(true).map_err(|e| e.to_string())?;
        let mut link = Self { socket, buffer: vec![0; BUFFER], start: 0, end: 0 };
        let mut body = PROTOCOL.to_be_bytes().to_vec();
        for word in ["user", "postgres", "database", db, "replication", "database", ""] {
            body.extend_from_slice(word.as_bytes());
            body.push(0);
        }
        link.send(None, &body)?;
        link.skip_to(b'Z')?;
        Ok(link)
    }

    fn start(&mut self, command: &str) -> Result<()> {
        self.send(Some(b'Q'), &[command.as_bytes(), b"\0"].concat())?;
        self.skip_to(b'W')
    }

    fn send(&mut self, tag: Option<u8>, body: &[u8]) -> Result<()> {
        let length = u32::try_from(body.len() + 4).unwrap_or(u32::MAX);
        let mut message: Vec<u8> = tag.into_iter().collect();
        message.extend_from_slice(&length.to_be_bytes());
        message.extend_from_slice(body);
        self.socket.write_all(&message).map_err(|e| format!("write to the server: {e}"))
    }

    /// Reads messages until one with `tag`.
    fn skip_to(&mut self, tag: u8) -> Result<()> {
        loop {
            match self.take() {
                Some((found, _)) if found == tag => return Ok(()),
                Some((b'E', body)) => return Err(String::from_utf8_lossy(body).into_owned()),
                Some(_) => {}
                None => self.fill()?,
            }
        }
    }

    /// The next message that has arrived whole.
    fn take(&mut self) -> Option<(u8, &[u8])> {
        let waiting = self.buffer.get(self.start..self.end)?;
        let (head, rest) = waiting.split_first_chunk::<5>()?;
        let [tag, length @ ..] = *head;
        let length = usize::try_from(u32::from_be_bytes(length)).ok()?.saturating_sub(4);
        if rest.len() < length {
            return None;
        }
        let from = self.start + 5;
        self.start = from + length;
        Some((tag, self.buffer.get(from..from + length)?))
    }

    fn fill(&mut self) -> Result<()> {
        self.buffer.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, self.end - self.start);
        if self.end == self.buffer.len() {
            self.buffer.resize(self.end * 2, 0);
        }
        let room = self.buffer.get_mut(self.end..).unwrap_or_default();
        match self.socket.read(room) {
            Ok(0) => Err("the server closed the connection".to_owned()),
            Ok(read) => {
                self.end += read;
                Ok(())
            }
            Err(error) => Err(format!("read from the server: {error}")),
        }
    }

    fn read_until(&mut self, until: u64) -> Result<Counts> {
        let mut counts = Counts::default();
        let (mut reached, mut told) = (0, Instant::now());
        loop {
            let mut asked = false;
            while let Some((tag, body)) = self.take() {
                match (tag, body.split_first()) {
                    // XLogData: start, end, time, then the message.
                    (b'd', Some((b'w', rest))) => {
                        counts.bytes += rest.len() as u64;
                        let message = rest.get(24..).unwrap_or_default();
                        if let Some(end) = counts.take(message) {
                            reached = end;
                            if number(message.get(2..)) >= until {
                                self.acknowledge(reached)?;
                                return Ok(counts);
                            }
                        }
                    }
                    (b'd', Some((b'k', rest))) => asked |= rest.get(16) == Some(&1),
                    (b'E', _) => return Err(String::from_utf8_lossy(body).into_owned()),
                    _ => {}
                }
            }
            if asked || told.elapsed() >= ACKNOWLEDGE {
                self.acknowledge(reached)?;
                told = Instant::now();
            }
            let before = self.end - self.start;
            self.fill()?;
            if self.end - before < SMALL_READ {
                std::thread::sleep(GATHER_PAUSE);
            }
        }
    }

    /// Tells the server that everything up to `reached` is safe.
    fn acknowledge(&mut self, reached: u64) -> Result<()> {
        let mut body = vec![b'r'];
        for number in [reached, reached, reached, 0] {
            body.extend_from_slice(&number.to_be_bytes());
        }
        body.push(0);
        self.send(Some(b'd'), &body)
    }
}

impl Counts {
    /// Counts a message of `pgoutput`; of a commit, returns where it ends.
    fn take(&mut self, message: &[u8]) -> Option<u64> {
        match message.first() {
            Some(b'I') => self.inserts += 1,
            Some(b'U') => self.updates += 1,
            Some(b'D') => self.deletes += 1,
            // Commit: flags, its position, where it ends, time.
            Some(b'C') => {
                self.transactions += 1;
                return Some(number(message.get(10..)));
            }
            _ => {}
        }
        None
    }
}

/// The big-endian number at the start of `bytes`; zero where there is none.
fn number(bytes: Option<&[u8]>) -> u64 {
    bytes.and_then(|bytes| bytes.first_chunk()).map_or(0, |bytes| u64::from_be_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_read_as_the_server_writes_them() {
        assert_eq!(position("0/1A2B3C"), Ok(0x1a_2b3c));
        assert_eq!(position("2/0000000F"), Ok(0x2_0000_000f));
        assert!(position("12").is_err() && position("x/1").is_err());
    }

    #[test]
    fn changes_and_commits_are_counted() {
        let mut counts = Counts::default();
        let commit: Vec<u8> =
            [&b"C\0"[..], &7_u64.to_be_bytes(), &9_u64.to_be_bytes(), &[0; 8]].concat();
        assert_eq!(counts.take(b"I rest"), None);
        assert_eq!(counts.take(b"U rest"), None);
        assert_eq!(counts.take(&commit), Some(9));
        assert_eq!((counts.changes(), counts.transactions), (2, 1));
    }
}
