//! What a snapshot already contains, so that the stream can leave exactly that out.

use serde::{Deserialize, Serialize};

use crate::{Commit, Error, Offset, Result};

/// Which committed transactions a table's copy has already seen.
///
/// A streamed transaction that the fence covers is in the copy and is skipped for that table;
/// every other one is applied. For PostgreSQL this is decided by transaction id, not by position:
/// a commit can be decoded before it is visible, so a position alone would lose or repeat rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fence {
    /// PostgreSQL: what `pg_current_snapshot()` showed inside the copying transaction.
    Xids(XidSnapshot),
    /// Sources whose snapshots are consistent with a log position: every commit below it.
    Below(Offset),
    /// Nothing was copied: every transaction is applied.
    Nothing,
}

impl Fence {
    /// Whether the copy already contains `commit`.
    pub fn covers(&self, commit: &Commit) -> bool {
        match self {
            Self::Xids(snapshot) => snapshot.covers(commit),
            Self::Below(offset) => commit.position < *offset,
            Self::Nothing => false,
        }
    }
}

/// A PostgreSQL snapshot: `xmin:xmax:xip,…` with 64-bit transaction ids, and where WAL ended
/// just after it was taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct XidSnapshot {
    /// Every transaction below had ended.
    pub xmin: u64,
    /// No transaction from here on had ended.
    pub xmax: u64,
    /// Those between that were still running, in order.
    pub xip: Vec<u64>,
    /// No commit record that the snapshot sees lies beyond this place: bounds the xid test in
    /// log order, so that it stays right after the 32-bit ids of the stream wrap around.
    pub wal_end: Offset,
}

/// A commit record and the WAL position read after it may lie on two sides of a page header.
const WAL_END_SLACK: u64 = 64 * 1024;

impl XidSnapshot {
    /// Reads the text form of `pg_current_snapshot()`.
    ///
    /// # Errors
    /// `Internal` if the text is not of that form.
    pub fn parse(text: &str, wal_end: Offset) -> Result<Self> {
        let bad = || Error::internal("the server's snapshot is not of the form xmin:xmax:xip");
        let mut parts = text.splitn(3, ':');
        let mut next = || parts.next().ok_or_else(bad);
        let (xmin, xmax, list) = (next()?, next()?, next()?);
        let number = |text: &str| text.parse::<u64>().map_err(|_| bad());
        let mut xip = Vec::new();
        for item in list.split(',').filter(|item| !item.is_empty()) {
            xip.push(number(item)?);
        }
        xip.sort_unstable();
        Ok(Self { xmin: number(xmin)?, xmax: number(xmax)?, xip, wal_end })
    }

    /// Whether the snapshot sees `commit`.
    pub fn covers(&self, commit: &Commit) -> bool {
        if commit.position.0 > self.wal_end.0.saturating_add(WAL_END_SLACK) {
            return false;
        }
        let xid = self.widen(commit.xid);
        xid < self.xmin || (xid < self.xmax && self.xip.binary_search(&xid).is_err())
    }

    /// Gives a 32-bit xid from the stream the epoch that puts it nearest to this snapshot.
    fn widen(&self, xid: u32) -> u64 {
        #[expect(clippy::cast_possible_truncation, reason = "the low half is what is compared")]
        let low = self.xmax as u32;
        #[expect(clippy::cast_possible_wrap, reason = "the distance on the circle of 32-bit ids")]
        let distance = i64::from(xid.wrapping_sub(low) as i32);
        self.xmax.saturating_add_signed(distance)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn commit(xid: u32, position: u64) -> Commit {
        Commit { position: Offset(position), xid, committed_at: 0 }
    }

    #[test]
    fn visibility_is_that_of_the_server() {
        let snapshot = XidSnapshot::parse("100:110:103,105", Offset(1 << 30)).unwrap();
        let seen: Vec<_> = (98..113).filter(|&xid| snapshot.covers(&commit(xid, 5))).collect();
        assert_eq!(seen, [98, 99, 100, 101, 102, 104, 106, 107, 108, 109]);
    }

    #[test]
    fn a_commit_beyond_the_end_of_wal_is_never_covered() {
        let snapshot = XidSnapshot::parse("100:110:", Offset(1000)).unwrap();
        assert!(snapshot.covers(&commit(50, 1000)));
        assert!(!snapshot.covers(&commit(50, 1_000_000)));
    }

    #[test]
    fn ids_of_the_stream_are_widened_across_an_epoch() {
        let epoch = 1_u64 << 32;
        let text = format!("{}:{}:", epoch + 5, epoch + 10);
        let snapshot = XidSnapshot::parse(&text, Offset(u64::MAX - WAL_END_SLACK)).unwrap();
        assert!(snapshot.covers(&commit(7, 0)), "after the wrap, below xmax");
        assert!(snapshot.covers(&commit(u32::MAX - 3, 0)), "before the wrap");
        assert!(!snapshot.covers(&commit(10, 0)));
        assert!(!snapshot.covers(&commit(4_000, 0)));
    }

    #[test]
    fn malformed_snapshots_are_refused() {
        for text in ["", "1", "1:2", "a:2:", "1:2:x"] {
            assert!(XidSnapshot::parse(text, Offset(0)).is_err(), "{text}");
        }
    }
}
