//! What a publication leaves out: columns, rows, generated columns.

use rowtide_sandbox::Major;

use crate::shaped::{Shaped, To, crosswise, each};

const FILTERED: &str = "
CREATE TABLE t (id int, region text, v int, secret text, PRIMARY KEY (id, region));
CREATE TABLE parts (id int PRIMARY KEY, v int) PARTITION BY RANGE (id);
CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (0) TO (50);
CREATE TABLE parts_2 PARTITION OF parts FOR VALUES FROM (50) TO (1000);
INSERT INTO t SELECT i, CASE i % 3 WHEN 0 THEN 'eu' WHEN 1 THEN 'us' ELSE 'odd''s' END, i, 's' FROM generate_series(1, 60) i;
INSERT INTO parts SELECT i, i FROM generate_series(1, 100) i;
CREATE PUBLICATION theirs FOR TABLE t (region, v, id) WHERE (region <> 'us' AND id > 5),
    parts WHERE (id > 20) WITH (publish_via_partition_root = true)";

fn rows_agree(shaped: &Shaped) {
    let t = "SELECT id || '|' || region || '|' || coalesce(v::text, '-') FROM public.t";
    let parts = "SELECT id || ' ' || v FROM public.parts";
    for (query, condition) in [(t, "region <> 'us' AND id > 5"), (parts, "id > 20 AND id < 5000")] {
        let there = shaped.case.value(&format!("{query} WHERE {condition} ORDER BY id"));
        let here = shaped.rows(&format!("{query} ORDER BY id")).join("\n");
        assert_eq!(here, there, "{}", shaped.major);
    }
}

#[test]
fn row_filters_and_column_lists_hold_for_copy_and_log() {
    for (major, to) in
        [(Major::V15, To::Duckdb), (Major::V16, To::Duckdb), (Major::V18, To::Postgres)]
    {
        let Some(shaped) = Shaped::start(major, to, FILTERED) else { continue };
        let case = &shaped.case;
        shaped.configure("publication = \"theirs\"", "\"public.*\"", "");
        let (code, said) = shaped.check();
        assert_eq!(code, 0, "{said}");
        for word in ["leaves out the columns secret", "only rows WHERE", "region"] {
            assert!(said.contains(word), "`{word}` is missing: {said}");
        }
        case.once();
        rows_agree(&shaped);
        let columns = "SELECT column_name FROM information_schema.columns WHERE table_name = 't' \
             AND table_schema = 'public' ORDER BY column_name";
        assert_eq!(shaped.rows(columns), ["id", "region", "v"]);
        case.sql(
            "UPDATE t SET region = 'us' WHERE id = 6;
             UPDATE t SET region = 'eu' WHERE id = 7;
             UPDATE t SET id = 3, v = NULL WHERE id = 8;
             UPDATE t SET id = 100 WHERE id = 1;
             UPDATE t SET secret = 'x';
             INSERT INTO t VALUES (200, 'us', 1, 's'), (201, 'eu', 1, 's');
             DELETE FROM t WHERE id = 10 OR id = 12;
             UPDATE parts SET id = id + 900 WHERE id IN (10, 11, 19);
             UPDATE parts SET id = 0 WHERE id = 99",
        );
        case.once();
        rows_agree(&shaped);
        case.sql("TRUNCATE parts;\nINSERT INTO parts SELECT i, -i FROM generate_series(1, 40) i");
        case.once();
        rows_agree(&shaped);
        // Another filter is another table: it is copied again.
        case.sql(
            "ALTER PUBLICATION theirs SET TABLE t (region, v, id) WHERE (region <> 'us' AND id > 5), \
             parts WHERE (id > 20 AND id < 30);
             DELETE FROM parts WHERE id >= 30",
        );
        case.once();
        rows_agree(&shaped);
        assert_eq!(case.value("SELECT count(*) FROM pg_publication"), "1");
    }
}

