//! Publications that exist: those of somebody else, used as they are, and our own.

use std::collections::BTreeSet;

use rowtide_core::{Error, Result};

use crate::quote::identifier;
use crate::source::publication::{Publication, Wanted};

/// A publication that was given must publish everything of every table.
pub(in crate::source) fn check_given(
    given: &Publication,
    wanted: &Wanted<'_>,
    roots: &BTreeSet<u64>,
) -> Result<()> {
    let name = &given.name;
    let root = wanted.tables().find(|table| roots.contains(&table.id));
    if let Some(root) = root.filter(|_| !given.via_root) {
        return Err(Error::config(format!(
            "the publication `{name}` publishes the partitions of {} instead of the table",
            root.name
        ))
        .with_hint(format!(
            "ALTER PUBLICATION {} SET (publish_via_partition_root = true);",
            identifier(name)
        )));
    }
    let missing: Vec<_> = wanted
        .names()
        .filter(|table| !given.tables.contains(table))
        .map(crate::quote::table_name)
        .collect();
    if !missing.is_empty() {
        let list = missing.join(", ");
        return Err(Error::config(format!("the publication `{name}` does not contain {list}"))
            .with_hint(format!("ALTER PUBLICATION {} ADD TABLE {list};", identifier(name))));
    }
    if !given.complete {
        return Err(Error::config(format!(
            "the publication `{name}` does not publish every kind of change"
        ))
        .with_hint(format!(
            "ALTER PUBLICATION {} SET (publish = 'insert, update, delete, truncate');",
            identifier(name)
        )));
    }
    Ok(())
}

/// The publication that we made must still publish everything: what someone narrowed has left out
/// changes since.
pub(super) fn check_own(own: &Publication) -> Result<()> {
    let why = match own.narrowed.first() {
        _ if !own.complete => "no longer publishes every kind of change".to_owned(),
        Some(table) => format!("now filters the rows or columns of {table}"),
        None if !own.via_root => "now publishes partitions instead of their table".to_owned(),
        None => return Ok(()),
    };
    Err(Error::position_lost(format!(
        "the publication `{}` was altered and {why}: the server may have skipped changes",
        own.name
    ))
    .with_hint("copy the tables again: `resync`"))
}
