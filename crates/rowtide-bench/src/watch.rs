//! When rows become visible to another session of the destination.
//!
//! A session asks once a millisecond for rows whose number is new. A row carries the time at which
//! its statement ran at the source; what lies between is what a reader of the copy waits for, the
//! source's own commit included. Both clocks are this machine's.

use std::collections::HashSet;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rowtide_testkit::Result;

use crate::delays::Delays;
use crate::session::Session;

/// Time between two questions.
const EVERY: Duration = Duration::from_millis(1);

/// Rows may become visible in another order than they were numbered in, but with few clients not
/// by more than this.
const OUT_OF_ORDER: i64 = 128;

/// Watches column `seq` of a table, until told to stop.
pub(crate) struct Watch {
    stop: mpsc::Sender<()>,
    thread: JoinHandle<Result<Delays>>,
}

impl Watch {
    /// Watches `table` (with columns `seq` and `at`, the first of them indexed) at `url`.
    pub(crate) fn start(url: String, table: &'static str) -> Self {
        let (stop, stopped) = mpsc::channel();
        let thread = std::thread::spawn(move || watch(&url, table, &stopped));
        Self { stop, thread }
    }

    /// The delays of all rows that were seen, after one more look.
    pub(crate) fn finish(self) -> Result<Delays> {
        drop(self.stop);
        self.thread.join().map_err(|_| "watching the destination failed".to_owned())?
    }
}

fn watch(url: &str, table: &str, stopped: &mpsc::Receiver<()>) -> Result<Delays> {
    let session = Session::open(url)?;
    // Nothing is known of the column's values: a guess would read the table each time.
    session.set("SET enable_seqscan = off")?;
    let sql = format!(
        "SELECT seq, (extract(epoch FROM at) * 1000000)::bigint FROM {table} WHERE seq > $1"
    );
    let statement = session.prepare(&sql)?;
    let (mut seen, mut delays, mut newest) = (HashSet::new(), Vec::new(), 0);
    let mut last = false;
    loop {
        let rows = session.ask(&statement, &[&(newest - OUT_OF_ORDER)])?;
        let now = micros_since_1970()?;
        for row in rows {
            let (seq, at): (i64, i64) = (row.get(0), row.get(1));
            if seen.insert(seq) {
                #[expect(clippy::cast_precision_loss, reason = "a delay of far less than years")]
                delays.push(((now - at) as f64 / 1000.0, 1));
                newest = newest.max(seq);
            }
        }
        if last {
            return Ok(Delays::new(delays));
        }
        last = stopped.recv_timeout(EVERY) != Err(RecvTimeoutError::Timeout);
    }
}

fn micros_since_1970() -> Result<i64> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).map_err(|e| e.to_string())?;
    i64::try_from(since.as_micros()).map_err(|e| e.to_string())
}
