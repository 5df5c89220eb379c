//! What happens to the file when the process, the disk or another process gets in the way.
//!
//! A child is this very test binary, asked by its environment to play a part.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow_schema::{DataType, Field};
use rowtide_core::traits::Progress;
use rowtide_core::{
    Destination, ErrorKind, MergeWrite, Phase, SchemaChange, Severity, TablePlan, TableWrite,
};
use rowtide_duckdb::{DuckdbDestination, DuckdbOptions};

use crate::support::{
    PIPELINE, Place, at, checkpoint, commit_at, item_rows, items, place, plan, rows, schema,
    state_of,
};

const PART: &str = "ROWTIDE_TEST_PART";
const FILE: &str = "ROWTIDE_TEST_FILE";

/// Where a child comes in; in an ordinary run there is nothing to do.
#[tokio::test]
async fn child() {
    let Ok(part) = std::env::var(PART) else { return };
    let destination = at(std::env::var(FILE).unwrap().into());
    match part.as_str() {
        "hold" => {
            let writer = destination.open(PIPELINE).await.unwrap();
            // Whoever opens and closes the file beside DuckDB loses the lock.
            let mut loader = destination.load(PIPELINE, &items(), 1).await.unwrap().remove(0);
            loader.write(item_rows(&items(), &[(1, Some("a"), None)])).await.unwrap();
            loader.finish().await.unwrap();
            say("held");
            let _ = std::io::stdin().read(&mut [0]);
            drop(writer);
        }
        "churn" => churn(&destination).await,
        "fill" => fill(&destination).await,
        other => panic!("no such part: {other}"),
    }
}

fn say(word: &str) {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    writeln!(out, "\n@{word}").unwrap();
    out.flush().unwrap();
}

fn command(part: &str, file: &Path, wrapper: &str) -> Command {
    let mut command = Command::new("sh");
    command
        .args(["-c", &format!("{wrapper} exec \"$0\" \"$@\"")])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "faults::child", "--nocapture", "--test-threads=1"])
        .env(PART, part)
        .env(FILE, file)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    command
}

fn start(part: &str, file: &Path) -> (Child, std::io::Lines<BufReader<ChildStdout>>) {
    let mut child = command(part, file, "").spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    (child, lines)
}

/// The next word that the child says, if it still does.
fn heard(lines: &mut std::io::Lines<BufReader<ChildStdout>>) -> Option<String> {
    lines.map_while(Result::ok).find_map(|line| line.strip_prefix('@').map(str::to_owned))
}

#[tokio::test]
async fn a_file_held_by_another_process_is_reported_and_not_harmed() {
    let place = place();
    drop(place.begin(&items()).await);
    let (mut child, mut lines) = start("hold", &place.path);
    assert_eq!(heard(&mut lines).as_deref(), Some("held"));
    let opened = place.destination.open(PIPELINE).await.err().unwrap();
    let peeked = place.destination.peek(PIPELINE).await.err().unwrap();
    for error in [opened, peeked] {
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{}", error.chain());
        assert!(error.message().contains(&format!("process {}", child.id())), "{error}");
        assert!(error.hint().is_some());
    }
    let findings = place.destination.preflight(&[items()]).await.unwrap();
    assert!(findings.iter().any(|finding| finding.severity == Severity::Error));
    drop(child.stdin.take());
    child.wait().unwrap();
    assert_eq!(place.destination.peek(PIPELINE).await.unwrap().unwrap().fencing_epoch, 2);
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused_and_kept() {
    let place = place();
    let text = "id,name\n1,not a database\n".repeat(500);
    std::fs::write(&place.path, &text).unwrap();
    let error = place.destination.open(PIPELINE).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Config, "{}", error.chain());
    assert!(error.message().contains("warehouse.duckdb"), "{error}");
    assert_eq!(place.destination.peek(PIPELINE).await.unwrap_err().kind(), ErrorKind::Config);
    assert_eq!(std::fs::read_to_string(&place.path).unwrap(), text);
}

#[tokio::test]
async fn wrong_places_and_settings_are_refused() {
    let missing = at("/nonexistent/directory/x.duckdb".into());
    let error = missing.open(PIPELINE).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Config, "{}", error.chain());
    let place = place();
    let error = at(place.path.parent().unwrap().into()).open(PIPELINE).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Config, "{}", error.chain());
    let options = DuckdbOptions { memory_limit: "1GiB".into(), ..DuckdbOptions::new(&place.path) };
    let destination = DuckdbDestination::new(options).unwrap();
    assert_eq!(destination.select("SELECT 1").await.unwrap_err().kind(), ErrorKind::Config);
}

