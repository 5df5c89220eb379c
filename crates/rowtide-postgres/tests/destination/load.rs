//! Copying tables into staging and putting them in place.

use std::time::Instant;

use rowtide_core::traits::Loader;
use rowtide_core::{Destination, ErrorKind, MergeWrite, Phase, TableName, TablePlan, TableWrite};
use rowtide_postgres::PostgresDestination;

use crate::support::{Db, PATIENCE, commit_at, in_time, item_rows, items, state_of};

pub(crate) const STAGING: &str =
    "SELECT count(*) FROM pg_class WHERE relkind = 'r' AND relname LIKE '\\_\\_rowtide\\_staging%'";

/// Loads `ids` for `plan` in two lanes.
pub(crate) async fn load(
    destination: &PostgresDestination,
    pipeline: &str,
    (plan, ids): (&TablePlan, std::ops::Range<i64>),
) {
    let mut lanes = destination.load(pipeline, plan, 2).await.unwrap();
    assert_eq!(lanes.len(), 2);
    for id in ids {
        let lane: &mut Box<dyn Loader> = &mut lanes[usize::try_from(id).unwrap() % 2];
        lane.write(item_rows(plan, &[(id, Some("copied"), None)])).await.unwrap();
    }
    for lane in lanes {
        lane.finish().await.unwrap();
    }
}

pub(crate) async fn a_copy_is_put_in_place_and_followed(db: &Db<'_>) {
    let plan = TablePlan { target: TableName::new("Other", "my items"), ..items() };
    let destination = db.destination();
    let mut writer = destination.open(db.pipeline()).await.unwrap();
    writer.remember(&state_of(&plan, Phase::Copying)).await.unwrap();
    commit_at(&mut writer, 1).await.unwrap();
    load(&destination, db.pipeline(), (&plan, 0..100)).await;
    writer.promote(&plan).await.unwrap();
    writer.remember(&state_of(&plan, Phase::Streaming)).await.unwrap();
    // What was kept aside meanwhile follows in the same epoch.
    let rows = item_rows(&plan, &[(5, Some("replayed"), None)]);
    let write = MergeWrite { upserts: Some(rows), ..MergeWrite::default() };
    writer.write(&plan, TableWrite::Merge(write)).await.unwrap();
    let there = "SELECT to_regclass('\"Other\".\"my items\"') IS NOT NULL";
    assert_eq!(db.sql(there), "f", "not before the commit");
    commit_at(&mut writer, 2).await.unwrap();
    let counts =
        "SELECT count(*), count(*) FILTER (WHERE name = 'replayed') FROM \"Other\".\"my items\"";
    assert_eq!(db.sql(counts), "100|1");
    let key = "SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint \
         WHERE conrelid = '\"Other\".\"my items\"'::regclass AND contype = 'p'";
    assert_eq!(db.sql(key), "my items_pkey|PRIMARY KEY (id)");
    assert_eq!(db.sql(STAGING), "0");
    let owner = "SELECT mode, phase FROM _rowtide.tables";
    assert_eq!(db.sql(owner), "merge|streaming");
}

pub(crate) async fn leftovers_of_older_runs_are_dropped(db: &Db<'_>) {
    let plan = items();
    let older = db.destination();
    let _older_writer = older.open(db.pipeline()).await.unwrap();
    let mut asleep = older.load(db.pipeline(), &plan, 2).await.unwrap();
    asleep[0].write(item_rows(&plan, &[(666, None, None)])).await.unwrap();
    assert_eq!(db.sql(STAGING), "1");
    let newer = db.destination();
    let mut writer = in_time("the newer", newer.open(db.pipeline())).await.unwrap();
    // The older can neither load nor finish, and its rows are nowhere.
    let error = older.load(db.pipeline(), &plan, 1).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Fenced);
    in_time("the load", load(&newer, db.pipeline(), (&plan, 0..10))).await;
    assert_eq!(db.sql(STAGING), "1");
    for lane in asleep {
        drop(lane.finish().await);
    }
    writer.promote(&plan).await.unwrap();
    writer.remember(&state_of(&plan, Phase::Streaming)).await.unwrap();
    commit_at(&mut writer, 1).await.unwrap();
    assert_eq!(db.sql("SELECT count(*), max(id) FROM items"), "10|9");
    // A load that was broken off in the same run is begun anew.
    let mut lanes = newer.load(db.pipeline(), &plan, 1).await.unwrap();
    lanes[0].write(item_rows(&plan, &[(1, None, None)])).await.unwrap();
    drop(lanes);
    in_time("the load", load(&newer, db.pipeline(), (&plan, 0..20))).await;
    writer.promote(&plan).await.unwrap();
    commit_at(&mut writer, 2).await.unwrap();
    assert_eq!(db.sql("SELECT count(*), max(id) FROM items"), "20|19");
    assert_eq!(db.sql(STAGING), "0");
}

