//! Very many small tables: how long a start takes, and what a run holds while it has them.

use std::fmt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rowtide_sandbox::Major;
use rowtide_testkit::{Finished, Result, Rowtide, binary, peak_rss_bytes, wait_for};

use crate::stage::{End, Stage};

/// How many tables one transaction makes: their locks must fit into the server's memory.
const BATCH: usize = 250;
/// How long any step may take, however loaded the machine is.
const LIMIT: Duration = Duration::from_secs(3600);

/// What can be chosen.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// How many tables to make.
    #[arg(long, default_value_t = 1_000)]
    count: usize,
    /// Where they go; without it to each kind of destination.
    #[arg(long)]
    to: Option<End>,
}

/// Measures as asked, and prints the figures.
///
/// # Errors
/// If a run fails, or a copy differs.
#[expect(clippy::print_stdout, reason = "the figures are what is asked for")]
pub fn run(options: &Options) -> Result<()> {
    let major = Major::installed().into_iter().max().ok_or("no PostgreSQL server is installed")?;
    for end in End::ALL.into_iter().filter(|end| options.to.is_none_or(|to| to == *end)) {
        // A release build, which has no failpoints, can be measured too.
        let given = std::env::var_os("ROWTIDE_BINARY").map(PathBuf::from);
        let program = given.map_or_else(binary, Ok)?;
        let stage = Stage::new(major, end, &program, ("", ""))?;
        make(&stage, options.count)?;
        let figures = measure(&stage, options.count)?;
        verify(&stage, options.count)?;
        println!("{end:?}: {figures}");
    }
    Ok(())
}

/// What a run of very many tables took. Times are for people: nothing may depend on them.
#[derive(Debug, Clone, Default)]
pub struct Figures {
    /// How many tables there are.
    pub count: usize,
    /// From the program's start until its slot was read.
    pub first_start: Duration,
    /// From the program's start until every copy was in place.
    pub copied: Duration,
    /// From the second start until its slot was read.
    pub second_start: Duration,
    /// From the second start until a change of every hundredth table was durable.
    pub followed: Duration,
    /// The most memory that either run had resident.
    pub peak_rss: u64,
    /// The most files (sockets too) that either run was seen to have open.
    pub open_files: usize,
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = |time: Duration| time.as_secs_f64();
        write!(
            f,
            "{} tables: start {:.1} s, copied after {:.1} s, start again {:.1} s, following after \
             {:.1} s, peak {} MiB, at most {} files open",
            self.count,
            seconds(self.first_start),
            seconds(self.copied),
            seconds(self.second_start),
            seconds(self.followed),
            self.peak_rss >> 20,
            self.open_files,
        )
    }
}

/// Makes `count` tables of one to three columns with a few rows each.
///
/// # Errors
/// What the server says.
pub fn make(stage: &Stage, count: usize) -> Result<()> {
    for from in (0..count).step_by(BATCH) {
        let to = (from + BATCH).min(count) - 1;
        stage.sql(&format!(
            "DO $$ BEGIN FOR i IN {from}..{to} LOOP \
             EXECUTE format('CREATE TABLE t%s (id int8 PRIMARY KEY%s)', i, \
                 (ARRAY['', ', a text', ', a text, b int4'])[i % 3 + 1]); \
             EXECUTE format('INSERT INTO t%s SELECT n%s FROM generate_series(1, %s) n', i, \
                 (ARRAY['', ', ''v'' || n', ', ''v'' || n, n'])[i % 3 + 1], i % 5); \
             END LOOP; END $$"
        ))?;
    }
    Ok(())
}

/// Copies all tables, changes some, and starts once more.
///
/// # Errors
/// If the run ends before it is asked to, or its copy differs.
pub fn measure(stage: &Stage, count: usize) -> Result<Figures> {
    let mut figures = Figures { count, ..Figures::default() };
    let began = Instant::now();
    let mut run = stage.follow()?;
    until_active(stage, &mut run, &mut figures)?;
    figures.first_start = began.elapsed();
    wait_for("every copy to be in place", LIMIT, || {
        alive(&mut run)?;
        look(&run, &mut figures);
        // The log grows with the tables: it is not read more often than need be.
        std::thread::park_timeout(Duration::from_millis(500));
        Ok((run.stderr().matches("copy in place").count() >= count).then_some(()))
    })?;
    figures.copied = began.elapsed();
    end(run)?;

    change(stage, count)?;
    let began = Instant::now();
    let mut run = stage.follow()?;
    until_active(stage, &mut run, &mut figures)?;
    figures.second_start = began.elapsed();
    change(stage, count)?;
    let head = stage.sql("SELECT pg_current_wal_flush_lsn()")?;
    wait_for("the changes to be durable", LIMIT, || {
        alive(&mut run)?;
        look(&run, &mut figures);
        let reached = stage.sql(&format!(
            "SELECT bool_and(confirmed_flush_lsn >= '{}') FROM pg_replication_slots \
             WHERE NOT temporary",
            head.trim()
        ))?;
        Ok((reached.trim() == "t").then_some(()))
    })?;
    figures.followed = began.elapsed();
    end(run)?;
    Ok(figures)
}

/// Compares every hundredth table, and how many tables there are.
///
/// # Errors
/// The first difference.
pub fn verify(stage: &Stage, count: usize) -> Result<()> {
    let arrived = stage.rows(
        "SELECT cast(count(*) AS varchar) FROM information_schema.tables \
         WHERE table_schema = 'public'",
    )?;
    if arrived != [count.to_string()] {
        return Err(format!("{count} tables were to arrive, but {arrived:?} did"));
    }
    let names: Vec<String> = (0..count).step_by(100).map(|i| format!("public.t{i}")).collect();
    stage.compare(&names.iter().map(String::as_str).collect::<Vec<_>>())
}

/// Adds a row to every hundredth table, in one transaction each.
fn change(stage: &Stage, count: usize) -> Result<()> {
    let last = count - 1;
    let changes = format!(
        "DO $$ BEGIN FOR i IN 0..{last} BY 100 LOOP \
         EXECUTE format('INSERT INTO t%s (id) SELECT coalesce(max(id), 0) + 1 FROM t%s', i, i); \
         COMMIT; END LOOP; END $$"
    );
    stage.sql(&changes).map(drop)
}

fn until_active(stage: &Stage, run: &mut Rowtide, figures: &mut Figures) -> Result<()> {
    wait_for("the slot to be read", LIMIT, || {
        alive(run)?;
        look(run, figures);
        let active = stage.sql("SELECT count(*) FROM pg_replication_slots WHERE active")?;
        Ok((active.trim() == "1").then_some(()))
    })
}

fn alive(run: &mut Rowtide) -> Result<()> {
    if run.is_running() {
        return Ok(());
    }
    let log = run.stderr();
    let tail: Vec<&str> = log.lines().rev().take(20).collect();
    Err(format!("rowtide ended: {}", tail.into_iter().rev().collect::<Vec<_>>().join("\n")))
}

/// Takes note of what the run holds.
fn look(run: &Rowtide, figures: &mut Figures) {
    let peak = peak_rss_bytes(run.pid()).unwrap_or_default();
    figures.peak_rss = figures.peak_rss.max(peak);
    let files = std::fs::read_dir(format!("/proc/{}/fd", run.pid()));
    figures.open_files = figures.open_files.max(files.map_or(0, Iterator::count));
}

fn end(run: Rowtide) -> Result<()> {
    run.terminate()?;
    run.wait(LIMIT).and_then(Finished::success).map(drop)
}
