//! Looking at tables as they stand at one moment.

use std::sync::Arc;
use std::time::Duration;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type};
use arrow_array::{ArrayRef, Int32Array, RecordBatch, StringArray};
use arrow_select::concat::concat_batches;
use rowtide_core::canonical::{BucketSet, Digest, Encoder};
use rowtide_core::view::{Fixed, Inspect, RowsOf, TableView, ViewRequest};
use rowtide_core::{
    DeleteMode, Error, ErrorKind, MetadataColumns, Mode, Result, Source, TablePlan, TableSchema,
};
use rowtide_postgres::{PostgresSource, Unrepresentable};

use crate::follower::Follower;
use crate::harness::{Db, attach, discover};

pub(crate) fn plan(table: &Arc<TableSchema>) -> TablePlan {
    TablePlan {
        source: Arc::clone(table),
        target: table.name.clone(),
        mode: Mode::Merge,
        delete: DeleteMode::Hard,
        metadata: MetadataColumns::default(),
    }
}

pub(crate) fn request(pipeline: &str, plan: &TablePlan) -> ViewRequest {
    ViewRequest {
        pipeline: pipeline.into(),
        plan: plan.clone(),
        condition: None,
        range: None,
        share: Fixed::of(3),
        batch_bytes: 10_000,
        statement: Duration::from_millis(20),
    }
}

pub(crate) async fn look_as(
    end: &dyn Inspect,
    pipeline: &str,
    plan: &TablePlan,
) -> Box<dyn TableView> {
    end.view(request(pipeline, plan)).await.unwrap()
}

pub(crate) async fn look(source: &PostgresSource, table: &Arc<TableSchema>) -> Box<dyn TableView> {
    look_as(source.inspect().unwrap(), "p", &plan(table)).await
}

async fn refused(source: &PostgresSource, table: &Arc<TableSchema>) -> Error {
    match source.view(request("p", &plan(table))).await {
        Ok(_) => panic!("{} is not to be looked at", table.name),
        Err(error) => error,
    }
}

/// Reads on to the end.
async fn rest(view: &mut Box<dyn TableView>) -> Result<(Vec<RecordBatch>, Option<Vec<u64>>)> {
    let (mut batches, mut versions) = (Vec::new(), None);
    while let Some(viewed) = view.next().await? {
        if let Some(more) = viewed.versions {
            assert_eq!(more.len(), viewed.rows.num_rows());
            versions.get_or_insert_with(Vec::new).extend(more);
        }
        batches.push(viewed.rows);
    }
    Ok((batches, versions))
}

/// Some rows, and their versions.
pub(crate) async fn read(
    view: &mut Box<dyn TableView>,
    rows: RowsOf,
) -> (RecordBatch, Option<Vec<u64>>) {
    view.begin(rows).await.unwrap();
    let (batches, versions) = rest(view).await.unwrap();
    let schema = batches.first().map(RecordBatch::schema);
    let empty = || Arc::new(arrow_schema::Schema::empty());
    (concat_batches(&schema.unwrap_or_else(empty), &batches).unwrap(), versions)
}

fn ids(rows: &RecordBatch) -> Vec<i64> {
    if rows.num_rows() == 0 {
        return Vec::new();
    }
    let column = rows.column(0);
    let mut ids: Vec<i64> = match column.data_type() {
        arrow_schema::DataType::Int32 => {
            column.as_primitive::<Int32Type>().values().iter().map(|id| i64::from(*id)).collect()
        }
        _ => column.as_primitive::<Int64Type>().values().to_vec(),
    };
    ids.sort_unstable();
    ids
}

