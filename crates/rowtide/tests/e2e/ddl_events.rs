//! Event triggers at the source that tell of schema changes without waiting for a row.

use rowtide_testkit::{Rowtide, wait_for};

use crate::case::{Case, DB, LIMIT};
use crate::warehouse::{Warehouse, cli};

const SCHEMA: &str = "CREATE TABLE t (id int PRIMARY KEY, v varchar(5), n int);
     CREATE TABLE gone (id int PRIMARY KEY);
     CREATE TABLE calm (id int PRIMARY KEY, v int);
     INSERT INTO t SELECT i, 'v' || i, i FROM generate_series(1, 20) i;
     INSERT INTO gone VALUES (1);
     INSERT INTO calm VALUES (1, 1)";

const COLUMNS: &str = "SELECT coalesce(string_agg(attname || ' ' || format_type(atttypid, atttypmod), ', ' ORDER BY attname), '') \
     FROM pg_attribute WHERE attrelid = 't'::regclass AND attnum > 0 AND NOT attisdropped";

fn wait_until_alike(there: &Warehouse, rowtide: &mut Rowtide, what: &str) {
    let wanted = there.case.value(COLUMNS);
    wait_for(&format!("{what}: {wanted}"), LIMIT, || {
        if !rowtide.is_running() {
            return Err(rowtide.stderr());
        }
        Ok((there.sql(COLUMNS).trim() == wanted).then_some(()))
    })
    .unwrap();
    there.compare("public.t", what);
}

#[test]
fn schema_changes_arrive_without_a_row() {
    let Some(there) = Warehouse::start(SCHEMA, "") else { return };
    let case = &there.case;
    let config = case.directory.path().join("rowtide.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text.replace("[source]\n", "[source]\nddl_events = true\n")).unwrap();
    let mut running = case.run(&[]).spawn().unwrap();
    case.wait_until_copied(&mut running, 3);
    for change in [
        "ALTER TABLE t ADD COLUMN late int DEFAULT 7",
        "ALTER TABLE t RENAME late TO later",
        "ALTER TABLE t ALTER v TYPE text",
        "ALTER TABLE t DROP COLUMN later, ADD COLUMN a text, ADD COLUMN b int DEFAULT 2",
    ] {
        case.sql(change);
        wait_until_alike(&there, &mut running, change);
    }
    let log = running.stderr();
    assert_eq!(log.matches("copy in place").count(), 3, "nothing is copied again: {log}");
    // Several, with rows between them, in one transaction: the catalog is ahead of them.
    case.transaction(
        "INSERT INTO t VALUES (100); ALTER TABLE t DROP COLUMN a; UPDATE t SET b = 3 WHERE id < 5; \
         ALTER TABLE t ADD COLUMN c int DEFAULT 9; DELETE FROM t WHERE id = 7; ALTER TABLE t RENAME c TO d",
    );
    wait_until_alike(&there, &mut running, "several at once");
    case.sql("UPDATE t SET d = d + id;\nINSERT INTO calm VALUES (2, 2)");
    case.wait_until_caught_up(&mut running);
    there.compare("public.t", "rows after changes");
    let copied = running.stderr().matches("copy in place").count();
    // What is no business of ours does no harm.
    case.sql("CREATE INDEX ON t (n);\nGRANT SELECT ON t TO PUBLIC;\nCREATE TABLE temporary_one (x int);\nDROP TABLE temporary_one");
    case.sql("SELECT pg_logical_emit_message(true, 'rowtide.ddl', 'no such thing');\nSELECT pg_logical_emit_message(true, 'foreign', '{}')");
    // Rows that are written anew are copied again.
    case.sql("ALTER TABLE t ALTER n TYPE bigint USING n * 2");
    case.wait_until_copied(&mut running, copied + 1);
    wait_until_alike(&there, &mut running, "rows written anew");
    case.sql("DROP TABLE gone");
    wait_for("the dropped table to be noticed", LIMIT, || {
        let said = cli(case, &["status"]).stdout;
        Ok(said.contains("public.gone is no longer at the source").then_some(()))
    })
    .unwrap();
    case.sql("UPDATE calm SET v = 5");
    case.wait_until_caught_up(&mut running);
    there.compare("public.calm", "the others go on");
    running.terminate().unwrap();
    running.wait(LIMIT).unwrap();
    cli(case, &["teardown", "--yes"]).success().unwrap();
    assert_eq!(case.value("SELECT count(*) FROM pg_event_trigger"), "0");
    assert_eq!(case.value("SELECT count(*) FROM pg_namespace WHERE nspname = 'rowtide'"), "0");
}

#[test]
fn check_tells_the_statements_to_a_role_that_may_not() {
    let Some(case) = Case::start(SCHEMA) else { return };
    case.sql("CREATE ROLE reader LOGIN REPLICATION;\nGRANT CREATE ON DATABASE postgres TO reader;\nALTER TABLE t OWNER TO reader;\nALTER TABLE gone OWNER TO reader;\nALTER TABLE calm OWNER TO reader");
    let url = format!("postgres://reader@127.0.0.1:{}/{DB}", case.server.port());
    let config = case.config_from(&format!("{url}?ddl_events=true"), "");
    let arguments = ["check", "--config", &config.display().to_string()];
    let refused = case.command(&arguments).run(LIMIT).unwrap();
    assert_ne!(refused.code(), 0, "{refused:?}");
    let start = refused.stdout.find("CREATE SCHEMA IF NOT EXISTS rowtide");
    let told = &refused.stdout[start.unwrap_or_else(|| panic!("{refused:?}"))..];
    let end = told.rfind("EXECUTE FUNCTION rowtide.").unwrap_or_else(|| panic!("{told}"));
    let end = end + told[end..].find(';').unwrap();
    // As printed, it does.
    case.server.psql(DB, &told[..=end]).unwrap();
    let allowed = case.command(&arguments).run(LIMIT).unwrap();
    assert!(!allowed.stdout.contains("event triggers"), "{allowed:?}");
    case.once();
    case.compare(&["public.t"]);
}
