//! Changes of columns that no row follows yet, brought into the order of the log.

use rowtide_core::{Error, Remedy, Result};

use super::reader::Reader;
use super::start::reads_binary;
use crate::source::layouts::changes;

impl<R: tokio::io::AsyncRead + Unpin + Send> Reader<R> {
    /// Follows what a look at the catalog found, once the log has been decoded up to there.
    pub(super) async fn follow_layouts(&mut self) -> Result<()> {
        let Some(end) = self.decoder.settled() else { return Ok(()) };
        let Some(look) = self.untold.as_mut().and_then(|untold| untold.due(end)) else {
            return Ok(());
        };
        let known: Vec<_> = self.decoder.live().collect();
        if known.is_empty() {
            return Ok(());
        }
        let sql = self.catalog().await?;
        let looking = changes(&self.source, &sql, (&known, &look));
        let found = tokio::time::timeout(self.silence, looking).await.map_err(|_| {
            self.sql = None;
            Error::unavailable(format!(
                "looking up the columns of the tables: no answer within {} s",
                self.silence.as_secs()
            ))
        })??;
        for (table, changes) in found {
            if self.decoder.is_copying(table) {
                // Whether the copy has seen the change, it does not tell.
                let reason = "its columns changed while it was copied";
                self.decoder.cut(table, reason, Remedy::Copy)?;
                continue;
            }
            let mut schemas = changes.iter().map(rowtide_core::SchemaChange::table);
            let readable = !self.binary || schemas.all(|table| reads_binary(&self.source, table));
            self.decoder.altered_without_rows(table, changes)?;
            if !readable {
                self.source.set_text_only();
                return Err(Error::unavailable(
                    "a column whose values are read as text was added: reading the log again in \
                     text form",
                ));
            }
        }
        Ok(())
    }
}
