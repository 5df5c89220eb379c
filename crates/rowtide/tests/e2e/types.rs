//! The types that DuckDB has of its own: structs, bit strings, times with an offset, unsigned
//! integers. And types that change while the pipeline runs, of which the log says nothing.

use rowtide_testkit::{Rowtide, wait_for};

use crate::case::{Case, LIMIT};

const PERSON: &str = "
    CREATE TYPE mood AS ENUM ('sad', 'ok');
    CREATE DOMAIN positive AS int CHECK (value > 0);
    CREATE TYPE point3 AS (x float8, \"Y y\" numeric(10,2), flags bit(3));
    CREATE TYPE person AS (name text, born date, home point3, past point3[], tags text[], m mood,
                           n positive, doc jsonb, id uuid, raw bytea, span interval);
    CREATE DOMAIN someone AS person;
    CREATE TABLE t (id int PRIMARY KEY, p person, many person[], who someone, b bit(3), v varbit,
                    at timetz, o oid, x xid8)";

/// Values of a row of `t` but its key, by a number.
fn values(n: &str) -> String {
    format!(
        "CASE {n} % 4 WHEN 0 THEN NULL \
         WHEN 1 THEN ROW(NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)::person \
         ELSE ROW('a \"quoted\", (n) \\ {{x}} é' || {n}, '2024-02-29', \
                  ROW({n} + 0.5, {n} * 1.25, B'101')::point3, \
                  ARRAY[ROW(1, NULL, B'000')::point3, NULL, ROW(NULL, NULL, NULL)::point3], \
                  ARRAY['', 'NULL', NULL, 'a,b'], 'ok', {n} + 1, \
                  jsonb_build_object('k', {n}), md5({n}::text)::uuid, '\\x00ff5c', \
                  '1 mon -2 days 03:04:05.6')::person END, \
         CASE {n} % 3 WHEN 0 THEN NULL WHEN 1 THEN '{{}}' \
         ELSE ARRAY[NULL, ROW('', 'infinity', NULL, '{{}}', '{{}}', 'sad', 1, 'null', NULL, '', \
                    '0')::person] END, \
         ROW('someone', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)::someone, \
         {n}::bit(3), CASE {n} % 5 WHEN 0 THEN '' ELSE {n}::bit(16)::varbit END, \
         CASE {n} % 3 WHEN 0 THEN '24:00:00-15:59:59' WHEN 1 THEN '00:00:00+15:59' \
         ELSE '12:34:56.789+05:30' END::timetz, \
         (4294967295 - {n})::oid, (18446744073709551615 - {n})::text::xid8"
    )
}

#[test]
fn composites_and_bit_strings_are_structs_and_bits() {
    let Some(case) = Case::start(&PERSON.replace(";\n", ";")) else { return };
    case.sql(&format!(
        "INSERT INTO t SELECT n, {} FROM generate_series(1, 30) n;\n\
         CREATE TABLE plain (id int PRIMARY KEY);\n\
         CREATE TABLE as_text (id int PRIMARY KEY, i inet)",
        values("n")
    ));
    case.settle(&["public.t", "public.plain"]);
    let kinds = case.rows(
        "SELECT column_name || ' ' || data_type FROM duckdb_columns() WHERE table_name = 't' \
         AND column_name NOT IN ('p', 'many', 'who') ORDER BY column_index",
    );
    assert_eq!(
        kinds,
        ["id INTEGER", "b BIT", "v VARCHAR", "at TIME WITH TIME ZONE", "o UINTEGER", "x UBIGINT",]
    );
    let person = "STRUCT(\"name\" VARCHAR, born DATE, home STRUCT(x DOUBLE, \"Y y\" DECIMAL(10,2), \
                  flags BIT), past STRUCT(x DOUBLE, \"Y y\" DECIMAL(10,2), flags BIT)[], tags \
                  VARCHAR[], m VARCHAR, n INTEGER, doc JSON, id UUID, raw BLOB, span INTERVAL)";
    let kinds = case.rows(
        "SELECT replace(data_type, '\"name\"', 'name') FROM duckdb_columns() \
         WHERE table_name = 't' AND column_name IN ('p', 'many', 'who') ORDER BY column_index",
    );
    let person = person.replace("\"name\"", "name");
    assert_eq!(kinds, [person.clone(), format!("{person}[]"), person]);
    // The log in binary (every type is read so), then in text: inet has a text form alone.
    for table in ["plain", "as_text"] {
        case.sql(&format!(
            "INSERT INTO t SELECT n + 100, {} FROM generate_series(1, 30) n;\n\
             UPDATE t SET p = (SELECT o.p FROM t o WHERE o.id = 3), b = ~b WHERE id % 2 = 0;\n\
             UPDATE t SET id = id + 1000 WHERE id > 120;\n\
             DELETE FROM t WHERE id % 7 = 0",
            values("n")
        ));
        case.sql(&format!("INSERT INTO {table} (id) VALUES (1)"));
        case.settle(&["public.t"]);
        case.sql("DELETE FROM t WHERE id > 100");
        // From here on the text form is asked for.
        case.sql(
            "ALTER TABLE plain ADD COLUMN IF NOT EXISTS i inet;\nUPDATE plain SET id = id + 1",
        );
        case.settle(&["public.t"]);
    }
    let found = case.rows("SELECT p.home.\"Y y\"::VARCHAR || p.tags[4] FROM public.t WHERE id = 2");
    assert_eq!(
        found,
        [format!("{}a,b", case.value("SELECT (p).home.\"Y y\" FROM t WHERE id = 2"))]
    );
}

/// Waits until the destination shows what the source does: a running pipeline holds the file, so
/// it is stopped in order to look.
fn settle_running(case: &Case, mut running: Rowtide, tables: &[&str], said: &str) {
    wait_for("the table to be copied again", LIMIT, || {
        if !running.is_running() {
            return Err(format!("rowtide ended: {}", running.stderr()));
        }
        let log = running.stderr();
        let noticed = log.find(said).map(|at| log[at..].contains("copy in place"));
        Ok(noticed.unwrap_or(false).then_some(()))
    })
    .unwrap_or_else(|error| panic!("{error}: {}", running.stderr()));
    case.wait_until_caught_up(&mut running);
    case.stop(running);
    case.compare(tables);
}

#[test]
fn an_altered_composite_is_never_misread() {
    let Some(case) = Case::start(
        "CREATE TYPE inner_type AS (a int, b text);
         CREATE TYPE outer_type AS (i inner_type, list inner_type[]);
         CREATE TABLE t (id int PRIMARY KEY, v outer_type);
         CREATE TABLE other (id int PRIMARY KEY);
         INSERT INTO t SELECT n, ROW(ROW(n, 'x')::inner_type, ARRAY[ROW(n, NULL)::inner_type])::outer_type
             FROM generate_series(1, 10) n",
    ) else {
        return;
    };
    case.settle(&["public.t"]);
    // A value of the new shape arrives before anybody looks.
    let mut running = case.run(&[]).spawn().unwrap();
    case.wait_until_streaming(&mut running);
    case.sql(
        "INSERT INTO t VALUES (20, ROW(ROW(1, 'before'), NULL));\n\
         ALTER TYPE inner_type ADD ATTRIBUTE c date;\n\
         INSERT INTO t VALUES (21, ROW(ROW(1, 'after', '2024-01-01'), NULL));\n\
         INSERT INTO other VALUES (1)",
    );
    settle_running(&case, running, &["public.t", "public.other"], "copied again");
    assert_eq!(case.rows("SELECT v.i.c::VARCHAR FROM public.t WHERE id = 21"), ["2024-01-01"]);
    // No value arrives, but those that stand have changed.
    let mut running = case.run(&[]).spawn().unwrap();
    case.wait_until_streaming(&mut running);
    case.wait_until_caught_up(&mut running);
    case.sql("ALTER TYPE inner_type DROP ATTRIBUTE b;\nINSERT INTO other VALUES (2)");
    settle_running(&case, running, &["public.t", "public.other"], "copied again");
    // While it is stopped: of the same number and types as before.
    case.sql(
        "INSERT INTO t VALUES (30, ROW(ROW(1, '2020-02-02'), NULL));\n\
         ALTER TYPE inner_type DROP ATTRIBUTE c;\n\
         ALTER TYPE inner_type ADD ATTRIBUTE z date;\n\
         INSERT INTO t VALUES (31, ROW(ROW(1, '2021-01-01'), NULL))",
    );
    case.settle(&["public.t", "public.other"]);
    case.sql("ALTER TYPE inner_type RENAME ATTRIBUTE z TO y");
    case.settle(&["public.t"]);
    case.sql("INSERT INTO t VALUES (40, ROW(ROW(1, '2022-01-01'), NULL))");
    case.settle(&["public.t"]);
}

#[test]
fn an_attribute_gets_another_type() {
    let Some(case) = Case::start(
        "CREATE TYPE pair AS (a int, b text);
         CREATE TABLE t (id int PRIMARY KEY, v pair, i inet);
         INSERT INTO t VALUES (1, ROW(1, '2'))",
    ) else {
        return;
    };
    case.settle(&["public.t"]);
    // In use, an attribute keeps its type; so the column goes away for a moment.
    case.sql(
        "ALTER TABLE t ADD COLUMN keep text;\nUPDATE t SET keep = v::text;\n\
         ALTER TABLE t DROP COLUMN v;\nALTER TYPE pair ALTER ATTRIBUTE b TYPE int CASCADE;\n\
         ALTER TABLE t ADD COLUMN v pair;\nUPDATE t SET v = keep::pair;\n\
         INSERT INTO t VALUES (2, NULL, 'x', ROW(3, 4))",
    );
    case.settle(&["public.t"]);
    assert_eq!(case.rows("SELECT (v.a + v.b)::VARCHAR FROM public.t ORDER BY id"), ["3", "7"]);
    // One goes, another of a type that cannot be taken for it comes in its place.
    case.sql(
        "ALTER TYPE pair DROP ATTRIBUTE b;\nALTER TYPE pair ADD ATTRIBUTE b text;\n\
         INSERT INTO t VALUES (3, NULL, 'x', ROW(5, 'six'))",
    );
    case.settle(&["public.t"]);
    assert_eq!(case.rows("SELECT v.b FROM public.t WHERE id = 3"), ["six"]);
}

#[test]
fn labels_are_added_and_renamed_while_it_runs() {
    let Some(case) = Case::start(
        "CREATE TYPE mood AS ENUM ('sad', 'ok');
         CREATE TYPE pair AS (m mood, list mood[]);
         CREATE TABLE t (id int PRIMARY KEY, m mood, p pair);
         INSERT INTO t VALUES (1, 'sad', ROW('ok', '{sad}'))",
    ) else {
        return;
    };
    case.once();
    let mut running = case.run(&[]).spawn().unwrap();
    case.wait_until_streaming(&mut running);
    case.sql(
        "ALTER TYPE mood ADD VALUE 'it''s \"fine\"' BEFORE 'ok';\n\
         INSERT INTO t VALUES (2, 'it''s \"fine\"', ROW('it''s \"fine\"', ARRAY[NULL, 'it''s \"fine\"']::mood[]))",
    );
    case.wait_until_caught_up(&mut running);
    case.stop(running);
    case.compare(&["public.t"]);
    // A renamed label shows in rows that were written from then on.
    let mut running = case.run(&[]).spawn().unwrap();
    case.wait_until_streaming(&mut running);
    case.sql("ALTER TYPE mood RENAME VALUE 'sad' TO 'blue';\nUPDATE t SET m = 'blue', p = ROW('blue', '{blue}')");
    case.wait_until_caught_up(&mut running);
    case.stop(running);
    case.compare(&["public.t"]);
}

#[test]
fn rows_without_a_key_are_told_apart_by_all_that_is_in_them() {
    let Some(case) = Case::start(
        "CREATE TYPE part AS (f float8, s interval, t text, b bit(2));
         CREATE TABLE t (v part, list part[], b bit(3), at timetz, o oid);
         ALTER TABLE t REPLICA IDENTITY FULL",
    ) else {
        return;
    };
    case.sql(
        "INSERT INTO t SELECT ROW(CASE n % 2 WHEN 0 THEN 0.5::float8 ELSE '-Infinity'::float8 END, \
         CASE n % 3 WHEN 0 THEN '1 mon'::interval ELSE '30 days' END, 't, ''x''', B'10')::part, \
         ARRAY[ROW('NaN', NULL, NULL, NULL), NULL]::part[], \
         n::bit(3), CASE n % 2 WHEN 0 THEN '12:00+00' ELSE '13:00+01' END::timetz, n % 3 \
         FROM generate_series(1, 40) n",
    );
    case.once();
    case.sql(
        "DELETE FROM t WHERE ctid = ANY (ARRAY(SELECT ctid FROM t LIMIT 7));\n\
         UPDATE t SET v.t = 'changed' WHERE (v).f::text = '-Infinity' AND (v).s::text = '1 mon';\n\
         INSERT INTO t SELECT * FROM t WHERE (v).t = 'changed';\n\
         DELETE FROM t WHERE at::text LIKE '13%' AND (v).s::text = '30 days' AND o = 2",
    );
    case.settle(&["public.t"]);
}

#[test]
fn keys_of_every_kind_find_their_rows() {
    let Some(case) = Case::start(
        "CREATE TYPE pair AS (a int, b text);
         CREATE TABLE c (id pair PRIMARY KEY, v int);
         CREATE TABLE b (id bit(9) PRIMARY KEY, v int);
         CREATE TABLE z (id timetz, x xid8, v int, PRIMARY KEY (id, v));
         INSERT INTO c SELECT ROW(n, 'k' || n)::pair, n FROM generate_series(1, 20) n;
         INSERT INTO b SELECT n::bit(9), n FROM generate_series(1, 20) n;
         INSERT INTO z SELECT '00:00+00'::timetz + n * interval '1 hour', '7', n FROM generate_series(1, 20) n",
    ) else {
        return;
    };
    let tables = ["public.c", "public.b", "public.z"];
    case.settle(&tables);
    for table in ["c", "b", "z"] {
        case.sql(&format!(
            "UPDATE {table} SET v = -v WHERE v % 3 = 0;\nDELETE FROM {table} WHERE v % 5 = 0"
        ));
    }
    case.sql("UPDATE c SET id = ROW((id).a + 100, NULL) WHERE v > 10;\nUPDATE b SET id = ~id WHERE v > 10");
    case.settle(&tables);
}

/// Values that the log does not repeat are completed from the destination's row.
#[test]
fn long_arrays_of_composites_that_did_not_change_stay() {
    let Some(case) = Case::start(
        "CREATE TYPE pair AS (a int, b text);
         CREATE TABLE t (id int PRIMARY KEY, v int, list pair[], bits bit(80000), p pair);
         ALTER TABLE t ALTER list SET STORAGE EXTERNAL;
         ALTER TABLE t ALTER bits SET STORAGE EXTERNAL;
         ALTER TABLE t ALTER p SET STORAGE EXTERNAL;
         INSERT INTO t SELECT n, n, (SELECT array_agg(ROW(i, md5(i::text))::pair)
             FROM generate_series(1, 500) i), repeat(n::bit(8)::text, 10000)::bit(80000),
             ROW(n, repeat(md5(n::text), 400))::pair FROM generate_series(1, 5) n",
    ) else {
        return;
    };
    case.once();
    case.sql("UPDATE t SET v = v + 1;\nUPDATE t SET v = 0, list[3] = ROW(0, 'new') WHERE id = 2;\nUPDATE t SET id = id + 10 WHERE id = 4");
    case.settle(&["public.t"]);
}
