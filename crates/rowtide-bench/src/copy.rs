//! W1: a wide realistic table and the tables of pgbench, copied.
//!
//! Of two cores that the server shares, none is ever idle at best, so that a copy cannot be
//! faster than (the server's CPU time for sending + the destination's CPU time for taking) / 2:
//! the least of each that was measured beside it, by nobody who decodes a row.

use std::path::Path;

use rowtide_testkit::{Copied, Result};

use crate::arena::{Arena, DB, Pipeline};
use crate::data::{self, Dataset, PGBENCH, Truth, WIDE};
use crate::limits::{self, copy_by_subscription, copy_to_copy, copy_to_nothing};
use crate::options::{Options, To};
use crate::report::{Line, Outcome};
use crate::rounds::{Rounds, median};
use crate::stopwatch::Taken;
use crate::targets;

const ONE_LANE: &str = "`COPY … (FORMAT binary)` to nothing";
const TWO_LANES: &str = "the same in 2 lanes";
const ARROW: &str = "DuckDB from Arrow, one statement";
const ARROW_BATCHES: &str = "DuckDB from Arrow, a statement for each 100,000 rows";
const PARQUET: &str = "DuckDB from Parquet";
const SCANNER: &str = "DuckDB's postgres scanner";
const TO_DUCKDB: &str = "rowtide → DuckDB";
const SYNC: &str = "table sync of a native subscription";
const PIPE: &str = "`COPY` piped into `COPY`, key before";
const PIPE_KEY_AFTER: &str = "`COPY` piped into `COPY`, key after";
const TO_POSTGRES: &str = "rowtide → PostgreSQL";

/// The ways into DuckDB that are measured as its share of a copy.
const WAYS: [(&str, &str); 3] =
    [(ARROW, "arrow"), (ARROW_BATCHES, "arrow-batches"), (PARQUET, "parquet")];

pub(crate) fn measure(options: &Options) -> Result<Outcome> {
    let arena = Arena::start(options)?;
    data::fill_wide(&arena, options.copy_rows)?;
    arena.sql(&format!("CREATE DATABASE {}", PGBENCH.db))?;
    data::fill_pgbench(&arena, &arena.server, PGBENCH.db, options.copy_scale)?;
    let mut outcome = Outcome::default();
    for set in [WIDE, PGBENCH] {
        let tables = set.tables.join(", ");
        arena.sql_in(set.db, &format!("CREATE PUBLICATION native FOR TABLE {tables}"))?;
        arena.sql_in(set.db, "CHECKPOINT")?;
        let mut copying = Copying::new(&arena, options, set);
        for round in 0..options.runs {
            copying.round(round)?;
        }
        copying.report(&mut outcome)?;
    }
    Ok(outcome)
}

/// The measurement of one set of tables.
struct Copying<'a> {
    arena: &'a Arena,
    options: &'a Options,
    set: Dataset,
    truth: Truth<'a>,
    rounds: Rounds,
    /// Why the scanner was not measured.
    no_scanner: Option<String>,
}

impl<'a> Copying<'a> {
    fn new(arena: &'a Arena, options: &'a Options, set: Dataset) -> Self {
        let truth = Truth::of(arena, set.db, set.tables);
        Self { arena, options, set, truth, rounds: Rounds::default(), no_scanner: None }
    }

    fn round(&mut self, round: usize) -> Result<()> {
        let Dataset { db, tables, .. } = self.set;
        for (what, lanes) in [(ONE_LANE, 1), (TWO_LANES, 2)] {
            self.rounds.add(what, copy_to_nothing(self.arena, db, tables, lanes)?);
        }
        if self.options.has(To::Duckdb) {
            self.duckdb_round(round)?;
        }
        if self.options.has(To::Postgres) {
            self.postgres_round(round)?;
        }
        Ok(())
    }

