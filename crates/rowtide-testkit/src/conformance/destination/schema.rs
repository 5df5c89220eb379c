//! Columns that come and go between rows.

use rowtide_core::Phase;
use rowtide_core::traits::Writer;

use super::{Case, PIPELINE, commit, epoch};
use crate::conformance::batches::{apply, copied_rows};
use crate::conformance::model::{Cell, Kind, Log, NULL, SAME, Table};
use crate::conformance::oracle::TextRow;
use crate::row;

/// Rows before, around and after a change of the table, as one epoch and as three. The second
/// transaction of `log` holds the change; `after` is the table's last version.
async fn in_one_epoch_and_in_several(case: &Case, log: &Log, (first, after): (&Table, &Table)) {
    for together in [true, false] {
        let mut writer = case.prepare(&[first]).await;
        epoch(&mut writer, log, (0, 1)).await.unwrap();
        case.check(&[first], log, 1).await;
        if together {
            epoch(&mut writer, log, (1, log.len())).await.unwrap();
        } else {
            for n in 1..log.len() {
                epoch(&mut writer, log, (n, n + 1)).await.unwrap();
            }
        }
        case.check(&[after], log, log.len()).await;
        assert_remembered(&mut writer, after).await;
        drop(writer);
        assert_remembered(&mut case.open().await, after).await;
        case.destination().teardown(PIPELINE).await.unwrap();
    }
}

async fn assert_remembered(writer: &mut Box<dyn Writer>, table: &Table) {
    let state = writer.state().await.unwrap();
    let known = state.table(&table.plan.source.name).expect("the table is known");
    assert_eq!(known.schema, *table.plan.source);
}

async fn added(case: &Case, kind: Kind, fill: Cell) {
    let first = Table::items();
    let second = first.added("more", kind);
    let value = |n: i64| if kind == Kind::Integer { Cell::from(n) } else { n.to_string().into() };
    let mut log = Log::default();
    log.commit((1..6).map(|id| first.insert(row![id, "before", "n"])));
    log.commit([
        // Changed rows, then the table, then rows again, in one transaction.
        first.update(row![1, "changed", SAME]),
        first.delete(row![2]),
        first.insert(row![7, "same transaction", NULL]),
        second.was_added(fill),
        second.update(row![3, SAME, SAME, SAME]),
        second.update(row![4, SAME, NULL, value(4)]),
        second.insert(row![8, "after", NULL, value(8)]),
        second.update(row![8, SAME, SAME, SAME]),
    ]);
    log.commit([second.update(row![5, SAME, SAME, NULL]), second.update(row![1, "x", SAME, SAME])]);
    in_one_epoch_and_in_several(case, &log, (&first, &second)).await;
}

/// Rows from before hold the fill.
pub async fn a_column_is_added_with_a_fill(case: Case) {
    added(&case, Kind::Integer, 5.into()).await;
    added(&case, Kind::Text, "it's \"filled\"".into()).await;
}

/// Rows from before hold NULL.
pub async fn a_column_is_added_without_a_fill(case: Case) {
    added(&case, Kind::Text, NULL).await;
}

/// In the middle of the columns, with changed rows before and after.
pub async fn a_column_is_dropped(case: Case) {
    let first = Table::items();
    let second = first.dropped("name");
    let mut log = Log::default();
    log.commit((1..6).map(|id| first.insert(row![id, "before", format!("note {id}")])));
    log.commit([
        first.update(row![1, "changed", SAME]),
        first.delete(row![2]),
        second.was_dropped(&first, "name"),
        second.update(row![3, "new"]),
        second.insert(row![8, "after"]),
        second.change_key(row![4], row![9, SAME]),
    ]);
    log.commit([second.delete(row![1]), second.update(row![5, SAME])]);
    in_one_epoch_and_in_several(&case, &log, (&first, &second)).await;
}

/// The name is the old one, the column is not: nothing of the old one comes back.
pub async fn a_column_comes_back_with_another_type(case: Case) {
    let first = Table::items();
    let second = first.dropped("note");
    let third = second.added("note", Kind::Integer);
    let mut log = Log::default();
    log.commit((1..5).map(|id| first.insert(row![id, "before", "77"])));
    log.commit([
        first.update(row![1, "changed", "78"]),
        second.was_dropped(&first, "note"),
        third.was_added(NULL),
        third.update(row![2, SAME, 2]),
        third.insert(row![8, "after", 8]),
    ]);
    log.commit([third.update(row![3, SAME, SAME]), third.update(row![8, SAME, SAME])]);
    in_one_epoch_and_in_several(&case, &log, (&first, &third)).await;
}

