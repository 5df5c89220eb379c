//! What changes if a publication, or a table's place in one, was away for a while.
//!
//! A log reader skips what a publication did not contain at the time, without a word. The oid of a
//! publication, the transaction that last wrote its row and the oids of its entries are proof that
//! nothing was taken away in between: what is put back has others.

use std::collections::{BTreeMap, BTreeSet};

use rowtide_core::Result;
use serde::{Deserialize, Serialize};

use crate::client::{Parameter, Sql, get};
use crate::source::identity::Names;
use crate::source::shape::{self, Shapes};

/// A pipeline's publications and the places of tables in them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::source) struct Standing {
    /// By name; the main one, and the one for inserts if this pipeline made it.
    pub(in crate::source) publications: BTreeMap<String, Row>,
    /// By table: the entries because of which it is published. A table that is not listed does
    /// not exist.
    pub(in crate::source) entries: BTreeMap<u32, BTreeSet<String>>,
    /// By table: what its rows lie in.
    pub(in crate::source) shapes: Shapes,
}

/// A publication's own row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::source) struct Row {
    pub(in crate::source) oid: u32,
    pub(in crate::source) version: Version,
    /// Inserts, updates, deletes, truncates.
    publishes: [bool; 4],
}

/// When a publication was last altered, and what it says since.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::source) struct Version {
    transaction: String,
    settings: String,
}

impl Version {
    /// Whether someone altered the publication since, and altered it back.
    pub(in crate::source) fn went_and_came(&self, now: &Self) -> bool {
        self.transaction != now.transaction && self.settings == now.settings
    }
}

impl Row {
    /// Whether a kind of change is no longer published.
    pub(in crate::source) fn is_narrowed(&self, now: &Self) -> bool {
        self.publishes.iter().zip(now.publishes).any(|(before, now)| *before && !now)
    }
}

/// Whether a table that was published because of `before` has not been all the time.
pub(in crate::source) fn was_away(before: &BTreeSet<String>, now: &BTreeSet<String>) -> bool {
    !before.is_empty() && before.is_disjoint(now)
}

impl Standing {
    /// Reads what stands of `tables` now.
    pub(in crate::source) async fn load(sql: &Sql, names: &Names, tables: &[u32]) -> Result<Self> {
        let mut standing = Self::default();
        let doing = "reading publications";
        let query = "SELECT p.pubname::text, p.oid, p.xmin::text, pg_catalog.to_jsonb(p)::text, \
             p.pubinsert, p.pubupdate, p.pubdelete, p.pubtruncate, \
             pg_catalog.to_regclass('pg_catalog.pg_publication_namespace') IS NOT NULL \
             FROM pg_catalog.pg_publication p \
             WHERE p.pubname = $1::text::name OR p.pubname = $2::text::name \
               AND pg_catalog.obj_description(p.oid, 'pg_publication') = $3";
        let parameters: [&dyn Parameter; 3] = [&names.publication, &names.inserts, &names.mark()];
        let mut has_schemas = false;
        for row in &sql.rows(doing, query, &parameters).await? {
            let version = Version { transaction: get(row, 2)?, settings: get(row, 3)? };
            let publishes = [get(row, 4)?, get(row, 5)?, get(row, 6)?, get(row, 7)?];
            has_schemas = get(row, 8)?;
            standing
                .publications
                .insert(get(row, 0)?, Row { oid: get(row, 1)?, version, publishes });
        }
        // Lists of schemas came with version 15.
        let schemas = match has_schemas {
            true => {
                "UNION ALL SELECT 'schema ' || n.oid FROM pg_catalog.pg_publication_namespace n \
                 WHERE n.pnnspid = c.relnamespace AND n.pnpubid = ANY ($2)"
            }
            false => "",
        };
        let query = format!(
            "SELECT c.oid, ARRAY(SELECT 'table ' || r.oid FROM pg_catalog.pg_publication_rel r \
             WHERE r.prrelid = c.oid AND r.prpubid = ANY ($2) \
             UNION ALL SELECT 'all ' || p.oid FROM pg_catalog.pg_publication p \
             WHERE p.puballtables AND p.oid = ANY ($2) {schemas}) \
             FROM pg_catalog.pg_class c WHERE c.oid = ANY ($1)"
        );
        let oids: Vec<u32> = standing.publications.values().map(|row| row.oid).collect();
        let doing = "reading the publications' tables";
        for row in &sql.rows(doing, &query, &[&tables, &oids]).await? {
            let entries: Vec<String> = get(row, 1)?;
            standing.entries.insert(get(row, 0)?, entries.into_iter().collect());
        }
        standing.shapes = shape::load(sql, tables).await?;
        Ok(standing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(transaction: &str, settings: &str) -> Version {
        Version { transaction: transaction.to_owned(), settings: settings.to_owned() }
    }

    #[test]
    fn what_was_put_back_is_told_from_what_stayed() {
        let before = version("7", "a");
        assert!(!before.went_and_came(&before));
        assert!(before.went_and_came(&version("8", "a")));
        assert!(!before.went_and_came(&version("8", "b")), "for others to judge");
        let set = |list: &[&str]| list.iter().map(|entry| (*entry).to_owned()).collect();
        let both: BTreeSet<String> = set(&["table 1", "schema 2"]);
        assert!(!was_away(&both, &set(&["schema 2"])), "published all the time");
        assert!(was_away(&both, &set(&["table 3", "schema 4"])));
        assert!(was_away(&both, &set(&[])));
        assert!(!was_away(&set(&[]), &both), "nothing is known of before");
    }
}
