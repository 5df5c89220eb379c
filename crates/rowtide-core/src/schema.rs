//! Tables as Rowtide sees them: a name, Arrow fields, and how a row is identified.

use std::fmt;
use std::sync::Arc;

use arrow_array::ArrayRef;
use arrow_schema::{Field, Schema, SchemaRef};
use serde::{Deserialize, Serialize};

use crate::spelling::Spelled;

/// Arrow extension type names used in field metadata for what Arrow itself lacks.
pub mod ext {
    use arrow_schema::{DataType, Field};

    /// The metadata key under which Arrow stores an extension type's name.
    pub const NAME_KEY: &str = "ARROW:extension:name";
    /// The metadata key of an extension type's own metadata.
    pub const METADATA_KEY: &str = "ARROW:extension:metadata";
    /// A UUID in `FixedSizeBinary(16)`.
    pub const UUID: &str = "arrow.uuid";
    /// A JSON document in `Utf8`.
    pub const JSON: &str = "arrow.json";
    /// A bit string in `Binary`, which is never empty: how many bits of padding there are (0 to
    /// 7), then the padding, which is ones, then the bits.
    pub const BIT: &str = "rowtide.bit";
    /// A time of day with an offset in `FixedSizeBinary(8)`, its lowest byte first: microseconds
    /// since midnight, shifted left by 24 bits, plus 57,599 less the seconds east of UTC.
    pub const TIMETZ: &str = "rowtide.timetz";

    /// A nullable UUID field.
    pub fn uuid(name: &str) -> Field {
        field(name, DataType::FixedSizeBinary(16), UUID)
    }

    /// A nullable JSON field.
    pub fn json(name: &str) -> Field {
        field(name, DataType::Utf8, JSON)
    }

    /// A nullable field of bit strings.
    pub fn bit(name: &str) -> Field {
        field(name, DataType::Binary, BIT)
    }

    /// A nullable field of times of day with an offset.
    pub fn timetz(name: &str) -> Field {
        field(name, DataType::FixedSizeBinary(8), TIMETZ)
    }

    /// The extension type of `field`, if it has one.
    pub fn name_of(field: &Field) -> Option<&str> {
        field.metadata().get(NAME_KEY).map(String::as_str)
    }

    fn field(name: &str, data_type: DataType, extension: &str) -> Field {
        Field::new(name, data_type, true)
            .with_metadata([(NAME_KEY.to_owned(), extension.to_owned())].into())
    }
}

/// A schema-qualified table name, exactly as the system that owns it spells it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TableName {
    /// The schema (namespace).
    pub schema: Arc<str>,
    /// The table's own name.
    pub name: Arc<str>,
}

impl TableName {
    /// Joins a schema and a table name.
    pub fn new(schema: impl Into<Arc<str>>, name: impl Into<Arc<str>>) -> Self {
        Self { schema: schema.into(), name: name.into() }
    }
}

/// As a pattern takes it back: odd names stand in double quotes, and what does not show, or could
/// do harm where it is shown, is escaped. No two tables are written alike.
impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", Spelled(&self.schema), Spelled(&self.name))
    }
}

/// One column: its Arrow field and where it comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Column {
    /// Name, Arrow type, nullability, and extension metadata.
    pub field: Arc<Field>,
    /// The type as the source names it, for messages and for `status`.
    pub native_type: String,
    /// The source's stable number for this column (PostgreSQL: `attnum`); renames keep it. The
    /// column that holds what cannot be represented of another one has its number, negated.
    pub number: i32,
}

impl Column {
    /// The column's name.
    pub fn name(&self) -> &str {
        self.field.name()
    }

    /// The number of the column whose values stand here as text, if this is such a column.
    pub fn text_of(&self) -> Option<i32> {
        (self.number < 0).then(|| self.number.saturating_neg())
    }
}

/// How the source's log identifies the row that an update or delete touches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Identity {
    /// By the key columns.
    Key,
    /// By the whole old row (no key): rows form a multiset.
    FullRow,
    /// Not at all: only inserts are logged.
    None,
}

/// One version of one table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableSchema {
    /// The source's stable identifier of the table (PostgreSQL: its oid).
    pub id: u64,
    /// The table's name at the source.
    pub name: TableName,
    /// Raised by one at each schema change.
    pub version: u32,
    /// The replicated columns, in order.
    pub columns: Vec<Column>,
    /// Indices into `columns` of the key, in key order; empty without one.
    pub key: Vec<usize>,
    /// How updates and deletes name their row.
    pub identity: Identity,
    /// The system whose words [`Column::native_type`] is written in (`postgresql`), if its types
    /// mean something elsewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system: Option<String>,
    /// The source's number for how the rows are stored (PostgreSQL: `relfilenode`), not younger
    /// than the copy: as long as it is the same, no definition's change has rewritten a row.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage: Option<u64>,
}

