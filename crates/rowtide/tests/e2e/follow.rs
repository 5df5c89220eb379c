//! Copy, hand-off and following, one idea a test.

use rowtide_testkit::Workload;

use crate::case::Case;

const TYPES: &str = "
CREATE TYPE mood AS ENUM ('sad', 'it''s ok', 'happy');
CREATE TABLE every (
    id bigint PRIMARY KEY, b bool, i2 int2, i4 int4, f4 float4, f8 float8, n numeric(20,4), nn numeric,
    t text, v varchar(40), c char(5), x bytea, d date, tm time, ts timestamp, tz timestamptz,
    u uuid, j json, jb jsonb, m mood, ai int[], at text[], inet inet, iv interval);
INSERT INTO every SELECT i, i % 2 = 0, i, -i, i / 4.0, i * 1.25, i * 1.0001, i / 7.0,
    'täxt ' || i || E'\\t''\\\\', 'v' || i, 'c', decode(lpad(to_hex(i), 4, '0'), 'hex'),
    date '2020-01-01' + i, time '00:00:01' + i * interval '1 second', timestamp '1969-12-31 23:59:59.5' + i * interval '1 day',
    timestamptz '2024-06-01 12:00:00.123456+02' + i * interval '1 hour',
    ('00000000-0000-0000-0000-' || lpad(i::text, 12, '0'))::uuid,
    '{\"a\":  1}', '{\"b\": [1, null]}', 'it''s ok', ARRAY[i, NULL, -i], ARRAY['a,b', NULL, ''], '10.0.0.1', interval '1 mon 2 days 3 sec'
    FROM generate_series(1, 300) i;
INSERT INTO every (id) VALUES (-1)";

#[test]
fn every_type_of_the_spine_arrives_the_same_from_copy_and_stream() {
    let Some(case) = Case::start(TYPES) else {
        return;
    };
    case.once();
    case.compare(&["public.every"]);
    case.sql(
        "INSERT INTO every SELECT id + 1000, b, i2, i4, f4, f8, n, nn, t, v, c, x, d, tm, ts, tz, u, j, jb, m, ai, at, inet, iv FROM every;
         UPDATE every SET t = t || '!', n = -n, ai = '{}' WHERE id % 3 = 0;
         DELETE FROM every WHERE id % 5 = 0",
    );
    case.settle(&["public.every"]);
}

#[test]
fn a_live_workload_is_followed_through_restarts() {
    let Some(case) = Case::start(Workload::SCHEMA) else { return };
    let workload = Workload::start(&case.server.url("postgres"), 1, 3).unwrap();
    let mut rowtide = case.run(&[]).spawn().unwrap();
    case.wait_until_copied(&mut rowtide, Workload::TABLES.len());
    case.stop(rowtide);
    let mut rowtide = case.run(&[]).spawn().unwrap();
    case.wait_until_streaming(&mut rowtide);
    let report = workload.stop().unwrap();
    assert!(report.transactions > 20, "{report:?}");
    case.wait_until_caught_up(&mut rowtide);
    case.stop(rowtide);
    case.compare(&Workload::TABLES);
    case.settle(&Workload::TABLES);
}

#[test]
fn unchanged_large_values_survive_updates_and_key_changes() {
    let Some(case) = Case::start(
        "CREATE TABLE t (id int PRIMARY KEY, big text, v int);
         ALTER TABLE t ALTER big SET STORAGE EXTERNAL;
         INSERT INTO t SELECT i, repeat('x' || i, 3000), i FROM generate_series(1, 20) i",
    ) else {
        return;
    };
    case.once();
    case.transaction("UPDATE t SET v = -v WHERE id < 5; UPDATE t SET id = id + 100 WHERE id > 15");
    case.transaction(
        "UPDATE t SET big = repeat('new', 2000) WHERE id = 7; UPDATE t SET v = 0 WHERE id = 7; \
         UPDATE t SET id = 70 WHERE id = 7; UPDATE t SET v = 1 WHERE id = 70",
    );
    case.transaction(
        "UPDATE t SET id = -1 WHERE id = 8; UPDATE t SET id = 8 WHERE id = 9; UPDATE t SET id = 9 WHERE id = -1",
    );
    case.settle(&["public.t"]);
    assert_eq!(case.rows("SELECT count(*) FROM public.t WHERE big IS NULL"), ["0"]);
}

#[test]
fn truncate_applies_in_order_with_rows_around_it() {
    let Some(case) = Case::start(
        "CREATE TABLE a (id int PRIMARY KEY, v text);
         CREATE TABLE b (id int PRIMARY KEY REFERENCES a);
         INSERT INTO a SELECT i, 'v' FROM generate_series(1, 50) i;
         INSERT INTO b SELECT i FROM generate_series(1, 50) i",
    ) else {
        return;
    };
    case.once();
    case.transaction(
        "INSERT INTO a VALUES (100, 'gone'); TRUNCATE a CASCADE; INSERT INTO a VALUES (1, 'after')",
    );
    case.settle(&["public.a", "public.b"]);
    assert_eq!(case.rows("SELECT count(*) FROM public.a"), ["1"]);
}

