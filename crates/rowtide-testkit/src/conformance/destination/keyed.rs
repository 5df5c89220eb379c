//! Rows with a key: net changes, moves, and values that the log did not repeat.

use std::collections::BTreeMap;

use rand::Rng;
use rand::rngs::StdRng;
use rowtide_core::ErrorKind;

use super::{Case, epoch};
use crate::conformance::batches::apply;
use crate::conformance::model::{Cell, Event, Kind, Log, NULL, Row, SAME, Table};
use crate::conformance::seed;
use crate::row;

/// Applies a first epoch with the first transaction, and the others as one piece in a second.
async fn two_epochs(case: &Case, table: &Table, log: &Log) {
    let mut writer = case.prepare(&[table]).await;
    epoch(&mut writer, log, (0, 1)).await.unwrap();
    case.check(&[table], log, 1).await;
    epoch(&mut writer, log, (1, log.len())).await.unwrap();
    case.check(&[table], log, log.len()).await;
}

/// Insert and update, update and delete, delete and insert, and all of it for one key.
pub async fn several_changes_of_one_key_in_an_epoch(case: Case) {
    let items = Table::items();
    let mut log = Log::default();
    log.commit((1..6).map(|id| items.insert(row![id, format!("name {id}"), "old"])));
    log.commit([
        // Insert, then a partial update.
        items.insert(row![10, "ten", "large"]),
        items.update(row![10, "TEN", SAME]),
        // Update, then delete.
        items.update(row![1, "gone", SAME]),
        items.delete(row![1]),
        // Delete, then insert.
        items.delete(row![2]),
        items.insert(row![2, "again", NULL]),
        // Two partial updates, of which the second gives what the first did not.
        items.update(row![3, "three", SAME]),
        items.update(row![3, SAME, "given"]),
    ]);
    log.commit([
        // Insert, delete, insert, update, across transactions.
        items.insert(row![11, "x", NULL]),
        items.delete(row![11]),
    ]);
    log.commit([
        items.insert(row![11, "y", "kept"]),
        items.update(row![11, "z", SAME]),
        items.update(row![4, SAME, SAME]),
    ]);
    two_epochs(&case, &items, &log).await;
}

/// Two rows change places; the values that the log did not repeat go with them.
pub async fn keys_are_swapped_through_a_third(case: Case) {
    let items = Table::items();
    let mut log = Log::default();
    log.commit([
        items.insert(row![1, "one", "note of one"]),
        items.insert(row![2, "two", "note of two"]),
        items.insert(row![3, "three", "note of three"]),
    ]);
    log.commit([
        items.change_key(row![1], row![9, "was one", SAME]),
        items.change_key(row![2], row![1, "was two", SAME]),
        items.change_key(row![9], row![2, SAME, SAME]),
    ]);
    two_epochs(&case, &items, &log).await;
}

/// The base of a moved row stands under its old key.
pub async fn a_moved_row_takes_along_what_was_not_repeated(case: Case) {
    let items = Table::items();
    let mut log = Log::default();
    log.commit((1..8).map(|id| items.insert(row![id, format!("name {id}"), format!("note {id}")])));
    log.commit([
        items.change_key(row![1], row![21, "moved", SAME]),
        // Twice, with a change between.
        items.change_key(row![2], row![22, SAME, SAME]),
        items.update(row![22, "on the way", SAME]),
        items.change_key(row![22], row![23, SAME, SAME]),
        // Into a place that was left in the same epoch.
        items.delete(row![4]),
        items.change_key(row![3], row![4, SAME, SAME]),
        // Its old place is taken by a new row.
        items.change_key(row![5], row![25, SAME, SAME]),
        items.insert(row![5, "new", NULL]),
        // Moved and deleted; moved there and back.
        items.change_key(row![6], row![26, SAME, SAME]),
        items.delete(row![26]),
        items.change_key(row![7], row![27, SAME, SAME]),
        items.change_key(row![27], row![7, SAME, "new note"]),
    ]);
    two_epochs(&case, &items, &log).await;
}

/// A value that became NULL is NULL; one that was not repeated is what it was, be it NULL or text.
pub async fn null_is_not_unchanged(case: Case) {
    let items = Table::items();
    let mut log = Log::default();
    log.commit([
        items.insert(row![1, "a", "note"]),
        items.insert(row![2, "b", "note"]),
        items.insert(row![3, "c", NULL]),
        items.insert(row![4, "d", ""]),
    ]);
    log.commit([
        items.update(row![1, NULL, SAME]),
        items.update(row![2, SAME, NULL]),
        items.update(row![3, "", SAME]),
        items.update(row![4, "NULL", SAME]),
    ]);
    two_epochs(&case, &items, &log).await;
}

