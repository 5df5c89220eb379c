//! The load: a seeded stream of transactions that does what breaks replication tools, over tables
//! of every kind.
//!
//! Two connections mix transactions of a few statements each; a pair of further connections
//! weaves transactions into each other in a fixed order, so that the order of first changes is
//! not the order of commits. Unique violations and deadlocks are part of the game: they roll back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rowtide_testkit::{Result, wait_for};
use tokio_postgres::{Client, NoTls};

use crate::case::LIMIT;
use crate::statements::{Mix, statement};

/// Connections that mix.
const MIXERS: u64 = 2;
/// Between two transactions of a connection: the load must not be what the machine is busy with.
const PAUSE: Duration = Duration::from_millis(12);

/// Transactions that a process has to follow after it came back.
const MORE: u64 = 60;

/// A running load; stopped when dropped.
pub(crate) struct Load {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<Result<()>>>,
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    /// Whether tables may change their shape.
    ddl: AtomicBool,
    transactions: AtomicU64,
}

impl Load {
    /// Starts it against the database at `url`.
    ///
    /// # Errors
    /// If a thread cannot be started.
    pub(crate) fn start(url: &str, seed: u64) -> Result<Self> {
        let shared = Arc::new(Shared::default());
        let mut threads = Vec::new();
        for n in 0..=MIXERS {
            let (url, shared) = (url.to_owned(), Arc::clone(&shared));
            let run = move || client(&url, (n, seed), &shared);
            let thread = std::thread::Builder::new().name(format!("load-{n}")).spawn(run);
            threads.push(thread.map_err(|e| format!("start a thread of the load: {e}"))?);
        }
        Ok(Self { shared, threads })
    }

    /// From now on tables change their shape too. Not while they are copied: a copy begins anew
    /// when its table changes, and at this rate would hardly ever end.
    pub(crate) fn allow_ddl(&self) {
        self.shared.ddl.store(true, Ordering::Relaxed);
    }

    /// Transactions so far, rolled back ones included.
    pub(crate) fn transactions(&self) -> u64 {
        self.shared.transactions.load(Ordering::Relaxed)
    }

    /// Waits for some more transactions, so that there is something to follow.
    ///
    /// # Errors
    /// If it makes none.
    pub(crate) fn more(&self) -> Result<()> {
        let enough = self.transactions() + MORE;
        wait_for("the load to go on", LIMIT, || Ok((self.transactions() >= enough).then_some(())))
    }

    /// Ends it; returns how many transactions there were.
    ///
    /// # Errors
    /// If a connection met an error that is no part of the game.
    pub(crate) fn stop(mut self) -> Result<u64> {
        self.shared.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            thread.join().map_err(|_| "a thread of the load panicked".to_owned())??;
        }
        Ok(self.transactions())
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            drop(thread.join());
        }
    }
}

fn client(url: &str, (n, seed): (u64, u64), shared: &Shared) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|e| e.to_string())?;
    let mut rng = StdRng::seed_from_u64(seed.wrapping_mul(31).wrapping_add(n));
    runtime.block_on(async {
        let first = connect(url).await?;
        let second = if n == MIXERS { Some(connect(url).await?) } else { None };
        while !shared.stop.load(Ordering::Relaxed) {
            match &second {
                Some(second) => weave((&first, second), &mut rng).await?,
                None => {
                    let ddl = n == 0 && shared.ddl.load(Ordering::Relaxed);
                    mix(&first, &mut rng, ddl).await?;
                }
            }
            shared.transactions.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    })
}

/// A connection; its other half ends with the runtime.
pub(crate) async fn connect(url: &str) -> Result<Client> {
    let (client, connection) =
        tokio_postgres::connect(url, NoTls).await.map_err(|e| format!("connect: {e}"))?;
    tokio::spawn(connection);
    Ok(client)
}

/// One transaction of one to a few statements, some of them rolled back to a savepoint.
async fn mix(client: &Client, rng: &mut StdRng, ddl: bool) -> Result<()> {
    let mut sql = String::from("BEGIN;");
    let kind = if ddl && rng.random_ratio(1, 12) { Mix::Shape } else { Mix::Rows };
    for _ in 0..rng.random_range(1..=4) {
        sql.push_str(&statement(rng, kind));
        sql.push(';');
    }
    if rng.random_ratio(1, 8) {
        // Money appears that must never have been there.
        let inner = statement(rng, Mix::Rows);
        sql.push_str(&format!(
            "SAVEPOINT s; UPDATE bank SET balance = balance + 1000 WHERE id % 10 = 0; {inner}; \
             ROLLBACK TO s;"
        ));
    }
    sql.push_str(if rng.random_ratio(1, 12) { "ROLLBACK" } else { "COMMIT" });
    game(client, &sql).await
}

/// Two transactions on the same row: the one that began first, and wrote first, commits last.
async fn weave((first, second): (&Client, &Client), rng: &mut StdRng) -> Result<()> {
    let id = rng.random_range(91..=100);
    let key = rng.random_range(1..=40);
    let early = "INSERT INTO ledger (what, body) VALUES ('first of two', '')";
    game(first, &format!("BEGIN; {early}")).await?;
    let between = format!(
        "BEGIN; UPDATE counter SET n = n + 1 WHERE id = {id}; \
         UPDATE woven SET v = v + 1 WHERE id = {key}; COMMIT"
    );
    game(second, &between).await?;
    let late = format!(
        "UPDATE counter SET n = n + 1 WHERE id = {id}; \
         UPDATE woven SET v = v * 2 % 1000003 WHERE id = {key}; COMMIT"
    );
    game(first, &late).await
}

/// Runs `sql`; what the server refuses is rolled back.
async fn game(client: &Client, sql: &str) -> Result<()> {
    match client.batch_execute(sql).await {
        Ok(()) => Ok(()),
        Err(error) if error.as_db_error().is_some() => {
            client.batch_execute("ROLLBACK").await.map_err(|e| format!("roll back: {e}"))
        }
        Err(error) => Err(format!("the load: {error}")),
    }
}
