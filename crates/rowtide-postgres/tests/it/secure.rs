//! Getting in, and not getting in.

use arrow_array::RecordBatch;
use rowtide_core::{ErrorKind, Source, TableSelection};
use rowtide_postgres::{PostgresOptions, PostgresSource, Secret, SslMode};
use rowtide_sandbox::testing::start_or_skip;
use rowtide_sandbox::{Major, ServerOptions};

use crate::follower::{Follower, copy};
use crate::harness::{Db, attach, discover, in_time};

async fn refused(source: &PostgresSource) -> rowtide_core::Error {
    let selection = TableSelection::parse(["*.*"]).unwrap();
    source.discover(&selection).await.unwrap_err()
}

pub(crate) async fn wrong_credentials_are_access_errors(db: &Db<'_>) {
    let nobody = db.source_with("p", |options| options.user = Some("nobody".into()));
    let error = refused(&nobody).await;
    assert_eq!(error.kind(), ErrorKind::Access, "{}", error.chain());
    let nowhere = db.source_with("p", |options| options.database = Some("nowhere".into()));
    let error = refused(&nowhere).await;
    assert_eq!(error.kind(), ErrorKind::Config, "{}", error.chain());
    assert!(error.hint().unwrap().contains("database"));
    let closed = db.source_with("p", |options| options.port = Some(1));
    let error = refused(&closed).await;
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{}", error.chain());
    assert!(error.hint().unwrap().contains("port 1"));
    let unknown = db.source_with("p", |options| options.host = Some("no-such-host.invalid".into()));
    let error = in_time("the name", refused(&unknown)).await;
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{}", error.chain());
    db.sql(
        "create table t (id int primary key); create role reader login; grant create on database \
            wrong_credentials_are_access_errors to reader; alter table t owner to reader",
    );
    let reader = db.source_with("p", |options| options.user = Some("reader".into()));
    let schema = discover(&reader, &["t"]).await;
    let error = crate::harness::attach_as(&reader, &schema, None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Access, "{}", error.chain());
    assert!(error.hint().is_some());
    db.sql("drop owned by reader; drop role reader");
}

pub(crate) fn tls_and_scram(major: Major) {
    let options = ServerOptions {
        tls: true,
        auth_scram_password: Some("s3cret/@:é".to_owned()),
        ..ServerOptions::for_major(major)
    };
    let Some(server) = start_or_skip(&options) else { return };
    server.psql("postgres", "create table t (id int primary key)").unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let source = |change: &dyn Fn(&mut PostgresOptions)| {
        let mut options = PostgresOptions::from_url(&server.url("postgres"), &|_| None).unwrap();
        change(&mut options);
        PostgresSource::new(options, "p")
    };
    let authority = server.ca_certificate().unwrap().to_owned();
    let verified = |host: &str| {
        let (host, authority) = (host.to_owned(), authority.clone());
        source(&move |options| {
            options.host = Some(host.clone());
            options.sslmode = Some(SslMode::VerifyFull);
            options.sslrootcert = Some(authority.clone());
        })
    };
    runtime.block_on(async {
        let wrong = source(&|options| options.password = Some(Secret::new("guess")));
        let error = refused(&wrong).await;
        assert_eq!(error.kind(), ErrorKind::Access, "{}", error.chain());
        assert!(!error.chain().contains("guess"));
        let none = source(&|options| options.password = None);
        assert_eq!(refused(&none).await.kind(), ErrorKind::Access);
        let untrusted = source(&|options| options.sslmode = Some(SslMode::VerifyFull));
        let error = refused(&untrusted).await;
        assert_eq!(error.kind(), ErrorKind::Access, "{}", error.chain());
        assert!(error.hint().unwrap().contains("sslrootcert"));

        // The whole way, with a verified certificate and a bound channel, by name and by address.
        for host in ["localhost", "127.0.0.1"] {
            let source = verified(host);
            let schema = discover(&source, &["t"]).await;
            let from = attach(&source, &schema).await;
            let mut follower = Follower::start(&source, &from.checkpoint, &schema).await;
            server.psql("postgres", "truncate t; insert into t values (1)").unwrap();
            follower.until("insert t 1").await;
            let encrypted = "select count(*) from pg_stat_ssl s join pg_stat_replication r using (pid) \
                 where s.ssl";
            assert_eq!(server.psql("postgres", encrypted).unwrap(), "1");
            // 24 MB, in lanes whose connections are of our own making, as the log's is.
            server
                .psql(
                    "postgres",
                    "drop table if exists large; create table large (id int primary key, v text); \
                     insert into large select i, repeat('x', 1000) from generate_series(1, 24000) i",
                )
                .unwrap();
            let large = discover(&source, &["large"]).await;
            let (_, batches) = copy(&source, &large[0], 2).await.unwrap();
            assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), 24_000);
            follower.stream.close().await.unwrap();
            source.operations().release().await.unwrap();
        }
        let encrypted = source(&|options| options.sslmode = Some(SslMode::Require));
        assert_eq!(discover(&encrypted, &["t"]).await.len(), 1);
        let open = source(&|options| options.sslmode = Some(SslMode::Disable));
        let schema = discover(&open, &["t"]).await;
        attach(&open, &schema).await;
    });
}