    fn duckdb_round(&mut self, round: usize) -> Result<()> {
        let pipeline = self.pipeline(To::Duckdb, round)?;
        self.rounds.add(TO_DUCKDB, pipeline.timed_once()?);
        pipeline.with_copy(|copied| self.truth.check(copied))?;
        if round == 0 {
            limits::export(&pipeline.file(), self.set.tables, self.arena.directory())?;
        }
        pipeline.discard()?;
        let directory = self.arena.directory().display().to_string();
        for (what, how) in WAYS {
            let words = ["ingest", "--how", how, "--from", &directory];
            let taken = self.apart(&words, round)?;
            self.rounds.add(what, taken);
        }
        if self.no_scanner.is_none() {
            let url = self.arena.server.url(self.set.db);
            let extension = self.options.scanner.as_ref().map(|path| path.display().to_string());
            let mut words = vec!["scan", "--url", &url];
            words.extend(extension.iter().flat_map(|path| ["--extension", path.as_str()]));
            match self.apart(&words, round) {
                Ok(taken) => self.rounds.add(SCANNER, taken),
                Err(error) => self.no_scanner = Some(why_not(&error)),
            }
        }
        Ok(())
    }

    /// Fills a DuckDB file in a process of its own. The same statement with the same rows does
    /// the same in each round, so that the first is compared.
    fn apart(&mut self, words: &[&str], round: usize) -> Result<Taken> {
        let file = self.arena.directory().join("limit.duckdb");
        let (into, tables) = (file.display().to_string(), self.set.tables.join(","));
        let words = [words, &["--into", &into, "--tables", &tables]].concat();
        let done = self.arena.with_servers(|| Ok(limits::apart(&words)?.taken));
        if round == 0 && done.is_ok() {
            self.truth.check(Copied::Duckdb(&file))?;
        }
        remove(&file);
        done
    }

    fn postgres_round(&mut self, round: usize) -> Result<()> {
        let pipeline = self.pipeline(To::Postgres, round)?;
        self.rounds.add(TO_POSTGRES, pipeline.timed_once()?);
        pipeline.with_copy(|copied| self.truth.check(copied))?;
        pipeline.discard()?;
        for what in [PIPE, PIPE_KEY_AFTER, SYNC] {
            let there = format!("limit_{}", self.set.db);
            self.arena.sql_there(DB, &format!("CREATE DATABASE {there}"))?;
            self.empty(&there, what != PIPE_KEY_AFTER)?;
            let taken = match what {
                SYNC => copy_by_subscription(self.arena, (self.set.db, "native"), &there)?,
                _ => {
                    let taken = copy_to_copy(self.arena, (self.set.db, self.set.tables), &there)?;
                    match what {
                        PIPE_KEY_AFTER => taken.and(self.keys(&there)?),
                        _ => taken,
                    }
                }
            };
            self.rounds.add(what, taken);
            if round == 0 {
                self.truth.check(Copied::Postgres(self.arena.warehouse()?, &there))?;
            }
            self.arena.sql_there(DB, &format!("DROP DATABASE {there}"))?;
        }
        Ok(())
    }

    /// Makes the tables empty in database `there` of the second server.
    fn empty(&self, there: &str, keys: bool) -> Result<()> {
        let server = self.arena.warehouse()?;
        if self.set.db != WIDE.db {
            return data::empty_pgbench(self.arena, server, there, keys);
        }
        data::empty_wide(server, there)?;
        match keys {
            true => self.arena.sql_there(there, &data::add_key("wide")).map(drop),
            false => Ok(()),
        }
    }

    /// Adds the tables' keys in database `there`.
    fn keys(&self, there: &str) -> Result<Taken> {
        self.arena.with_servers(|| {
            let started = std::time::Instant::now();
            match self.set.db == WIDE.db {
                true => self.arena.sql_there(there, &data::add_key("wide")).map(drop)?,
                false => data::key_pgbench(self.arena, self.arena.warehouse()?, there)?,
            }
            Ok(Taken { wall: started.elapsed().as_secs_f64(), ..Taken::default() })
        })
    }

    fn pipeline(&self, to: To, round: usize) -> Result<Pipeline<'a>> {
        let kind = format!("{to}").to_lowercase();
        self.arena.pipeline_from(self.set.db, &format!("{}_{kind}_{round}", self.set.db), to)
    }
}

