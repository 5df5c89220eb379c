//! Copy and stream together: every transaction once, in order, in bounded pieces.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rand::Rng;
use rowtide_core::Op;

use super::Case;
use super::applier::Applier;
use crate::conformance::seed;

/// Tables that are written all the while they are attached, streamed and copied.
pub async fn copy_and_stream_make_the_table(case: Case) {
    const WRITERS: i64 = 3;
    let mut random = seed::generator("copy_and_stream_make_the_table");
    for table in ["a", "b"] {
        case.create_items(table).await;
        let rows: Vec<String> = (0..2_000).map(|id| format!("({id}, 'first', NULL)")).collect();
        case.run(&format!("INSERT INTO {} VALUES {}", case.table(table), rows.join(", "))).await;
    }
    let done = Arc::new(AtomicBool::new(false));
    let writers = (0..WRITERS).map(|writer| {
        let (tables, done) = ([case.table("a"), case.table("b")], Arc::clone(&done));
        let (subject, mut next) = (Arc::clone(&case.subject), random.random_range(0..1_000_i64));
        tokio::spawn(async move {
            let mut session = subject.session().await;
            while !done.load(Ordering::Relaxed) {
                session.execute("START TRANSACTION").await;
                for table in &tables {
                    // Each writer has rows of its own: no deadlocks, and moves that cannot clash.
                    next = (next * 7_919 + 13) % 1_999;
                    let id = (next / WRITERS) * WRITERS + writer;
                    let name = format!("'{writer} {next}'");
                    for sql in [
                        format!("UPDATE {table} SET name = {name} WHERE id = {id}"),
                        format!("DELETE FROM {table} WHERE id = {}", 10_000 + id),
                        format!("UPDATE {table} SET id = {} WHERE id = {id}", 10_000 + id),
                        format!("INSERT INTO {table} VALUES ({id}, {name}, 'again')"),
                    ] {
                        session.execute(&sql).await;
                        if next % 5 < 2 {
                            break;
                        }
                    }
                    if next % 5 >= 2 {
                        continue;
                    }
                    session.execute(&format!("DELETE FROM {table} WHERE id = {id}")).await;
                    let insert = format!("INSERT INTO {table} VALUES ({id}, {name}, NULL)");
                    session.execute(&insert).await;
                }
                let end = if next % 7 == 0 { "ROLLBACK" } else { "COMMIT" };
                session.execute(end).await;
            }
        })
    });
    let writers: Vec<_> = writers.collect();
    let tables = case.discover(&["a", "b"]).await;
    let attached = case.attach(&tables).await;
    let mut applier = Applier::start(&case, &attached.checkpoint, &tables).await;
    for _ in 0..5 {
        applier.step().await.unwrap();
    }
    applier.copy_all(3).await;
    for _ in 0..20 {
        applier.step().await.unwrap();
        applier.acknowledge();
    }
    done.store(true, Ordering::Relaxed);
    for writer in writers {
        writer.await.unwrap();
    }
    applier.catch_up().await;
    assert!(!applier.seen.is_empty());
    applier.check_all(&case).await;
}

/// Transactions that run at the same time do not mix, and the first to commit comes first.
pub async fn transactions_come_in_the_order_of_their_commits(case: Case) {
    case.create_items("a").await;
    case.create_items("b").await;
    let (a, b) = (case.table("a"), case.table("b"));
    let tables = case.discover(&["a", "b"]).await;
    let attached = case.attach(&tables).await;
    let (mut one, mut two) = (case.subject.session().await, case.subject.session().await);
    for session in [&mut one, &mut two] {
        session.execute("START TRANSACTION").await;
    }
    for n in 0..20 {
        one.execute(&format!("INSERT INTO {a} VALUES ({n}, 'one', NULL)")).await;
        two.execute(&format!("INSERT INTO {b} VALUES ({n}, 'two', NULL)")).await;
        two.execute(&format!("INSERT INTO {a} VALUES ({}, 'two', NULL)", 100 + n)).await;
        one.execute(&format!("INSERT INTO {b} VALUES ({}, 'one', NULL)", 100 + n)).await;
    }
    two.execute("COMMIT").await;
    one.execute(&format!("UPDATE {a} SET note = 'last' WHERE id = 3")).await;
    one.execute("COMMIT").await;
    let mut applier = Applier::start(&case, &attached.checkpoint, &tables).await;
    applier.nothing_to_copy();
    applier.catch_up().await;
    applier.check_all(&case).await;
    for table in ["a", "b"] {
        let seen: Vec<_> = applier.seen.iter().filter(|seen| seen.table == table).collect();
        let names: Vec<_> = seen.iter().filter_map(|seen| seen.values[1].as_deref()).collect();
        assert_eq!(names[..20], ["two"; 20], "the first to commit comes first");
        assert!(names[20..].iter().all(|name| *name == "one"));
        // Ordinals count over all tables of the transaction.
        let ordinals: Vec<u32> = seen[..20].iter().map(|seen| seen.ordinal).collect();
        let first = u32::from(table == "a");
        assert_eq!(ordinals, (0..20).map(|n| n * 2 + first).collect::<Vec<_>>());
    }
    assert_ne!(applier.seen[0].commit, applier.seen.last().unwrap().commit);
}

