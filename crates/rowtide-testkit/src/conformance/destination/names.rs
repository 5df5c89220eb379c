//! Names are only names.

use rowtide_core::traits::Progress;
use rowtide_core::{ErrorKind, Severity, TableName};

use super::Case;
use crate::conformance::batches::apply;
use crate::conformance::model::{Kind, Log, SAME, Table};
use crate::row;

/// As long as PostgreSQL allows: 63 bytes.
fn longest() -> String {
    "l".repeat(59) + "🦆"
}

/// Applies an insert, updates with all ways of finding a row, and a delete.
async fn changed(case: &Case, table: &Table) {
    let mut log = Log::default();
    let columns = i64::try_from(table.plan.source.columns.len()).unwrap();
    let whole = |id: i64| (0..columns).map(|at| (id + at).into()).collect::<Vec<_>>();
    let partial = |id: i64| {
        let mut row = vec![SAME; table.plan.source.columns.len()];
        row[0] = id.into();
        row
    };
    log.commit((0..4).map(|id| table.insert(whole(id * 100))));
    log.commit([
        table.update(partial(100)),
        table.change_key(row![200], partial(250)),
        table.delete(row![300]),
    ]);
    let mut writer = case.prepare(&[table]).await;
    for transaction in log.transactions.chunks(1) {
        apply(writer.as_mut(), transaction).await.unwrap();
        writer.commit(Progress::default()).await.unwrap();
    }
    case.check(&[table], &log, 2).await;
}

/// Quotes, dots, newlines, statements, reserved words, spaces, emoji, 63 bytes.
pub async fn hostile_names_are_only_names(case: Case) {
    let long = longest();
    let names = [
        "select",
        "a\"b; DROP TABLE x; --",
        "🦆.é",
        "c0",
        " ",
        "a.b",
        "new\nline",
        "tab\t",
        "'",
        "$1",
        "?",
        "%s",
        "\\",
        "/*",
        "--",
        "null",
        "user",
        "value",
        "_",
        "1",
        &long,
    ];
    let columns: Vec<(&str, Kind)> = names.iter().map(|name| (*name, Kind::Integer)).collect();
    let schemas = ["public", "sch\"e.ma'; --"];
    let tables = ["order", "we\"ird.t'a;ble", "🦆", "a.b", "new\nline", " ", "table", &long];
    for (id, (schema, table)) in
        (1..).zip(schemas.iter().flat_map(|schema| tables.map(|table| (*schema, table.to_owned()))))
    {
        let table = Table::called(id, &TableName::new(schema, table), &columns, &[0]);
        changed(&case, &table).await;
    }
    let removed = case.destination().teardown(super::PIPELINE).await.unwrap();
    assert!(removed.len() > 16, "{removed:?}");
}

/// Where they are one name they are refused before anything runs, else both work.
pub async fn names_that_differ_in_case_only(case: Case) {
    let columns = [("id", Kind::Integer), ("Note", Kind::Integer), ("NOTE", Kind::Integer)];
    let column_twins = Table::new(1, "twins", &columns, &[0]);
    let lower = Table::new(2, "case", &columns[..2], &[0]);
    let upper = Table::new(3, "CASE", &columns[..2], &[0]);
    if case.destination().capabilities().ignores_case {
        for plans in [vec![column_twins.plan], vec![lower.plan.clone(), upper.plan.clone()]] {
            let findings = case.destination().preflight(&plans).await.unwrap();
            assert!(findings.iter().any(|f| f.severity == Severity::Error), "{findings:?}");
        }
        // Where the engine does not ask first, the second one is refused, not merged.
        changed(&case, &lower).await;
        let error = case.destination().load(super::PIPELINE, &upper.plan, 1).await.err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Config, "{}", error.chain());
    } else {
        for table in [&column_twins, &lower, &upper] {
            changed(&case, table).await;
        }
        assert!(case.live(&lower).await.is_some() && case.live(&upper).await.is_some());
    }
}

/// Columns called like those that some systems have anyway: they work, or the table is refused
/// before anything runs.
pub async fn names_of_system_columns(case: Case) {
    let names = ["ctid", "xmin", "oid", "tableoid", "rowid", "_rowid_", "rownum", "row_id"];
    for (id, name) in (1..).zip(names) {
        let columns = [("id", Kind::Integer), (name, Kind::Integer)];
        let table = Table::new(id, &format!("with_{name}"), &columns, &[0]);
        let plans = std::slice::from_ref(&table.plan);
        let findings = case.destination().preflight(plans).await.unwrap();
        match findings.iter().find(|finding| finding.severity == Severity::Error) {
            Some(refused) => assert!(refused.message.contains(name), "{refused:?}"),
            None => changed(&case, &table).await,
        }
    }
}
