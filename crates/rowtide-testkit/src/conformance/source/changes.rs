//! What the stream says about rows.

use super::Case;
use super::applier::Applier;
use crate::conformance::model::Kind;

/// Large enough that no system keeps it in the row.
const LARGE: usize = 20_000;

/// Text that does not compress well enough to be kept in the row.
fn large(seed: usize) -> String {
    let letters: Vec<char> = ('a'..='z').collect();
    (0..LARGE).map(|n| letters[(n * 31 + n / 7 + seed * n / 3) % letters.len()]).collect()
}

/// Marked, never NULL; and what is NULL is not marked.
pub async fn values_that_are_not_repeated_are_marked(case: Case) {
    case.create_items("t").await;
    let t = case.table("t");
    let Some(keep_apart) = case.subject.dialect().keep_apart(&t, "note") else { return };
    case.run(&keep_apart).await;
    let tables = case.discover(&["t"]).await;
    let attached = case.attach(&tables).await;
    let (first, second) = (large(1), large(2));
    for sql in [
        format!("INSERT INTO {t} VALUES (1, 'a', '{first}')"),
        format!("INSERT INTO {t} VALUES (2, 'b', NULL)"),
        format!("UPDATE {t} SET name = 'changed'"),
        format!("UPDATE {t} SET note = NULL WHERE id = 1"),
        format!("UPDATE {t} SET name = 'null now' WHERE id = 1"),
        format!("UPDATE {t} SET note = '{second}' WHERE id = 2"),
        format!("UPDATE {t} SET id = 3 WHERE id = 2"),
        format!("UPDATE {t} SET name = NULL WHERE id = 3"),
    ] {
        case.run(&sql).await;
    }
    let mut applier = Applier::start(&case, &attached.checkpoint, &tables).await;
    applier.nothing_to_copy();
    applier.catch_up().await;
    applier.check_all(&case).await;
    let lines = applier.lines("t");
    let with_same: Vec<&String> = lines.iter().filter(|line| line.ends_with("|=")).collect();
    assert_eq!(
        with_same,
        ["Update 1|changed|=", "MoveIn 3|changed|=", "Update 3|∅|="],
        "{lines:?}"
    );
    assert!(lines.contains(&"Update 2|changed|∅".to_owned()), "{lines:?}");
    assert!(lines.contains(&"Update 1|null now|∅".to_owned()), "{lines:?}");
}

/// Out under the old key and in under the new one, next to each other; other updates stay one.
pub async fn a_key_change_is_one_row_moving(case: Case) {
    let columns = [("a", Kind::Integer), ("b", Kind::Text), ("v", Kind::Integer)];
    case.create("t", &columns, 2).await;
    let t = case.table("t");
    let tables = case.discover(&["t"]).await;
    assert!(tables[0].is_keyed());
    let attached = case.attach(&tables).await;
    for sql in [
        format!("INSERT INTO {t} VALUES (1, 'x', 1)"),
        format!("INSERT INTO {t} VALUES (2, 'y', 2)"),
        format!("UPDATE {t} SET v = 3 WHERE a = 1"),
        format!("UPDATE {t} SET a = 5 WHERE a = 1"),
        format!("UPDATE {t} SET b = 'z', v = 4 WHERE a = 5"),
        format!("UPDATE {t} SET a = a, b = b WHERE a = 2"),
        format!("UPDATE {t} SET a = a + 10"),
        format!("DELETE FROM {t} WHERE a = 15"),
    ] {
        case.run(&sql).await;
    }
    let mut applier = Applier::start(&case, &attached.checkpoint, &tables).await;
    applier.nothing_to_copy();
    applier.catch_up().await;
    applier.check_all(&case).await;
    // Of old rows only the key is told for sure.
    let lines: Vec<String> = applier
        .lines("t")
        .into_iter()
        .map(|line| match line.starts_with("MoveOut") || line.starts_with("Delete") {
            true => line.rsplit_once('|').unwrap().0.to_owned(),
            false => line,
        })
        .collect();
    let moved = ["MoveOut 1|x", "MoveIn 5|x|3", "MoveOut 5|x", "MoveIn 5|z|4"];
    assert_eq!(lines[3..7], moved, "{lines:?}");
    assert_eq!(lines[2], "Update 1|x|3");
    assert_eq!(lines[7], "Update 2|y|2", "{lines:?}");
    let both = lines[8..12]
        .chunks(2)
        .map(|pair| pair[0].starts_with("MoveOut") && pair[1].starts_with("MoveIn"));
    assert_eq!(both.filter(|pair| *pair).count(), 2, "{lines:?}");
    assert_eq!(lines[12], "Delete 15|z");
}

/// Between the rows that were there before and those that came after.
pub async fn truncate_comes_in_order_with_rows(case: Case) {
    case.create_items("a").await;
    case.create_items("b").await;
    let (a, b) = (case.table("a"), case.table("b"));
    let tables = case.discover(&["a", "b"]).await;
    let attached = case.attach(&tables).await;
    for sql in [
        format!("INSERT INTO {a} VALUES (1, 'before', NULL)"),
        format!("INSERT INTO {b} VALUES (1, 'stays', NULL)"),
        format!("TRUNCATE TABLE {a}"),
        format!("INSERT INTO {a} VALUES (1, 'after', NULL)"),
        format!("INSERT INTO {b} VALUES (2, 'goes', NULL)"),
        format!("TRUNCATE TABLE {b}"),
        format!("TRUNCATE TABLE {b}"),
        format!("INSERT INTO {b} VALUES (3, 'last', NULL)"),
    ] {
        case.run(&sql).await;
    }
    let mut applier = Applier::start(&case, &attached.checkpoint, &tables).await;
    applier.nothing_to_copy();
    applier.catch_up().await;
    assert_eq!(applier.notes, ["truncate a", "truncate b", "truncate b"]);
    assert_eq!(applier.lines("a"), ["Insert 1|before|∅", "Insert 1|after|∅"]);
    applier.check_all(&case).await;
}

/// Without a key the log identifies rows by all they hold, large values included.
pub async fn rows_without_a_key_come_whole(case: Case) {
    case.create("t", &[("a", Kind::Integer), ("b", Kind::Text)], 0).await;
    let t = case.table("t");
    let dialect = case.subject.dialect();
    let settings = [dialect.log_full_rows(&t), dialect.keep_apart(&t, "b")];
    for sql in settings.into_iter().flatten() {
        case.run(&sql).await;
    }
    let tables = case.discover(&["t"]).await;
    assert_eq!(tables[0].identity, rowtide_core::Identity::FullRow);
    let attached = case.attach(&tables).await;
    let large = large(3);
    for sql in [
        format!(
            "INSERT INTO {t} VALUES (1, 'x'), (1, 'x'), (1, NULL), (NULL, NULL), (2, '{large}')"
        ),
        format!("UPDATE {t} SET a = 3 WHERE b IS NULL"),
        format!("UPDATE {t} SET a = 4 WHERE a = 2"),
        format!("DELETE FROM {t} WHERE a = 3"),
        format!("INSERT INTO {t} VALUES (1, 'x')"),
        format!("UPDATE {t} SET b = '{large}' WHERE a = 1"),
        format!("DELETE FROM {t} WHERE a = 4"),
    ] {
        case.run(&sql).await;
    }
    let mut applier = Applier::start(&case, &attached.checkpoint, &tables).await;
    applier.nothing_to_copy();
    applier.catch_up().await;
    assert!(applier.seen.iter().all(|seen| !seen.values.contains(&Some("=".to_owned()))));
    applier.check_all(&case).await;
}
