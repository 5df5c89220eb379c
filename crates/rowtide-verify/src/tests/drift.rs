//! Columns that change while a table is compared.

use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use rowtide_core::view::{Inspect, TableView, ViewRequest};
use rowtide_core::{Checkpoint, Error, Result, TableName, TableState};

use super::histories::{few_buckets, populated, state_of};
use super::world::{End, World};
use crate::{Arrival, TableReport, Verdict, Verifier};

/// A source whose table is always a few versions ahead, until there are no more, and a pipeline
/// that comes after.
struct Changing {
    end: End,
    /// The version at the source, and at the destination.
    versions: Mutex<(u32, u32)>,
    last: u32,
}

#[async_trait]
impl Inspect for Changing {
    async fn view(&self, request: ViewRequest) -> Result<Box<dyn TableView>> {
        {
            let (source, followed) = &mut *self.versions.lock().unwrap();
            if *source == *followed && *source < self.last {
                *source += 1;
            }
            if request.plan.source.version != *source {
                return Err(Error::schema_drift("the columns changed"));
            }
        }
        self.end.view(request).await
    }
}

#[async_trait]
impl Arrival for Changing {
    async fn until(&self, checkpoint: &Checkpoint) -> Result<()> {
        self.end.world.until(checkpoint).await
    }

    async fn state_of(&self, _: &TableName) -> Result<Option<TableState>> {
        tokio::time::sleep(Duration::from_secs(5)).await;
        let (source, followed) = &mut *self.versions.lock().unwrap();
        *followed = *source;
        Ok(Some(version(&self.end.world, *followed)))
    }
}

fn version(world: &World, version: u32) -> TableState {
    let mut state = state_of(world);
    state.schema.version = version;
    state
}

async fn verified(last: u32, state_of: Option<()>) -> TableReport {
    let world = populated(7);
    let end = End { world: world.clone(), is_source: true };
    let source = Changing { end, versions: Mutex::new((1, 1)), last };
    let destination = End { world: world.clone(), is_source: false };
    let verifier = Verifier {
        source: &source,
        destination: &destination,
        arrival: if state_of.is_some() { &source } else { &world },
        pipeline: "p".into(),
        options: few_buckets(),
        marks: std::collections::HashMap::new(),
        repair: None,
    };
    let report = verifier.verify(&[version(&world, 1)], &|_| ()).await;
    report.tables.into_iter().next().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_table_whose_columns_change_is_begun_again() {
    for changes in [0, 1, 4] {
        let found = verified(1 + changes, Some(())).await;
        assert_eq!(found.verdict, Verdict::Equal, "{changes} {found:#?}");
        assert!(found.trouble.is_none() && found.source_rows > 0, "{found:#?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_table_whose_columns_do_not_stop_changing_is_given_up() {
    for followed in [Some(()), None] {
        let found = verified(u32::MAX, followed).await;
        assert_eq!(found.verdict, Verdict::Failed, "{found:#?}");
        assert_eq!(found.trouble.unwrap().kind, "schema_drift");
    }
}
