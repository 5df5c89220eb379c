//! The tables as they are now: whether they can still be followed, and whether rows came or went
//! that no message told of.

use std::collections::HashMap;
use std::sync::Arc;

use rowtide_core::traits::Setback;
use rowtide_core::{Error, Mode, Remedy, Result, TableName, TableSchema};

use super::Attachment;
use crate::catalog::{CatalogTable, load_tables};
use crate::quote::{identifier, table_name};
use crate::source::composites;
use crate::source::identity::Identity;
use crate::source::labels::{self, Labels};
use crate::source::publication::standing::Standing;
use crate::source::publication::{Publication, Wanted, identity_fixes};
use crate::source::rights::{self, Missing};
use crate::source::shape::{self, Verdict, judge};

impl Attachment<'_> {
    /// The tables must still be the ones that were discovered.
    pub(super) async fn check_tables(&mut self, tables: &[(Arc<TableSchema>, Mode)]) -> Result<()> {
        let oids: Vec<u32> =
            tables.iter().filter_map(|(table, _)| u32::try_from(table.id).ok()).collect();
        let mut found = load_tables(&self.sql, Some(&oids)).await?;
        self.source.narrow(&self.sql, &mut found).await?;
        let shapes = shape::load(&self.sql, &oids).await?;
        let by_oid: HashMap<u64, _> =
            found.iter().map(|found| (u64::from(found.oid), found)).collect();
        for (table, mode) in tables {
            let current = by_oid.get(&table.id).copied();
            match current {
                Some(current) if current.name != table.name => {
                    // It was discovered a moment ago: renamed since, it is discovered again.
                    return Err(Error::unavailable(format!(
                        "the table {} is now called {}",
                        table.name, current.name
                    ))
                    .answered()
                    .with_hint("nothing to do: the tables are looked up again"));
                }
                Some(current) => {
                    if current.kind == b'p' {
                        self.roots.insert(table.id);
                    }
                    let shape = shapes.get(&current.oid);
                    let unlogged = shape.and_then(|shape| shape.unlogged.as_deref());
                    let why = unlogged.map(not_in_log).or_else(|| identity_lost(table, current));
                    let why = why.or_else(|| unidentified(table, *mode));
                    let followed = *mode != Mode::Replace;
                    self.setbacks.extend(why.filter(|_| followed).map(|reason| Setback {
                        table: table.name.clone(),
                        reason,
                        remedy: Remedy::Operator,
                    }));
                }
                None if *mode == Mode::Replace => {}
                None => {
                    return Err(Error::unavailable(format!(
                        "the table {} (oid {}) no longer exists",
                        table.name, table.id
                    ))
                    .answered()
                    .with_hint("nothing to do: the tables are looked up again"));
                }
            }
        }
        Ok(())
    }

    /// Tables that came since `known` was stored must not keep the others from going on: whether
    /// they can be published and copied is looked up before anything is asked of the server.
    pub(super) async fn check_new(
        &mut self,
        tables: &[(Arc<TableSchema>, Mode)],
        known: &Identity,
    ) -> Result<()> {
        let is_new =
            |table: &TableSchema| known.tables.get(&table.name.to_string()) != Some(&table.id);
        let new = tables.iter().map(|(table, _)| table);
        let new = new.filter(|table| is_new(table) && !self.is_refused(&table.name));
        let oids: Vec<u32> = new.filter_map(|table| u32::try_from(table.id).ok()).collect();
        if oids.is_empty() {
            return Ok(());
        }
        let rights = rights::load(&self.sql, &oids).await?;
        let publications = self.publications().await?;
        let main = publications.iter().find(|found| found.name == self.source.names.publication);
        let given = main.filter(|found| !found.ours);
        for table in load_tables(&self.sql, Some(&oids)).await? {
            let published = publications.iter().any(|found| found.tables.contains(&table.name));
            let mut missing = match rights.get(&table.oid) {
                Some(rights) => rights.missing(self.source, &table, given.is_none() && !published),
                None => Vec::new(),
            };
            if let Some(given) = given.filter(|_| !published) {
                missing.push(not_in(given, &table.name));
            }
            let reasons: Vec<_> =
                missing.iter().map(|one| format!("{} (fix: {})", one.what, one.fix)).collect();
            if !reasons.is_empty() {
                let (reason, remedy) = (reasons.join("; "), Remedy::Operator);
                self.setbacks.push(Setback { table: table.name, reason, remedy });
            }
        }
        Ok(())
    }

    /// Whether a table cannot be followed at all.
    pub(super) fn is_refused(&self, name: &TableName) -> bool {
        let refused = |one: &Setback| one.table == *name && one.remedy == Remedy::Operator;
        self.setbacks.iter().any(refused)
    }

    /// At the first start, what cannot be followed is an error: nothing was touched yet.
    pub(super) fn refuse_unfit(&self) -> Result<()> {
        match self.setbacks.first() {
            None => Ok(()),
            Some(Setback { table, reason, .. }) => {
                Err(Error::config(format!("the table {table} cannot be followed: {reason}"))
                    .with_hint("correct the table, or take it out of the list"))
            }
        }
    }

    /// Composite types that were altered since the tables were described.
    pub(super) async fn compare_composites(&mut self, wanted: &Wanted<'_>) -> Result<()> {
        let mapping = self.source.options.mapping();
        let altered = composites::altered(&self.sql, wanted.tables(), mapping).await?;
        for (table, reason) in altered {
            let (table, remedy) = (table.name.clone(), Remedy::Copy);
            self.setbacks.push(Setback { table, reason, remedy });
        }
        Ok(())
    }

    /// Finds tables in which a label shows that was renamed since `known` was stored.
    pub(super) async fn compare_labels(
        &mut self,
        wanted: &Wanted<'_>,
        (known, labels): (&Identity, &Labels),
    ) -> Result<()> {
        let oids = wanted.tables().filter_map(|table| u32::try_from(table.id).ok());
        let affected = labels::affected(&self.sql, (&known.labels, labels), oids).await?;
        for table in wanted.tables() {
            let oid = u32::try_from(table.id).ok();
            if let Some(reason) = oid.and_then(|oid| affected.get(&oid)) {
                let (table, reason) = (table.name.clone(), reason.clone());
                self.setbacks.push(Setback { table, reason, remedy: Remedy::Copy });
            }
        }
        Ok(())
    }

    /// Finds tables whose rows came or went without a message since `known` was stored.
    pub(super) async fn compare_shapes(
        &mut self,
        wanted: &Wanted<'_>,
        known: &Identity,
        standing: &Standing,
    ) -> Result<()> {
        for table in wanted.tables() {
            let name = table.name.to_string();
            let Ok(oid) = u32::try_from(table.id) else { continue };
            let same = known.tables.get(&name) == Some(&table.id);
            let before = known.shapes.get(&name).filter(|_| same);
            let (Some(before), Some(now)) = (before, standing.shapes.get(&oid)) else { continue };
            if let Verdict::Untold(_, reason) = judge(&self.sql, oid, before, now).await? {
                let (table, remedy) = (table.name.clone(), Remedy::Copy);
                self.setbacks.push(Setback { table, reason, remedy });
            }
        }
        Ok(())
    }
}

