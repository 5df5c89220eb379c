//! Whose the targets are, for an epoch that asks of very many.
//!
//! Each question reads through what is stored of all tables. Asked for every table of thousands in
//! one epoch, as at the first start, that would take the square of their number: after a few
//! questions everything is read once, and kept up to date for the rest of the epoch. Nothing else
//! can change it meanwhile, for the epoch's transaction does not see what others commit.

use std::collections::HashMap;

use rowtide_core::{Mode, Result, TableName};

use super::state::{self, Owner};
use crate::ffi::Connection;
use crate::quote::fold;

/// How many questions of an epoch are answered one by one.
const FEW: usize = 16;

/// What an epoch knows of the targets' owners.
#[derive(Default)]
pub(super) struct Owners {
    asked: usize,
    all: Option<All>,
}

#[derive(Default)]
struct All {
    /// By target, as DuckDB compares names.
    targets: HashMap<(String, String), Vec<Owner>>,
    /// The targets of sources, by pipeline and source.
    sources: HashMap<(String, TableName), TableName>,
}

impl Owners {
    /// The owners of what DuckDB takes for `target`.
    pub(super) fn of(&mut self, connection: &Connection, target: &TableName) -> Result<Vec<Owner>> {
        self.asked += 1;
        if self.asked <= FEW {
            return state::owners(connection, Some(target));
        }
        let all = match &mut self.all {
            Some(all) => all,
            none => {
                let mut all = All::default();
                state::owners(connection, None)?.into_iter().for_each(|owner| all.add(owner));
                none.insert(all)
            }
        };
        Ok(all.targets.get(&key(target)).cloned().unwrap_or_default())
    }

    /// Whether it is known that nothing is stored of `source` yet.
    pub(super) fn is_new(&self, pipeline: &str, source: &TableName) -> bool {
        let known = |all: &All| all.sources.contains_key(&(pipeline.to_owned(), source.clone()));
        self.all.as_ref().is_some_and(|all| !known(all))
    }

    /// Takes note of what the epoch stores.
    pub(super) fn stored(&mut self, owner: Owner) {
        if let Some(all) = &mut self.all {
            all.remove(&owner.pipeline, &owner.source);
            all.add(owner);
        }
    }

    /// Takes note that the epoch put a table in place.
    pub(super) fn made(&mut self, pipeline: &str, source: &TableName, mode: Mode) {
        let Some(all) = &mut self.all else { return };
        let Some(target) = all.sources.get(&(pipeline.to_owned(), source.clone())) else { return };
        let owners = all.targets.get_mut(&key(target)).into_iter().flatten();
        for owner in owners.filter(|owner| owner.pipeline == pipeline && owner.source == *source) {
            owner.made = Some(mode);
        }
    }
}

impl All {
    fn add(&mut self, owner: Owner) {
        let source = (owner.pipeline.clone(), owner.source.clone());
        self.sources.insert(source, owner.target.clone());
        self.targets.entry(key(&owner.target)).or_default().push(owner);
    }

    fn remove(&mut self, pipeline: &str, source: &TableName) {
        let Some(target) = self.sources.remove(&(pipeline.to_owned(), source.clone())) else {
            return;
        };
        if let Some(owners) = self.targets.get_mut(&key(&target)) {
            owners.retain(|owner| owner.pipeline != pipeline || owner.source != *source);
        }
    }
}

fn key(target: &TableName) -> (String, String) {
    (fold(&target.schema), fold(&target.name))
}
