//! The source no longer has what the destination stands on. That must always be said (exit code
//! 5), and nothing may be made anew or changed.

use std::path::{Path, PathBuf};
use std::process::Command;

use rowtide_sandbox::testing::start_or_skip;
use rowtide_sandbox::{Major, PostgresServer, ServerOptions, StopMode};
use rowtide_testkit::proxy::Proxy;
use rowtide_testkit::{Finished, Rowtide, RowtideCommand, compare_tables, duckdb_rows, wait_for};

use crate::case::LIMIT;
use crate::faulty::{QUICK, SCHEMA, TABLES};

/// The newest of these says nothing about a publication that is not there.
const MAJORS: [Major; 3] = [Major::V15, Major::V17, Major::V18];

/// A pipeline with a database, a slot and publications of its own on a shared server.
struct Own<'a> {
    server: &'a PostgresServer,
    name: &'a str,
    directory: tempfile::TempDir,
}

/// What must stay as it is.
#[derive(Debug, PartialEq, Eq)]
struct Standing {
    rows: Vec<String>,
    checkpoint: Vec<String>,
    made: String,
}

impl<'a> Own<'a> {
    /// A pipeline that has copied and stopped.
    fn caught_up(server: &'a PostgresServer, name: &'a str) -> Self {
        server.psql("postgres", &format!("CREATE DATABASE {name}")).unwrap();
        let own = Self { server, name, directory: tempfile::tempdir().unwrap() };
        own.sql(SCHEMA);
        own.config(&server.url(name));
        own.run(&["--once"]).run(LIMIT).and_then(Finished::success).unwrap();
        own.sql("INSERT INTO kept VALUES (1000, 'followed')");
        own.run(&["--once"]).run(LIMIT).and_then(Finished::success).unwrap();
        own
    }

    fn config(&self, url: &str) {
        let text = format!(
            "version = 1\npipeline = \"{}\"\n\n[source]\nurl = \"{url}\"\n\n[destination]\n\
             url = \"duckdb:{}\"\n\n[tables]\ninclude = [\"public.*\"]\n\n{QUICK}\n",
            self.name,
            self.file().display()
        );
        std::fs::write(self.directory.path().join("rowtide.toml"), text).unwrap();
    }

    fn file(&self) -> PathBuf {
        self.directory.path().join("warehouse.duckdb")
    }

    /// Runs `sql`, in which `$` stands for the name of slot and publication.
    fn sql(&self, sql: &str) -> String {
        let sql = sql.replace('$', &format!("rowtide_{}", self.name));
        let mut said = String::new();
        for statement in sql.split(";\n").filter(|statement| !statement.trim().is_empty()) {
            said = self.server.psql(self.name, statement).unwrap();
        }
        said
    }

    fn run(&self, arguments: &[&str]) -> RowtideCommand {
        let start = ["run", "--config", "rowtide.toml"];
        RowtideCommand::new(env!("CARGO_BIN_EXE_rowtide"), self.directory.path(), start)
            .with(arguments)
    }

    fn spawn(&self) -> Rowtide {
        let mut rowtide = self.run(&[]).spawn().unwrap();
        let active = "SELECT count(*) FROM pg_replication_slots WHERE active AND slot_name = '$'";
        wait_for("the slot to be active", LIMIT, || {
            assert!(rowtide.is_running(), "{}", rowtide.stderr());
            Ok((self.sql(active) == "1").then_some(()))
        })
        .unwrap();
        rowtide
    }

    fn wait_until_caught_up(&self, rowtide: &mut Rowtide) {
        let head = self.sql("SELECT pg_current_wal_flush_lsn()");
        let reached = format!(
            "SELECT confirmed_flush_lsn >= '{head}' FROM pg_replication_slots WHERE slot_name = '$'"
        );
        wait_for("the slot to reach the head", LIMIT, || {
            assert!(rowtide.is_running(), "{}", rowtide.stderr());
            Ok((self.sql(&reached) == "t").then_some(()))
        })
        .unwrap();
    }

    fn standing(&self) -> Standing {
        let rows = |sql: &str| duckdb_rows(&self.file(), sql).unwrap();
        let made = "SELECT string_agg(thing, ' ' ORDER BY thing) FROM \
             (SELECT format('slot %s %s', slot_name, confirmed_flush_lsn) AS thing \
              FROM pg_replication_slots WHERE slot_name = '$' \
              UNION ALL SELECT format('publication %s %s', pubname, oid) FROM pg_publication) made";
        Standing {
            rows: rows("SELECT concat_ws(' ', id, v, n) FROM public.kept ORDER BY id"),
            checkpoint: rows("SELECT checkpoint FROM _rowtide.pipelines"),
            made: self.sql(made),
        }
    }

    /// A run must say that the position is lost, in these words, and change nothing.
    fn refuses(&self, words: &str) {
        let before = self.standing();
        let ended = self.run(&["--once"]).run(LIMIT).unwrap();
        is_lost(&ended, words);
        assert_eq!(self.standing(), before, "{words}");
    }
}

