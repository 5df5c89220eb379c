//! The streaming replication protocol inside `CopyData`: log data and keepalives one way, status
//! updates the other.
//!
//! See <https://www.postgresql.org/docs/current/protocol-replication.html>.

use super::{Cursor, Malformed};

/// What the server sends while it streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Frame<'a> {
    /// One message of the output plugin.
    Data {
        /// Where in the log it belongs; 0 where it belongs nowhere.
        start: u64,
        /// The end of the server's log.
        wal_end: u64,
        /// The message.
        body: &'a [u8],
    },
    /// A sign of life.
    Keepalive {
        /// Everything that ends before has been sent.
        wal_end: u64,
        /// The server will drop the connection unless it hears from us soon.
        reply_requested: bool,
    },
}

impl<'a> Frame<'a> {
    /// Reads the payload of one `CopyData` message.
    #[inline]
    pub(crate) fn parse(payload: &'a [u8]) -> Result<Self, Malformed> {
        let mut cursor = Cursor::new(payload);
        match cursor.u8()? {
            b'w' => {
                let start = cursor.u64()?;
                let wal_end = cursor.u64()?;
                cursor.take(8)?;
                Ok(Self::Data { start, wal_end, body: cursor.rest() })
            }
            b'k' => {
                let wal_end = cursor.u64()?;
                cursor.take(8)?;
                Ok(Self::Keepalive { wal_end, reply_requested: cursor.u8()? != 0 })
            }
            _ => Err(Malformed("an unknown replication frame")),
        }
    }
}

/// What we tell the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StatusUpdate {
    /// What has been received.
    pub(crate) written: u64,
    /// What is durable in the destination. The server may forget everything before.
    pub(crate) flushed: u64,
    /// Now, in microseconds since 2000.
    pub(crate) now: i64,
    /// Ask for a keepalive at once.
    pub(crate) reply_requested: bool,
}

impl StatusUpdate {
    /// The whole `CopyData` message.
    pub(crate) fn encode(&self) -> [u8; 39] {
        let mut message = [0_u8; 39];
        message[0] = b'd';
        message[1..5].copy_from_slice(&38_u32.to_be_bytes());
        message[5] = b'r';
        message[6..14].copy_from_slice(&self.written.to_be_bytes());
        message[14..22].copy_from_slice(&self.flushed.to_be_bytes());
        message[22..30].copy_from_slice(&self.flushed.to_be_bytes());
        message[30..38].copy_from_slice(&self.now.to_be_bytes());
        message[38] = u8::from(self.reply_requested);
        message
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_read() {
        let mut data = vec![b'w'];
        data.extend(7_u64.to_be_bytes());
        data.extend([0; 16]);
        data.extend(b"Bxyz");
        assert_eq!(Frame::parse(&data), Ok(Frame::Data { start: 7, wal_end: 0, body: b"Bxyz" }));
        let mut alive = vec![b'k'];
        alive.extend(9_u64.to_be_bytes());
        alive.extend([0; 8]);
        alive.push(1);
        let expected = Frame::Keepalive { wal_end: 9, reply_requested: true };
        assert_eq!(Frame::parse(&alive), Ok(expected));
    }

    #[test]
    fn truncated_frames_are_refused() {
        let mut alive = vec![b'k'];
        alive.extend([0; 17]);
        for len in 0..alive.len() {
            assert!(Frame::parse(&alive[..len]).is_err(), "{len}");
        }
        assert!(Frame::parse(b"x").is_err());
    }
}
