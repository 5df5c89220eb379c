//! `rowtide demo`: a real PostgreSQL, a live workload, a DuckDB file, and a proof that both sides
//! are equal. Needs nothing and leaves only the file.

mod proof;
mod shop;
mod workload;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rowtide_core::{Error, ErrorKind, Phase, Result};
use rowtide_duckdb::{DuckdbDestination, DuckdbOptions};
use rowtide_engine::config::{Configuration, Draft, Substitution};
use rowtide_engine::{Environment, Monitor, Pipeline, Requests, Summary};
use rowtide_sandbox::{PostgresServer, ServerOptions};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_postgres::Client;

use crate::cli::Demo;
use crate::output::{self, Align, Output, Progress, Table, count, seconds};
use crate::registry::{self, CONNECTORS};
use crate::{configuration, signals};
use proof::Verdict;
use workload::Workload;

/// The pipeline's name, and the database's.
const NAME: &str = "shop";
const FILE: &str = "rowtide-demo.duckdb";
/// How long catching up may take after the workload has stopped.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs the demo.
pub(super) async fn execute(arguments: Demo, output: &Output) -> Result<ExitCode> {
    let file = arguments.keep.join(FILE);
    clear_earlier_file(&file).await?;
    let (_shutdown, asked) = signals::listen(output)?;
    let told = asked.clone();
    tokio::select! {
        code = demonstrate(arguments, &file, (output, &asked)) => code,
        () = signals::asked(&told) => {
            output.note("the demo was interrupted; the server is gone, the file is not complete");
            Ok(ExitCode::SUCCESS)
        }
    }
}

async fn demonstrate(
    arguments: Demo,
    file: &Path,
    (output, asked): (&Output, &watch::Receiver<bool>),
) -> Result<ExitCode> {
    output.note("starting a PostgreSQL server of its own …");
    let server = start_server().await?;
    let url = server.url(NAME);
    let client = prepare(&server, arguments.rows, output).await?;

    let workload = Workload::start(&url, arguments.connections);
    output.note(&format!(
        "a live workload runs on {} connections for {} s while rowtide copies and follows",
        arguments.connections.max(1),
        arguments.seconds
    ));
    let replica = Replica::start(&url, file, output)?;
    let ran = replica.follow(&client, workload, Duration::from_secs(arguments.seconds)).await;
    let (transactions, caught_up) = match ran {
        Ok(done) => done,
        Err(error) => return Err(replica.ended_instead(error).await),
    };
    let caught_up = seconds(caught_up.as_secs_f64());
    replica.finish(output).await?;
    output.note(&format!(
        "the workload made {} transactions; {caught_up} after it stopped DuckDB had them all",
        count(transactions)
    ));

    let verdicts = prove(&client, file).await?;
    output::print(&report(&verdicts, output))?;
    let equal = verdicts.iter().all(Verdict::is_equal);
    if equal {
        output::print(&farewell(file))?;
    }
    if arguments.stay {
        output.note(&format!("the server stays at {url} until Ctrl-C"));
        signals::asked(asked).await;
    }
    Ok(ExitCode::from(u8::from(!equal)))
}

/// A file of an earlier demo makes room; anything else is left alone.
async fn clear_earlier_file(file: &Path) -> Result<()> {
    if !file.exists() {
        return Ok(());
    }
    let destination = DuckdbDestination::new(DuckdbOptions::new(file))?;
    use rowtide_core::Destination as _;
    let known = destination
        .peek(NAME)
        .await
        .map_err(|error| error.context(format!("looking at the earlier {}", file.display())))?;
    if known.is_none() {
        return Err(Error::config(format!("{} is not from an earlier demo", file.display()))
            .with_hint("move it away, or choose another directory with --keep"));
    }
    let mut wal = file.as_os_str().to_owned();
    wal.push(".wal");
    let _ = std::fs::remove_file(PathBuf::from(wal));
    std::fs::remove_file(file).map_err(|error| {
        Error::config(format!("could not replace {}", file.display())).with_source(error)
    })
}

