//! Values that the destination's types cannot hold: what each policy makes of them.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::case::{Case, LIMIT};
use crate::warehouse::{Warehouse, cli};

/// What `rowtide status` counts for a table: replaced by NULL, standing as text, gone to
/// quarantine, and there now.
fn counts(case: &Case, table: &str) -> [u64; 4] {
    let run = cli(case, &["status", "--json"]).success().unwrap();
    let status: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
    let tables = status["destination"]["tables"].as_array().unwrap();
    let found = tables.iter().find(|one| one["table"] == table).unwrap();
    ["nulled", "as_text", "quarantined", "in_quarantine"]
        .map(|count| found["values"][count].as_u64().unwrap())
}

/// What is told in quarantine, oldest first.
const TOLD: &str = "SELECT concat_ws(' ', op, coalesce(source_column, '-'), coalesce(key, '-')) \
     FROM _rowtide.quarantine ORDER BY position, ordinal NULLS FIRST, key";

const MIXED: &str = "[[table]]\nmatch = \"public.p\"\nunrepresentable = \"quarantine\"\n\
     columns = { n = \"null\", t = \"text\" }\n";

/// A table with a column of each policy; row 2 loses a value, the text of one of row 3 stands
/// beside it, row 4 is kept out, and row 5 has both of the first.
const P: &str = "CREATE TABLE p (id int PRIMARY KEY, n numeric(5,2), t numeric(5,2), q numeric(5,2), l int[]);
     INSERT INTO p VALUES (1, 1, 1, 1, '{1}'), (2, 'NaN', 1, 1, NULL), (3, 1, 'NaN', 1, NULL), (4, 1, 1, 'NaN', NULL), \
     (5, 'NaN', 'NaN', 1, '{}')";

const ROWS: &str = "SELECT concat_ws(' ', id, coalesce(n::text, '-'), coalesce(t::text, '-'), \
     coalesce(t_text, '-'), q::text) FROM public.p ORDER BY id";

#[test]
fn copy_and_stream_follow_the_policy_of_each_column() {
    let Some(case) = Case::start(P) else { return };
    case.config(MIXED);
    case.once();
    let copied = ["1 1.00 1.00 - 1.00", "2 - 1.00 - 1.00", "3 1.00 - NaN 1.00", "5 - - NaN 1.00"];
    assert_eq!(case.rows(ROWS), copied);
    assert_eq!(case.rows(TOLD), ["snapshot q {\"id\":\"4\"}"]);
    assert_eq!(counts(&case, "public.p"), [2, 2, 1, 1]);
    let values = case.rows("SELECT row_values FROM _rowtide.quarantine");
    assert_eq!(values, ["{\"id\":\"4\",\"l\":null,\"n\":\"1.00\",\"q\":\"NaN\",\"t\":\"1.00\"}"]);
    let reason = case.rows("SELECT reason FROM _rowtide.quarantine");
    assert_eq!(reason, ["NaN and infinity do not fit a decimal type"]);

    case.sql("INSERT INTO p SELECT id + 10, n, t, q, l FROM p");
    case.sql("UPDATE p SET q = 'NaN' WHERE id = 1;\nUPDATE p SET q = 2 WHERE id = 4");
    case.sql("UPDATE p SET t = 'NaN', n = 3 WHERE id = 2;\nDELETE FROM p WHERE id = 14");
    case.sql("UPDATE p SET l = '{{1,2},{3,4}}' WHERE id = 11");
    case.once();
    let streamed = [
        "2 3.00 - NaN 1.00",
        "3 1.00 - NaN 1.00",
        "4 1.00 1.00 - 2.00",
        "5 - - NaN 1.00",
        "12 - 1.00 - 1.00",
        "13 1.00 - NaN 1.00",
        "15 - - NaN 1.00",
    ];
    assert_eq!(case.rows(ROWS), streamed);
    let told = [
        "snapshot q {\"id\":\"4\"}",
        "insert q {\"id\":\"14\"}",
        "update q {\"id\":\"1\"}",
        "resolved - {\"id\":\"4\"}",
        "resolved - {\"id\":\"14\"}",
        "update l {\"id\":\"11\"}",
    ];
    assert_eq!(case.rows(TOLD), told);
    assert_eq!(counts(&case, "public.p"), [4, 5, 4, 2]);
    // Nothing is counted or told again, and what a text column holds follows its column.
    case.sql("UPDATE p SET t = 7 WHERE id = 3;\nUPDATE p SET q = 1 WHERE id = 1");
    case.once();
    assert_eq!(counts(&case, "public.p"), [4, 5, 4, 1]);
    let rows =
        case.rows("SELECT concat_ws(' ', t, t_text) FROM public.p WHERE id IN (1, 3) ORDER BY id");
    assert_eq!(rows, ["1.00", "7.00"]);
}

