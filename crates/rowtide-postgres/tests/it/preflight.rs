//! What `check` finds before anything runs, and that its advice works.

use rowtide_core::traits::AttachRequest;
use rowtide_core::{ErrorKind, Finding, Mode, Severity, Source, TableName, TableSelection};
use rowtide_postgres::{PostgresOptions, PostgresSource};
use rowtide_sandbox::testing::start_or_skip;
use rowtide_sandbox::{Major, ServerOptions};

use crate::harness::{Db, discover};

async fn findings(source: &PostgresSource, patterns: &[&str]) -> Vec<Finding> {
    let selection = TableSelection::parse(patterns.iter().copied()).unwrap();
    source.preflight(&selection, &merge).await.unwrap()
}

fn merge(_: &TableName) -> Mode {
    Mode::Merge
}

fn errors(findings: &[Finding]) -> Vec<&Finding> {
    findings.iter().filter(|finding| finding.severity == Severity::Error).collect()
}

pub(crate) async fn findings_name_the_fix(db: &Db<'_>) {
    db.sql(
        "create table good (id int primary key, v int, twice int generated always as (v * 2) stored); \
         create table keyless (v int); create unlogged table fleeting (id int primary key); \
         create table late (id int primary key deferrable); \
         create schema private; create table private.secret (id int primary key); \
         alter table private.secret enable row level security; \
         create role limited login",
    );
    let source = db.source("p");
    let all = findings(&source, &["good"]).await;
    assert!(errors(&all).is_empty(), "{all:#?}");
    // The log has generated columns from version 18 on.
    let named = all.iter().any(|finding| finding.message.contains("twice"));
    assert_eq!(named, db.server.major() < Major::V18, "{all:#?}");
    assert!(all.iter().any(|f| f.fix.as_ref().is_some_and(|fix| fix.contains("CREATE ROLE"))));

    let all = findings(&source, &["public.*", "private.*", "nowhere"]).await;
    let named: Vec<_> = errors(&all).iter().map(|finding| finding.subject.as_str()).collect();
    assert_eq!(named, ["public.keyless", "public.late", "public.nowhere"], "{all:#?}");
    let keyless = errors(&all)[0].fix.clone().unwrap();
    assert!(keyless.contains("ALTER TABLE \"public\".\"keyless\" REPLICA IDENTITY FULL"));
    let full = "alter table keyless replica identity full; alter table late replica identity full";
    db.sql(full);
    assert!(errors(&findings(&source, &["public.*"]).await).is_empty());
    let named = findings(&source, &["fleeting"]).await;
    assert!(errors(&named).iter().any(|finding| finding.message.contains("unlogged")));

    // A role without rights, given every fix that is printed, ends up able to run.
    let limited = db.source_with("l", |options| options.user = Some("limited".into()));
    let all = findings(&limited, &["private.secret"]).await;
    let missing = errors(&all);
    for words in [
        "REPLICATION",
        "GRANT CREATE ON DATABASE",
        "GRANT USAGE ON SCHEMA \"private\"",
        "GRANT SELECT ON \"private\".\"secret\"",
        "GRANT \"postgres\" TO",
    ] {
        let found = |finding: &&&Finding| finding.fix.as_ref().unwrap().contains(words);
        assert!(missing.iter().find(found).is_some(), "{words}: {all:#?}");
    }
    for finding in &missing {
        let fix = finding.fix.clone().unwrap();
        let statement = fix.rsplit("; or ").next().unwrap().to_owned();
        db.sql(&statement);
    }
    // Membership in a superuser's role makes it owner; row security still hides rows.
    let all = findings(&limited, &["private.secret"]).await;
    for finding in errors(&all) {
        db.sql(finding.fix.as_ref().unwrap());
    }
    let all = findings(&limited, &["private.secret"]).await;
    assert!(errors(&all).is_empty(), "{all:#?}");
    let schema = discover(&limited, &["private.secret"]).await;
    crate::harness::attach(&limited, &schema).await;
    crate::follower::copy(&limited, &schema[0], 1).await.unwrap();
    limited.operations().release().await.unwrap();
    db.sql(&format!(
        "revoke create on database {} from limited; drop owned by limited; drop role limited",
        db.name
    ));
}