async fn start_server() -> Result<PostgresServer> {
    let started = tokio::task::spawn_blocking(|| PostgresServer::start(&ServerOptions::default()));
    let started = started
        .await
        .map_err(|error| Error::internal("starting the server failed").with_source(error))?;
    started.map_err(|error| {
        let kind = match error.is_not_installed() {
            true => ErrorKind::Config,
            false => ErrorKind::Unavailable,
        };
        Error::new(kind, "the demo needs a PostgreSQL server of its own").with_source(error)
    })
}

async fn prepare(server: &PostgresServer, rows: u64, output: &Output) -> Result<Client> {
    let admin = shop::connect(&server.url("postgres")).await?;
    let created = admin.batch_execute(&format!("CREATE DATABASE {NAME}")).await;
    created.map_err(|error| shop::failed("creating the database", error))?;
    let client = shop::connect(&server.url(NAME)).await?;
    let rows = shop::create(&client, rows).await?;
    output.note(&format!(
        "PostgreSQL {} on port {}, a shop of {} rows in {} tables",
        server.major(),
        server.port(),
        count(rows),
        shop::TABLES.len()
    ));
    Ok(client)
}

/// The pipeline, running in this process.
struct Replica {
    monitor: Monitor,
    stop: watch::Sender<bool>,
    run: JoinHandle<Result<Summary>>,
    progress: Progress,
    began: Instant,
}

impl Replica {
    fn start(url: &str, file: &Path, output: &Output) -> Result<Self> {
        let configuration = configure(url, file)?;
        let monitor = Monitor::default();
        let (source, destination) = registry::ends(&configuration)?;
        let pipeline = Pipeline {
            source,
            destination,
            name: configuration.pipeline,
            settings: configuration.settings,
            monitor: monitor.clone(),
            environment: Environment::real(),
            requests: Requests::default(),
        };
        let (stop, stopped) = watch::channel(false);
        let progress = Progress::start(output, &monitor);
        let run = tokio::spawn(pipeline.run(stopped));
        Ok(Self { monitor, stop, run, progress, began: Instant::now() })
    }

    /// Lets the workload run for `time` and until all tables are copied, stops it, and waits
    /// until everything has arrived. Returns its transactions, and how long the rest took.
    async fn follow(
        &self,
        client: &Client,
        workload: Workload,
        time: Duration,
    ) -> Result<(u64, Duration)> {
        let ends = Instant::now() + time;
        self.wait(|replica| Instant::now() >= ends && replica.copied(), time + 4 * PATIENCE)
            .await?;
        let transactions = workload.finish().await?;
        let stopped = Instant::now();
        let last = last_position(client).await?;
        self.wait(|replica| replica.monitor.snapshot().stream.position > last, PATIENCE).await?;
        Ok((transactions, stopped.elapsed()))
    }

    fn copied(&self) -> bool {
        let tables = self.monitor.snapshot().tables;
        let done = |phase| matches!(phase, Phase::Streaming | Phase::Stopped);
        !tables.is_empty() && tables.iter().all(|table| done(table.phase))
    }

