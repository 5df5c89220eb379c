//! Tables that the destination refuses stop alone: the others go on, the slot moves on, `status`
//! says what is wrong and what to do, and doing it cures them.

use rowtide_testkit::{Rowtide, wait_for};

use crate::case::{Case, DB, LIMIT};
use crate::warehouse::{Warehouse, cli};

/// Something done to `public.bad` at the destination that a change of it then meets.
struct Sabotage {
    what: &'static str,
    /// Done at the destination.
    done: &'static str,
    /// What is then done at the source, in one transaction with a change of `public.good`.
    meets: &'static str,
    /// What `status` says.
    told: &'static str,
    /// Done at the destination, before the table is copied again.
    cure: &'static str,
}

const SCHEMA: &str = "CREATE TABLE good (id int PRIMARY KEY, v int);
     CREATE TABLE bad (id int PRIMARY KEY, n int, v text, extra text);
     INSERT INTO good SELECT i, i FROM generate_series(1, 50) i;
     INSERT INTO bad SELECT i, i, 'v' || i, 'e' FROM generate_series(1, 50) i";

const IN_POSTGRES: &[Sabotage] = &[
    Sabotage {
        what: "a check",
        done: "ALTER TABLE bad ADD CONSTRAINT no_poison CHECK (v <> 'poison')",
        meets: "UPDATE bad SET v = 'poison' WHERE id = 7",
        told: "no_poison",
        cure: "ALTER TABLE bad DROP CONSTRAINT no_poison",
    },
    Sabotage {
        what: "a unique index",
        done: "CREATE UNIQUE INDEX only_once ON bad (n)",
        meets: "UPDATE bad SET n = 7",
        told: "only_once",
        cure: "DROP INDEX only_once",
    },
    Sabotage {
        what: "a unique constraint that is looked at when the epoch is committed",
        done: "UPDATE bad SET n = id; \
               ALTER TABLE bad ADD CONSTRAINT later UNIQUE (n) DEFERRABLE INITIALLY DEFERRED",
        meets: "UPDATE bad SET n = 8",
        told: "later",
        cure: "ALTER TABLE bad DROP CONSTRAINT later",
    },
    Sabotage {
        what: "a foreign key",
        done: "CREATE TABLE parents (id int PRIMARY KEY); \
               ALTER TABLE bad ADD CONSTRAINT has_parent FOREIGN KEY (n) REFERENCES parents NOT VALID",
        meets: "UPDATE bad SET n = 1001 WHERE id = 9",
        told: "has_parent",
        cure: "ALTER TABLE bad DROP CONSTRAINT has_parent",
    },
    Sabotage {
        what: "NOT NULL",
        done: "ALTER TABLE bad ALTER extra SET NOT NULL",
        meets: "UPDATE bad SET extra = NULL WHERE id = 3",
        told: "extra",
        cure: "ALTER TABLE bad ALTER extra DROP NOT NULL",
    },
    Sabotage {
        what: "a trigger",
        done: "CREATE FUNCTION complain() RETURNS trigger LANGUAGE plpgsql AS \
               $$BEGIN RAISE EXCEPTION 'not here'; END$$; \
               CREATE TRIGGER complains BEFORE INSERT ON bad FOR EACH ROW EXECUTE FUNCTION complain()",
        meets: "INSERT INTO bad VALUES (1000)",
        told: "not here",
        cure: "DROP TRIGGER complains ON bad",
    },
    Sabotage {
        what: "an altered column",
        done: "UPDATE bad SET n = 1; ALTER TABLE bad ALTER n TYPE smallint",
        meets: "UPDATE bad SET n = 100000 WHERE id = 4",
        told: "smallint",
        cure: "",
    },
    Sabotage {
        what: "a view on a column that goes",
        done: "CREATE VIEW seen AS SELECT extra FROM bad",
        meets: "ALTER TABLE bad DROP COLUMN extra; UPDATE bad SET n = 0 WHERE id = 2",
        told: "depend on it",
        cure: "DROP VIEW seen",
    },
    Sabotage {
        what: "a missing right",
        done: "REVOKE ALL ON bad FROM loader",
        meets: "UPDATE bad SET n = -n",
        told: "permission denied",
        cure: "GRANT ALL ON bad TO loader",
    },
    Sabotage {
        what: "a view in its place",
        done: "ALTER TABLE bad RENAME TO moved; CREATE VIEW bad AS SELECT 1 AS id; ALTER VIEW bad OWNER TO loader",
        meets: "UPDATE bad SET n = n + 1",
        told: "no table any more",
        cure: "DROP VIEW bad; DROP TABLE moved",
    },
    Sabotage {
        what: "a table that is gone",
        done: "DROP TABLE bad",
        meets: "DELETE FROM bad WHERE id > 20",
        told: "gone from the destination",
        cure: "",
    },
];

