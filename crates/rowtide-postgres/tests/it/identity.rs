//! Attaching: first, again, and to something that is no longer what it was.

use std::sync::Arc;

use rowtide_core::traits::AttachRequest;
use rowtide_core::{Checkpoint, ErrorKind, Mode, Offset, Source, TableSchema};
use rowtide_postgres::PostgresSource;
use rowtide_sandbox::Major;

use crate::follower::Follower;
use crate::harness::{Db, attach, attach_as, discover, in_time, wait_until};

pub(crate) async fn what_was_made_is_found_again(db: &Db<'_>) {
    db.sql("create table t (id int primary key); create table k (v int)");
    let source = db.source("p");
    let schema = discover(&source, &["*.*"]).await;
    let first = attach(&source, &schema).await;
    assert!(first.added.is_empty());
    let again = attach_as(&source, &schema, Some((&first.identity, Some(&first.checkpoint))));
    let again = again.await.unwrap();
    assert_eq!(again.identity, first.identity);
    assert_eq!(again.checkpoint, first.checkpoint);
    assert!(again.added.is_empty());
    // Someone who knows nothing must not take it over.
    let error = attach_as(&source, &schema, None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.hint().unwrap().contains("pg_drop_replication_slot"));
    let removed = source.operations().release().await.unwrap();
    assert_eq!(removed.len(), 3, "{removed:?}");
    assert!(source.operations().release().await.unwrap().is_empty());
    let error = attach_as(&source, &schema, Some((&first.identity, Some(&first.checkpoint))));
    assert_eq!(error.await.unwrap_err().kind(), ErrorKind::PositionLost);
}

pub(crate) async fn tampering_is_a_lost_position(db: &Db<'_>) {
    db.sql("create table t (id int primary key)");
    let source = db.source("p");
    let schema = discover(&source, &["t"]).await;
    let first = attach(&source, &schema).await;
    let lost = async |checkpoint: &Checkpoint, words: &str| {
        let known = Some((&first.identity, Some(checkpoint)));
        let error = attach_as(&source, &schema, known).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PositionLost, "{error}");
        assert!(error.message().contains(words), "{error}");
        assert!(error.hint().is_some());
    };
    // The server went back in time.
    let ahead = Checkpoint::single("postgres".into(), Offset(u64::MAX / 2));
    lost(&ahead, "restored to an earlier state").await;
    // The publication was made anew: 18 would skip what lies between without a word.
    let publication = format!("\"rowtide_{}\"", db.pipeline("p"));
    db.sql(&format!("alter publication {publication} rename to aside"));
    lost(&first.checkpoint, "no longer exists").await;
    db.sql(&format!("create publication {publication} for table t"));
    lost(&first.checkpoint, "made anew").await;
    db.sql(&format!(
        "drop publication {publication}; alter publication aside rename to {publication}"
    ));
    // Someone moved the slot.
    let slot = db.slot("p");
    db.sql("insert into t values (1)");
    db.sql(&format!("select pg_replication_slot_advance('{slot}', pg_current_wal_lsn())"));
    lost(&first.checkpoint, "someone else moved it").await;
    db.sql(&format!("select pg_drop_replication_slot('{slot}')"));
    lost(&first.checkpoint, "no longer exists").await;
    db.sql(&format!("select pg_create_physical_replication_slot('{slot}')"));
    lost(&first.checkpoint, "not one of the plugin pgoutput").await;
    db.sql(&format!("select pg_drop_replication_slot('{slot}')"));
    // Another server, another database.
    let mut identity = first.identity.clone();
    identity.0["system_identifier"] = "1".into();
    let known = Some((&identity, Some(&first.checkpoint)));
    let error = attach_as(&source, &schema, known).await.unwrap_err();
    assert!(error.message().contains("another server"), "{error}");
    let mut identity = first.identity.clone();
    identity.0["database"] = serde_json::json!([1, "other"]);
    let known = Some((&identity, Some(&first.checkpoint)));
    let error = attach_as(&source, &schema, known).await.unwrap_err();
    assert!(error.message().contains("another database"), "{error}");
}

