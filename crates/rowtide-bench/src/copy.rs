//! W1: a wide realistic table and the tables of pgbench, copied.
//!
//! Of two cores that the server shares, none is ever idle at best, so that a copy cannot be
//! faster than (the server's CPU time for sending + the destination's CPU time for taking) / 2:
//! the least of each that was measured beside it, by nobody who decodes a row.

use std::path::{Path, PathBuf};

use rowtide_testkit::{Copied, Result};

use crate::arena::{Arena, DB, Pipeline};
use crate::data::{self, Dataset, PGBENCH, Truth, WIDE};
use crate::limits::{self, Done, Duckdb, copy_by_subscription, copy_to_copy, copy_to_nothing};
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
    scanner: Scanned,
}

/// How it went with the scanner.
#[derive(Default)]
struct Scanned {
    /// The version of its DuckDB.
    version: String,
    /// Why it was not measured.
    failed: Option<String>,
}

impl<'a> Copying<'a> {
    fn new(arena: &'a Arena, options: &'a Options, set: Dataset) -> Self {
        let truth = Truth::of(arena, set.db, set.tables);
        Self { arena, options, set, truth, rounds: Rounds::default(), scanner: Scanned::default() }
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
            let done = self.compared(round, |copying| copying.apart(&words, None))?;
            self.rounds.add(what, done.taken);
        }
        if self.scanner.failed.is_none() {
            self.scan(round);
        }
        Ok(())
    }

    /// Lets the scanner copy. It may not be at hand: without it there are no figures of it.
    fn scan(&mut self, round: usize) {
        let options = self.options;
        let url = self.arena.server.url(self.set.db);
        let extension = options.scanner.as_ref().map(|path| path.display().to_string());
        let mut words = vec!["scan", "--url", &url];
        words.extend(extension.iter().flat_map(|path| ["--extension", path.as_str()]));
        let scanned = self.compared(round, |copying| {
            let done = copying.apart(&words, options.scanner_library.as_deref())?;
            if round == 0 {
                copying.pad()?;
            }
            Ok(done)
        });
        match scanned {
            Ok(done) => {
                self.rounds.add(SCANNER, done.taken);
                self.scanner.version = done.duckdb;
            }
            Err(error) => {
                self.scanner.failed = Some(why_not(&error, options.scanner.as_deref()));
            }
        }
    }

    /// The DuckDB file that a limit fills.
    fn file(&self) -> PathBuf {
        self.arena.directory().join("limit.duckdb")
    }

    /// Lets `fill` make the file, and removes it. The same statement with the same rows does the
    /// same in each round, so that the first is compared.
    fn compared(&mut self, round: usize, fill: impl FnOnce(&Self) -> Result<Done>) -> Result<Done> {
        let file = self.file();
        let mut done = fill(self);
        if round == 0 && done.is_ok() {
            done = self.truth.check(Copied::Duckdb(&file)).and(done);
        }
        remove(&file);
        done
    }

    /// Fills the file in a process of its own, by another DuckDB library if one is given.
    fn apart(&self, words: &[&str], library: Option<&Path>) -> Result<Done> {
        let (into, tables) = (self.file().display().to_string(), self.set.tables.join(","));
        let words = [words, &["--into", &into, "--tables", &tables]].concat();
        let clock = self.arena.clock();
        let mut done = limits::apart_with(&words, library)?;
        done.taken.server_cpu = clock.seconds();
        Ok(done)
    }

    /// Gives the file's values of char(n) their blanks, as the source prints them: the scanner
    /// leaves them out.
    fn pad(&self) -> Result<()> {
        let tables = self.set.tables.join(",");
        let updates = format!(
            "SELECT format('UPDATE %s SET %I = rpad(%I, %s, '' '');', name, attname, attname, \
             atttypmod - 4) FROM unnest(string_to_array('{tables}', ',')) AS name \
             JOIN pg_attribute ON attrelid = name::regclass AND atttypid = 'bpchar'::regtype \
             AND attnum > 0 AND NOT attisdropped"
        );
        let updates = self.arena.sql_in(self.set.db, &updates)?;
        match updates.is_empty() {
            true => Ok(()),
            false => Duckdb::open(&self.file())?.execute(&updates),
        }
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
        let lines = limits.into_iter().filter_map(|what| {
            let line = self.line(what, rows)?;
            Some(match what {
                SCANNER => line.note(format!("by DuckDB {}", self.scanner.version)),
                _ => line,
            })
        });
        outcome.lines.extend(lines);
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
        if let Some(why) = &self.scanner.failed {
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
fn why_not(error: &str, extension: Option<&Path>) -> String {
    let is_loaded = !error.contains("error: LOAD ");
    let Some(extension) = extension.filter(|_| !is_loaded) else {
        return match is_loaded {
            true => said(error).to_owned(),
            false => "DuckDB's extension is not installed here (`--scanner` names its file)".into(),
        };
    };
    let name = extension.file_name().unwrap_or_default().to_string_lossy();
    let said = said(error).replace(&*extension.to_string_lossy(), &name);
    format!("{said} `--scanner-library` names the directory of another version's library.")
}

/// What DuckDB said in the end, without what it was asked.
fn said(error: &str) -> &str {
    let said = error.rsplit_once("Error: ").map_or(error, |(_, said)| said);
    said.lines().next().unwrap_or_default()
}
