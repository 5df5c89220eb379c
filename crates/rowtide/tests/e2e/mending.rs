//! The slot is lost, and with `on_position_lost = "repair"` only what differs is written: what
//! stands is compared with the source in a snapshot, and the log is followed from a new slot.

use rowtide_testkit::{Finished, Rowtide, Workload, wait_for};

use crate::case::{Case, LIMIT};
use crate::warehouse::{Warehouse, cli};

/// Rows that are kept, rows marked as deleted, rows without a key, and values that the log leaves
/// out when they do not change.
const SCHEMA: &str = "
CREATE TABLE kept (id int PRIMARY KEY, v text, n int NOT NULL DEFAULT 0);
CREATE TABLE soft (a int, b text, v text, PRIMARY KEY (b, a));
CREATE TABLE bag (x int, y text);
ALTER TABLE bag REPLICA IDENTITY FULL;
CREATE TABLE long (id int PRIMARY KEY, v text, n int);
ALTER TABLE long ALTER v SET STORAGE EXTERNAL;
INSERT INTO kept SELECT i, repeat('x', i % 50), 0 FROM generate_series(1, 3000) i;
INSERT INTO soft SELECT i, 'b' || i % 3, 'v' FROM generate_series(1, 500) i;
INSERT INTO bag SELECT i % 5, 'y' || i % 3 FROM generate_series(1, 60) i;
INSERT INTO long SELECT i, repeat('v', 5000), 0 FROM generate_series(1, 50) i";

const RULES: &str = "[[table]]\nmatch = \"public.soft\"\ndelete = \"soft\"\n";
const REPAIR: &str = "[[table]]\nmatch = \"public.soft\"\ndelete = \"soft\"\n\n\
     [run]\non_position_lost = \"repair\"\n";

/// What nobody is told of: 4 rows of `kept` come and 4 go, and so on.
const GAP: &str = "
INSERT INTO kept VALUES (5000, 'in the gap', 1), (5001, 'in the gap', 1);
UPDATE kept SET v = 'changed' WHERE id IN (7, 8);
DELETE FROM kept WHERE id IN (9, 10);
INSERT INTO soft VALUES (900, 'b', 'in the gap');
DELETE FROM soft WHERE a IN (11, 12);
UPDATE soft SET b = 'moved' WHERE a = 13;
INSERT INTO bag VALUES (1, 'y1'), (77, NULL);
DELETE FROM bag WHERE ctid = (SELECT min(ctid) FROM bag WHERE x = 0);
INSERT INTO long VALUES (100, repeat('w', 6000), 0), (101, repeat('w', 6000), 0);
UPDATE long SET v = repeat('u', 7000) WHERE id = 3";

/// What comes after: changes of rows that came in the gap, without repeating their long values.
const AFTER: &str = "
UPDATE long SET n = n + 1 WHERE id IN (3, 4, 100);
DELETE FROM long WHERE id IN (5, 101);
UPDATE kept SET n = n + 1 WHERE id IN (5000, 7, 20);
DELETE FROM kept WHERE id IN (5001, 9);
INSERT INTO kept VALUES (9, 'again', 2);
INSERT INTO soft VALUES (11, 'b2', 'again');
DELETE FROM bag WHERE x = 77";

const SLOT: &str = "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots";
const RECREATED: &str = "SELECT pg_create_logical_replication_slot('rowtide_case', 'pgoutput')";
const TABLES: [&str; 3] = ["public.kept", "public.bag", "public.long"];

/// What `_rowtide.repairs` tells of the tables that were put right.
const TOLD: &str = "SELECT source_table || ' ' || kind || ' ' || differing FROM _rowtide.repairs
     WHERE key IS NULL AND position > 0 ORDER BY 1";
const MENDED: [&str; 4] = [
    "bag mended {\"removed\":1,\"written\":2}",
    "kept mended {\"removed\":4,\"written\":4}",
    "long mended {\"removed\":1,\"written\":3}",
    "soft mended {\"removed\":3,\"written\":2}",
];

fn caught_up() -> Option<Case> {
    let case = Case::start(SCHEMA)?;
    case.config(RULES);
    case.once();
    case.sql("INSERT INTO kept VALUES (4000, 'followed')");
    case.once();
    Some(case)
}

/// Nothing was copied, and what a run tells of the table `table` says that so many rows were
/// written and removed.
fn put_right(ended: &Finished, table: &str, (written, removed): (u64, u64)) {
    assert!(!ended.stderr.contains("copy started"), "{}", ended.stderr);
    let told = ended.stderr.lines().find(|line| {
        line.contains("table put right") && line.contains(&format!("\"public.{table}\""))
    });
    let told = told.unwrap_or_else(|| panic!("{table}: {}", ended.stderr));
    for (name, number) in [("written", written), ("removed", removed)] {
        assert!(told.contains(&format!("\"{name}\":{number}")), "{table} {name}: {told}");
    }
}