/// Waits for the phase of `public.bad` that `status` tells of; returns all it says.
fn wait_for_phase(case: &Case, rowtide: &mut Rowtide, phase: &str, what: &str) -> String {
    wait_for(&format!("{what}: public.bad to be {phase}"), LIMIT, || {
        if !rowtide.is_running() {
            return Err(format!("{what}: rowtide ended: {}", rowtide.stderr()));
        }
        let said = cli(case, &["status"]).stdout;
        let line = said.lines().find(|line| line.trim_start().starts_with("public.bad"));
        Ok(line.is_some_and(|line| line.contains(phase)).then(|| said.clone()))
    })
    .unwrap()
}

#[test]
fn a_table_that_postgresql_refuses_stops_alone() {
    let Some(there) = Warehouse::start(SCHEMA, "") else { return };
    let case = &there.case;
    let mut running = case.run(&[]).spawn().unwrap();
    case.wait_until_copied(&mut running, 2);
    for (round, sabotage) in IN_POSTGRES.iter().enumerate() {
        let what = sabotage.what;
        case.wait_until_caught_up(&mut running);
        there.sql(sabotage.done);
        case.transaction(&format!(
            "UPDATE good SET v = v + 1; {}; UPDATE good SET v = v * 2 WHERE id < 9",
            sabotage.meets
        ));
        let said = wait_for_phase(case, &mut running, "stopped", what);
        assert!(said.contains(sabotage.told), "{what}: {said}");
        // What comes now is left out for it, and not for the other.
        case.sql("INSERT INTO good SELECT max(id) + 1 FROM good;\nUPDATE bad SET v = v || '!' WHERE id = 11");
        case.wait_until_caught_up(&mut running);
        there.compare("public.good", what);
        there.sql(sabotage.cure);
        cli(case, &["table", "resume", "public.bad"]).success().unwrap();
        case.wait_until_copied(&mut running, 3 + round);
        wait_for_phase(case, &mut running, "streaming", what);
        case.sql("UPDATE bad SET v = v || '?' WHERE id < 20");
        case.wait_until_caught_up(&mut running);
        there.compare("public.bad", what);
        there.compare("public.good", what);
    }
    case.stop(running);
}

#[test]
fn a_cure_that_is_none_stops_the_table_again() {
    let Some(there) = Warehouse::start(SCHEMA, "") else { return };
    let case = &there.case;
    let mut running = case.run(&[]).spawn().unwrap();
    case.wait_until_copied(&mut running, 2);
    there.sql("ALTER TABLE bad ADD CONSTRAINT no_poison CHECK (v <> 'poison')");
    case.sql("UPDATE bad SET v = 'poison' WHERE id = 7");
    wait_for_phase(case, &mut running, "stopped", "at first");
    cli(case, &["table", "resume", "public.bad"]).success().unwrap();
    wait_for("the copy to be refused", LIMIT, || {
        Ok((running.stderr().matches("the destination refuses its rows").count() > 1).then_some(()))
    })
    .unwrap();
    case.sql("UPDATE good SET v = 0");
    case.wait_until_caught_up(&mut running);
    wait_for_phase(case, &mut running, "stopped", "again");
    running.terminate().unwrap();
    assert_eq!(running.wait(LIMIT).unwrap().code(), 5);
    there.compare("public.good", "the other");
}

