//! A table whose columns change while it is compared.

use std::time::Duration;

use rowtide_core::view::Inspect;
use rowtide_core::{Error, Result, TableState};
use tokio::time::Instant;

use crate::ColumnGap;
use crate::arrival::Arrival;

/// How often a table may change before it is given up.
pub(crate) const MOST_CHANGES: u32 = 10;
/// How long the destination may take to follow a change.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long to wait before it is asked again.
const POLL: Duration = Duration::from_millis(100);

/// Waits until the destination has the table otherwise than it was `known`; `None` if it never
/// does.
pub(crate) async fn followed(arrival: &dyn Arrival, known: &TableState) -> Option<TableState> {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        match arrival.state_of(&known.schema.name).await {
            Ok(Some(now)) if !is_same(&now, known) => return Some(now),
            Ok(_) => tokio::time::sleep(POLL).await,
            Err(error) => {
                tracing::debug!(error = %error.chain(), "the destination could not be asked");
                return None;
            }
        }
    }
    None
}

/// By which columns the destination's table differs from the one that it is `known` to be.
///
/// # Errors
/// `SchemaDrift` if that is no longer known so: a change of the source may be what differs.
pub(crate) async fn gaps(
    (destination, pipeline): (&dyn Inspect, &str),
    arrival: &dyn Arrival,
    known: &TableState,
) -> Result<Vec<ColumnGap>> {
    let plan = crate::verifier::plan_of(known);
    let gaps = destination.column_gaps(pipeline, &plan).await;
    let gaps = gaps.map_err(|error| error.context("at the destination"))?;
    if gaps.is_empty() {
        return Ok(Vec::new());
    }
    // Asked for only now: what is still known was so when the columns were looked at.
    match arrival.state_of(&known.schema.name).await? {
        Some(now) if !is_same(&now, known) => {
            let changed = format!("the columns of {} changed meanwhile", known.schema.name);
            Err(Error::schema_drift(changed).of_one_table().with_hint("verify it again"))
        }
        _ => Ok(ColumnGap::of(gaps)),
    }
}

fn is_same(one: &TableState, other: &TableState) -> bool {
    one.schema == other.schema && one.target == other.target && one.phase == other.phase
}
