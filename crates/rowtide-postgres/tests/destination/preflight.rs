//! What is found before anything is made.

use std::sync::Arc;

use arrow_schema::{DataType, Field};
use rowtide_core::{Destination, Phase, Severity, TableName, TablePlan};
use rowtide_postgres::{OriginUse, PostgresDestination};

use crate::support::{Db, commit_at, items, soft_items, state_of};

/// Plans that no server would take.
fn unfit() -> Vec<TablePlan> {
    let own = TablePlan { target: TableName::new("_rowtide", "x"), ..items() };
    let mut soft = TablePlan { target: TableName::new("s", "y"), ..soft_items() };
    soft.metadata.deleted = None;
    let long = TablePlan { target: TableName::new("s", "n".repeat(64)), ..items() };
    let mut system = TablePlan { target: TableName::new("s", "z"), ..soft_items() };
    system.metadata.position = Some("xmin".to_owned());
    let columns = (0..1_595).map(|at| Field::new(format!("c{at}"), DataType::Int64, true));
    let wide = crate::support::schema((32, "wide"), columns.collect(), vec![0]);
    let wide = TablePlan { source: Arc::new(wide), ..soft_items() };
    let wide = TablePlan { target: TableName::new("s", "wide"), ..wide };
    vec![own, soft.clone(), soft, long, system, wide]
}

pub(crate) async fn findings_name_the_fix(db: &Db<'_>) {
    let plan = items();
    let errors = async |destination: &PostgresDestination, plans: &[TablePlan]| {
        let findings = destination.preflight(plans).await.unwrap();
        let errors = findings.into_iter().filter(|found| found.severity == Severity::Error);
        let line = |found: rowtide_core::Finding| {
            assert!(found.fix.is_some(), "{found:?}");
            format!("{}: {} / {}", found.subject, found.message, found.fix.unwrap_or_default())
        };
        errors.map(line).collect::<Vec<_>>().join("\n")
    };
    let destination = db.destination();
    assert_eq!(errors(&destination, std::slice::from_ref(&plan)).await, "");
    assert!(destination.peek(db.pipeline()).await.unwrap().is_none(), "nothing was made");

    db.sql("CREATE TABLE items (id int)");
    let found = errors(&destination, std::slice::from_ref(&plan)).await;
    assert!(found.contains("public.items") && found.contains("is the source itself"), "{found}");
    db.sql("DROP TABLE items");

    let mut writer = db.begin(&plan).await;
    writer.remember(&state_of(&plan, Phase::Streaming)).await.unwrap();
    commit_at(&mut writer, 1).await.unwrap();
    assert_eq!(errors(&destination, std::slice::from_ref(&plan)).await, "");
    db.sql("ALTER TABLE items ALTER id TYPE int");
    let found = errors(&destination, std::slice::from_ref(&plan)).await;
    assert!(found.contains("\"id\" is integer"), "{found}");

    let found = errors(&destination, &unfit()).await;
    for part in [
        "Rowtide's own",
        "soft delete needs",
        "would both be written",
        "63 bytes",
        "\"xmin\" is the name of a system column",
        "give the metadata column another name",
        "at most 1600 / leave out metadata columns",
    ] {
        assert!(found.contains(part), "{part}: {found}");
    }

    let name = &db.name;
    db.sql(&format!(
        "CREATE ROLE poor LOGIN; REVOKE ALL ON DATABASE {name} FROM public; \
         GRANT CONNECT ON DATABASE {name} TO poor; CREATE SCHEMA closed; \
         ALTER ROLE poor SET synchronous_commit = local; DROP SCHEMA _rowtide CASCADE"
    ));
    let mut options = db.options();
    options.user = Some("poor".to_owned());
    options.origin = OriginUse::Required;
    let poor = PostgresDestination::new(options);
    let plans = ["closed", "missing"]
        .map(|schema| TablePlan { target: TableName::new(schema, "t"), ..items() });
    let found = errors(&poor, &plans).await;
    for part in [
        "schema closed: the role may not make tables there / GRANT CREATE, USAGE ON SCHEMA \"closed\" TO \"poor\"",
        "schema missing: does not exist, and the role may not make it / GRANT CREATE ON DATABASE",
        "schema _rowtide: does not exist",
        "temporary tables",
        "origin: the role may not use replication origins / GRANT EXECUTE",
    ] {
        assert!(found.contains(part), "{part}: {found}");
    }
    // The fixes are enough.
    for fix in found.lines().filter_map(|line| line.split(" / ").nth(1)) {
        db.sql(fix);
    }
    assert_eq!(errors(&poor, &plans).await, "");
    drop(poor.open("poor").await.unwrap());
    db.wait_until("its end", "SELECT count(*) FROM pg_stat_activity WHERE usename = 'poor'", "0")
        .await;
    poor.teardown("poor").await.unwrap();
    db.sql("DROP OWNED BY poor; DROP ROLE poor");
}

/// The server is asked about all tables at once: as many questions for many as for one.
pub(crate) async fn many_tables_take_as_many_questions_as_one(db: &Db<'_>) {
    let of = |at: u64| {
        let mut source = Arc::unwrap_or_clone(items().source);
        source.name = TableName::new("public", format!("t{at}"));
        source.id = at;
        let target = source.name.clone();
        TablePlan { source: Arc::new(source), target, ..items() }
    };
    let plans: Vec<TablePlan> = (0..300).map(of).collect();
    // One is ours, one is a stranger's, and one no server would take.
    let mut writer = db.begin(&plans[7]).await;
    commit_at(&mut writer, 1).await.unwrap();
    db.sql("ALTER TABLE t7 DROP COLUMN note; CREATE TABLE t9 (id bigint)");
    let questions = async |plans: &[TablePlan]| {
        let executed = || {
            let log = std::fs::read_to_string(db.server.log_file()).unwrap();
            log.lines().filter(|line| line.contains("execute ")).count()
        };
        db.sql(&format!("ALTER DATABASE {} SET log_statement = 'all'", db.name));
        let before = executed();
        let findings = db.destination().preflight(plans).await.unwrap();
        let asked = executed() - before;
        db.sql(&format!("ALTER DATABASE {} RESET log_statement", db.name));
        (asked, findings)
    };
    let (for_one, found) = questions(&plans[..1]).await;
    assert!(for_one > 0 && found.iter().all(|found| found.severity != Severity::Error));
    let mut plans = plans;
    plans[5].target = TableName::new("public", "n".repeat(64));
    let (for_many, found) = questions(&plans).await;
    assert_eq!(for_many, for_one);
    let errors = found.iter().filter(|found| found.severity == Severity::Error);
    let errors: Vec<_> = errors.map(|found| (&*found.subject, &*found.message)).collect();
    let wanted = [("nnn", "63 bytes"), ("t7", "\"note\" is gone"), ("t9", "did not make")];
    assert_eq!(errors.len(), wanted.len(), "{errors:?}");
    for (subject, message) in wanted {
        let told = |(at, what): &(&str, &str)| at.contains(subject) && what.contains(message);
        assert!(errors.iter().any(told), "{subject}: {errors:?}");
    }
}
