//! Connections that are kept for a moment.
//!
//! A start asks the server one thing after the other, and so does the copy of many small tables. A
//! new connection costs more than most of the questions: a process, a handshake, and a look at the
//! catalog that no cache has yet. Whoever leaves a connection as it found it gives it back, and
//! the next one takes it. Nobody else notices, for it is closed soon.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::client::Sql;
use crate::replication::ReplicationConnection;
use crate::wire::Connection;

/// How long one is kept that nobody takes.
const MOMENT: Duration = Duration::from_secs(2);

/// How many are kept.
const ROOM: usize = 4;

/// Connections of one kind that nobody uses. Its clones are the same.
pub(crate) struct Spare<T>(Arc<Mutex<Kept<T>>>);

struct Kept<T> {
    connections: Vec<(u64, T)>,
    /// How many were ever given back.
    given: u64,
}

impl<T> Clone for Spare<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Default for Spare<T> {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Kept { connections: Vec::new(), given: 0 })))
    }
}

impl<T> std::fmt::Debug for Spare<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Spare").field(&locked(&self.0).connections.len()).finish()
    }
}

/// A connection that can be seen to have ended.
pub(crate) trait Ends {
    fn has_ended(&mut self) -> bool;
}

impl Ends for Sql {
    fn has_ended(&mut self) -> bool {
        self.client().is_closed()
    }
}

impl Ends for Connection {
    fn has_ended(&mut self) -> bool {
        self.says_something()
    }
}

impl Ends for ReplicationConnection {
    fn has_ended(&mut self) -> bool {
        self.says_something()
    }
}

impl<T: Ends + Send + 'static> Spare<T> {
    /// One that was kept, the last first.
    pub(crate) fn take(&self) -> Option<T> {
        let mut kept = locked(&self.0);
        while let Some((_, mut connection)) = kept.connections.pop() {
            if !connection.has_ended() {
                return Some(connection);
            }
        }
        None
    }

    /// Keeps one for a moment: without an open transaction, and with no setting changed.
    pub(crate) fn keep(&self, connection: T) {
        self.keep_for(connection, MOMENT);
    }

    fn keep_for(&self, connection: T, moment: Duration) {
        let mut kept = locked(&self.0);
        if kept.connections.len() >= ROOM {
            return;
        }
        kept.given += 1;
        let mine = kept.given;
        kept.connections.push((mine, connection));
        let shelf = Arc::downgrade(&self.0);
        tokio::spawn(async move {
            tokio::time::sleep(moment).await;
            if let Some(shelf) = shelf.upgrade() {
                locked(&shelf).connections.retain(|(given, _)| *given != mine);
            }
        });
    }
}

fn locked<T>(kept: &Mutex<Kept<T>>) -> MutexGuard<'_, Kept<T>> {
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    struct Fake(u32, bool);

    impl Ends for Fake {
        fn has_ended(&mut self) -> bool {
            self.1
        }
    }

    const LONG: Duration = Duration::from_secs(3600);

    #[tokio::test]
    async fn one_that_nobody_takes_is_closed() {
        let spare = Spare::default();
        spare.keep_for(Fake(1, false), Duration::from_millis(1));
        spare.keep_for(Fake(2, false), LONG);
        let began = Instant::now();
        while locked(&spare.0).connections.iter().any(|(_, fake)| fake.0 == 1) {
            assert!(began.elapsed() < Duration::from_secs(60), "it is still kept");
            tokio::task::yield_now().await;
        }
        assert_eq!(spare.take().map(|one| one.0), Some(2));
        assert!(spare.take().is_none());
    }

    #[tokio::test]
    async fn one_that_has_ended_is_not_handed_out_and_too_many_are_not_kept() {
        let spare = Spare::default();
        spare.keep_for(Fake(1, false), LONG);
        spare.keep_for(Fake(2, true), LONG);
        assert_eq!(spare.take().map(|one| one.0), Some(1));
        assert!(spare.take().is_none());
        for number in 0..10 {
            spare.keep_for(Fake(number, false), LONG);
        }
        assert_eq!(std::iter::from_fn(|| spare.take()).count(), ROOM);
    }
}