/// With a publication that somebody else made, version 14 alone needs the right to make one: for a
/// moment, at each start with a partitioned table.
pub(crate) async fn what_version_14_needs_for_partitions_is_told(db: &Db<'_>) {
    db.sql(
        "create table whole (id int primary key) partition by range (id); \
         create table part partition of whole for values from (0) to (9); \
         create table plain (id int primary key); \
         create role reader login replication; grant usage on schema public to reader; \
         grant select on whole, part, plain to reader; \
         create publication theirs for table whole, plain with (publish_via_partition_root = true)",
    );
    let source = db.source_with("r", |options| {
        options.user = Some("reader".into());
        options.publication = Some("theirs".into());
    });
    let needed = db.server.major() < Major::V15;
    let all = findings(&source, &["plain", "whole"]).await;
    assert_eq!(errors(&all).len(), usize::from(needed), "{all:#?}");
    if let Some(finding) = errors(&all).first() {
        assert!(finding.message.contains("detached partitions"), "{all:#?}");
        db.sql(finding.fix.as_ref().unwrap());
        assert!(errors(&findings(&source, &["plain", "whole"]).await).is_empty());
    }
    assert!(errors(&findings(&source, &["plain"]).await).is_empty());
    // What is printed for a role of its own says so too.
    let told = findings(&db.source("p"), &["whole"]).await;
    let mut fix = told.iter().filter_map(|finding| finding.fix.as_ref());
    let fix = fix.find(|fix| fix.contains("CREATE ROLE rowtide")).unwrap();
    assert_eq!(fix.contains("GRANT CREATE ON DATABASE"), needed, "{fix}");
    db.sql("drop owned by reader; drop role reader");
}

pub(crate) async fn tables_without_identity_are_refused_before_anything_is_made(db: &Db<'_>) {
    db.sql("create table t (id int primary key); create table keyless (v int)");
    let source = db.source("p");
    let schema = discover(&source, &["*.*"]).await;
    let tables: Vec<_> = schema.iter().map(|table| (table.clone(), Mode::Merge)).collect();
    let error = source.attach(AttachRequest { tables: &tables, known: None }).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.message().contains("public.keyless"), "{error}");
    assert!(error.hint().unwrap().contains("mode = \"append\""));
    assert_eq!(db.sql("select count(*) from pg_publication"), "0");
    let slots = "select count(*) from pg_replication_slots where database = current_database()";
    assert_eq!(db.sql(slots), "0");
    db.sql("update keyless set v = 1");
}

/// A server that is not made for this.
pub(crate) fn a_server_that_cannot(major: Major) {
    let options = ServerOptions::for_major(major)
        .with_setting("wal_level", "replica")
        .with_setting("max_replication_slots", "0")
        .with_setting("max_wal_senders", "0");
    let Some(server) = start_or_skip(&options) else { return };
    server.psql("postgres", "create table t (id int primary key)").unwrap();
    let options = PostgresOptions::from_url(&server.url("postgres"), &|_| None).unwrap();
    let source = PostgresSource::new(options, "p");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let all = findings(&source, &["t"]).await;
        let named: Vec<_> = errors(&all).iter().map(|finding| finding.subject.as_str()).collect();
        assert_eq!(
            named,
            ["wal_level", "replication connection", "max_replication_slots"],
            "{all:#?}"
        );
        assert!(errors(&all).iter().all(|finding| finding.fix.is_some()));
        let schema = discover(&source, &["t"]).await;
        let error = crate::harness::attach_as(&source, &schema, None).await.unwrap_err();
        assert!(!error.message().is_empty());
    });
}