fn is_lost(ended: &Finished, words: &str) {
    assert_eq!(ended.code(), 5, "{words}: {ended:?}");
    let last = ended.stderr.lines().last().unwrap_or_default();
    assert!(last.contains("\"kind\":\"position_lost\""), "{words}: {}", ended.stderr);
    assert!(last.contains("\"hint\""), "{words}: {last}");
    assert!(last.contains(words), "{words}: {last}");
}

fn servers() -> impl Iterator<Item = PostgresServer> {
    MAJORS.into_iter().filter_map(|major| start_or_skip(&ServerOptions::for_major(major)))
}

/// Drops the slot whoever reads it.
const DROP_SLOT: &str = "DO 'BEGIN LOOP BEGIN \
    PERFORM pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = ''$''; \
    PERFORM pg_drop_replication_slot(''$''); EXIT; \
    EXCEPTION WHEN object_in_use THEN NULL; END; END LOOP; END'";

const GAP: &str = "INSERT INTO kept VALUES (2000, 'in the gap');\n";
const MADE_ANEW: &str = "DROP PUBLICATION $;\nINSERT INTO kept VALUES (2000, 'in the gap');\n\
     CREATE PUBLICATION $ FOR TABLE kept, bag WITH (publish_via_partition_root = true);\n\
     INSERT INTO kept VALUES (2001, 'after it')";

#[test]
fn what_was_taken_away_while_stopped_is_noticed() {
    let recreate = format!("{GAP}SELECT pg_create_logical_replication_slot('$', 'pgoutput')");
    let advance = format!("{GAP}SELECT pg_replication_slot_advance('$', pg_current_wal_lsn())");
    let drop = "SELECT pg_drop_replication_slot('$')";
    let faults = [
        ("a", format!("{GAP}{drop}"), "no longer exists"),
        ("b", format!("{drop};\n{recreate}"), "someone else moved it, or made it anew"),
        ("c", advance, "someone else moved it"),
        ("d", "DROP PUBLICATION $".to_owned(), "no longer exists"),
    ];
    let Some(server) = start_or_skip(&ServerOptions::default()) else { return };
    for (name, fault, words) in &faults {
        let own = Own::caught_up(&server, name);
        own.sql(fault);
        own.refuses(words);
    }
    for server in servers() {
        let own = Own::caught_up(&server, "x");
        own.sql(MADE_ANEW);
        own.refuses("was dropped and made anew");
    }
}

#[test]
fn what_is_taken_away_while_running_is_noticed() {
    let faults = [
        ("a", DROP_SLOT, "no longer exists"),
        ("b", "DROP PUBLICATION $;\nINSERT INTO kept VALUES (2000, 'in the gap')", "rowtide_b"),
        ("c", MADE_ANEW, "rowtide_c"),
    ];
    for server in servers() {
        let own: Vec<_> = faults.iter().map(|(name, ..)| Own::caught_up(&server, name)).collect();
        // All at once: the publications are looked at only now and then.
        let running: Vec<_> = own.iter().map(Own::spawn).collect();
        for (own, (_, fault, _)) in own.iter().zip(&faults) {
            own.sql(fault);
        }
        for ((own, rowtide), (name, _, words)) in own.iter().zip(running).zip(&faults) {
            is_lost(&rowtide.wait(LIMIT).unwrap(), words);
            let gap = "SELECT id FROM public.kept WHERE id = 2000";
            assert!(duckdb_rows(&own.file(), gap).unwrap().is_empty(), "{name}: not in the log");
            own.refuses(words);
        }
    }
}

/// Stops a server and puts its data directory aside, or back.
fn move_data(server: &mut PostgresServer, copy: &Path, back: bool) {
    server.stop(StopMode::Fast).unwrap();
    let data = server.data_directory();
    let (from, to) = if back { (copy, data.as_path()) } else { (data.as_path(), copy) };
    let run = |program: &str, arguments: &[&Path]| {
        assert!(Command::new(program).args(arguments).status().unwrap().success());
    };
    if back {
        std::fs::remove_dir_all(to).unwrap();
    }
    run("cp", &[Path::new("-a"), from, to]);
    server.start_again().unwrap();
}

#[test]
fn a_server_restored_to_an_earlier_state_is_refused() {
    let Some(mut server) = start_or_skip(&ServerOptions::default()) else { return };
    let place = tempfile::tempdir().unwrap();
    let copy = place.path().join("data");
    let directory = Own::caught_up(&server, "x").directory;
    move_data(&mut server, &copy, false);
    let own = Own { server: &server, name: "x", directory };
    own.sql("INSERT INTO kept VALUES (2000, 'is to be forgotten')");
    own.run(&["--once"]).run(LIMIT).and_then(Finished::success).unwrap();
    let directory = own.directory;
    move_data(&mut server, &copy, true);
    let own = Own { server: &server, name: "x", directory };
    assert_eq!(own.sql("SELECT count(*) FROM kept WHERE id = 2000"), "0");
    own.refuses("restored to an earlier state");
}