/// The rows keep what they hold under the new name.
pub async fn a_column_is_renamed(case: Case) {
    let first = Table::items();
    let second = first.renamed("note", "Remark");
    let mut log = Log::default();
    log.commit((1..6).map(|id| first.insert(row![id, "before", format!("note {id}")])));
    log.commit([
        // Changed rows, then the table, then rows again, in one transaction.
        first.update(row![1, "changed", SAME]),
        first.delete(row![2]),
        first.insert(row![7, "same transaction", NULL]),
        second.was_renamed(&first, "note"),
        second.update(row![3, SAME, "new"]),
        second.update(row![4, "new", SAME]),
        second.insert(row![8, "after", "eight"]),
        second.change_key(row![5], row![9, SAME, SAME]),
    ]);
    log.commit([second.update(row![1, SAME, NULL]), second.update(row![8, "x", SAME])]);
    in_one_epoch_and_in_several(&case, &log, (&first, &second)).await;
}

/// Rows are found by the key's new name.
pub async fn a_key_column_is_renamed(case: Case) {
    let columns = [("a", Kind::Integer), ("b", Kind::Text), ("c", Kind::Text)];
    let first = Table::new(12, "pairs", &columns, &[1, 0]);
    let second = first.renamed("a", "number");
    let mut log = Log::default();
    log.commit((1..6).map(|id| first.insert(row![id, "k", format!("value {id}")])));
    log.commit([
        first.update(row![1, "k", "changed"]),
        first.delete(row!["k", 2]),
        second.was_renamed(&first, "a"),
        second.update(row![3, "k", SAME]),
        second.insert(row![8, "k", "after"]),
        second.change_key(row!["k", 4], row![9, "l", SAME]),
        second.delete(row!["k", 1]),
    ]);
    log.commit([second.delete(row!["k", 5]), second.update(row![9, "l", "moved"])]);
    in_one_epoch_and_in_several(&case, &log, (&first, &second)).await;
}

/// Where names that differ only in case are one name, this is a change as well.
pub async fn a_column_is_renamed_in_case_only(case: Case) {
    for first in [Table::items(), Table::items().appending()] {
        let second = first.renamed("note", "NOTE");
        let third = second.renamed("name", "Name");
        let mut log = Log::default();
        log.commit((1..4).map(|id| first.insert(row![id, "before", "n"])));
        log.commit([
            second.was_renamed(&first, "note"),
            second.update(row![1, SAME, "new"]),
            third.was_renamed(&second, "name"),
            third.update(row![2, "new", SAME]),
        ]);
        log.commit([third.insert(row![8, "after", "x"]), third.update(row![3, SAME, NULL])]);
        in_one_epoch_and_in_several(&case, &log, (&first, &third)).await;
    }
}

/// Several changes of the table in one transaction, and a name that is taken over.
pub async fn a_column_is_renamed_among_other_changes(case: Case) {
    let first = Table::items();
    let second = first.added("more", Kind::Integer);
    let third = second.dropped("name");
    let fourth = third.renamed("note", "name");
    let fifth = fourth.renamed("more", "note");
    let mut log = Log::default();
    log.commit((1..5).map(|id| first.insert(row![id, "before", format!("note {id}")])));
    log.commit([
        first.update(row![1, "changed", SAME]),
        second.was_added(5),
        second.update(row![2, SAME, SAME, 6]),
        third.was_dropped(&second, "name"),
        fourth.was_renamed(&third, "note"),
        fourth.update(row![3, SAME, 7]),
        fifth.was_renamed(&fourth, "more"),
        fifth.insert(row![8, "eight", 8]),
        fifth.update(row![4, "four", SAME]),
    ]);
    log.commit([fifth.update(row![8, SAME, NULL]), fifth.delete(row![1])]);
    in_one_epoch_and_in_several(&case, &log, (&first, &fifth)).await;
}

/// A change of a table that was not committed did not happen.
pub async fn a_schema_change_goes_with_its_epoch(case: Case) {
    let first = Table::items();
    let second = first.added("more", Kind::Integer);
    let third = second.dropped("name");
    let mut log = Log::default();
    log.commit([first.insert(row![1, "a", NULL])]);
    log.commit([second.was_added(5), second.insert(row![2, "b", NULL, 2])]);
    log.commit([third.was_dropped(&second, "name"), third.insert(row![3, NULL, 3])]);
    let mut writer = case.prepare(&[&first]).await;
    epoch(&mut writer, &log, (0, 1)).await.unwrap();
    apply(writer.as_mut(), &log.transactions[1..]).await.unwrap();
    // Who reads the table itself may have to wait; what is stored of it can be looked at.
    assert_eq!(case.peek().await.tables[0].schema, *first.plan.source);
    drop(writer);
    let mut writer = case.open().await;
    assert_remembered(&mut writer, &first).await;
    case.check(&[&first], &log, 1).await;
    apply(writer.as_mut(), &log.transactions[1..]).await.unwrap();
    commit(&mut writer, 3).await.unwrap();
    case.check(&[&third], &log, 3).await;
}

