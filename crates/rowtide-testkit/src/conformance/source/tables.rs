//! Tables that change, join, and have odd names.

use rowtide_core::ErrorKind;

use super::Case;
use super::applier::Applier;
use super::followed::copy;
use crate::conformance::in_time;
use crate::conformance::model::Kind;

/// Before, between and after rows, in the middle of a transaction, and while nobody listened.
pub async fn columns_come_and_go_between_rows(case: Case) {
    case.create_items("t").await;
    let t = case.table("t");
    let dialect = case.subject.dialect();
    let (integer, text) = (dialect.type_of(Kind::Integer), dialect.type_of(Kind::Text));
    let tables = case.discover(&["t"]).await;
    let attached = case.attach(&tables).await;
    let mut applier = Applier::start(&case, &attached.checkpoint, &tables).await;
    applier.nothing_to_copy();
    let mut session = case.subject.session().await;
    for sql in [
        format!("INSERT INTO {t} VALUES (1, 'a', NULL), (2, 'b', 'n'), (3, 'c', NULL)"),
        format!("ALTER TABLE {t} ADD COLUMN filled {integer} NOT NULL DEFAULT 7"),
        format!("INSERT INTO {t} VALUES (4, 'd', NULL, 4)"),
        format!("UPDATE {t} SET filled = 1 WHERE id = 1"),
        format!("ALTER TABLE {t} ADD COLUMN plain {text}"),
        format!("UPDATE {t} SET plain = 'p' WHERE id = 2"),
        format!("ALTER TABLE {t} DROP COLUMN note"),
        format!("INSERT INTO {t} VALUES (5, 'e', 5, 'p')"),
    ] {
        session.execute(&sql).await;
    }
    applier.catch_up().await;
    assert_eq!(applier.notes, ["add t.filled", "add t.plain", "drop t.note"]);
    applier.check_all(&case).await;
    // While nobody listens.
    let known_at = applier.at.clone();
    applier.acknowledge();
    applier.close().await;
    for sql in [
        format!("INSERT INTO {t} VALUES (6, 'f', 6, 'p')"),
        format!("ALTER TABLE {t} DROP COLUMN filled"),
        format!("INSERT INTO {t} VALUES (7, 'g', 'p')"),
    ] {
        session.execute(&sql).await;
    }
    assert_eq!(applier.at, known_at);
    applier.connect(1 << 20).await.unwrap();
    applier.catch_up().await;
    assert_eq!(applier.notes[3..], ["drop t.filled"]);
    let names: Vec<String> =
        applier.schema(&tables[0]).columns.iter().map(|c| c.name().to_owned()).collect();
    assert_eq!(names, ["id", "name", "plain"]);
    applier.check_all(&case).await;
}

/// Same name, another table: refused when it is found at the start, reported when it comes up in
/// the log; its rows are never taken for those of the old one.
pub async fn a_table_made_anew_is_not_taken_for_the_old_one(case: Case) {
    case.create_items("t").await;
    case.create_items("calm").await;
    let (t, calm) = (case.table("t"), case.table("calm"));
    let tables = case.discover(&["t", "calm"]).await;
    let attached = case.attach(&tables).await;
    case.run(&format!("INSERT INTO {t} VALUES (1, 'old', NULL)")).await;
    let mut applier = Applier::start(&case, &attached.checkpoint, &tables).await;
    applier.nothing_to_copy();
    applier.catch_up().await;
    let at = applier.at.clone();
    case.run(&format!("DROP TABLE {t}")).await;
    case.create_items("t").await;
    case.run(&format!("INSERT INTO {t} VALUES (1, 'new', NULL)")).await;
    case.run(&format!("INSERT INTO {calm} VALUES (1, 'goes on', NULL)")).await;
    applier.catch_up().await;
    assert!(!applier.lines("t").iter().any(|line| line.contains("new")), "{:?}", applier.seen);
    assert_eq!(applier.lines("calm"), ["Insert 1|goes on|∅"]);
    applier.close().await;
    let known = Some((&attached.identity, Some(&at)));
    match case.attach_as(&tables, known).await {
        Err(error) => {
            // Or the tables are to be discovered anew, which finds the other one.
            let kinds = [ErrorKind::SchemaDrift, ErrorKind::PositionLost, ErrorKind::Unavailable];
            assert!(kinds.contains(&error.kind()), "{}", error.chain());
        }
        Ok(_) => {
            let mut applier = Applier::start(&case, &at, &tables).await;
            applier.nothing_to_copy();
            applier.catch_up().await;
            let told = applier.stopped(&tables[0]).is_some();
            assert!(told || applier.lines("t").is_empty(), "{:?}", applier.seen);
        }
    }
}

