//! A reader of the destination while it is written: it must never see money missing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use rowtide_testkit::Result;

use crate::case::{Case, judge_money, money_query};
use crate::load::connect;
use crate::target::Place;

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(10);

/// A running reader; a file that another process writes cannot be read meanwhile, so there it
/// does nothing.
pub(crate) struct Watch {
    stop: Arc<AtomicBool>,
    reader: Option<JoinHandle<Result<u64>>>,
}

impl Watch {
    pub(crate) fn start(case: &Case<'_>) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let Place::Postgres(db) = &case.place else {
            return Ok(Self { stop, reader: None });
        };
        let (url, query) = (case.arena.server.url(db), money_query(&case.name));
        let (stopping, from) = (Arc::clone(&stop), Arc::clone(&case.money_from));
        let reader = std::thread::Builder::new()
            .name("watch".to_owned())
            .spawn(move || read(&url, &query, (&stopping, &from)))
            .map_err(|e| format!("start the reader: {e}"))?;
        Ok(Self { stop, reader: Some(reader) })
    }

    /// Ends it; returns how often it looked.
    ///
    /// # Errors
    /// What it saw that must not be.
    pub(crate) fn stop(mut self) -> Result<u64> {
        self.stop.store(true, Ordering::Relaxed);
        let reader = self.reader.take().map(JoinHandle::join);
        reader.unwrap_or(Ok(Ok(0))).map_err(|_| "the reader panicked".to_owned())?
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        drop(self.reader.take().map(JoinHandle::join));
    }
}

fn read(url: &str, query: &str, (stop, from): (&AtomicBool, &AtomicU64)) -> Result<u64> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|e| e.to_string())?;
    runtime.block_on(async {
        let client = connect(url).await?;
        let mut looks = 0;
        while !stop.load(Ordering::Relaxed) {
            let from = from.load(Ordering::Acquire);
            if from > 0 {
                let row = client.query_one(query, &[]).await;
                let row = row.map_err(|e| format!("reading the money: {e}"))?;
                let text: String = row.try_get(0).map_err(|e| format!("reading the money: {e}"))?;
                judge_money(&text, from).map_err(|broken| format!("while it ran: {broken}"))?;
                looks += 1;
            }
            tokio::time::sleep(PAUSE).await;
        }
        Ok(looks)
    })
}
