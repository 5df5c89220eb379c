//! Tables that change while they are followed.

use std::sync::Arc;

use rowtide_core::traits::{SnapshotRequest, StreamStart};
use rowtide_core::{Fence, Source};

use crate::follower::{Follower, copy};
use crate::harness::{Db, attach, discover};

pub(crate) async fn columns_are_added_and_dropped_midway(db: &Db<'_>) {
    db.sql("create table t (id int primary key, v int, w text); insert into t values (1, 1, 'a')");
    let source = db.source("p");
    let schema = discover(&source, &["t"]).await;
    let from = attach(&source, &schema).await;
    let mut follower = Follower::start(&source, &from.checkpoint, &schema).await;
    db.sql("insert into t values (2, 2, 'b')");
    db.sql("alter table t add column n int");
    db.sql("update t set n = 5 where id = 2");
    follower.catch_up(&source).await;
    assert_eq!(follower.take_log(), ["insert t 2|2|b", "add t.n fill NULL", "update t 2|2|b|5"]);
    db.sql(
        "alter table t add column d text default 'it''s', add column a int[] default '{1,NULL}'",
    );
    db.sql("alter table t drop column v");
    db.sql("insert into t values (3, 'c', 6)");
    follower.catch_up(&source).await;
    let log = follower.take_log();
    assert_eq!(log[..2], ["drop t.v", "add t.d fill it's"]);
    assert!(log[2].starts_with("add t.a fill ListArray"), "{}", log[2]);
    assert!(log[3].starts_with("insert t 3|c|6|it's|"), "{}", log[3]);
    assert_eq!(log.len(), 4);
    // A column is known by its number, whatever it is called.
    db.sql("alter table t rename column n to \"a count\"");
    db.sql("update t set \"a count\" = 6 where id = 3");
    // Numbers are in the catalog alone: what is renamed twice before it is looked up is not known.
    follower.catch_up(&source).await;
    assert_eq!(follower.take_log()[0], "rename t.n to a count");
    db.sql("alter table t rename column \"a count\" to n");
    db.sql("update t set n = 6 where id = 3");
    follower.catch_up(&source).await;
    assert_eq!(follower.take_log()[0], "rename t.a count to n");
    // Inside one transaction, with rows before and after.
    db.sql(
        "begin; update t set n = 7 where id = 3; alter table t drop column a; \
            alter table t drop column d; update t set n = 8 where id = 3; commit",
    );
    follower.catch_up(&source).await;
    let log = follower.take_log();
    assert!(log[0].starts_with("update t 3|c|7|"));
    assert_eq!(log[1..], ["drop t.d", "drop t.a", "update t 3|c|8"]);
    let latest = &follower.schemas["t"];
    assert_eq!(latest.version, 9);
    // What a new copy reads is what the stream has arrived at.
    let fresh = discover(&source, &["t"]).await;
    assert_eq!(fresh[0].columns, latest.columns);
    let (_, batches) = copy(&source, latest, 1).await.unwrap();
    assert_eq!(batches[0].num_rows(), 3);
}

pub(crate) async fn what_cannot_be_followed_stops_the_table(db: &Db<'_>) {
    let cases = [
        (
            "renamed",
            "alter table renamed rename column v to x; alter table renamed add column v int",
            "the column v is now another one",
        ),
        (
            "retyped",
            "alter table retyped alter v type bigint",
            "changed its type from integer to bigint",
        ),
        ("volatile", "alter table volatile add column r float8 default random()", "its own value"),
        (
            "serial",
            "alter table serial add column r int generated always as identity",
            "its own value",
        ),
        (
            "again",
            "alter table again drop column v; alter table again add column v int",
            "dropped and added again",
        ),
        ("moved", "alter table moved rename to elsewhere", "renamed to public.elsewhere"),
        (
            "unkeyed",
            "alter table unkeyed replica identity full; alter table unkeyed drop constraint unkeyed_pkey",
            "its key changed or was dropped",
        ),
        (
            "keyless",
            "alter table keyless replica identity nothing",
            "key or its REPLICA IDENTITY changed",
        ),
    ];
    for (table, _, _) in cases {
        db.sql(&format!("create table {table} (id int primary key, v int)"));
    }
    db.sql("create table calm (id int primary key)");
    let source = db.source("p");
    let schema = discover(&source, &["*.*"]).await;
    let from = attach(&source, &schema).await;
    let mut follower = Follower::start(&source, &from.checkpoint, &schema).await;
    for (table, change, reason) in cases {
        db.sql(&format!("insert into {table} values (1, 1)"));
        follower.catch_up(&source).await;
        db.sql(change);
        let name = if table == "moved" { "elsewhere" } else { table };
        db.sql(&format!("insert into {name} values (2, 2); insert into {name} values (3, 3)"));
        db.sql("insert into calm values ((select count(*) from calm))");
        follower.catch_up(&source).await;
        let log = follower.take_log();
        let stops: Vec<_> =
            log.iter().filter(|line| line.starts_with(&format!("stop {table}"))).collect();
        assert_eq!(stops.len(), 1, "{table}: {log:?}");
        assert!(stops[0].contains(reason), "{}", stops[0]);
        assert_eq!(log.iter().filter(|line| line.contains(&format!("insert {table}"))).count(), 1);
        assert!(log.last().unwrap().starts_with("insert calm"), "other tables go on: {log:?}");
    }
}