/// Commits as fast as it can: rows, copies put in place, columns added and dropped. After commit
/// `n` the checkpoint is `n`, table `items` holds ids below `n`, and so does `copies`.
async fn churn(destination: &DuckdbDestination) {
    let mut writer = destination.open(PIPELINE).await.unwrap();
    let state = writer.state().await.unwrap();
    let mut next = state.checkpoint.map_or(0, |checkpoint| checkpoint.position().0);
    let (mut plan, copies) = (wide(next.saturating_sub(1)), copies());
    if next == 0 {
        plan = wide(0);
        writer.promote(&plan).await.unwrap();
    }
    writer.remember(&state_of(&copies, Phase::Copying)).await.unwrap();
    writer.remember(&state_of(&plan, Phase::Streaming)).await.unwrap();
    writer.commit(Progress::default()).await.unwrap();
    loop {
        let id = i64::try_from(next).unwrap();
        let mut loaders = destination.load(PIPELINE, &copies, 1).await.unwrap();
        let mut loader = loaders.remove(0);
        let ids: Vec<_> = (0..=id).map(|id| (id, Some("copied"), None)).collect();
        loader.write(item_rows(&copies, &ids)).await.unwrap();
        loader.finish().await.unwrap();
        writer.write(&plan, wide_row(&plan, id)).await.unwrap();
        if next % 3 == 2 {
            let changed = wide(next);
            writer.apply_schema(&changed, &change(&plan, &changed)).await.unwrap();
            plan = changed;
            // The same row once more, in the new version.
            writer.write(&plan, wide_row(&plan, id)).await.unwrap();
        }
        writer.promote(&copies).await.unwrap();
        next += 1;
        commit_at(&mut writer, next).await.unwrap();
        say(&next.to_string());
    }
}

fn copies() -> TablePlan {
    plan(schema((2, "copies"), 1, crate::support::item_fields(), vec![0]))
}

/// The table as it is after commit `n`: every third commit adds column `extra` or drops it.
fn wide(n: u64) -> TablePlan {
    let changes = (n + 1) / 3;
    let mut fields = crate::support::item_fields();
    if changes % 2 == 1 {
        fields.push(Field::new("extra", DataType::Int64, true));
    }
    let version = u32::try_from(changes).unwrap() + 1;
    plan(schema((1, "items"), version, fields, vec![0]))
}

fn change(before: &TablePlan, after: &TablePlan) -> SchemaChange {
    let table = Arc::clone(&after.source);
    if after.source.columns.len() > before.source.columns.len() {
        let fill: ArrayRef = Arc::new(Int64Array::from(vec![7]));
        SchemaChange::AddColumn { table, column: 3, fill: Some(fill) }
    } else {
        SchemaChange::DropColumn { table, column: "extra".to_owned() }
    }
}

fn wide_row(plan: &TablePlan, id: i64) -> TableWrite {
    let schema = plan.target_arrow();
    let columns = schema.fields().iter().map(|field| -> ArrayRef {
        match field.data_type() {
            // The previous row is written again, so that every commit deletes one.
            DataType::Int64 => Arc::new(Int64Array::from(
                vec![(id - 1).max(0), id][usize::from(id == 0)..].to_vec(),
            )),
            _ => Arc::new(StringArray::from(vec![
                "a value that is not short";
                if id == 0 { 1 } else { 2 }
            ])),
        }
    });
    let upserts = Some(RecordBatch::try_new(schema.clone(), columns.collect()).unwrap());
    TableWrite::Merge(MergeWrite { upserts, ..MergeWrite::default() })
}

/// After `kill -9` at any moment, the file opens and holds exactly what its checkpoint says,
/// which is no less than what was reported as committed.
#[tokio::test]
async fn killed_processes_lose_nothing_that_was_committed() {
    const KILLS: u32 = 30;
    let place = place();
    let mut committed = 0;
    for kill in 0..KILLS {
        let (mut child, mut lines) = start("churn", &place.path);
        for _ in 0..kill % 5 {
            committed = heard(&mut lines).expect("the child goes on").parse::<u64>().unwrap();
        }
        std::thread::sleep(std::time::Duration::from_millis(u64::from(kill) * 7 % 40 + 60));
        child.kill().unwrap();
        child.wait().unwrap();
        while let Some(word) = heard(&mut lines) {
            committed = word.parse().unwrap();
        }
        verify(&place, committed).await;
    }
    assert!(committed > 30, "{committed}");
}

async fn verify(place: &Place, committed: u64) {
    let Some(state) = place.destination.peek(PIPELINE).await.unwrap() else {
        assert_eq!(committed, 0);
        return;
    };
    let at = state.checkpoint.map_or(0, |checkpoint| checkpoint.position().0);
    assert!(at >= committed, "{at} < {committed}");
    if at == 0 {
        return;
    }
    let last = at - 1;
    for table in ["items", "copies"] {
        let sums = format!("SELECT count(*), count(DISTINCT id), max(id) FROM public.{table}");
        assert_eq!(place.rows(&sums).await, [format!("{at}|{at}|{last}")], "{table}");
    }
    let columns = "SELECT count(*) FROM information_schema.columns WHERE table_name = 'items'";
    let expected = wide(last).source.columns.len().to_string();
    assert_eq!(place.rows(columns).await, [expected], "at {at}");
}

