//! From a cold start until an established pipeline streams.
//!
//! What the servers take is told apart: they log how long each statement ran, and each connection;
//! what a connection costs is measured beside it. The rest is the program's own.

use std::time::{Duration, Instant};

use rowtide_sandbox::PostgresServer;
use rowtide_testkit::{Result, Rowtide};

use crate::arena::{Arena, DB, LIMIT, Pipeline};
use crate::options::{Options, To};
use crate::report::{Line, Outcome};
use crate::rounds::median;
use crate::session::Session;
use crate::targets::{START_DUCKDB, START_POSTGRES};

/// The server logs the time of every statement and every connection.
const LOGGING: &str = "ALTER SYSTEM SET log_min_duration_statement = 0;
    ALTER SYSTEM SET log_connections = on";

const STREAMS: &str = "SELECT count(*) FROM pg_replication_slots AS slot \
    JOIN pg_stat_replication AS sender ON sender.pid = slot.active_pid \
    WHERE slot.slot_name = $1 AND sender.state = 'streaming'";

pub(crate) fn measure(options: &Options) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    for to in &options.to {
        let arena = Arena::start(&Options { to: vec![*to], ..options.clone() })?;
        arena
            .sql("CREATE TABLE calm (id int PRIMARY KEY, v int); INSERT INTO calm VALUES (1, 1)")?;
        let pipeline = arena.pipeline("start", *to)?;
        pipeline.once()?;
        let mut starts = Vec::new();
        let servers = Servers::prepare(&arena, *to)?;
        for id in 0..options.runs.max(1) {
            starts.push(start(&arena, &pipeline, &servers)?);
            arena.sql(&format!("INSERT INTO calm VALUES ({id} + 10, 1)"))?;
        }
        pipeline.once()?;
        pipeline.compare(&["public.calm"])?;
        outcome.line(line(*to, &servers, &starts)?);
    }
    Ok(outcome)
}

/// The servers of a pipeline, ready to tell what they do.
struct Servers<'a> {
    all: Vec<&'a PostgresServer>,
    session: Session,
    /// What a new connection costs, in milliseconds.
    connect_ms: f64,
}

impl<'a> Servers<'a> {
    fn prepare(arena: &'a Arena, to: To) -> Result<Self> {
        let mut all = vec![&arena.server];
        if to == To::Postgres {
            all.push(arena.warehouse()?);
        }
        for server in &all {
            for sql in LOGGING.split(';').chain(["SELECT pg_reload_conf()"]) {
                server.psql(DB, sql.trim()).map_err(|e| e.to_string())?;
            }
        }
        let url = arena.server.url(DB);
        let mut costs = Vec::new();
        for _ in 0..5 {
            let began = Instant::now();
            drop(Session::open(&url)?);
            costs.push(began.elapsed().as_secs_f64() * 1000.0);
        }
        let session = Session::open(&url)?;
        session.set("SET log_min_duration_statement = -1")?;
        Ok(Self { all, session, connect_ms: median(costs).unwrap_or_default() })
    }

    /// How long each server's log is.
    fn marks(&self) -> Vec<usize> {
        self.all.iter().map(|server| log(server).len()).collect()
    }

    /// What the servers did since.
    fn since(&self, marks: &[usize]) -> Work {
        let logs = self.all.iter().zip(marks);
        let work = logs.map(|(server, mark)| Work::told(log(server).get(*mark..).unwrap_or("")));
        work.fold(Work::default(), |all, one| Work {
            statements: all.statements + one.statements,
            statements_ms: all.statements_ms + one.statements_ms,
            connections: all.connections + one.connections,
        })
    }
}

fn log(server: &PostgresServer) -> String {
    let bytes = std::fs::read(server.log_file()).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// What servers did.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Work {
    statements: u32,
    statements_ms: f64,
    connections: u32,
}

impl Work {
    /// Reads a log: `… duration: 0.123 ms  parse <unnamed>: …`, `… connection received: …`.
    fn told(log: &str) -> Self {
        let mut work = Self::default();
        for line in log.lines() {
            let took = line.split_once("duration: ").and_then(|(_, rest)| rest.split_once(" ms"));
            if let Some(ms) = took.and_then(|(ms, _)| ms.parse::<f64>().ok()) {
                work.statements += 1;
                work.statements_ms += ms;
            }
            work.connections += u32::from(line.contains("connection received: "));
        }
        work
    }
}

/// One start: the time until the source streams to it, and what the servers did meanwhile.
struct Start {
    ms: f64,
    work: Work,
}

fn start(arena: &Arena, pipeline: &Pipeline<'_>, servers: &Servers<'_>) -> Result<Start> {
    let (slot, run) = (pipeline.slot(), pipeline.run(&[])?);
    let streams = servers.session.prepare(STREAMS)?;
    let marks = servers.marks();
    let began = Instant::now();
    let mut rowtide = run.spawn()?;
    let streaming = || -> Result<bool> {
        let rows = servers.session.ask(&streams, &[&slot])?;
        Ok(rows.first().is_some_and(|row| row.get::<_, i64>(0) > 0))
    };
    while !streaming()? {
        give_up(&mut rowtide, began)?;
        std::thread::park_timeout(Duration::from_millis(1));
    }
    let ms = began.elapsed().as_secs_f64() * 1000.0;
    let work = servers.since(&marks);
    arena.wait_until_caught_up(&slot)?;
    rowtide.terminate()?;
    rowtide.wait(Duration::from_secs(60))?.success()?;
    Ok(Start { ms, work })
}

fn give_up(rowtide: &mut Rowtide, began: Instant) -> Result<()> {
    match (rowtide.is_running(), began.elapsed() < LIMIT) {
        (true, true) => Ok(()),
        (false, _) => Err(format!("rowtide ended by itself: {}", rowtide.stderr())),
        (true, false) => Err(format!("it did not stream in {LIMIT:?}: {}", rowtide.stderr())),
    }
}

fn line(to: To, servers: &Servers<'_>, starts: &[Start]) -> Result<Line> {
    let of_servers = |start: &Start| {
        start.work.statements_ms + f64::from(start.work.connections) * servers.connect_ms
    };
    let own = median(starts.iter().map(|start| start.ms - of_servers(start)).collect());
    let own = own.ok_or("nothing was started")?;
    let whole = median(starts.iter().map(|start| start.ms).collect()).unwrap_or_default();
    let work = starts.last().map(|start| start.work).unwrap_or_default();
    let target = if to == To::Duckdb { START_DUCKDB } else { START_POSTGRES };
    Ok(Line::of(format!("{to}: cold start to streaming, without the servers"), own, "ms")
        .target(target)
        .note(format!(
            "median of {}; whole {whole:.0} ms; the servers ran {} statements in {:.0} ms and took \
             {} connections of {:.1} ms",
            starts.len(),
            work.statements,
            work.statements_ms,
            work.connections,
            servers.connect_ms
        )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_servers_work_is_read_from_its_log() {
        let log = "2026-01-01 LOG:  connection received: host=127.0.0.1 port=1\n\
            2026-01-01 LOG:  connection authorized: user=postgres\n\
            2026-01-01 LOG:  duration: 0.250 ms  parse <unnamed>: SELECT 1\n\
            2026-01-01 LOG:  duration: 1.500 ms\n\tof several lines\n";
        let expected = Work { statements: 2, statements_ms: 1.75, connections: 1 };
        assert_eq!(Work::told(log), expected);
        assert_eq!(Work::told(""), Work::default());
    }
}