/// The catalog is far ahead of the log when the stream starts.
pub(crate) async fn changes_made_while_away_are_seen(db: &Db<'_>) {
    db.sql(
        "create table t (id int primary key, v int); create table gone (id int primary key); \
         create table anew (id int primary key); create table brief (id int primary key)",
    );
    let source = db.source("p");
    let schema = discover(&source, &["*.*"]).await;
    let from = attach(&source, &schema).await;
    db.sql("insert into t values (1, 1)");
    db.sql("alter table t add column n int default 9");
    db.sql("insert into t values (2, 2, 2)");
    db.sql("alter table t drop column v");
    db.sql("insert into t values (3, 3)");
    db.sql("insert into gone values (1)");
    db.sql("drop table gone");
    db.sql("insert into anew values (1)");
    db.sql("drop table anew");
    db.sql("create table anew (id int primary key)");
    db.sql(&format!("alter publication \"rowtide_{}\" add table anew", db.pipeline("p")));
    db.sql("insert into anew values (2)");
    db.sql("alter table brief add column x int");
    db.sql("insert into brief values (1, 1)");
    db.sql("alter table brief drop column x");
    db.sql("insert into brief values (2)");
    let mut follower = Follower::start(&source, &from.checkpoint, &schema).await;
    follower.catch_up(&source).await;
    let of = |table: &str| -> Vec<&String> {
        let names = |line: &&String| {
            let name = line.split([' ', '.', ':']).nth(1);
            name == Some(table)
        };
        follower.log.iter().filter(names).collect()
    };
    assert_eq!(
        of("t"),
        ["insert t 1|1", "add t.n fill 9", "insert t 2|2|2", "drop t.v", "insert t 3|3"]
    );
    assert_eq!(of("gone"), ["insert gone 1"]);
    let anew = of("anew");
    assert_eq!(anew[0], "insert anew 1");
    assert!(anew[1].contains("dropped and created again"), "{anew:?}");
    assert_eq!(anew.len(), 2);
    let brief = of("brief");
    assert_eq!(
        brief,
        ["add brief.x fill NULL", "insert brief 1|1", "drop brief.x", "insert brief 2"]
    );
}

pub(crate) async fn a_text_column_added_to_a_binary_stream(db: &Db<'_>) {
    db.sql("create table t (id int primary key)");
    let source = db.source("p");
    let schema = discover(&source, &["t"]).await;
    let from = attach(&source, &schema).await;
    let mut follower = Follower::start(&source, &from.checkpoint, &schema).await;
    db.sql("insert into t values (1)");
    follower.catch_up(&source).await;
    db.sql("alter table t add column address inet");
    db.sql("insert into t values (2, '10.0.0.1')");
    // The binary stream cannot go on; the next one reads text.
    let error = loop {
        if let Err(error) = follower.step().await {
            break error;
        }
    };
    assert!(error.kind().is_transient(), "{error}");
    let at = follower.at.clone();
    drop(follower);
    let mut follower = loop {
        match Follower::start_with(&source, &at, &schema, 1 << 20).await {
            Ok(follower) => break follower,
            Err(error) => assert!(error.kind().is_transient(), "{error}"),
        }
    };
    follower.catch_up(&source).await;
    assert_eq!(follower.log, ["add t.address fill NULL", "insert t 2|10.0.0.1"]);
}

/// Names and types are as before, and yet it is another column; a default is gone, and yet older
/// rows were filled by it. Under FULL a key that is as before changes nothing.
pub(crate) async fn what_looks_the_same_stops_the_table(db: &Db<'_>) {
    db.sql(
        "create table swapped (id int primary key, a int, b int); \
         create table filled (id int primary key); create table whole (id int primary key)",
    );
    let source = db.source("p");
    let schema = discover(&source, &["*.*"]).await;
    let from = attach(&source, &schema).await;
    let mut follower = Follower::start(&source, &from.checkpoint, &schema).await;
    db.sql("insert into swapped values (1, 1, 2); insert into filled values (1)");
    follower.catch_up(&source).await;
    assert_eq!(follower.take_log().len(), 2);
    db.sql(
        "alter table swapped rename a to tmp; alter table swapped rename b to a; \
         alter table swapped rename tmp to b",
    );
    db.sql("insert into swapped values (2, 1, 2)");
    follower.catch_up(&source).await;
    let log = follower.take_log();
    assert_eq!(log.len(), 1, "{log:?}");
    assert!(log[0].starts_with("stop swapped: the column a is now another one"), "{log:?}");
    db.sql(
        "alter table filled add column r float8 not null default random(); \
         alter table filled alter column r drop default",
    );
    db.sql("insert into filled values (2, 0.5)");
    follower.catch_up(&source).await;
    let log = follower.take_log();
    assert_eq!(log.len(), 1, "{log:?}");
    assert!(log[0].contains("NOT NULL without a default"), "{log:?}");
    db.sql("alter table whole replica identity full");
    db.sql("insert into whole values (1)");
    follower.catch_up(&source).await;
    assert_eq!(follower.take_log(), ["insert whole 1"]);
}

