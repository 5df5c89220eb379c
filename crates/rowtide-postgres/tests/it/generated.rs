//! The one property of values: whatever a type is made of and whatever value it has, the copy, the
//! log in binary and the log in text bring one Arrow value, and a destination that it is written to
//! gives the same one back.

mod canonical;
mod scalars;
mod types;

use std::sync::Arc;

use arrow_array::{Array, Float64Array, RecordBatch};
use arrow_select::concat::concat_batches;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rowtide_core::traits::{Progress, Writer};
use rowtide_core::{
    Destination, MergeWrite, MetadataColumns, Mode, Phase, Replaced, TablePlan, TableSchema,
    TableWrite,
};
use rowtide_postgres::{
    PostgresDestination, PostgresDestinationOptions, PostgresSource, Unrepresentable,
};
use tokio_postgres::{Client, NoTls};

use crate::follower::{Follower, copy};
use crate::harness::{Db, attach, discover};
use crate::types::by_id;
pub(crate) use canonical::the_server_makes_the_canonical_form;
use scalars::{OF_EXTENSIONS, SCALARS};
use types::{Form, Made};

/// Types that are made up beside those that stand alone.
const MADE_UP: usize = 40;
const ROWS: usize = 30;

/// The types of the columns, and all that was drawn.
struct Corpus {
    columns: Vec<Made>,
    /// What makes the types.
    setup: String,
    /// A row of SQL expressions each, for all columns.
    rows: Vec<Vec<String>>,
}

impl Corpus {
    fn draw(db: &Db<'_>, seed: u64) -> Self {
        let dice = &mut StdRng::seed_from_u64(seed);
        let mut columns: Vec<_> = SCALARS.iter().map(Made::scalar).collect();
        columns.extend((0..MADE_UP).map(|at| Made::draw(dice, &format!("public.m{at}"))));
        let rows = |columns: &[Made], dice: &mut StdRng| -> Vec<Vec<String>> {
            (0..ROWS).map(|_| columns.iter().map(|column| column.cell(dice)).collect()).collect()
        };
        let mut all = rows(&columns, dice);
        let mut setup: String = columns.iter().map(|column| column.setup.as_str()).collect();
        // Last, so that a seed means the same where they are missing.
        let mut more = Vec::new();
        for (extension, scalar) in OF_EXTENSIONS {
            let there = format!("select from pg_available_extensions where name = '{extension}'");
            if db.sql(&format!("select exists ({there})")) == "t" {
                setup.push_str(&format!(" CREATE EXTENSION {extension};"));
                more.push(Made::scalar(scalar));
            }
        }
        for (row, mut own) in all.iter_mut().zip(rows(&more, dice)) {
            row.append(&mut own);
        }
        columns.extend(more);
        Self { columns, setup, rows: all }
    }

    /// The columns of at most `form`, by number.
    fn columns(&self, form: Form) -> Vec<usize> {
        (0..self.columns.len()).filter(|at| self.columns[*at].form <= form).collect()
    }
}

/// A table of some of the columns.
struct Table {
    name: &'static str,
    columns: Vec<usize>,
}

impl Table {
    fn create(&self, corpus: &Corpus) -> String {
        let columns = self.columns.iter().map(|at| format!("c{at} {}", corpus.columns[*at].sql));
        let columns: Vec<_> = columns.collect();
        format!("create table {} (id int primary key, {});", self.name, columns.join(", "))
    }

    /// Takes the rows of the table that has all columns.
    fn fill(&self) -> String {
        let columns: Vec<_> = self.columns.iter().map(|at| format!("c{at}")).collect();
        let columns = columns.join(", ");
        format!("insert into {} select id, {columns} from everything order by id", self.name)
    }
}

/// Connects with settings that take nothing away from values which are cast.
async fn client(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    let settings = "set datestyle = iso; set intervalstyle = postgres; set timezone = utc; \
         set bytea_output = hex; set extra_float_digits = 3; set statement_timeout = 0";
    client.batch_execute(settings).await.unwrap();
    client
}

/// What one way of reading brought.
struct Read {
    way: String,
    schema: Arc<TableSchema>,
    columns: Vec<usize>,
    rows: RecordBatch,
    replaced: Option<Replaced>,
}