/// A large table is read in many pieces, whole and once, and stays as it was at the view's moment.
pub(crate) async fn a_view_does_not_see_what_comes_later(db: &Db<'_>) {
    db.sql(
        "create table t (id int primary key, v text) with (fillfactor = 25); \
         insert into t select n, repeat(chr(64 + n % 60), n % 300) from generate_series(1, 40000) n; \
         delete from t where id % 10 = 3",
    );
    let source = db.source("p");
    let table = discover(&source, &["t"]).await.remove(0);
    let from = attach(&source, std::slice::from_ref(&table)).await.checkpoint;
    // Visible before it is on disk.
    db.sql("set synchronous_commit = off; insert into t values (50000, 'soon')");
    let mut view = look(&source, &table).await;
    db.sql(
        "delete from t where id = 1; update t set v = 'new' where id = 2; \
         insert into t values (3, 'new')",
    );
    assert_eq!(view.count().await.unwrap(), 36_001);
    let (rows, versions) = read(&mut view, RowsOf::All).await;
    assert_eq!(versions.unwrap().len(), 36_001);
    assert_eq!(
        ids(&rows),
        (1..=40_000).chain([50_000]).filter(|id| id % 10 != 3).collect::<Vec<_>>()
    );
    let mut here = Digest::empty(10);
    Encoder::new(&table).unwrap().sum_up(&rows, &mut here).unwrap();
    let own = view.digest(10).await.unwrap().unwrap();
    assert!(own == here);
    let pages = "select pg_relation_size('t') / current_setting('block_size')::int8";
    assert!(db.sql(pages).parse::<u64>().unwrap() > 2_048, "by several connections");
    // Whoever reads the log comes to the view's place behind all that it shows.
    let place = view.moment().checkpoint.position();
    let mut follower = Follower::start(&source, &from, std::slice::from_ref(&table)).await;
    follower.catch_up(&source).await;
    let before = follower.placed.iter().filter(|(commit, ..)| commit.position < place);
    assert_eq!(before.count(), 1);
    assert!(follower.placed.len() >= 4);

    // The later view tells what is new, and with which versions.
    let mark = view.moment().mark.clone().unwrap();
    let (was, old) = read(&mut view, keys_of(&table, &[2, 4])).await;
    let mut later = look(&source, &table).await;
    let (new, _) = read(&mut later, RowsOf::Since(mark)).await;
    assert_eq!(ids(&new), [2, 3]);
    let (is, now) = read(&mut later, keys_of(&table, &[2, 4])).await;
    let version = |rows: &RecordBatch, versions: &Option<Vec<u64>>, id: i32| {
        let at = rows.column(0).as_primitive::<Int32Type>().values().iter().position(|v| *v == id);
        versions.as_ref().unwrap()[at.unwrap()]
    };
    assert_ne!(version(&was, &old, 2), version(&is, &now, 2));
    assert_eq!(version(&was, &old, 4), version(&is, &now, 4));
    let different = later.digest(10).await.unwrap().unwrap().differing(&own);
    assert!(matches!(different.buckets.len(), 1..=3), "{different:?}");
}

fn keys_of(table: &TableSchema, ids: &[i32]) -> RowsOf {
    let keys: ArrayRef = Arc::new(Int32Array::from(ids.to_vec()));
    RowsOf::Keys(RecordBatch::try_new(table.key_arrow(), vec![keys]).unwrap())
}

/// What a transaction that was running at the mark wrote is new, in a subtransaction too.
pub(crate) async fn what_was_open_at_a_mark_is_new(db: &Db<'_>) {
    db.sql("create table t (id int primary key, v int); insert into t values (1, 1), (2, 2)");
    let source = db.source("p");
    let table = discover(&source, &["t"]).await.remove(0);
    let open = source.connect_sql().await.unwrap();
    open.batch_execute(
        "begin; insert into public.t values (3, 3); savepoint a; update public.t set v = 9 \
         where id = 2; savepoint b; insert into public.t values (4, 4)",
    )
    .await
    .unwrap();
    db.sql("insert into t values (5, 5)");
    let mark = look(&source, &table).await.moment().mark.clone().unwrap();
    open.batch_execute("commit").await.unwrap();
    let mut view = look(&source, &table).await;
    let (new, _) = read(&mut view, RowsOf::Since(mark)).await;
    let new = ids(&new);
    assert!([2, 3, 4].iter().all(|id| new.contains(id)) && !new.contains(&1), "{new:?}");
    assert_eq!(ids(&read(&mut view, RowsOf::All).await.0), [1, 2, 3, 4, 5]);
}

