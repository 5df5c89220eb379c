//! What a pipeline makes at the source, and how it is found again.

use rowtide_core::{ErrorKind, TableSelection};

use super::Case;
use super::applier::Applier;
use crate::conformance::in_time;

/// With a known checkpoint nothing is made anew, and tables that join are told of.
pub async fn what_was_made_is_found_again(case: Case) {
    case.create_items("a").await;
    case.create_items("b").await;
    let a = case.discover(&["a"]).await;
    let both = case.discover(&["a", "b"]).await;
    let intent = case.source().operations().intent();
    let first = case.attach_as(&a, Some((&intent, None))).await.unwrap();
    assert!(first.added.is_empty(), "{:?}", first.added);
    let known = Some((&first.identity, Some(&first.checkpoint)));
    let again = case.attach_as(&a, known).await.unwrap();
    assert_eq!(again.identity, first.identity);
    assert_eq!(again.checkpoint, first.checkpoint);
    assert!(again.added.is_empty(), "{:?}", again.added);
    let third = case.attach_as(&both, known).await.unwrap();
    assert_eq!(third.added, [both[1].name.clone()]);
    assert_eq!(third.checkpoint, first.checkpoint);
}

/// An identity without a checkpoint is an intent: whatever it left is made anew, and nothing of
/// what happened since is lost.
pub async fn a_half_made_beginning_is_made_anew(case: Case) {
    case.create_items("t").await;
    let t = case.table("t");
    let tables = case.discover(&["t"]).await;
    let intent = case.source().operations().intent();
    let first = case.attach_as(&tables, Some((&intent, None))).await.unwrap();
    case.run(&format!("INSERT INTO {t} VALUES (1, 'x', NULL)")).await;
    let second = case.attach_as(&tables, Some((&intent, None))).await.unwrap();
    assert!(second.checkpoint.covers(&first.checkpoint));
    let mut applier = Applier::start(&case, &second.checkpoint, &tables).await;
    case.run(&format!("INSERT INTO {t} VALUES (2, 'x', NULL)")).await;
    applier.copy_all(2).await;
    applier.catch_up().await;
    applier.check_all(&case).await;
}

/// A gap is never skipped in silence.
pub async fn a_lost_position_is_noticed(case: Case) {
    case.create_items("t").await;
    let t = case.table("t");
    let tables = case.discover(&["t"]).await;
    let attached = case.attach(&tables).await;
    case.run(&format!("INSERT INTO {t} VALUES (1, 'x', NULL)")).await;
    case.subject.lose_position(super::PIPELINE).await;
    let known = Some((&attached.identity, Some(&attached.checkpoint)));
    let error = case.attach_as(&tables, known).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PositionLost, "{}", error.chain());
    assert!(error.hint().is_some(), "it says what to do: {}", error.chain());
    let started = Applier::start_with(&case, &attached.checkpoint, &tables, 1 << 20).await;
    let error = match started {
        Err(error) => error,
        Ok(mut applier) => loop {
            if let Err(error) = applier.step().await {
                break error;
            }
        },
    };
    assert_eq!(error.kind(), ErrorKind::PositionLost, "{}", error.chain());
    // Nor is something of the same name taken for it that was made anew.
    case.source().operations().release().await.unwrap();
    let intent = case.source().operations().intent();
    case.attach_as(&tables, Some((&intent, None))).await.unwrap();
    let error = case.attach_as(&tables, known).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PositionLost, "{}", error.chain());
}

/// A table that is named and not there is a mistake; a pattern that matches nothing is not.
pub async fn a_missing_table_is_an_error(case: Case) {
    case.create_items("t").await;
    let schema = case.subject.dialect().schema().to_owned();
    let missing = TableSelection::parse([format!("{schema}.missing").as_str()]).unwrap();
    let error = case.source().discover(&missing).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config, "{}", error.chain());
    assert!(error.chain().contains("missing"), "{}", error.chain());
}

/// And only what the pipeline made.
pub async fn release_removes_everything(case: Case) {
    case.create_items("t").await;
    let before = case.subject.leftovers().await;
    let tables = case.discover(&["t"]).await;
    let neighbour = case.subject.source("neighbour");
    let modes: Vec<_> =
        tables.iter().map(|table| (table.clone(), rowtide_core::Mode::Merge)).collect();
    let request = rowtide_core::traits::AttachRequest { tables: &modes, known: None };
    neighbour.attach(request).await.unwrap();
    let with_neighbour = case.subject.leftovers().await;
    let attached = case.attach(&tables).await;
    assert!(case.subject.leftovers().await.len() > with_neighbour.len());
    let mut applier = Applier::start(&case, &attached.checkpoint, &tables).await;
    applier.nothing_to_copy();
    case.run(&format!("INSERT INTO {} VALUES (1, 'x', NULL)", case.table("t"))).await;
    applier.catch_up().await;
    applier.close().await;
    let removed = case.source().operations().release().await.unwrap();
    assert!(!removed.is_empty());
    assert_eq!(case.subject.leftovers().await, with_neighbour);
    assert!(case.source().operations().release().await.unwrap().is_empty());
    in_time("the neighbour's release", neighbour.operations().release()).await.unwrap();
    assert_eq!(case.subject.leftovers().await, before);
}