/// Reads `table` by the copy and by the log, from where the pipeline was attached to it.
async fn read(
    (source, pipeline): (&PostgresSource, &str),
    (table, schema): (&Table, &Arc<TableSchema>),
    from: &rowtide_core::Checkpoint,
) -> [Read; 2] {
    let read = |way: &str, rows: &[RecordBatch], replaced| Read {
        way: format!("{pipeline} {way}"),
        schema: Arc::clone(schema),
        columns: table.columns.clone(),
        rows: by_id(&concat_batches(&schema.arrow(), rows).unwrap()),
        replaced,
    };
    let (_, copied) = copy(source, schema, 1).await.unwrap();
    let mut follower = Follower::start(source, from, std::slice::from_ref(schema)).await;
    follower.catch_up(source).await;
    let streamed: Vec<_> = follower.batches.iter().map(|batch| batch.rows.clone()).collect();
    let mut replaced = Replaced::default();
    for (_, one) in follower.batches.iter().flat_map(|batch| &batch.exceptions.replaced) {
        replaced.add(*one);
    }
    follower.stream.close().await.unwrap();
    [read("copy", &copied, None), read("log", &streamed, Some(replaced))]
}

/// Each column of each of `reads` is the one of the last, which has all of them.
fn assert_same(reads: &[Read], corpus: &Corpus, again: &str) {
    let all = reads.last().unwrap();
    assert_eq!(all.rows.num_rows(), ROWS, "{again}");
    for read in reads {
        for (at, column) in read.columns.iter().enumerate() {
            let whole = all.columns.iter().position(|all| all == column).unwrap();
            let (found, expected) = (read.rows.column(at + 1), all.rows.column(whole + 1));
            if found == expected {
                continue;
            }
            let row = (0..ROWS).find(|row| found.slice(*row, 1) != expected.slice(*row, 1));
            let values = row.map(|row| &corpus.rows[row][*column]);
            let row = row.unwrap_or(0);
            panic!(
                "{}: {} against {}: {:?} instead of {:?} of {values:?}\nagain: {again}",
                corpus.columns[*column].sql,
                read.way,
                all.way,
                found.slice(row, 1),
                expected.slice(row, 1),
            );
        }
    }
}

/// What the server's own output functions print of each text that is read whole.
async fn assert_as_printed(client: &Client, all: &Read, corpus: &Corpus, again: &str) {
    use arrow_array::cast::AsArray;
    client.batch_execute("set lc_monetary = 'C'").await.unwrap();
    for (at, column) in all.columns.iter().enumerate() {
        if corpus.columns[*column].form != Form::Text {
            continue;
        }
        let print = format!(
            "select case when c{column}::text is not null then format('%s', c{column}) end \
             from everything order by id"
        );
        let printed = client.query(&print, &[]).await.unwrap();
        let read = all.rows.column(at + 1).as_string::<i32>();
        for (row, printed) in printed.iter().enumerate() {
            let found = read.is_valid(row).then(|| read.value(row));
            let of = &corpus.rows[row][*column];
            let native = &corpus.columns[*column].sql;
            assert_eq!(found, printed.get::<_, Option<&str>>(0), "{native} {of}\nagain: {again}");
        }
    }
}

fn seed() -> u64 {
    let given = std::env::var("ROWTIDE_SEED").ok().and_then(|seed| seed.parse().ok());
    given.unwrap_or_else(|| rand::rng().random())
}

pub(crate) async fn any_value_is_the_same_however_it_comes(db: &Db<'_>) {
    let (seed, major) = (seed(), db.server.major());
    let again = format!(
        "ROWTIDE_SCENARIO=any_value ROWTIDE_SEED={seed} \
         cargo nextest run -p rowtide-postgres -E 'test(postgres_{major})'"
    );
    eprintln!("again: {again}");
    // Floats are compared by their bits.
    let zeros = [0.0, -0.0].map(|zero| Float64Array::from(vec![zero]));
    assert_ne!(zeros[0], zeros[1]);

    let corpus = Corpus::draw(db, seed);
    let everything = Table { name: "everything", columns: corpus.columns(Form::Text) };
    // What is read in binary for destinations of other kinds, and for PostgreSQL.
    let others = Table { name: "others", columns: corpus.columns(Form::ForOthers) };
    let natives = Table { name: "natives", columns: corpus.columns(Form::Binary) };
    let client = client(&db.url()).await;
    let log_commands = format!("alter database {} set log_replication_commands = on", db.name);
    client.batch_execute(&log_commands).await.unwrap();
    client.batch_execute(&corpus.setup).await.unwrap();
    for table in [&everything, &others, &natives] {
        client.batch_execute(&table.create(&corpus)).await.unwrap();
    }

    let source = |pipeline: &str, native: bool| {
        db.source_with(pipeline, |options| {
            options.native_types = native;
            options.unrepresentable = Unrepresentable::Null;
        })
    };
    let pipelines = [
        ("any_binary", false, &others),
        ("any_text", false, &everything),
        ("own_binary", true, &natives),
        ("own_text", true, &everything),
    ];
    let mut attached = Vec::new();
    for (pipeline, native, table) in pipelines {
        let source = source(pipeline, native);
        let schema = discover(&source, &[table.name]).await.remove(0);
        let from = attach(&source, std::slice::from_ref(&schema)).await.checkpoint;
        attached.push((pipeline, source, table, schema, from));
    }
    for (id, row) in corpus.rows.iter().enumerate() {
        let insert = format!("insert into everything values ({id}, {})", row.join(", "));
        if let Err(error) = client.batch_execute(&insert).await {
            panic!("{error:?}\n{insert}\nagain: {again}");
        }
    }
    for table in [&others, &natives] {
        client.batch_execute(&table.fill()).await.unwrap();
    }
    let mut reads = Vec::new();
    for (pipeline, source, table, schema, from) in &attached {
        reads.extend(read((source, pipeline), (table, schema), from).await);
    }
    let own = reads.split_off(4);
    for reads in [&reads, &own] {
        assert_same(reads, &corpus, &again);
        assert_as_printed(&client, &reads[3], &corpus, &again).await;
    }
    assert_forms(db, &pipelines.map(|(pipeline, ..)| pipeline));
    let [_, any_binary, _, any_text] = &reads[..] else { panic!("four ways") };
    let more = |read: &Read| read.replaced.map_or(0, |replaced| replaced.nulled);
    assert!(more(any_binary) > 0 && more(any_binary) <= more(any_text), "{again}");
    // The natives by the log, in binary; everything by the copy.
    gives_back(db, &corpus, [&own[1], &own[2]], &again).await;
}

