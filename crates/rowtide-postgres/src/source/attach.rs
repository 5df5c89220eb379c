//! Making what following needs, or proving that what was made still stands.
//!
//! First the publication, then the slot: a slot older than its publication reads nothing. With a
//! known checkpoint nothing is made anew; whatever does not fit is a lost position, because a
//! server would otherwise skip the gap without a word.

mod forget;
mod given;
mod tables;

use std::collections::{BTreeSet, HashSet};
use std::sync::{Arc, PoisonError};

use rowtide_core::traits::{AttachRequest, Attached, Setback};
use rowtide_core::{
    Checkpoint, Error, Mode, Offset, Result, SourceIdentity, TableName, TableSchema, fault,
};

use super::ddl_events;
use super::guard::{Memory, lost};
use super::history::Mark;
use super::identity::{Identity, Server, parse_lsn};
use super::labels::{self, Labels};
use super::layouts::Look;
use super::publication::standing::{Standing, was_away};
use super::publication::{self, Publication, Wanted};
use super::shape::{self, Shape};
use super::slot::{self, Slot};
use super::{PostgresSource, partition};
use crate::client::Sql;
use crate::quote::identifier;
use crate::replication::ReplicationConnection;

pub(super) use forget::FIRST_THAT_FORGETS;
pub(super) use given::check_given;
use given::check_own;

pub(super) async fn attach(
    source: &PostgresSource,
    request: AttachRequest<'_>,
) -> Result<Attached> {
    if !matches!(request.known, Some((_, Some(_)))) {
        // Refused before anything is asked of the server. Later, such a table stops alone.
        Wanted::of(request.tables.iter().map(|(table, mode)| (table.as_ref(), *mode)))?;
    }
    let sql = source.sql().await?;
    let mut replication = source.replication().await?;
    let server = Server::identify(&sql, &mut replication).await?;
    let (roots, setbacks) = (BTreeSet::new(), Vec::new());
    let look = None;
    ddl_events::install(source, &sql).await?;
    let mut attachment = Attachment { source, sql, replication, server, roots, setbacks, look };
    attachment.check_tables(request.tables).await?;
    if let Some((identity, Some(_))) = request.known {
        attachment.check_new(request.tables, &Identity::read(identity)?).await?;
    }
    let fit = |(table, _): &&(Arc<TableSchema>, Mode)| !attachment.is_refused(&table.name);
    let fit = request.tables.iter().filter(fit);
    let wanted = Wanted::of(fit.map(|(table, mode)| (table.as_ref(), *mode)))?;
    let attached = match request.known {
        None => attachment.create(&wanted, false).await?,
        Some((identity, None)) => {
            let identity = Identity::read(identity)?;
            let ours = identity.slot == source.names.slot;
            attachment.create(&wanted, ours).await?
        }
        Some((identity, Some(checkpoint))) => {
            attachment.resume(&wanted, identity, checkpoint).await?
        }
    };
    source.spare.keep(attachment.sql);
    source.spare_replication.keep(attachment.replication);
    Ok(attached)
}

struct Attachment<'a> {
    source: &'a PostgresSource,
    sql: Sql,
    replication: ReplicationConnection,
    server: Server,
    /// The oids of partitioned tables.
    roots: BTreeSet<u64>,
    /// What became of tables beside the log.
    setbacks: Vec<Setback>,
    /// The columns of the tables.
    look: Option<Look>,
}

