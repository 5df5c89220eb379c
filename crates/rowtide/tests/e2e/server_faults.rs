//! The source's server dies, stops, throws its reader out, or has no place for it.

use std::io::{Read, Write};
use std::net::TcpStream;

use rand::SeedableRng;
use rand::rngs::StdRng;
use rowtide_sandbox::{PostgresServer, ServerOptions, StopMode};
use rowtide_testkit::proxy::{Connections, Direction, Shape};
use rowtide_testkit::{Finished, Rowtide, wait_for};

use crate::case::{Case, DB, LIMIT};
use crate::faulty::{Faulty, QUICK, SCHEMA, transactions};

/// Takes the server down and up again.
fn restart(server: &mut PostgresServer, how: Option<StopMode>) {
    match how {
        Some(mode) => server.stop(mode).unwrap(),
        None => server.kill9(),
    }
    server.start_again().unwrap();
}

const ENDS: [Option<StopMode>; 3] = [Some(StopMode::Fast), Some(StopMode::Immediate), None];

/// Waits until standard error holds `words` more often than `before`.
fn wait_for_words(rowtide: &mut Rowtide, words: &str, before: usize) {
    wait_for(words, LIMIT, || {
        let log = rowtide.stderr();
        if !rowtide.is_running() {
            return Err(format!("rowtide ended: {log}"));
        }
        Ok((log.matches(words).count() > before).then_some(()))
    })
    .unwrap();
}

#[test]
fn a_server_restarted_in_any_way_is_followed_on() {
    let Some(mut faulty) = Faulty::start(&ServerOptions::default(), SCHEMA) else { return };
    let mut rng = StdRng::seed_from_u64(1);
    let mut rowtide = faulty.following();
    for how in ENDS {
        faulty.write(&mut rng);
        restart(&mut faulty.server, how);
        faulty.write(&mut rng);
        faulty.wait_until_streaming(&mut rowtide);
        faulty.wait_until_caught_up(&mut rowtide);
    }
    faulty.compare_all(rowtide, "after restarts");
}

#[test]
fn a_server_restarted_in_the_middle_of_a_copy_is_copied_again() {
    let Some(mut faulty) = Faulty::start(
        &ServerOptions::default(),
        "CREATE TABLE big (id int PRIMARY KEY, v text);
         INSERT INTO big SELECT i, repeat(md5(i::text), 30) FROM generate_series(1, 20000) i",
    ) else {
        return;
    };
    let mut rowtide = faulty.run(&[]).spawn().unwrap();
    for how in ENDS {
        // So slow that it cannot end before the server does.
        let shape = Shape { bytes_per_second: 200_000, ..Shape::default() };
        faulty.proxy.shape(Connections::Sql, Direction::ToClient, shape);
        let before = faulty.proxy.counters().bytes_to_client;
        if how.is_some_and(|how| how == StopMode::Immediate) || how.is_none() {
            faulty.proxy.cut(&Connections::Sql);
        }
        wait_for("the copy to be on its way", LIMIT, || {
            let copied = faulty.proxy.counters().bytes_to_client - before;
            if !rowtide.is_running() {
                return Err(format!("rowtide ended: {}", rowtide.stderr()));
            }
            Ok((copied > 200_000).then_some(()))
        })
        .unwrap();
        assert!(!rowtide.stderr().contains("copy in place"), "the copy was faster");
        faulty.sql("UPDATE big SET v = v || 'u' WHERE id % 1000 = 7");
        restart(&mut faulty.server, how);
        faulty.sql("DELETE FROM big WHERE id % 1000 = 9");
    }
    faulty.proxy.heal();
    faulty.proxy.cut(&Connections::Sql);
    faulty.wait_until_copied(&mut rowtide, 1);
    faulty.wait_until_caught_up(&mut rowtide);
    faulty.stop(rowtide);
    faulty.compare(&["public.big"]);
}

#[test]
fn a_reader_thrown_out_again_and_again_reads_on() {
    let Some(faulty) = Faulty::start(&ServerOptions::default(), SCHEMA) else { return };
    let mut rng = StdRng::seed_from_u64(2);
    let mut rowtide = faulty.following();
    faulty.wait_until_streaming(&mut rowtide);
    for _ in 0..12 {
        let throw = "SELECT active_pid FROM pg_replication_slots \
             WHERE active AND pg_terminate_backend(active_pid)";
        let pid = wait_for("a reader to throw out", LIMIT, || {
            let pid = faulty.value(throw);
            Ok((!pid.is_empty()).then_some(pid))
        })
        .unwrap();
        faulty.write(&mut rng);
        let other = format!(
            "SELECT count(*) FROM pg_replication_slots WHERE active AND active_pid <> {pid}"
        );
        wait_for("another reader", LIMIT, || Ok((faulty.value(&other) == "1").then_some(())))
            .unwrap();
    }
    faulty.wait_until_caught_up(&mut rowtide);
    faulty.compare_all(rowtide, "after being thrown out");
}

