//! A source that exists only in the test: tables, rows, transactions, and their log.

use std::sync::Arc;

use arrow_schema::{DataType, Field, TimeUnit};
use rowtide_core::{
    Checkpoint, Column, Commit, DeleteMode, Identity, MetadataColumns, Mode, Offset, TableName,
    TablePlan, TableSchema,
};

/// What a column holds, as far as the suite needs to tell values apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A 64-bit integer; as text its digits.
    Integer,
    /// Text; as text itself.
    Text,
    /// As text `true` or `false`.
    Boolean,
    /// A moment; as text the microseconds since 1970 UTC.
    Instant,
    /// A list of texts; as text joined by commas, NULL if the list is.
    Texts,
}

impl Kind {
    /// The Arrow type.
    pub fn arrow(self) -> DataType {
        match self {
            Self::Integer => DataType::Int64,
            Self::Text => DataType::Utf8,
            Self::Boolean => DataType::Boolean,
            Self::Instant => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            Self::Texts => DataType::List(Arc::new(Field::new("item", DataType::Utf8, true))),
        }
    }

    /// The kind of an Arrow type that the suite uses.
    pub fn of(data_type: &DataType) -> Self {
        match data_type {
            DataType::Int64 => Self::Integer,
            DataType::Utf8 => Self::Text,
            DataType::Boolean => Self::Boolean,
            DataType::Timestamp(..) => Self::Instant,
            DataType::List(_) => Self::Texts,
            other => panic!("the suite makes no columns of type {other}"),
        }
    }
}

/// A value of a row.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cell {
    /// NULL.
    Null,
    /// The log does not repeat the value: it stays what it was.
    Same,
    /// An integer.
    Integer(i64),
    /// A text.
    Text(Arc<str>),
}

/// NULL in a row.
pub const NULL: Cell = Cell::Null;
/// A value that the log does not repeat.
pub const SAME: Cell = Cell::Same;

impl From<i64> for Cell {
    fn from(value: i64) -> Self {
        Self::Integer(value)
    }
}

impl From<&str> for Cell {
    fn from(value: &str) -> Self {
        Self::Text(value.into())
    }
}

impl From<String> for Cell {
    fn from(value: String) -> Self {
        Self::Text(value.into())
    }
}

impl Cell {
    /// The value as canonical text.
    pub fn text(&self) -> Option<String> {
        match self {
            Self::Null | Self::Same => None,
            Self::Integer(value) => Some(value.to_string()),
            Self::Text(value) => Some(value.to_string()),
        }
    }
}

/// One value per source column.
pub type Row = Vec<Cell>;

/// A row from numbers, texts, [`NULL`] and [`SAME`].
#[macro_export]
macro_rules! row {
    ($($cell:expr),* $(,)?) => { vec![$($crate::conformance::model::Cell::from($cell)),*] };
}

/// A table of the model source and its plan.
#[derive(Debug, Clone)]
pub struct Table {
    /// Where it goes, and how.
    pub plan: TablePlan,
}

impl Table {
    /// A table in schema `public` for mode merge with hard deletes; `key` are indices of `columns`,
    /// none for a table whose rows are identified by all they hold.
    pub fn new(id: u64, name: &str, columns: &[(&str, Kind)], key: &[usize]) -> Self {
        Self::called(id, &TableName::new("public", name), columns, key)
    }

    /// The same under any name.
    pub fn called(id: u64, name: &TableName, columns: &[(&str, Kind)], key: &[usize]) -> Self {
        let columns = (1..).zip(columns).map(|(number, (name, kind))| {
            let at = usize::try_from(number - 1).unwrap_or_default();
            column(number, name, *kind, !key.contains(&at))
        });
        let identity = if key.is_empty() { Identity::FullRow } else { Identity::Key };
        let source =
            TableSchema::new((id, name.clone()), 1, columns.collect(), key.to_vec(), identity);
        Self {
            plan: TablePlan {
                target: name.clone(),
                source: Arc::new(source),
                mode: Mode::Merge,
                delete: DeleteMode::Hard,
                metadata: MetadataColumns::default(),
            },
        }
    }

