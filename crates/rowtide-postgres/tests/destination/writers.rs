//! Who may write, and what is remembered.

use rowtide_core::traits::Progress;
use rowtide_core::{
    Destination, ErrorKind, MergeWrite, Phase, SourceIdentity, TableName, TablePlan, TableWrite,
};
use rowtide_postgres::{OriginUse, PostgresDestination};

use crate::support::{Db, checkpoint, commit_at, in_time, item_rows, items, state_of};

pub(crate) async fn what_is_stored_is_read_again(db: &Db<'_>) {
    let destination = db.destination();
    assert!(destination.peek(db.pipeline()).await.unwrap().is_none());
    let mut writer = destination.open(db.pipeline()).await.unwrap();
    let plan = items();
    let at = checkpoint(42);
    let identity = SourceIdentity(serde_json::json!({ "slot": "it's \"one\"" }));
    let mut state = state_of(&plan, Phase::Stopped);
    state.reason = Some("because\n'of' this".to_owned());
    state.rows_copied = 9;
    writer.remember(&state).await.unwrap();
    assert!(writer.state().await.unwrap().tables.is_empty(), "nothing is committed yet");
    let progress = Progress {
        checkpoint: Some(&at),
        identity: Some(&identity),
        error: Some("it broke"),
        restart: false,
    };
    writer.commit(progress).await.unwrap();
    writer.commit(Progress::default()).await.unwrap();
    let stored = destination.peek(db.pipeline()).await.unwrap().unwrap();
    assert_eq!(stored, writer.state().await.unwrap());
    assert_eq!(stored.checkpoint, Some(at));
    assert_eq!(stored.identity, Some(identity));
    assert_eq!(stored.tables, [state]);
    assert_eq!(stored.last_error.unwrap().1, "it broke");
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let age = i64::try_from(now.as_micros()).unwrap() - stored.updated_at.unwrap();
    assert!((0..60_000_000).contains(&age), "{age}");
    // A checkpoint does not go back.
    assert!(commit_at(&mut writer, 41).await.is_err());
    drop(writer);
    let mut writer = destination.open(db.pipeline()).await.unwrap();
    assert_eq!(writer.state().await.unwrap().fencing_epoch, stored.fencing_epoch + 1);
    db.sql("UPDATE _rowtide.format SET version = 99");
    let error = destination.peek(db.pipeline()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
}

pub(crate) async fn a_newer_writer_ends_the_older_even_inside_an_epoch(db: &Db<'_>) {
    let plan = items();
    let write = |name: &'static str| {
        let rows = item_rows(&plan, &[(1, Some(name), None)]);
        TableWrite::Merge(MergeWrite { upserts: Some(rows), ..MergeWrite::default() })
    };
    let mut older = db.begin(&plan).await;
    older.write(&plan, write("before")).await.unwrap();
    commit_at(&mut older, 5).await.unwrap();
    // It sleeps with its rows locked, and with a staging table being filled.
    older.write(&plan, write("older")).await.unwrap();
    let newer_destination = db.destination();
    let opening = newer_destination.open(db.pipeline());
    let mut newer = in_time("the newer writer", opening).await.unwrap();
    in_time("its write", newer.write(&plan, write("newer"))).await.unwrap();
    in_time("its commit", commit_at(&mut newer, 10)).await.unwrap();
    let error = in_time("the older", commit_at(&mut older, 20)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Fenced, "{}", error.chain());
    assert_eq!(db.sql("SELECT name FROM items"), "newer");
    assert_eq!(newer.state().await.unwrap().checkpoint, Some(checkpoint(10)));
    // One that is not even connected any more is told the same.
    drop(newer);
    let mut third = newer_destination.open(db.pipeline()).await.unwrap();
    third.write(&plan, write("third")).await.unwrap();
    db.sql("UPDATE _rowtide.pipelines SET fencing_epoch = fencing_epoch + 1");
    let error = commit_at(&mut third, 30).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Fenced);
    assert_eq!(db.sql("SELECT name FROM items"), "newer");
}

/// A process that is stopped after it got the right to become the writer keeps it; nobody else may
/// wait for that.
pub(crate) async fn a_writer_that_sleeps_while_becoming_one_is_passed(db: &Db<'_>) {
    drop(db.destination().open(db.pipeline()).await.unwrap());
    let words = format!("rowtide opening of {}", db.pipeline());
    let key = words.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let sleeper = format!("SELECT pg_advisory_lock({}); SELECT pg_sleep(600)", key.cast_signed());
    let url = db.server.url(&db.name);
    let psql = rowtide_sandbox::client_tool("psql").unwrap();
    let mut child = std::process::Command::new(psql)
        .args(["-X", "-q", "-d", &url, "-c", &sleeper])
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let held = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'";
    db.wait_until("the sleeper", held, "1").await;
    let destination = db.destination();
    let mut writer = in_time("the writer", destination.open(db.pipeline())).await.unwrap();
    commit_at(&mut writer, 1).await.unwrap();
    child.wait().unwrap();
}

pub(crate) async fn commits_wait_for_the_disk_whatever_the_server_says(db: &Db<'_>) {
    assert_eq!(db.sql("SHOW synchronous_commit"), "off");
    let mut writer = db.begin(&items()).await;
    let plan = items();
    let rows = item_rows(&plan, &[(1, None, None)]);
    let write = MergeWrite { upserts: Some(rows), ..MergeWrite::default() };
    writer.write(&plan, TableWrite::Merge(write)).await.unwrap();
    // The log writer of this server comes by every ten seconds only.
    let written = db.sql("SELECT pg_current_wal_insert_lsn()");
    commit_at(&mut writer, 1).await.unwrap();
    assert_eq!(db.sql(&format!("SELECT pg_current_wal_flush_lsn() >= '{written}'")), "t");
}