fn listed(case: &Case, words: &[&str]) -> serde_json::Value {
    let words: Vec<&str> = ["quarantine", "--json"].iter().chain(words).copied().collect();
    let run = cli(case, &words).success().unwrap();
    serde_json::from_str(&run.stdout).unwrap()
}

#[test]
fn rows_in_quarantine_are_listed_without_their_values() {
    let two = format!("{P};\nCREATE TABLE calm (id int PRIMARY KEY)");
    let Some(case) = Case::start(&two) else { return };
    case.config(MIXED);
    let unknown = cli(&case, &["quarantine"]);
    assert_eq!(unknown.code(), 2, "{unknown:?}");
    case.once();
    case.sql("UPDATE p SET q = 'NaN' WHERE id = 1;\nUPDATE p SET q = 'NaN', n = 3 WHERE id = 1");
    case.sql(
        "INSERT INTO p VALUES (7654321, 1, 1, 1, '{{1,2},{3,4}}');\nUPDATE p SET q = 2 WHERE id = 4",
    );
    case.once();

    let found = listed(&case, &[]);
    let tables = found["tables"].as_array().unwrap();
    assert_eq!(tables.len(), 1, "a table without such rows is not listed: {found}");
    assert_eq!(tables[0]["table"], "public.p");
    assert_eq!(tables[0]["in_quarantine"], 2);
    assert_eq!(tables[0]["key"], serde_json::json!(["id"]));
    let of = |what: &str| -> Vec<&str> {
        let rows = tables[0]["rows"].as_array().unwrap();
        rows.iter().map(|row| row[what].as_str().unwrap()).collect()
    };
    // The last version of each row that is there now, and no other.
    assert_eq!((of("op"), of("column")), (vec!["update", "insert"], vec!["q", "l"]));
    assert_eq!(of("reason")[0], "NaN and infinity do not fit a decimal type");
    let positions = case.rows("SELECT max(position) FROM _rowtide.quarantine WHERE op = 'insert'");
    let low = u64::from_str_radix(of("position")[1].split_once('/').unwrap().1, 16).unwrap();
    assert_eq!(positions[0].parse::<u64>().unwrap() & 0xffff_ffff, low);
    assert!(!found.to_string().contains("7654321"), "no value is shown: {found}");

    let text = cli(&case, &["quarantine"]).success().unwrap().stdout;
    assert!(text.contains("public.p: 2 in quarantine, key (id)"), "{text}");
    assert!(text.contains("do not fit a decimal type") && !text.contains("7654321"), "{text}");
    let shown = cli(&case, &["quarantine", "--show-values"]).success().unwrap().stdout;
    assert!(shown.contains("{\"id\":\"7654321\"}") && shown.contains("{{1,2},{3,4}}"), "{shown}");
    let shown = listed(&case, &["--show-values"]);
    assert_eq!(shown["tables"][0]["rows"][0]["key"], serde_json::json!({"id": "1"}));
    assert_eq!(shown["tables"][0]["rows"][0]["values"]["n"], "3.00");

    assert_eq!(listed(&case, &["--table", "public.calm"])["tables"], serde_json::json!([]));
    let nowhere = cli(&case, &["quarantine", "--table", "public.nowhere"]);
    assert_eq!(nowhere.code(), 2, "{nowhere:?}");
    // A file that is in use cannot be looked into, which is said.
    let mut running = case.run(&[]).spawn().unwrap();
    case.wait_until_streaming(&mut running);
    let busy = cli(&case, &["quarantine"]);
    assert_eq!(busy.code(), 4, "{busy:?}");
    assert!(busy.stderr.contains("while the pipeline runs"), "{busy:?}");
    case.stop(running);
    case.sql("DELETE FROM p WHERE id = 7654321");
    cli(&case, &["table", "replay", "public.p"]).success().unwrap();
    case.once();
    let found = listed(&case, &[]);
    assert_eq!(found["tables"][0]["in_quarantine"], 1);
    assert_eq!(found["tables"][0]["rows"][0]["op"], "snapshot");
    case.sql("DELETE FROM p WHERE id = 1");
    case.once();
    let text = cli(&case, &["quarantine"]).success().unwrap().stdout;
    assert!(text.contains("No rows are in quarantine"), "{text}");
}