    /// `items (id integer key, name text, note text)`.
    pub fn items() -> Self {
        let columns = [("id", Kind::Integer), ("name", Kind::Text), ("note", Kind::Text)];
        Self::new(7, "items", &columns, &[0])
    }

    /// `bag (a integer, b text)` without a key.
    pub fn bag() -> Self {
        Self::new(9, "bag", &[("a", Kind::Integer), ("b", Kind::Text)], &[])
    }

    /// Another table like this one.
    #[must_use]
    pub fn named(mut self, id: u64, name: &str) -> Self {
        let mut source = (*self.plan.source).clone();
        (source.id, source.name) = (id, TableName::new("public", name));
        self.plan.target = source.name.clone();
        self.plan.source = Arc::new(source);
        self
    }

    /// The same table, every event of it kept.
    #[must_use]
    pub fn appending(mut self) -> Self {
        self.plan.mode = Mode::Append;
        self.plan.metadata = MetadataColumns::append();
        self
    }

    /// The same table, deleted rows marked, with all metadata columns.
    #[must_use]
    pub fn soft(mut self) -> Self {
        self.plan.delete = DeleteMode::Soft;
        self.plan.metadata = MetadataColumns::merge();
        self
    }

    /// The next version of the table: with a column more.
    #[must_use]
    pub fn added(&self, name: &str, kind: Kind) -> Self {
        let mut source = (*self.plan.source).clone();
        source.version += 1;
        let number = 1_000 + i32::try_from(source.version).unwrap_or_default();
        source.columns.push(column(number, name, kind, true));
        Self { plan: self.plan.with_source(Arc::new(source)) }
    }

    /// The next version of the table: without a column that is no part of the key.
    #[must_use]
    pub fn dropped(&self, name: &str) -> Self {
        let mut source = (*self.plan.source).clone();
        let at = source.index_of(name).expect("the column is there");
        source.version += 1;
        source.columns.remove(at);
        for key in &mut source.key {
            *key -= usize::from(*key > at);
        }
        Self { plan: self.plan.with_source(Arc::new(source)) }
    }

    /// The next version of the table: with a column under another name.
    #[must_use]
    pub fn renamed(&self, from: &str, to: &str) -> Self {
        let mut source = (*self.plan.source).clone();
        let at = source.index_of(from).expect("the column is there");
        source.version += 1;
        let field = source.columns[at].field.as_ref().clone();
        source.columns[at].field = Arc::new(field.with_name(to));
        Self { plan: self.plan.with_source(Arc::new(source)) }
    }

    /// The destination's name.
    pub fn target(&self) -> &TableName {
        &self.plan.target
    }

    /// The key's values of `row`.
    pub fn key_of(&self, row: &Row) -> Row {
        self.plan.source.key.iter().map(|&at| row[at].clone()).collect()
    }

    /// A row that only has a key.
    fn key_row(&self, key: Row) -> Row {
        if self.plan.source.key.is_empty() {
            return key;
        }
        let mut row = vec![NULL; self.plan.source.columns.len()];
        for (at, cell) in self.plan.source.key.iter().zip(key) {
            row[*at] = cell;
        }
        row
    }

    /// A new row.
    pub fn insert(&self, row: Row) -> Event {
        Event::Change(self.clone(), Change::Insert(row))
    }

    /// New values under the same key.
    pub fn update(&self, row: Row) -> Event {
        Event::Change(self.clone(), Change::Update(row))
    }

    /// The row under `key` (without a key: one equal row) goes.
    pub fn delete(&self, key: Row) -> Event {
        Event::Change(self.clone(), Change::Delete(self.key_row(key)))
    }

    /// The row under `key` (without a key: one equal row) becomes `row`.
    pub fn change_key(&self, key: Row, row: Row) -> Event {
        Event::Change(self.clone(), Change::Move { old: self.key_row(key), new: row })
    }

    /// All rows go.
    pub fn truncate(&self) -> Event {
        Event::Truncate(self.clone())
    }

    /// This is the version after a column was added; earlier rows hold `fill`.
    pub fn was_added(&self, fill: impl Into<Cell>) -> Event {
        Event::Schema(self.clone(), Alteration::Added { fill: fill.into() })
    }

