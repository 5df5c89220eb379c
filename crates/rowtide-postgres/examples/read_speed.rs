//! How fast a table is copied and its changes are read, and what that costs this process.
//!
//! `cargo run --release -p rowtide-postgres --example read_speed -- [rows]` starts a server of its
//! own. "cpu" is this process alone; the server's share is the rest of the wall time.

#![allow(clippy::print_stdout, reason = "it prints what it measured")]

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rowtide_core::traits::{AttachRequest, SnapshotRequest, StreamItem, StreamStart};
use rowtide_core::{Mode, Source, TableSelection};
use rowtide_postgres::{PostgresOptions, PostgresSource};
use rowtide_sandbox::{PostgresServer, ServerOptions};
use tokio::sync::watch;

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> Outcome<()> {
    let rows: u64 = std::env::args().nth(1).map_or(Ok(1_000_000), |rows| rows.parse())?;
    let server = PostgresServer::start(&ServerOptions::default())?;
    server.psql(
        "postgres",
        "create table t (id bigint primary key, a int, b int, price numeric(12,2), name text, \
         at timestamptz)",
    )?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(measure(&server, rows))
}

async fn measure(server: &PostgresServer, rows: u64) -> Outcome<()> {
    let options = PostgresOptions::from_url(&server.url("postgres"), &|_| None)?;
    let source = PostgresSource::new(options, "speed");
    let tables = source.discover(&TableSelection::parse(["t"])?).await?;
    let followed: Vec<_> = tables.iter().map(|table| (Arc::clone(table), Mode::Merge)).collect();
    let attached = source.attach(AttachRequest { tables: &followed, known: None }).await?;
    let fill = format!(
        "insert into t select n, n, n % 100, n / 100.0, 'name of ' || n, now() \
         from generate_series(1, {rows}) n"
    );
    server.psql("postgres", &fill)?;
    server.psql("postgres", "checkpoint")?;

    for lanes in [1, 2] {
        let meter = Meter::start()?;
        let request = SnapshotRequest {
            table: Arc::clone(&tables[0]),
            lanes,
            settle: false,
            batch_bytes: 8 << 20,
        };
        let parts = source.snapshot(request).await?.parts;
        let reading = parts.into_iter().map(|mut part| {
            tokio::spawn(async move {
                let mut rows: u64 = 0;
                while let Some((batch, _)) = part.next().await? {
                    rows += batch.num_rows() as u64;
                }
                Ok::<u64, rowtide_core::Error>(rows)
            })
        });
        let mut read: u64 = 0;
        for lane in futures::future::join_all(reading).await {
            read += lane??;
        }
        meter.report(&format!("copy, {lanes} lanes"), read)?;
    }

    let head = source.operations().head().await?;
    let (_durable, receiver) = watch::channel(attached.checkpoint.clone());
    let start = StreamStart {
        checkpoint: attached.checkpoint,
        tables,
        copying: Vec::new(),
        fences: Vec::new(),
        buffer_bytes: 64 << 20,
        spool_directory: std::env::temp_dir(),
    };
    let meter = Meter::start()?;
    let mut stream = source.stream(start, receiver).await?;
    let mut read = 0;
    loop {
        let segment = stream.next().await?;
        for item in &segment.items {
            if let StreamItem::Changes(batch) = item {
                read += batch.len() as u64;
            }
        }
        if segment.watermark.is_some_and(|watermark| watermark.checkpoint.covers(&head)) {
            break;
        }
    }
    meter.report("stream", read)
}

struct Meter {
    wall: Instant,
    cpu: Duration,
}

impl Meter {
    fn start() -> Outcome<Self> {
        Ok(Self { wall: Instant::now(), cpu: cpu()? })
    }

    fn report(&self, what: &str, rows: u64) -> Outcome<()> {
        let (wall, cpu) = (self.wall.elapsed(), cpu()? - self.cpu);
        let per = |time: Duration| time.as_secs_f64() * 1e9 / rows.max(1) as f64;
        println!(
            "{what:14} {rows} rows in {:.2} s: {:.0} ns a row, {:.0} ns of cpu here",
            wall.as_secs_f64(),
            per(wall),
            per(cpu)
        );
        Ok(())
    }
}

/// The processor time of this process, in steps of 10 ms.
fn cpu() -> Outcome<Duration> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    let ticks: u64 = fields.skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    Ok(Duration::from_millis(ticks * 10))
}