/// PostgreSQL's own types hold nearly everything: what they get through Arrow's instants does not.
const LATE: &str = "CREATE TABLE p (id int PRIMARY KEY, at timestamp, n numeric(5,2));
     INSERT INTO p VALUES (1, '2020-01-01', 'NaN'), (2, '294276-12-31', 1)";

#[test]
fn a_postgresql_destination_has_the_same_policies() {
    let rule = "[[table]]\nmatch = \"public.p\"\nunrepresentable = \"quarantine\"\n";
    let Some(there) = Warehouse::start(LATE, rule) else { return };
    there.case.once();
    assert_eq!(there.sql("SELECT id FROM p"), "1");
    there.case.sql("INSERT INTO p VALUES (3, '294276-12-31', 2), (4, 'infinity', 2)");
    there.case.sql(
        "UPDATE p SET at = 'now' WHERE id = 2;\nUPDATE p SET at = '294275-01-01' WHERE id = 1",
    );
    there.case.once();
    assert_eq!(there.sql("SELECT string_agg(id::text, ',' ORDER BY id) FROM p"), "2,4");
    let told = "snapshot at {\"id\": \"2\"}\ninsert at {\"id\": \"3\"}\nresolved - {\"id\": \"2\"}\nupdate at {\"id\": \"1\"}";
    let query = TOLD.replace("key, '-'", "key::jsonb::text, '-'");
    assert_eq!(there.sql(&query).trim(), told);
    assert_eq!(counts(&there.case, "public.p"), [0, 0, 3, 2]);
    // Listed also while it runs.
    let mut running = there.case.run(&[]).spawn().unwrap();
    there.case.wait_until_streaming(&mut running);
    let found = listed(&there.case, &["--show-values"]);
    there.case.stop(running);
    let rows = found["tables"][0]["rows"].as_array().unwrap();
    let told = rows.iter().map(|row| format!("{} {}", row["op"], row["key"]["id"]));
    assert_eq!(told.collect::<Vec<_>>(), ["\"insert\" \"3\"", "\"update\" \"1\""]);
    // Another policy, for the rows that the new copy meets.
    let config = there.case.directory.path().join("rowtide.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text.replace("= \"quarantine\"", "= \"text\"")).unwrap();
    cli(&there.case, &["table", "replay", "public.p"]).success().unwrap();
    there.case.once();
    let rows = "SELECT string_agg(concat_ws(' ', id, at_text), ',' ORDER BY id) FROM p";
    assert_eq!(there.sql(rows), "1 294275-01-01 00:00:00,2,3 294276-12-31 00:00:00,4");
    there.case.sql("UPDATE p SET at = '294276-01-01' WHERE id = 4");
    there.case.once();
    assert_eq!(
        there.sql("SELECT at_text FROM p WHERE id = 4 AND at IS NULL"),
        "294276-01-01 00:00:00"
    );
    assert_eq!(counts(&there.case, "public.p"), [0, 3, 3, 0]);
}

