//! Pipelines that catch up with what was done while they did not run, looked at all the while.

use std::time::{SystemTime, UNIX_EPOCH};

use rowtide_testkit::Result;

use crate::arena::{Arena, DB, LIMIT, Pipeline};
use crate::limits::apart;
use crate::options::{Options, To};
use crate::report::{Kind, Line, Series};
use crate::rounds::Rounds;
use crate::series::{Epoch, Sample, Sampler, epochs, memory, telling, throughput};
use crate::stopwatch::{Taken, time_rowtide};

/// One run that caught up.
pub(crate) struct CaughtUp {
    pub(crate) taken: Taken,
    /// When it was started, in seconds since 1970.
    pub(crate) began: f64,
    pub(crate) epochs: Vec<Epoch>,
    pub(crate) samples: Vec<Sample>,
}

/// Runs `pipeline` until it has caught up.
pub(crate) fn catch_up(arena: &Arena, pipeline: &Pipeline<'_>) -> Result<CaughtUp> {
    let (clock, began) = (arena.clock(), seconds_since_1970()?);
    let rowtide = telling(pipeline.run(&["--once"])?).spawn()?;
    let sampler = Sampler::start(rowtide.pid());
    let (taken, run) = time_rowtide(rowtide, LIMIT)?;
    let taken = Taken { server_cpu: clock.seconds(), ..taken };
    Ok(CaughtUp { taken, began, epochs: epochs(&run.stderr)?, samples: sampler.finish() })
}

pub(crate) fn seconds_since_1970() -> Result<f64> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).map_err(|e| e.to_string())?;
    Ok(since.as_secs_f64())
}

impl CaughtUp {
    /// Its throughput and its memory over time; `name` begins the names of both.
    pub(crate) fn series(&self, name: &str) -> [Series; 2] {
        let line = |what: &str, y_unit, points| Series {
            name: format!("{name}-{what}"),
            x_unit: "s",
            y_unit,
            points,
            kind: Kind::Line,
        };
        [
            line("throughput", "changes/s", throughput(&self.epochs, self.began)),
            line("memory", "MiB resident", memory(&self.samples)),
        ]
    }
}

/// Several pipelines that caught up with the same changes in turn, round by round.
pub(crate) struct Contest {
    pub(crate) rounds: Rounds,
    /// The last round of each.
    pub(crate) last: Vec<(To, CaughtUp)>,
}

/// What pipelines are to catch up with.
pub(crate) struct Backlog<'a> {
    /// Makes that of one round.
    pub(crate) make: &'a dyn Fn() -> Result<()>,
    /// A statement that changes something, for a last transaction that a reader can look for.
    pub(crate) mark: &'a str,
}

/// Lets a reader that does nothing, and then every pipeline, catch up with the backlog of each
/// round; `check` compares their copies in the end.
pub(crate) fn contest(
    options: &Options,
    arena: &Arena,
    backlog: &Backlog<'_>,
    check: impl Fn(&Pipeline<'_>) -> Result<()>,
) -> Result<Contest> {
    let mut pipelines = Vec::new();
    for to in &options.to {
        let pipeline = arena.pipeline(&format!("into_{}", to.to_string().to_lowercase()), *to)?;
        pipeline.once()?;
        pipelines.push((*to, pipeline));
    }
    let publication = pipelines.first().map(|(_, pipeline)| pipeline.slot());
    let publication = publication.ok_or("there is no destination")?;
    arena.sql(&format!("SELECT pg_create_logical_replication_slot('{READER}', 'pgoutput')"))?;
    let mut contest = Contest { rounds: Rounds::default(), last: Vec::new() };
    for _ in 0..options.runs {
        (backlog.make)()?;
        contest.rounds.add(NULL_READER, read_to_nothing(arena, &publication, backlog.mark)?);
        contest.last.clear();
        for (to, pipeline) in &pipelines {
            let caught_up = catch_up(arena, pipeline)?;
            contest.rounds.add(contender(*to), caught_up.taken);
            contest.last.push((*to, caught_up));
        }
    }
    for (_, pipeline) in &pipelines {
        check(pipeline)?;
    }
    Ok(contest)
}

/// The slot of the reader that does nothing.
const READER: &str = "null_reader";

const NULL_READER: &str = "the null reader";

/// Reads the backlog, and the transaction that marks its end, to nowhere.
fn read_to_nothing(arena: &Arena, publication: &str, mark: &str) -> Result<Taken> {
    let until = arena.sql("SELECT pg_current_wal_insert_lsn()")?;
    arena.sql(mark)?;
    let port = arena.server.port().to_string();
    let words = ["read", "--port", &port, "--db", DB, "--slot", READER];
    let words = [&words[..], &["--publication", publication, "--until", &until]].concat();
    arena.with_servers(|| Ok(apart(&words)?.taken))
}

impl Contest {
    /// A line for each contender that caught up with `changes` in each round.
    pub(crate) fn lines(&self, changes: u64) -> Vec<Line> {
        let of = |name, what: &str| {
            let taken = self.rounds.median(name)?;
            #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
            let rate = changes as f64 / taken.wall;
            let spread = self.rounds.spread(name)?;
            Some(Line::of(what, rate, "changes/s").taken(taken).spread(spread))
        };
        let ours = |(to, _): &(To, CaughtUp)| {
            let name = contender(*to);
            let line = of(name, &format!("{name}, whole run"))?;
            Some(line.ratio(NULL_READER, self.rounds.speed(name, NULL_READER)?, None))
        };
        let reader = of(NULL_READER, "frames and acknowledges alone");
        reader.into_iter().chain(self.last.iter().filter_map(ours)).collect()
    }

    /// What the last runs looked like.
    pub(crate) fn series(&self, name: &str) -> Vec<Series> {
        let of = |(to, caught_up): &(To, CaughtUp)| {
            caught_up.series(&format!("{name}-{}", to.to_string().to_lowercase()))
        };
        self.last.iter().flat_map(of).collect()
    }
}

const fn contender(to: To) -> &'static str {
    match to {
        To::Duckdb => "rowtide into DuckDB",
        To::Postgres => "rowtide into PostgreSQL",
    }
}
