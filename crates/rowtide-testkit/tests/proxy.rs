//! The proxy between the SQL driver and a real server: each fault happens, where it was asked for.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::time::{Duration, Instant};

use rowtide_sandbox::testing::start_or_skip;
use rowtide_sandbox::{PostgresServer, ServerOptions};
use rowtide_testkit::proxy::{Action, Connections, Direction, Proxy, Rule, Shape, When};
use rowtide_testkit::wait_for;
use tokio_postgres::{Client, Config, NoTls};

const LIMIT: Duration = Duration::from_secs(20);
const DB: &str = "postgres";

struct Place {
    server: PostgresServer,
    proxy: Proxy,
}

fn place() -> Option<Place> {
    let server = start_or_skip(&ServerOptions::default())?;
    server.psql(DB, "CREATE TABLE t (id int PRIMARY KEY, v text)").unwrap();
    let proxy = Proxy::start(server.port()).unwrap();
    Some(Place { server, proxy })
}

impl Place {
    async fn try_connect(&self, application: &str) -> Result<Client, tokio_postgres::Error> {
        let mut config: Config = self.proxy.url(DB).parse().unwrap();
        let (client, connection) = config.application_name(application).connect(NoTls).await?;
        tokio::spawn(connection);
        Ok(client)
    }

    async fn connect(&self) -> Client {
        self.try_connect("test").await.unwrap()
    }

    fn rows(&self) -> String {
        self.server.psql(DB, "SELECT count(*) FROM t").unwrap()
    }

