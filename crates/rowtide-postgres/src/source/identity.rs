//! Which server, slot and publication a checkpoint belongs to.

use std::collections::{BTreeMap, BTreeSet};

use rowtide_core::{Error, Offset, Result, SourceIdentity};
use serde::{Deserialize, Serialize};

use super::labels::Labels;
use super::publication::standing::Version;
use super::shape::Shape;
use crate::client::{Sql, get};
use crate::options::PostgresOptions;
use crate::quote::{limited, shortened};
use crate::replication::ReplicationConnection;

/// What this pipeline calls its things at the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Names {
    pub(super) pipeline: String,
    pub(super) application: String,
    pub(super) slot: String,
    pub(super) publication: String,
    /// For tables without identity, of which only inserts are published.
    pub(super) inserts: String,
    /// What the publication was called before long names were told apart to their end.
    pub(super) former_publication: Option<String>,
}

impl Names {
    pub(super) fn new(options: &PostgresOptions, pipeline: &str) -> Self {
        let default = format!("rowtide_{pipeline}");
        let own = shortened(&default, PUBLICATION);
        let former = limited(&default, PUBLICATION);
        let publication = options.publication.clone().unwrap_or_else(|| own.clone());
        let former_publication = Some(former).filter(|name| *name != own && publication == own);
        Self {
            pipeline: pipeline.to_owned(),
            application: options
                .application_name
                .clone()
                .unwrap_or_else(|| format!("rowtide:{pipeline}")),
            slot: options.slot.clone().unwrap_or_else(|| slot_name(&default)),
            inserts: inserts_of(&publication),
            publication,
            former_publication,
        }
    }

    /// The same with the former name of the publication.
    pub(super) fn formerly(&self) -> Self {
        let publication = self.former_publication.clone().unwrap_or(self.publication.clone());
        let inserts = inserts_of(&publication);
        Self { publication, inserts, former_publication: None, ..self.clone() }
    }

    /// The comment that marks a publication as made by this pipeline.
    pub(super) fn mark(&self) -> String {
        format!("made by rowtide for the pipeline {}", self.pipeline)
    }
}

/// How long the name of our own publication may be, so that the one for inserts fits.
const PUBLICATION: usize = 55;

fn inserts_of(publication: &str) -> String {
    limited(&format!("{publication}_inserts"), 63)
}

/// Slot names allow little.
fn slot_name(text: &str) -> String {
    let allowed = |c: char| match c.to_ascii_lowercase() {
        c @ ('a'..='z' | '0'..='9' | '_') => c,
        _ => '_',
    };
    shortened(text, 63).chars().map(allowed).collect()
}

/// The stored identity.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Identity {
    pub(super) slot: String,
    pub(super) publication: String,
    /// Everything below is absent in an intent.
    pub(super) system_identifier: Option<String>,
    pub(super) timeline: Option<u32>,
    pub(super) database: Option<(u32, String)>,
    pub(super) created_at: Option<Offset>,
    /// The publications by name, with their oids: one that was made anew has another.
    pub(super) publications: BTreeMap<String, u32>,
    /// The tables that are followed, with their oids.
    pub(super) tables: BTreeMap<String, u64>,
    /// When the publications were last altered.
    pub(super) versions: BTreeMap<String, Version>,
    /// Why the tables are published: one that was taken out and added again has other entries.
    pub(super) entries: BTreeMap<String, BTreeSet<String>>,
    /// What the rows of the tables lie in.
    pub(super) shapes: BTreeMap<String, Shape>,
    /// What the labels of enums are called.
    pub(super) labels: Labels,
}

impl Identity {
    pub(super) fn intent(names: &Names) -> Self {
        Self { slot: names.slot.clone(), publication: names.publication.clone(), ..Self::default() }
    }

    pub(super) fn read(stored: &SourceIdentity) -> Result<Self> {
        serde_json::from_value(stored.0.clone()).map_err(|error| {
            Error::position_lost("the stored identity of the source cannot be read")
                .with_hint("the state may be of another kind of source; use another pipeline name")
                .with_source(error)
        })
    }

    /// Whether it was `server` that this was read from, and the same database there.
    pub(super) fn is_of(&self, server: &Server) -> bool {
        self.system_identifier.as_ref() == Some(&server.system_identifier)
            && self.database.as_ref().map(|(oid, _)| *oid) == Some(server.database.0)
    }

