//! Transactions that the server streams before they end: what arrives is the same, row by row and
//! ordinal by ordinal, as when it sends them after their commit.

use std::sync::Arc;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rowtide_core::{Checkpoint, TableSchema};
use rowtide_postgres::{PostgresSource, Streaming};
use rowtide_sandbox::Major;
use tokio_postgres::{Client, NoTls};

use crate::follower::Follower;
use crate::harness::{Db, attach, discover, wait_until};

/// How a version is asked to stream.
fn asked(db: &Db<'_>) -> Streaming {
    match db.server.major() {
        Major::V16 | Major::V18 => Streaming::Parallel,
        _ => Streaming::On,
    }
}

/// Makes the server stream as much as it can: what exceeds 64 kB.
fn little_memory(db: &Db<'_>) {
    db.sql(&format!("alter database {} set logical_decoding_work_mem = '64kB'", db.name));
}

/// Makes the server stream everything, if it can.
fn at_once(db: &Db<'_>) {
    little_memory(db);
    let setting = match db.server.major() {
        Major::V14 | Major::V15 => return,
        _ => "debug_logical_replication_streaming",
    };
    db.sql(&format!("alter database {} set {setting} = 'immediate'", db.name));
}

async fn client(db: &Db<'_>) -> Client {
    let (client, connection) = tokio_postgres::connect(&db.url(), NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// Two pipelines of the same tables: one that is streamed to, and one that is not.
struct Both {
    schema: Vec<Arc<TableSchema>>,
    sources: [PostgresSource; 2],
    from: [Checkpoint; 2],
}

impl Both {
    async fn attach(db: &Db<'_>) -> Self {
        let sources = [db.source("w"), db.source_with("s", |with| with.streaming = asked(db))];
        let schema = discover(&sources[0], &["public.*"]).await;
        let mut from = Vec::new();
        for source in &sources {
            from.push(attach(source, &schema).await.checkpoint);
        }
        let from = from.try_into().unwrap();
        Self { schema, sources, from }
    }

    async fn follower(&self, which: usize, buffer_bytes: usize) -> Follower {
        let (source, from) = (&self.sources[which], &self.from[which]);
        Follower::start_with(source, from, &self.schema, buffer_bytes).await.unwrap()
    }

    /// Reads both to the end, checks that they are the same, and returns what the one that was
    /// streamed said.
    async fn compare(&self, db: &Db<'_>, context: &str) -> Follower {
        let mut whole = self.follower(0, 1 << 20).await;
        let mut streamed = self.follower(1, 1 << 20).await;
        whole.catch_up(&self.sources[0]).await;
        streamed.catch_up(&self.sources[1]).await;
        same(&mut whole, &mut streamed, context);
        was_streamed(db).await;
        streamed
    }
}

fn mark(at: &Checkpoint) -> Option<&str> {
    at.mark(&"postgres".into())
}

fn same(whole: &mut Follower, streamed: &mut Follower, context: &str) {
    for follower in [&mut *whole, &mut *streamed] {
        follower.placed.sort_by_key(|(commit, ordinal, _)| (commit.position, *ordinal));
    }
    let differs = whole.placed.iter().zip(&streamed.placed).find(|(one, other)| one != other);
    assert_eq!(differs, None, "{context}");
    assert_eq!(whole.placed.len(), streamed.placed.len(), "{context}");
    assert_eq!(whole.schemas, streamed.schemas, "{context}");
    assert_eq!(mark(&whole.at), mark(&streamed.at), "{context}: another last transaction");
}

/// The server says that it has streamed.
async fn was_streamed(db: &Db<'_>) {
    let sql = format!(
        "select coalesce(max(stream_txns), 0) > 0 from pg_stat_replication_slots \
         where slot_name = '{}'",
        db.slot("s")
    );
    wait_until("the server to have streamed", || db.sql(&sql) == "t").await;
}

/// One transaction of nested savepoints, of which many are rolled back.
fn storm(rng: &mut StdRng, savepoints: usize) -> String {
    let mut sql = String::from("begin;");
    let mut open: Vec<usize> = Vec::new();
    let mut made = 0;
    while made < savepoints || !open.is_empty() {
        let id = rng.random_range(0..200);
        let size = rng.random_range(0..600);
        match rng.random_range(0..12) {
            0..=2 if made < savepoints => {
                made += 1;
                open.push(made);
                sql += &format!("savepoint s{made};");
            }
            3 | 4 if !open.is_empty() => {
                let kept = rng.random_range(0..open.len());
                sql += &format!("rollback to s{0}; release s{0};", open[kept]);
                open.truncate(kept);
            }
            5 if !open.is_empty() => {
                let kept = rng.random_range(0..open.len());
                sql += &format!("release s{};", open[kept]);
                open.truncate(kept);
            }
            6 => sql += &format!("delete from t where id = {id};"),
            7 => {
                sql += &format!(
                    "update t set id = id + 1000 where id = {id} \
                     and not exists (select from t where id = {id} + 1000);"
                );
            }
            8 => sql += &format!("delete from bag where x = {};", id % 10),
            9 => sql += &format!("insert into bag values ({}, repeat('b', {size}));", id % 10),
            _ => {
                sql += &format!(
                    "insert into t values ({id}, repeat('v', {size})) \
                     on conflict (id) do update set v = excluded.v;"
                );
            }
        }
    }
    sql + "commit"
}

pub(crate) async fn a_storm_of_savepoints_is_the_same_either_way(db: &Db<'_>) {
    db.sql(
        "create table t (id int primary key, v text); create table bag (x int, y text); \
         alter table bag replica identity full",
    );
    little_memory(db);
    let both = Both::attach(db).await;
    let seed = std::env::var("ROWTIDE_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(7);
    let mut rng = StdRng::seed_from_u64(seed);
    let client = client(db).await;
    for savepoints in [1_000, 40, 1] {
        client.batch_execute(&storm(&mut rng, savepoints)).await.unwrap();
        client.batch_execute("insert into bag values (-1, 'small')").await.unwrap();
    }
    let replay =
        format!("ROWTIDE_SEED={seed} cargo nextest run -p rowtide-postgres -E 'test(postgres_1)'");
    let found = both.compare(db, &replay).await;
    assert!(found.placed.len() > 500, "{}", found.placed.len());
}

pub(crate) async fn long_transactions_survive_a_restart(db: &Db<'_>) {
    db.sql("create table t (id int primary key, v text)");
    at_once(db);
    let both = Both::attach(db).await;
    let (a, b, c) = (client(db).await, client(db).await, client(db).await);
    let fill = |from: i32| {
        format!(
            "insert into t select n, repeat('x', 500) from generate_series({from}, {from} + 499) n"
        )
    };
    for one in [&a, &b, &c] {
        one.batch_execute("begin").await.unwrap();
    }
    for round in 0..4 {
        a.batch_execute(&fill(10_000 + round * 1_000)).await.unwrap();
        b.batch_execute("savepoint s").await.unwrap();
        b.batch_execute(&fill(20_000 + round * 1_000)).await.unwrap();
        if round % 2 == 0 {
            b.batch_execute("rollback to s").await.unwrap();
        }
        c.batch_execute(&fill(30_000 + round * 1_000)).await.unwrap();
        db.sql(&format!("insert into t values ({round}, 'small')"));
    }
    // All three are under way when the reader goes; another one gets everything again.
    let mut first = both.follower(1, 100_000).await;
    first.until("insert t 3|small").await;
    assert_eq!(first.placed.len(), 4, "nothing that is not committed");
    was_streamed(db).await;
    let (at, placed) = (first.at.clone(), first.placed.clone());
    drop(first);
    let free =
        format!("select not active from pg_replication_slots where slot_name = '{}'", db.slot("s"));
    wait_until("the slot to be free", || db.sql(&free) == "t").await;
    let mut rest =
        Follower::start_with(&both.sources[1], &at, &both.schema, 100_000).await.unwrap();
    c.batch_execute("rollback").await.unwrap();
    b.batch_execute("commit").await.unwrap();
    a.batch_execute("update t set v = 'y' where id < 10100; commit").await.unwrap();
    rest.catch_up(&both.sources[1]).await;
    rest.placed.extend(placed);
    let mut whole = both.follower(0, 1 << 20).await;
    whole.catch_up(&both.sources[0]).await;
    assert_eq!(rest.placed.len(), 4 + 2 * 500 + 4 * 500 + 104);
    same(&mut whole, &mut rest, "before and after the restart");
}

pub(crate) async fn a_huge_transaction_comes_in_pieces(db: &Db<'_>) {
    db.sql("create table t (id int primary key, pad text)");
    little_memory(db);
    let both = Both::attach(db).await;
    db.sql("insert into t select n, repeat('x', 100) from generate_series(1, 200000) n");
    let budget = 1 << 20;
    let mut follower = both.follower(1, budget).await;
    // Nobody asks for a while: the server must still hear from us (its patience is 6 s).
    let slow = db.server.major() == Major::V18;
    for _ in 0..3 {
        follower.step().await.unwrap();
        if slow {
            tokio::time::sleep(std::time::Duration::from_secs(3)).await;
        }
    }
    follower.catch_up(&both.sources[1]).await;
    assert!(follower.segments.iter().filter(|whole| !**whole).count() > 20);
    assert!(follower.batches.iter().all(|batch| batch.byte_size() < 2 * budget));
    let ordinals = follower.batches.iter().flat_map(|batch| batch.ordinals.iter().copied());
    assert!(ordinals.eq(0..200_000));
    follower.stream.close().await.unwrap();
    was_streamed(db).await;
}

pub(crate) async fn layouts_of_what_is_rolled_back_go_with_it(db: &Db<'_>) {
    db.sql("create table t (id int primary key, v text); create table u (id int primary key)");
    at_once(db);
    let both = Both::attach(db).await;
    let fill = |from: i32, more: &str| {
        format!(
            "insert into t select n, repeat('x', 500){more} from generate_series({from}, {from} + 299) n;"
        )
    };
    let (plain, wide) = (|from| fill(from, ""), |from| fill(from, ", 7"));
    let sql = format!(
        "begin; {} savepoint s; alter table t add column w int default 5; {} \
         alter table t drop column v; insert into t select n, 1 from generate_series(1, 2000) n; \
         rollback to s; {} commit;@ insert into t values (-1, 'plain');@ \
         begin; savepoint s; alter table t add column gone int; {} rollback to s; {} commit; \
         insert into t values (-2, 'plain');@ begin; alter table t add column gone int; {} rollback; \
         insert into t values (-3, 'plain');@ begin; {} savepoint s; \
         alter table t add column w int default 5; {} release s; {} commit; \
         insert into t values (-4, 'wide', 8)",
        plain(10_000),
        wide(20_000),
        plain(30_000),
        wide(40_000),
        plain(50_000),
        wide(60_000),
        plain(70_000),
        wide(80_000),
        wide(90_000),
    );
    // Each of them is a transaction of its own.
    let client = client(db).await;
    for transaction in sql.split('@') {
        client.batch_execute(transaction).await.unwrap();
    }
    let found = both.compare(db, "layouts").await;
    let rows = |line: &str| found.log.iter().filter(|said| said.starts_with(line)).count();
    assert_eq!(
        rows("insert t"),
        6 * 300 + 4,
        "what stands of nine times 300, and four single ones"
    );
    assert_eq!(rows("add t.w fill 5"), 1);
    assert!(!found.log.iter().any(|line| line.starts_with("stop")), "{:?}", found.schemas);
}

pub(crate) async fn truncates_cascade_in_order_with_rows(db: &Db<'_>) {
    db.sql(
        "create table parent (id int primary key, v text); \
         create table child (id int primary key, parent int references parent); \
         create table other (id int primary key, v text)",
    );
    at_once(db);
    let both = Both::attach(db).await;
    let fill = "insert into parent select n, repeat('x', 500) from generate_series(1, 500) n; \
         insert into child select n, n from generate_series(1, 500) n; \
         insert into other select n, repeat('y', 500) from generate_series(1, 500) n;";
    let sql = format!(
        "begin; {fill} truncate parent, other cascade; {fill} savepoint s; \
         truncate parent, other cascade; {fill} rollback to s; update other set v = 'z' where id = 1; \
         commit; begin; truncate parent, other cascade; {fill} commit"
    );
    client(db).await.batch_execute(&sql).await.unwrap();
    let found = both.compare(db, "truncates").await;
    let truncates: Vec<_> =
        found.placed.iter().filter(|row| row.2.starts_with("truncate")).collect();
    assert_eq!(truncates.iter().map(|row| row.1).collect::<Vec<_>>(), [1_500, 0]);
    for (_, _, line) in truncates {
        assert!(["parent", "child", "other"].iter().all(|name| line.contains(name)), "{line}");
    }
}

pub(crate) async fn prepared_ones_come_when_they_are_committed(db: &Db<'_>) {
    db.sql("create table t (id int primary key, v text)");
    at_once(db);
    let both = Both::attach(db).await;
    let fill = |from: i32| {
        format!(
            "insert into t select n, repeat('x', 500) from generate_series({from}, {from} + 499) n;"
        )
    };
    let client = client(db).await;
    for (name, from) in [("kept one", 1_000), ("gone", 2_000)] {
        let sql = format!(
            "begin; {} savepoint s; {} rollback to s; prepare transaction '{name}'",
            fill(from),
            fill(from + 500)
        );
        client.batch_execute(&sql).await.unwrap();
    }
    db.sql("insert into t values (1, 'between')");
    let mut early = both.follower(1, 1 << 20).await;
    early.catch_up(&both.sources[1]).await;
    assert_eq!(early.log, ["insert t 1|between"]);
    early.stream.close().await.unwrap();
    db.sql("rollback prepared 'gone'");
    db.sql("commit prepared 'kept one'");
    let found = both.compare(db, "prepared").await;
    assert_eq!(found.placed.len(), 501);
    assert_eq!(found.placed[0].2, "insert t 1|between");
}

pub(crate) async fn messages_between_rows_disturb_nothing(db: &Db<'_>) {
    db.sql("create table t (id int primary key, v text)");
    at_once(db);
    let both = Both::attach(db).await;
    let sql = "begin; insert into t values (1, 'a'); \
         select pg_logical_emit_message(true, 'app', repeat('m', 1000)); \
         insert into t select n, repeat('x', 500) from generate_series(10, 500) n; \
         select pg_logical_emit_message(false, 'app', repeat('m', 1000)); savepoint s; \
         select pg_logical_emit_message(true, 'rowtide', ''); \
         insert into t select n, repeat('x', 500) from generate_series(1000, 1500) n; \
         rollback to s; insert into t values (2, 'b'); commit; \
         begin; select pg_logical_emit_message(true, 'app', repeat('m', 100000)); commit; \
         begin; select pg_logical_emit_message(false, 'app', 'm'); \
         insert into t values (3, 'gone'); rollback";
    client(db).await.batch_execute(sql).await.unwrap();
    let found = both.compare(db, "messages").await;
    assert_eq!(found.placed.len(), 493);
    let (_, ordinal, line) = found.placed.last().unwrap();
    assert_eq!((*ordinal, line.as_str()), (492, "insert t 2|b"));
}

/// One pipeline, read now in one way and now in the other, whose log also has large transactions
/// that are of no concern to it; and a mark that proves the log to be the same one.
pub(crate) async fn the_protocol_may_change_at_any_restart(db: &Db<'_>) {
    db.sql("create table t (id int, v text); create schema elsewhere; create table elsewhere.u (v text)");
    at_once(db);
    let both = Both::attach(db).await;
    let other_way = db.source_with("s", |_| {});
    let client = client(db).await;
    let mut at = both.from[1].clone();
    let mut placed = Vec::new();
    for round in 0..6 {
        let sql = format!(
            "begin; insert into t select n, repeat('x', 500) from generate_series(1, 300) n; \
             savepoint s; insert into t select {round}, repeat('gone', 300); rollback to s; commit; \
             insert into t values ({round}, 'small'); \
             begin; insert into elsewhere.u select repeat('u', 500) from generate_series(1, 500); commit"
        );
        client.batch_execute(&sql).await.unwrap();
        let source = if round % 2 == 0 { &both.sources[1] } else { &other_way };
        let mut follower = Follower::start(source, &at, &both.schema).await;
        follower.catch_up(source).await;
        placed.append(&mut follower.placed);
        at = follower.at.clone();
        // Sometimes the slot knows how far we are, sometimes it lags behind.
        if round % 3 == 0 {
            follower.acknowledge();
        }
        follower.stream.close().await.unwrap();
    }
    let mut whole = both.follower(0, 1 << 20).await;
    whole.catch_up(&both.sources[0]).await;
    assert_eq!(mark(&at), mark(&whole.at));
    whole.placed.sort_by_key(|(commit, ordinal, _)| (commit.position, *ordinal));
    placed.sort_by_key(|(commit, ordinal, _)| (commit.position, *ordinal));
    assert_eq!(placed.len(), 6 * 301);
    assert!(placed == whole.placed, "not each row once");
    was_streamed(db).await;
}

pub(crate) async fn a_version_that_cannot_says_so(db: &Db<'_>) {
    db.sql("create table t (id int primary key)");
    let source = db.source_with("p", |with| with.streaming = Streaming::Parallel);
    let schema = discover(&source, &["t"]).await;
    let from = attach(&source, &schema).await.checkpoint;
    let started = Follower::start_with(&source, &from, &schema, 1 << 20).await;
    match db.server.major() {
        Major::V14 | Major::V15 => {
            let error = started.err().unwrap();
            assert_eq!(error.kind(), rowtide_core::ErrorKind::Config);
            assert!(error.hint().unwrap().contains("PostgreSQL 16"), "{error:?}");
        }
        _ => started.unwrap().stream.close().await.unwrap(),
    }
}