impl Attachment<'_> {
    async fn create(&mut self, wanted: &Wanted<'_>, half_made: bool) -> Result<Attached> {
        let names = &self.source.names;
        self.refuse_unfit()?;
        self.clear_slot(half_made).await?;
        let existing = self.publications().await?;
        let given = existing.iter().find(|found| found.name == names.publication && !found.ours);
        if let Some(given) = given {
            if self.source.options.publication.is_none() {
                return Err(Error::config(format!(
                    "the publication `{}` exists, but was not made by this pipeline",
                    given.name
                ))
                .with_hint("set `publication` to use it as it is, or drop it"));
            }
            check_given(given, wanted, &self.roots)?;
        } else {
            for leftover in existing.iter().filter(|found| found.ours) {
                let drop = format!("DROP PUBLICATION {}", identifier(&leftover.name));
                self.sql.execute("dropping a half-made publication", &drop).await?;
            }
            let create = publication::create(names, wanted, &self.roots, self.server.version);
            let doing = format!("creating the publication `{}`", names.publication);
            let tables = wanted.tables().map(|table| table.id);
            publication::change(&self.sql, &doing, &create, tables).await?;
        }
        fault::point("publication.created")?;
        let start = slot::create(self.source, &self.sql).await?;
        fault::point("slot.created")?;
        let standing = self.standing(wanted).await?;
        let labels = labels::load(&self.sql).await?;
        let identity = self.identity(wanted, Some(start), (standing, labels))?;
        tracing::info!(slot = %names.slot, position = %Offset(start), "replication slot created");
        let nothing = Mark::nothing(self.source.asked()).to_string();
        let checkpoint = Checkpoint::marked(partition(), Offset(start), &nothing);
        Ok(Attached { identity, checkpoint, added: Vec::new(), setbacks: Vec::new() })
    }

    /// Makes sure that no slot of our name is in the way.
    async fn clear_slot(&mut self, half_made: bool) -> Result<()> {
        let name = &self.source.names.slot;
        let Some(found) = Slot::load(&self.sql, name, self.server.version).await? else {
            return Ok(());
        };
        match (half_made, found.active_pid) {
            (false, _) => Err(Error::config(format!(
                "the replication slot `{name}` exists, but the destination knows nothing of it"
            ))
            .with_hint(format!(
                "another pipeline may use it: give this one another name; if nobody does, \
                 SELECT pg_drop_replication_slot('{name}');"
            ))),
            (true, Some(pid)) => Err(Error::unavailable(format!(
                "the half-made replication slot `{name}` is in use by process {pid}"
            ))
            .answered()),
            (true, None) => slot::drop(&self.sql, name).await,
        }
    }

    async fn publications(&self) -> Result<Vec<Publication>> {
        publication::load(&self.sql, &self.source.names, self.server.version).await
    }

    /// What is to be remembered, here for the stream and by whoever attaches.
    fn identity(
        &self,
        wanted: &Wanted<'_>,
        start: Option<u64>,
        (standing, labels): (Standing, Labels),
    ) -> Result<SourceIdentity> {
        let tables = || wanted.tables().map(|table| (table.name.to_string(), table.id));
        let publications = || standing.publications.iter();
        let identity = Identity {
            slot: self.source.names.slot.clone(),
            publication: self.source.names.publication.clone(),
            system_identifier: Some(self.server.system_identifier.clone()),
            timeline: Some(self.server.timeline),
            database: Some(self.server.database.clone()),
            created_at: start.map(Offset),
            publications: publications().map(|(name, row)| (name.clone(), row.oid)).collect(),
            versions: publications()
                .map(|(name, row)| (name.clone(), row.version.clone()))
                .collect(),
            entries: tables().map(|(name, id)| (name, entries_of(&standing, id))).collect(),
            shapes: tables()
                .filter_map(|(name, id)| Some((name, shape_of(&standing, id)?)))
                .collect(),
            tables: tables().collect(),
            labels,
        };
        let stored = identity.store();
        let memory = Memory { standing, identity, look: self.look.clone() };
        *self.source.attached.lock().unwrap_or_else(PoisonError::into_inner) = Some(memory);
        stored
    }

    async fn standing(&self, wanted: &Wanted<'_>) -> Result<Standing> {
        let oids: Vec<u32> =
            wanted.tables().filter_map(|table| u32::try_from(table.id).ok()).collect();
        let mut standing = Standing::load(&self.sql, &self.source.names, &oids).await?;
        shape::load_columns(&self.sql, &mut standing.shapes).await?;
        Ok(standing)
    }

    async fn resume(
        &mut self,
        wanted: &Wanted<'_>,
        identity: &SourceIdentity,
        checkpoint: &Checkpoint,
    ) -> Result<Attached> {
        let known = Identity::read(identity)?;
        let at = checkpoint.get(&partition()).unwrap_or_default();
        self.check_server(&known, at).await?;
        self.check_slot(&known, at).await?;
        check_publications(&known, &self.standing(wanted).await?)?;
        let publications = self.publications().await?;
        let added = self.adjust(wanted, &publications).await?;
        self.forget_partitions().await?;
        let standing = self.standing(wanted).await?;
        // A table that was away from the pipeline for a while must be copied again as well.
        let unknown = wanted.names().filter(|name| !known.tables.contains_key(&name.to_string()));
        // So must one that someone took out of the publication and added again.
        let again = wanted.tables().filter(|table| {
            let known = known.entries.get(&table.name.to_string());
            known.is_some_and(|known| was_away(known, &entries_of(&standing, table.id)))
        });
        let again = again.map(|table| &table.name);
        let added: BTreeSet<TableName> =
            added.into_iter().chain(unknown.chain(again).cloned()).collect();
        let start = known.created_at.map(|offset| offset.0);
        let oids: Vec<u32> =
            wanted.tables().filter_map(|table| u32::try_from(table.id).ok()).collect();
        self.look = Some(Look::take(&self.sql, &oids).await?);
        self.compare_shapes(wanted, &known, &standing).await?;
        self.compare_composites(wanted).await?;
        let labels = labels::load(&self.sql).await?;
        self.compare_labels(wanted, (&known, &labels)).await?;
        let identity = self.identity(wanted, start, (standing, labels))?;
        Ok(Attached {
            identity,
            checkpoint: checkpoint.clone(),
            added: added.into_iter().collect(),
            setbacks: std::mem::take(&mut self.setbacks),
        })
    }

    /// It must be the same server, with the same history, and not an older copy of it.
    async fn check_server(&mut self, known: &Identity, at: Offset) -> Result<()> {
        let again = "copy the tables again under a new pipeline name, or `resync` them";
        if known.system_identifier.as_ref() != Some(&self.server.system_identifier) {
            return Err(Error::position_lost(
                "this is another server (or a newly initialised one) than the one the destination \
                 was copied from",
            )
            .with_hint(format!("connect to the right server; if this one replaces it, {again}")));
        }
        if known.database.as_ref().map(|(oid, _)| *oid) != Some(self.server.database.0) {
            let name = known.database.as_ref().map_or("", |(_, name)| name);
            return Err(Error::position_lost(format!(
                "this is another database than `{name}`, which the destination was copied from"
            ))
            .with_hint(format!(
                "connect to the right database; if this one replaces it, {again}"
            )));
        }
        if let Some(timeline) = known.timeline
            && timeline != self.server.timeline
        {
            self.check_history(timeline, at).await?;
        }
        if at.0 > self.server.flushed {
            return Err(Error::position_lost(format!(
                "the destination is at {at}, but the server's log ends at {}: the server was \
                 restored to an earlier state",
                Offset(self.server.flushed)
            ))
            .with_hint(again));
        }
        Ok(())
    }

    /// After a failover: what we hold must have happened before the new server took over.
    async fn check_history(&mut self, timeline: u32, at: Offset) -> Result<()> {
        let doing = "reading the timeline's history";
        let command = format!("TIMELINE_HISTORY {}", self.server.timeline);
        let rows = self.replication.rows(doing, &command).await?;
        let text = rows.into_iter().next().and_then(|row| row.into_iter().nth(1)).flatten();
        let switched = switch_point(&text.unwrap_or_default(), timeline)?;
        match switched {
            Some(switched) if switched >= at.0 => {
                tracing::warn!(
                    from = timeline, to = self.server.timeline, at = %Offset(switched),
                    "source was promoted; its history contains our position"
                );
                Ok(())
            }
            switched => Err(Error::position_lost(format!(
                "the server was promoted at {}, but the destination is at {at}: it holds changes \
                 that the new server never had",
                switched.map_or("an unknown position".to_owned(), |lsn| Offset(lsn).to_string())
            ))
            .with_hint("copy the tables again: `resync`")),
        }
    }

    async fn check_slot(&self, known: &Identity, at: Offset) -> Result<()> {
        let name = &self.source.names.slot;
        let lost = |why: String| {
            Err(Error::position_lost(format!("the replication slot `{name}` {why}")).with_hint(
                "changes are missing between the destination and the slot: copy the tables again \
                 (`resync`); never make the slot anew by hand",
            ))
        };
        if known.slot != *name {
            return Err(Error::config(format!(
                "this pipeline used the replication slot `{}`, not `{name}`",
                known.slot
            ))
            .with_hint("set `slot` back; a slot cannot be exchanged for another"));
        }
        let Some(found) = Slot::load(&self.sql, name, self.server.version).await? else {
            return lost("no longer exists".to_owned());
        };
        if found.plugin.as_deref() != Some("pgoutput") {
            return lost("is not one of the plugin pgoutput".to_owned());
        }
        if found.database.as_deref() != Some(&self.server.database.1) {
            return lost("belongs to another database".to_owned());
        }
        if found.is_lost() {
            let why = found.invalidation.unwrap_or_else(|| "its log was removed".to_owned());
            return lost(format!("was invalidated by the server ({why})"));
        }
        match found.confirmed {
            Some(confirmed) if confirmed > at.0 && !fault::planted("identity-unchecked") => {
                lost(format!(
                    "stands at {}, beyond {at}, up to where the destination is: someone else moved it, \
                 or made it anew",
                    Offset(confirmed)
                ))
            }
            Some(_) => Ok(()),
            None => lost("has no position: it was never finished".to_owned()),
        }
    }

    /// Brings our publications to the wanted tables; returns the tables that are new in them.
    async fn adjust(
        &self,
        wanted: &Wanted<'_>,
        publications: &[Publication],
    ) -> Result<Vec<TableName>> {
        let names = &self.source.names;
        let main = publications.iter().find(|found| found.name == names.publication);
        if let Some(given) = main.filter(|found| !found.ours) {
            check_given(given, wanted, &self.roots)?;
            return Ok(Vec::new());
        }
        if let Some(own) = main {
            check_own(own)?;
        }
        let inserts = publications.iter().find(|found| found.name == names.inserts);
        let mut statements = Vec::new();
        let mut added = Vec::new();
        for (found, tables) in [(main, &wanted.changes), (inserts, &wanted.inserts)] {
            let Some(found) = found else {
                let name = &names.inserts;
                return Err(Error::position_lost(format!(
                    "the publication `{name}` does not exist"
                ))
                .with_hint("it must be older than the slot: copy the tables again (`resync`)"));
            };
            let kept: HashSet<&TableName> = tables.iter().map(|table| &table.name).collect();
            for name in &found.tables {
                if !kept.contains(name) {
                    statements.push(format!(
                        "ALTER PUBLICATION {} DROP TABLE {};",
                        identifier(&found.name),
                        crate::quote::table_name(name)
                    ));
                }
            }
            for table in tables.iter().filter(|table| !found.tables.contains(&table.name)) {
                statements.push(format!(
                    "ALTER PUBLICATION {} ADD TABLE {};",
                    identifier(&found.name),
                    publication::member(table, &self.roots)
                ));
                added.push(table.name.clone());
            }
        }
        if !statements.is_empty() {
            let doing = "changing the publication's tables";
            let gone = publications.iter().flat_map(|found| &found.members);
            let locked = wanted.tables().map(|table| table.id).chain(gone.copied());
            publication::change(&self.sql, doing, &statements.join(" "), locked).await?;
            fault::point("publication.altered")?;
        }
        Ok(added)
    }
}