/// A row that ought to stand there and does not was lost: the write fails instead of inventing one.
pub async fn a_missing_base_row_is_an_error(case: Case) {
    let items = Table::items();
    for lost in [items.update(row![9, "x", SAME]), items.change_key(row![9], row![10, "x", SAME])] {
        let mut log = Log::default();
        log.commit([items.insert(row![1, "a", "n"])]);
        log.commit([items.update(row![1, "b", SAME]), lost]);
        let mut writer = case.prepare(&[&items]).await;
        epoch(&mut writer, &log, (0, 1)).await.unwrap();
        let error = apply(writer.as_mut(), &log.transactions[1..]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Data, "{}", error.chain());
        assert!(error.chain().contains("items"), "it names the table: {}", error.chain());
        drop(writer);
        case.check(&[&items], &log, 1).await;
        case.destination().teardown(super::PIPELINE).await.unwrap();
    }
}

/// Keys of several columns, in another order than the table's, and texts that look alike.
pub async fn composite_keys_are_compared_exactly(case: Case) {
    let columns = [("v", Kind::Integer), ("a", Kind::Text), ("b", Kind::Integer)];
    let table = Table::new(3, "composite", &columns, &[2, 1]);
    let texts = ["", " ", "a", "A", "a ", "a\u{301}", "á", "a\nb", "a|b", "'", "\\", "NULL", "🦆"];
    let mut log = Log::default();
    let rows = texts.iter().flat_map(|text| [1, 2].map(|b| (*text, b)));
    log.commit(rows.clone().map(|(text, b)| table.insert(row![0, text, b])));
    log.commit(rows.enumerate().filter(|(n, _)| n % 3 > 0).map(|(n, (text, b))| match n % 3 {
        1 => table.delete(row![b, text]),
        _ => table.update(row![5, text, b]),
    }));
    two_epochs(&case, &table, &log).await;
}

/// Any mixture, with any division into epochs and pieces.
pub async fn random_changes_of_keyed_rows(case: Case) {
    let mut random = seed::generator("random_changes_of_keyed_rows");
    let hard = Table::items();
    let soft = Table::items().named(11, "soft_items").soft();
    let mut log = Log::default();
    let (mut rows, mut soft_rows) = (BTreeMap::new(), BTreeMap::new());
    for _ in 0..120 {
        let mut events = Vec::new();
        for _ in 0..random.random_range(1..12) {
            events.extend(change(&mut random, &hard, &mut rows));
            events.extend(change(&mut random, &soft, &mut soft_rows));
        }
        log.commit(events);
    }
    let mut writer = case.prepare(&[&hard, &soft]).await;
    let mut done = 0;
    while done < log.len() {
        let mut end = done;
        for _ in 0..random.random_range(1..4) {
            let piece = (end + random.random_range(1..8)).min(log.len());
            apply(writer.as_mut(), &log.transactions[end..piece]).await.unwrap();
            end = piece;
        }
        super::commit(&mut writer, end).await.unwrap();
        case.check(&[&hard, &soft], &log, end).await;
        done = end;
        if random.random_bool(0.1) {
            drop(writer);
            writer = case.open().await;
        }
    }
}

/// A change that is possible now; few keys, so that they meet.
fn change(random: &mut StdRng, table: &Table, rows: &mut BTreeMap<i64, ()>) -> Option<Event> {
    let (id, other) = (random.random_range(0..12), random.random_range(0..12));
    let mut cell = |whole: bool| -> Cell {
        match random.random_range(0..if whole { 2 } else { 4 }) {
            0 => NULL,
            1 => format!("text {}", random.random_range(0..1000)).into(),
            _ => SAME,
        }
    };
    let (whole, partial): (Row, Row) =
        (row![id, cell(true), cell(true)], vec![Cell::from(id), cell(false), cell(false)]);
    let stands = rows.contains_key(&id);
    Some(match (stands, random.random_range(0..10)) {
        (_, 0) if random.random_bool(0.05) => {
            rows.clear();
            table.truncate()
        }
        (false, _) => {
            rows.insert(id, ());
            table.insert(whole)
        }
        (true, 0..2) => {
            rows.remove(&id);
            table.delete(row![id])
        }
        (true, 2..5) if !rows.contains_key(&other) => {
            rows.remove(&id);
            rows.insert(other, ());
            let mut row = partial;
            row[0] = other.into();
            table.change_key(vec![id.into()], row)
        }
        (true, _) => table.update(partial),
    })
}