/// The slot is older than a table's copy, and so may be the table's layout in the log, or even
/// the table. What is newer than the start is followed as ever.
pub(crate) async fn log_older_than_a_copy_is_left_out(db: &Db<'_>) {
    db.sql(
        "create table t (id int primary key, v int); create table anew (id int primary key); \
         create table quiet (id int primary key)",
    );
    let source = db.source("p");
    let first = discover(&source, &["*.*"]).await;
    let from = attach(&source, &first).await;
    db.sql("insert into t values (1, 1); insert into anew values (1)");
    db.sql("alter table t add column n int not null default 0; alter table t drop column v");
    db.sql("insert into t values (2, 2); truncate t");
    db.sql("drop table anew");
    db.sql("create table anew (id int primary key)");
    db.sql(&format!("alter publication \"rowtide_{}\" add table anew", db.pipeline("p")));
    db.sql("insert into anew values (2)");
    db.sql("alter table t add column w int");
    db.sql("insert into t values (3, 3, 3)");
    let planned = discover(&source, &["*.*"]).await;
    let copying: Vec<u64> = planned.iter().map(|table| table.id).collect();
    let tables = (planned.as_slice(), copying.as_slice());
    let started = Follower::start_copying(&source, &from.checkpoint, tables, 1 << 20).await;
    let mut follower = started.unwrap();
    // Newer than the start, before any layout was seen that is as planned.
    db.sql("alter table quiet add column x int");
    db.sql("insert into quiet values (1, 1)");
    db.sql("insert into t values (4, 4, 4)");
    db.sql("alter table t add column z int default 7");
    db.sql("insert into t values (5, 5, 5, 5)");
    follower.catch_up(&source).await;
    let of = |table: &str| -> Vec<&String> {
        let names = |line: &&String| line.split([' ', '.', ':']).nth(1) == Some(table);
        follower.log.iter().filter(names).collect()
    };
    assert_eq!(of("t"), ["insert t 3|3|3", "insert t 4|4|4", "add t.z fill 7", "insert t 5|5|5|5"]);
    assert_eq!(of("anew"), ["insert anew 2"]);
    assert_eq!(of("quiet"), ["add quiet.x fill NULL", "insert quiet 1|1"]);
    // What was left out is counted all the same: the third insert is alone in its transaction.
    assert!(follower.batches.iter().all(|batch| batch.ordinals.iter().all(|&o| o == 0)));
}

/// The process ends when a copy is in place, but the log has not yet come to the changes of
/// layout that the copy has: a stream that is told what the copy contains leaves them out.
pub(crate) async fn log_older_than_a_copy_in_place_is_left_out(db: &Db<'_>) {
    db.sql(
        "create table t (id int primary key, v int); create table anew (id int primary key); \
         create table plain (id int primary key, v int)",
    );
    let source = db.source("p");
    let from = attach(&source, &discover(&source, &["*.*"]).await).await;
    db.sql("insert into t values (1, 1); insert into anew values (1)");
    db.sql("alter table t add column n int not null default 0; alter table t drop column v");
    db.sql("insert into t values (2, 2)");
    db.sql("alter table t add column w text; truncate t");
    db.sql("drop table anew; create table anew (id int primary key)");
    db.sql(&format!("alter publication \"rowtide_{}\" add table anew", db.pipeline("p")));
    let planned = discover(&source, &["*.*"]).await;
    let mut fences = Vec::new();
    for table in &planned {
        let request = SnapshotRequest {
            table: Arc::clone(table),
            lanes: 1,
            settle: true,
            batch_bytes: 1 << 20,
        };
        fences.push((table.id, source.snapshot(request).await.unwrap().fence));
    }
    // Newer than the copies.
    db.sql("insert into t values (3, 3, 'c'); insert into anew values (3)");
    db.sql("alter table t add column z int default 7; insert into t values (4, 4, 'd', 4)");
    let start = |fences: &[(u64, Fence)]| StreamStart {
        checkpoint: from.checkpoint.clone(),
        tables: planned.clone(),
        copying: Vec::new(),
        fences: fences.to_vec(),
        buffer_bytes: 1 << 20,
        spool_directory: std::env::temp_dir(),
    };
    let mut follower = Follower::start_at(&source, start(&fences)).await.unwrap();
    follower.catch_up(&source).await;
    let rows = ["insert t 3|3|c", "insert anew 3", "add t.z fill 7", "insert t 4|4|d|4"];
    let mut found = follower.take_log();
    found.retain(|line| !line.starts_with("truncate"));
    found.sort_by_key(|line| rows.iter().position(|row| row == line));
    assert_eq!(found, rows);
    follower.stream.close().await.unwrap();

    // Without the fences the log contradicts what is known.
    let mut unaware = Follower::start_at(&source, start(&[])).await.unwrap();
    unaware.catch_up(&source).await;
    assert!(unaware.log.iter().any(|line| line.starts_with("stop t")), "{:?}", unaware.log);
}