impl TableSchema {
    /// Builds version `version` of a table.
    pub fn new(
        (id, name): (u64, TableName),
        version: u32,
        columns: Vec<Column>,
        key: Vec<usize>,
        identity: Identity,
    ) -> Self {
        Self { id, name, version, columns, key, identity, system: None, storage: None }
    }

    /// The same table, described in the words of `system`.
    #[must_use]
    pub fn of_system(self, system: &str) -> Self {
        Self { system: Some(system.to_owned()), ..self }
    }

    /// The Arrow schema of the columns.
    pub fn arrow(&self) -> SchemaRef {
        let fields: Vec<_> = self.columns.iter().map(|c| Arc::clone(&c.field)).collect();
        Arc::new(Schema::new(fields))
    }

    /// The Arrow schema of the key columns alone.
    pub fn key_arrow(&self) -> SchemaRef {
        let fields: Vec<_> =
            self.key.iter().map(|&index| Arc::clone(&self.columns[index].field)).collect();
        Arc::new(Schema::new(fields))
    }

    /// The position of the column called `name`.
    pub fn index_of(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.name() == name)
    }

    /// Whether rows are matched by key (and not as a multiset, or not at all).
    pub fn is_keyed(&self) -> bool {
        self.identity == Identity::Key && !self.key.is_empty()
    }
}

/// A change from one schema version to the next, applied between two batches.
#[derive(Debug, Clone)]
pub enum SchemaChange {
    /// A column was added at the end.
    AddColumn {
        /// The table after the change.
        table: Arc<TableSchema>,
        /// The new column's index in `table`.
        column: usize,
        /// A one-value array: what rows that existed before hold; `None` for NULL.
        fill: Option<ArrayRef>,
    },
    /// A column has another name, and is otherwise what it was.
    RenameColumn {
        /// The table after the change.
        table: Arc<TableSchema>,
        /// The renamed column's index in `table`.
        column: usize,
        /// Its name before.
        from: String,
    },
    /// A column was dropped.
    DropColumn {
        /// The table after the change.
        table: Arc<TableSchema>,
        /// The dropped column's name.
        column: String,
    },
    /// A column has a type that holds more, and every row holds what it held.
    WidenColumn {
        /// The table after the change.
        table: Arc<TableSchema>,
        /// The widened column's index in `table`.
        column: usize,
        /// Its type before, as the source names it.
        from: String,
    },
    /// Something that cannot be followed change by change: the log alone no longer leads to the
    /// table's present rows. No change of the table follows in this stream.
    Unsupported {
        /// The table before the change.
        table: Arc<TableSchema>,
        /// What changed.
        reason: String,
        /// What puts it right.
        remedy: Remedy,
    },
}

/// What puts a table right that cannot be followed any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remedy {
    /// A new copy.
    Copy,
    /// Somebody who decides; a new copy would meet the same.
    Operator,
}

impl SchemaChange {
    /// The table after the change (before it, if it cannot be followed).
    pub fn table(&self) -> &Arc<TableSchema> {
        match self {
            Self::AddColumn { table, .. }
            | Self::RenameColumn { table, .. }
            | Self::DropColumn { table, .. }
            | Self::WidenColumn { table, .. }
            | Self::Unsupported { table, .. } => table,
        }
    }
}

/// In a few words, without the table's name.
impl fmt::Display for SchemaChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AddColumn { table, column, .. } => match table.columns.get(*column) {
                Some(column) => write!(f, "column {} {} added", column.name(), column.native_type),
                None => f.write_str("column added"),
            },
            Self::RenameColumn { table, column, from } => match table.columns.get(*column) {
                Some(column) => write!(f, "column {from} renamed to {}", column.name()),
                None => write!(f, "column {from} renamed"),
            },
            Self::DropColumn { column, .. } => write!(f, "column {column} dropped"),
            Self::WidenColumn { table, column, from } => match table.columns.get(*column) {
                Some(column) => {
                    write!(
                        f,
                        "column {} widened from {from} to {}",
                        column.name(),
                        column.native_type
                    )
                }
                None => write!(f, "column widened from {from}"),
            },
            Self::Unsupported { reason, .. } => f.write_str(reason),
        }
    }
}