/// Why a table is published.
fn entries_of(standing: &Standing, table: u64) -> BTreeSet<String> {
    let oid = u32::try_from(table).ok();
    oid.and_then(|oid| standing.entries.get(&oid)).cloned().unwrap_or_default()
}

/// What its rows lie in.
fn shape_of(standing: &Standing, table: u64) -> Option<Shape> {
    u32::try_from(table).ok().and_then(|oid| standing.shapes.get(&oid)).cloned()
}

/// The publications must be the very ones the checkpoint belongs to, and have been so all the time.
fn check_publications(known: &Identity, found: &Standing) -> Result<()> {
    if fault::planted("publication-gap-accepted") {
        return Ok(());
    }
    for (name, oid) in &known.publications {
        let version = known.versions.get(name);
        let why = match found.publications.get(name) {
            None => "no longer exists",
            Some(found) if found.oid != *oid => "was dropped and made anew",
            Some(found) if version.is_some_and(|known| known.went_and_came(&found.version)) => {
                "was altered, and altered back"
            }
            Some(_) => continue,
        };
        return Err(lost(name, why));
    }
    Ok(())
}

/// Where `timeline` ended, by a history file: lines `timeline <tab> position <tab> reason`.
fn switch_point(history: &str, timeline: u32) -> Result<Option<u64>> {
    for line in history.lines() {
        let mut fields = line.split_whitespace();
        let id = fields.next().and_then(|field| field.parse::<u32>().ok());
        if let (Some(id), Some(position)) = (id, fields.next())
            && id == timeline
        {
            return parse_lsn(position).map(Some);
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_history_tells_where_a_timeline_ended() {
        let history = "1\t0/1772298\tno recovery target specified\n\n2\t0/5000000\treason\n";
        assert_eq!(switch_point(history, 1).unwrap(), Some(0x177_2298));
        assert_eq!(switch_point(history, 2).unwrap(), Some(0x500_0000));
        assert_eq!(switch_point(history, 3).unwrap(), None);
    }
}
