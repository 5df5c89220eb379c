//! A thread for one log connection alone, with a runtime of its own.
//!
//! The server sends each row by itself. On a runtime that is shared, its driver would wake up for
//! each of them even while the reader pauses: those wake-ups cost more than the reading, here and
//! at the server. A reader that has the driver to itself can make both of them sleep.

use std::time::Duration;

use rowtide_core::{Error, Result};
use tokio::runtime::{Builder, Handle};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Interval;

/// The thread; it ends when the last of these and everything it runs has ended.
#[derive(Debug, Clone)]
pub(crate) struct LogThread {
    runtime: Handle,
    alive: mpsc::Sender<()>,
}

impl LogThread {
    pub(super) fn start() -> Result<Self> {
        let doing = "starting a thread that reads the log";
        let failed = |error: std::io::Error| Error::internal(doing).with_source(error);
        let runtime = Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let handle = runtime.handle().clone();
        let (alive, mut over) = mpsc::channel::<()>(1);
        let run = move || {
            runtime.block_on(over.recv());
        };
        std::thread::Builder::new().name("rowtide-log".to_owned()).spawn(run).map_err(failed)?;
        Ok(Self { runtime: handle, alive })
    }

    /// A beat that is kept by the thread's own driver.
    pub(crate) fn interval(&self, every: Duration) -> Interval {
        let _here = self.runtime.enter();
        tokio::time::interval(every)
    }

    /// Runs `work` on the thread.
    pub(crate) fn spawn<F>(&self, work: F) -> JoinHandle<F::Output>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        let alive = self.alive.clone();
        self.runtime.spawn(async move {
            let _alive = alive;
            work.await
        })
    }
}
