//! A consistent view of one table, whether the rows are a source's or a destination's.
//!
//! One connection holds one `REPEATABLE READ READ ONLY` transaction for as long as the view lives.
//! Rows are read by `COPY` with the builders of the copy, in pieces of pages, and summed up by the
//! server where the canonical form of every column can be made there.

mod choice;
pub(crate) mod condition;
mod form;
mod lanes;
mod parts;
mod pieces;
mod wording;

use std::collections::{HashSet, VecDeque};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use arrow_array::{BooleanArray, RecordBatch};
use arrow_select::filter::filter_record_batch;
use async_trait::async_trait;
use futures::StreamExt;
use rowtide_core::canonical::{Digest, Encoder};
use rowtide_core::view::{Moment, RowsOf, TableView, ViewRequest, ViewedRows, Wording};
use rowtide_core::{Error, Result, TableSchema};
use tokio_postgres::{CopyOutStream, Row};

pub(crate) use self::form::{is_made_by, value};
pub(crate) use self::lanes::Connect;
pub(crate) use self::parts::{find, parts_of};
pub(crate) use self::pieces::Part;

use self::form::Forms;
use self::lanes::Host;
use self::pieces::{Piece, Pieces};
use crate::client::{Sql, get};
use crate::error::from_driver;
use crate::source::RowReader;

/// A batch is closed before its text could overflow Arrow's 32-bit offsets.
const BATCH_BYTES: usize = 512 << 20;

/// A column as it is read.
#[derive(Debug, Clone)]
pub(crate) struct Shown {
    /// Its name, quoted; `None` for one that only the reader fills.
    pub(crate) name: Option<String>,
    /// An expression for its canonical form, if SQL has one.
    pub(crate) form: Option<String>,
    /// Its type, for literals.
    pub(crate) sql_type: String,
}

/// What a view is of.
pub(crate) struct Subject {
    /// The connection, with the transaction open and its snapshot taken.
    pub(crate) sql: Sql,
    /// Opens more of them.
    pub(crate) connect: Connect,
    /// What it does, for errors.
    pub(crate) doing: String,
    pub(crate) request: ViewRequest,
    pub(crate) moment: Moment,
    /// Reads rows of `columns`.
    pub(crate) reader: RowReader,
    /// The columns of the plan's source.
    pub(crate) columns: Vec<Shown>,
    /// Where all rows are.
    pub(crate) whole: String,
    /// The same in parts.
    pub(crate) parts: Vec<Part>,
    /// What every row fulfils.
    pub(crate) conditions: Vec<String>,
    /// Whether the server says which transaction wrote a row.
    pub(crate) versioned: bool,
    /// Whether some rows may be left out when they are read.
    pub(crate) may_refuse: bool,
}

/// A view of a table of PostgreSQL's.
pub(crate) struct PostgresView {
    subject: Subject,
    table: Arc<TableSchema>,
    encoder: Encoder,
    forms: Option<Forms>,
    todo: Todo,
    copy: Option<(Pin<Box<CopyOutStream>>, Instant)>,
    /// The keys of the rows to give, if only some are.
    wanted: Option<HashSet<u64>>,
}

/// What is still to be read.
enum Todo {
    /// All pieces, of rows that fulfil a condition.
    Pieces(Pieces, Option<String>),
    /// The rows that fulfil each of these conditions.
    Conditions(VecDeque<String>),
}

impl PostgresView {
    /// A view of `subject`.
    ///
    /// # Errors
    /// `Data` if a column has a type that cannot be compared.
    pub(crate) fn new(mut subject: Subject) -> Result<Self> {
        let table = Arc::clone(&subject.request.plan.source);
        if let Some(range) = &subject.request.range {
            let columns: Vec<&Shown> = table.key.iter().map(|&at| &subject.columns[at]).collect();
            let range = choice::range(&table, &columns, range)?;
            subject.conditions.push(range);
        }
        let forms: Vec<_> = subject.columns.iter().map(|column| column.form.clone()).collect();
        let key = table.is_keyed().then_some(&*table.key);
        Ok(Self {
            encoder: Encoder::new(&table)?,
            forms: Forms::new(&forms, key).filter(|_| !subject.may_refuse),
            todo: Todo::Conditions(VecDeque::new()),
            copy: None,
            wanted: None,
            table,
            subject,
        })
    }

