//! Soft deletes, TRUNCATE, history, and the columns that tell of changes.

use rowtide_core::MetadataColumns;

use super::{Case, assert_rows, epoch, source_columns};
use crate::conformance::batches::LOADED_AT;
use crate::conformance::model::{Kind, Log, NULL, SAME, Table};
use crate::conformance::oracle::TextRow;
use crate::row;

/// The rows with their source columns, op, deleted, position, and order.
async fn marked(case: &Case, table: &Table) -> Vec<String> {
    let metadata = MetadataColumns::merge();
    let mut columns = source_columns(table);
    columns.push((metadata.op.unwrap(), Kind::Text));
    columns.push((metadata.deleted.unwrap(), Kind::Boolean));
    columns.push((metadata.position.unwrap(), Kind::Integer));
    columns.push((metadata.seq.unwrap(), Kind::Integer));
    let mut rows = case.subject.rows(table.target(), &columns).await.unwrap();
    rows.sort();
    let text = |row: &TextRow| {
        let cells = row.iter().map(|cell| cell.as_deref().unwrap_or("∅"));
        cells.collect::<Vec<_>>().join("|")
    };
    rows.iter().map(text).collect()
}

async fn applied(case: &Case, table: &Table, log: &Log) {
    let mut writer = case.prepare(&[table]).await;
    for n in 0..log.len() {
        epoch(&mut writer, log, (n, n + 1)).await.unwrap();
        case.check(&[table], log, n + 1).await;
    }
}

/// A deleted row keeps its values; the metadata is that of the delete. No row, no mark.
pub async fn soft_delete_marks_and_keeps_the_values(case: Case) {
    let items = Table::items().soft();
    let mut log = Log::default();
    log.commit([items.insert(row![1, "a", "one"]), items.insert(row![2, "b", NULL])]);
    log.commit([
        items.update(row![2, "B", SAME]),
        items.delete(row![1]),
        items.insert(row![9, "brief", NULL]),
        items.delete(row![9]),
    ]);
    applied(&case, &items, &log).await;
    let expected = ["1|a|one|delete|true|1100|1", "2|B|∅|update|false|1100|0"];
    assert_eq!(marked(&case, &items).await, expected);
}

/// A new row under the key of a deleted one takes its place.
pub async fn a_deleted_row_comes_back(case: Case) {
    let items = Table::items().soft();
    let mut log = Log::default();
    log.commit((1..4).map(|id| items.insert(row![id, "a", "old note"])));
    log.commit([items.delete(row![1]), items.delete(row![2])]);
    log.commit([
        items.insert(row![1, "again", NULL]),
        items.update(row![1, "and again", SAME]),
        items.change_key(row![3], row![2, "moved", SAME]),
    ]);
    applied(&case, &items, &log).await;
    let expected = [
        "1|and again|∅|update|false|1200|1",
        "2|moved|old note|insert|false|1200|3",
        "3|a|old note|delete|true|1200|2",
    ];
    assert_eq!(marked(&case, &items).await, expected);
}

/// A key change is a delete under the old key; where another row takes that place, no mark stays.
pub async fn a_moved_row_is_marked_under_its_old_key(case: Case) {
    let items = Table::items().soft();
    let mut log = Log::default();
    log.commit([items.insert(row![1, "a", "one"]), items.insert(row![2, "b", "two"])]);
    log.commit([items.change_key(row![1], row![5, "a", SAME])]);
    log.commit([
        items.change_key(row![5], row![7, SAME, SAME]),
        items.change_key(row![2], row![5, SAME, SAME]),
    ]);
    applied(&case, &items, &log).await;
    let expected = [
        "1|a|one|delete|true|1100|0",
        "2|b|two|delete|true|1200|2",
        "5|b|two|insert|false|1200|3",
        "7|a|one|insert|false|1200|1",
    ];
    assert_eq!(marked(&case, &items).await, expected);
}