#[test]
fn rows_without_a_key_form_a_multiset() {
    let Some(case) = Case::start(
        "CREATE TABLE bag (x int, y text);
         ALTER TABLE bag REPLICA IDENTITY FULL;
         INSERT INTO bag SELECT i % 3, NULLIF(i % 2, 0)::text FROM generate_series(1, 60) i",
    ) else {
        return;
    };
    case.once();
    case.sql(
        "DELETE FROM bag WHERE ctid IN (SELECT ctid FROM bag WHERE x = 1 AND y IS NULL LIMIT 3);
         UPDATE bag SET y = 'same' WHERE x = 2;
         INSERT INTO bag VALUES (NULL, NULL), (NULL, NULL);
         DELETE FROM bag WHERE ctid = (SELECT ctid FROM bag WHERE x IS NULL LIMIT 1)",
    );
    case.settle(&["public.bag"]);
}

#[test]
fn soft_deletes_keep_the_row_and_mark_it() {
    let Some(case) = Case::start(
        "CREATE TABLE t (id int PRIMARY KEY, v text);
         INSERT INTO t VALUES (1, 'one'), (2, 'two'), (3, 'three')",
    ) else {
        return;
    };
    case.config("[[table]]\nmatch = \"public.t\"\ndelete = \"soft\"\n");
    case.once();
    case.sql("DELETE FROM t WHERE id = 1;\nDELETE FROM t WHERE id = 2;\nINSERT INTO t VALUES (2, 'again')");
    case.once();
    let rows =
        case.rows("SELECT concat_ws(' ', id, v, _rowtide_deleted) FROM public.t ORDER BY id");
    assert_eq!(rows, ["1 one true", "2 again false", "3 three false"]);
}

#[test]
fn append_keeps_every_event_once() {
    let Some(case) = Case::start(
        "CREATE TABLE t (id int PRIMARY KEY, v int);
         INSERT INTO t SELECT i, 0 FROM generate_series(1, 10) i",
    ) else {
        return;
    };
    case.config("[[table]]\nmatch = \"public.*\"\nmode = \"append\"\n");
    case.once();
    case.transaction("UPDATE t SET v = 1 WHERE id <= 5; DELETE FROM t WHERE id = 10");
    case.transaction("INSERT INTO t VALUES (11, 1); UPDATE t SET v = 2 WHERE id = 11; TRUNCATE t");
    case.once();
    case.once();
    let events = case.rows(
        "SELECT concat_ws(' ', _rowtide_op, count(*)) FROM public.t GROUP BY _rowtide_op ORDER BY 1",
    );
    assert_eq!(events, ["delete 1", "insert 1", "snapshot 10", "truncate 1", "update 6"]);
    let twice = case.rows(
        "SELECT count(*) - count(DISTINCT (_rowtide_position, _rowtide_seq)) FROM public.t \
         WHERE _rowtide_op <> 'snapshot'",
    );
    assert_eq!(twice, ["0"]);
}

#[test]
fn replace_and_full_load_copy_afresh() {
    let Some(case) = Case::start(
        "CREATE TABLE lookup (id int PRIMARY KEY, v text);
         CREATE TABLE live (id int PRIMARY KEY, v text);
         INSERT INTO lookup VALUES (1, 'a');
         INSERT INTO live VALUES (1, 'a')",
    ) else {
        return;
    };
    case.config("[[table]]\nmatch = \"public.lookup\"\nmode = \"replace\"\n");
    case.run(&["--mode", "full-load"]).run(crate::case::LIMIT).unwrap().success().unwrap();
    case.compare(&["public.lookup", "public.live"]);
    case.sql("UPDATE lookup SET v = 'b';\nINSERT INTO live VALUES (2, 'b')");
    case.run(&["--mode", "cdc", "--once"]).run(crate::case::LIMIT).unwrap().success().unwrap();
    case.compare(&["public.live"]);
    case.settle(&["public.lookup", "public.live"]);
}

#[test]
fn names_need_no_manners() {
    let Some(case) = Case::start(
        "CREATE TABLE \"Odd \"\"table\"\", 'x'.y\" (\"select\" int PRIMARY KEY, \"naïve col\" text, \"a\"\"b\" int);
         INSERT INTO \"Odd \"\"table\"\", 'x'.y\" VALUES (1, 'x', 2)",
    ) else {
        return;
    };
    case.once();
    case.sql("INSERT INTO \"Odd \"\"table\"\", 'x'.y\" VALUES (2, 'y', 3);\nUPDATE \"Odd \"\"table\"\", 'x'.y\" SET \"a\"\"b\" = 9");
    case.once();
    let rows = case.rows(
        "SELECT concat_ws(' ', \"select\", \"naïve col\", \"a\"\"b\") FROM public.\"Odd \"\"table\"\", 'x'.y\" ORDER BY 1",
    );
    assert_eq!(rows, ["1 x 9", "2 y 9"]);
}