/// Soft deletes: what is at the source stands unmarked, and nothing else does.
fn compare_soft(case: &Case) {
    let ours =
        case.value("SELECT string_agg(concat_ws(' ', a, b, v), ',' ORDER BY a, b) FROM soft");
    let theirs = case.rows(
        "SELECT string_agg(concat_ws(' ', a, b, v), ',' ORDER BY a, b) FROM public.soft \
         WHERE NOT _rowtide_deleted",
    );
    assert_eq!(theirs, [ours]);
}

fn copied(case: &Case) -> Vec<String> {
    case.rows("SELECT concat_ws(' ', source_table, rows_copied) FROM _rowtide.tables ORDER BY 1")
}

#[test]
fn a_lost_slot_is_followed_by_a_repair_where_it_is_asked_for() {
    let Some(case) = caught_up() else { return };
    let mut told = Vec::new();
    for recreated in [false, true] {
        let before = copied(&case);
        case.sql(SLOT);
        case.sql(GAP);
        if recreated {
            case.sql(RECREATED);
        }
        // Without being asked, nothing is done; but it is offered.
        case.config(RULES);
        let refused = case.run(&["--once"]).run(LIMIT).unwrap();
        assert_eq!(refused.code(), 5, "{refused:?}");
        let offer = "run --set run.on_position_lost=repair";
        assert!(refused.stderr.contains(offer), "{}", refused.stderr);
        case.config(REPAIR);
        let ended = case.once();
        put_right(&ended, "kept", (4, 4));
        put_right(&ended, "soft", (2, 3));
        put_right(&ended, "bag", (2, 1));
        put_right(&ended, "long", (3, 1));
        told.extend(MENDED.map(str::to_owned));
        told.sort();
        assert_eq!(case.rows(TOLD), told);
        assert_eq!(copied(&case), before);
        case.compare(&TABLES);
        compare_soft(&case);
        let marked = "SELECT a FROM public.soft WHERE _rowtide_deleted ORDER BY a";
        assert_eq!(case.rows(marked), ["11", "12", "13"]);
        // It goes on from there, with what was asked for or without.
        case.sql(AFTER);
        let ended = case.once();
        assert!(!ended.stderr.contains("put right"), "{}", ended.stderr);
        case.compare(&TABLES);
        compare_soft(&case);
        // As it was, for the second turn.
        case.sql(
            "TRUNCATE kept, soft, bag, long;\n\
             INSERT INTO kept SELECT i, repeat('x', i % 50), 0 FROM generate_series(1, 3000) i;\n\
             INSERT INTO soft SELECT i, 'b' || i % 3, 'v' FROM generate_series(1, 500) i;\n\
             INSERT INTO bag SELECT i % 5, 'y' || i % 3 FROM generate_series(1, 60) i;\n\
             INSERT INTO long SELECT i, repeat('v', 5000), 0 FROM generate_series(1, 50) i",
        );
        case.settle(&TABLES);
    }
}

#[test]
fn a_slot_lost_while_writers_go_on_is_repaired_beside_them() {
    let Some(case) = Case::start(Workload::SCHEMA) else { return };
    case.config("[run]\non_position_lost = \"repair\"\n[stream]\nbuffer_bytes = \"64KiB\"\n");
    case.once();
    let workload = Workload::start(&case.server.url(crate::case::DB), 6, 2).unwrap();
    let written = |more: u64| {
        let goal = workload.transactions() + more;
        wait_for("the writers", LIMIT, || Ok((workload.transactions() >= goal).then_some(())))
            .unwrap();
    };
    // Lost while stopped.
    case.sql(SLOT);
    written(50);
    let mut rowtide = case.run(&[]).spawn().unwrap();
    wait_for_repairs(&mut rowtide, Workload::TABLES.len());
    assert!(!rowtide.stderr().contains("copy started"), "{}", rowtide.stderr());
    written(50);
    case.wait_until_caught_up(&mut rowtide);
    // Lost while running: whoever reads it is sent away.
    case.sql(
        "DO 'BEGIN LOOP BEGIN \
         PERFORM pg_terminate_backend(active_pid) FROM pg_replication_slots; \
         PERFORM pg_drop_replication_slot(slot_name) FROM pg_replication_slots; EXIT; \
         EXCEPTION WHEN object_in_use THEN NULL; END; END LOOP; END'",
    );
    wait_for_repairs(&mut rowtide, 2 * Workload::TABLES.len());
    written(50);
    workload.stop().unwrap();
    case.stop(rowtide);
    case.settle(&Workload::TABLES);
}