#[test]
fn a_restored_server_whose_log_has_passed_the_position_is_refused() {
    let Some(mut server) = start_or_skip(&ServerOptions::default()) else { return };
    let place = tempfile::tempdir().unwrap();
    let copy = place.path().join("data");
    let directory = Own::caught_up(&server, "x").directory;
    move_data(&mut server, &copy, false);
    let own = Own { server: &server, name: "x", directory };
    own.sql("INSERT INTO kept VALUES (2000, 'is to be forgotten')");
    own.run(&["--once"]).run(LIMIT).and_then(Finished::success).unwrap();
    let head = own.sql("SELECT pg_current_wal_lsn()");
    let directory = own.directory;
    move_data(&mut server, &copy, true);
    let own = Own { server: &server, name: "x", directory };
    own.sql("INSERT INTO kept VALUES (3000, 'written instead')");
    while own.sql(&format!("SELECT pg_current_wal_lsn() > '{head}'")) != "t" {
        own.sql("INSERT INTO bag SELECT i, 'more' FROM generate_series(1, 500) i");
    }
    own.refuses("history");
}

#[test]
fn another_server_at_the_same_address_is_refused() {
    let both = [(); 2].map(|()| start_or_skip(&ServerOptions::default()));
    let [Some(first), Some(second)] = both else { return };
    let own = Own::caught_up(&first, "x");
    let twin = Own::caught_up(&second, "x");
    let proxy = Proxy::start(first.port()).unwrap();
    own.config(&proxy.url("x"));
    own.run(&["--once"]).run(LIMIT).and_then(Finished::success).unwrap();
    // While stopped, and while running.
    proxy.forward_to(second.port());
    let made = twin.standing();
    own.refuses("another server");
    proxy.forward_to(first.port());
    let rowtide = own.spawn();
    proxy.forward_to(second.port());
    proxy.cut(&rowtide_testkit::proxy::Connections::All);
    is_lost(&rowtide.wait(LIMIT).unwrap(), "another server");
    assert_eq!(twin.standing(), made, "the other server's things are untouched");
    proxy.forward_to(first.port());
    own.sql("INSERT INTO kept VALUES (2000, 'goes on')");
    own.run(&["--once"]).run(LIMIT).and_then(Finished::success).unwrap();
    compare_tables(&first, "x", &own.file(), &TABLES).unwrap();
}

#[test]
fn a_publication_that_was_narrowed_is_noticed() {
    let Some(server) = start_or_skip(&ServerOptions::for_major(Major::V17)) else { return };
    for (name, fault, words) in [
        ("a", "ALTER PUBLICATION $ SET (publish = 'insert')", "every kind of change"),
        ("b", "ALTER PUBLICATION $ SET TABLE kept WHERE (id > 100), bag", "filters the rows"),
        ("c", "ALTER PUBLICATION $ SET TABLE kept (id), bag", "columns of public.kept"),
        ("d", "ALTER PUBLICATION $ SET (publish_via_partition_root = false)", "partitions"),
    ] {
        let own = Own::caught_up(&server, name);
        own.sql(fault);
        own.sql("UPDATE kept SET v = 'seen' WHERE id = 7");
        own.refuses(words);
    }
}

#[test]
fn a_table_taken_out_and_put_back_while_running_is_copied_again() {
    for server in servers().take(1) {
        let own = Own::caught_up(&server, "x");
        let mut rowtide = own.spawn();
        own.sql(
            "ALTER PUBLICATION $ DROP TABLE kept;\n\
             INSERT INTO kept VALUES (2000, 'in the gap');\n\
             ALTER PUBLICATION $ ADD TABLE ONLY kept;\n\
             INSERT INTO kept VALUES (2001, 'after it')",
        );
        own.wait_until_caught_up(&mut rowtide);
        rowtide.terminate().unwrap();
        rowtide.wait(LIMIT).and_then(Finished::success).unwrap();
        own.run(&["--once"]).run(LIMIT).and_then(Finished::success).unwrap();
        compare_tables(&server, "x", &own.file(), &TABLES).unwrap();
    }
}

#[test]
fn what_is_advised_after_a_lost_position_helps() {
    let Some(server) = start_or_skip(&ServerOptions::default()) else { return };
    let faults = [
        ("a", "DROP PUBLICATION $;\nINSERT INTO kept VALUES (2000, 'in the gap')"),
        ("b", "SELECT pg_drop_replication_slot('$')"),
        ("c", MADE_ANEW),
    ];
    for (name, fault) in faults {
        let own = Own::caught_up(&server, name);
        own.sql(fault);
        own.refuses("");
        if fault == MADE_ANEW {
            // It is somebody's: it must be taken away, or named as the one to use.
            let again = own.run(&["--once", "--resync", "public.*"]).run(LIMIT).unwrap();
            assert!(again.stderr.contains("was not made by this pipeline"), "{again:?}");
            own.sql("DROP PUBLICATION $");
        }
        let again = own.run(&["--once", "--resync", "public.*"]).run(LIMIT);
        again.and_then(Finished::success).unwrap();
        compare_tables(&server, name, &own.file(), &TABLES).unwrap();
    }
}