#[test]
fn an_idle_source_lets_go_of_its_log() {
    let Some(case) =
        Case::start("CREATE TABLE t (id int PRIMARY KEY);\nCREATE TABLE elsewhere (id int)")
    else {
        return;
    };
    case.config("");
    let config = case.directory.path().join("rowtide.toml");
    let text = std::fs::read_to_string(&config).unwrap().replace("public.*", "public.t");
    std::fs::write(&config, text).unwrap();
    let mut rowtide = case.run(&[]).spawn().unwrap();
    case.wait_until_streaming(&mut rowtide);
    case.sql("INSERT INTO elsewhere SELECT generate_series(1, 1000)");
    case.wait_until_caught_up(&mut rowtide);
    case.stop(rowtide);
}

#[test]
fn a_table_taken_out_and_put_back_has_no_gap() {
    let Some(case) = Case::start(
        "CREATE TABLE a (id int PRIMARY KEY);
         CREATE TABLE b (id int PRIMARY KEY)",
    ) else {
        return;
    };
    case.once();
    let config = case.directory.path().join("rowtide.toml");
    let both = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, both.replace("public.*", "public.a")).unwrap();
    case.sql("INSERT INTO a VALUES (1)");
    case.once();
    case.sql("INSERT INTO b VALUES (1);\nINSERT INTO a VALUES (2)");
    case.once();
    std::fs::write(&config, both).unwrap();
    case.settle(&["public.a", "public.b"]);
}

#[test]
fn copying_again_happens_once_although_the_connection_breaks() {
    let Some(case) = Case::start(
        "CREATE TABLE t (id int PRIMARY KEY);
         INSERT INTO t SELECT generate_series(1, 10)",
    ) else {
        return;
    };
    case.config("[[table]]\nmatch = \"public.*\"\nmode = \"append\"\n");
    case.once();
    let mut rowtide = case.run(&["--resync", "public.t"]).spawn().unwrap();
    case.wait_until_copied(&mut rowtide, 1);
    let first = case.value("SELECT active_pid FROM pg_replication_slots");
    case.sql("SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots");
    rowtide_testkit::wait_for("another connection", crate::case::LIMIT, || {
        let pid = case.value("SELECT active_pid FROM pg_replication_slots WHERE active");
        Ok((!pid.is_empty() && pid != first).then_some(()))
    })
    .unwrap();
    case.sql("INSERT INTO t VALUES (11)");
    case.wait_until_caught_up(&mut rowtide);
    case.stop(rowtide);
    let rows = case.rows("SELECT count(*) FROM public.t WHERE _rowtide_op = 'snapshot'");
    assert_eq!(rows, ["20"], "the first copy and one more");
}

#[test]
fn a_table_dropped_at_the_source_is_noted_and_its_copy_stays() {
    let Some(case) = Case::start(
        "CREATE TABLE keep (id int PRIMARY KEY);
         CREATE TABLE gone (id int PRIMARY KEY);
         INSERT INTO gone VALUES (1)",
    ) else {
        return;
    };
    case.once();
    case.sql("DROP TABLE gone;\nINSERT INTO keep VALUES (1)");
    case.settle(&["public.keep"]);
    assert_eq!(case.rows("SELECT id FROM public.gone"), ["1"]);
    let phase = case.rows("SELECT phase FROM _rowtide.tables WHERE source_table = 'gone'");
    assert_eq!(phase, ["stopped"]);
}

#[test]
fn a_server_that_dies_and_comes_back_is_followed_on() {
    let Some(mut case) = Case::start(
        "CREATE TABLE t (id int PRIMARY KEY, v text);
         INSERT INTO t SELECT i, 'x' FROM generate_series(1, 100) i",
    ) else {
        return;
    };
    let mut rowtide = case.run(&[]).spawn().unwrap();
    case.wait_until_copied(&mut rowtide, 1);
    for round in 0..2 {
        case.sql("UPDATE t SET v = v || 'y' WHERE id % 3 = 0");
        case.server.kill9();
        case.server.start_again().unwrap();
        case.sql(&format!(
            "INSERT INTO t SELECT i + 1000 * ({round} + 1), 'z' FROM generate_series(1, 50) i"
        ));
        case.wait_until_streaming(&mut rowtide);
        case.wait_until_caught_up(&mut rowtide);
    }
    case.stop(rowtide);
    case.compare(&["public.t"]);
}