/// Keys and buckets choose the same rows whatever the key is made of.
pub(crate) async fn rows_are_found_by_key_and_by_bucket(db: &Db<'_>) {
    db.sql(
        "create type mood as enum ('sad', 'it''s \"ok\"'); \
         create table two (a text, b int, v text, primary key (b, a)); \
         insert into two select case n % 5 when 0 then E'q\"\\\\,( )' || n when 1 then '' \
           when 2 then E'tab\\t' || n else 'é🦀' end, n, repeat('x', n) \
           from generate_series(1, 300) n; \
         create table kinds (id int, d date, t timestamptz, f float8, u uuid, n numeric(10,2), \
           m mood, x bytea, c char(5), o oid, primary key (id, d, t, f, u, n, m, x, c, o)); \
         insert into kinds select n, '0044-03-15 BC'::date + n, '2024-01-01'::timestamptz, \
           case n % 3 when 0 then 'NaN' when 1 then 0.1 else '-Infinity' end, \
           md5(n::text)::uuid, n / 7.0, 'it''s \"ok\"', decode(md5(n::text), 'hex'), 'a', n \
           from generate_series(1, 100) n; \
         create table none (v text, w json); alter table none replica identity full; \
         insert into none select (n % 40)::text, '{\"a\" : 1}' from generate_series(1, 200) n",
    );
    let source = db.source("p");
    for name in ["two", "kinds", "none"] {
        let table = discover(&source, &[name]).await.remove(0);
        let encoder = Encoder::new(&table).unwrap();
        let mut view = look(&source, &table).await;
        let (all, _) = read(&mut view, RowsOf::All).await;
        let digest = view.digest(4).await.unwrap().unwrap();
        let hashes = encoder.hash(&all).unwrap();
        let mut here = Digest::empty(4);
        here.add(&hashes);
        assert!(digest == here, "{name}");

        let buckets = BucketSet { bits: 4, buckets: [1, 7, 15].into() };
        let chosen = hashes.keys.iter().filter(|hash| buckets.contains(**hash)).count();
        let (found, _) = read(&mut view, RowsOf::Buckets(buckets.clone())).await;
        assert_eq!(found.num_rows(), chosen, "{name}");
        assert!(chosen > 0 && chosen < all.num_rows(), "{name}");
        let found = encoder.hash(&found).unwrap();
        assert!(found.keys.iter().all(|hash| buckets.contains(*hash)), "{name}");
        if !table.is_keyed() {
            continue;
        }
        let keys = all.project(&table.key).unwrap().slice(10, 50);
        let (found, _) = read(&mut view, RowsOf::Keys(keys.clone())).await;
        let sorted = |mut hashes: Vec<u64>| {
            hashes.sort_unstable();
            hashes
        };
        let found = found.project(&table.key).unwrap();
        let found = sorted(encoder.keys(&found).unwrap());
        assert_eq!(found, sorted(encoder.keys(&keys).unwrap()), "{name}");
    }
    // A key that is equal to the server and not the same.
    db.sql("create table near (k numeric primary key); insert into near values (1.0), (2)");
    let table = discover(&source, &["near"]).await.remove(0);
    let mut view = look(&source, &table).await;
    let keys: ArrayRef = Arc::new(StringArray::from(vec!["1.00", "2"]));
    let keys = RecordBatch::try_new(table.key_arrow(), vec![keys]).unwrap();
    let (found, _) = read(&mut view, RowsOf::Keys(keys)).await;
    assert_eq!(found.column(0).as_string::<i32>().iter().collect::<Vec<_>>(), [Some("2")]);
}

/// What would show fewer rows or fewer columns than there are is an error.
pub(crate) async fn what_would_lie_is_refused(db: &Db<'_>) {
    db.sql(
        "create table secret (id int primary key); insert into secret values (1); \
         alter table secret enable row level security; \
         create policy p on secret using (false); \
         create table gone (id int primary key, v int); \
         create table narrow (id int primary key, v int, w int); \
         create table hidden (id int primary key, v int)",
    );
    let role = format!("r_{}", db.name);
    db.sql(&format!(
        "create role {role} login; grant usage on schema public to {role}; \
         grant select on all tables in schema public to {role}; \
         revoke select on hidden from {role}"
    ));
    let owner = db.source("p");
    let limited = db.source_with("p", |options| options.user = Some(role.clone()));
    let secret = discover(&owner, &["secret"]).await.remove(0);
    assert_eq!(look(&owner, &secret).await.count().await.unwrap(), 1);
    let error = refused(&limited, &secret).await;
    assert_eq!(error.kind(), ErrorKind::Access);
    assert!(error.message().contains("row level security"), "{error}");
    let hidden = discover(&owner, &["hidden"]).await.remove(0);
    assert_eq!(refused(&limited, &hidden).await.kind(), ErrorKind::Access);

    let gone = discover(&owner, &["gone"]).await.remove(0);
    db.sql("alter table gone add column extra int");
    let error = refused(&owner, &gone).await;
    assert_eq!(error.kind(), ErrorKind::SchemaDrift);
    assert!(error.message().contains("column extra"), "{error}");
    db.sql("alter table gone drop column extra, drop column v");
    let error = refused(&owner, &gone).await;
    assert!(error.message().contains("column v"), "{error}");
    db.sql("alter table gone rename to was; create view gone as select * from was where false");
    let error = refused(&owner, &gone).await;
    assert_eq!(error.kind(), ErrorKind::Access);
    assert!(error.message().contains("is a view"), "{error}");
    db.sql("drop view gone");
    assert_eq!(refused(&owner, &gone).await.kind(), ErrorKind::SchemaDrift);

    if db.server.major() >= rowtide_sandbox::Major::V15 {
        db.sql("create publication part for table narrow (id, v), hidden where (id > 1)");
        db.sql("insert into hidden values (1), (2)");
        let given = |options: &mut rowtide_postgres::PostgresOptions| {
            options.publication = Some("part".to_owned());
        };
        let source = db.source_with("p", given);
        let narrow = discover(&source, &["narrow"]).await.remove(0);
        let error = refused(&source, &narrow).await;
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.message().contains("leaves out the columns w"), "{error}");
        // A filter is what the copy has as well.
        let hidden = discover(&source, &["hidden"]).await.remove(0);
        let mut view = look(&source, &hidden).await;
        assert_eq!(view.count().await.unwrap(), 1);
        assert_eq!(ids(&read(&mut view, RowsOf::All).await.0), [2]);
    }
}

