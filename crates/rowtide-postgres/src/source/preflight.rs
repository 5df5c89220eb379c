//! Looking at everything that could go wrong, before anything is touched.
//!
//! Each finding prints the statement that fixes it. Nothing here changes the server.

mod extent;
mod role;
mod server;
mod tables;

use rowtide_core::traits::ModeOf;
use rowtide_core::{Finding, Result, Severity, TableSelection};

use super::PostgresSource;
use super::publication;
use crate::catalog::CatalogTable;
use crate::client::Sql;
use crate::types::TypeMap;

/// What is looked at.
struct Check<'a> {
    source: &'a PostgresSource,
    sql: Sql,
    selection: &'a TableSelection,
    modes: ModeOf<'a>,
    /// The selected tables, unfit ones included.
    tables: Vec<CatalogTable>,
    types: TypeMap,
    findings: Vec<Finding>,
}

pub(super) async fn preflight(
    source: &PostgresSource,
    selection: &TableSelection,
    modes: ModeOf<'_>,
) -> Result<Vec<Finding>> {
    let sql = source.sql().await?;
    let (tables, types) = source.selected(&sql, selection).await?;
    let mut check = Check { source, sql, selection, modes, tables, types, findings: Vec::new() };
    let facts = check.server().await?;
    if facts.version < 140_000 {
        return Ok(check.findings);
    }
    check.role(&facts).await?;
    check.replication(&facts).await?;
    let publications = publication::load(&check.sql, &source.names, facts.version).await?;
    check.tables(&publications).await?;
    check.slot(&facts).await?;
    source.spare.keep(check.sql);
    Ok(check.findings)
}

impl Check<'_> {
    fn say(&mut self, severity: Severity, subject: impl Into<String>, message: impl Into<String>) {
        self.findings.push(Finding::new(severity, subject, message));
    }

    fn say_fix(
        &mut self,
        severity: Severity,
        subject: impl Into<String>,
        message: impl Into<String>,
        fix: impl Into<String>,
    ) {
        self.findings.push(Finding::new(severity, subject, message).with_fix(fix));
    }

    fn ok(&mut self, subject: impl Into<String>, message: impl Into<String>) {
        self.say(Severity::Ok, subject, message);
    }
}
