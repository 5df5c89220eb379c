//! Puts what differs of a standing table right, in place of a copy.

use rowtide_core::traits::Writer;
use rowtide_core::{Error, Fence, Phase, Result, TableWrite, fault, ledger};

use super::{Router, refused};
use crate::copy::Copied;
use crate::mend::{Counts, Mended};

impl Router {
    /// Writes what differed of a table that stands, together with everything that was kept aside
    /// for it. The caller commits.
    pub(super) async fn put_right(
        &mut self,
        writer: &mut dyn Writer,
        copied: Copied,
        mended: Mended,
    ) -> Result<u64> {
        let plan = &copied.plan;
        let Some(route) = self.routes.get_mut(&plan.source.id) else {
            return Err(Error::internal(format!("{} is not followed", plan.source.name)));
        };
        let Counts { rows, come, go } = mended.counts;
        let (pipeline, now) = (self.around.pipeline.as_str(), self.around.environment.now_micros());
        mended.write(writer, plan, now).await.map_err(|error| refused(error, plan))?;
        if come + go > 0 {
            let about = (pipeline, copied.position, now);
            let entry = ledger::mended(&plan.source.name, (come, go), about)?;
            writer.write(&entry.plan, TableWrite::Append(entry.row)).await?;
        }
        tracing::warn!(
            table = %plan.source.name, rows, written = come, removed = go,
            "table put right after the position in the log was lost"
        );
        route.state.phase = Phase::Streaming;
        route.state.awaits = None;
        route.state.reason = None;
        route.state.fence = Some(match fault::planted("repair-fence-ignored") {
            true => Fence::Nothing,
            false => copied.fence,
        });
        writer.remember(&route.state).await?;
        let changes = route.replay(writer, &self.around).await?;
        self.recopies.extend(route.wants_copy());
        fault::point("promote.replayed")?;
        Ok(changes)
    }
}
