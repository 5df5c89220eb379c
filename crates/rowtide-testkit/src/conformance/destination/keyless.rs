//! Tables without a key: their rows are a multiset.

use rand::Rng;
use rowtide_core::ErrorKind;

use super::{Case, epoch};
use crate::conformance::batches::apply;
use crate::conformance::model::{Cell, Kind, Log, NULL, Row, Table};
use crate::conformance::seed;
use crate::row;

/// One goes for one, NULL being equal to NULL; changes of equal rows cancel out.
pub async fn equal_rows_are_counted(case: Case) {
    let bag = Table::bag();
    let mut log = Log::default();
    let twins = [row![1, NULL], row![1, NULL], row![1, NULL], row![NULL, "x"], row![NULL, "x"]];
    let all_null = [row![NULL, NULL], row![NULL, NULL], row![2, ""], row![2, NULL]];
    log.commit(twins.into_iter().chain(all_null).map(|row| bag.insert(row)));
    log.commit([
        bag.delete(row![1, NULL]),
        bag.delete(row![NULL, "x"]),
        bag.delete(row![1, NULL]),
        bag.delete(row![NULL, NULL]),
        bag.change_key(row![2, ""], row![2, "changed"]),
        // Comes and goes, goes and comes.
        bag.insert(row![3, "brief"]),
        bag.delete(row![3, "brief"]),
        bag.delete(row![2, NULL]),
        bag.insert(row![2, NULL]),
    ]);
    log.commit([bag.delete(row![1, NULL]), bag.insert(row![1, NULL]), bag.insert(row![1, NULL])]);
    let mut writer = case.prepare(&[&bag]).await;
    for n in 0..log.len() {
        epoch(&mut writer, &log, (n, n + 1)).await.unwrap();
        case.check(&[&bag], &log, n + 1).await;
    }
}

/// Also when some equal rows are left, but too few.
pub async fn removing_a_missing_row_is_an_error(case: Case) {
    let bag = Table::bag();
    for removed in [vec![row![2, "x"]], vec![row![1, "x"]; 3], vec![row![1, NULL]]] {
        let mut log = Log::default();
        log.commit([row![1, "x"], row![1, "x"]].map(|row| bag.insert(row)));
        log.commit(removed.into_iter().map(|row| bag.delete(row)));
        let mut writer = case.prepare(&[&bag]).await;
        epoch(&mut writer, &log, (0, 1)).await.unwrap();
        let error = apply(writer.as_mut(), &log.transactions[1..]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Data, "{}", error.chain());
        assert!(error.chain().contains("bag"), "it names the table: {}", error.chain());
        drop(writer);
        case.check(&[&bag], &log, 1).await;
        case.destination().teardown(super::PIPELINE).await.unwrap();
    }
}

/// A marked row is not there any more: it is not marked twice.
pub async fn soft_removal_marks_one_row_for_one(case: Case) {
    let bag = Table::bag().soft();
    let mut log = Log::default();
    log.commit([row![1, NULL], row![1, NULL], row![1, NULL], row![2, "x"]].map(|r| bag.insert(r)));
    log.commit([bag.delete(row![1, NULL]), bag.delete(row![1, NULL])]);
    log.commit([bag.delete(row![2, "x"]), bag.delete(row![1, NULL])]);
    log.commit([bag.insert(row![1, NULL])]);
    log.commit([bag.delete(row![2, "x"])]);
    let mut writer = case.prepare(&[&bag]).await;
    for n in 0..4 {
        epoch(&mut writer, &log, (n, n + 1)).await.unwrap();
        case.check(&[&bag], &log, n + 1).await;
    }
    let deleted = bag.plan.metadata.deleted.clone().unwrap();
    let columns = [("a".to_owned(), Kind::Integer), (deleted, Kind::Boolean)];
    let mut rows = case.subject.rows(bag.target(), &columns).await.unwrap();
    rows.sort();
    let text = |a: &str, deleted: &str| vec![Some(a.to_owned()), Some(deleted.to_owned())];
    let marked = text("1", "true");
    let expected = [text("1", "false"), marked.clone(), marked.clone(), marked, text("2", "true")];
    assert_eq!(rows, expected);
    let error = apply(writer.as_mut(), &log.transactions[4..]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Data, "{}", error.chain());
}

/// Any mixture, with any division into epochs and pieces.
pub async fn random_changes_of_a_multiset(case: Case) {
    let mut random = seed::generator("random_changes_of_a_multiset");
    let hard = Table::bag();
    let soft = Table::bag().named(11, "soft_bag").soft();
    let mut log = Log::default();
    let mut standing: Vec<Row> = Vec::new();
    for _ in 0..60 {
        let mut events = Vec::new();
        for _ in 0..random.random_range(1..10) {
            let mut cell = || match random.random_range(0..3) {
                0 => NULL,
                n => Cell::from(i64::from(n)),
            };
            let mut new = vec![cell(), cell()];
            if let Cell::Integer(value) = new[1] {
                new[1] = format!("text {value}").into();
            }
            let remove = !standing.is_empty() && random.random_bool(0.6);
            let old = remove.then(|| standing.swap_remove(random.random_range(0..standing.len())));
            let add = old.is_none() || random.random_bool(0.4);
            for table in [&hard, &soft] {
                events.push(match (&old, add) {
                    (Some(old), true) => table.change_key(old.clone(), new.clone()),
                    (Some(old), false) => table.delete(old.clone()),
                    (None, _) => table.insert(new.clone()),
                });
            }
            standing.extend(add.then_some(new));
        }
        log.commit(events);
    }
    let mut writer = case.prepare(&[&hard, &soft]).await;
    let mut done = 0;
    while done < log.len() {
        let end = (done + random.random_range(1..10)).min(log.len());
        epoch(&mut writer, &log, (done, end)).await.unwrap();
        case.check(&[&hard, &soft], &log, end).await;
        done = end;
    }
}