    /// Waits until the server has ended the session, and so whatever it did has an outcome.
    fn wait_until_alone(&self) {
        let query = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'test'";
        wait_for("the server to end the session", LIMIT, || {
            let sessions = self.server.psql(DB, query).map_err(|e| e.to_string())?;
            Ok((sessions == "0").then_some(()))
        })
        .unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn everything_passes_while_there_is_no_rule() {
    let Some(place) = place() else { return };
    let client = place.connect().await;
    client
        .batch_execute("INSERT INTO t SELECT i, repeat('x', i) FROM generate_series(1, 3000) i")
        .await
        .unwrap();
    let rows = client.query("SELECT id, v FROM t ORDER BY id", &[]).await.unwrap();
    assert!(rows.iter().all(|row| i32::try_from(row.get::<_, &str>(1).len()) == Ok(row.get(0))));
    let counters = place.proxy.counters();
    assert_eq!((counters.connections, counters.faults, counters.refused), (1, 0, 0));
    assert!(counters.bytes_to_client > 4_500_000 && counters.messages_to_client > 3000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_commit_is_cut_before_after_or_at_its_answer() {
    let Some(place) = place() else { return };
    let commit = |action| {
        let when = When::Query("commit".into(), 2);
        Rule::new(Connections::Sql, Direction::ToServer, when, action)
    };
    let cases = [
        (commit(Action::Cut).before(), "1"),
        (commit(Action::CutReply), "3"),
        (commit(Action::BlackHole).before(), "4"),
    ];
    for (n, (rule, expected)) in cases.into_iter().enumerate() {
        let rule = place.proxy.add(rule);
        let client = place.connect().await;
        let first = 10 * i32::try_from(n).unwrap();
        for id in [first, first + 1] {
            client.batch_execute(&format!("BEGIN; INSERT INTO t VALUES ({id})")).await.unwrap();
            let commit = tokio::time::timeout(LIMIT / 20, client.batch_execute("COMMIT")).await;
            match id == first {
                true => commit.unwrap().unwrap(),
                false if n == 2 => assert!(commit.is_err(), "nobody is told anything"),
                false => assert!(commit.unwrap().unwrap_err().is_closed()),
            }
        }
        assert_eq!(place.proxy.fired(rule), 1);
        assert_eq!(place.proxy.cut(&Connections::All), u64::from(n == 2));
        place.wait_until_alone();
        assert_eq!(place.rows(), expected);
    }
    assert_eq!(place.proxy.counters().faults, 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_cut_after_so_many_bytes_is_exact() {
    let Some(place) = place() else { return };
    for bytes in [1, 7, 300, 10_000, 70_001] {
        let before = place.proxy.counters().bytes_to_client;
        let when = When::Bytes(bytes);
        let rule = Rule::new(Connections::All, Direction::ToClient, when, Action::Cut);
        let rule = place.proxy.add(rule);
        let query = "SELECT repeat('x', 1000) FROM generate_series(1, 200)";
        match place.try_connect("test").await {
            Err(_) => assert!(bytes < 10_000),
            Ok(client) => assert!(client.query(query, &[]).await.is_err()),
        }
        assert_eq!(place.proxy.fired(rule), 1);
        assert_eq!(place.proxy.counters().bytes_to_client - before, bytes);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn connections_are_told_apart_and_refused() {
    let Some(place) = place() else { return };
    let only = Connections::Application("victim".into());
    let rule = Rule::new(only.clone(), Direction::ToServer, When::Message(b'Q', 1), Action::Cut);
    let rule = place.proxy.add(rule.times(2));
    let other = place.connect().await;
    for _ in 0..2 {
        let victim = place.try_connect("victim").await.unwrap();
        assert!(victim.batch_execute("SELECT 1").await.is_err());
    }
    let spared = place.try_connect("victim").await.unwrap();
    spared.batch_execute("SELECT 1").await.unwrap();
    assert_eq!(place.proxy.cut(&only), 1);
    other.batch_execute("SELECT 1").await.unwrap();
    place.proxy.heal();
    assert_eq!(place.proxy.fired(rule), 2, "it is remembered");
    place.proxy.refuse(true);
    assert!(place.try_connect("test").await.is_err());
    place.proxy.refuse(false);
    place.connect().await;
    assert_eq!(place.proxy.counters().refused, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn shapes_slow_down_and_split_but_change_nothing() {
    let Some(place) = place() else { return };
    let query = "SELECT repeat('x', 1000) FROM generate_series(1, 20)";
    let shapes = [
        (Shape { one_byte: true, ..Shape::default() }, 0),
        (Shape { delay: Duration::from_millis(10), ..Shape::default() }, 200),
        (Shape { bytes_per_second: 60_000, ..Shape::default() }, 300),
    ];
    for (shape, least) in shapes {
        place.proxy.shape(Connections::All, Direction::ToClient, shape);
        let client = place.connect().await;
        let began = Instant::now();
        let rows = client.query(query, &[]).await.unwrap();
        assert_eq!(rows.len(), 20);
        assert!(rows.iter().all(|row| row.get::<_, &str>(0).len() == 1000));
        assert!(
            began.elapsed() >= Duration::from_millis(least),
            "{shape:?}: {:?}",
            began.elapsed()
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_half_closed_connection_still_answers() {
    let Some(place) = place() else { return };
    let when = When::Query("insert".into(), 1);
    let rule = Rule::new(Connections::All, Direction::ToServer, when, Action::HalfClose);
    let rule = place.proxy.add(rule);
    let client = place.connect().await;
    client.batch_execute("INSERT INTO t VALUES (1)").await.unwrap();
    assert_eq!(place.proxy.fired(rule), 1);
    place.wait_until_alone();
    assert!(client.batch_execute("SELECT 1").await.is_err());
    assert_eq!(place.rows(), "1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn another_server_can_take_the_address() {
    let (Some(place), Some(other)) = (place(), start_or_skip(&ServerOptions::default())) else {
        return;
    };
    place.connect().await.batch_execute("INSERT INTO t VALUES (1)").await.unwrap();
    place.proxy.forward_to(other.port());
    let client = place.connect().await;
    let port: String = client.query_one("SHOW port", &[]).await.unwrap().get(0);
    assert_eq!(port, other.port().to_string());
}
