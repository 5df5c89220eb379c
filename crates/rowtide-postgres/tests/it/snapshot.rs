//! Copies and their fences.

use std::collections::BTreeMap;

use rowtide_core::{ChangeBatch, ErrorKind, Fence, Op};

use crate::follower::{Follower, copy, show};
use crate::harness::{Db, attach, discover, wait_until};

/// Writers are busy before, during and after the copy; transactions stay open across the attach
/// and across the fence. Copy and stream together must be exactly the table.
pub(crate) async fn a_busy_table_arrives_whole_and_once(db: &Db<'_>) {
    db.sql(
        "create table t (id bigint primary key, v int, pad text); \
         insert into t select n, 0, repeat('p', 500) from generate_series(1, 60000) n",
    );
    let source = db.source("p");
    let schema = discover(&source, &["t"]).await;
    let attached = attach(&source, &schema).await;

    let writer = source.connect_sql().await.unwrap();
    let held = source.connect_sql().await.unwrap();
    held.batch_execute(
        "begin; update public.t set v = 7 where id = 5; insert into public.t values (100001, 1, '')",
    )
    .await
    .unwrap();
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let stopped = std::sync::Arc::clone(&stop);
    let writing = tokio::spawn(async move {
        let mut n = 0_i64;
        while !stopped.load(std::sync::atomic::Ordering::Relaxed) {
            n += 1;
            let id = n * 7919 % 60_000 + 1;
            let sql = format!(
                "update public.t set v = v + 1 where id = {id}; \
                 insert into public.t values ({}, 0, 'new'); delete from public.t where id = {}",
                200_000 + n,
                200_000 + n - 50
            );
            writer.batch_execute(&sql).await.unwrap();
        }
        n
    });
    let ending = tokio::spawn(async move {
        // Ends the held transaction once the copy waits for it.
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        held.batch_execute("commit").await.unwrap();
    });
    let (fence, batches) = copy(&source, &schema[0], 3).await.unwrap();
    ending.await.unwrap();
    assert!(batches.len() > 3);
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    assert!(writing.await.unwrap() > 0);

    let mut rows: BTreeMap<String, String> = BTreeMap::new();
    for batch in &batches {
        for row in 0..batch.num_rows() {
            let value = format!("{}|{}", show(batch.column(1), row), show(batch.column(2), row));
            assert!(rows.insert(show(batch.column(0), row), value).is_none(), "a row came twice");
        }
    }
    let mut follower = Follower::start(&source, &attached.checkpoint, &schema).await;
    follower.catch_up(&source).await;
    let covered = apply(&mut rows, std::mem::take(&mut follower.batches), &fence);
    assert!(covered > 0, "some transactions were in the copy already");
    let found: Vec<_> = rows.iter().map(|(id, value)| format!("{id}|{value}")).collect();
    let expected = db.sql(
        "select id, v, case when length(pad) > 100 then left(pad, 1) || '*' || length(pad) \
         else pad end from t order by id::text collate \"C\"",
    );
    assert!(found.join("\n") == expected, "copy and stream differ from the table");
}

/// Applies what the fence leaves over; returns how many changes it covered.
fn apply(rows: &mut BTreeMap<String, String>, batches: Vec<ChangeBatch>, fence: &Fence) -> usize {
    let mut covered = 0;
    for batch in batches {
        let all = batch.len();
        let Some(batch) = batch.outside(fence).unwrap() else {
            covered += all;
            continue;
        };
        covered += all - batch.len();
        for row in 0..batch.len() {
            let id = show(batch.rows.column(0), row);
            let value =
                format!("{}|{}", show(batch.rows.column(1), row), show(batch.rows.column(2), row));
            match batch.ops[row] {
                Op::Insert => assert!(rows.insert(id, value).is_none(), "inserted twice"),
                Op::Update => assert!(rows.insert(id, value).is_some(), "updated nothing"),
                Op::Delete => assert!(rows.remove(&id).is_some(), "deleted nothing"),
                op => panic!("{op:?}"),
            }
        }
    }
    covered
}

pub(crate) async fn a_copy_refuses_what_would_be_wrong(db: &Db<'_>) {
    db.sql(
        "create table t (id int primary key, v int); insert into t values (1, 1); \
         create table hidden (id int primary key); insert into hidden values (1), (2); \
         alter table hidden enable row level security; \
         create role limited login; grant select on t, hidden to limited; \
         create policy first_only on hidden using (id = 1)",
    );
    let source = db.source("p");
    let before = discover(&source, &["t"]).await;
    db.sql("alter table t add column w int");
    let error = copy(&source, &before[0], 1).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::SchemaDrift);
    assert!(error.message().contains("column w"), "{error}");
    db.sql("alter table t rename to u");
    let error = copy(&source, &before[0], 1).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::SchemaDrift);

    let limited = db.source_with("q", |options| options.user = Some("limited".into()));
    let hidden = discover(&limited, &["hidden"]).await;
    let error = copy(&limited, &hidden[0], 1).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Access, "row security must not hide rows: {error}");
    db.sql("drop owned by limited; drop role limited");
}