pub(crate) async fn leftovers_are_made_anew(db: &Db<'_>) {
    db.sql("create table t (id int primary key)");
    let source = db.source("p");
    let schema = discover(&source, &["t"]).await;
    let intent = source.operations().intent();
    let first = attach_as(&source, &schema, Some((&intent, None))).await.unwrap();
    // A crash before the checkpoint was stored: only the intent is known.
    db.sql("insert into t values (1)");
    let second = attach_as(&source, &schema, Some((&intent, None))).await.unwrap();
    assert!(second.checkpoint.covers(&first.checkpoint));
    assert_ne!(second.identity, first.identity);
    let mut follower = Follower::start(&source, &second.checkpoint, &schema).await;
    db.sql("insert into t values (2)");
    follower.catch_up(&source).await;
    assert_eq!(follower.log, ["insert t 2"]);
}

pub(crate) async fn tables_come_and_go(db: &Db<'_>) {
    db.sql(
        "create table a (id int primary key); create table b (id int primary key); \
         create table k (v int)",
    );
    let source = db.source("p");
    let a = discover(&source, &["a"]).await;
    let all = discover(&source, &["a", "b", "k"]).await;
    let first = attach(&source, &a).await;
    // Decoded with the catalog of its time: both publications must have been there by then.
    db.sql("insert into a values (0)");
    let known = Some((&first.identity, Some(&first.checkpoint)));
    let second = attach_as(&source, &all, known).await.unwrap();
    let added: Vec<_> = second.added.iter().map(|name| name.name.to_string()).collect();
    assert_eq!(added, ["b", "k"]);
    db.sql("insert into a values (1); insert into b values (1); insert into k values (1); update k set v = 2");
    let mut follower = Follower::start(&source, &second.checkpoint, &all).await;
    follower.catch_up(&source).await;
    follower.log.sort();
    assert_eq!(follower.log, ["insert a 0", "insert a 1", "insert b 1", "insert k 1"]);
    let at = follower.at.clone();
    follower.stream.close().await.unwrap();
    let known = Some((&second.identity, Some(&at)));
    let third = attach_as(&source, &all[1..2], known).await.unwrap();
    assert!(third.added.is_empty());
    let tables = format!(
        "select string_agg(tablename, ',') from pg_publication_tables where pubname = 'rowtide_{}'",
        db.pipeline("p")
    );
    assert_eq!(db.sql(&tables), "b");
    let known = Some((&third.identity, Some(&at)));
    let fourth = attach_as(&source, &all, known).await.unwrap();
    assert_eq!(fourth.added.len(), 2);
}