fn not_in(given: &Publication, table: &TableName) -> Missing {
    let name = identifier(&given.name);
    Missing {
        what: format!("the publication `{}` does not contain it", given.name),
        fix: format!("ALTER PUBLICATION {name} ADD TABLE {};", table_name(table)),
    }
}

fn not_in_log(why: &str) -> String {
    format!("{why}: its changes are not in the log")
}

/// What is wrong with a table that came, or is to be copied again, without identity.
fn unidentified(table: &TableSchema, mode: Mode) -> Option<String> {
    let unfit = table.identity == rowtide_core::Identity::None && mode == Mode::Merge;
    unfit.then(|| {
        format!(
            "it has no usable key: its updates and deletes cannot be followed, and publishing it \
             would make the server refuse them; {}; then copy it again",
            identity_fixes(&table.name)
        )
    })
}

/// What happened to a table whose rows were identified.
fn identity_lost(table: &TableSchema, current: &CatalogTable) -> Option<String> {
    use rowtide_core::Identity;
    let lost = table.identity != Identity::None && current.key().1 == Identity::None;
    lost.then(|| {
        format!(
            "it lost its key or its REPLICA IDENTITY, without which the server refuses updates and \
             deletes of a published table, so Rowtide's own publication leaves it out; {}; then copy \
             it again",
            identity_fixes(&table.name)
        )
    })
}