/// Waits until so many tables have been put right; or copied again, which is right where writers
/// were so far ahead that most of a table differs.
fn wait_for_repairs(rowtide: &mut Rowtide, tables: usize) {
    let waited = wait_for("the repairs to be in place", LIMIT, || {
        let log = rowtide.stderr();
        if !rowtide.is_running() {
            return Err("rowtide ended".to_owned());
        }
        let done = log.matches("repair in place").count() + log.matches("copy in place").count();
        Ok((done >= tables).then_some(()))
    });
    if let Err(error) = waited {
        panic!("{error}\n{}", rowtide.stderr());
    }
}

#[test]
#[cfg(feature = "fault-injection")]
fn a_repair_that_is_cut_off_begins_again() {
    let Some(case) = caught_up() else { return };
    case.config(REPAIR);
    case.sql(SLOT);
    case.sql(GAP);
    let before = copied(&case);
    for point in ["plan.stored", "snapshot.fenced", "write.applied", "promote.replayed"] {
        let cut =
            case.run(&["--once"]).env("ROWTIDE_FAILPOINT", &format!("{point}=abort")).run(LIMIT);
        let cut = cut.unwrap();
        assert!(cut.status.code().is_none(), "{point}: {cut:?}");
        case.sql("INSERT INTO kept SELECT max(id) + 1, 'between' FROM kept");
    }
    let ended = case.once();
    put_right(&ended, "kept", (8, 4));
    assert_eq!(copied(&case), before);
    case.compare(&TABLES);
    compare_soft(&case);
}

#[test]
fn what_cannot_be_repaired_is_copied_or_left_to_somebody() {
    let Some(case) = Case::start(SCHEMA) else { return };
    let rules = "[[table]]\nmatch = \"public.soft\"\nmode = \"append\"\n\
         [run]\non_position_lost = \"repair\"\n";
    case.config(rules);
    case.once();
    case.sql(SLOT);
    case.sql(
        "UPDATE kept SET v = 'changed' WHERE id = 7;\nALTER TABLE long ADD more int DEFAULT 5",
    );
    // The events of the gap are known to nobody.
    let refused = case.run(&["--once"]).run(LIMIT).unwrap();
    assert_eq!(refused.code(), 5, "{refused:?}");
    assert!(refused.stderr.contains("--resync 'public.soft'"), "{}", refused.stderr);
    let ended = case.run(&["--once", "--resync", "public.soft"]).run(LIMIT);
    let ended = ended.and_then(Finished::success).unwrap();
    let copies = |table: &str| {
        let table = format!("\"public.{table}\"");
        let lines = ended.stderr.lines().filter(|line| line.contains("copy started"));
        lines.filter(|line| line.contains(&table)).count()
    };
    // `long` has another column: what it holds in it, no stored row tells.
    assert_eq!(["kept", "bag", "soft", "long"].map(copies), [0, 0, 1, 1], "{}", ended.stderr);
    case.compare(&TABLES);
}

#[test]
fn another_database_is_never_taken_for_the_one_that_was_lost() {
    let Some(case) = caught_up() else { return };
    case.sql("CREATE DATABASE other");
    case.server.psql("other", "CREATE TABLE kept (id int PRIMARY KEY, v text, n int)").unwrap();
    let before = case.rows("SELECT count(*) FROM public.kept");
    case.config_from(&case.server.url("other"), REPAIR);
    let refused = case.run(&["--once"]).run(LIMIT).unwrap();
    assert_eq!(refused.code(), 5, "{refused:?}");
    assert!(refused.stderr.contains("another database"), "{}", refused.stderr);
    assert_eq!(case.rows("SELECT count(*) FROM public.kept"), before);
}

#[test]
fn a_warehouse_in_postgresql_is_repaired_as_well() {
    let Some(there) = Warehouse::start(SCHEMA, "[run]\non_position_lost = \"repair\"\n") else {
        return;
    };
    cli(&there.case, &["run", "--once"]).success().unwrap();
    there.case.sql("SELECT pg_drop_replication_slot('rowtide_case')");
    there.case.sql(GAP);
    let ended = cli(&there.case, &["run", "--once"]).success().unwrap();
    put_right(&ended, "kept", (4, 4));
    put_right(&ended, "soft", (2, 3));
    put_right(&ended, "bag", (2, 1));
    put_right(&ended, "long", (3, 1));
    assert_eq!(there.sql(TOLD).lines().collect::<Vec<_>>(), MENDED);
    there.case.sql(AFTER);
    cli(&there.case, &["run", "--once"]).success().unwrap();
    for table in ["public.kept", "public.soft", "public.bag", "public.long"] {
        there.compare(table, "after the repair");
    }
}