#[test]
fn a_poison_row_in_the_middle_of_a_backlog_stops_its_table_alone() {
    let Some(there) = Warehouse::start(SCHEMA, "[stream]\nbuffer_bytes = \"1MiB\"\n") else {
        return;
    };
    let case = &there.case;
    case.once();
    there.sql("ALTER TABLE bad ADD CONSTRAINT no_poison CHECK (v <> 'poison')");
    // One transaction that is larger than the buffers, poisoned in its middle, and more after it.
    case.transaction(
        "INSERT INTO good SELECT i, i FROM generate_series(1000, 30000) i; \
         INSERT INTO bad SELECT i, i, repeat('x', 50) FROM generate_series(1000, 20000) i; \
         UPDATE bad SET v = 'poison' WHERE id = 1500; \
         INSERT INTO good SELECT i, i FROM generate_series(40000, 60000) i; \
         UPDATE bad SET n = 0",
    );
    case.sql("DELETE FROM good WHERE id % 3 = 0;\nDELETE FROM bad WHERE id % 5 = 0");
    let run = case.run(&["--once"]).run(LIMIT).unwrap();
    assert_eq!(run.code(), 5, "{run:?}");
    assert!(run.stderr.contains("public.bad") && run.stderr.contains("no_poison"), "{run:?}");
    there.compare("public.good", "after the poison");
    assert_eq!(there.sql("SELECT count(*) FROM bad"), "50", "nothing of the epoch is left");
    // Killed while it notes this, it notes it next time.
    there.sql("ALTER TABLE bad DROP CONSTRAINT no_poison");
    cli(case, &["table", "resync", "public.bad"]).success().unwrap();
    case.once();
    there.compare("public.bad", "cured");
    there.compare("public.good", "cured");
}

#[test]
fn killed_around_a_refusal_it_is_met_again() {
    for point in ["table.stopped", "write.before", "commit.before", "restart.opened"] {
        for nth in 1..=3 {
            let Some(there) = Warehouse::start(SCHEMA, "") else { return };
            let case = &there.case;
            case.once();
            there.sql("ALTER TABLE bad ADD CONSTRAINT no_poison CHECK (v <> 'poison')");
            case.transaction("UPDATE good SET v = 5; UPDATE bad SET v = 'poison' WHERE id = 1; DELETE FROM good WHERE id = 1");
            let what = format!("{point}@{nth}");
            let killing =
                case.run(&["--once"]).env("ROWTIDE_FAILPOINT", &format!("{point}=abort@{nth}"));
            killing.run(LIMIT).unwrap();
            let run = case.run(&["--once"]).run(LIMIT).unwrap();
            assert_eq!(run.code(), 5, "{what}: {run:?}");
            assert!(run.stderr.contains("no_poison"), "{what}: {run:?}");
            there.compare("public.good", &what);
            there.sql("ALTER TABLE bad DROP CONSTRAINT no_poison");
            cli(case, &["table", "resume", "public.bad"]).success().unwrap();
            case.once();
            there.compare("public.bad", &what);
        }
    }
}

const IN_DUCKDB: &[Sabotage] = &[
    Sabotage {
        what: "a table that is gone",
        done: "DROP TABLE public.bad",
        meets: "UPDATE bad SET n = n + 1",
        told: "bad",
        cure: "",
    },
    Sabotage {
        what: "a column that is gone",
        done: "ALTER TABLE public.bad DROP COLUMN v",
        meets: "UPDATE bad SET v = v || '.'",
        told: "bad",
        cure: "",
    },
    Sabotage {
        what: "an altered column",
        done: "UPDATE public.bad SET n = 1; ALTER TABLE public.bad ALTER n TYPE SMALLINT",
        meets: "UPDATE bad SET n = 100000 WHERE id = 4",
        told: "SMALLINT",
        cure: "",
    },
    Sabotage {
        what: "NOT NULL",
        done: "ALTER TABLE public.bad ALTER extra SET NOT NULL",
        meets: "UPDATE bad SET extra = NULL WHERE id = 3",
        told: "bad",
        cure: "",
    },
    Sabotage {
        what: "a unique index",
        done: "UPDATE public.bad SET n = id; CREATE UNIQUE INDEX only_once ON public.bad (n)",
        meets: "UPDATE bad SET n = 7",
        told: "bad",
        cure: "DROP INDEX public.only_once",
    },
    Sabotage {
        what: "an index on a column that goes",
        done: "CREATE INDEX seen ON public.bad (extra)",
        meets: "ALTER TABLE bad DROP COLUMN extra; UPDATE bad SET n = 0 WHERE id = 2",
        told: "bad",
        cure: "DROP INDEX public.seen",
    },
    Sabotage {
        what: "a view in its place",
        done: "DROP TABLE public.bad; CREATE VIEW public.bad AS SELECT 1 AS id",
        meets: "UPDATE bad SET n = n + 1",
        told: "bad",
        cure: "DROP VIEW public.bad",
    },
];