impl Copying<'_> {
    fn report(&self, outcome: &mut Outcome) -> Result<()> {
        let rows = self.set.rows(self.arena)?;
        let size = self.set.size(self.arena)?;
        let load = format!("{rows} rows, {size}; medians of {}", self.options.runs);
        outcome.line(Line::said(self.set.title, load));
        #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
        let rows = rows as f64;
        let limits = [ONE_LANE, TWO_LANES, ARROW, ARROW_BATCHES, PARQUET, SCANNER];
        outcome.lines.extend(limits.into_iter().filter_map(|what| self.line(what, rows)));
        self.duckdb(outcome, rows);
        let limits = [SYNC, PIPE, PIPE_KEY_AFTER];
        outcome.lines.extend(limits.into_iter().filter_map(|what| self.line(what, rows)));
        self.postgres(outcome, rows);
        Ok(())
    }

    fn titled(&self, what: &str) -> String {
        format!("{}: {what}", self.set.title)
    }

    /// The line of one contender that ran.
    fn line(&self, what: &'static str, rows: f64) -> Option<Line> {
        let taken = self.rounds.median(what)?;
        let line = Line::of(self.titled(what), rows / taken.wall, "rows/s").taken(taken);
        Some(line.spread(self.rounds.spread(what)?))
    }

    fn duckdb(&self, outcome: &mut Outcome, rows: f64) {
        let Some(line) = self.line(TO_DUCKDB, rows) else { return };
        if let Some(why) = &self.no_scanner {
            outcome.line(Line::said(self.titled(SCANNER), format!("not measured: {why}")));
        }
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let limit = |round| self.limit(round, cores);
        let limits = (0..self.options.runs).filter_map(limit).collect();
        if let Some(seconds) = median(limits) {
            let what = format!("limit on {cores} shared cores");
            let taken = Taken { wall: seconds, ..Taken::default() };
            let line = Line::of(self.titled(&what), rows / seconds, "rows/s").taken(taken);
            outcome
                .line(line.note(format!("(server CPU + ingest CPU) / {cores}, the least of each")));
        }
        let ratio = self.rounds.ratio(TO_DUCKDB, limit).unwrap_or_default();
        outcome.line(line.ratio("the limit", ratio, Some(targets::W1_LIMIT)));
        if let Some(ratio) = self.rounds.speed(TO_DUCKDB, SCANNER) {
            let line = Line::said(self.titled(TO_DUCKDB), "");
            outcome.line(line.ratio("the scanner", ratio, Some(targets::W1_SCANNER)));
        }
    }

    fn postgres(&self, outcome: &mut Outcome, rows: f64) {
        let Some(line) = self.line(TO_POSTGRES, rows) else { return };
        let ratio = self.rounds.speed(TO_POSTGRES, SYNC).unwrap_or_default();
        outcome.line(line.ratio("the native table sync", ratio, Some(targets::W1_SYNC)));
        let faster = |round| {
            let both = [PIPE, PIPE_KEY_AFTER].map(|pipe| self.rounds.of(pipe, round));
            both.into_iter().flatten().map(|taken| taken.wall).min_by(f64::total_cmp)
        };
        let ratio = self.rounds.ratio(TO_POSTGRES, faster).unwrap_or_default();
        let line = Line::said(self.titled(TO_POSTGRES), "");
        outcome.line(line.ratio("the faster pipe", ratio, Some(targets::W1_PIPE)));
    }

    /// The least seconds that so many shared cores can take for a copy, by one round's figures.
    fn limit(&self, round: usize, cores: usize) -> Option<f64> {
        let least = |what: &[&str], cost: fn(Taken) -> f64| {
            let all = what.iter().filter_map(|what| self.rounds.of(what, round));
            all.map(cost).min_by(f64::total_cmp)
        };
        let server = least(&[ONE_LANE, TWO_LANES], |taken| taken.server_cpu)?;
        let ingest = least(&[ARROW, ARROW_BATCHES, PARQUET], |taken| taken.cpu)?;
        #[expect(clippy::cast_precision_loss, reason = "a number of cores")]
        Some((server + ingest) / cores as f64)
    }
}

fn remove(file: &Path) {
    for path in [file.to_owned(), file.with_extension("duckdb.wal")] {
        drop(std::fs::remove_file(path));
    }
}

/// Why the scanner did not run. It is no part of DuckDB's library and may not be at hand.
fn why_not(error: &str) -> String {
    match error.contains("LOAD") {
        true => "DuckDB's extension is not installed here (`--scanner` names its file)".to_owned(),
        false => error.lines().last().unwrap_or_default().to_owned(),
    }
}