    fn pieces(&self) -> Pieces {
        Pieces::new(self.subject.parts.clone(), self.subject.request.statement)
    }

    /// What stands from FROM on, for the rows of `piece` that fulfil `condition`.
    fn from(&self, piece: &Piece, condition: Option<&str>) -> String {
        let asked = self.subject.request.condition.as_deref();
        let asked = asked.map(condition::own_line);
        let all: Vec<&str> = piece
            .condition
            .as_deref()
            .into_iter()
            .chain(self.subject.conditions.iter().map(String::as_str))
            .chain(asked.as_deref())
            .chain(condition)
            .collect();
        match all.is_empty() {
            true => format!("FROM {}", piece.name),
            false => format!("FROM {} WHERE {}", piece.name, all.join(" AND ")),
        }
    }

    /// Asks of every piece, by several connections at once if there are many, what `query` makes of
    /// it, and gathers the answers.
    async fn ask<T>(
        &self,
        query: impl Fn(String) -> String,
        answers: (T, impl Fn(&mut T, &Row) -> Result<()>),
    ) -> Result<T> {
        let Subject { sql, connect, whole, doing, request, .. } = &self.subject;
        let host = Host { sql, connect, share: &*request.share, whole, doing };
        let query = |piece: &Piece| query(self.from(piece, None));
        lanes::ask(host, self.pieces(), query, answers).await
    }

    /// Begins the next statement; false when none is left.
    async fn begin_next(&mut self) -> Result<bool> {
        let from = match &mut self.todo {
            Todo::Pieces(pieces, condition) => {
                let Some(piece) = pieces.next() else { return Ok(false) };
                let condition = condition.clone();
                self.from(&piece, condition.as_deref())
            }
            Todo::Conditions(left) => {
                let Some(condition) = left.pop_front() else { return Ok(false) };
                let whole = Piece { name: self.subject.whole.clone(), condition: None };
                self.from(&whole, Some(&condition))
            }
        };
        let names = self.subject.columns.iter().filter_map(|column| column.name.as_deref());
        let names: Vec<&str> = names.chain(self.subject.versioned.then_some("xmin")).collect();
        let statement = format!(
            "COPY (SELECT {} {from}) TO STDOUT (FORMAT {})",
            names.join(", "),
            if self.subject.reader.binary { "binary" } else { "text" }
        );
        self.subject.request.share.turn().await;
        let began = Instant::now();
        let copy = self.subject.sql.client().copy_out(&statement).await;
        let copy = copy.map_err(|error| from_driver(&self.subject.doing, error))?;
        self.copy = Some((Box::pin(copy), began));
        self.subject.reader.begin();
        Ok(true)
    }

    /// What has been read, without what was not asked for.
    fn take(&mut self) -> Result<Option<ViewedRows>> {
        let versions = self.subject.reader.take_writers();
        let Some((rows, _)) = self.subject.reader.take()? else { return Ok(None) };
        let Some(wanted) = &self.wanted else { return Ok(Some(ViewedRows { rows, versions })) };
        let hashes = self.encoder.keys(&rows.project(&self.table.key)?)?;
        let is_wanted: BooleanArray =
            hashes.iter().map(|hash| Some(wanted.contains(hash))).collect();
        let versions = versions.map(|versions| {
            let kept = versions.into_iter().zip(&is_wanted);
            kept.filter(|(_, wanted)| *wanted == Some(true)).map(|(version, _)| version).collect()
        });
        Ok(Some(ViewedRows { rows: filter_record_batch(&rows, &is_wanted)?, versions }))
    }

    /// The conditions by which the rows under `keys` are found.
    fn find_keys(&mut self, keys: &RecordBatch) -> Result<Todo> {
        self.wanted = Some(self.encoder.keys(keys)?.into_iter().collect());
        let columns = self.table.key.iter().map(|&at| &self.subject.columns[at]);
        let columns: Vec<&Shown> = columns.collect();
        Ok(Todo::Conditions(choice::keys(&self.table, &columns, keys)?))
    }
}

