//! Large values, large epochs, wide tables.

use rowtide_core::traits::Writer;
use rowtide_core::{ErrorKind, Severity};

use super::{Case, PIPELINE, commit, epoch};
use crate::conformance::batches::apply;
use crate::conformance::model::{Cell, Kind, Log, NULL, SAME, Table};
use crate::conformance::oracle::TextRow;
use crate::{peak_rss_bytes, row};

/// 64 MiB of text, written, kept by partial updates, moved, and replaced.
pub async fn a_huge_value(case: Case) {
    let items = Table::items();
    let huge = "0123456789abcdé ".repeat((64 << 20) / 17);
    let mut log = Log::default();
    log.commit([items.insert(row![1, "huge", huge.clone()]), items.insert(row![2, "b", "small"])]);
    log.commit([items.update(row![1, "still huge", SAME])]);
    log.commit([items.change_key(row![1], row![3, SAME, SAME]), items.update(row![2, SAME, huge])]);
    log.commit([items.update(row![3, SAME, "small"]), items.delete(row![2])]);
    let mut writer = case.prepare(&[&items]).await;
    for n in 0..log.len() {
        epoch(&mut writer, &log, (n, n + 1)).await.unwrap();
        case.check(&[&items], &log, n + 1).await;
    }
}

/// How many rows one write brings, and how large each row is.
const PIECE: i64 = 5_000;
const ROW_BYTES: usize = 1_000;
/// In how many writes the first epoch comes, of 150 MB: by its end, memory has come to what it
/// is to stay at. What a destination needs to commit is part of that.
const SETTLED: i64 = 30;
/// In how many writes the epoch after it comes, of 400 MB.
const LARGE: i64 = 80;

/// How much the large epoch may add to the memory that the first one needed. Keeping its rows
/// would add 400 MB; what allocators and a page cache keep varies by a
/// quarter of that.
const GROWTH_BYTES: u64 = 224 << 20;

/// One transaction of 400 MB in many pieces: memory is bounded by the pieces.
pub async fn an_epoch_larger_than_memory(case: Case) {
    let items = Table::items();
    case.subject.be_frugal();
    let mut writer = case.prepare(&[&items]).await;
    many_rows(&mut writer, &items, 0..SETTLED, 1).await;
    let settled = peak_rss_bytes(std::process::id());
    many_rows(&mut writer, &items, SETTLED..SETTLED + LARGE, 2).await;
    drop(writer);
    if let Some((settled, whole)) = settled.zip(peak_rss_bytes(std::process::id())) {
        let grown = whole.saturating_sub(settled);
        assert!(grown < GROWTH_BYTES, "{} MiB more after {} MiB", grown >> 20, settled >> 20);
    }
    let columns = [("id".to_owned(), Kind::Integer), ("name".to_owned(), Kind::Text)];
    let rows = case.subject.rows(items.target(), &columns).await.unwrap();
    let parsed = |row: &TextRow| {
        let id: i64 = row[0].as_ref().unwrap().parse().unwrap();
        (id, row[1].clone().unwrap())
    };
    let mut rows: Vec<(i64, String)> = rows.iter().map(parsed).collect();
    rows.sort_unstable();
    assert!(rows.iter().map(|row| row.0).eq(0..(SETTLED + LARGE) * PIECE), "{} rows", rows.len());
    for (id, name) in rows {
        let of_its_epoch = if id < SETTLED * PIECE { id } else { id - SETTLED * PIECE };
        let changed = of_its_epoch % 7 == 0 && of_its_epoch < PIECE * 7;
        assert_eq!(name, if changed { "changed" } else { "large" }, "{id}");
    }
}

/// One epoch that inserts these pieces, and changes some of its rows again.
async fn many_rows(
    writer: &mut Box<dyn Writer>,
    items: &Table,
    pieces: std::ops::Range<i64>,
    number: usize,
) {
    let first = pieces.start * PIECE;
    for piece in pieces {
        let mut log = Log::default();
        let ids = piece * PIECE..(piece + 1) * PIECE;
        log.commit(ids.map(|id| items.insert(row![id, "large", text(id)])));
        apply(writer.as_mut(), &log.transactions).await.unwrap();
    }
    let mut log = Log::default();
    log.commit((0..PIECE).map(|n| items.update(row![first + n * 7, "changed", SAME])));
    apply(writer.as_mut(), &log.transactions).await.unwrap();
    commit(writer, number).await.unwrap();
}

fn text(id: i64) -> String {
    let mut text = (id * 7_919).to_string();
    while text.len() < ROW_BYTES {
        let next = i64::try_from(text.len()).unwrap() * 31 + id;
        text.push_str(&(next * 1_000_003).to_string());
    }
    text
}

fn wide(columns: usize) -> Table {
    let names: Vec<String> = (0..columns).map(|at| format!("c{at}")).collect();
    let columns: Vec<(&str, Kind)> =
        names.iter().map(|name| (name.as_str(), Kind::Integer)).collect();
    Table::new(1, "wide", &columns, &[0])
}

/// What PostgreSQL's tables may have; systems with less say how much.
const WIDE: usize = 1_600;

/// Every column is written, read back, and left alone where it was not repeated.
pub async fn as_many_columns_as_there_can_be(case: Case) {
    let columns = WIDE.min(case.subject.most_columns());
    let table = wide(columns);
    // Not all at once: rows of some systems have to fit into a page.
    let row = |id: i64, filler: Cell| -> Vec<Cell> {
        let part = usize::try_from(id).unwrap() % 4;
        let value = |at: usize| {
            if at % 4 == part { at.try_into().map(i64::into) } else { Ok(filler.clone()) }
        };
        let mut row: Vec<Cell> = (0..columns).map(|at| value(at).unwrap()).collect();
        row[0] = id.into();
        row
    };
    let mut log = Log::default();
    log.commit((0..4).map(|id| table.insert(row(id, NULL))));
    log.commit([table.update(row(1, SAME)), table.delete(row![2])]);
    log.commit([table.change_key(row![3], row(7, SAME))]);
    let mut writer = case.prepare(&[&table]).await;
    for n in 0..log.len() {
        epoch(&mut writer, &log, (n, n + 1)).await.unwrap();
        case.check(&[&table], &log, n + 1).await;
    }
}

/// A table that is too wide is refused in words, before or when it is made.
pub async fn more_columns_than_there_can_be(case: Case) {
    let most = case.subject.most_columns();
    if most > 10_000 {
        return; // There is no such thing here.
    }
    let table = wide(most + 1);
    let findings = case.destination().preflight(std::slice::from_ref(&table.plan)).await.unwrap();
    let told = findings.iter().any(|finding| {
        finding.severity == Severity::Error && finding.message.contains(&most.to_string())
    });
    assert!(told, "{findings:?}");
    let mut writer = case.open().await;
    let error = match case.destination().load(PIPELINE, &table.plan, 1).await {
        Err(error) => error,
        Ok(_) => writer.promote(&table.plan).await.unwrap_err(),
    };
    assert!(matches!(error.kind(), ErrorKind::Config | ErrorKind::Data), "{}", error.chain());
}