#[test]
fn a_table_that_duckdb_refuses_stops_alone() {
    let Some(case) = Case::start(SCHEMA) else { return };
    case.once();
    let options = rowtide_duckdb::DuckdbOptions::new(case.file());
    let file = rowtide_duckdb::DuckdbDestination::new(options).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let there = |sql: &str| {
        runtime.block_on(file.execute(sql)).unwrap_or_else(|error| panic!("{sql}: {error}"));
    };
    for Sabotage { what, done, meets, told, cure } in IN_DUCKDB {
        there(done);
        case.transaction(&format!("UPDATE good SET v = v + 1; {meets}; DELETE FROM good WHERE id = (SELECT max(id) FROM good)"));
        let run = case.run(&["--once"]).run(LIMIT).unwrap();
        assert_eq!(run.code(), 5, "{what}: {run:?}");
        assert!(run.stderr.contains("table public.bad is stopped"), "{what}: {run:?}");
        let said = cli(&case, &["status"]).stdout;
        let line = said.lines().find(|line| line.trim_start().starts_with("public.bad:"));
        assert!(line.is_some_and(|line| line.contains(told)), "{what}: {said}");
        case.sql("UPDATE good SET v = -v;\nUPDATE bad SET v = v || '!' WHERE id = 11");
        let run = case.run(&["--once"]).run(LIMIT).unwrap();
        assert_eq!(run.code(), 5, "{what}: {run:?}");
        case.compare(&["public.good"]);
        if !cure.is_empty() {
            there(cure);
        }
        cli(&case, &["table", "resume", "public.bad"]).success().unwrap();
        case.settle(&["public.good", "public.bad"]);
        case.sql("UPDATE bad SET v = v || '?' WHERE id < 20");
        case.settle(&["public.good", "public.bad"]);
    }
}

#[test]
fn a_table_that_is_locked_when_a_pipeline_first_starts_is_waited_for() {
    let Some(case) = Case::start(SCHEMA) else { return };
    // Nothing ever ran: what cannot be reached would be given up at once.
    case.config("[retry]\nstartup = \"1ms\"\nmax = \"1s\"\n");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let url = case.server.url(DB);
    let holder = runtime.block_on(async {
        let (client, connection) =
            tokio_postgres::connect(&url, tokio_postgres::NoTls).await.unwrap();
        tokio::spawn(connection);
        // As CREATE INDEX does; a publication has to wait for it, a copy would not.
        client.batch_execute("BEGIN; LOCK TABLE bad IN SHARE MODE").await.unwrap();
        client
    });
    let mut running = case.run(&[]).spawn().unwrap();
    wait_for("the lock to be told of", LIMIT, || {
        let log = running.stderr();
        if !running.is_running() {
            return Err(format!("rowtide ended: {log}"));
        }
        let told = log.contains("a table is still locked") && log.contains("it is tried again");
        Ok((told && log.contains("\"retrying\"")).then_some(()))
    })
    .unwrap();
    runtime.block_on(holder.batch_execute("COMMIT")).unwrap();
    case.wait_until_copied(&mut running, 2);
    case.wait_until_caught_up(&mut running);
    case.stop(running);
    case.compare(&["public.good", "public.bad"]);
}