/// Commits ever more rows until it fails, and says how that went.
async fn fill(destination: &DuckdbDestination) {
    let plan = items();
    let mut writer = destination.open(PIPELINE).await.unwrap();
    writer.promote(&plan).await.unwrap();
    writer.remember(&state_of(&plan, Phase::Streaming)).await.unwrap();
    writer.commit(Progress::default()).await.unwrap();
    let mut position = 0;
    let error = loop {
        let texts: Vec<String> =
            (0..20_000).map(|n| format!("{position} {n} {}", n * 7919)).collect();
        let batch: Vec<_> = (0..20_000)
            .zip(&texts)
            .map(|(n, text)| (position * 20_000 + n, Some(text.as_str()), None))
            .collect();
        let write = TableWrite::Append(item_rows(&plan, &batch));
        if let Err(error) = writer.write(&plan, write).await {
            break error;
        }
        position += 1;
        if let Err(error) = commit_at(&mut writer, position.unsigned_abs()).await {
            break error;
        }
        say(&format!("committed {position}"));
    };
    say(&format!("{} {}", error.kind().as_str(), error.chain()));
    say(&format!("hint {}", error.hint().unwrap_or_default()));
}

#[tokio::test]
async fn a_full_disk_is_reported_and_loses_nothing() {
    let place = place();
    // Files may grow to 6 MiB (in blocks of 512 bytes); beyond that writes fail.
    let mut child = command("fill", &place.path, "trap '' XFSZ; ulimit -f 12288;").spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut committed = 0;
    let mut said = Vec::new();
    while let Some(word) = heard(&mut lines) {
        match word.strip_prefix("committed ") {
            Some(position) => committed = position.parse::<u64>().unwrap(),
            None => said.push(word),
        }
    }
    child.wait().unwrap();
    assert!(said[0].starts_with("unavailable") && said[0].contains("disk is full"), "{said:?}");
    assert!(said[1].contains("free space"), "{said:?}");
    let state = place.destination.peek(PIPELINE).await.unwrap().unwrap();
    let at = state.checkpoint.unwrap().position().0;
    assert!(committed > 0 && at >= committed, "{at} {committed}");
    let count = rows(&place.destination, "SELECT count(*) FROM public.items").await;
    assert_eq!(count, [(at * 20_000).to_string()]);
    let mut writer = place.destination.open(PIPELINE).await.unwrap();
    commit_at(&mut writer, at + 1).await.unwrap();
}

/// Every column of a wide table wants memory of its own when its rows are committed.
#[tokio::test]
async fn memory_that_does_not_suffice_is_no_conflict() {
    let place = place();
    let with = |memory_limit: &str| {
        let options = DuckdbOptions {
            memory_limit: memory_limit.to_owned(),
            threads: Some(2),
            ..DuckdbOptions::new(&place.path)
        };
        DuckdbDestination::new(options).unwrap()
    };
    let fields = (0..1_600).map(|at| Field::new(format!("c{at}"), DataType::Int64, true));
    let wide = plan(schema((15, "wide"), 1, fields.collect(), vec![0]));
    let write = |ids: [i64; 4]| {
        let column = || Arc::new(Int64Array::from(ids.to_vec())) as ArrayRef;
        let columns = (0..1_600).map(|_| column()).collect();
        let upserts = Some(RecordBatch::try_new(wide.target_arrow(), columns).unwrap());
        TableWrite::Merge(MergeWrite { upserts, ..MergeWrite::default() })
    };
    let mut writer = with("256MiB").open(PIPELINE).await.unwrap();
    writer.promote(&wide).await.unwrap();
    writer.remember(&state_of(&wide, Phase::Streaming)).await.unwrap();
    writer.write(&wide, write([1, 2, 3, 4])).await.unwrap();
    commit_at(&mut writer, 1).await.unwrap();
    writer.write(&wide, write([3, 4, 5, 6])).await.unwrap();
    let error = commit_at(&mut writer, 2).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config, "{}", error.chain());
    assert!(error.chain().contains("memory_limit"), "{}", error.chain());
    assert!(error.hint().unwrap().contains("raise memory_limit"), "{error:?}");
    drop(writer);
    // What the hint says is enough, and nothing was lost or done twice.
    let raised = with("4GiB");
    let mut writer = raised.open(PIPELINE).await.unwrap();
    assert_eq!(writer.state().await.unwrap().checkpoint, Some(checkpoint(1)));
    writer.write(&wide, write([3, 4, 5, 6])).await.unwrap();
    commit_at(&mut writer, 2).await.unwrap();
    drop(writer);
    let all = "SELECT count(*), sum(c0), sum(c1599) FROM public.wide";
    assert_eq!(rows(&raised, all).await, ["6|21|21"]);
}