#[test]
fn history_has_an_event_for_a_row_that_is_kept_out() {
    let Some(case) = Case::start(P) else { return };
    case.config(&format!("{MIXED}mode = \"append\"\n"));
    case.once();
    case.sql("UPDATE p SET q = 'NaN' WHERE id = 1;\nDELETE FROM p WHERE id = 1");
    case.sql("INSERT INTO p VALUES (9, 'NaN', 'NaN', 'NaN')");
    case.once();
    let events = "SELECT concat_ws(' ', _rowtide_op, id, coalesce(q::text, '-'), coalesce(t_text, '-')) \
         FROM public.p WHERE _rowtide_op <> 'snapshot' \
         ORDER BY _rowtide_position, _rowtide_seq";
    assert_eq!(case.rows(events), ["quarantine 1 - -", "delete 1 - -", "quarantine 9 - -"]);
    let told = ["snapshot q {\"id\":\"4\"}", "update q {\"id\":\"1\"}", "insert q {\"id\":\"9\"}"];
    assert_eq!(case.rows(TOLD), told);
    assert_eq!(counts(&case, "public.p"), [2, 2, 3, 3]);
}

#[test]
fn rows_without_a_key_are_kept_out_and_come_back() {
    let Some(case) = Case::start(
        "CREATE TABLE bag (v numeric(5,2), w text);
         ALTER TABLE bag REPLICA IDENTITY FULL;
         INSERT INTO bag VALUES (1, 'a'), (1, 'a'), ('NaN', 'b'), ('NaN', 'b')",
    ) else {
        return;
    };
    case.config("[[table]]\nmatch = \"public.bag\"\nunrepresentable = \"quarantine\"\n");
    case.once();
    let rows = || case.rows("SELECT concat_ws(' ', v, w) FROM public.bag ORDER BY v, w");
    assert_eq!(rows(), ["1.00 a", "1.00 a"]);
    // One of two equal rows becomes good, another bad; a bad one goes.
    case.sql(
        "UPDATE bag SET v = 2 WHERE ctid = (SELECT ctid FROM bag WHERE v = 'NaN' LIMIT 1);
         UPDATE bag SET v = 'NaN', w = 'x' WHERE ctid = (SELECT ctid FROM bag WHERE v = 1 LIMIT 1);
         DELETE FROM bag WHERE v = 'NaN' AND w = 'b';
         INSERT INTO bag VALUES (3, 'c'), ('NaN', 'd')",
    );
    case.once();
    assert_eq!(rows(), ["1.00 a", "2.00 b", "3.00 c"]);
    assert_eq!(counts(&case, "public.bag"), [0, 0, 4, 2]);
    let found = listed(&case, &[]);
    assert_eq!(found["tables"][0]["in_quarantine"], 2);
    assert_eq!(found["tables"][0]["rows"].as_array().unwrap().len(), 6, "all that was told");
    case.sql("DELETE FROM bag WHERE v = 'NaN'");
    cli(&case, &["table", "replay", "public.bag"]).success().unwrap();
    case.settle(&["public.bag"]);
    assert_eq!(counts(&case, "public.bag"), [0, 0, 4, 0]);
    let told = case.rows(
        "SELECT concat_ws(' ', op, count(*)) FROM _rowtide.quarantine GROUP BY op ORDER BY op",
    );
    assert_eq!(told, ["delete 2", "insert 1", "resolved 1", "snapshot 2", "update 1"]);
}

