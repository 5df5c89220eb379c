//! W2: a backlog of small transactions and of pgbench's, drained by everybody from the same place.

mod backlog;

use rowtide_testkit::{Copied, Result};

use crate::arena::{Arena, DB, LIMIT, Pipeline};
use crate::catching_up::catch_up;
use crate::data::Truth;
use crate::limits::{self, Counts, Subscription};
use crate::options::{Options, To};
use crate::report::{Line, Outcome, Series};
use crate::rounds::Rounds;
use crate::stopwatch::{Taken, time_command};
use crate::targets::{self, Target};

use backlog::{Backlog, TABLES};

const READER: &str = "the null reader";
const RECVLOGICAL: &str = "`pg_recvlogical` to nothing";
const TO_DUCKDB: &str = "rowtide → DuckDB";
const NATIVE: &str = "a native binary subscription";
const TO_POSTGRES: &str = "rowtide → PostgreSQL";

/// CPU seconds per million changes of the cheapest peer that was measured on two cores:
/// supabase/etl, with a destination that throws everything away.
const CHEAPEST_PEER: f64 = 5.6;

/// Everything that will drain in one round, waiting at the beginning of the backlog.
struct Waiting<'a> {
    reader: String,
    pipelines: Vec<(To, Pipeline<'a>)>,
    native: Option<(String, Subscription<'a>)>,
}

pub(crate) fn measure(options: &Options) -> Result<Outcome> {
    let arena = Arena::start(options)?;
    backlog::make_tables(&arena, options)?;
    let waiting = (0..options.runs)
        .map(|round| Waiting::prepare(&arena, options, round))
        .collect::<Result<Vec<_>>>()?;
    make_slot(&arena, "recvlogical")?;
    let backlog = backlog::write(&arena, options)?;

    let mut truth = Truth::of(&arena, DB, &TABLES);
    let mut rounds = Rounds::default();
    rounds.add(RECVLOGICAL, recvlogical(&arena, &backlog)?);
    let mut counts = Counts::default();
    let mut series = Vec::new();
    for (round, one) in waiting.into_iter().enumerate() {
        let pictures = (round == 0).then_some(&mut series);
        counts = one.drain(&arena, (&backlog, &mut truth), (&mut rounds, pictures))?;
    }
    Ok(Outcome { series, ..report(options, counts, &rounds) })
}

impl<'a> Waiting<'a> {
    fn prepare(arena: &'a Arena, options: &Options, round: usize) -> Result<Self> {
        let reader = format!("reader_{round}");
        make_slot(arena, &reader)?;
        let mut pipelines = Vec::new();
        for to in &options.to {
            let name = format!("drain_{}_{round}", to.to_string().to_lowercase());
            let pipeline = arena.pipeline(&name, *to)?;
            pipeline.once()?;
            pipelines.push((*to, pipeline));
        }
        let native = match options.has(To::Postgres) {
            false => None,
            true => {
                let there = format!("native_{round}");
                backlog::make_copy(arena, options, &there)?;
                let subscription =
                    Subscription::prepare(arena, (DB, backlog::PUBLICATION), &there)?;
                Some((there, subscription))
            }
        };
        Ok(Self { reader, pipelines, native })
    }

    /// Lets everyone drain, one after the other; each result is compared. `pictures` takes what
    /// our own runs looked like.
    fn drain(
        self,
        arena: &Arena,
        (backlog, truth): (&Backlog, &mut Truth<'_>),
        (rounds, mut pictures): (&mut Rounds, Option<&mut Vec<Series>>),
    ) -> Result<Counts> {
        let (taken, counts) = read(arena, &self.reader, backlog)?;
        rounds.add(READER, taken);
        for (to, pipeline) in self.pipelines {
            let taken = match &mut pictures {
                None => pipeline.timed_once()?,
                Some(pictures) => {
                    let run = catch_up(arena, &pipeline)?;
                    let name = format!("drain-{}", to.to_string().to_lowercase());
                    pictures.extend(run.series(&name));
                    run.taken
                }
            };
            rounds.add(if to == To::Duckdb { TO_DUCKDB } else { TO_POSTGRES }, taken);
            pipeline.with_copy(|copied| truth.check(copied))?;
            pipeline.discard()?;
        }
        if let Some((there, subscription)) = self.native {
            rounds.add(NATIVE, subscription.drain(backlog::ARRIVED)?);
            truth.check(Copied::Postgres(arena.warehouse()?, &there))?;
            arena.sql_there(DB, &format!("DROP DATABASE {there}"))?;
        }
        Ok(counts)
    }
}

fn make_slot(arena: &Arena, name: &str) -> Result<()> {
    let make = format!("SELECT pg_create_logical_replication_slot('{name}', 'pgoutput')");
    arena.sql(&make).map(drop)
}

fn drop_slot(arena: &Arena, name: &str) -> Result<()> {
    let inactive = format!(
        "EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = '{name}' AND NOT active)"
    );
    arena.wait_in(&arena.server, DB, &inactive)?;
    arena.sql(&format!("SELECT pg_drop_replication_slot('{name}')")).map(drop)
}

/// Reads the backlog from the slot `slot` by the null reader, in a process of its own.
fn read(arena: &Arena, slot: &str, backlog: &Backlog) -> Result<(Taken, Counts)> {
    let port = arena.server.port().to_string();
    let mut counts = Counts::default();
    let taken = arena.with_servers(|| {
        let done = limits::apart(&[
            "read",
            "--port",
            &port,
            "--db",
            DB,
            "--slot",
            slot,
            "--publication",
            backlog::PUBLICATION,
            "--until",
            &backlog.last,
        ])?;
        counts = done.counts;
        Ok(done.taken)
    })?;
    drop_slot(arena, slot)?;
    Ok((taken, counts))
}

/// The same by PostgreSQL's own tool.
fn recvlogical(arena: &Arena, backlog: &Backlog) -> Result<Taken> {
    let mut tool = arena.tool("pg_recvlogical")?;
    tool.args(["-d", DB, "--slot", "recvlogical", "--start", "--file", "/dev/null", "--no-loop"]);
    tool.args(["--endpos", &backlog.end, "-o", "proto_version=1", "-o", "binary=true", "-o"]);
    tool.arg(format!("publication_names={}", backlog::PUBLICATION));
    let taken = arena.with_servers(|| time_command(&mut tool, LIMIT))?;
    drop_slot(arena, "recvlogical")?;
    Ok(taken)
}

fn report(options: &Options, counts: Counts, rounds: &Rounds) -> Outcome {
    let mut outcome = Outcome::default();
    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    let changes = counts.changes() as f64;
    outcome.line(Line::said(
        "backlog",
        format!(
            "{} transactions: {} inserts, {} updates, {} deletes, {} MiB of messages; medians of {}",
            counts.transactions,
            counts.inserts,
            counts.updates,
            counts.deletes,
            counts.bytes >> 20,
            options.runs
        ),
    ));
    let line = |what: &'static str| {
        let taken = rounds.median(what)?;
        let line = Line::of(what, changes / taken.wall, "changes/s").taken(taken);
        Some(line.spread(rounds.spread(what)?))
    };
    for what in [READER, RECVLOGICAL, NATIVE] {
        line(what).into_iter().for_each(|line| outcome.line(line));
    }
    let compared: [(&'static str, &'static str, Target, Target); 2] = [
        (TO_DUCKDB, READER, targets::W2_READER, targets::W2_CPU_DUCKDB),
        (TO_POSTGRES, NATIVE, targets::W2_NATIVE, targets::W2_CPU_POSTGRES),
    ];
    for (what, limit, speed, cpu) in compared {
        let (Some(line), Some(taken)) = (line(what), rounds.median(what)) else { continue };
        let ratio = rounds.speed(what, limit).unwrap_or_default();
        outcome.line(line.ratio(limit, ratio, Some(speed)));
        let seconds = taken.cpu / changes * 1e6;
        let times = CHEAPEST_PEER / seconds;
        outcome.line(
            Line::of(format!("{what}: CPU per million changes"), seconds, "s")
                .ratio("less than the cheapest peer", times, Some(cpu))
                .note(format!("which took {CHEAPEST_PEER} s in a run of its own")),
        );
    }
    outcome
}
