//! Measures the destination alone: copying, appending, merging large and small, and the memory
//! that one huge epoch takes.
//!
//! `cargo run --release -p rowtide-duckdb --example measure -- <directory> [speed|memory]`

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "an example that prints its findings")]

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use arrow_array::{
    ArrayRef, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int32Array, Int64Array,
    RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow_schema::{DataType, Field, TimeUnit};
use rowtide_core::traits::{Progress, Writer};
use rowtide_core::{
    Checkpoint, Column, DeleteMode, Destination, Identity, MergeWrite, MetadataColumns, Mode,
    Offset, Phase, TableName, TablePlan, TableSchema, TableState, TableWrite,
};
use rowtide_duckdb::{DuckdbDestination, DuckdbOptions};

const ROWS: i64 = 1_000_000;
const PIECE: i64 = 50_000;

fn main() {
    let directory = PathBuf::from(std::env::args().nth(1).unwrap_or_else(|| ".".to_owned()));
    let path = directory.join("measure.duckdb");
    let what = std::env::args().nth(2).unwrap_or_else(|| "speed".to_owned());
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    remove(&path);
    if what == "memory" {
        runtime.block_on(huge(&destination(&path)));
    } else {
        for lanes in [1, 2] {
            remove(&path);
            runtime.block_on(copy(&destination(&path), lanes));
        }
        runtime.block_on(append(&destination(&path)));
        runtime.block_on(merge(&destination(&path)));
    }
    drop(runtime);
    remove(&path);
}

fn remove(path: &PathBuf) {
    let _ = std::fs::remove_file(path);
    let _ = std::fs::remove_file(path.with_extension("duckdb.wal"));
}

fn destination(path: &PathBuf) -> DuckdbDestination {
    let options = DuckdbOptions {
        memory_limit: "512MiB".to_owned(),
        threads: Some(2),
        ..DuckdbOptions::new(path)
    };
    DuckdbDestination::new(options).unwrap()
}

async fn copy(destination: &DuckdbDestination, lanes: i64) {
    let plan = plan("copied", Mode::Merge);
    let mut writer = destination.open("measure").await.unwrap();
    remember(&mut writer, &plan, Phase::Copying).await;
    let lane_count = usize::try_from(lanes).unwrap();
    let loaders = destination.load("measure", &plan, lane_count).await.unwrap();
    let parts: Vec<Vec<RecordBatch>> = (0..lanes)
        .map(|lane| {
            let pieces = (0..ROWS / PIECE).filter(|piece| piece % lanes == lane);
            pieces.map(|piece| rows(&plan, piece * PIECE, PIECE, 0)).collect()
        })
        .collect();
    let start = Instant::now();
    let mut running = Vec::new();
    for (mut loader, part) in loaders.into_iter().zip(parts) {
        running.push(async move {
            for batch in part {
                loader.write(batch).await.unwrap();
            }
            loader.finish().await.unwrap();
        });
    }
    join(running).await;
    writer.promote(&plan).await.unwrap();
    remember(&mut writer, &plan, Phase::Streaming).await;
    report(&format!("copy with {lanes} lanes"), start, ROWS);
}

async fn append(destination: &DuckdbDestination) {
    let plan = plan("appended", Mode::Append);
    let mut writer = destination.open("measure").await.unwrap();
    writer.promote(&plan).await.unwrap();
    remember(&mut writer, &plan, Phase::Streaming).await;
    let batches: Vec<_> =
        (0..ROWS / PIECE).map(|piece| rows(&plan, piece * PIECE, PIECE, 0)).collect();
    let start = Instant::now();
    for batch in batches {
        writer.write(&plan, TableWrite::Append(batch)).await.unwrap();
    }
    commit(&mut writer, 1).await;
    report("append in one epoch", start, ROWS);
}

async fn merge(destination: &DuckdbDestination) {
    let plan = plan("copied", Mode::Merge);
    let mut writer = destination.open("measure").await.unwrap();
    let mut position = 1;
    for (epochs, size) in [(5, 100_000), (200, 1), (200, 10), (200, 500)] {
        let batches: Vec<_> = (0..epochs)
            .map(|epoch| rows(&plan, ROWS - size / 2 - epoch * 4_001, size, epoch + 1))
            .collect();
        let mut times = Vec::new();
        for batch in batches {
            let start = Instant::now();
            writer.write(&plan, upserts(batch)).await.unwrap();
            position += 1;
            commit(&mut writer, position).await;
            times.push(start.elapsed().as_secs_f64() * 1e3);
        }
        times.sort_by(f64::total_cmp);
        let (median, most) = (times[times.len() / 2], times[times.len() - 1]);
        println!("merge of {size} rows: median {median:.2} ms, worst {most:.2} ms");
    }
}

/// Rows made only when they are needed, so that the peak is the destination's.
async fn huge(destination: &DuckdbDestination) {
    let plan = plan("copied", Mode::Merge);
    let mut writer = destination.open("measure").await.unwrap();
    remember(&mut writer, &plan, Phase::Copying).await;
    let mut loader = destination.load("measure", &plan, 1).await.unwrap().remove(0);
    for piece in 0..ROWS / PIECE {
        loader.write(rows(&plan, piece * PIECE, PIECE, 0)).await.unwrap();
    }
    loader.finish().await.unwrap();
    println!("peak memory of a copy: {} MiB (DuckDB's limit is 512)", peak_mib());
    writer.promote(&plan).await.unwrap();
    remember(&mut writer, &plan, Phase::Streaming).await;
    let start = Instant::now();
    let mut written = 0;
    for round in 0..2 {
        for piece in 0..ROWS / PIECE {
            let batch = rows(&plan, piece * PIECE, PIECE, 1_000 + round);
            writer.write(&plan, upserts(batch)).await.unwrap();
            written += PIECE;
        }
        println!("after {written} updates in one epoch: {} MiB", peak_mib());
    }
    commit(&mut writer, 1_000_000).await;
    report("one epoch of updates", start, written);
    println!("after its commit: {} MiB", peak_mib());
    let check =
        "SELECT count(*), count(DISTINCT id), count(*) FILTER (a = 1001) FROM public.copied";
    println!("rows, keys, updated rows: {:?}", destination.select(check).await.unwrap()[0]);
}

fn upserts(batch: RecordBatch) -> TableWrite {
    TableWrite::Merge(MergeWrite { upserts: Some(batch), ..MergeWrite::default() })
}

async fn commit(writer: &mut Box<dyn Writer>, position: u64) {
    let checkpoint = Checkpoint::single("slot".into(), Offset(position));
    let progress = Progress { checkpoint: Some(&checkpoint), ..Progress::default() };
    writer.commit(progress).await.unwrap();
}

async fn remember(writer: &mut Box<dyn Writer>, plan: &TablePlan, phase: Phase) {
    let state = TableState {
        schema: (*plan.source).clone(),
        target: plan.target.clone(),
        mode: plan.mode,
        delete: plan.delete,
        metadata: plan.metadata.clone(),
        phase,
        fence: None,
        rows_copied: 0,
        reason: None,
        awaits: None,
        values: rowtide_core::ValueTally::default(),
    };
    writer.remember(&state).await.unwrap();
    writer.commit(Progress::default()).await.unwrap();
}

/// Drives all futures at once; they mostly wait for threads that do the work.
async fn join(futures: Vec<impl Future<Output = ()>>) {
    let mut futures: Vec<_> = futures.into_iter().map(Box::pin).collect();
    std::future::poll_fn(|context| {
        futures.retain_mut(|future| future.as_mut().poll(context).is_pending());
        if futures.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
}

fn report(what: &str, start: Instant, rows: i64) {
    let seconds = start.elapsed().as_secs_f64();
    let rate = f64::from(i32::try_from(rows).unwrap_or(i32::MAX)) / seconds / 1e6;
    println!("{what}: {rows} rows in {seconds:.2} s, {rate:.2}M rows/s");
}

fn peak_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or_default() / 1024
}

fn plan(name: &str, mode: Mode) -> TablePlan {
    let field = |name: &str, kind: DataType| Field::new(name, kind, true);
    let fields = [
        field("id", DataType::Int64),
        field("a", DataType::Int32),
        field("f", DataType::Float64),
        field("b", DataType::Boolean),
        field("d", DataType::Date32),
        field("ts", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))),
        field("n", DataType::Decimal128(18, 4)),
        field("s1", DataType::Utf8),
        field("s2", DataType::Utf8),
        field("s3", DataType::Utf8),
    ];
    let columns = (1..)
        .zip(fields)
        .map(|(number, field)| Column {
            field: Arc::new(field),
            native_type: String::new(),
            number,
        })
        .collect();
    let id = u64::from(name == "copied");
    let name = TableName::new("public", name);
    let source = TableSchema::new((id, name.clone()), 1, columns, vec![0], Identity::Key);
    TablePlan {
        source: Arc::new(source),
        target: name,
        mode,
        delete: DeleteMode::Hard,
        metadata: MetadataColumns::default(),
    }
}