/// In mode append the events before a change stay what they are, in the columns that are left.
pub async fn history_outlives_schema_changes(case: Case) {
    let first = Table::items().appending();
    let second = first.added("more", Kind::Integer);
    let mut log = Log::default();
    log.commit([first.insert(row![1, "a", "n"]), first.update(row![1, "b", SAME])]);
    log.commit([
        first.delete(row![1]),
        second.was_added(NULL),
        second.insert(row![2, "c", NULL, 2]),
        second.truncate(),
    ]);
    let mut writer = case.prepare(&[&first]).await;
    epoch(&mut writer, &log, (0, 1)).await.unwrap();
    case.check(&[&first], &log, 1).await;
    epoch(&mut writer, &log, (1, 2)).await.unwrap();
    assert_remembered(&mut writer, &second).await;
    let mut expected = crate::conformance::oracle::history(log.first(2), first.target());
    // Events from before have no value in the new column, which stands before the last one.
    for row in expected.iter_mut().filter(|row| row.len() == 7) {
        row.insert(6, None);
    }
    expected.sort();
    super::assert_rows("history", &case.history(&second).await, &expected);
}

/// In mode append, too, the values go along under the new name.
pub async fn history_outlives_a_rename(case: Case) {
    let first = Table::items().appending();
    let second = first.renamed("note", "remark");
    let mut log = Log::default();
    log.commit([first.insert(row![1, "a", "one"])]);
    log.commit([
        first.insert(row![2, "b", "two"]),
        second.was_renamed(&first, "note"),
        second.update(row![2, SAME, "zwei"]),
        second.update(row![2, "c", SAME]),
    ]);
    in_one_epoch_and_in_several(&case, &log, (&first, &second)).await;
}

/// In mode append a column stays when it is gone at the source. If another one takes its name
/// later, the events go on in it, and what stood in either stays.
pub async fn history_outlives_a_rename_to_a_name_that_it_has(case: Case) {
    let first = Table::items().appending();
    let second = first.dropped("note");
    let third = second.renamed("name", "note");
    for together in [true, false] {
        let mut log = Log::default();
        log.commit([first.insert(row![1, "a", "one"])]);
        log.commit([second.insert(row![8, "eight"])]);
        log.commit([third.was_renamed(&second, "name"), third.insert(row![9, "nine"])]);
        log.commit([third.update(row![9, "neun"]), third.update(row![9, SAME])]);
        let mut writer = case.prepare(&[&first]).await;
        epoch(&mut writer, &log, (0, 1)).await.unwrap();
        // Nobody followed when the column went: the table is copied again.
        let mut loaders = case.destination().load(PIPELINE, &second.plan, 1).await.unwrap();
        let mut loader = loaders.remove(0);
        loader.write(copied_rows(&second, &[row![7, "copied"]], 900)).await.unwrap();
        loader.finish().await.unwrap();
        writer.promote(&second.plan).await.unwrap();
        writer.remember(&second.plan.state(Phase::Streaming)).await.unwrap();
        commit(&mut writer, 1).await.unwrap();
        let pieces: &[(usize, usize)] =
            if together { &[(1, 4)] } else { &[(1, 2), (2, 3), (3, 4)] };
        for piece in pieces {
            epoch(&mut writer, &log, *piece).await.unwrap();
        }
        assert_remembered(&mut writer, &third).await;
        let columns = ["id", "name", "note"].map(|name| (name.to_owned(), Kind::Text));
        let mut rows = case.subject.rows(first.target(), &columns).await.unwrap();
        rows.sort();
        let rows: Vec<String> = rows.iter().map(text).collect();
        assert_eq!(rows, ["1|a|one", "7|copied|∅", "8|eight|∅", "9|∅|∅", "9|∅|neun", "9|∅|nine"]);
        drop(writer);
        case.destination().teardown(PIPELINE).await.unwrap();
    }
}

fn text(row: &TextRow) -> String {
    row.iter().map(|cell| cell.as_deref().unwrap_or("∅")).collect::<Vec<_>>().join("|")
}