const LARGE: &str = "CREATE TABLE big (id int PRIMARY KEY, v numeric(5,2), note text, a int[]);
     ALTER TABLE big ALTER note SET STORAGE EXTERNAL, ALTER a SET STORAGE EXTERNAL;
     INSERT INTO big SELECT i, i, repeat('x' || i, 2000), '{1}' FROM generate_series(1, 5) i;
     UPDATE big SET v = 'NaN' WHERE id = 1";

#[test]
fn a_corrected_row_comes_back_although_the_log_does_not_repeat_all_of_it() {
    let Some(case) = Case::start(LARGE) else { return };
    case.config("[[table]]\nmatch = \"public.*\"\nunrepresentable = \"quarantine\"\n");
    case.once();
    assert_eq!(counts(&case, "public.big"), [0, 0, 1, 1]);
    // Its note is not repeated, and stands nowhere.
    case.sql("UPDATE big SET v = 7 WHERE id = 1;\nUPDATE big SET v = 8 WHERE id = 2");
    case.settle(&["public.big"]);
    assert_eq!(counts(&case, "public.big"), [0, 0, 1, 0]);
    assert_eq!(case.rows(TOLD)[1..], ["resolved - -"]);
    // The same while it runs.
    let mut rowtide = case.run(&[]).spawn().unwrap();
    case.wait_until_streaming(&mut rowtide);
    case.sql("UPDATE big SET v = 'NaN' WHERE id = 3;\nUPDATE big SET v = 9 WHERE id = 3");
    case.wait_until_copied(&mut rowtide, 1);
    case.wait_until_caught_up(&mut rowtide);
    case.stop(rowtide);
    case.compare(&["public.big"]);
}

#[test]
fn a_large_value_that_is_refused_stays_so_when_it_is_not_repeated() {
    let Some(case) = Case::start(LARGE) else { return };
    case.config("[[table]]\nmatch = \"public.*\"\nunrepresentable = \"quarantine\"\n");
    case.sql("UPDATE big SET v = 1 WHERE id = 1");
    case.once();
    case.sql("UPDATE big SET a = array_fill(7, ARRAY[1000, 2]) WHERE id = 2");
    case.sql("UPDATE big SET v = 20 WHERE id = 2;\nUPDATE big SET id = 30 WHERE id = 2");
    let run = case.once();
    assert!(!run.stderr.contains("copied again"), "{}", run.stderr);
    assert_eq!(case.rows("SELECT id FROM public.big ORDER BY id"), ["1", "3", "4", "5"]);
    let told = ["update a {\"id\":\"2\"}", "update a {\"id\":\"2\"}", "update a {\"id\":\"30\"}"];
    assert_eq!(case.rows(TOLD), told);
    assert_eq!(counts(&case, "public.big"), [0, 0, 3, 1]);
    // Whole, it comes back under its new key.
    case.sql("UPDATE big SET a = '{2}', note = 'short' WHERE id = 30");
    case.settle(&["public.big"]);
    assert_eq!(counts(&case, "public.big"), [0, 0, 3, 0]);
}

#[test]
fn a_key_that_cannot_be_represented_is_kept_out_with_its_row() {
    let Some(case) = Case::start(
        "CREATE TABLE k (id timestamp PRIMARY KEY, v int);
         INSERT INTO k VALUES ('2020-01-01', 1), ('294276-12-30', 2)",
    ) else {
        return;
    };
    case.config("[[table]]\nmatch = \"public.k\"\nunrepresentable = \"quarantine\"\n");
    case.once();
    case.sql("UPDATE k SET id = '294276-12-31' WHERE v = 1;\nUPDATE k SET v = 3 WHERE v = 2");
    case.once();
    assert_eq!(case.rows("SELECT count(*) FROM public.k"), ["0"]);
    assert_eq!(counts(&case, "public.k"), [0, 0, 3, 2]);
    case.sql("UPDATE k SET id = 'now' WHERE v = 3;\nDELETE FROM k WHERE v = 1");
    case.settle(&["public.k"]);
    assert_eq!(counts(&case, "public.k"), [0, 0, 3, 0]);
}

