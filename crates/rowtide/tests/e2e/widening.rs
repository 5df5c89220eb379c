//! Types that become wider without a row being written anew, and labels of enums that are renamed.

use rowtide_testkit::{Finished, wait_for};

use crate::case::{Case, LIMIT};
use crate::warehouse::Warehouse;

const TABLE: &str =
    "CREATE TABLE t (id varchar(8) PRIMARY KEY, v varchar(5), n numeric(6,2), big numeric(50,2));
     INSERT INTO t SELECT i, 'v' || i, i, i FROM generate_series(1, 20) i";

/// Changes that write no row anew; each with a row that only the wider type holds.
const WIDENING: [&str; 5] = [
    "ALTER TABLE t ALTER v TYPE varchar(20); UPDATE t SET v = 'more than five' WHERE id = '3'",
    "UPDATE t SET n = 1; ALTER TABLE t ALTER v TYPE text, ALTER n TYPE numeric(12,2); \
     INSERT INTO t VALUES ('a', repeat('x', 100), 1234567890.12, 1)",
    "ALTER TABLE t ALTER id TYPE text; UPDATE t SET id = 'a key longer than eight' WHERE id = '5'; \
     DELETE FROM t WHERE id = '6'",
    "ALTER TABLE t ALTER big TYPE numeric(80,2); UPDATE t SET big = 1e70 WHERE id = '7'",
    "ALTER TABLE t RENAME v TO w; ALTER TABLE t ALTER w TYPE varchar; UPDATE t SET w = 'w' WHERE id = '8'",
];

/// Changes that look alike in the catalog, and wrote every row anew.
const REWRITING: [&str; 2] = [
    "ALTER TABLE t ALTER v TYPE varchar(20) USING upper(v); UPDATE t SET n = 2 WHERE id = '3'",
    "ALTER TABLE t ALTER n TYPE numeric(12,2) USING n * 2; INSERT INTO t VALUES ('b')",
];

fn copies(run: &Finished) -> usize {
    run.stderr.matches("copy in place").count()
}

#[test]
fn a_wider_type_is_followed_in_place_in_duckdb() {
    let Some(case) = Case::start(TABLE) else { return };
    assert_eq!(copies(&case.once()), 1);
    for change in WIDENING {
        case.transaction(change);
        let run = case.once();
        assert_eq!(copies(&run), 0, "{change}: {run:?}");
        case.compare(&["public.t"]);
    }
    let told = case.rows("SELECT change FROM _rowtide.schema_history ORDER BY version");
    assert_eq!(told[0], "column v widened from character varying(5) to character varying(20)");
    assert_eq!(told.len(), 7, "{told:?}");
}

#[test]
fn a_wider_type_is_followed_in_place_in_postgresql() {
    let Some(there) = Warehouse::start(TABLE, "") else { return };
    let case = &there.case;
    assert_eq!(copies(&case.once()), 1);
    for change in WIDENING {
        case.transaction(change);
        let run = case.once();
        assert_eq!(copies(&run), 0, "{change}: {run:?}");
        there.compare("public.t", change);
    }
    let types = "SELECT string_agg(format_type(atttypid, atttypmod), ', ' ORDER BY attname) \
         FROM pg_attribute WHERE attrelid = 't'::regclass AND attnum > 0 AND NOT attisdropped";
    assert_eq!(there.sql(types), "numeric(80,2), text, numeric(12,2), text");
}

#[test]
fn a_wider_type_whose_rows_were_written_anew_is_copied_again() {
    for change in REWRITING {
        let Some(case) = Case::start(TABLE) else { return };
        case.once();
        case.transaction(change);
        let run = case.once();
        assert_eq!(copies(&run), 1, "{change}: {run:?}");
        case.compare(&["public.t"]);
    }
}