pub(crate) async fn partitioned_tables_are_read_through_their_root(db: &Db<'_>) {
    db.sql(
        "create table t (id int, v text, primary key (id)) partition by range (id); \
         create table t1 partition of t for values from (0) to (100); \
         create table t2 (v text, id int not null); \
         alter table t2 add primary key (id); \
         alter table t attach partition t2 for values from (100) to (200); \
         insert into t values (1, 'a'), (150, 'b'); \
         create table parent (id int primary key); create table child () inherits (parent); \
         insert into parent values (1); insert into child values (2)",
    );
    let source = db.source("p");
    let schema = discover(&source, &["*.*"]).await;
    let names: Vec<_> = schema.iter().map(|table| table.name.name.to_string()).collect();
    assert_eq!(names, ["child", "parent", "t"]);
    let root = std::slice::from_ref(&schema[2]);
    let inherited = std::slice::from_ref(&schema[1]);
    let both = [schema[1].clone(), schema[2].clone()];
    let attached = attach(&source, &both).await;
    let (_, batches) = copy(&source, &root[0], 4).await.unwrap();
    assert_eq!(batches.iter().map(arrow_array::RecordBatch::num_rows).sum::<usize>(), 2);
    let (_, batches) = copy(&source, &inherited[0], 4).await.unwrap();
    assert_eq!(batches.iter().map(arrow_array::RecordBatch::num_rows).sum::<usize>(), 1);

    db.sql("insert into t values (160, 'c'); update t set id = 10 where id = 160; insert into child values (3)");
    wait_until("the partition's row", || db.sql("select count(*) from t1") == "2").await;
    let mut follower = Follower::start(&source, &attached.checkpoint, &both).await;
    follower.catch_up(&source).await;
    assert_eq!(follower.take_log(), ["insert t 160|c", "delete t 160|NULL", "insert t 10|c"]);
}

/// What is logged of a partitioned table is decided by its parts.
pub(crate) async fn parts_decide_how_rows_are_identified(db: &Db<'_>) {
    use rowtide_core::Identity::{FullRow, Key, None};
    let cases = [
        ("plain", "primary key (id)", "", Key),
        ("one_full", "primary key (id)", "alter table one_full_1 replica identity full", Key),
        (
            "one_nothing",
            "primary key (id)",
            "alter table one_nothing_1 replica identity nothing",
            None,
        ),
        ("keyless", "check (id > 0)", "", None),
        ("root_full", "check (id > 0)", "alter table root_full replica identity full", None),
        (
            "all_full",
            "check (id > 0)",
            "alter table all_full replica identity full; \
          alter table all_full_1 replica identity full; alter table all_full_2 replica identity full",
            FullRow,
        ),
    ];
    for (name, constraint, change, _) in cases {
        db.sql(&format!(
            "create table {name} (id int, v int, {constraint}) partition by range (id); \
             create table {name}_1 partition of {name} for values from (1) to (10); \
             create table {name}_2 partition of {name} for values from (10) to (20); {change}"
        ));
    }
    let source = db.source("p");
    let schema = discover(&source, &["*.*"]).await;
    for (name, _, _, identity) in cases {
        let table = schema.iter().find(|table| *table.name.name == *name).unwrap();
        assert_eq!(table.identity, identity, "{name}");
    }
    let followed: Vec<_> = schema.iter().filter(|table| table.identity != None).cloned().collect();
    let from = attach(&source, &followed).await;
    for table in &followed {
        let name = &table.name.name;
        db.sql(&format!(
            "insert into {name} values (1, 1), (11, 1); update {name} set v = 2; delete from {name}"
        ));
    }
    let mut follower = Follower::start(&source, &from.checkpoint, &followed).await;
    follower.catch_up(&source).await;
    let said = |words: &str| follower.log.iter().filter(|line| line.starts_with(words)).count();
    assert_eq!((said("update plain "), said("update one_full "), said("in all_full ")), (2, 2, 2));
    assert_eq!(
        (said("delete plain "), said("delete one_full "), said("delete all_full ")),
        (2, 2, 2)
    );
    assert_eq!(said("stop"), 0, "{:?}", follower.log);
}
