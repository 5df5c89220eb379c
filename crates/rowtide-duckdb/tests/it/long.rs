//! Rows so long that DuckDB cannot hold a vector of them.

use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use rowtide_core::traits::Progress;
use rowtide_core::{Destination, MergeWrite, TablePlan, TableWrite};
use rowtide_duckdb::{DuckdbDestination, DuckdbOptions};
use tempfile::TempDir;

use crate::support::{PIPELINE, items, rows};

fn place(memory: &str) -> (TempDir, DuckdbDestination) {
    let directory = tempfile::tempdir().unwrap();
    let destination = open(&directory, memory);
    (directory, destination)
}

fn open(directory: &TempDir, memory: &str) -> DuckdbDestination {
    let options = DuckdbOptions {
        memory_limit: memory.to_owned(),
        threads: Some(1),
        ..DuckdbOptions::new(directory.path().join("warehouse.duckdb"))
    };
    DuckdbDestination::new(options).unwrap()
}

/// The same once the last who used the file has closed it.
async fn reopen(directory: &TempDir, memory: &str) -> DuckdbDestination {
    let at = open(directory, memory);
    let deadline = Instant::now() + Duration::from_secs(120);
    while rows(&at, "SELECT current_setting('access_mode')").await != ["read_only"] {
        assert!(Instant::now() < deadline, "the file was not closed");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    at
}

/// Text that does not compress.
fn noise(seed: i64, bytes: usize) -> String {
    let mut state = seed.unsigned_abs().wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut text = Vec::with_capacity(bytes + 8);
    while text.len() < bytes {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        // Eight characters from `!` on.
        let bits = state & 0x3f3f_3f3f_3f3f_3f3f;
        text.extend_from_slice(&(bits + 0x2121_2121_2121_2121).to_le_bytes());
    }
    text.truncate(bytes);
    String::from_utf8(text).unwrap()
}

/// Items with these ids, and names of `bytes`.
fn batch(plan: &TablePlan, ids: std::ops::Range<i64>, bytes: usize) -> RecordBatch {
    let names: StringArray = ids.clone().map(|id| Some(noise(id, bytes))).collect();
    let notes: StringArray = ids.clone().map(|_| None::<&str>).collect();
    let columns: Vec<ArrayRef> =
        vec![Arc::new(ids.collect::<Int64Array>()), Arc::new(names), Arc::new(notes)];
    RecordBatch::try_new(plan.target_arrow(), columns).unwrap()
}

/// Loads `count` rows through `lanes`, and puts them in place.
async fn copy(at: &DuckdbDestination, plan: &TablePlan, lanes: i64, count: i64, bytes: usize) {
    let mut writer = at.open(PIPELINE).await.unwrap();
    let loaders = at.load(PIPELINE, plan, usize::try_from(lanes).unwrap()).await.unwrap();
    let each = count / lanes;
    let filling = (0..).zip(loaders).map(|(lane, mut loader)| {
        let plan = plan.clone();
        tokio::spawn(async move {
            let ids = lane * each..(lane + 1) * each;
            for first in ids.clone().step_by(20) {
                let rows = batch(&plan, first..ids.end.min(first + 20), bytes);
                loader.write(rows).await.unwrap();
            }
            loader.finish().await.unwrap();
        })
    });
    for lane in filling.collect::<Vec<_>>() {
        lane.await.unwrap();
    }
    writer.promote(plan).await.unwrap();
    writer.commit(Progress::default()).await.unwrap();
}

const LENGTHS: &str =
    "SELECT count(*), count(DISTINCT id), min(length(name)), max(length(name)) FROM public.items";

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_of_long_rows_takes_no_more_than_the_memory_allowed() {
    // 2,048 such rows take twice as much, and three times as much.
    for (lanes, count, bytes) in [(1, 1500, 130_000), (3, 300, 1_000_000)] {
        let (directory, at) = place("128MiB");
        copy(&at, &items(), lanes, count, bytes).await;
        let at = reopen(&directory, "4GiB").await;
        let file = fs::metadata(directory.path().join("warehouse.duckdb")).unwrap().len();
        let all = u64::try_from(count).unwrap() * bytes as u64;
        assert!(file < all * 5 / 4, "a file of {file} bytes for rows of {all}");
        // To read many of them at once takes more memory than to write them.
        let lengths = format!("{count}|{count}|{bytes}|{bytes}");
        assert_eq!(rows(&at, LENGTHS).await, [lengths]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_long_rows_is_opened_and_written_again() {
    let (directory, at) = place("128MiB");
    let plan = items();
    copy(&at, &plan, 1, 200, 1_000_000).await;
    for epoch in 0..4 {
        // Each opening folds the log in once more, and would merge what may not be merged.
        let at = reopen(&directory, "128MiB").await;
        let mut writer = at.open(PIPELINE).await.unwrap();
        for part in 0..4 {
            let first = epoch * 40 + part * 10;
            let upserts = Some(batch(&plan, first..first + 10, 1_000_000));
            let write = MergeWrite { upserts, deletes: None, patches: None };
            writer.write(&plan, TableWrite::Merge(write)).await.unwrap();
            writer.commit(Progress::default()).await.unwrap();
        }
    }
    let at = reopen(&directory, "4GiB").await;
    assert_eq!(rows(&at, LENGTHS).await, ["200|200|1000000|1000000"]);
}

#[tokio::test]
async fn row_groups_are_merged_again_with_more_memory() {
    let merging = "SELECT current_setting('max_vacuum_tasks')::BIGINT";
    let (directory, at) = place("128MiB");
    let writer = at.open(PIPELINE).await.unwrap();
    assert_eq!(rows(&at, merging).await, ["100"]);
    drop(writer);
    copy(&at, &items(), 1, 40, 1_000_000).await;
    for (memory, expected) in [("128MiB", "0"), ("64GiB", "100")] {
        let at = reopen(&directory, memory).await;
        let writer = at.open(PIPELINE).await.unwrap();
        assert_eq!(rows(&at, merging).await, [expected]);
        drop(writer);
    }
}
