//! What `fuzz/` feeds: each function takes any bytes and panics if a property is broken. Not part
//! of the interface.

#![allow(clippy::missing_panics_doc, reason = "a broken property is a panic")]

use std::fmt::Debug;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{
    Checkpoint, Commit, Fence, MetadataColumns, Offset, Pattern, TableName, TableSelection,
    TableState, XidSnapshot,
};

/// The name of a target, and what it is fed to.
pub type Target = (&'static str, fn(&[u8]));

/// Every target.
pub const TARGETS: &[Target] = &[("pattern", pattern), ("state", state)];

/// A table pattern, then a schema and a table, on lines of their own: what is printed reads back
/// as the same, and an exact pattern matches its own table alone.
pub fn pattern(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let mut lines = text.split('\n');
    let mut next = || lines.next().unwrap_or_default();
    let (text, schema, name) = (next(), next(), next());
    let _ = TableSelection::parse(text.split(','));
    let Ok(pattern) = text.parse::<Pattern>() else { return };
    let printed = pattern.to_string();
    assert_eq!(printed.parse::<Pattern>().ok().as_ref(), Some(&pattern), "{printed}");
    let table = TableName::new(schema, name);
    let matched = pattern.matches(&table);
    if let Some(exact) = pattern.exact() {
        assert!(pattern.matches(&exact), "{printed} does not match itself");
        assert_eq!(matched, exact == table, "{printed}");
    }
    // A selection leaves out the space around a pattern, and excludes by a mark before it.
    if text == text.trim() && !text.starts_with('!') {
        let selected = TableSelection::parse([text]).is_ok_and(|all| all.contains(&table));
        assert_eq!(selected, matched, "{printed}");
    }
}

/// What a destination remembers, as JSON, and a server's snapshot as text: what is read and
/// written again reads the same, and covers the same transactions.
pub fn state(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    round_trip::<Checkpoint>(text);
    round_trip::<MetadataColumns>(text);
    round_trip::<TableState>(text);
    if let Some(fence) = round_trip::<Fence>(text) {
        for commit in commits() {
            let _ = fence.covers(&commit);
        }
    }
    let Ok(snapshot) = XidSnapshot::parse(text, Offset(u64::MAX)) else { return };
    let XidSnapshot { xmin, xmax, xip, .. } = &snapshot;
    let list: Vec<_> = xip.iter().map(u64::to_string).collect();
    let printed = format!("{xmin}:{xmax}:{}", list.join(","));
    assert_eq!(XidSnapshot::parse(&printed, Offset(u64::MAX)).ok().as_ref(), Some(&snapshot));
    for commit in commits() {
        let _ = snapshot.covers(&commit);
    }
}

fn commits() -> impl Iterator<Item = Commit> {
    let ids = [0, 3, 700, u32::MAX / 2, u32::MAX];
    ids.into_iter().map(|xid| Commit { position: Offset(u64::from(xid)), xid, committed_at: 0 })
}

fn round_trip<T: Serialize + DeserializeOwned + PartialEq + Debug>(text: &str) -> Option<T> {
    let read = serde_json::from_str::<T>(text).ok()?;
    let written = serde_json::to_string(&read).unwrap_or_default();
    assert_eq!(serde_json::from_str::<T>(&written).ok().as_ref(), Some(&read), "{written}");
    Some(read)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_corpus_holds() {
        let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus");
        for (name, target) in super::TARGETS {
            let directory = std::path::Path::new(corpus).join(name);
            let entries = std::fs::read_dir(&directory).unwrap();
            let mut inputs: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
            assert!(!inputs.is_empty(), "{name} has no corpus");
            inputs.sort();
            for input in inputs {
                let bytes = std::fs::read(&input).unwrap();
                let held = std::panic::catch_unwind(|| target(&bytes));
                assert!(held.is_ok(), "broken by {}", input.display());
            }
        }
    }
}