pub(crate) async fn foreign_tables_are_refused(db: &Db<'_>) {
    let plan = items();
    let destination = db.destination();
    db.sql("CREATE TABLE items (id int); INSERT INTO items VALUES (1)");
    let mut writer = destination.open(db.pipeline()).await.unwrap();
    writer.remember(&state_of(&plan, Phase::Copying)).await.unwrap_err();
    let mut writer = destination.open(db.pipeline()).await.unwrap();
    let error = destination.load(db.pipeline(), &plan, 1).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.hint().unwrap().contains("is the source itself"), "{error:?}");
    assert_eq!(writer.promote(&plan).await.unwrap_err().kind(), ErrorKind::Config);
    let removed = destination.teardown(db.pipeline()).await.unwrap();
    assert!(!removed.iter().any(|what| what.contains("items")), "{removed:?}");
    assert_eq!(db.sql("SELECT * FROM items"), "1");
    // Views and sequences stand in the way as well.
    db.sql("DROP TABLE items; CREATE SEQUENCE items");
    drop(destination.open(db.pipeline()).await.unwrap());
    let error = destination.load(db.pipeline(), &plan, 1).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Config);
    db.sql("DROP SEQUENCE items");
    // What another pipeline made is its own.
    let mut other = destination.open("other").await.unwrap();
    other.promote(&plan).await.unwrap();
    other.remember(&state_of(&plan, Phase::Streaming)).await.unwrap();
    commit_at(&mut other, 1).await.unwrap();
    let error = destination.load(db.pipeline(), &plan, 1).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.message().contains("\"other\""), "{}", error.message());
}

/// The sessions that are known as a pipeline's.
const SESSIONS: &str = "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 1 \
     AND mode = 'ShareLock' AND granted ORDER BY pid";

pub(crate) async fn sessions_go_from_one_load_to_the_next(db: &Db<'_>) {
    let plan = items();
    let destination = db.destination();
    let writer = destination.open(db.pipeline()).await.unwrap();
    let of_writer = db.sql(SESSIONS);
    let deadline = Instant::now() + PATIENCE;
    let mut before = String::new();
    // A session is kept for a moment only, which a busy machine may miss.
    loop {
        let lanes = destination.load(db.pipeline(), &plan, 1).await.unwrap();
        let sessions = db.sql(SESSIONS);
        let mut others = sessions.lines().filter(|pid| *pid != of_writer);
        let (Some(loader), None) = (others.next(), others.next()) else {
            panic!("one lane has one session: {sessions:?}, the writer's is {of_writer}");
        };
        for lane in lanes {
            lane.finish().await.unwrap();
        }
        assert_eq!(db.sql(SESSIONS), of_writer, "one that nobody uses is no pipeline's");
        if loader == before {
            break;
        }
        assert!(Instant::now() < deadline, "no load ever took the session of the one before");
        loader.clone_into(&mut before);
    }
    drop(writer);
}

pub(crate) async fn a_copy_is_known_to_the_planner(db: &Db<'_>) {
    let plan = items();
    let destination = db.destination();
    let mut writer = destination.open(db.pipeline()).await.unwrap();
    let mut lanes = destination.load(db.pipeline(), &plan, 1).await.unwrap();
    let not_null = "SELECT string_agg(attname, ',') FROM pg_attribute a \
         JOIN pg_class c ON c.oid = a.attrelid AND c.relname LIKE '\\_\\_rowtide\\_staging%' \
         WHERE attnum > 0 AND attnotnull";
    assert_eq!(db.sql(not_null), "id", "before there is a row that would have to be read");
    lanes[0].write(item_rows(&plan, &[(1, Some("one"), None), (2, None, None)])).await.unwrap();
    for lane in lanes {
        lane.finish().await.unwrap();
    }
    writer.promote(&plan).await.unwrap();
    commit_at(&mut writer, 1).await.unwrap();
    let known = "SELECT (SELECT count(*) FROM pg_stats WHERE tablename = 'items') = count(*), \
         (SELECT reltuples FROM pg_class WHERE oid = 'items'::regclass) \
         FROM pg_attribute WHERE attrelid = 'items'::regclass AND attnum > 0";
    assert_eq!(db.sql(known), "t|2");
}
