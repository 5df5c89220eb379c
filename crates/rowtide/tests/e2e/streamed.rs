//! Large transactions that are kept here until they are committed (`streaming = "on"`): killed while
//! one is put together, killed while it is handed on, and without room to keep it.

use std::path::PathBuf;

use rowtide_testkit::{Rowtide, RowtideCommand, peak_rss_bytes, wait_for};
use tokio::runtime::Runtime;
use tokio_postgres::{Client, NoTls};

use crate::case::{Case, DB, LIMIT};
use crate::warehouse::Warehouse;

const SCHEMA: &str = "CREATE TABLE t (id int PRIMARY KEY, v text);
     CREATE TABLE ledger (n int, v text);
     INSERT INTO t SELECT i, 'old' FROM generate_series(1, 100) i;
     ALTER DATABASE postgres SET logical_decoding_work_mem = '64kB'";

/// What the log says when a transaction outgrows the memory.
const IN_A_FILE: &str = "transaction goes to a file";

/// Rows, of which so many at different places, and so many that were rolled back.
const LEDGER: &str = "SELECT count(*) || ' ' || count(DISTINCT (_rowtide_position, _rowtide_seq)) \
     || ' ' || count(*) FILTER (WHERE v = 'gone') FROM public.ledger";

/// Tries again at once.
const QUICK: &str = "[retry]\ninitial = \"20ms\"\nmax = \"200ms\"\n";

/// Where transactions are kept that do not fit.
fn spool(case: &Case) -> PathBuf {
    case.directory.path().join("spool")
}

fn stream_section(case: &Case) -> String {
    format!(
        "[[table]]\nmatch = \"public.ledger\"\nmode = \"append\"\n\n[stream]\n\
         buffer_bytes = \"256KiB\"\nspool_directory = \"{}\"\n",
        spool(case).display()
    )
}