#[test]
fn a_policy_that_is_chosen_later_adds_its_column_and_names_follow() {
    let Some(case) = Case::start(
        "CREATE TABLE p (id int PRIMARY KEY, t numeric(5,2));
         INSERT INTO p VALUES (1, 'NaN')",
    ) else {
        return;
    };
    case.config("[[table]]\nmatch = \"public.p\"\nunrepresentable = \"null\"\n");
    case.once();
    assert_eq!(counts(&case, "public.p"), [1, 0, 0, 0]);
    case.config("[[table]]\nmatch = \"public.p\"\nunrepresentable = \"text\"\n");
    case.sql("INSERT INTO p VALUES (2, 'NaN')");
    case.once();
    let rows = |name: &str| {
        case.rows(&format!(
            "SELECT concat_ws(' ', id, {name}, {name}_text) FROM public.p ORDER BY id"
        ))
    };
    assert_eq!(rows("t"), ["1", "2 NaN"]);
    case.sql("ALTER TABLE p RENAME t TO amount;\nINSERT INTO p VALUES (3, 'NaN'), (4, 4)");
    case.once();
    assert_eq!(rows("amount"), ["1", "2 NaN", "3 NaN", "4 4.00"]);
    case.sql("ALTER TABLE p ADD fee numeric(3,1);\nINSERT INTO p VALUES (5, 5, 'NaN')");
    case.once();
    assert_eq!(rows("fee")[4], "5 NaN");
    assert_eq!(counts(&case, "public.p"), [1, 3, 0, 0]);
    case.sql("ALTER TABLE p DROP amount;\nINSERT INTO p VALUES (6, 1)");
    case.once();
    let columns = case.rows(
        "SELECT column_name FROM information_schema.columns WHERE table_name = 'p' ORDER BY 1",
    );
    assert_eq!(columns, ["fee", "fee_text", "id"]);
}

#[test]
fn what_makes_no_sense_is_said_before_anything_is_made() {
    let Some(case) =
        Case::start("CREATE TABLE p (id numeric(5,2) PRIMARY KEY, t numeric(5,2), t_text text)")
    else {
        return;
    };
    for (columns, said) in [
        ("gone = \"text\"", "public.p has no column gone"),
        ("id = \"null\"", "belongs to the key"),
        ("t = \"text\"", "has a column t_text"),
        ("t = \"ignore\"", "expected a table such as"),
    ] {
        case.config(&format!("[[table]]\nmatch = \"public.p\"\ncolumns = {{ {columns} }}\n"));
        let checked = cli(&case, &["check"]);
        assert_eq!(checked.code(), 2, "{columns}: {checked:?}");
        let all = format!("{}{}", checked.stdout, checked.stderr);
        assert!(all.contains(said), "{columns}: {all}");
        let run = case.run(&["--once"]).run(LIMIT).unwrap();
        assert_eq!(run.code(), 2, "{columns}: {run:?}");
        assert!(run.stderr.contains(said), "{columns}: {}", run.stderr);
    }
    assert_eq!(case.value("SELECT count(*) FROM pg_replication_slots"), "0");
    let refused = cli(&case, &["table", "replay", "public.p"]);
    assert_ne!(refused.code(), 0, "{refused:?}");
}

#[test]
fn only_so_many_rows_are_kept_out() {
    let Some(case) = Case::start(
        "CREATE TABLE p (id int PRIMARY KEY, v numeric(5,2));
         INSERT INTO p SELECT i, 'NaN' FROM generate_series(1, 10001) i;
         CREATE TABLE fine (id int PRIMARY KEY);
         INSERT INTO fine VALUES (1)",
    ) else {
        return;
    };
    case.config("[[table]]\nmatch = \"public.*\"\nunrepresentable = \"quarantine\"\n");
    let run = case.run(&["--once"]).run(LIMIT).unwrap();
    assert_eq!(run.code(), 5, "{run:?}");
    assert!(run.stderr.contains("more than 10000 rows of public.p"), "{}", run.stderr);
    case.compare(&["public.fine"]);
    case.sql("UPDATE p SET v = 1 WHERE id < 3");
    cli(&case, &["table", "resume", "public.p"]).success().unwrap();
    case.once();
    assert_eq!(counts(&case, "public.p"), [0, 0, 9999, 9999]);
}