#[async_trait]
impl TableView for PostgresView {
    fn moment(&self) -> &Moment {
        &self.subject.moment
    }

    fn wording(&self) -> Option<&dyn Wording> {
        Some(self)
    }

    async fn digest(&mut self, bucket_bits: u32) -> Result<Option<Digest>> {
        let Some(forms) = self.forms.clone() else { return Ok(None) };
        let query = |from: String| forms.sums(&from, bucket_bits);
        self.ask(query, (Digest::empty(bucket_bits), add_sum)).await.map(Some)
    }

    async fn count(&mut self) -> Result<u64> {
        if self.subject.may_refuse {
            let mut count = 0;
            self.begin(RowsOf::All).await?;
            while let Some(viewed) = self.next().await? {
                count += viewed.rows.num_rows() as u64;
            }
            return Ok(count);
        }
        let query = |from: String| format!("SELECT pg_catalog.count(*) {from}");
        let add = |count: &mut u64, row: &Row| {
            *count += u64::try_from(get::<i64>(row, 0)?).unwrap_or(0);
            Ok(())
        };
        self.ask(query, (0, add)).await
    }

    async fn begin(&mut self, rows: RowsOf) -> Result<()> {
        self.copy = None;
        self.wanted = None;
        // What was read and not taken is not of these rows.
        self.take()?;
        self.todo = match rows {
            RowsOf::All => Todo::Pieces(self.pieces(), None),
            RowsOf::Buckets(buckets) => {
                let chosen = self.table.is_keyed().then_some(&self.table.key);
                let columns: Option<Vec<String>> = match chosen {
                    Some(key) => {
                        key.iter().map(|&at| self.subject.columns[at].form.clone()).collect()
                    }
                    None => self.subject.columns.iter().map(|one| one.form.clone()).collect(),
                };
                let condition = columns.map(|columns| choice::buckets(&columns, &buckets));
                Todo::Pieces(self.pieces(), condition)
            }
            RowsOf::Keys(keys) => self.find_keys(&keys)?,
            RowsOf::Since(mark) => {
                let now = self.subject.moment.mark.as_deref();
                let condition = match now.filter(|_| self.subject.versioned) {
                    Some(now) => choice::since(&mark, now)?,
                    None => None,
                };
                Todo::Pieces(self.pieces(), condition)
            }
        };
        Ok(())
    }

    async fn next(&mut self) -> Result<Option<ViewedRows>> {
        loop {
            if self.copy.is_none() && !self.begin_next().await? {
                return self.take();
            }
            let Some((copy, began)) = &mut self.copy else { continue };
            match copy.next().await {
                Some(Ok(message)) => {
                    self.subject.reader.row(&message)?;
                    if self.subject.reader.held >= self.batch_bytes() {
                        return self.take();
                    }
                }
                Some(Err(error)) => return Err(from_driver(&self.subject.doing, error)),
                None => {
                    if let Todo::Pieces(pieces, _) = &mut self.todo {
                        pieces.took(began.elapsed());
                    }
                    self.copy = None;
                }
            }
        }
    }
}

impl PostgresView {
    fn batch_bytes(&self) -> usize {
        self.subject.request.batch_bytes.clamp(1, BATCH_BYTES)
    }
}

/// Adds the sums of a bucket.
fn add_sum(digest: &mut Digest, row: &Row) -> Result<()> {
    let bucket = usize::try_from(get::<i64>(row, 0)?).ok();
    let bucket = bucket.and_then(|bucket| digest.buckets.get_mut(bucket));
    let bucket = bucket.ok_or_else(|| Error::internal("a sum of an unknown bucket"))?;
    bucket.rows += u64::try_from(get::<i64>(row, 1)?).unwrap_or(0);
    bucket.first = bucket.first.wrapping_add(modulo(get(row, 2)?)?);
    bucket.second = bucket.second.wrapping_add(modulo(get(row, 3)?)?);
    Ok(())
}

/// A sum of signed numbers as one modulo 2⁶⁴.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "modulo is meant")]
fn modulo(sum: &str) -> Result<u64> {
    let sum: i128 = sum.parse().map_err(|_| Error::internal("a sum is no number"))?;
    Ok(sum as u64)
}
