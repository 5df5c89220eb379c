//! A table whose columns change while it is compared.

use std::time::Duration;

use rowtide_core::TableState;
use tokio::time::Instant;

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

fn is_same(one: &TableState, other: &TableState) -> bool {
    one.schema == other.schema && one.target == other.target && one.phase == other.phase
}