/// Rows before it go, rows after it stay, in every kind of table at once.
pub async fn truncate_among_rows(case: Case) {
    let (items, bag) = (Table::items(), Table::bag());
    let history = Table::items().named(11, "history").appending();
    let mut log = Log::default();
    log.commit((1..5).flat_map(|id| {
        let row = row![id, "before", NULL];
        [items.insert(row.clone()), history.insert(row), bag.insert(row![id % 2, "before"])]
    }));
    log.commit([
        items.insert(row![8, "same transaction", NULL]),
        bag.insert(row![8, "same transaction"]),
        items.truncate(),
        history.truncate(),
        bag.truncate(),
        items.insert(row![1, "after", NULL]),
        history.insert(row![1, "after", NULL]),
        bag.insert(row![1, "after"]),
    ]);
    log.commit([items.truncate(), items.truncate(), bag.truncate()]);
    let tables = [&items, &bag, &history];
    let mut writer = case.prepare(&tables).await;
    epoch(&mut writer, &log, (0, 1)).await.unwrap();
    epoch(&mut writer, &log, (1, 2)).await.unwrap();
    case.check(&tables, &log, 2).await;
    epoch(&mut writer, &log, (2, 3)).await.unwrap();
    case.check(&tables, &log, 3).await;
}

/// Under soft deletes TRUNCATE marks every row that stands, and no other.
pub async fn truncate_marks_soft_deleted_rows(case: Case) {
    let items = Table::items().soft();
    let mut log = Log::default();
    log.commit((1..4).map(|id| items.insert(row![id, "a", NULL])));
    log.commit([items.delete(row![2])]);
    log.commit([items.truncate(), items.insert(row![3, "new", NULL])]);
    applied(&case, &items, &log).await;
    let expected =
        ["1|a|∅|truncate|true|1200|0", "2|a|∅|delete|true|1100|0", "3|new|∅|insert|false|1200|1"];
    assert_eq!(marked(&case, &items).await, expected);
}

/// Op, position, order and times are those of the change that made the row.
pub async fn metadata_columns_tell_the_change(case: Case) {
    let mut items = Table::items();
    items.plan.metadata = MetadataColumns::merge();
    let mut log = Log::default();
    log.commit([items.insert(row![1, "a", NULL]), items.insert(row![2, "b", "n"])]);
    log.commit([items.update(row![2, "B", SAME])]);
    applied(&case, &items, &log).await;
    let metadata = MetadataColumns::merge();
    let columns = [
        ("id".to_owned(), Kind::Integer),
        (metadata.op.unwrap(), Kind::Text),
        (metadata.deleted.unwrap(), Kind::Boolean),
        (metadata.position.unwrap(), Kind::Integer),
        (metadata.seq.unwrap(), Kind::Integer),
        (metadata.committed_at.unwrap(), Kind::Instant),
        (metadata.loaded_at.unwrap(), Kind::Instant),
    ];
    let mut rows = case.subject.rows(items.target(), &columns).await.unwrap();
    rows.sort();
    let loaded = LOADED_AT.to_string();
    let (first, second) = ("1700000000000000", "1700000000000001");
    let expected = [
        ["1", "insert", "false", "1000", "0", first, &loaded],
        ["2", "update", "false", "1100", "0", second, &loaded],
    ];
    let expected = expected.map(|row| row.map(|cell| Some(cell.to_owned())).to_vec());
    assert_rows("metadata", &rows, &expected);
}

/// Nothing is folded away: every event once, with what the log did not repeat by name.
pub async fn append_keeps_every_event(case: Case) {
    let items = Table::items().appending();
    let mut log = Log::default();
    log.commit([
        items.insert(row![1, "a", "large"]),
        items.update(row![1, "b", SAME]),
        items.update(row![1, SAME, SAME]),
        items.change_key(row![1], row![2, "c", SAME]),
        items.delete(row![2]),
        items.insert(row![2, NULL, NULL]),
    ]);
    log.commit([items.truncate(), items.insert(row![1, "a", "large"])]);
    log.commit([items.insert(row![1, "a", "large"])]);
    applied(&case, &items, &log).await;
}