/// Takes one of the places for readers of the log, until it is dropped.
fn occupy(server: &PostgresServer) -> TcpStream {
    let mut socket = TcpStream::connect(("127.0.0.1", server.port())).unwrap();
    socket.set_read_timeout(Some(LIMIT)).unwrap();
    let words = b"user\0postgres\0database\0postgres\0replication\0database\0\0";
    let length = u32::try_from(words.len() + 8).unwrap();
    let startup = [&length.to_be_bytes()[..], &196_608_u32.to_be_bytes(), words].concat();
    socket.write_all(&startup).unwrap();
    // Authenticated: `R`, length 8, 0.
    let mut answer = [0; 9];
    socket.read_exact(&mut answer).unwrap();
    assert_eq!(answer, [b'R', 0, 0, 0, 8, 0, 0, 0, 0]);
    socket
}

#[test]
fn a_server_without_a_place_for_a_reader_is_waited_for() {
    let options = ServerOptions::default().with_setting("max_wal_senders", "2");
    let Some(case) = Case::start_on(&options, SCHEMA) else { return };
    case.config(QUICK);
    let full = || [occupy(&case.server), occupy(&case.server)];
    // A first start says what is wrong, and makes nothing.
    let places = full();
    let first = case.run(&["--once"]).run(LIMIT).unwrap();
    assert_eq!(first.code(), 2, "{first:?}");
    assert!(first.stderr.contains("max_wal_senders"), "{}", first.stderr);
    assert_eq!(case.value("SELECT count(*) FROM pg_publication"), "0");
    drop(places);
    wait_until_unread(&case);
    case.once();
    // One that worked before waits.
    let places = full();
    let mut rowtide = case.run(&[]).spawn().unwrap();
    wait_for_words(&mut rowtide, "exceeds max_wal_senders", 2);
    case.sql("INSERT INTO kept VALUES (1000, 'later')");
    drop(places);
    case.wait_until_caught_up(&mut rowtide);
    case.stop(rowtide);
    case.compare(&["public.kept", "public.bag"]);
}

fn wait_until_unread(case: &Case) {
    wait_for("the readers to be gone", LIMIT, || {
        let readers = case.value("SELECT count(*) FROM pg_stat_replication");
        let held =
            case.value("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'walsender'");
        Ok((readers == "0" && held == "0").then_some(()))
    })
    .unwrap();
}

#[test]
fn a_long_transaction_holds_up_the_slot_but_loses_nothing() {
    let Some(case) = Case::start(SCHEMA) else { return };
    case.config(QUICK);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let url = case.server.url(DB);
    let long = runtime.block_on(async {
        let (client, connection) =
            tokio_postgres::connect(&url, tokio_postgres::NoTls).await.unwrap();
        tokio::spawn(connection);
        client
            .batch_execute(
                "BEGIN; INSERT INTO kept VALUES (1000, 'long'); DELETE FROM bag WHERE x = 1",
            )
            .await
            .unwrap();
        client
    });
    let mut rowtide = case.run(&[]).spawn().unwrap();
    // After five seconds the log names who is waited for.
    wait_for_words(&mut rowtide, "slot waits for transactions to end", 0);
    assert!(rowtide.stderr().contains("postgres, idle in transaction"), "{}", rowtide.stderr());
    case.server.psql(DB, &transactions(&mut StdRng::seed_from_u64(3))).unwrap();
    runtime.block_on(long.batch_execute("COMMIT")).unwrap();
    case.wait_until_copied(&mut rowtide, 3);
    case.wait_until_caught_up(&mut rowtide);
    case.stop(rowtide);
    case.compare(&["public.kept", "public.bag"]);
    assert_eq!(case.rows("SELECT v FROM public.kept WHERE id = 1000"), ["long"]);
}

#[test]
fn a_process_that_stood_still_goes_on() {
    // Longer than the server waits for its reader, so that it is thrown out meanwhile.
    let Some(faulty) = Faulty::start(&crate::faulty::impatient(), SCHEMA) else { return };
    let mut rng = StdRng::seed_from_u64(4);
    let mut rowtide = faulty.following();
    faulty.write(&mut rng);
    rowtide.pause().unwrap();
    wait_for("the server to miss its reader", LIMIT, || {
        faulty.write(&mut rng);
        let active = faulty.value("SELECT count(*) FROM pg_replication_slots WHERE active");
        Ok((active == "0").then_some(()))
    })
    .unwrap();
    rowtide.resume().unwrap();
    faulty.write(&mut rng);
    faulty.wait_until_caught_up(&mut rowtide);
    faulty.compare_all(rowtide, "after standing still");
}

#[test]
fn a_destination_that_is_held_by_another_is_waited_for() {
    use rowtide_core::Destination;
    use rowtide_duckdb::{DuckdbDestination, DuckdbOptions};

    let Some(case) = Case::start(SCHEMA) else { return };
    case.config(QUICK);
    case.once();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let other = DuckdbDestination::new(DuckdbOptions::new(case.file())).unwrap();
    let held = runtime.block_on(other.open("another")).unwrap();
    case.sql("INSERT INTO kept VALUES (1000, 'later')");
    let mut rowtide = case.run(&[]).spawn().unwrap();
    let holder = format!("process {}", std::process::id());
    wait_for_words(&mut rowtide, &holder, 2);
    drop(held);
    drop(other);
    case.wait_until_caught_up(&mut rowtide);
    let ended: Finished = case.stop(rowtide);
    assert!(ended.stderr.contains("retrying"), "{}", ended.stderr);
    case.compare(&["public.kept", "public.bag"]);
}