/// Policies are applied as the copy applies them, and a condition chooses rows everywhere.
pub(crate) async fn policies_and_conditions_are_applied(db: &Db<'_>) {
    db.sql(
        "create table t (id int primary key, n numeric(5,2)); \
         insert into t values (1, 1.5), (2, 'NaN'), (3, null)",
    );
    for (policy, kept) in [
        (Unrepresentable::Null, vec![1, 2, 3]),
        (Unrepresentable::Text, vec![1, 2, 3]),
        (Unrepresentable::Quarantine, vec![1, 3]),
    ] {
        let source = db.source_with("p", |options| options.unrepresentable = policy);
        let table = discover(&source, &["t"]).await.remove(0);
        let mut view = look(&source, &table).await;
        assert!(view.digest(4).await.unwrap().is_none(), "{policy:?} changes values");
        assert_eq!(view.count().await.unwrap(), kept.len() as u64);
        let (rows, versions) = read(&mut view, RowsOf::All).await;
        assert_eq!(ids(&rows), kept);
        assert_eq!(versions.unwrap().len(), kept.len());
        assert_eq!(rows.num_columns(), if policy == Unrepresentable::Text { 3 } else { 2 });
    }
    let source = db.source("p");
    let table = discover(&source, &["t"]).await.remove(0);
    let mut view = look(&source, &table).await;
    view.begin(RowsOf::All).await.unwrap();
    assert_eq!(rest(&mut view).await.unwrap_err().kind(), ErrorKind::Data);
    let chosen = ViewRequest { condition: Some("id <> 2".into()), ..request("p", &plan(&table)) };
    let mut view = source.view(chosen).await.unwrap();
    assert_eq!(view.count().await.unwrap(), 2);
    assert_eq!(ids(&read(&mut view, RowsOf::All).await.0), [1, 3]);
    assert_eq!(ids(&read(&mut view, keys_of(&table, &[1, 2])).await.0), [1]);
    assert_eq!(view.digest(0).await.unwrap().unwrap().rows(), 2);
}

/// A partitioned table is read leaf by leaf, unless a leaf may not be read by itself.
pub(crate) async fn partitions_are_looked_at_through_their_root(db: &Db<'_>) {
    db.sql(
        "create table p (id int primary key, v text) partition by range (id); \
         create table p1 partition of p for values from (0) to (10000); \
         create table p2 (v text, id int not null); \
         alter table p attach partition p2 for values from (10000) to (20000); \
         create schema closed; \
         create table closed.p3 partition of p default; \
         insert into p select n, 'v' || n from generate_series(1, 30000) n",
    );
    let role = format!("r_{}", db.name);
    db.sql(&format!(
        "create role {role} login; grant usage on schema public to {role}; \
         grant select on p to {role}"
    ));
    for user in [None, Some(role)] {
        let source = db.source_with("p", |options| {
            options.user = user.clone().or(options.user.take());
        });
        let table = discover(&source, &["p"]).await.remove(0);
        let mut view = look(&source, &table).await;
        assert_eq!(view.count().await.unwrap(), 30_000);
        let (rows, versions) = read(&mut view, RowsOf::All).await;
        assert_eq!(ids(&rows), (1..=30_000).collect::<Vec<_>>());
        assert_eq!(versions.unwrap().len(), 30_000);
        let mut here = Digest::empty(6);
        Encoder::new(&table).unwrap().sum_up(&rows, &mut here).unwrap();
        assert!(view.digest(6).await.unwrap().unwrap() == here);
        let (found, _) = read(&mut view, keys_of(&table, &[5, 10_500, 25_000, 99_999])).await;
        assert_eq!(ids(&found), [5, 10_500, 25_000]);
    }
}
