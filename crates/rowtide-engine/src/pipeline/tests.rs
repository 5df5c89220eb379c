//! A pipeline that never worked yet, between ends that are not there.

use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;
use rowtide_core::traits::{
    AttachRequest, Attached, ChangeStream, Loader, ModeOf, SnapshotRequest, SourceOperations,
    StreamStart, TableSnapshot, Writer,
};
use rowtide_core::{Capabilities, Finding, PipelineState, TablePlan, TableSchema, TableSelection};

use super::*;

const NOWHERE: &str = "nothing is there";

/// Ends that are not there; the destination says so in a certain way, and so often.
struct Nowhere {
    error: fn() -> Error,
    opened: AtomicU32,
    stop_at: u32,
    stop: watch::Sender<bool>,
}

#[async_trait]
impl Source for Nowhere {
    async fn preflight(&self, _: &TableSelection, _: ModeOf<'_>) -> Result<Vec<Finding>> {
        Err(Error::internal(NOWHERE))
    }
    async fn discover(&self, _: &TableSelection) -> Result<Vec<Arc<TableSchema>>> {
        Err(Error::internal(NOWHERE))
    }
    async fn attach(&self, _: AttachRequest<'_>) -> Result<Attached> {
        Err(Error::internal(NOWHERE))
    }
    async fn snapshot(&self, _: SnapshotRequest) -> Result<TableSnapshot> {
        Err(Error::internal(NOWHERE))
    }
    async fn stream(
        &self,
        _: StreamStart,
        _: watch::Receiver<Checkpoint>,
    ) -> Result<Box<dyn ChangeStream>> {
        Err(Error::internal(NOWHERE))
    }
    fn operations(&self) -> &dyn SourceOperations {
        unreachable!("{NOWHERE}")
    }
}

#[async_trait]
impl Destination for Nowhere {
    fn capabilities(&self) -> Capabilities {
        Capabilities::default()
    }
    async fn preflight(&self, _: &[TablePlan]) -> Result<Vec<Finding>> {
        Err(Error::internal(NOWHERE))
    }
    async fn open(&self, _: &str) -> Result<Box<dyn Writer>> {
        let count = self.opened.fetch_add(1, Ordering::Relaxed) + 1;
        if count == self.stop_at {
            self.stop.send_replace(true);
        }
        Err((self.error)())
    }
    async fn load(&self, _: &str, _: &TablePlan, _: usize) -> Result<Vec<Box<dyn Loader>>> {
        Err(Error::internal(NOWHERE))
    }
    async fn peek(&self, _: &str) -> Result<Option<PipelineState>> {
        Ok(None)
    }
    async fn teardown(&self, _: &str) -> Result<Vec<String>> {
        Ok(Vec::new())
    }
}

/// Runs until it gives up, or until it was stopped at the 20th attempt.
async fn run(error: fn() -> Error) -> (Result<Summary>, u32) {
    let (stop, shutdown) = watch::channel(false);
    let nowhere = Arc::new(Nowhere { error, opened: AtomicU32::new(0), stop_at: 20, stop });
    let selection = TableSelection { include: Vec::new(), exclude: Vec::new() };
    let settings = Settings {
        retry_initial: Duration::from_micros(1),
        retry_max: Duration::from_micros(1),
        retry_startup: Duration::ZERO,
        ..Settings::new(selection)
    };
    let pipeline = Pipeline {
        name: "nowhere".into(),
        source: Arc::clone(&nowhere) as Arc<dyn Source>,
        destination: Arc::clone(&nowhere) as Arc<dyn Destination>,
        settings,
        monitor: Monitor::default(),
        requests: Requests::default(),
        environment: Environment::real(),
    };
    (pipeline.run(shutdown).await, nowhere.opened.load(Ordering::Relaxed))
}

#[tokio::test]
async fn who_cannot_be_reached_is_not_waited_for_at_first() {
    let (ended, attempts) = run(|| Error::unavailable("no route")).await;
    assert_eq!(ended.unwrap_err().message(), "no route");
    assert_eq!(attempts, 1);
}

#[tokio::test]
async fn who_answers_is_waited_for_from_the_first_attempt() {
    let (ended, attempts) = run(|| Error::unavailable("locked").answered()).await;
    assert!(ended.unwrap().interrupted);
    assert_eq!(attempts, 20);
}

#[tokio::test]
async fn an_answer_that_does_not_pass_is_not_waited_for() {
    let (ended, attempts) = run(|| Error::config("no such database").answered()).await;
    assert_eq!(ended.unwrap_err().kind(), ErrorKind::Config);
    assert_eq!(attempts, 1);
}