    pub(super) fn store(&self) -> Result<SourceIdentity> {
        let json = serde_json::to_value(self);
        json.map(SourceIdentity)
            .map_err(|error| Error::internal("the source's identity").with_source(error))
    }
}

/// The server that answers.
#[derive(Debug, Clone)]
pub(super) struct Server {
    pub(super) version: i32,
    pub(super) system_identifier: String,
    pub(super) timeline: u32,
    pub(super) database: (u32, String),
    /// The end of the flushed log.
    pub(super) flushed: u64,
}

impl Server {
    /// Asks on both kinds of connection.
    pub(super) async fn identify(
        sql: &Sql,
        replication: &mut ReplicationConnection,
    ) -> Result<Self> {
        let doing = "identifying the server";
        let rows = replication.rows(doing, "IDENTIFY_SYSTEM").await?;
        let row = rows.into_iter().next().unwrap_or_default();
        let text = |index: usize| row.get(index).cloned().flatten().unwrap_or_default();
        let timeline = text(1).parse().map_err(|_| Error::internal("no timeline was given"))?;
        let query = "SELECT d.oid, d.datname::text, \
             pg_catalog.current_setting('server_version_num')::int4 \
             FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database()";
        let database = sql.row(doing, query, &[]).await?;
        Ok(Self {
            version: get(&database, 2)?,
            system_identifier: text(0),
            timeline,
            database: (get(&database, 0)?, get(&database, 1)?),
            flushed: parse_lsn(&text(2))?,
        })
    }
}

/// Reads `16/B374D848`.
pub(super) fn parse_lsn(text: &str) -> Result<u64> {
    let bad = || Error::internal(format!("`{text}` is not a log position"));
    let (high, low) = text.split_once('/').ok_or_else(bad)?;
    let part = |digits: &str| u32::from_str_radix(digits, 16).map(u64::from).map_err(|_| bad());
    Ok(part(high)? << 32 | part(low)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_pipeline() {
        let names = Names::new(&PostgresOptions::default(), "Shop-1");
        assert_eq!(names.slot, "rowtide_shop_1");
        assert_eq!(names.publication, "rowtide_Shop-1");
        assert_eq!(names.inserts, "rowtide_Shop-1_inserts");
        let long = Names::new(&PostgresOptions::default(), &"é".repeat(80));
        assert!(long.slot.len() <= 63 && long.inserts.len() <= 63);
        assert_ne!(long.inserts, long.publication);
    }

    #[test]
    fn long_names_that_differ_only_at_the_end_stay_apart() {
        let of = |pipeline: &str| Names::new(&PostgresOptions::default(), pipeline);
        for length in [48, 60, 200] {
            let [one, other] =
                ["1", "2"].map(|end| of(&format!("{}{end}", "p".repeat(length - 1))));
            assert_ne!(one.slot, other.slot);
            assert_ne!(one.publication, other.publication);
            assert_ne!(one.inserts, other.inserts);
            assert!(one.slot.len() <= 63 && one.publication.len() <= 55 && one.inserts.len() <= 63);
            // What stands under the former name is found by it.
            let former = one.former_publication.as_deref().unwrap();
            assert_eq!(Some(former), other.former_publication.as_deref());
            assert_eq!(one.formerly().publication, format!("rowtide_{}", "p".repeat(47)));
        }
        // Nothing changes for names that fit.
        let fits = of(&"p".repeat(47));
        assert_eq!(fits.publication, format!("rowtide_{}", "p".repeat(47)));
        assert_eq!(fits.former_publication, None);
        let given = PostgresOptions { publication: Some("g".into()), ..PostgresOptions::default() };
        assert_eq!(Names::new(&given, &"p".repeat(60)).former_publication, None);
    }

    #[test]
    fn positions_are_read_as_they_are_shown() {
        let lsn = parse_lsn("16/B374D848").unwrap();
        assert_eq!(Offset(lsn).to_string(), "16/B374D848");
        assert!(parse_lsn("x").is_err());
    }

    #[test]
    fn an_intent_survives_storage() {
        let intent = Identity::intent(&Names::new(&PostgresOptions::default(), "p"));
        assert_eq!(Identity::read(&intent.store().unwrap()).unwrap(), intent);
    }
}
