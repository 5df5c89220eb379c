//! What a verification takes of the source: never more connections than it may, over all tables,
//! and nothing while the pipeline is too far behind.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use arrow_array::{ArrayRef, Int64Array, RecordBatch};
use arrow_schema::{DataType, Field};
use async_trait::async_trait;
use rowtide_core::canonical::{Digest, Encoder};
use rowtide_core::view::{
    Inspect, Moment, RowsOf, Share, Spare, TableView, ViewRequest, ViewedRows,
};
use rowtide_core::{Checkpoint, Column, Identity, Result, TableName, TableSchema, TableState};

use super::histories::streaming;
use crate::{Arrival, Options, Report, Verdict, Verifier};

/// How many pieces a table has.
const PIECES: u64 = 20;
/// How long one takes.
const PIECE: Duration = Duration::from_millis(50);

/// A system that counts its connections and statements.
#[derive(Debug, Default)]
struct System {
    open: AtomicUsize,
    most: AtomicUsize,
    statements: AtomicU64,
}

/// A connection to it.
struct Connection(Arc<System>);

impl Connection {
    fn new(system: &Arc<System>) -> Self {
        let open = system.open.fetch_add(1, Ordering::SeqCst) + 1;
        system.most.fetch_max(open, Ordering::SeqCst);
        Self(Arc::clone(system))
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::SeqCst);
    }
}

struct End(Arc<System>);

#[async_trait]
impl Inspect for End {
    async fn view(&self, request: ViewRequest) -> Result<Box<dyn TableView>> {
        let connection = Connection::new(&self.0);
        tokio::time::sleep(Duration::from_millis(5)).await;
        let schema = Arc::clone(&request.plan.source);
        let moment = Moment::default();
        Ok(Box::new(View { schema, moment, share: request.share, connection }))
    }
}

struct View {
    schema: Arc<TableSchema>,
    moment: Moment,
    share: Arc<dyn Share>,
    connection: Connection,
}

#[async_trait]
impl TableView for View {
    fn moment(&self) -> &Moment {
        &self.moment
    }

    async fn digest(&mut self, bits: u32) -> Result<Option<Digest>> {
        let system = &self.connection.0;
        let mut lent: Vec<(Connection, Spare)> = Vec::new();
        let mut left = PIECES;
        while left > 0 {
            if let Some(spare) = self.share.spare() {
                lent.push((Connection::new(system), spare));
            }
            self.share.turn().await;
            let now = (lent.len() as u64 + 1).min(left);
            system.statements.fetch_add(now, Ordering::SeqCst);
            tokio::time::sleep(PIECE).await;
            left -= now;
        }
        let mut digest = Digest::empty(bits);
        let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(0..100));
        let rows = RecordBatch::try_new(self.schema.arrow(), vec![ids])?;
        Encoder::new(&self.schema)?.sum_up(&rows, &mut digest)?;
        Ok(Some(digest))
    }

    async fn count(&mut self) -> Result<u64> {
        Ok(100)
    }

    async fn begin(&mut self, _: RowsOf) -> Result<()> {
        Ok(())
    }

    async fn next(&mut self) -> Result<Option<ViewedRows>> {
        Ok(None)
    }
}

/// A pipeline that is so many bytes behind.
#[derive(Default)]
struct Lag(AtomicU64);

#[async_trait]
impl Arrival for Lag {
    async fn until(&self, _: &Checkpoint) -> Result<()> {
        Ok(())
    }

    fn lag_bytes(&self) -> Option<u64> {
        Some(self.0.load(Ordering::SeqCst))
    }
}

fn tables(count: u64) -> Vec<TableState> {
    let state = |number| {
        let id = Column {
            field: Arc::new(Field::new("id", DataType::Int64, false)),
            native_type: "bigint".into(),
            number: 1,
        };
        let name = TableName::new("public", format!("t{number}"));
        let id = ((number, name), vec![id]);
        let source = TableSchema::new(id.0, 1, id.1, vec![0], Identity::Key);
        streaming(source)
    };
    (1..=count).map(state).collect()
}

async fn verified(system: &Arc<System>, count: u64, (lag, connections): (&Lag, usize)) -> Report {
    let (source, destination) = (End(Arc::clone(system)), End(Arc::default()));
    let verifier = Verifier {
        source: &source,
        destination: &destination,
        arrival: lag,
        pipeline: "p".into(),
        options: Options { connections, lag_bytes: Some(1_000), ..Options::default() },
        marks: HashMap::new(),
        repair: None,
    };
    let report = verifier.verify(&tables(count), &|_| ()).await;
    assert!(report.tables.iter().all(|table| table.verdict == Verdict::Equal), "{report:?}");
    report
}

#[tokio::test(start_paused = true)]
async fn connections_are_never_more_than_allowed_and_all_are_used() {
    for (connections, count) in [(1, 4), (2, 1), (2, 5), (3, 1), (3, 2), (3, 7), (8, 3)] {
        let system = Arc::default();
        let report = verified(&system, count, (&Lag::default(), connections)).await;
        assert_eq!(system.most.load(Ordering::SeqCst), connections, "of {count} tables");
        assert_eq!(system.open.load(Ordering::SeqCst), 0);
        let names: Vec<&str> = report.tables.iter().map(|table| &*table.table.name).collect();
        let expected: Vec<String> = (1..=count).map(|number| format!("t{number}")).collect();
        assert_eq!(names, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_read_while_the_pipeline_is_behind() {
    let (system, lag) = (Arc::default(), Lag::default());
    let verified = verified(&system, 3, (&lag, 2));
    tokio::pin!(verified);
    let statements = || system.statements.load(Ordering::SeqCst);
    let wait = |time| tokio::time::sleep(Duration::from_millis(time));
    tokio::select! { _ = &mut verified => panic!("done already"), () = wait(400) => () }
    assert!(statements() > 0);
    lag.0.store(1_001, Ordering::SeqCst);
    // It is noticed soon.
    tokio::select! { _ = &mut verified => panic!("done already"), () = wait(200) => () }
    let before = statements();
    tokio::select! { _ = &mut verified => panic!("it did not wait"), () = wait(30_000) => () }
    assert_eq!(statements(), before);
    lag.0.store(1_000, Ordering::SeqCst);
    verified.await;
    assert_eq!(statements(), 3 * PIECES);
}