/// Makes the source of the configuration that stands one that is streamed to.
fn streaming(case: &Case) {
    let path = case.directory.path().join("rowtide.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    let url = case.server.url(DB);
    std::fs::write(&path, text.replacen(&url, &format!("{url}?streaming=on"), 1)).unwrap();
}

fn telling(case: &Case) -> RowtideCommand {
    case.run(&[]).env("ROWTIDE_LOG", "info,rowtide_postgres=debug")
}

fn wait_for_words(rowtide: &mut Rowtide, words: &str) {
    wait_for(words, LIMIT, || {
        let log = rowtide.stderr();
        if !rowtide.is_running() {
            return Err(format!("rowtide ended: {log}"));
        }
        Ok(log.contains(words).then_some(()))
    })
    .unwrap();
}

fn session(runtime: &Runtime, case: &Case) -> Client {
    runtime.block_on(async {
        let (client, connection) =
            tokio_postgres::connect(&case.server.url(DB), NoTls).await.unwrap();
        tokio::spawn(connection);
        client
    })
}

/// Kills a run while it puts a transaction together, and the next while it hands it on.
fn torment(case: &Case) {
    std::fs::create_dir(spool(case)).unwrap();
    case.once();
    let runtime = Runtime::new().unwrap();
    let long = session(&runtime, case);
    let say = |sql: &str| runtime.block_on(long.batch_execute(sql)).unwrap();
    say("BEGIN; INSERT INTO t SELECT i, repeat('x', 100) FROM generate_series(1000, 20000) i; \
         INSERT INTO ledger SELECT i, repeat('x', 100) FROM generate_series(1, 10000) i; SAVEPOINT s; \
         UPDATE t SET v = 'gone'; INSERT INTO ledger SELECT i, 'gone' FROM generate_series(1, 5000) i; \
         ROLLBACK TO s");
    let mut first = telling(case).spawn().unwrap();
    wait_for_words(&mut first, IN_A_FILE);
    // It holds nobody up.
    case.sql("INSERT INTO t VALUES (-1, 'meanwhile')");
    case.wait_until_caught_up(&mut first);
    first.kill9().unwrap();
    let left = std::fs::read_dir(spool(case)).unwrap().count();
    assert_eq!(left, 0, "files of a process that is dead");

    let failing = telling(case).env("ROWTIDE_FAILPOINT", "transaction.part=abort@5");
    let mut second = failing.spawn().unwrap();
    case.wait_until_streaming(&mut second);
    // The server sends what it sent before again once something new lies behind where we are.
    say("INSERT INTO t SELECT i, repeat('x', 100) FROM generate_series(30000, 31000) i");
    wait_for_words(&mut second, IN_A_FILE);
    say("UPDATE t SET v = 'new' WHERE id <= 100; COMMIT");
    let ended = second.wait(LIMIT).unwrap();
    assert_ne!(ended.code(), 0, "{ended:?}");
    assert!(ended.stderr.contains("streamed transaction is whole"), "{ended:?}");
    case.once();
}

#[test]
fn killed_between_a_streamed_transaction_and_its_commit() {
    let Some(case) = Case::start(SCHEMA) else { return };
    case.config(&format!("{}{QUICK}", stream_section(&case)));
    streaming(&case);
    torment(&case);
    case.compare(&["public.t"]);
    assert_eq!(case.rows(LEDGER), ["10000 10000 0"]);
}

#[test]
fn killed_between_a_streamed_transaction_and_its_commit_in_postgres() {
    let Some(there) = Warehouse::start(SCHEMA, "") else { return };
    let case = &there.case;
    let path = case.directory.path().join("rowtide.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text + &stream_section(case)).unwrap();
    streaming(case);
    torment(case);
    there.compare("public.t", "after the kills");
    assert_eq!(there.sql(LEDGER), "10000 10000 0");
}

#[test]
fn a_streamed_transaction_beyond_the_budget_is_kept_in_bounded_memory() {
    let Some(case) = Case::start(SCHEMA) else { return };
    case.config(&stream_section(&case));
    streaming(&case);
    std::fs::create_dir(spool(&case)).unwrap();
    case.once();
    let mut rowtide = telling(&case).spawn().unwrap();
    case.wait_until_streaming(&mut rowtide);
    case.sql("INSERT INTO t SELECT i, repeat('p', 100) FROM generate_series(1000, 200999) i");
    case.wait_until_caught_up(&mut rowtide);
    let peak = wait_for("a peak", LIMIT, || Ok(peak_rss_bytes(rowtide.pid()))).unwrap();
    let log = case.stop(rowtide).stderr;
    case.compare(&["public.t"]);
    let whole = log.lines().find(|line| line.contains("streamed transaction is whole")).unwrap();
    let bytes = |name: &str| -> u64 {
        let rest = whole.split(&format!("\"{name}\":")).nth(1).unwrap();
        rest.split(|c: char| !c.is_ascii_digit()).next().unwrap().parse().unwrap()
    };
    assert!(bytes("memory_bytes") <= 128 << 10, "{whole}");
    assert!(bytes("file_bytes") > 20 << 20, "{whole}");
    let allowed = (1 << 30) + (256 << 20);
    assert!(peak < allowed, "peak {peak} bytes, allowed {allowed}");
}

#[test]
fn no_room_for_a_streamed_transaction_is_one_clear_error_and_no_loss() {
    let Some(case) = Case::start(SCHEMA) else { return };
    case.config(&format!("{}{QUICK}", stream_section(&case)));
    streaming(&case);
    std::fs::create_dir(spool(&case)).unwrap();
    case.once();
    std::fs::remove_dir(spool(&case)).unwrap();
    let mut rowtide = telling(&case).spawn().unwrap();
    case.wait_until_streaming(&mut rowtide);
    case.sql("INSERT INTO t SELECT i, repeat('p', 100) FROM generate_series(1000, 20999) i");
    wait_for_words(&mut rowtide, "could not create the file of a streamed transaction in");
    std::fs::create_dir(spool(&case)).unwrap();
    case.wait_until_caught_up(&mut rowtide);
    let log = case.stop(rowtide).stderr;
    let told = log.lines().find(|line| line.contains("could not create the file")).unwrap();
    assert!(told.contains("stream.spool_directory") && told.contains("/spool"), "{told}");
    case.compare(&["public.t"]);
}
