//! A seeded stream of transactions against the tables of [`Workload::SCHEMA`], from several
//! connections, until it is stopped.
//!
//! It does what breaks replication tools: key changes, updates that leave a large value alone,
//! rows written and deleted in one transaction, roll-backs, savepoints, multi-row statements, a
//! table without a key under full row identity, and the odd TRUNCATE.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio_postgres::{Client, NoTls};

use crate::Result;

/// A running workload; stopped when dropped.
pub struct Workload {
    stop: Arc<AtomicBool>,
    transactions: Arc<AtomicU64>,
    threads: Vec<JoinHandle<Result<()>>>,
}

/// What a workload did.
#[derive(Debug, Clone, Copy)]
pub struct WorkloadReport {
    /// Transactions that ended, rolled back ones included.
    pub transactions: u64,
}

impl Workload {
    /// Creates the tables.
    pub const SCHEMA: &'static str = "
        CREATE TABLE account (id bigint PRIMARY KEY, owner text NOT NULL, balance numeric(12,2) NOT NULL,
            note text, tags text[], active bool DEFAULT true, at timestamptz DEFAULT now());
        ALTER TABLE account ALTER note SET STORAGE EXTERNAL;
        CREATE TABLE pair (a int, b text, v int, doc jsonb, PRIMARY KEY (b, a));
        CREATE TABLE bag (x int, y text);
        ALTER TABLE bag REPLICA IDENTITY FULL;
        CREATE TABLE scratch (id serial PRIMARY KEY, v text);
        INSERT INTO account SELECT i, 'owner ' || i, i * 1.5, repeat('n', 3000 + i % 100), ARRAY['a', NULL, i::text]
            FROM generate_series(1, 2000) i;
        INSERT INTO pair SELECT i, 'b' || i % 7, i, jsonb_build_object('n', i) FROM generate_series(1, 500) i;
        INSERT INTO bag SELECT i % 20, 'y' || i % 3 FROM generate_series(1, 200) i;
        INSERT INTO scratch (v) SELECT 'v' || i FROM generate_series(1, 50) i;";

    /// The tables it touches.
    pub const TABLES: [&'static str; 4] =
        ["public.account", "public.pair", "public.bag", "public.scratch"];

    /// Starts `connections` clients against `url`.
    ///
    /// # Errors
    /// If a thread cannot be started.
    pub fn start(url: &str, seed: u64, connections: u64) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let transactions = Arc::new(AtomicU64::new(0));
        let mut threads = Vec::new();
        for n in 0..connections {
            let (url, stop, count) = (url.to_owned(), Arc::clone(&stop), Arc::clone(&transactions));
            let thread = std::thread::Builder::new()
                .name(format!("workload-{n}"))
                .spawn(move || client(&url, seed.wrapping_add(n), &stop, &count))
                .map_err(|e| format!("start a workload thread: {e}"))?;
            threads.push(thread);
        }
        Ok(Self { stop, transactions, threads })
    }

    /// Transactions so far.
    pub fn transactions(&self) -> u64 {
        self.transactions.load(Ordering::Relaxed)
    }

    /// Ends it.
    ///
    /// # Errors
    /// If a client met an error it did not cause on purpose.
    pub fn stop(mut self) -> Result<WorkloadReport> {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            thread.join().map_err(|_| "a workload thread panicked".to_owned())??;
        }
        Ok(WorkloadReport { transactions: self.transactions() })
    }
}

impl Drop for Workload {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn client(url: &str, seed: u64, stop: &AtomicBool, count: &AtomicU64) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| e.to_string())?;
    runtime.block_on(async {
        let (client, connection) =
            tokio_postgres::connect(url, NoTls).await.map_err(|e| format!("connect: {e}"))?;
        let driver = tokio::spawn(connection);
        let mut rng = StdRng::seed_from_u64(seed);
        while !stop.load(Ordering::Relaxed) {
            transaction(&client, &mut rng).await?;
            count.fetch_add(1, Ordering::Relaxed);
        }
        drop(client);
        drop(driver.await);
        Ok(())
    })
}

/// One transaction of one to a few statements. Unique violations, serialization failures and
/// deadlocks are part of the game: they roll back.
async fn transaction(client: &Client, rng: &mut StdRng) -> Result<()> {
    let mut sql = String::from("BEGIN;");
    for _ in 0..rng.random_range(1..=4) {
        sql.push_str(&statement(rng));
        sql.push(';');
    }
    if rng.random_ratio(1, 10) {
        sql.push_str("SAVEPOINT s;");
        sql.push_str(&statement(rng));
        sql.push_str(";ROLLBACK TO s;");
    }
    sql.push_str(if rng.random_ratio(1, 12) { "ROLLBACK" } else { "COMMIT" });
    match client.batch_execute(&sql).await {
        Ok(()) => Ok(()),
        Err(error) if error.as_db_error().is_some() => {
            client.batch_execute("ROLLBACK").await.map_err(|e| format!("roll back: {e}"))
        }
        Err(error) => Err(format!("workload: {error}")),
    }
}

fn statement(rng: &mut StdRng) -> String {
    let id = rng.random_range(1..=2400);
    let v: i32 = rng.random_range(-1000..1000);
    let word: u32 = rng.random();
    match rng.random_range(0..100) {
        0..20 => format!(
            "INSERT INTO account VALUES ({}, 'new {word}', {v}.25, repeat('{}', 2500), '{{x,NULL}}')
             ON CONFLICT (id) DO UPDATE SET balance = account.balance + 1",
            rng.random_range(1..100_000),
            word % 10
        ),
        20..45 => format!("UPDATE account SET balance = {v}.5, at = now() WHERE id = {id}"),
        45..50 => {
            format!("UPDATE account SET note = repeat('m{}', 1500) WHERE id = {id}", word % 10)
        }
        50..55 => format!(
            "UPDATE account SET id = id + {}, active = NOT active WHERE id = {id}",
            rng.random_range(100_000..200_000)
        ),
        55..62 => format!("DELETE FROM account WHERE id = {id}"),
        62..72 => format!(
            "UPDATE pair SET v = {v}, doc = '{{\"k\": [{v}, null, \"{word}\"]}}' WHERE a = {}",
            id % 500
        ),
        72..76 => {
            format!("UPDATE pair SET b = 'b{}', a = a + 1000 WHERE a = {}", word % 9, id % 500)
        }
        76..80 => format!(
            "INSERT INTO pair VALUES ({v}, 'q{}', 1, NULL) ON CONFLICT DO NOTHING",
            word % 5
        ),
        80..88 => format!("INSERT INTO bag VALUES ({}, 'y{}'), (NULL, NULL)", v % 20, word % 3),
        88..92 => format!("UPDATE bag SET y = 'z{}' WHERE x = {}", word % 4, v.abs() % 20),
        92..95 => format!(
            "DELETE FROM bag WHERE ctid IN (SELECT ctid FROM bag WHERE x = {} LIMIT 2)",
            v.abs() % 20
        ),
        95..99 => format!(
            "INSERT INTO scratch (v) SELECT 's' || i FROM generate_series(1, {}) i",
            word % 30
        ),
        _ => "TRUNCATE scratch; INSERT INTO scratch (v) VALUES ('after')".to_owned(),
    }
}