/// Two changes before the log is read: what the second one wrote anew, the first one did not, but
/// nobody can tell.
#[test]
fn a_rewrite_is_noticed_behind_a_change_that_wrote_nothing() {
    let Some(case) = Case::start(TABLE) else { return };
    case.once();
    case.sql(
        "ALTER TABLE t ALTER v TYPE varchar(20);\nUPDATE t SET v = 'more than five' WHERE id = '3';\n\
         ALTER TABLE t ALTER v TYPE text USING reverse(v);\nUPDATE t SET n = 0 WHERE id = '4'",
    );
    case.settle(&["public.t"]);
    // Emptied and filled again: another file, and still the same rows for whoever reads the log.
    case.sql(
        "TRUNCATE t;\nINSERT INTO t VALUES ('1', 'one');\nALTER TABLE t ALTER n TYPE numeric(9,2);\n\
         INSERT INTO t VALUES ('2', 'two', 1234567.89)",
    );
    case.settle(&["public.t"]);
}

const MOODS: &str = "CREATE TYPE mood AS ENUM ('sad', 'ok');
     CREATE DOMAIN feeling AS mood;
     CREATE TYPE mixed AS (m feeling, n int);
     CREATE TABLE plain (id int PRIMARY KEY, m mood);
     CREATE TABLE lists (id int PRIMARY KEY, m mood[]);
     CREATE TABLE nested (id int PRIMARY KEY, m mixed);
     CREATE TABLE other (id int PRIMARY KEY, m text);
     INSERT INTO plain VALUES (1, 'sad'), (2, 'ok');
     INSERT INTO lists VALUES (1, '{sad,ok}');
     INSERT INTO nested VALUES (1, '(sad,1)');
     INSERT INTO other VALUES (1, 'sad')";

const ALL: [&str; 3] = ["public.plain", "public.lists", "public.other"];

fn nested(case: &Case) {
    assert_eq!(
        case.rows("SELECT string_agg(m::VARCHAR, ';' ORDER BY id) FROM public.nested")[0]
            .matches("gloomy")
            .count(),
        1
    );
}

#[test]
fn a_renamed_label_is_noticed_after_a_stop_and_an_added_one_costs_nothing() {
    let Some(case) = Case::start(MOODS) else { return };
    case.once();
    case.sql(
        "ALTER TYPE mood ADD VALUE 'happy' BEFORE 'ok';\nINSERT INTO plain VALUES (3, 'happy')",
    );
    let run = case.once();
    assert_eq!(copies(&run), 0, "{run:?}");
    case.compare(&ALL);
    case.sql("ALTER TYPE mood RENAME VALUE 'sad' TO 'gloomy'");
    let run = case.once();
    assert_eq!(copies(&run), 3, "{run:?}");
    case.compare(&ALL);
    nested(&case);
    // Also one that was added since.
    case.sql("ALTER TYPE mood RENAME VALUE 'happy' TO 'glad'");
    let run = case.once();
    assert_eq!(copies(&run), 3, "{run:?}");
    case.compare(&ALL);
    assert_eq!(copies(&case.once()), 0);
}

#[test]
fn a_renamed_label_is_noticed_while_it_runs() {
    let Some(case) = Case::start(MOODS) else { return };
    let mut running = case.run(&[]).spawn().unwrap();
    case.wait_until_copied(&mut running, 4);
    case.sql("ALTER TABLE other ADD COLUMN late mood;\nUPDATE other SET late = 'sad'");
    case.wait_until_caught_up(&mut running);
    case.sql(
        "ALTER TYPE mood RENAME VALUE 'sad' TO 'gloomy';\nINSERT INTO plain VALUES (9, 'gloomy')",
    );
    wait_for("the tables to be copied again", LIMIT, || {
        if !running.is_running() {
            return Err(running.stderr());
        }
        Ok((running.stderr().matches("copy in place").count() >= 8).then_some(()))
    })
    .unwrap();
    case.wait_until_caught_up(&mut running);
    case.stop(running);
    case.compare(&ALL);
    nested(&case);
}
