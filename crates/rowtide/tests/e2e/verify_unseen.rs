//! A commit that is in the log and cannot be seen yet, because it waits for a synchronous standby:
//! the destination has it before the source shows it, and nobody may take that for damage.

use rowtide_testkit::{Finished, wait_for};
use tokio_postgres::NoTls;

use crate::case::{Case, DB, LIMIT};
use crate::verify::{duckdb, report, table};
use crate::warehouse::cli;

const SCHEMA: &str = "CREATE TABLE a (id int PRIMARY KEY, v text);
     INSERT INTO a SELECT i, 'v' || i FROM generate_series(1, 100) i";

/// No other session waits for a standby, and there is none.
const NO_STANDBY: &str = "ALTER SYSTEM SET synchronous_commit = 'local';
     ALTER SYSTEM SET synchronous_standby_names = 'nobody';
     SELECT pg_reload_conf()";

/// What waits: a row that changes, one that goes, one that comes.
const UNSEEN: &str = "SET synchronous_commit = on; BEGIN;
     UPDATE a SET v = 'newer' WHERE id = 1; DELETE FROM a WHERE id = 2;
     INSERT INTO a VALUES (200, 'newer'); COMMIT";

const WAITING: &str = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
const LET_GO: &str =
    "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
const NEWER: &str = "SELECT string_agg(id || ' ' || v, ',' ORDER BY id) FROM public.a \
     WHERE id IN (1, 2, 5, 200)";

/// A transaction that stays open until it is committed or dropped.
pub(crate) struct Open {
    client: tokio_postgres::Client,
    runtime: tokio::runtime::Runtime,
}

impl Open {
    pub(crate) fn begin(case: &Case, sql: &str) -> Self {
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(1).enable_all().build().unwrap();
        let client = runtime.block_on(async {
            let url = case.server.url(DB);
            let (client, connection) = tokio_postgres::connect(&url, NoTls).await.unwrap();
            tokio::spawn(connection);
            client.batch_execute(&format!("BEGIN; {sql}")).await.unwrap();
            client
        });
        Self { client, runtime }
    }

    pub(crate) fn commit(self) {
        self.runtime.block_on(self.client.batch_execute("COMMIT")).unwrap();
    }
}

pub(crate) fn until(case: &Case, sql: &str, expected: &str) {
    wait_for(sql, LIMIT, || Ok((case.value(sql) == expected).then_some(()))).unwrap();
}

/// Lets the commit go, whatever becomes of the test.
struct LetGo<'a>(&'a Case);

impl Drop for LetGo<'_> {
    fn drop(&mut self) {
        let _ = self.0.server.psql(DB, LET_GO);
    }
}

fn repair(case: &Case) -> Finished {
    cli(case, &["verify", "--repair", "--json", "--timeout", "40s"])
}

#[test]
fn a_commit_that_cannot_be_seen_is_not_undone() {
    let Some(case) = Case::start(SCHEMA) else { return };
    case.once();
    duckdb(&case, "UPDATE public.a SET v = 'damaged' WHERE id = 5");
    case.sql(NO_STANDBY);
    until(&case, "SHOW synchronous_standby_names", "nobody");
    let mut running = case.run(&[]).spawn().unwrap();
    case.wait_until_streaming(&mut running);
    // The table is announced by a change that is seen: of one that is not, its columns are waited
    // for.
    case.sql("UPDATE a SET v = 'seen' WHERE id = 50");
    case.wait_until_caught_up(&mut running);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| case.server.psql(DB, UNSEEN).map(drop));
        let let_go = LetGo(&case);
        until(&case, WAITING, "1");
        case.wait_until_caught_up(&mut running);
        assert_eq!(case.value("SELECT count(*) FROM a WHERE v = 'newer'"), "0");
        // The damage cannot be told from what is not seen yet.
        let verified = repair(&case);
        assert_eq!(case.value(WAITING), "1", "it waited all the time");
        drop(let_go);
        writer.join().unwrap().unwrap();
        assert_eq!(verified.code(), 1, "{verified:?}");
        let found = report(&verified);
        let found = table(&found, "a");
        assert_eq!((&found["verdict"], &found["differing"]), (&"unsettled".into(), &0.into()));
    });
    case.stop(running);
    assert_eq!(case.rows(NEWER), ["1 newer,5 damaged,200 newer"]);
}

#[test]
fn a_writer_that_does_nothing_keeps_nobody_from_being_repaired() {
    let Some(case) = Case::start(SCHEMA) else { return };
    case.once();
    duckdb(&case, "UPDATE public.a SET v = 'damaged' WHERE id = 5");
    let _open = Open::begin(&case, "UPDATE a SET v = 'open' WHERE id = 1");
    until(&case, "SELECT count(*) FROM pg_stat_activity WHERE state = 'idle in transaction'", "1");
    let repaired = repair(&case);
    assert_eq!(repaired.code(), 0, "{repaired:?}");
    assert_eq!(table(&report(&repaired), "a")["repair"]["changed"], 1, "{repaired:?}");
    case.compare(&["public.a"]);
}
