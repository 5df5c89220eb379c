//! Makes the log reader look up anew by which table rows are published.
//!
//! Version 14 looks that up once per partition and session, and asks again only after something was
//! done to a publication: rows of a partition that was detached still come as its root's, and those
//! of one that was attached do not. A table that is copied again because of that must not get such
//! rows afterwards. So something is done to a publication, in a transaction of its own: what comes
//! behind it in the log is right, and what comes before it is in every copy that begins from now on.

use rowtide_core::{Error, ErrorKind, Result};

use super::Attachment;
use crate::client::get;
use crate::quote::identifier;

/// The first version that notices by itself.
pub(in crate::source) const FIRST_THAT_FORGETS: i32 = 150_000;

impl Attachment<'_> {
    /// Does so, if the server is one that needs it, before tables are copied.
    ///
    /// # Errors
    /// `Access` if it must be, and may not.
    pub(super) async fn forget_partitions(&self) -> Result<()> {
        if self.server.version >= FIRST_THAT_FORGETS {
            return Ok(());
        }
        let query = "SELECT EXISTS (SELECT FROM pg_catalog.pg_partitioned_table)";
        let row = self.sql.row("looking for partitioned tables", query, &[]).await?;
        if !get::<bool>(&row, 0)? {
            return Ok(());
        }
        let doing = "making and dropping a publication without tables";
        let name = identifier(&format!("rowtide_forget_{:016x}", rand::random::<u64>()));
        let statements =
            format!("BEGIN; CREATE PUBLICATION {name}; DROP PUBLICATION {name}; COMMIT");
        let Err(error) = self.sql.execute(doing, &statements).await else { return Ok(()) };
        if error.kind() != ErrorKind::Access {
            return Err(error);
        }
        self.sql.execute(doing, "ROLLBACK").await?;
        if self.roots.is_empty() {
            tracing::warn!(error = %error.chain(), "partitions that were detached are not followed");
            return Ok(());
        }
        Err(self.denied(&error))
    }

    fn denied(&self, error: &Error) -> Error {
        let (database, user) = (&self.server.database.1, self.source.options.user());
        Error::access(format!(
            "{}; without it, PostgreSQL 14 goes on publishing the rows of partitions that were \
             detached or attached by the wrong table",
            error.message()
        ))
        .with_hint(format!(
            "GRANT CREATE ON DATABASE {} TO {};",
            identifier(database),
            identifier(user)
        ))
    }
}
