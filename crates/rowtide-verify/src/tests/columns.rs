//! Columns that only one side has.

use async_trait::async_trait;
use rowtide_core::view::{ColumnGaps, Inspect, TableView, ViewRequest};
use rowtide_core::{Checkpoint, Result, TableName, TablePlan, TableSchema, TableState};

use super::histories::{few_buckets, populated, state_of};
use super::world::{End, World};
use crate::{Arrival, Repair, Side, TableReport, Verdict, Verifier};

/// A destination with other columns than version 2 of the table has.
struct Odd {
    end: End,
    gaps: ColumnGaps,
}

#[async_trait]
impl Inspect for Odd {
    async fn view(&self, request: ViewRequest) -> Result<Box<dyn TableView>> {
        self.end.view(request).await
    }

    async fn until_visible(
        &self,
        table: &TableSchema,
        patience: std::time::Duration,
    ) -> Result<bool> {
        self.end.until_visible(table, patience).await
    }

    async fn column_gaps(&self, _: &str, plan: &TablePlan) -> Result<ColumnGaps> {
        let followed = plan.source.version == 2;
        let stale = ColumnGaps { missing: vec!["new".into()], extra: Vec::new() };
        Ok(if followed { self.gaps.clone() } else { stale })
    }
}

/// A pipeline that is at version 2 by now.
struct Followed(World);

#[async_trait]
impl Arrival for Followed {
    async fn until(&self, checkpoint: &Checkpoint) -> Result<()> {
        self.0.until(checkpoint).await
    }

    async fn state_of(&self, _: &TableName) -> Result<Option<TableState>> {
        Ok(Some(version(&self.0, 2)))
    }
}

fn version(world: &World, version: u32) -> TableState {
    let mut state = state_of(world);
    state.schema.version = version;
    state
}

/// What is told of a table that is known in `known`, and has `gaps` in version 2.
async fn verified(known: u32, gaps: [&[&str]; 2], repair: Option<Repair<'_>>) -> TableReport {
    let world = populated(7);
    let [missing, extra] = gaps.map(|names| names.iter().map(|&name| name.to_owned()).collect());
    let end = End { world: world.clone(), is_source: false };
    let verifier = Verifier {
        source: &End { world: world.clone(), is_source: true },
        destination: &Odd { end, gaps: ColumnGaps { missing, extra } },
        arrival: &Followed(world.clone()),
        pipeline: "p".into(),
        options: few_buckets(),
        marks: std::collections::HashMap::new(),
        repair,
    };
    let report = verifier.verify(&[version(&world, known)], &|_| ()).await;
    report.tables.into_iter().next().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_column_of_one_side_is_a_difference() {
    let extra = verified(2, [&[], &["x"]], None).await;
    assert_eq!((extra.verdict, extra.differing), (Verdict::Differs, 0), "{extra:#?}");
    assert!(extra.source_rows > 0 && extra.as_of.is_some() && extra.note.is_none(), "{extra:#?}");
    assert_eq!((&*extra.columns[0].column, extra.columns[0].only_at), ("x", Side::Destination));
    let lacking = verified(2, [&["y"], &["x"]], Some(Repair::Plan)).await;
    assert_eq!((lacking.verdict, lacking.columns.len()), (Verdict::Differs, 2), "{lacking:#?}");
    assert!(lacking.position.is_none() && lacking.trouble.is_none(), "{lacking:#?}");
    assert!(lacking.note.unwrap().contains("a repair puts no columns right"));
}

#[tokio::test(start_paused = true)]
async fn a_change_that_was_followed_meanwhile_is_no_difference() {
    let found = verified(1, [&[], &[]], None).await;
    assert_eq!(found.verdict, Verdict::Equal, "{found:#?}");
    let odd = verified(1, [&[], &["x"]], None).await;
    assert_eq!((odd.verdict, odd.columns.len()), (Verdict::Differs, 1), "{odd:#?}");
}
