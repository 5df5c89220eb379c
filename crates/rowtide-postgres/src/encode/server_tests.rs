//! Whole tables through real servers: read as for PostgreSQL, encoded, copied in, and compared by
//! what the servers' own output functions print.

use std::sync::Arc;

use arrow_array::RecordBatch;
use bytes::BytesMut;
use futures::SinkExt;
use rowtide_core::traits::SnapshotRequest;
use rowtide_core::{
    Capabilities, DeleteMode, MetadataColumns, Mode, Source, TableName, TablePlan, TableSchema,
    TableSelection,
};
use rowtide_sandbox::testing::start_or_skip;
use rowtide_sandbox::{Major, PostgresServer, ServerOptions};

use super::{RowEncoder, TargetColumn, target_columns};
use crate::client::Sql;
use crate::options::PostgresOptions;
use crate::quote::identifier;
use crate::source::PostgresSource;
use crate::types::SYSTEM;

mod values;

use values::{EXTENSIONS, OPAQUE, PLAIN, TYPES};

/// One database of one server.
struct Db<'a>(&'a PostgresServer, &'static str);

impl Db<'_> {
    fn new<'a>(server: &'a PostgresServer, name: &'static str) -> Db<'a> {
        server.psql("postgres", &format!("create database {name}")).unwrap();
        Db(server, name)
    }

    fn sql(&self, sql: &str) -> String {
        self.0.psql(self.1, sql).unwrap()
    }

    fn options(&self) -> PostgresOptions {
        PostgresOptions::from_url(&self.0.url(self.1), &|_| None).unwrap()
    }

    async fn client(&self) -> Sql {
        Sql::connect(&self.options(), "rowtide").await.unwrap()
    }

    /// Every row as its types' output functions print it.
    async fn rows(&self, table: &str) -> Vec<String> {
        let query = format!("select t::text from {table} t order by id");
        let rows = self.client().await.rows("comparing", &query, &[]).await.unwrap();
        rows.iter().map(|row| row.get(0)).collect()
    }
}

/// The table and all its rows, read for a destination that holds PostgreSQL's types.
async fn read(db: &Db<'_>, table: &str) -> (Arc<TableSchema>, Vec<RecordBatch>) {
    let capabilities = Capabilities { native_system: Some(SYSTEM), ..Capabilities::default() };
    let source = PostgresSource::new(db.options(), "p").reading_for(capabilities);
    let selection = TableSelection::parse([table]).unwrap();
    let table = source.discover(&selection).await.unwrap().remove(0);
    let request =
        SnapshotRequest { table: Arc::clone(&table), lanes: 1, settle: false, batch_bytes: 4000 };
    let mut snapshot = source.snapshot(request).await.unwrap();
    let mut batches = Vec::new();
    for part in &mut snapshot.parts {
        while let Some((batch, _)) = part.next().await.unwrap() {
            batches.push(batch);
        }
    }
    (table, batches)
}

fn plan(source: &Arc<TableSchema>) -> TablePlan {
    TablePlan {
        source: Arc::clone(source),
        target: TableName::new("public", "target"),
        mode: Mode::Merge,
        delete: DeleteMode::Hard,
        metadata: MetadataColumns::default(),
    }
}

/// Makes `table` of the columns and copies the rows into it.
async fn write(
    sql: &Sql,
    table: &str,
    columns: &[TargetColumn],
    (encoder, batches): (&mut RowEncoder, &[RecordBatch]),
) {
    let list: Vec<_> = columns
        .iter()
        .map(|column| format!("{} {}", identifier(&column.name), column.sql_type))
        .collect();
    let create = format!("create table {table} ({})", list.join(", "));
    sql.execute("making the target", &create).await.unwrap();
    let form = if encoder.is_binary() { "binary" } else { "text" };
    let copy = format!("copy {table} from stdin (format {form})");
    let mut sink = Box::pin(sql.client().copy_in(&copy).await.unwrap());
    let mut out = BytesMut::new();
    encoder.begin(&mut out);
    for batch in batches {
        encoder.encode(batch, &mut out).unwrap();
        sink.send(out.split().freeze()).await.unwrap();
    }
    encoder.end(&mut out);
    sink.send(out.freeze()).await.unwrap();
    sink.as_mut().finish().await.unwrap();
}

