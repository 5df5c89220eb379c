//! What the stream says about changes.

use rowtide_core::Source;
use rowtide_core::traits::StreamItem;

use crate::follower::Follower;
use crate::harness::{Db, attach, discover, wait_until};

pub(crate) async fn keys_that_move_and_values_that_are_not_repeated(db: &Db<'_>) {
    db.sql(
        "create table t (id int primary key, v int, big text); \
         alter table t alter column big set storage external; \
         create table f (id int primary key, v int, big text); \
         alter table f alter column big set storage external; alter table f replica identity full; \
         create table i (a int not null, b int not null, v int); \
         create unique index by_b on i (b); alter table i replica identity using index by_b",
    );
    let source = db.source("p");
    let schema = discover(&source, &["*.*"]).await;
    let from = attach(&source, &schema).await;
    db.sql("insert into t values (1, 1, repeat('x', 9000))");
    db.sql("update t set v = 2");
    db.sql("update t set id = 5");
    db.sql("update t set id = 5, big = 'short'");
    db.sql("delete from t");
    db.sql("insert into f values (1, 1, repeat('y', 9000))");
    db.sql("update f set v = 2");
    db.sql("update f set id = 2");
    db.sql("delete from f");
    db.sql("insert into i values (1, 10, 0)");
    db.sql("update i set v = 1");
    db.sql("update i set b = 11");
    db.sql("delete from i");
    let mut follower = Follower::start(&source, &from.checkpoint, &schema).await;
    follower.catch_up(&source).await;
    let of = |table: &str| -> Vec<String> {
        let log = follower.log.iter().filter(|line| line.split(' ').nth(1) == Some(table));
        log.cloned().collect()
    };
    assert_eq!(
        of("t"),
        [
            "insert t 1|1|x*9000",
            "update t 1|2|same",
            "out t 1|NULL|NULL",
            "in t 5|2|same",
            "update t 5|2|short",
            "delete t 5|NULL|NULL",
        ]
    );
    assert_eq!(
        of("f"),
        [
            "insert f 1|1|y*9000",
            "update f 1|2|y*9000",
            "out f 1|NULL|NULL",
            "in f 2|2|y*9000",
            "delete f 2|2|y*9000",
        ]
    );
    assert_eq!(
        of("i"),
        [
            "insert i 1|10|0",
            "update i 1|10|1",
            "out i NULL|10|NULL",
            "in i 1|11|1",
            "delete i NULL|11|NULL",
        ]
    );
}

pub(crate) async fn full_rows_without_a_key(db: &Db<'_>) {
    db.sql(
        "create table t (a int, big text); alter table t alter column big set storage external; \
         alter table t replica identity full; create table only_inserts (a int)",
    );
    let source = db.source("p");
    let schema = discover(&source, &["*.*"]).await;
    let from = attach(&source, &schema).await;
    db.sql("insert into t values (1, repeat('x', 9000)), (1, null)");
    db.sql("update t set a = 2 where big is not null");
    db.sql("delete from t where a = 1");
    // The application's own updates must go on working.
    db.sql("insert into only_inserts values (1)");
    db.sql("update only_inserts set a = 2");
    db.sql("truncate only_inserts");
    let mut follower = Follower::start(&source, &from.checkpoint, &schema).await;
    follower.catch_up(&source).await;
    let mut log = follower.take_log();
    log.sort_by_key(|line| line.contains("only_inserts"));
    assert_eq!(
        log,
        [
            "insert t 1|x*9000",
            "insert t 1|NULL",
            "out t 1|x*9000",
            "in t 2|x*9000",
            "delete t 1|NULL",
            "insert only_inserts 1",
            "truncate only_inserts",
        ]
    );
}

pub(crate) async fn truncates_come_in_order(db: &Db<'_>) {
    db.sql(
        "create table a (id int primary key); create table b (id int primary key references a); \
         create table unseen (id int primary key)",
    );
    let source = db.source("p");
    let schema = discover(&source, &["a", "b"]).await;
    let from = attach(&source, &schema).await;
    db.sql(
        "begin; insert into a values (1); insert into b values (1); truncate a cascade; \
            insert into a values (2); commit; truncate a, b, unseen; insert into a values (3)",
    );
    let mut follower = Follower::start(&source, &from.checkpoint, &schema).await;
    follower.catch_up(&source).await;
    let mut log = follower.take_log();
    let middle = &mut log[..2];
    middle.sort();
    assert_eq!(
        log,
        ["insert a 1", "insert b 1", "truncate a,b", "insert a 2", "truncate a,b", "insert a 3"]
    );
}

pub(crate) async fn a_large_transaction_comes_in_pieces(db: &Db<'_>) {
    db.sql("create table t (id int primary key, pad text)");
    let source = db.source("p");
    let schema = discover(&source, &["t"]).await;
    let from = attach(&source, &schema).await;
    db.sql(
        "begin; insert into t select n, repeat('x', 100) from generate_series(1, 20000) n; \
         savepoint s; insert into t values (-1, ''); rollback to s; commit; \
         insert into t values (0, 'last')",
    );
    let budget = 200_000;
    let mut follower =
        Follower::start_with(&source, &from.checkpoint, &schema, budget).await.unwrap();
    follower.catch_up(&source).await;
    assert!(follower.segments.iter().filter(|whole| !**whole).count() > 5);
    let rows: Vec<usize> = follower.batches.iter().map(rowtide_core::ChangeBatch::len).collect();
    assert_eq!(rows.iter().sum::<usize>(), 20_001);
    assert!(rows.iter().all(|rows| *rows < 2_500), "{rows:?}");
    let first = &follower.batches[0].commits[0].commit;
    assert!(follower.batches[1].commits[0].commit == *first);
    // From the middle of nothing: what is durable is not sent again.
    let at = follower.at.clone();
    drop(follower);
    let slot = db.slot("p");
    let rest = format!("select active from pg_replication_slots where slot_name = '{slot}'");
    wait_until("the slot to be free", || db.sql(&rest) == "f").await;
    db.sql("insert into t values (-5, 'new')");
    let mut again = Follower::start(&source, &at, &schema).await;
    again.catch_up(&source).await;
    assert_eq!(again.log, ["insert t -5|new"]);
}

