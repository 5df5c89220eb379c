//! What is done, beside the rows, about values that cannot be represented.

use rowtide_core::ledger::{self, Quarantined};
use rowtide_core::traits::Writer;
use rowtide_core::{ChangeBatch, Offset, Result, TableName, TableWrite, ValueTally};

use super::{Route, Surroundings};
use crate::RunMode;
use crate::quarantine::{Settled, resolved, settle};

/// What is told of a batch when it is written.
pub(super) struct Told {
    rows: Vec<Quarantined>,
    known: ValueTally,
}

impl Route {
    /// Looks through `batch` for rows that are refused; `None` if the table is not gone on with.
    pub(super) async fn settle(
        &mut self,
        writer: &mut dyn Writer,
        batch: ChangeBatch,
        around: &Surroundings,
    ) -> Result<Option<(ChangeBatch, Option<Told>)>> {
        match settle(batch, &self.plan, &self.state.values)? {
            Settled::Untouched(batch) => Ok(Some((batch, None))),
            Settled::Told(batch, rows, known) => Ok(Some((batch, Some(Told { rows, known })))),
            Settled::CopyAgain(reason) if around.settings.mode != RunMode::Cdc => {
                self.copy_again(writer, reason, &around.monitor).await.map(|()| None)
            }
            Settled::CopyAgain(reason) | Settled::Stop(reason) => {
                self.stop(writer, reason, &around.monitor).await.map(|()| None)
            }
        }
    }

    /// Tells of a batch, in the epoch that has it.
    pub(super) async fn tell(
        &mut self,
        writer: &mut dyn Writer,
        told: Option<Told>,
        around: &Surroundings,
    ) -> Result<()> {
        let Some(Told { rows, known }) = told else { return Ok(()) };
        let name = &self.plan.source.name;
        let more = known.quarantined - self.state.values.quarantined;
        if more > 0 {
            tracing::warn!(
                table = %name, rows = more,
                "rows are kept out: a value of each cannot be represented; see _rowtide.quarantine"
            );
        }
        write(writer, name, &rows, around).await?;
        if known != self.state.values {
            self.state.values = known;
            writer.remember(&self.state).await?;
        }
        Ok(())
    }

    /// The rows in quarantine were truncated with the others.
    pub(super) async fn truncated(
        &mut self,
        writer: &mut dyn Writer,
        place: (Offset, u32),
        around: &Surroundings,
    ) -> Result<()> {
        if self.state.values.open() == 0 {
            return Ok(());
        }
        let place = (place.0, Some(place.1));
        let told = resolved(place, None, "the table was truncated at the source");
        write(writer, &self.plan.source.name, &[told], around).await?;
        self.state.values.release();
        writer.remember(&self.state).await
    }
}

/// Writes `rows` into the quarantine of `table`, in the open epoch.
pub(super) async fn write(
    writer: &mut dyn Writer,
    table: &TableName,
    rows: &[Quarantined],
    around: &Surroundings,
) -> Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    let who = (around.pipeline.as_str(), around.environment.now_micros());
    let entry = ledger::quarantine(table, rows, who)?;
    writer.write(&entry.plan, TableWrite::Append(entry.row)).await
}
