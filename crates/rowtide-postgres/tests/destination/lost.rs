//! Commits whose answer never comes.

use rowtide_core::{Destination, ErrorKind, MergeWrite, TableWrite};

use crate::proxy::{Fate, Proxy};
use crate::support::{Db, commit_at, in_time, item_rows, items};

pub(crate) async fn answers_to_commits_are_looked_for(db: &Db<'_>) {
    let plan = items();
    drop(db.begin(&plan).await);
    let proxy = Proxy::before(db).await;
    let destination = proxy.destination(db);
    let mut position = 0;
    for (fate, committed) in [
        (Fate::AnswerLost, true),
        (Fate::Lost, false),
        (Fate::LostUnnoticed, false),
        (Fate::Passes, true),
    ] {
        position += 10;
        let id = i64::try_from(position).unwrap();
        let mut writer = destination.open(db.pipeline()).await.unwrap();
        let write = |name: &'static str| {
            let rows = item_rows(&plan, &[(id, Some(name), None)]);
            TableWrite::Merge(MergeWrite { upserts: Some(rows), ..MergeWrite::default() })
        };
        writer.write(&plan, write("first")).await.unwrap();
        proxy.next_commit(fate);
        let outcome = in_time("a commit", commit_at(&mut writer, position)).await;
        let stored = db.sql(&format!("SELECT count(*) FROM items WHERE id = {id}"));
        let at = db.sql("SELECT checkpoint FROM _rowtide.pipelines");
        if committed {
            outcome.unwrap();
            assert_eq!(stored, "1", "{fate:?}");
            assert_eq!(at, format!("{{\"slot\":{position}}}"), "{fate:?}");
            // It goes on, stages and all, although the connection is another.
            writer.write(&plan, write("again")).await.unwrap();
            commit_at(&mut writer, position + 1).await.unwrap();
            assert_eq!(db.sql(&format!("SELECT name FROM items WHERE id = {id}")), "again");
        } else {
            assert_eq!(outcome.unwrap_err().kind(), ErrorKind::Unavailable, "{fate:?}");
            assert_eq!(stored, "0", "{fate:?}");
            assert_ne!(at, format!("{{\"slot\":{position}}}"), "{fate:?}");
        }
    }
}