/// Other databases write, this one is quiet: the slot moves on, and only as far as was declared
/// durable.
pub(crate) async fn an_idle_log_moves_on(db: &Db<'_>) {
    db.sql("create table t (id int primary key); create table unpublished (id int)");
    let source = db.source("p");
    let schema = discover(&source, &["t"]).await;
    let from = attach(&source, &schema).await;
    let mut follower = Follower::start(&source, &from.checkpoint, &schema).await;
    let confirmed = format!(
        "select confirmed_flush_lsn - '{}'::pg_lsn from pg_replication_slots where slot_name = '{}'",
        from.checkpoint.position(),
        db.slot("p")
    );
    db.sql("insert into unpublished select generate_series(1, 1000)");
    follower.catch_up(&source).await;
    assert!(follower.batches.is_empty());
    assert_eq!(db.sql(&confirmed), "0", "nothing was declared durable yet");
    follower.acknowledge();
    let expected = follower.at.position().0 - from.checkpoint.position().0;
    wait_until("the slot to move", || db.sql(&confirmed) == expected.to_string()).await;
    assert!(follower.stream.head() >= follower.at.position().0);

    // Closing in order says what is durable once more, and frees the slot at once.
    db.sql("insert into t values (1)");
    follower.catch_up(&source).await;
    follower.acknowledge();
    let expected = follower.at.position().0 - from.checkpoint.position().0;
    follower.stream.close().await.unwrap();
    assert_eq!(db.sql(&confirmed), expected.to_string());
    let status = source.operations().status().await.unwrap();
    assert_eq!(status.acknowledged, Some(from.checkpoint.position().0 + expected));
    assert!(!status.active);
}

pub(crate) async fn ordinals_do_not_depend_on_what_is_followed(db: &Db<'_>) {
    db.sql("create table a (id int primary key); create table b (id int primary key, v int)");
    let source = db.source("p");
    let schema = discover(&source, &["*.*"]).await;
    let from = attach(&source, &schema).await;
    db.sql("begin; insert into a values (1); insert into b values (1, 1); update b set id = 2; \
            update b set v = 2; insert into a values (2); truncate b; delete from a where id = 1; commit");
    let ordinals = async |tables: &[_]| {
        let mut follower = Follower::start(&source, &from.checkpoint, tables).await;
        follower.catch_up(&source).await;
        let of = |name: &str| -> Vec<u32> {
            let batches = follower.batches.iter().filter(|batch| *batch.table.name.name == *name);
            batches.flat_map(|batch| batch.ordinals.clone()).collect()
        };
        let ordinals = (of("a"), of("b"));
        follower.stream.close().await.unwrap();
        ordinals
    };
    let (a, b) = ordinals(&schema).await;
    assert_eq!(a, [0, 5, 7]);
    assert_eq!(b, [1, 2, 3, 4]);
    let (only_a, _) = ordinals(&schema[..1]).await;
    assert_eq!(only_a, a);
    let (_, only_b) = ordinals(&schema[1..]).await;
    assert_eq!(only_b, b);
}

pub(crate) async fn odd_names_survive(db: &Db<'_>) {
    db.sql(
        "create schema \"S \"\"x\"; \
         create table \"S \"\"x\".\"T,é🦀\" (\"i d\" int primary key, \"select\" text, \"a\"\"b\" int)",
    );
    let source = db.source("p");
    let tapped = db.source("tap");
    let schema = discover(&source, &["*.*"]).await;
    let from = attach(&source, &schema).await;
    let publication = format!("rowtide_{}", db.pipeline("p"));
    let mut tap = tapped.tap(schema.clone(), &publication, 1 << 20).await.unwrap();
    db.sql("insert into \"S \"\"x\".\"T,é🦀\" values (1, 'v', 2)");
    let (_, batches) = crate::follower::copy(&source, &schema[0], 2).await.unwrap();
    assert_eq!(batches[0].num_rows(), 1);
    let mut follower = Follower::start(&source, &from.checkpoint, &schema).await;
    follower.catch_up(&source).await;
    assert_eq!(follower.log, ["insert T,é🦀 1|v|2"]);
    // A temporary slot sees the same and leaves nothing behind.
    loop {
        let segment = crate::harness::in_time("a tapped change", tap.next()).await.unwrap();
        if let Some(StreamItem::Changes(batch)) = segment.items.first() {
            assert_eq!(batch.len(), 1);
            break;
        }
    }
    tap.close().await.unwrap();
    let left = "select count(*) from pg_replication_slots where slot_name like 'rowtide_tap%'";
    wait_until("the temporary slot to vanish", || db.sql(left) == "0").await;
}