    async fn wait(&self, reached: impl Fn(&Self) -> bool, patience: Duration) -> Result<()> {
        let deadline = Instant::now() + patience;
        while !reached(self) {
            if self.run.is_finished() || Instant::now() >= deadline {
                let waited = patience.as_secs();
                return Err(Error::internal(format!("the replica did not catch up in {waited} s")));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// Prefers the pipeline's own error to `error`, which says that it is late.
    async fn ended_instead(self, error: Error) -> Error {
        let ended = self.run.is_finished();
        self.stop.send_replace(true);
        self.progress.stop().await;
        match (ended, self.run.await) {
            (true, Ok(Err(own))) => own,
            _ => error,
        }
    }

    async fn finish(self, output: &Output) -> Result<()> {
        self.stop.send_replace(true);
        let ended = self.run.await;
        self.progress.stop().await;
        let summary = ended
            .map_err(|error| Error::internal("the pipeline's task failed").with_source(error))??;
        output::summary(output, &self.monitor.snapshot(), &summary, self.began.elapsed());
        Ok(())
    }
}

/// The same configuration as `rowtide run --from … --to … --rule 'public.events:mode=append'`.
fn configure(url: &str, file: &Path) -> Result<Configuration> {
    let mut draft = Draft::default();
    draft.set_text("source.url", url, "demo");
    draft.set_text("destination.type", "duckdb", "demo");
    draft.set_text("destination.path", &file.display().to_string(), "demo");
    draft.set_text("pipeline", NAME, "demo");
    draft.add_rule(&[("match", "public.events"), ("mode", "append")], "demo");
    let directory = Path::new(".");
    let from = Substitution { environment: &configuration::environment, directory };
    draft.finish(CONNECTORS, from)
}

/// A position that only the last transaction lies beyond.
async fn last_position(client: &Client) -> Result<u64> {
    let read = |error| shop::failed("reading the position", error);
    let sql = "SELECT (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::bigint";
    let position: i64 = client.query_one(sql, &[]).await.map_err(read)?.get(0);
    let marker = "INSERT INTO events VALUES (now(), NULL, 'the end', '{}')";
    client.batch_execute(marker).await.map_err(read)?;
    Ok(position.unsigned_abs())
}

async fn prove(client: &Client, file: &Path) -> Result<Vec<Verdict>> {
    let destination = Arc::new(DuckdbDestination::new(DuckdbOptions::new(file))?);
    let mut verdicts = Vec::new();
    for table in shop::TABLES {
        verdicts.push(proof::compare(client, &destination, table).await?);
    }
    Ok(verdicts)
}

fn report(verdicts: &[Verdict], output: &Output) -> String {
    let mut table = Table::new(&[
        ("table", Align::Left),
        ("PostgreSQL", Align::Right),
        ("DuckDB", Align::Right),
        ("checksum", Align::Left),
        ("", Align::Left),
    ]);
    for verdict in verdicts {
        let (from, to) = (&verdict.source, &verdict.destination);
        let (checksum, equal) = match verdict.is_equal() {
            true => (from.checksum(), "equal ✓".to_owned()),
            false => (format!("{} ≠ {}", from.checksum(), to.checksum()), "DIFFERENT ✗".to_owned()),
        };
        table.row([verdict.table.to_owned(), count(from.rows), count(to.rows), checksum, equal]);
    }
    let heading =
        output.paint("1", "Both sides, row by row (order-free checksums of every value):");
    let mut text = format!("\n{heading}\n\n{}\n", table.render());
    for verdict in verdicts.iter().filter(|verdict| !verdict.is_equal()) {
        text.push_str(&format!("  {}\n", verdict.table));
        for line in &verdict.differences {
            text.push_str(&format!("    {line}\n"));
        }
    }
    text
}

fn farewell(file: &Path) -> String {
    let file = file.strip_prefix(".").unwrap_or(file).display();
    format!(
        "The copy is {file}. Look into it:

  duckdb {file} \"SELECT status, count(*), sum(total) FROM public.orders GROUP BY ALL\"
  python -c \"import duckdb; print(duckdb.connect('{file}').sql('FROM public.orders LIMIT 5'))\"

Every change of the table without a key, as it happened (mode append):

  duckdb {file} \"SELECT _rowtide_op, kind, count(*) FROM public.events GROUP BY ALL\"

Next, with a database of yours:

  rowtide check --from postgres://me@host/database --to duckdb:warehouse.duckdb
  rowtide run   --from postgres://me@host/database --to duckdb:warehouse.duckdb --tables 'public.*'
"
    )
}
