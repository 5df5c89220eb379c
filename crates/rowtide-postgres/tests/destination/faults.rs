//! Failures injected at each point of a write.

use rowtide_core::{Destination, MergeWrite, MultisetWrite, TableWrite, fault};

use crate::support::{Db, commit_at, item_rows, items};

const ALL: &str = "SELECT string_agg(id || ':' || name, ' ' ORDER BY id) FROM items";

pub(crate) async fn a_failure_at_every_point_leaves_nothing_half_done(db: &Db<'_>) {
    let plan = items();
    drop(db.begin(&plan).await);
    let destination = db.destination();
    let merge = |name: &'static str| {
        let upserts = Some(item_rows(&plan, &[(1, Some(name), None), (2, Some(name), None)]));
        TableWrite::Merge(MergeWrite { upserts, ..MergeWrite::default() })
    };
    let mut writer = destination.open(db.pipeline()).await.unwrap();
    writer.write(&plan, merge("old")).await.unwrap();
    commit_at(&mut writer, 1).await.unwrap();
    for (position, point) in (2..).zip(["write.staged", "write.removed", "commit.before"]) {
        fault::arm(&format!("{point}=error")).unwrap();
        let mut writer = destination.open(db.pipeline()).await.unwrap();
        let outcome = match writer.write(&plan, merge("half")).await {
            Ok(()) => commit_at(&mut writer, position).await,
            failed => failed,
        };
        fault::arm("").unwrap();
        assert!(outcome.unwrap_err().message().contains(point), "{point}");
        assert_eq!(db.sql(ALL), "1:old 2:old", "{point}");
        let stored = destination.peek(db.pipeline()).await.unwrap().unwrap();
        assert_eq!(stored.checkpoint, Some(crate::support::checkpoint(1)), "{point}");
    }
    let removes = Some(item_rows(&plan, &[(1, Some("old"), None)]));
    let mut writer = destination.open(db.pipeline()).await.unwrap();
    let write = MultisetWrite { removes, inserts: None };
    writer.write(&plan, TableWrite::Multiset(write)).await.unwrap();
    fault::arm("promote.swapped=error").unwrap();
    assert!(writer.promote(&plan).await.is_err());
    fault::arm("").unwrap();
    assert_eq!(db.sql(ALL), "1:old 2:old");
}

pub(crate) async fn an_answer_that_is_lost_after_the_commit_is_found(db: &Db<'_>) {
    let plan = items();
    let mut writer = db.begin(&plan).await;
    for position in 1..=3 {
        let upserts = Some(item_rows(&plan, &[(1, Some("a"), None)]));
        let write = MergeWrite { upserts, ..MergeWrite::default() };
        writer.write(&plan, TableWrite::Merge(write)).await.unwrap();
        fault::arm("commit.done=error").unwrap();
        let outcome = commit_at(&mut writer, position).await;
        fault::arm("").unwrap();
        outcome.unwrap();
        let stored = writer.state().await.unwrap();
        assert_eq!(stored.checkpoint, Some(crate::support::checkpoint(position)));
    }
}