/// `count` rows from `start` on, about 200 bytes each.
fn rows(plan: &TablePlan, start: i64, count: i64, version: i64) -> RecordBatch {
    let ids = || start..start + count;
    let a = i32::try_from(version).unwrap_or_default();
    let decimals = Decimal128Array::from_iter_values(ids().map(|id| i128::from(id) * 77));
    let times = TimestampMicrosecondArray::from_iter_values(ids().map(|id| id * 1_000_003));
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_iter_values(ids())),
        Arc::new(Int32Array::from_iter_values(ids().map(|_| a))),
        Arc::new(Float64Array::from_iter_values(
            ids().map(|id| f64::from(i32::try_from(id).unwrap_or_default()) * 0.37),
        )),
        Arc::new(BooleanArray::from(ids().map(|id| id % 3 == 0).collect::<Vec<_>>())),
        Arc::new(Date32Array::from_iter_values(
            ids().map(|id| i32::try_from(id % 20_000).unwrap_or_default()),
        )),
        Arc::new(times.with_timezone("UTC")),
        Arc::new(decimals.with_precision_and_scale(18, 4).unwrap()),
        Arc::new(StringArray::from_iter_values(ids().map(|id| format!("n{id}v{version}")))),
        Arc::new(StringArray::from_iter_values(
            ids().map(|id| format!("customer number {} of the shop", id * 7919 % 1_000_003)),
        )),
        Arc::new(StringArray::from_iter_values(
            ids().map(|id| format!("{:x}{:0>70}", id.wrapping_mul(0x9E37_79B9_7F4A), id)),
        )),
    ];
    RecordBatch::try_new(plan.target_arrow(), columns).unwrap()
}
