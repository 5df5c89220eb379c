//! Slow destinations, quiet servers, dead servers.

use std::process::Command;
use std::time::{Duration, Instant};

use rowtide_core::ErrorKind;

use crate::follower::Follower;
use crate::harness::{Db, attach, discover, in_time, wait_until};

/// Nobody takes what arrives for longer than the server's patience, and the server is quiet for
/// longer than ours: the connection stays the same.
pub(crate) async fn neither_slowness_nor_silence_ends_a_stream(db: &Db<'_>) {
    db.sql("create table t (id int primary key, pad text)");
    // Limits hold per role, so that this scenario alone is impatient.
    db.sql("create role hasty superuser login; alter role hasty set wal_sender_timeout = '1s'");
    let source = db.source_with("p", |options| options.user = Some("hasty".into()));
    let schema = discover(&source, &["t"]).await;
    let from = attach(&source, &schema).await;
    let mut follower =
        Follower::start_with(&source, &from.checkpoint, &schema, 100_000).await.unwrap();
    let pid =
        format!("select active_pid from pg_replication_slots where slot_name = '{}'", db.slot("p"));
    let first = db.sql(&pid);
    db.sql("insert into t select n, repeat('x', 500) from generate_series(1, 20000) n");
    let age = format!(
        "select clock_timestamp() - backend_start > '7s' and state is not null \
         from pg_stat_replication where pid = {first}"
    );
    wait_until("the server's patience to be tried", || db.sql(&age) == "t").await;
    follower.catch_up(&source).await;
    assert_eq!(follower.log.len(), 20_000);
    assert_eq!(db.sql(&pid), first, "it is still the same connection");
    follower.stream.close().await.unwrap();
}

/// A server that stops answering without closing anything.
pub(crate) async fn a_frozen_server_is_noticed(db: &Db<'_>) {
    db.sql("create table t (id int primary key)");
    db.sql("create role frozen superuser login; alter role frozen set wal_sender_timeout = '1s'");
    let source = db.source_with("p", |options| options.user = Some("frozen".into()));
    let schema = discover(&source, &["t"]).await;
    let from = attach(&source, &schema).await;
    let mut follower = Follower::start(&source, &from.checkpoint, &schema).await;
    let pid = db.sql(&format!(
        "select active_pid from pg_replication_slots where slot_name = '{}'",
        db.slot("p")
    ));
    let signal = |name: &str| {
        assert!(Command::new("kill").args([name, &pid]).status().unwrap().success());
    };
    signal("-STOP");
    let began = Instant::now();
    let error = loop {
        if let Err(error) = in_time("the silence to be noticed", follower.step()).await {
            break error;
        }
    };
    signal("-CONT");
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(began.elapsed() < Duration::from_secs(20));
    // What comes after an error is an error as well, not a hang.
    assert!(follower.step().await.is_err());
}

/// A heartbeat moves the log of a database where nothing happens.
pub(crate) async fn a_heartbeat_moves_a_quiet_log(db: &Db<'_>) {
    db.sql("create table t (id int primary key)");
    let source = db.source_with("p", |options| {
        options.heartbeat = Some(rowtide_postgres::Interval::new(Duration::from_millis(200)));
    });
    let schema = discover(&source, &["t"]).await;
    let from = attach(&source, &schema).await;
    let mut follower = Follower::start(&source, &from.checkpoint, &schema).await;
    let start = follower.at.position().0;
    while follower.at.position().0 < start + 100 {
        follower.step().await.unwrap();
    }
    assert!(follower.log.is_empty());
}