fn seed() -> u64 {
    std::env::var("ROWTIDE_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(7)
}

#[test]
fn each_row_is_told_of_once_although_the_pipeline_is_killed() {
    let Some(case) = Case::start(
        "CREATE TABLE p (id int PRIMARY KEY, v numeric(5,2), t numeric(5,2), note text);
         INSERT INTO p SELECT i, CASE i % 4 WHEN 0 THEN 'NaN' ELSE i::numeric END, 'NaN', 'x' FROM generate_series(1, 100) i",
    ) else {
        return;
    };
    case.config(
        "[[table]]\nmatch = \"public.p\"\nunrepresentable = \"quarantine\"\ncolumns = { t = \"text\" }\n\
         [stream]\nbuffer_bytes = \"64KiB\"\n",
    );
    let mut rng = StdRng::seed_from_u64(seed());
    // The copy is told of once for each copy, so it is in place before the killing begins.
    case.once();
    let mut bad = 0;
    for round in 0..8 {
        let mut rowtide = case.run(&[]).spawn().unwrap();
        for step in 0..5 {
            let id = 1000 + round * 100 + step * 10;
            case.transaction(&format!(
                "INSERT INTO p SELECT {id} + i, CASE i % 2 WHEN 0 THEN 'NaN' ELSE 1::numeric END, 'NaN', 'y' \
                 FROM generate_series(0, 9) i; UPDATE p SET v = 2 WHERE id = {id}; \
                 DELETE FROM p WHERE id = {id} + 2"
            ));
            bad += 5;
        }
        // The only time that passes on purpose: how far the process came is what is random.
        std::thread::park_timeout(Duration::from_millis(rng.random_range(50..1500)));
        assert!(rowtide.is_running(), "seed {}: {}", seed(), rowtide.stderr());
        rowtide.kill9().unwrap();
    }
    case.once();
    let what = format!("ROWTIDE_SEED={}", seed());
    let count = |condition: &str| {
        case.rows(&format!("SELECT count(*) FROM _rowtide.quarantine WHERE {condition}"))
    };
    assert_eq!(count("op = 'snapshot'"), ["25"], "{what}");
    assert_eq!(count("op = 'insert'"), [bad.to_string()], "{what}");
    assert_eq!(count("op = 'resolved'"), [(bad / 5 * 2).to_string()], "{what}");
    let twice = case.rows(
        "SELECT count(*) - count(DISTINCT (position, ordinal, op)) FROM _rowtide.quarantine \
         WHERE op <> 'snapshot'",
    );
    assert_eq!(twice, ["0"], "{what}");
    let good =
        case.value("SELECT string_agg(id || ':' || v, ',' ORDER BY id) FROM p WHERE v <> 'NaN'");
    let there = case.rows("SELECT string_agg(id || ':' || v, ',' ORDER BY id) FROM public.p");
    assert_eq!(there, [good], "{what}");
    let texts = case.rows("SELECT count(*) FROM public.p WHERE t_text = 'NaN' AND t IS NULL");
    assert_eq!(texts, [case.value("SELECT count(*) FROM p WHERE v <> 'NaN'")], "{what}");
    let [_, as_text, quarantined, open] = counts(&case, "public.p");
    assert_eq!((quarantined, open), (25 + bad, 25 + bad - bad / 5 * 2), "{what}");
    // One for each row that came in by its copy, by its insert, and by its correction.
    assert_eq!(as_text, 75 + bad + bad / 5, "{what}");
}