/// Copies `table` from one database to another; returns the types it has there, by name.
async fn replicate(from: &Db<'_>, to: &Db<'_>, table: &str) -> Vec<TargetColumn> {
    let (schema, batches) = read(from, table).await;
    let sql = to.client().await;
    let plan = plan(&schema);
    let columns = target_columns(&sql, &plan).await.unwrap();
    let arrow = plan.target_arrow();
    let mut encoder = RowEncoder::new(&columns, &arrow).unwrap();
    let expected = from.rows(&format!("public.{table}")).await;
    assert!(batches.len() > 1 && expected.len() == values::ROWS);
    assert_eq!(encoder.is_binary(), table == "plain");

    let mut forms = vec![("dst.native", &mut encoder)];
    let mut as_text = RowEncoder::as_text(&columns, &arrow);
    if forms[0].1.is_binary() {
        forms.push(("dst.as_text", &mut as_text));
    }
    for (target, encoder) in forms {
        let binary = encoder.is_binary();
        sql.execute("cleaning", "drop schema if exists dst cascade; create schema dst")
            .await
            .unwrap();
        write(&sql, target, &columns, (encoder, &batches)).await;
        let found = to.rows(target).await;
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(&expected) {
            assert_same(found, expected, binary);
        }
    }
    columns
}

/// Rows are long: shows only where they begin to differ.
fn assert_same(found: &str, expected: &str, binary: bool) {
    if found != expected {
        let at = found.bytes().zip(expected.bytes()).take_while(|(a, b)| a == b).count();
        let near = |text: &str| {
            let bytes = text.as_bytes();
            let from = at.saturating_sub(60).min(bytes.len());
            String::from_utf8_lossy(&bytes[from..bytes.len().min(at + 60)]).into_owned()
        };
        panic!("binary {binary}, at {at}:\n{}\nexpected\n{}", near(found), near(expected));
    }
}

fn start(major: Major) -> Option<PostgresServer> {
    let server = start_or_skip(&ServerOptions::for_major(major))?;
    // What roles say must not reach the values.
    let hostile = "alter role postgres set datestyle = 'German'; \
        alter role postgres set bytea_output = 'escape'; \
        alter role postgres set intervalstyle = 'iso_8601'; \
        alter role postgres set timezone = 'Asia/Kolkata'; \
        alter role postgres set extra_float_digits = -5";
    server.psql("postgres", hostile).unwrap();
    Some(server)
}

fn run<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(future)
}

fn type_of<'a>(columns: &'a [TargetColumn], name: &str) -> &'a str {
    &columns.iter().find(|column| column.name == name).unwrap().sql_type
}

