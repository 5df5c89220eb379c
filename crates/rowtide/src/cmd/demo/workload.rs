//! The demo's live workload: several connections that do what shops do, and some mean things.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rowtide_core::Result;
use tokio::task::JoinHandle;

use super::shop;

/// A pause between two transactions of a connection, so that two cores suffice for all.
const PAUSE: Duration = Duration::from_millis(3);

/// What may happen: how often, and the transaction.
const TRANSACTIONS: [(u32, &str); 18] = [
    // A new order with its items.
    (
        30,
        "WITH c AS (SELECT id FROM customers WHERE id >= (SELECT floor(random() * max(id)) FROM customers)
                    ORDER BY id LIMIT 1),
              o AS (INSERT INTO orders (customer_id, note, due_at)
                    SELECT id, 'live', date_trunc('second', localtimestamp) + interval '3 days' FROM c
                    RETURNING id)
         INSERT INTO order_items
         SELECT o.id, n, p.id, 1 + floor(random() * 4)::int, p.price
         FROM o, generate_series(1, 1 + floor(random() * 4)::int) n,
              (SELECT id, price FROM products WHERE id >= (SELECT gen_random_uuid()) ORDER BY id LIMIT 1) p",
    ),
    (
        20,
        "UPDATE orders SET total = total + 1.25,
                status = (enum_range(NULL::order_status))[1 + floor(random() * 4)::int]
         WHERE id = (SELECT id FROM orders WHERE id >= (SELECT floor(random() * max(id)) FROM orders)
                     ORDER BY id LIMIT 1)",
    ),
    // The large description is not in the log then.
    (
        15,
        "UPDATE products SET price = round((1 + random() * 500)::numeric, 2)
         WHERE id = (SELECT id FROM products WHERE id >= (SELECT gen_random_uuid()) ORDER BY id LIMIT 1)",
    ),
    (
        4,
        "UPDATE products SET description = repeat(md5(random()::text), 80 + floor(random() * 60)::int),
                attributes = attributes || jsonb_build_object('seen', floor(random() * 1000)::int)
         WHERE id = (SELECT id FROM products WHERE id >= (SELECT gen_random_uuid()) ORDER BY id LIMIT 1)",
    ),
    (
        15,
        "INSERT INTO events SELECT clock_timestamp(), floor(random() * 1000)::bigint, 'click',
                jsonb_build_object('ms', floor(random() * 900)::int)
         FROM generate_series(1, 1 + floor(random() * 8)::int)",
    ),
    (
        6,
        "INSERT INTO customers (name, email, credit, born)
         VALUES ('Live ' || md5(random()::text), NULL, round((random() * 100)::numeric, 2), current_date)",
    ),
    (
        4,
        "UPDATE customers SET vip = NOT vip, credit = credit - 0.01
         WHERE id = (SELECT id FROM customers WHERE id >= (SELECT floor(random() * max(id)) FROM customers)
                     ORDER BY id LIMIT 1)",
    ),
    // A key change, which takes the customer's orders along.
    (
        2,
        "UPDATE customers SET id = nextval(pg_get_serial_sequence('customers', 'id'))
         WHERE id = (SELECT id FROM customers WHERE id >= (SELECT floor(random() * max(id)) FROM customers)
                     ORDER BY id LIMIT 1)",
    ),
    (
        4,
        "DELETE FROM orders
         WHERE id = (SELECT id FROM orders WHERE id >= (SELECT floor(random() * max(id)) FROM orders)
                     ORDER BY id LIMIT 1)",
    ),
    (
        1,
        "DELETE FROM customers
         WHERE id = (SELECT id FROM customers WHERE id >= (SELECT floor(random() * max(id)) FROM customers)
                     ORDER BY id LIMIT 1)",
    ),
    (
        6,
        "INSERT INTO ledger SELECT current_date, 'account ' || floor(random() * 40)::int,
                round((random() * 100)::numeric, 2) FROM generate_series(1, 3)",
    ),
    (
        4,
        "UPDATE ledger SET amount = amount + 1
         WHERE ctid = (SELECT ctid FROM ledger OFFSET floor(random() * 500)::int LIMIT 1)",
    ),
    (
        2,
        "DELETE FROM ledger
         WHERE ctid = (SELECT ctid FROM ledger OFFSET floor(random() * 500)::int LIMIT 1)",
    ),
    (5, "INSERT INTO carts (items, note) VALUES (floor(random() * 9)::int, md5(random()::text))"),
    (
        3,
        "BEGIN; INSERT INTO carts (items) VALUES (1); SAVEPOINT s;
         INSERT INTO carts (items) VALUES (2); ROLLBACK TO s;
         INSERT INTO carts (items, note) VALUES (3, 'kept'); COMMIT",
    ),
    (2, "BEGIN; UPDATE customers SET credit = 0; ROLLBACK"),
    // Many rows in one transaction.
    (
        1,
        "UPDATE order_items SET quantity = quantity + 1
         WHERE order_id BETWEEN (SELECT floor(random() * max(id)) FROM orders)
                            AND (SELECT floor(random() * max(id)) FROM orders) AND random() < 0.02",
    ),
    (1, "TRUNCATE carts"),
];

/// A running workload. Dropping it stops it.
pub(super) struct Workload {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    clients: Vec<JoinHandle<Result<()>>>,
}

impl Workload {
    /// Starts `connections` clients of the database at `url`.
    pub(super) fn start(url: &str, connections: u16) -> Self {
        let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let clients = (0..connections.max(1))
            .map(|n| {
                let (url, stop, done) = (url.to_owned(), Arc::clone(&stop), Arc::clone(&done));
                tokio::spawn(async move { client(&url, u64::from(n), (&stop, &done)).await })
            })
            .collect();
        Self { stop, done, clients }
    }

    /// Lets running transactions end; returns how many there were.
    ///
    /// # Errors
    /// If a client lost its connection.
    pub(super) async fn finish(mut self) -> Result<u64> {
        self.stop.store(true, Ordering::Relaxed);
        for client in self.clients.drain(..) {
            client.await.map_err(|error| {
                rowtide_core::Error::internal("the demo's workload failed").with_source(error)
            })??;
        }
        Ok(self.done.load(Ordering::Relaxed))
    }
}

impl Drop for Workload {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

async fn client(url: &str, n: u64, (stop, done): (&AtomicBool, &AtomicU64)) -> Result<()> {
    let connection = shop::connect(url).await?;
    let mut random = StdRng::seed_from_u64(n);
    let total: u32 = TRANSACTIONS.iter().map(|(weight, _)| weight).sum();
    while !stop.load(Ordering::Relaxed) {
        let mut at = random.random_range(0..total);
        let chosen = TRANSACTIONS.iter().find(|(weight, _)| {
            let here = at < *weight;
            at = at.saturating_sub(*weight);
            here
        });
        let Some((_, sql)) = chosen else { continue };
        match connection.batch_execute(sql).await {
            Ok(()) => {
                done.fetch_add(1, Ordering::Relaxed);
            }
            // Deadlocks, rows that have just gone, keys taken by another: part of a busy life.
            Err(error) if error.as_db_error().is_some() => {
                let _ = connection.batch_execute("ROLLBACK").await;
            }
            Err(error) => return Err(shop::failed("the workload", error)),
        }
        tokio::time::sleep(PAUSE).await;
    }
    Ok(())
}