/// The streams were in the form that their names say.
fn assert_forms(db: &Db<'_>, pipelines: &[&str]) {
    let log = std::fs::read_to_string(db.server.log_file()).unwrap();
    for pipeline in pipelines {
        let slot = format!("START_REPLICATION SLOT \"{}\"", db.slot(pipeline));
        let mut starts = log.lines().filter(|line| line.contains(&slot)).peekable();
        assert!(starts.peek().is_some(), "{slot}");
        for start in starts {
            let options = start.split("LOGICAL").nth(1).unwrap();
            assert_eq!(options.contains("binary 'true'"), pipeline.ends_with("binary"), "{start}");
        }
    }
}

fn plan(source: &Arc<TableSchema>) -> TablePlan {
    TablePlan {
        source: Arc::clone(source),
        target: source.name.clone(),
        mode: Mode::Merge,
        delete: rowtide_core::DeleteMode::Hard,
        metadata: MetadataColumns::default(),
    }
}

/// Writes what the log brought as changes, and what the copy brought as a copy, into a database
/// that has the types too, and reads it there.
async fn gives_back(db: &Db<'_>, corpus: &Corpus, [log, copied]: [&Read; 2], again: &str) {
    let there = Db { server: db.server, name: format!("{}_there", db.name) };
    db.server.psql("postgres", &format!("create database {}", there.name)).unwrap();
    client(&there.url()).await.batch_execute(&corpus.setup).await.unwrap();
    let options = PostgresDestinationOptions::from_url(&there.url(), &|_| None).unwrap();
    let destination = PostgresDestination::new(options);
    let mut writer = destination.open(&there.name).await.unwrap();
    put(&mut writer, log).await;
    let plan_of_copy = plan(&copied.schema);
    let mut lanes = destination.load(&there.name, &plan_of_copy, 1).await.unwrap();
    lanes[0].write(copied.rows.clone()).await.unwrap();
    for lane in lanes {
        lane.finish().await.unwrap();
    }
    writer.promote(&plan_of_copy).await.unwrap();
    writer.remember(&plan_of_copy.state(Phase::Streaming)).await.unwrap();
    writer.commit(Progress::default()).await.unwrap();

    let source = there.source_with("back", |options| options.native_types = true);
    for written in [log, copied] {
        let schema = discover(&source, &[&written.schema.name.name]).await.remove(0);
        let (_, rows) = copy(&source, &schema, 1).await.unwrap();
        let found = by_id(&concat_batches(&schema.arrow(), &rows).unwrap());
        let back = |way: String, rows: &RecordBatch| Read {
            way,
            schema: Arc::clone(&schema),
            columns: written.columns.clone(),
            rows: rows.clone(),
            replaced: None,
        };
        let reads = [
            back(format!("{} written and read again", written.way), &found),
            back(written.way.clone(), &written.rows),
        ];
        assert_same(&reads, corpus, again);
    }
}

/// Makes an empty table, and writes the rows into it as changes.
async fn put(writer: &mut Box<dyn Writer>, read: &Read) {
    let plan = plan(&read.schema);
    writer.promote(&plan).await.unwrap();
    writer.remember(&plan.state(Phase::Streaming)).await.unwrap();
    writer.commit(Progress::default()).await.unwrap();
    let upserts = Some(read.rows.clone());
    let write = TableWrite::Merge(MergeWrite { upserts, ..MergeWrite::default() });
    writer.write(&plan, write).await.unwrap();
    writer.commit(Progress::default()).await.unwrap();
}
