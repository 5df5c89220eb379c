//! What happens to tables beside the log, brought into the order of the log.
//!
//! The guard looks at the catalog now and then; a partition that is not known is looked up as soon
//! as the log names it, before its first row. Either way the table goes on, or it is left for a
//! new copy, and what is to be compared with from now on is stored in the same commit.

use std::collections::BTreeSet;

use rowtide_core::{Error, Remedy, Result};
use tokio::sync::mpsc;

use super::reader::Reader;
use crate::client::Sql;
use crate::protocol::pgoutput::Relation;
use crate::source::identity::Identity;
use crate::source::labels::Labels;
use crate::source::layouts::Look;
use crate::source::schema_change::until_visible;
use crate::source::shape::{self, Shape, Shapes, Verdict};

/// What the guard found.
#[derive(Debug)]
pub(in crate::source) enum Found {
    Table(Notice),
    /// What the labels of enums are called from now on; the tables were told of before.
    Labels(Labels),
    /// Columns were altered.
    Columns(Look),
}

/// What the guard found of one table.
#[derive(Debug)]
pub(in crate::source) struct Notice {
    pub(in crate::source) table: u32,
    /// To compare with from now on.
    pub(in crate::source) shape: Shape,
    /// Set if rows changed without a message.
    pub(in crate::source) untold: Option<String>,
}

/// What the reader knows of the tables beside the log.
#[derive(Debug)]
pub(in crate::source) struct Untold {
    identity: Identity,
    shapes: Shapes,
    notices: Option<mpsc::Receiver<Found>>,
    /// The last look at the columns, if it was not followed yet.
    look: Option<Look>,
    /// Relations that were looked up and are no partitions of followed tables.
    strangers: BTreeSet<u32>,
}

impl Untold {
    pub(in crate::source) fn new(
        (identity, shapes): (Identity, Shapes),
        look: Option<Look>,
        notices: mpsc::Receiver<Found>,
    ) -> Self {
        Self { identity, shapes, notices: Some(notices), look, strangers: BTreeSet::new() }
    }

    /// The look at the columns that can be followed when everything up to `end` was decoded.
    pub(super) fn due(&mut self, end: u64) -> Option<Look> {
        self.look.take_if(|look| look.position <= end)
    }

    /// Waits for the guard, for ever once it has ended.
    pub(super) async fn notice(untold: &mut Option<Self>) -> Found {
        if let Some(Self { notices: receiver @ Some(_), .. }) = untold {
            if let Some(notices) = receiver
                && let Some(notice) = notices.recv().await
            {
                return notice;
            }
            *receiver = None;
        }
        std::future::pending().await
    }

    fn knows(&self, relation: u32) -> bool {
        self.strangers.contains(&relation)
            || self.shapes.values().any(|shape| shape.parts().any(|part| part == relation))
    }
}

impl<R: tokio::io::AsyncRead + Unpin + Send> Reader<R> {
    /// Takes note of what the guard found.
    pub(super) fn found(&mut self, found: Found) -> Result<()> {
        match found {
            Found::Table(notice) => self.noticed(notice),
            Found::Columns(look) => {
                if let Some(known) = &mut self.untold {
                    known.look = Some(look);
                }
                Ok(())
            }
            Found::Labels(labels) => {
                let Some(known) = &mut self.untold else { return Ok(()) };
                known.identity.labels = labels;
                self.decoder.remember(known.identity.store()?);
                Ok(())
            }
        }
    }

    /// Takes note of what became of a table.
    pub(super) fn noticed(&mut self, notice: Notice) -> Result<()> {
        let Notice { table, shape, untold } = notice;
        if let Some(reason) = untold {
            self.decoder.cut(table, &reason, Remedy::Copy)?;
        }
        let Some(known) = &mut self.untold else { return Ok(()) };
        let Some(schema) = self.decoder.schema(table) else { return Ok(()) };
        known.identity.shapes.insert(schema.name.to_string(), shape.clone());
        known.shapes.insert(table, shape);
        self.decoder.remember(known.identity.store()?);
        Ok(())
    }

    /// The log names a table that is not followed: it may be a new partition of one that is.
    pub(super) async fn stranger(&mut self, relation: &Relation) -> Result<()> {
        let Some(known) = &self.untold else { return Ok(()) };
        let roots: BTreeSet<u32> =
            known.shapes.iter().filter(|(_, shape)| shape.is_root()).map(|(oid, _)| *oid).collect();
        if roots.is_empty() || known.knows(relation.id) {
            return Ok(());
        }
        let sql = self.catalog().await?;
        let looking = self.look_up(&sql, relation, &roots);
        let found = tokio::time::timeout(self.silence, looking).await;
        let found = found.map_err(|_| {
            Error::unavailable(format!(
                "looking up the table {}.{}: no answer within {} s",
                relation.schema,
                relation.name,
                self.silence.as_secs()
            ))
        });
        let Some((root, verdict)) = found?? else {
            return self.vanished(relation, &roots);
        };
        match verdict {
            Verdict::Same => {}
            Verdict::Harmless(shape) => {
                self.noticed(Notice { table: root, shape, untold: None })?;
            }
            // What was done before a copy began is in the copy.
            Verdict::Untold(shape, why) => {
                let untold = Some(why).filter(|_| !self.decoder.is_old(root));
                self.noticed(Notice { table: root, shape, untold })?;
            }
        }
        Ok(())
    }

    /// Of which followed table it is a partition, and what became of that.
    async fn look_up(
        &self,
        sql: &Sql,
        relation: &Relation,
        roots: &BTreeSet<u32>,
    ) -> Result<Option<(u32, Verdict)>> {
        if let Some(commit) = self.decoder.open() {
            until_visible(sql, &relation.name, &commit).await?;
        }
        let Some(root) = shape::root_of(sql, relation.id, roots).await? else { return Ok(None) };
        let now = shape::load(sql, &[root]).await?.remove(&root);
        let before = self.untold.as_ref().and_then(|known| known.shapes.get(&root));
        match (before, now) {
            (Some(before), Some(now)) => {
                shape::judge(sql, root, before, &now).await.map(|verdict| Some((root, verdict)))
            }
            _ => Ok(None),
        }
    }

    /// A table that is no partition by now. If it was one, its rows went with it; the log does not
    /// say of which table, but the columns do.
    fn vanished(&mut self, relation: &Relation, roots: &BTreeSet<u32>) -> Result<()> {
        if let Some(known) = &mut self.untold {
            known.strangers.insert(relation.id);
        }
        let alike = |root: &u32| {
            self.decoder.schema(*root).is_some_and(|schema| {
                let names = || relation.columns.iter().map(|column| column.name.as_str());
                names().count() == schema.columns.len()
                    && names().all(|name| schema.index_of(name).is_some())
            })
        };
        let roots: Vec<u32> = roots.iter().copied().filter(alike).collect();
        for root in roots {
            if !self.decoder.is_old(root) {
                let why = format!(
                    "{}.{}, which may have been a partition of it, is none by now",
                    relation.schema, relation.name
                );
                self.decoder.cut(root, &why, Remedy::Copy)?;
            }
        }
        Ok(())
    }
}
