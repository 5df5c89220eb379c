//! A process that ends at a named point, and another that goes on.

use std::os::unix::process::ExitStatusExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rowtide_testkit::{Result, Rowtide, wait_for};

use crate::arena::Arena;
use crate::case::{Case, LIMIT};
use crate::load::{Load, connect};
use crate::points::{Occasion, Spot};
use crate::report::Line;
use crate::target::Target;
use crate::verify::verify;
use crate::watch::Watch;

/// How abort() ends a process.
const SIGABRT: i32 = 6;

/// How long a transaction stays open after its table was added, if nobody waits for it.
const HELD: Duration = Duration::from_secs(5);

/// Runs one case: ends the process at `spot`, lets another go on, and compares.
///
/// # Errors
/// If the point was not reached, or anything does not go as it must. Damage is no error here.
pub fn crash_at(arena: &Arena, target: Target, (spot, seed): (Spot, u64)) -> Result<Line> {
    let began = Instant::now();
    let case = Case::new(arena, target)?;
    let load = Load::start(&case.source_url(), seed)?;
    if spot.occasion != Occasion::Fresh {
        case.once(&[])?;
        case.money_is_there()?;
        load.allow_ddl();
    }
    let held = match spot.occasion {
        Occasion::Added => Some(Held::start(&case)?),
        _ => None,
    };
    let watch = Watch::start(&case)?;
    die(&case, spot)?;
    let died = Instant::now();
    case.check_money()?;
    let mut back = case.run(&[]).spawn()?;
    case.wait_for_commit(&mut back)?;
    let recovery = died.elapsed();
    let transactions = match spot.occasion {
        Occasion::Fresh => {
            case.stop(back)?;
            // What is copied while the load goes on, and followed afterwards.
            case.once(&[])?;
            load.more()?;
            case.end(load)?
        }
        _ => {
            load.more()?;
            let transactions = case.end(load)?;
            case.stop(back)?;
            transactions
        }
    };
    if let Some(held) = held {
        held.join()?;
    }
    let resync: &[&str] = match spot.occasion {
        Occasion::Stopping => &["--resync", "public.odd"],
        _ => &[],
    };
    case.once(resync)?;
    let looks = watch.stop()?;
    if spot.occasion == Occasion::Fresh {
        case.money_is_there()?;
        // Nothing moves any more: the position need not reach the head that was just read.
        case.money_from.store(1, Ordering::Release);
    }
    let damage = verify(&case)?;
    let took = began.elapsed();
    Ok(Line { spot, target, seed, transactions, looks, recovery, damage, took })
}

/// Starts a process that is to end at `spot`, and sees to it that it did.
fn die(case: &Case<'_>, spot: Spot) -> Result<()> {
    let Spot { point, arrival, occasion } = spot;
    let arguments: &[&str] = match occasion {
        Occasion::Resync => &["--resync", "public.item"],
        _ => &[],
    };
    let failpoint = format!("{point}=abort@{arrival}");
    let mut doomed = case.run(arguments).env("ROWTIDE_FAILPOINT", &failpoint).spawn()?;
    if occasion == Occasion::Stopping {
        case.wait_for_commit(&mut doomed)?;
        case.sql("ALTER TABLE odd ALTER v TYPE text; INSERT INTO odd VALUES (100, 'text')")?;
    }
    expect_abort(doomed, &failpoint)
}

fn expect_abort(doomed: Rowtide, failpoint: &str) -> Result<()> {
    let finished = doomed.wait(LIMIT).map_err(|e| format!("{failpoint} was not reached: {e}"))?;
    match finished.status.signal() {
        Some(SIGABRT) => Ok(()),
        _ => Err(format!(
            "{failpoint} was not reached: rowtide ended with {}\n{}",
            finished.status, finished.stderr
        )),
    }
}

/// A new table, and a transaction that wrote to it before it was published and stays open until
/// after: a copy that does not wait for it has half of it.
struct Held {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Held {
    fn start(case: &Case<'_>) -> Result<Self> {
        case.sql(
            "CREATE TABLE late (id int PRIMARY KEY, v text); \
             INSERT INTO late SELECT i, repeat('t', i) FROM generate_series(1, 300) i",
        )?;
        let stop = Arc::new(AtomicBool::new(false));
        let (url, stopping) = (case.source_url(), Arc::clone(&stop));
        let written = Arc::new(AtomicBool::new(false));
        let writing = Arc::clone(&written);
        let thread = std::thread::Builder::new()
            .name("held".to_owned())
            .spawn(move || hold(&url, (&stopping, &writing)))
            .map_err(|e| format!("start a thread: {e}"))?;
        let held = Self { stop, thread: Some(thread) };
        wait_for("a transaction to be held", LIMIT, || {
            Ok(written.load(Ordering::Acquire).then_some(()))
        })?;
        Ok(held)
    }

    fn join(mut self) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().map(JoinHandle::join);
        thread.unwrap_or(Ok(Ok(()))).map_err(|_| "the held transaction panicked".to_owned())?
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        drop(self.thread.take().map(JoinHandle::join));
    }
}

fn hold(url: &str, (stop, written): (&AtomicBool, &AtomicBool)) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|e| e.to_string())?;
    let text = |e: tokio_postgres::Error| format!("the held transaction: {e}");
    runtime.block_on(async {
        let client = connect(url).await?;
        let early = "BEGIN; INSERT INTO late VALUES (1001, 'early'); UPDATE late SET v = 'held' WHERE id = 7";
        client.batch_execute(early).await.map_err(text)?;
        written.store(true, Ordering::Release);
        // A copy that waits asks again and again whether older transactions have ended.
        let waiting = "SELECT FROM pg_stat_activity WHERE datname = current_database() \
             AND query LIKE '%pg_snapshot_xmin(%' AND pid <> pg_backend_pid()";
        let published = "SELECT FROM pg_publication_tables WHERE tablename = 'late'";
        let mut since: Option<Instant> = None;
        while !stop.load(Ordering::Relaxed) && since.is_none_or(|since| since.elapsed() < HELD) {
            if !client.query(waiting, &[]).await.map_err(text)?.is_empty() {
                break;
            }
            if since.is_none() && !client.query(published, &[]).await.map_err(text)?.is_empty() {
                since = Some(Instant::now());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let late = "INSERT INTO late VALUES (1002, 'late'); UPDATE late SET v = v || '!' WHERE id < 20; COMMIT";
        client.batch_execute(late).await.map_err(text)
    })
}
