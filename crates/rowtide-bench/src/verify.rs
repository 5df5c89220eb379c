//! `rowtide verify`: both sides of the wide table compared while they are equal, and while three
//! rows of the copy are wrong; beside what the source alone takes to read and hash the same rows.
//!
//! No pipeline runs beside it, so that its time is that of the whole program: it starts, connects,
//! follows the log to where it looked at the source, and compares.

mod told;
mod wrong;

use std::time::Instant;

use rowtide_testkit::Result;

use crate::arena::{Arena, DB, LIMIT, Pipeline};
use crate::data::{self, Truth, WIDE};
use crate::options::{Options, To};
use crate::report::{Line, Outcome};
use crate::rounds::Rounds;
use crate::session::Session;
use crate::stopwatch::{Taken, mib, time_to_end};
use crate::targets::{
    Target, VERIFY_DUCKDB, VERIFY_MEMORY_DUCKDB, VERIFY_MEMORY_POSTGRES, VERIFY_WRONG_DUCKDB,
    VERIFY_WRONG_POSTGRES,
};
use told::Told;
use wrong::WrongRows;

/// What the server does at best with the same rows: reads each, makes it text and hashes it.
const HASH: &str = "SELECT count(*), sum(hashtextextended(t::text, 0)) FROM wide t";

const ONE: &str = "`count(*), sum(hash)` at the source, one connection";
const DEFAULTS: &str = "the same with the server's own settings";

/// From how many rows on finding wrong ones is judged: of fewer, the second and a half for which a
/// difference must stand still before it is believed is no small part.
const BAR_ROWS: u64 = 5_000_000;

/// What DuckDB may take while rows are compared, in mebibytes: less than usual, so that what is
/// beyond it is the program's own.
const DUCKDB_MIB: f64 = 512.0;
const DUCKDB_PARAMETERS: &str = "memory_limit=512MiB";

/// One destination: what is measured of it under which words, and what is asked of it.
struct Side {
    to: To,
    equal: &'static str,
    /// The same without the program's start and end.
    check: &'static str,
    wrong: &'static str,
    speed: Option<Target>,
    wrong_time: Target,
    memory: Target,
}

const DUCKDB: Side = Side {
    to: To::Duckdb,
    equal: "rowtide verify → DuckDB, equal",
    check: "the comparison alone → DuckDB, equal",
    wrong: "rowtide verify → DuckDB, 3 wrong rows",
    speed: Some(VERIFY_DUCKDB),
    wrong_time: VERIFY_WRONG_DUCKDB,
    memory: VERIFY_MEMORY_DUCKDB,
};

const POSTGRES: Side = Side {
    to: To::Postgres,
    equal: "rowtide verify → PostgreSQL, equal",
    check: "the comparison alone → PostgreSQL, equal",
    wrong: "rowtide verify → PostgreSQL, 3 wrong rows",
    speed: None,
    wrong_time: VERIFY_WRONG_POSTGRES,
    memory: VERIFY_MEMORY_POSTGRES,
};

pub(crate) fn measure(options: &Options) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    for rows in &options.verify_rows {
        let arena = Arena::start(options)?;
        data::fill_wide(&arena, *rows)?;
        arena.sql("CHECKPOINT")?;
        Verifying::new(&arena, options, *rows)?.measured(&mut outcome)?;
    }
    Ok(outcome)
}

/// The measurement of one size, with a copy for each destination.
struct Verifying<'a> {
    arena: &'a Arena,
    runs: usize,
    rows: u64,
    copies: Vec<(&'static Side, Pipeline<'a>)>,
    truth: Truth<'a>,
    rounds: Rounds,
}

impl<'a> Verifying<'a> {
    fn new(arena: &'a Arena, options: &Options, rows: u64) -> Result<Self> {
        let mut truth = Truth::of(arena, WIDE.db, WIDE.tables);
        let mut copies = Vec::new();
        for side in [&DUCKDB, &POSTGRES].into_iter().filter(|side| options.has(side.to)) {
            let name = format!("verify_{}", side.to.to_string().to_lowercase());
            let pipeline = arena.pipeline(&name, side.to)?;
            pipeline.once()?;
            pipeline.with_copy(|copied| truth.check(copied))?;
            copies.push((side, pipeline.with_parameters(DUCKDB_PARAMETERS)));
        }
        Ok(Self { arena, runs: options.runs, rows, copies, truth, rounds: Rounds::default() })
    }

    fn measured(mut self, outcome: &mut Outcome) -> Result<()> {
        for _ in 0..self.runs {
            self.round()?;
        }
        // What was spoilt was put right again, or a round compared what it should not have.
        for (_, pipeline) in &self.copies {
            pipeline.with_copy(|copied| self.truth.check(copied))?;
        }
        self.report(outcome)
    }