#[test]
fn a_publication_that_cannot_be_right_is_refused() {
    each(
        &[Major::V14, Major::V15, Major::V18],
        "CREATE TABLE t (id int PRIMARY KEY, v int);
         CREATE TABLE whole (id int, v int);
         ALTER TABLE whole REPLICA IDENTITY FULL;
         INSERT INTO t VALUES (1, 1)",
        |shaped| {
            let case = &shaped.case;
            let refuse = |publication: &str, words: &[&str]| {
                case.sql(&format!("CREATE PUBLICATION theirs {publication}"));
                shaped.configure("publication = \"theirs\"", "\"public.*\"", "");
                let (code, said) = shaped.check();
                assert_ne!(code, 0, "{publication}: {said}");
                shaped.ends(2, words);
                assert_eq!(case.value("SELECT count(*) FROM pg_replication_slots"), "0");
                case.sql("DROP PUBLICATION theirs");
            };
            refuse("FOR TABLE t", &["does not contain", "whole"]);
            refuse("FOR ALL TABLES WITH (publish = 'insert')", &["every kind of change"]);
            if shaped.major >= Major::V15 {
                refuse("FOR TABLE t, whole (id)", &["public.whole"]);
                refuse("FOR TABLE t (v), whole", &["public.t"]);
            }
            // What fits is used as it is.
            case.sql("CREATE PUBLICATION theirs FOR ALL TABLES");
            shaped.settle(&["public.t", "public.whole"]);
            case.sql("INSERT INTO whole VALUES (1, 1), (1, 1);\nUPDATE t SET v = 2");
            shaped.settle(&["public.t", "public.whole"]);
        },
    );
}

const GENERATED: &str = "
CREATE TABLE g (id int PRIMARY KEY, a int, twice int GENERATED ALWAYS AS (a * 2) STORED,
    n bigint GENERATED BY DEFAULT AS IDENTITY, s serial);
CREATE TABLE only_generated (x int GENERATED ALWAYS AS (1) STORED);
INSERT INTO g (id, a) SELECT i, i FROM generate_series(1, 20) i";

#[test]
fn generated_columns_are_followed_where_the_log_has_them() {
    crosswise(GENERATED, |shaped| {
        let case = &shaped.case;
        let published = shaped.major >= Major::V18;
        let (_, said) = shaped.check();
        assert_eq!(said.contains("twice"), !published, "{said}");
        if published {
            case.sql("DROP TABLE only_generated");
        } else {
            assert!(said.contains("has no columns to replicate"), "{said}");
        }
        let agree = || {
            let columns = if published { "id, a, twice, n, s" } else { "id, a, n, s" };
            let query =
                |from: &str| format!("SELECT concat_ws(' ', {columns}) FROM {from} ORDER BY id");
            assert_eq!(shaped.rows(&query("public.g")).join("\n"), case.value(&query("g")));
        };
        case.once();
        agree();
        case.sql("UPDATE g SET a = -a WHERE id < 9;\nINSERT INTO g (id, a) VALUES (100, 7);\nDELETE FROM g WHERE id = 12");
        case.once();
        agree();
        case.sql(
            "ALTER TABLE g ADD COLUMN thrice int GENERATED ALWAYS AS (a * 3) STORED;
             UPDATE g SET a = a + 1 WHERE id > 15",
        );
        case.once();
        agree();
        if published {
            // Existing rows change without a message.
            case.sql("ALTER TABLE g ALTER twice SET EXPRESSION AS (a * 20)");
            case.once();
            agree();
            shaped.compare_columns("public.g", &["thrice"]);
        }
        case.sql("ALTER TABLE g ALTER twice DROP EXPRESSION;\nUPDATE g SET twice = 0 WHERE id < 4");
        case.once();
        agree();
        shaped.compare_columns("public.g", &["twice"]);
    });
}

#[test]
fn a_virtual_column_is_left_out_and_named() {
    each(
        &[Major::V18],
        "CREATE TABLE g (id int PRIMARY KEY, a int, seen int GENERATED ALWAYS AS (a + 1) VIRTUAL);
         INSERT INTO g (id, a) VALUES (1, 1)",
        |shaped| {
            let (code, said) = shaped.check();
            assert_eq!(code, 0, "{said}");
            assert!(said.contains("virtual") && said.contains("seen"), "{said}");
            shaped.settle(&["public.g"]);
            shaped.case.sql("UPDATE g SET a = 2;\nINSERT INTO g (id) VALUES (2)");
            shaped.settle(&["public.g"]);
        },
    );
}

#[test]
fn a_publication_without_generated_columns_is_copied_without_them() {
    each(&[Major::V15, Major::V18], GENERATED, |shaped| {
        let case = &shaped.case;
        case.sql("DROP TABLE only_generated;\nCREATE PUBLICATION theirs FOR TABLE g");
        shaped.configure("publication = \"theirs\"", "\"public.*\"", "");
        let (code, said) = shaped.check();
        assert_eq!(code, 0, "{said}");
        assert!(said.contains("twice"), "{said}");
        shaped.settle(&["public.g"]);
        case.sql("UPDATE g SET a = 0");
        let run = shaped.settle(&["public.g"]);
        assert!(!run.stderr.contains("copied again"), "{run:?}");
    });
}
