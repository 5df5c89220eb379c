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