pub(crate) async fn what_is_written_bears_an_origin(db: &Db<'_>) {
    let mut writer = db.begin(&items()).await;
    let place = format!(
        "SELECT local_lsn FROM pg_replication_origin_status WHERE external_id = 'rowtide_{}@{}'",
        db.pipeline(),
        db.name
    );
    let before = db.sql(&place);
    assert_ne!(before, "");
    let plan = items();
    let rows = item_rows(&plan, &[(1, None, None)]);
    let write = MergeWrite { upserts: Some(rows), ..MergeWrite::default() };
    writer.write(&plan, TableWrite::Merge(write)).await.unwrap();
    commit_at(&mut writer, 1).await.unwrap();
    assert_ne!(db.sql(&place), before);
    drop(writer);
    // Without the right, a pipeline goes on without it unless it is required.
    db.sql(
        "CREATE ROLE plain LOGIN; GRANT ALL ON DATABASE what_is_written_bears_an_origin TO plain",
    );
    for (origin, kind) in [
        (OriginUse::Auto, None),
        (OriginUse::Off, None),
        (OriginUse::Required, Some(ErrorKind::Access)),
    ] {
        let mut options = db.options();
        options.user = Some("plain".to_owned());
        options.origin = origin;
        db.sql("DROP SCHEMA IF EXISTS _rowtide CASCADE");
        let opened = PostgresDestination::new(options).open("other").await;
        assert_eq!(opened.as_ref().err().map(rowtide_core::Error::kind), kind, "{origin:?}");
    }
    db.sql("DROP OWNED BY plain; DROP ROLE plain");
}

pub(crate) async fn teardown_removes_what_was_made_and_nothing_else(db: &Db<'_>) {
    let destination = db.destination();
    assert!(destination.teardown(db.pipeline()).await.unwrap().is_empty());
    let plan = items();
    let mut writer = db.begin(&plan).await;
    drop(destination.open("other").await.unwrap());
    db.sql("CREATE TABLE mine (id int)");
    // Remembered before its copy: the table of that name is not the pipeline's.
    let foreign = TablePlan { target: TableName::new("public", "mine"), ..items() };
    let foreign = foreign.with_source(std::sync::Arc::new(rowtide_core::TableSchema {
        name: TableName::new("public", "elsewhere"),
        id: 99,
        ..(*foreign.source).clone()
    }));
    db.sql(&format!(
        "INSERT INTO _rowtide.tables SELECT pipeline, 'public', 'elsewhere', 'public', 'mine', \
         NULL, 'copying', 0, NULL, state FROM _rowtide.tables WHERE pipeline = '{}'",
        db.pipeline()
    ));
    drop(destination.load(db.pipeline(), &foreign, 1).await.err().unwrap());
    let staged = TablePlan { target: TableName::new("public", "later"), ..foreign };
    db.sql("DELETE FROM _rowtide.tables WHERE source_table = 'elsewhere'");
    drop(destination.load(db.pipeline(), &staged, 2).await.unwrap());
    // A view of the user's keeps everything from going.
    db.sql("CREATE VIEW seen AS SELECT * FROM items");
    let error = destination.teardown(db.pipeline()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::SchemaDrift);
    assert!(error.hint().unwrap().contains("views"), "{error:?}");
    assert_eq!(db.sql("SELECT count(*) FROM items"), "0");
    db.sql("DROP VIEW seen");
    let removed = destination.teardown(db.pipeline()).await.unwrap();
    assert!(removed.contains(&"table public.items".to_owned()), "{removed:?}");
    assert!(removed.iter().any(|what| what.contains("staging")), "{removed:?}");
    assert_eq!(commit_at(&mut writer, 9).await.unwrap_err().kind(), ErrorKind::Fenced);
    let left = "SELECT string_agg(relname, ',' ORDER BY relname) FROM pg_class \
         WHERE relkind IN ('r', 'v') AND relnamespace = 'public'::regnamespace";
    assert_eq!(db.sql(left), "mine");
    assert!(destination.peek("other").await.unwrap().is_some());
    let removed = destination.teardown("other").await.unwrap();
    assert!(removed.contains(&"schema _rowtide".to_owned()), "{removed:?}");
    assert_eq!(
        db.sql("SELECT count(*) FROM pg_replication_origin WHERE roname LIKE '%teardown%'"),
        "0"
    );
    assert!(destination.peek("other").await.unwrap().is_none());
}

/// A database that an older Rowtide wrote to has no ledger. Who opens it makes one, and who only
/// removes a pipeline needs none.
pub(crate) async fn state_of_an_older_version_is_taken_over(db: &Db<'_>) {
    let destination = db.destination();
    let ledger = "SELECT count(*) FROM pg_class WHERE relname = 'schema_history' \
         AND relnamespace = '_rowtide'::regnamespace";
    drop(db.begin(&items()).await);
    for opened in [true, false] {
        db.sql("DROP TABLE _rowtide.schema_history");
        if opened {
            drop(destination.open(db.pipeline()).await.unwrap());
            assert_eq!(db.sql(ledger), "1");
        }
    }
    let removed = destination.teardown(db.pipeline()).await.unwrap();
    assert!(removed.contains(&"schema _rowtide".to_owned()), "{removed:?}");
}
