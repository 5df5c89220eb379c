//! The CPU time of a PostgreSQL server: of the process that was started, of every process it has,
//! and of those that have ended.

use std::fs;

use rowtide_sandbox::PostgresServer;

use super::Times;

/// Started before what is measured.
#[derive(Debug)]
pub(crate) struct ServerClock {
    postmaster: u32,
    before: f64,
}

impl ServerClock {
    pub(crate) fn start(server: &PostgresServer) -> Self {
        let postmaster = server.pid().unwrap_or_default();
        Self { postmaster, before: seconds(postmaster) }
    }

    /// The seconds since the start. A process whose client has just gone may still be ending.
    pub(crate) fn seconds(&self) -> f64 {
        (seconds(self.postmaster) - self.before).max(0.0)
    }
}

/// All that the server has taken since it started. A process that ends while the others are being
/// read would be counted twice or not at all, so that such a reading is made again.
fn seconds(postmaster: u32) -> f64 {
    loop {
        let Some(before) = Times::of(postmaster) else { return 0.0 };
        let running: f64 = children(postmaster).map(|times| times.own).sum();
        match Times::of(postmaster) {
            #[expect(clippy::float_cmp, reason = "whether the very same number was read again")]
            Some(after) if after.children == before.children => {
                return after.own + after.children + running;
            }
            Some(_) => {}
            None => return 0.0,
        }
    }
}

fn children(parent: u32) -> impl Iterator<Item = Times> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter_map(Times::of).filter(move |times| times.parent == parent)
}