    /// This is the version after `column` of the version `before` was dropped.
    pub fn was_dropped(&self, before: &Self, column: &str) -> Event {
        let at = before.plan.source.index_of(column).expect("the column was there");
        Event::Schema(self.clone(), Alteration::Dropped { column: column.to_owned(), at })
    }

    /// This is the version after `column` of the version `before` got another name.
    pub fn was_renamed(&self, before: &Self, column: &str) -> Event {
        let at = before.plan.source.index_of(column).expect("the column was there");
        Event::Schema(self.clone(), Alteration::Renamed { from: column.to_owned(), at })
    }
}

fn column(number: i32, name: &str, kind: Kind, nullable: bool) -> Column {
    let field = Arc::new(Field::new(name, kind.arrow(), nullable));
    Column { field, native_type: format!("{kind:?}").to_lowercase(), number }
}

/// What happens to a row.
#[derive(Debug, Clone)]
pub enum Change {
    /// A new row.
    Insert(Row),
    /// New values under the same key.
    Update(Row),
    /// The row goes.
    Delete(Row),
    /// The row's key changes, or without a key anything of it.
    Move {
        /// The old key, or the whole old row.
        old: Row,
        /// The new row.
        new: Row,
    },
}

/// How a table changes.
#[derive(Debug, Clone)]
pub enum Alteration {
    /// The last column is new.
    Added {
        /// What earlier rows hold.
        fill: Cell,
    },
    /// A column went.
    Dropped {
        /// Its name.
        column: String,
        /// Its index before.
        at: usize,
    },
    /// A column has another name.
    Renamed {
        /// Its name before.
        from: String,
        /// Its index.
        at: usize,
    },
}

/// One thing a transaction did.
#[derive(Debug, Clone)]
pub enum Event {
    /// A row changed.
    Change(Table, Change),
    /// A table was emptied.
    Truncate(Table),
    /// A table changed; this is its new version.
    Schema(Table, Alteration),
}

impl Event {
    /// The table it happened to.
    pub fn table(&self) -> &Table {
        match self {
            Self::Change(table, _) | Self::Truncate(table) | Self::Schema(table, _) => table,
        }
    }
}

/// What committed together.
#[derive(Debug, Clone)]
pub struct Transaction {
    /// When and where.
    pub commit: Commit,
    /// What happened, in order.
    pub events: Vec<Event>,
}

/// The model source's log.
#[derive(Debug, Clone, Default)]
pub struct Log {
    /// All transactions in the order of their commits.
    pub transactions: Vec<Transaction>,
}

/// Where the log begins, and how far apart transactions lie.
const START: u64 = 1_000;
const STEP: u64 = 100;

impl Log {
    /// Adds a transaction.
    pub fn commit(&mut self, events: impl IntoIterator<Item = Event>) {
        let number = self.transactions.len() as u64;
        let committed_at = 1_700_000_000_000_000 + i64::try_from(number).unwrap_or_default();
        let commit = Commit {
            position: Offset(START + number * STEP),
            xid: 500 + u32::try_from(number).unwrap_or_default(),
            committed_at,
        };
        self.transactions.push(Transaction { commit, events: events.into_iter().collect() });
    }

    /// How many transactions there are.
    pub fn len(&self) -> usize {
        self.transactions.len()
    }

    /// Whether nothing ever happened.
    pub fn is_empty(&self) -> bool {
        self.transactions.is_empty()
    }

    /// The checkpoint behind the first `transactions`.
    pub fn checkpoint(transactions: usize) -> Checkpoint {
        // A checkpoint lies behind the start of a commit record, where the record ends.
        let end = START + transactions as u64 * STEP - if transactions == 0 { 0 } else { STEP / 2 };
        Checkpoint::single("model".into(), Offset(end))
    }

    /// How many transactions lie below `checkpoint`.
    pub fn applied(&self, checkpoint: &Checkpoint) -> usize {
        let at = checkpoint.position();
        self.transactions.iter().filter(|one| one.commit.position < at).count()
    }

    /// The first `transactions`.
    pub fn first(&self, transactions: usize) -> &[Transaction] {
        &self.transactions[..transactions]
    }
}
