//! The canonical form is made twice: by the server of rows where they stand, and here of the Arrow
//! values that they are read into. Both are the same for any value of any type.

use std::collections::BTreeSet;

use arrow_array::cast::AsArray;
use arrow_array::types::Int32Type;
use rowtide_core::canonical::{Digest, Encoder};
use rowtide_core::traits::Progress;
use rowtide_core::view::RowsOf;
use rowtide_core::{Destination, Phase, Source, TableSchema};
use rowtide_postgres::{
    PostgresDestination, PostgresDestinationOptions, PostgresSource, Unrepresentable,
};
use tokio_postgres::Client;

use super::{Corpus, Table, client, plan, seed};
use crate::generated::types::Form;
use crate::harness::{Db, discover};
use crate::view::{look, look_as, read};

/// Buckets of few rows, so that a difference cannot hide in a sum.
const BITS: u32 = 5;

/// What is summed up here of the rows that `view` shows.
async fn summed_up_here(
    view: &mut Box<dyn rowtide_core::view::TableView>,
    table: &TableSchema,
) -> Digest {
    let encoder = Encoder::new(table).unwrap();
    let mut digest = Digest::empty(BITS);
    let (rows, _) = read(view, RowsOf::All).await;
    encoder.sum_up(&rows, &mut digest).unwrap();
    digest
}

/// Removes the rows that hold a value which Arrow has no place for.
async fn keep_what_fits(db: &Db<'_>, client: &Client, (table, native): (&str, bool)) -> usize {
    let quarantining = db.source_with("q", |options| {
        options.native_types = native;
        options.unrepresentable = Unrepresentable::Quarantine;
    });
    let schema = discover(&quarantining, &[table]).await.remove(0);
    let mut view = look(&quarantining, &schema).await;
    assert!(view.digest(BITS).await.unwrap().is_none() || !can_refuse(&schema));
    let (rows, _) = read(&mut view, RowsOf::All).await;
    assert_eq!(view.count().await.unwrap(), rows.num_rows() as u64);
    let ids: BTreeSet<i32> =
        rows.column(0).as_primitive::<Int32Type>().values().iter().copied().collect();
    let ids: Vec<i32> = ids.into_iter().collect();
    drop(view);
    let delete = format!("delete from {table} where id <> all ($1)");
    client.execute(&delete, &[&ids]).await.unwrap();
    ids.len()
}

/// Whether rows of the table can be refused at all.
fn can_refuse(schema: &TableSchema) -> bool {
    use arrow_schema::DataType::{Decimal128, Interval, List, Struct, Timestamp};
    let kinds = schema.columns.iter().map(|column| column.field.data_type());
    let mut kinds = kinds.filter(|kind| {
        matches!(kind, Decimal128(..) | Timestamp(..) | Interval(_) | List(_) | Struct(_))
    });
    kinds.next().is_some()
}

fn reading(db: &Db<'_>, native: bool) -> PostgresSource {
    db.source_with("p", |options| options.native_types = native)
}

pub(crate) async fn the_server_makes_the_canonical_form(db: &Db<'_>) {
    let (seed, major) = (seed(), db.server.major());
    let again = format!(
        "ROWTIDE_SCENARIO=the_server_makes ROWTIDE_SEED={seed} \
         cargo nextest run -p rowtide-postgres -E 'test(postgres_{major})'"
    );
    eprintln!("again: {again}");
    let corpus = Corpus::draw(db, seed);
    let everything = Table { name: "everything", columns: corpus.columns(Form::Text) };
    let client = client(&db.url()).await;
    client.batch_execute(&corpus.setup).await.unwrap();
    client.batch_execute(&everything.create(&corpus)).await.unwrap();
    for (id, row) in corpus.rows.iter().enumerate() {
        let insert = format!("insert into everything values ({id}, {})", row.join(", "));
        client.batch_execute(&insert).await.unwrap();
    }
    let mut left = Vec::new();
    for (at, column) in corpus.columns.iter().enumerate() {
        let table = format!("t{at}");
        let fill = format!(
            "create table {table} (id int primary key, c {}); \
             insert into {table} select id, c{at} from everything",
            column.sql
        );
        client.batch_execute(&fill).await.unwrap();
        keep_what_fits(db, &client, (&table, false)).await;
        for native in [false, true] {
            let source = reading(db, native);
            let schema = discover(&source, &[&table]).await.remove(0);
            let mut view = look(&source, &schema).await;
            let own = view.digest(BITS).await.unwrap();
            let here = summed_up_here(&mut view, &schema).await;
            match own {
                Some(own) => assert!(
                    own == here,
                    "{}, native: {native}, in buckets {:?}\nagain: {again}",
                    column.sql,
                    own.differing(&here)
                ),
                None => {
                    assert!(!native, "{} is not summed up\nagain: {again}", column.sql);
                    left.push(column.sql.as_str());
                }
            }
        }
    }
    eprintln!("not summed up by the server: {left:?}");
    for scalar in left {
        let made = scalar.starts_with("public.m") || scalar.ends_with("[]");
        assert!(made || scalar == "vector(3)", "{scalar} is not summed up");
    }
    both_ends_agree(db, &corpus, &client, &again).await;
}

/// The rows as a destination holds them have the same sums, by the server and here.
async fn both_ends_agree(db: &Db<'_>, corpus: &Corpus, client: &Client, again: &str) {
    let kept = keep_what_fits(db, client, ("everything", true)).await;
    assert!(kept > 3, "{kept} rows\nagain: {again}");
    let source = reading(db, true);
    let schema = discover(&source, &["everything"]).await.remove(0);
    let there = format!("{}_there", db.name);
    db.server.psql("postgres", &format!("create database {there}")).unwrap();
    let url = db.server.url(&there);
    super::client(&url).await.batch_execute(&corpus.setup).await.unwrap();
    let options = PostgresDestinationOptions::from_url(&url, &|_| None).unwrap();
    let destination = PostgresDestination::new(options);
    let mut view = look(&source, &schema).await;
    let (rows, versions) = read(&mut view, RowsOf::All).await;
    assert_eq!(versions.map(|versions| versions.len()), Some(kept));
    let plan = plan(&schema);
    let mut writer = destination.open(&there).await.unwrap();
    let mut lanes = destination.load(&there, &plan, 1).await.unwrap();
    lanes[0].write(rows.clone()).await.unwrap();
    for lane in lanes {
        lane.finish().await.unwrap();
    }
    writer.promote(&plan).await.unwrap();
    writer.remember(&plan.state(Phase::Streaming)).await.unwrap();
    writer.commit(Progress::default()).await.unwrap();

    let expected = view.digest(BITS).await.unwrap().expect("all of it has a form in SQL");
    let mut view = look_as(destination.inspect().unwrap(), &there, &plan).await;
    let found = view.digest(BITS).await.unwrap().expect("here as well");
    assert!(found == expected, "{:?}\nagain: {again}", found.differing(&expected));
    let here = summed_up_here(&mut view, &schema).await;
    assert!(here == expected, "{:?}\nagain: {again}", here.differing(&expected));
    assert!(source.inspect().is_some());
}