/// It began before the table was added and ends while the copy is on its way: its rows are in the
/// copy or in the stream, and not in both.
pub async fn a_transaction_open_while_a_table_is_added_counts_once(case: Case) {
    case.create_items("first").await;
    case.create_items("late").await;
    let (first, late) = (case.table("first"), case.table("late"));
    let one = case.discover(&["first"]).await;
    let attached = case.attach(&one).await;
    let mut sessions = Vec::new();
    for n in 0..3 {
        let mut session = case.subject.session().await;
        session.execute("START TRANSACTION").await;
        session.execute(&format!("INSERT INTO {late} VALUES ({n}, 'open', NULL)")).await;
        session.execute(&format!("INSERT INTO {first} VALUES ({n}, 'open', NULL)")).await;
        sessions.push(session);
    }
    // The first ends before the table joins; joining must not hang on the others for ever.
    sessions.remove(0).execute("COMMIT").await;
    let both = case.discover(&["first", "late"]).await;
    let known = Some((&attached.identity, Some(&attached.checkpoint)));
    let subject = Case { subject: case.subject.clone() };
    let (identity, checkpoint) = (attached.identity.clone(), attached.checkpoint.clone());
    let joining = tokio::spawn({
        let both = both.clone();
        async move {
            let known = Some((&identity, Some(&checkpoint)));
            subject.attach_as(&both, known).await
        }
    });
    // Some sources wait here for open transactions, some do not: both are right.
    let mut joining = Box::pin(joining);
    let brief = std::time::Duration::from_millis(500);
    let early = tokio::time::timeout(brief, &mut joining).await.ok();
    sessions.remove(0).execute("COMMIT").await;
    let mut last = sessions.remove(0);
    let joined = match early {
        Some(joined) => joined,
        None => {
            last.execute("COMMIT").await;
            last.execute("START TRANSACTION").await;
            last.execute(&format!("INSERT INTO {late} VALUES (20, 'open', NULL)")).await;
            in_time("the table to join", joining).await
        }
    };
    let joined = match joined.unwrap() {
        Ok(joined) => joined,
        // It gave up on a lock and said so.
        Err(error) if error.kind().is_transient() => {
            last.execute("COMMIT").await;
            case.attach_as(&both, known).await.unwrap()
        }
        Err(error) => panic!("{}", error.chain()),
    };
    assert_eq!(joined.added, [both[1].name.clone()]);
    let mut applier = Applier::start(&case, &joined.checkpoint, &both).await;
    applier.copied(both[0].id, rowtide_core::Fence::Nothing, Vec::new());
    let copying = tokio::spawn(copy(case.source(), both[1].clone(), 2));
    last.execute(&format!("INSERT INTO {late} VALUES (30, 'during the copy', NULL)")).await;
    last.execute(&format!("UPDATE {late} SET note = 'seen once' WHERE id = 0")).await;
    last.execute("COMMIT").await;
    let (fence, rows) = in_time("the copy", copying).await.unwrap().unwrap();
    applier.copied(both[1].id, fence, rows);
    case.run(&format!("INSERT INTO {late} VALUES (40, 'after', NULL)")).await;
    applier.catch_up().await;
    applier.check_all(&case).await;
}

/// Quotes, dots, newlines, reserved words, emoji, names that differ in case only.
pub async fn hostile_names_are_only_names(case: Case) {
    let columns = ["i d", "select", "a\"b", "x.y", "new\nline", "🦆", "Case", "CASE", "'", "$1"];
    let kinds: Vec<(&str, Kind)> = columns.iter().map(|name| (*name, Kind::Integer)).collect();
    let names = ["T,é🦀", "order", "we\"ird.t'a;ble --", "a.b", "new\nline", "lower", "LOWER"];
    for name in names {
        case.create(name, &kinds, 1).await;
    }
    let tables = case.discover(&names).await;
    let row = |from: i64| {
        let values: Vec<String> = (from..from + 10).map(|n| n.to_string()).collect();
        values.join(", ")
    };
    for name in names {
        case.run(&format!("INSERT INTO {} VALUES ({})", case.table(name), row(1))).await;
    }
    let attached = case.attach(&tables).await;
    let mut applier = Applier::start(&case, &attached.checkpoint, &tables).await;
    applier.copy_all(2).await;
    for name in names {
        let t = case.table(name);
        let quote = |name: &str| case.subject.dialect().quote(name);
        let (id, select) = (quote("i d"), quote("select"));
        for sql in [
            format!("INSERT INTO {t} VALUES ({})", row(100)),
            format!("UPDATE {t} SET {select} = 5 WHERE {id} = 100"),
            format!("UPDATE {t} SET {id} = 7 WHERE {id} = 1"),
            format!("INSERT INTO {t} VALUES ({})", row(200)),
            format!("DELETE FROM {t} WHERE {id} = 200"),
        ] {
            case.run(&sql).await;
        }
    }
    applier.catch_up().await;
    applier.check_all(&case).await;
    assert!(applier.seen.len() >= names.len() * 6, "{}", applier.seen.len());
}
