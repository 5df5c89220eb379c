//! Verification again and again while the pipeline runs.

use std::sync::Arc;

use rowtide_engine::Schedule;
use rowtide_verify::report::{sentence, summary};
use rowtide_verify::{TableReport, Verdict};
use tokio::task::JoinHandle;

use super::{Asked, Desk};

/// The task that does it; it ends with this value.
pub(crate) struct Scheduled(JoinHandle<()>);

impl Drop for Scheduled {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Compares all tables whenever `schedule` says so.
pub(crate) fn start(desk: Arc<Desk>, schedule: Schedule) -> Scheduled {
    Scheduled(tokio::spawn(async move {
        while let Some(wait) = schedule.wait(jiff::Timestamp::now().as_microsecond()) {
            tokio::time::sleep(wait).await;
            match desk.verify(&Asked::default(), &tell).await {
                Ok(report) => tracing::info!("verified {}", summary(&report)),
                Err(error) => tracing::warn!(error = %error.chain(), "not verified"),
            }
        }
    }))
}

fn tell(table: &TableReport) {
    let (name, said) = (&table.table, sentence(table));
    match table.verdict {
        Verdict::Equal | Verdict::NotCompared => tracing::info!(table = %name, "verified: {said}"),
        Verdict::Differs | Verdict::Unsettled | Verdict::Failed => {
            tracing::warn!(table = %name, "verified: {said}");
        }
    }
}