/// A transaction larger than the buffers comes in pieces, of which only the last ends it.
pub async fn a_large_transaction_comes_in_bounded_segments(case: Case) {
    const ROWS: usize = 20_000;
    const BUFFER: usize = 200_000;
    case.create_items("t").await;
    let t = case.table("t");
    let tables = case.discover(&["t"]).await;
    let attached = case.attach(&tables).await;
    let mut session = case.subject.session().await;
    session.execute("START TRANSACTION").await;
    for piece in 0..ROWS / 1_000 {
        let ids = piece * 1_000..(piece + 1) * 1_000;
        let rows: Vec<String> =
            ids.map(|id| format!("({id}, '{}', NULL)", "x".repeat(100))).collect();
        session.execute(&format!("INSERT INTO {t} VALUES {}", rows.join(", "))).await;
    }
    session.execute("COMMIT").await;
    session.execute(&format!("INSERT INTO {t} VALUES (-1, 'last', NULL)")).await;
    let mut applier =
        Applier::start_with(&case, &attached.checkpoint, &tables, BUFFER).await.unwrap();
    applier.nothing_to_copy();
    applier.catch_up().await;
    assert_eq!(applier.seen.len(), ROWS + 1);
    let first = applier.seen[0].commit;
    assert!(applier.seen[..ROWS].iter().all(|seen| seen.commit == first));
    let pieces = applier.segments.iter().filter(|segment| !segment.whole && segment.rows > 0);
    assert!(pieces.count() > 5, "{:?}", applier.segments);
    let largest = applier.segments.iter().map(|segment| segment.bytes).max().unwrap();
    assert!(largest < BUFFER * 4, "{largest} bytes in a segment");
    // No piece but the last says that the transaction has ended.
    let mut rows = 0;
    for segment in &applier.segments {
        rows += segment.rows;
        assert!(!segment.whole || rows == 0 || rows >= ROWS, "ended after {rows} rows");
    }
    applier.check_all(&case).await;
}

/// Neither whole transactions nor parts of one.
pub async fn what_was_rolled_back_never_comes(case: Case) {
    case.create_items("t").await;
    let t = case.table("t");
    let tables = case.discover(&["t"]).await;
    let attached = case.attach(&tables).await;
    let insert = |id: i64| format!("INSERT INTO {t} VALUES ({id}, 'x', NULL)");
    let statements = [
        "START TRANSACTION".to_owned(),
        insert(1),
        "ROLLBACK".to_owned(),
        "START TRANSACTION".to_owned(),
        insert(2),
        "SAVEPOINT s".to_owned(),
        insert(3),
        format!("DELETE FROM {t} WHERE id = 2"),
        "ROLLBACK TO SAVEPOINT s".to_owned(),
        insert(4),
        "COMMIT".to_owned(),
        insert(5),
    ];
    case.run_all(&statements.each_ref().map(String::as_str)).await;
    let mut applier = Applier::start(&case, &attached.checkpoint, &tables).await;
    applier.nothing_to_copy();
    applier.catch_up().await;
    assert_eq!(applier.lines("t"), ["Insert 2|x|∅", "Insert 4|x|∅", "Insert 5|x|∅"]);
    applier.check_all(&case).await;
}

/// Other tables of the same transactions do not come, and do not stop the log from moving on.
pub async fn what_is_not_followed_changes_nothing(case: Case) {
    case.create_items("t").await;
    case.create_items("other").await;
    let (t, other) = (case.table("t"), case.table("other"));
    let tables = case.discover(&["t"]).await;
    let attached = case.attach(&tables).await;
    let mut applier = Applier::start(&case, &attached.checkpoint, &tables).await;
    applier.nothing_to_copy();
    for id in 0..20 {
        case.run(&format!("INSERT INTO {other} VALUES ({id}, 'x', NULL)")).await;
    }
    applier.catch_up().await;
    assert!(applier.seen.is_empty());
    assert!(applier.at.covers(&attached.checkpoint) && applier.at != attached.checkpoint);
    let statements = [
        "START TRANSACTION".to_owned(),
        format!("UPDATE {other} SET name = 'y'"),
        format!("INSERT INTO {t} VALUES (1, 'x', NULL)"),
        format!("DELETE FROM {other}"),
        "COMMIT".to_owned(),
    ];
    case.run_all(&statements.each_ref().map(String::as_str)).await;
    applier.catch_up().await;
    assert_eq!(applier.seen.len(), 1);
    assert_eq!(applier.seen[0].op, Op::Insert);
    applier.check_all(&case).await;
}