    fn round(&mut self) -> Result<()> {
        let settings = "SET max_parallel_workers_per_gather = 0; SET jit = off";
        for (what, settings) in [(ONE, settings), (DEFAULTS, "")] {
            self.rounds.add(what, self.hash(settings)?);
        }
        for (side, pipeline) in &self.copies {
            let (taken, told) = self.verify(pipeline)?;
            told.check_equal(self.rows)?;
            self.rounds.add(side.equal, taken);
            self.rounds.add(side.check, Taken { wall: told.seconds(), ..Taken::default() });
            let wrong = WrongRows::plant(pipeline, self.rows)?;
            let (taken, told) = self.verify(pipeline)?;
            told.check_wrong(&wrong)?;
            self.rounds.add(side.wrong, taken);
            wrong.restore(pipeline)?;
        }
        Ok(())
    }

    /// The server's own pass over the rows.
    fn hash(&self, settings: &str) -> Result<Taken> {
        let session = Session::open(&self.arena.server.url(DB))?;
        session.set(settings)?;
        let query = session.prepare(HASH)?;
        self.arena.with_servers(|| {
            let started = Instant::now();
            let counted = session.ask(&query, &[])?;
            let wall = started.elapsed().as_secs_f64();
            let counted = counted.first().map(|row| row.get::<_, i64>(0));
            match counted.map(u64::try_from) {
                Some(Ok(rows)) if rows == self.rows => Ok(Taken { wall, ..Taken::default() }),
                _ => Err(format!("{counted:?} rows hashed of {}", self.rows)),
            }
        })
    }

    /// From the start of the program to its end, whatever it finds.
    fn verify(&self, pipeline: &Pipeline<'_>) -> Result<(Taken, Told)> {
        let command = pipeline.command("verify", &["--json", "--show-values"])?;
        let mut finished = None;
        let taken = self.arena.with_servers(|| {
            let (taken, ended) = time_to_end(command.spawn()?, LIMIT)?;
            finished = Some(ended);
            Ok(taken)
        })?;
        let finished = finished.ok_or("rowtide verify has not ended")?;
        Ok((taken, Told::read(&finished)?))
    }
}

impl Verifying<'_> {
    fn report(&self, outcome: &mut Outcome) -> Result<()> {
        let load = format!("{}; medians of {}", WIDE.size(self.arena)?, self.runs);
        outcome.line(Line::said(self.titled("wide table"), load));
        let one = "parallel query and jit off; what the bar is judged against";
        for (what, note) in [(ONE, one), (DEFAULTS, "")] {
            outcome.lines.extend(self.line(what).map(|line| line.note(note)));
        }
        for (side, _) in &self.copies {
            self.side(side, outcome);
        }
        Ok(())
    }

    fn titled(&self, what: &str) -> String {
        format!("{} rows: {what}", self.rows)
    }

    /// The line of one contender.
    fn line(&self, what: &'static str) -> Option<Line> {
        let taken = self.rounds.median(what)?;
        #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
        let rate = self.rows as f64 / taken.wall;
        let line = Line::of(self.titled(what), rate, "rows/s").taken(taken);
        Some(line.spread(self.rounds.spread(what)?))
    }

    fn side(&self, side: &'static Side, outcome: &mut Outcome) {
        let speed = |what| self.rounds.speed(what, ONE).unwrap_or_default();
        let line = |what| self.line(what).unwrap_or_default();
        outcome.line(line(side.equal).ratio("one connection", speed(side.equal), side.speed));
        let note = "as the report tells: without the program's start and end";
        let check = line(side.check).ratio("one connection", speed(side.check), None);
        outcome.line(check.note(note));
        let times = self.rounds.speed(side.equal, side.wrong).unwrap_or_default();
        let found = "a value changed, a row missing, a row too many: exactly these were named";
        let target = Some(side.wrong_time).filter(|_| self.rows >= BAR_ROWS);
        let wrong = line(side.wrong).ratio("the time if equal", times, target);
        outcome.line(wrong.note(found));
        let peaks = [side.equal, side.wrong].map(|what| self.rounds.peak_bytes(what));
        let peak = mib(peaks.into_iter().max().unwrap_or_default());
        let what = |words: &str| self.titled(&format!("rowtide verify → {}, {words}", side.to));
        let memory = match side.to {
            To::Duckdb => {
                let beyond = "peak memory beyond DuckDB's limit";
                Line::of(what(beyond), peak - DUCKDB_MIB, "MiB").note(format!(
                    "peak {peak:.0} MiB, limit {DUCKDB_MIB:.0} MiB; the largest of all rounds"
                ))
            }
            To::Postgres => {
                Line::of(what("peak memory"), peak, "MiB").note("the largest of all rounds")
            }
        };
        outcome.line(memory.target(side.memory));
    }
}
