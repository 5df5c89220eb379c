//! What the server knows of its tables: columns by number, types, keys, identity.

mod load;

use std::sync::Arc;

use rowtide_core::{Column, Identity, TableName, TableSchema};

pub(crate) use load::{load_sizes, load_tables, load_types, printed_types};

use crate::types::{Mapping, SYSTEM, TypeMap};

/// A table or a candidate for one, without its columns.
#[derive(Debug, Clone)]
pub(crate) struct CatalogTable {
    pub(crate) oid: u32,
    pub(crate) name: TableName,
    /// `r`elation, `p`artitioned, `f`oreign; `v`iew, `m`aterialized view, `S`equence.
    pub(crate) kind: u8,
    /// `p`ermanent, `u`nlogged, `t`emporary.
    pub(crate) persistence: u8,
    /// A part of a partitioned table: read through its root.
    pub(crate) is_partition: bool,
    /// `d`efault, `n`othing, `f`ull, `i`ndex.
    pub(crate) replica_identity: u8,
    pub(crate) heap: bool,
    /// Numbers of the primary key's columns, if it can identify rows (valid, not deferrable).
    pub(crate) primary_key: Vec<i32>,
    /// The same of the index named by REPLICA IDENTITY USING INDEX.
    pub(crate) identity_index: Vec<i32>,
    /// The distinct `replica_identity` of a partitioned table's leaves, which decide what is
    /// logged of them.
    pub(crate) leaf_identities: String,
    pub(crate) estimated_rows: Option<u64>,
    /// The file the rows are in: another one whenever they are rewritten. A partitioned table has
    /// none.
    pub(crate) storage: Option<u64>,
    pub(crate) columns: Vec<CatalogColumn>,
    /// How much of it is published.
    pub(crate) published: Published,
}

/// How much of a table a publication publishes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Published {
    /// The names of the published columns; `None` for all of them.
    pub(crate) columns: Option<Vec<String>>,
    /// The condition that published rows fulfil.
    pub(crate) filter: Option<String>,
    /// Generated columns that are stored are published like others.
    pub(crate) generated: bool,
}

/// A column, dropped ones included.
#[derive(Debug, Clone)]
pub(crate) struct CatalogColumn {
    pub(crate) number: i32,
    pub(crate) name: String,
    pub(crate) type_oid: u32,
    pub(crate) modifier: i32,
    /// The type by `format_type`.
    pub(crate) printed: String,
    pub(crate) dropped: bool,
    /// Computed from other columns.
    pub(crate) generated: bool,
    /// Computed and stored, not computed when it is read.
    pub(crate) stored: bool,
    /// Filled by an identity sequence.
    pub(crate) identity: bool,
    pub(crate) has_default: bool,
    pub(crate) not_null: bool,
    /// What rows hold that are older than the column: its text form.
    pub(crate) missing: Option<String>,
}

impl CatalogTable {
    /// The numbers of the columns that identify a row, in key order, and how rows are identified.
    pub(crate) fn key(&self) -> (Vec<i32>, Identity) {
        let identity = self.logged_identity();
        let key = match identity {
            b'd' | b'f' => &self.primary_key,
            b'i' => &self.identity_index,
            _ => return (Vec::new(), Identity::None),
        };
        let replicated = |number: &i32| self.replicated().any(|column| column.number == *number);
        match identity {
            // The server wants every column of it in the list.
            b'f' if self.left_out().any(|column| !column.generated) => (Vec::new(), Identity::None),
            _ if !key.is_empty() && key.iter().all(replicated) => (key.clone(), Identity::Key),
            b'f' => (Vec::new(), Identity::FullRow),
            _ => (Vec::new(), Identity::None),
        }
    }

    /// The replica identity that holds for every row. The leaves of a partitioned table have each
    /// their own; only those that agree with the root's key can be followed.
    fn logged_identity(&self) -> u8 {
        let leaves = self.leaf_identities.as_bytes();
        match self.replica_identity {
            own if self.kind != b'p' || leaves.is_empty() => own,
            b'd' | b'f' if leaves == b"f" => b'f',
            b'd' | b'f' if leaves.iter().all(|leaf| matches!(leaf, b'd' | b'f')) => b'd',
            _ => b'n',
        }
    }

    /// The columns that copy and log have.
    pub(crate) fn replicated(&self) -> impl Iterator<Item = &CatalogColumn> {
        self.columns.iter().filter(|column| self.publishes(column))
    }

    fn publishes(&self, column: &CatalogColumn) -> bool {
        !column.dropped
            && match &self.published.columns {
                Some(published) => published.contains(&column.name),
                None => !column.generated || (column.stored && self.published.generated),
            }
    }

    /// The columns that exist and are in neither copy nor log.
    pub(crate) fn left_out(&self) -> impl Iterator<Item = &CatalogColumn> {
        self.columns.iter().filter(|column| !column.dropped && !self.publishes(column))
    }

    /// Whether the log has changes of this kind of table, and a copy of it makes sense.
    pub(crate) fn is_candidate(&self) -> bool {
        matches!(self.kind, b'r' | b'p')
            && self.persistence == b'p'
            && !self.is_partition
            && self.replicated().next().is_some()
    }

    /// The table as the first version of its schema.
    pub(crate) fn schema(&self, types: &TypeMap, mapping: Mapping) -> Arc<TableSchema> {
        let columns: Vec<Column> =
            self.replicated().map(|column| column.describe(types, mapping)).collect();
        let (numbers, identity) = self.key();
        let key = numbers
            .iter()
            .filter_map(|number| columns.iter().position(|column| column.number == *number))
            .collect();
        let id = (u64::from(self.oid), self.name.clone());
        let table = TableSchema::new(id, 1, columns, key, identity).of_system(SYSTEM);
        Arc::new(TableSchema { storage: self.storage, ..table })
    }
}

impl CatalogColumn {
    /// The column as the pipeline sees it.
    pub(crate) fn describe(&self, types: &TypeMap, mapping: Mapping) -> Column {
        let type_of = (self.type_oid, self.modifier, self.printed.as_str());
        let (kind, native_type) = types.describe(type_of, mapping);
        Column { field: Arc::new(kind.field(&self.name)), native_type, number: self.number }
    }
}