pub(crate) async fn a_given_publication_is_left_alone(db: &Db<'_>) {
    db.sql(
        "create table a (id int primary key); create table b (id int primary key); \
         create publication \"given, one\" for table a",
    );
    let source = db.source_with("p", |options| options.publication = Some("given, one".into()));
    let all = discover(&source, &["a", "b"]).await;
    let error = attach_as(&source, &all, None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert_eq!(
        error.hint().unwrap(),
        "ALTER PUBLICATION \"given, one\" ADD TABLE \"public\".\"b\";"
    );
    let first = attach(&source, &all[..1]).await;
    db.sql("insert into a values (1)");
    let mut follower = Follower::start(&source, &first.checkpoint, &all[..1]).await;
    follower.catch_up(&source).await;
    assert_eq!(follower.log, ["insert a 1"]);
    follower.stream.close().await.unwrap();
    let removed = source.operations().release().await.unwrap();
    assert_eq!(removed.len(), 1, "the publication stays: {removed:?}");
    assert_eq!(db.sql("select count(*) from pg_publication where pubname = 'given, one'"), "1");

    // Without the option, a publication that happens to have our name is not touched.
    let unasked = db.source("q");
    db.sql(&format!("create publication \"rowtide_{}\"", db.pipeline("q")));
    let error = attach_as(&unasked, &all, None).await.unwrap_err();
    assert!(error.message().contains("was not made by this pipeline"), "{error}");
    assert_eq!(
        db.sql("select count(*) from pg_replication_slots where database = current_database()"),
        "0"
    );
}

pub(crate) async fn a_second_reader_is_told_to_wait(db: &Db<'_>) {
    db.sql("create table t (id int primary key)");
    let source = db.source("p");
    let schema = discover(&source, &["t"]).await;
    let first = attach(&source, &schema).await;
    let follower = Follower::start(&source, &first.checkpoint, &schema).await;
    let second = Follower::start_with(&source, &first.checkpoint, &schema, 1 << 20).await;
    let error = second.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    let error = source.operations().release().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    follower.stream.close().await.unwrap();

    // The table itself is checked as well: gone since it was discovered, it is looked up again.
    db.sql("drop table t");
    let tables: Vec<_> = schema.iter().map(|table| (table.clone(), Mode::Merge)).collect();
    let known = Some((&first.identity, Some(&first.checkpoint)));
    let error = source.attach(AttachRequest { tables: &tables, known }).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
}

/// Making a slot waits for transactions that write. Who makes it wait is named, and giving up
/// leaves no slot behind that would hold the log.
pub(crate) async fn a_slot_that_has_to_wait_names_who_it_waits_for(db: &Db<'_>) {
    db.sql("create table t (id int primary key)");
    let source = db.source_with("p", |options| {
        options.slot_timeout =
            Some(rowtide_postgres::Interval::new(std::time::Duration::from_secs(1)));
    });
    let schema = discover(&source, &["t"]).await;
    let blocker = source.connect_sql().await.unwrap();
    blocker.batch_execute("begin; insert into public.t values (1)").await.unwrap();
    let pid: i32 = blocker.query_one("select pg_backend_pid()", &[]).await.unwrap().get(0);
    let error = attach_as(&source, &schema, None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(error.message().contains(&format!("pid {pid} ")), "{error}");
    let left =
        format!("select count(*) from pg_replication_slots where slot_name = '{}'", db.slot("p"));
    wait_until("the half-made slot to vanish", || db.sql(&left) == "0").await;
    blocker.batch_execute("commit").await.unwrap();
    // A prepared transaction has no session; the slot waits for it all the same.
    db.sql("begin; insert into t values (2); prepare transaction 'a forgotten one'");
    let error = attach_as(&source, &schema, None).await.unwrap_err();
    let told = "prepared transaction 'a forgotten one' (postgres, in ";
    assert!(error.message().contains(told), "{error}");
    assert!(error.hint().unwrap().contains("ROLLBACK PREPARED"), "{error:?}");
    wait_until("the half-made slot to vanish", || db.sql(&left) == "0").await;
    db.sql("commit prepared 'a forgotten one'");
    attach(&source, &schema).await;
}

/// Someone took a table out of the publication and added it again: changes are missing.
pub(crate) async fn a_table_that_was_away_is_copied_again(db: &Db<'_>) {
    db.sql("create table t (id int primary key); create table u (id int primary key)");
    let source = db.source("p");
    let schema = discover(&source, &["*.*"]).await;
    let first = attach(&source, &schema).await;
    let publication = format!("\"rowtide_{}\"", db.pipeline("p"));
    db.sql(&format!("alter publication {publication} drop table t"));
    db.sql("insert into t values (1)");
    db.sql(&format!("alter publication {publication} add table t"));
    let known = Some((&first.identity, Some(&first.checkpoint)));
    let second = attach_as(&source, &schema, known).await.unwrap();
    assert_eq!(second.added, [schema[0].name.clone()]);
    let known = Some((&second.identity, Some(&second.checkpoint)));
    let third = attach_as(&source, &schema, known).await.unwrap();
    assert!(third.added.is_empty(), "{:?}", third.added);

    // A publication of all tables has no entries.
    db.sql("create publication everything for all tables");
    let given = db.source_with("q", |options| options.publication = Some("everything".into()));
    let first = attach(&given, &schema).await;
    let known = Some((&first.identity, Some(&first.checkpoint)));
    assert!(attach_as(&given, &schema, known).await.unwrap().added.is_empty());

    // An entry may be that of a whole schema.
    if db.server.major() >= Major::V15 {
        db.sql("create publication whole for tables in schema public");
        let given = db.source_with("r", |options| options.publication = Some("whole".into()));
        let first = attach(&given, &schema).await;
        let known = Some((&first.identity, Some(&first.checkpoint)));
        db.sql("alter publication whole add table t");
        assert!(attach_as(&given, &schema, known).await.unwrap().added.is_empty());
        db.sql("alter publication whole drop tables in schema public");
        db.sql("alter publication whole add tables in schema public");
        let second = attach_as(&given, &schema, known).await.unwrap();
        assert_eq!(second.added.len(), 2, "{:?}", second.added);
    }
}

/// Narrowed for a while, when nobody looked: as bad as gone.
pub(crate) async fn an_alteration_taken_back_is_a_lost_position(db: &Db<'_>) {
    db.sql("create table t (id int primary key)");
    let source = db.source("p");
    let schema = discover(&source, &["t"]).await;
    let first = attach(&source, &schema).await;
    let known = Some((&first.identity, Some(&first.checkpoint)));
    let publication = format!("\"rowtide_{}\"", db.pipeline("p"));
    // What takes nothing away is no loss.
    db.sql("create role keeper superuser");
    db.sql(&format!("alter publication {publication} owner to keeper"));
    let second = attach_as(&source, &schema, known).await.unwrap();
    let known = Some((&second.identity, Some(&second.checkpoint)));
    db.sql(&format!("alter publication {publication} set (publish = 'insert')"));
    db.sql(&format!(
        "alter publication {publication} set (publish = 'insert, update, delete, truncate')"
    ));
    let error = attach_as(&source, &schema, known).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PositionLost, "{error}");
    assert!(error.message().contains("altered back"), "{error}");
    // The same between attaching and reading the log.
    let started = Follower::start_with(&source, &first.checkpoint, &schema, 1 << 20).await;
    assert_eq!(started.err().unwrap().kind(), ErrorKind::PositionLost);
    db.sql(&format!("alter publication {publication} owner to current_user"));
    db.sql("drop role keeper");
}

/// What is taken away from a publication while its log is read.
pub(crate) async fn a_gap_in_a_publication_ends_the_stream(db: &Db<'_>) {
    db.sql(
        "create table t (id int primary key); create table u (id int primary key); \
         create publication everything for all tables",
    );
    let (narrowed, without) = (db.source("p"), db.source("q"));
    let given = db.source_with("r", |options| options.publication = Some("everything".into()));
    let schema = discover(&given, &["*.*"]).await;
    let mut followers = Vec::new();
    let mut attached = Vec::new();
    for source in [&narrowed, &without, &given] {
        let first = attach(source, &schema).await;
        followers.push(Follower::start(source, &first.checkpoint, &schema).await);
        attached.push(first);
    }
    let [p, q] = ["p", "q"].map(|name| format!("\"rowtide_{}\"", db.pipeline(name)));
    db.sql(&format!("alter publication {p} set (publish = 'insert, delete, truncate')"));
    db.sql(&format!("alter publication {q} drop table u"));
    db.sql("insert into t values (1); insert into u values (1)");
    db.sql(&format!("alter publication {q} add table only u"));
    db.sql("insert into u values (2)");
    let mut errors = Vec::new();
    for follower in &mut followers[..2] {
        errors.push(loop {
            if let Err(error) = follower.step().await {
                break error;
            }
        });
    }
    assert_eq!(errors[0].kind(), ErrorKind::PositionLost, "{}", errors[0]);
    assert!(errors[0].message().contains("every kind of change"), "{}", errors[0]);
    assert_eq!(errors[1].kind(), ErrorKind::Unavailable, "{}", errors[1]);
    assert!(errors[1].message().contains("taken out of its publication"), "{}", errors[1]);
    // A publication of everything has no entries that could go.
    followers[2].catch_up(&given).await;
    assert_eq!(followers[2].log.len(), 3, "{:?}", followers[2].log);
    // What only ends the stream is found by attaching again.
    drop(followers);
    let known = Some((&attached[1].identity, Some(&attached[1].checkpoint)));
    let again = attach_as(&without, &schema, known).await.unwrap();
    assert_eq!(again.added, [schema[1].name.clone()]);
}

/// Waiting for a lock holds up whoever comes after: it ends soon, and says who is in the way.
pub(crate) async fn a_locked_table_names_who_holds_it(db: &Db<'_>) {
    db.sql("create table t (id int primary key)");
    let source = db.source("p");
    let schema = discover(&source, &["t"]).await;
    let blocker = source.connect_sql().await.unwrap();
    blocker.batch_execute("begin; lock table public.t in share mode").await.unwrap();
    let pid: i32 = blocker.query_one("select pg_backend_pid()", &[]).await.unwrap().get(0);
    let error = in_time("the lock", attach_as(&source, &schema, None)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(error.message().contains(&format!("pid {pid} ")), "{error}");
    assert_eq!(db.sql("select count(*) from pg_publication"), "0");
    blocker.batch_execute("commit").await.unwrap();
    attach(&source, &schema).await;
}

/// From 18 on the server skips a missing publication without a word.
pub(crate) async fn a_publication_that_vanishes_ends_the_stream(db: &Db<'_>) {
    db.sql("create table t (id int primary key)");
    let source = db.source("p");
    let schema = discover(&source, &["t"]).await;
    let first = attach(&source, &schema).await;
    let mut follower = Follower::start(&source, &first.checkpoint, &schema).await;
    db.sql("insert into t values (1)");
    follower.catch_up(&source).await;
    let publication = format!("\"rowtide_{}\"", db.pipeline("p"));
    db.sql(&format!(
        "drop publication {publication}; create publication {publication} for table t"
    ));
    let error = loop {
        if let Err(error) = follower.step().await {
            break error;
        }
    };
    assert_eq!(error.kind(), ErrorKind::PositionLost, "{error}");
    assert!(error.message().contains("made anew"), "{error}");
    assert!(error.hint().unwrap().contains("resync"));
    drop(follower);
    db.sql(&format!("drop publication {publication}"));
    let again = Follower::start_with(&source, &first.checkpoint, &schema, 1 << 20).await;
    assert_eq!(again.err().unwrap().kind(), ErrorKind::PositionLost);
}

/// A checkpoint bears the last transaction before it. A log that has another one there is not the
/// one that was followed, and hears nothing from us; the same log goes on, whatever it changed.
pub(crate) async fn only_the_same_log_is_gone_on_with(db: &Db<'_>) {
    db.sql("create table t (id int primary key); create table u (id int primary key)");
    let source = db.source("p");
    let schema = discover(&source, &["*.*"]).await;
    let first = attach(&source, &schema).await;
    let mut follower = Follower::start(&source, &first.checkpoint, &schema).await;
    db.sql("insert into t values (1)");
    db.sql("alter table t add column v int");
    db.sql("insert into t values (2, 2)");
    follower.catch_up(&source).await;
    let before = (follower.at.clone(), vec![follower.schemas["t"].clone(), schema[1].clone()]);
    // Nothing of this was acknowledged.
    drop(follower);
    let confirmed = format!(
        "select confirmed_flush_lsn from pg_replication_slots where slot_name = '{}'",
        db.slot("p")
    );
    let stands = db.sql(&confirmed);
    let (at, tables) = &before;
    let mark = at.mark(&"postgres".into()).unwrap();
    let parts: Vec<&str> = mark.rsplitn(4, '/').collect();
    let [origin, time, xid, position] = parts[..] else { panic!("{mark}") };
    let others = [
        format!("{position}/{xid}/1{time}/{origin}"),
        format!("{position}/1{xid}/{time}/{origin}"),
        format!("0/10/{xid}/{time}/{origin}"),
        format!("0/0/0/0/{origin}"),
    ];
    for other in &others {
        let from = Checkpoint::marked("postgres".into(), at.position(), other);
        let mut follower = started(&source, &from, tables).await;
        let error = follower.step().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PositionLost, "{other}: {error}");
        assert!(error.message().contains("history"), "{error}");
        assert!(error.hint().unwrap().contains("resync"), "{error}");
        follower.stream.close().await.unwrap();
        assert_eq!(db.sql(&confirmed), stands, "{other}");
    }
    db.sql("insert into t values (3, 3); insert into u values (3)");
    let mut follower = started(&source, at, tables).await;
    follower.catch_up(&source).await;
    follower.log.sort();
    assert_eq!(follower.log, ["insert t 3|3", "insert u 3"]);
    // What is durable is acknowledged again.
    wait_until("the slot to move", || db.sql(&confirmed) != stands).await;
    // An idle log moves on with the mark it has.
    db.sql("select pg_switch_wal()");
    follower.catch_up(&source).await;
    let (at, durable) = (follower.at.clone(), follower.durable.clone());
    durable.send_replace(at.clone());
    follower.stream.close().await.unwrap();
    let mut follower = started(&source, &at, tables).await;
    db.sql("insert into t values (4, 4)");
    follower.catch_up(&source).await;
    assert_eq!(follower.log, ["insert t 4|4"]);
}

/// A slot is free a moment after the stream before was dropped.
async fn started(
    source: &PostgresSource,
    from: &Checkpoint,
    tables: &[Arc<TableSchema>],
) -> Follower {
    loop {
        match Follower::start_with(source, from, tables, 1 << 20).await {
            Ok(follower) => return follower,
            Err(error) => assert!(error.kind().is_transient(), "{error}"),
        }
    }
}
