//! Whose tables are whose.

use rowtide_core::{Destination, ErrorKind, Phase, Severity};

use super::copies::{elsewhere, load};
use super::{Case, PIPELINE, commit, epoch};
use crate::conformance::model::{Kind, Log, NULL, Table};
use crate::row;

/// A table that somebody else made is never written, replaced, or removed.
pub async fn a_foreign_table_is_refused_and_untouched(case: Case) {
    let items = Table::items();
    let columns = [("precious".to_owned(), Kind::Integer)];
    let precious = || async { case.subject.rows(items.target(), &columns).await };
    case.subject.make_foreign(items.target()).await;
    let mut writer = case.open().await;
    let error = case.destination().load(PIPELINE, &items.plan, 1).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Config, "{}", error.chain());
    assert!(error.chain().contains("items"), "{}", error.chain());
    let error = writer.promote(&items.plan).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config, "{}", error.chain());
    drop(writer);
    let findings = case.destination().preflight(std::slice::from_ref(&items.plan)).await.unwrap();
    assert!(findings.iter().any(|finding| finding.severity == Severity::Error), "{findings:?}");
    // Not even after something was remembered of it: that is no proof.
    let mut writer = case.open().await;
    if writer.remember(&items.plan.state(Phase::Copying)).await.is_ok() {
        commit(&mut writer, 1).await.unwrap();
    }
    drop(writer);
    let error = case.destination().load(PIPELINE, &items.plan, 1).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Config, "{}", error.chain());
    // Nor for another pipeline.
    let error = case.destination().load("another", &items.plan, 1).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Config, "{}", error.chain());
    case.destination().teardown(PIPELINE).await.unwrap();
    assert_eq!(precious().await.unwrap(), [vec![Some("1".to_owned())]]);
}

/// Tables, staging tables, state: all of it, and nothing of others.
pub async fn teardown_removes_everything_and_only_that(case: Case) {
    let destination: std::sync::Arc<dyn Destination> = case.destination();
    assert!(destination.teardown(PIPELINE).await.unwrap().is_empty());
    case.subject.make_foreign(&rowtide_core::TableName::new("public", "foreign")).await;
    let before = case.subject.inventory().await;
    let (items, other, elsewhere) = (Table::items(), Table::bag(), elsewhere());
    let mut log = Log::default();
    log.commit([items.insert(row![1, "a", NULL])]);
    let mut writer = case.prepare(&[&items]).await;
    epoch(&mut writer, &log, (0, 1)).await.unwrap();
    let mut neighbour = destination.open("neighbour").await.unwrap();
    neighbour.promote(&other.plan).await.unwrap();
    neighbour.remember(&other.plan.state(Phase::Streaming)).await.unwrap();
    commit(&mut neighbour, 3).await.unwrap();
    // A copy that was broken off.
    load(&case, &elsewhere, &[(0, 3)]).await;
    drop((writer, neighbour));
    let removed = destination.teardown(PIPELINE).await.unwrap();
    assert!(removed.iter().any(|line| line.contains("items")), "{removed:?}");
    assert_eq!(destination.peek(PIPELINE).await.unwrap(), None);
    assert_eq!(case.live(&items).await, None);
    assert_eq!(case.live(&other).await.unwrap(), Vec::<Vec<_>>::new());
    assert_eq!(destination.peek("neighbour").await.unwrap().unwrap().tables.len(), 1);
    destination.teardown("neighbour").await.unwrap();
    // Schemas that were made for tables may stay; tables, and Rowtide's own schema, may not.
    let left: Vec<String> = case.subject.inventory().await.difference(&before).cloned().collect();
    assert!(left.iter().all(|name| !name.contains('.') && !name.contains("rowtide")), "{left:?}");
    assert!(case.subject.inventory().await.is_superset(&before));
    assert!(destination.teardown(PIPELINE).await.unwrap().is_empty());
}