/// Columns that the server at hand can make and print.
fn possible(
    db: &Db<'_>,
    columns: &[(&'static str, &'static [&'static str])],
) -> Vec<(&'static str, &'static [&'static str])> {
    let mut possible = columns.to_vec();
    possible.retain(|(native, values)| {
        let probe = format!("select ({})::{native}", values[0]);
        let works = db.0.psql(db.1, &probe).is_ok();
        // Extensions, libxml, and the infinity of younger servers may be missing.
        assert!(works || native.contains("ext.") || *native == "xml", "{native}");
        works
    });
    possible
}

fn fill(db: &Db<'_>, table: &str, columns: &[(&str, &[&str])]) {
    let list: Vec<_> =
        columns.iter().enumerate().map(|(n, (native, _))| format!("c{n} {native}")).collect();
    db.sql(&format!("create table {table} (id int primary key, {})", list.join(", ")));
    let rows: Vec<_> = (0..values::ROWS).map(|id| values::row(id, columns)).collect();
    db.sql(&format!("insert into {table} values {}", rows.join(", ")));
}

fn make_types(db: &Db<'_>) {
    db.sql(TYPES);
    for extension in EXTENSIONS {
        let make = format!("create extension {extension} schema ext");
        let there =
            format!("select count(*) from pg_available_extensions where name = '{extension}'");
        if db.sql(&there) == "1" {
            db.sql(&make);
        }
    }
}

fn every_type_arrives(major: Major) {
    let Some(server) = start(major) else { return };
    let db = Db::new(&server, "same");
    make_types(&db);
    fill(&db, "plain", &possible(&db, PLAIN));
    let everything: Vec<_> = PLAIN.iter().chain(OPAQUE).copied().collect();
    fill(&db, "everything", &possible(&db, &everything));
    run(async {
        replicate(&db, &db, "plain").await;
        let columns = replicate(&db, &db, "everything").await;
        let (schema, _) = read(&db, "everything").await;
        for (column, source) in columns.iter().zip(&schema.columns) {
            let printed = super::native::Described::new(&source.native_type).printed;
            let kept = column.sql_type == printed;
            assert!(kept || printed.starts_with("reg"), "{printed} became {}", column.sql_type);
        }
    });
}

#[test]
fn every_type_arrives_14() {
    every_type_arrives(Major::V14);
}

#[test]
fn every_type_arrives_17() {
    every_type_arrives(Major::V17);
}

/// None of the source's own types exists at the target, or it is another type there.
#[test]
fn what_is_missing_arrives_as_what_is_underneath() {
    let Some(server) = start(Major::V17) else { return };
    let Some(older) = start(Major::V14) else { return };
    let source = Db::new(&server, "complete");
    make_types(&source);
    let mut columns: Vec<_> = PLAIN.iter().chain(OPAQUE).copied().collect();
    columns.extend_from_slice(values::OF_NEWER);
    let columns = possible(&source, &columns);
    fill(&source, "everything", &columns);
    for (server, name) in [(&server, "bare"), (&older, "bare_and_old")] {
        let target = Db::new(server, name);
        // A name is not enough: this would misread the binary form, or round.
        target.sql(
            "create schema \"Odd: s\"; create domain public.price as numeric(10,1); \
             create domain public.positive as text; create type public.mood as (a int)",
        );
        let made = run(replicate(&source, &target, "everything"));
        for (native, expected) in [
            ("mood", "text"),
            ("mood[]", "text[]"),
            ("price", "numeric(10,2)"),
            ("price[]", "numeric(10,2)[]"),
            ("positive", "integer"),
            ("positive[]", "integer[]"),
            ("numbers", "integer[]"),
            ("never_null", "integer"),
            ("pair", "text"),
            ("pair[]", "text"),
            ("\"Odd: s\".\"It's \"\"x\"\"\"", "text"),
            ("regclass", "text"),
            ("regtype[]", "text[]"),
            ("numeric(5,-2)", if name == "bare" { "numeric(5,-2)" } else { "numeric" }),
            ("numeric(3,5)[]", if name == "bare" { "numeric(3,5)[]" } else { "numeric[]" }),
        ] {
            let at = columns.iter().position(|(column, _)| *column == native).unwrap();
            assert_eq!(type_of(&made, &format!("c{at}")), expected, "{native} in {name}");
        }
    }
}

/// Rows of append tables may be keys alone; staging holds rows that are not complete yet.
#[test]
fn domains_that_refuse_nulls_do_not_meet_incomplete_rows() {
    let Some(server) = start(Major::V17) else { return };
    let db = Db::new(&server, "d");
    make_types(&db);
    db.sql("create table t (id int primary key, v public.never_null, p public.price)");
    run(async {
        let capabilities = Capabilities { native_system: Some(SYSTEM), ..Capabilities::default() };
        let source = PostgresSource::new(db.options(), "p").reading_for(capabilities);
        let selection = TableSelection::parse(["t"]).unwrap();
        let table = source.discover(&selection).await.unwrap().remove(0);
        let sql = db.client().await;
        let merge = target_columns(&sql, &plan(&table)).await.unwrap();
        assert_eq!(type_of(&merge, "v"), "public.never_null");
        assert_eq!(merge[1].staging_type, "integer");
        assert_eq!(merge[2].staging_type, "numeric(10,2)");
        let metadata = MetadataColumns::append();
        let append = TablePlan { mode: Mode::Append, metadata, ..plan(&table) };
        let columns = target_columns(&sql, &append).await.unwrap();
        assert_eq!(type_of(&columns, "v"), "integer");
        assert_eq!(type_of(&columns, "p"), "numeric(10,2)");
        assert_eq!(type_of(&columns, "_rowtide_unchanged"), "text[]");
        assert_eq!(type_of(&columns, "_rowtide_committed_at"), "timestamp with time zone");
        let encoder = RowEncoder::new(&columns, &append.target_arrow()).unwrap();
        assert!(encoder.is_binary(), "lists of the metadata have a binary form");
    });
}
